from __future__ import annotations

import os
import signal

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from greeks_trio.signals import run_on_hangup, run_stop_on_signal


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
