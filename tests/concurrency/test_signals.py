from __future__ import annotations

import os
import signal

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from greeks_trio.signals import _held, hold_hangups, run_on_hangup, run_stop_on_signal


@pytest.fixture
def restore_sigint():
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_first_signal_asks_to_stop(nursery, restore_sigint, number):
    stop = trio.Event()
    await nursery.start(run_stop_on_signal, stop)

    os.kill(os.getpid(), number)

    with trio.fail_after(5):
        await stop.wait()
    await wait_all_tasks_blocked()
    assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL


async def test_each_hangup_reloads_once(nursery):
    reloads = []
    again = trio.Event()

    def reload():
        reloads.append(len(reloads))
        if len(reloads) == 2:
            again.set()

    await nursery.start(run_on_hangup, reload)
    os.kill(os.getpid(), signal.SIGHUP)
    await wait_all_tasks_blocked()
    os.kill(os.getpid(), signal.SIGHUP)

    with trio.fail_after(5):
        await again.wait()
    assert reloads == [0, 1]
    nursery.cancel_scope.cancel()


@pytest.fixture
def restore_sighup():
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)


async def test_hangups_during_the_start_are_one_reload_after_it(
    nursery, restore_sighup
):
    reloads = []
    hold_hangups()
    for _ in range(3):
        os.kill(os.getpid(), signal.SIGHUP)
    await nursery.start(run_on_hangup, lambda: reloads.append(1))
    await wait_all_tasks_blocked()
    assert reloads == [1]

    nursery.cancel_scope.cancel()


async def test_a_hangup_after_the_last_reload_does_not_end_the_process(restore_sighup):
    hold_hangups()
    for expected in ([], [1]):
        reloads = []
        async with trio.open_nursery() as nursery:
            await nursery.start(
                run_on_hangup, lambda reloads=reloads: reloads.append(1)
            )
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert reloads == expected
        os.kill(os.getpid(), signal.SIGHUP)
    _held.clear()
