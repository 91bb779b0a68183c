"""The end of a login in a thread, while its caller leaves."""

from __future__ import annotations

import queue
import threading
from functools import partial

import pytest
import trio
from psycopg.waiting import Wait

from greeks_trio.postgres.login_threads import run_login

# Far more than a thread needs; a hang should fail.
PATIENCE_S = 30.0


def compute(before_the_end):
    """A login of one step, which ends with a connection."""
    before_the_end()
    return "connection"
    yield 0, Wait.R


@pytest.fixture
def discarded():
    return queue.Queue()


async def wait_discarded(discarded):
    """Return what was closed, which a thread does."""
    return await trio.to_thread.run_sync(partial(discarded.get, timeout=PATIENCE_S))


async def test_a_login_that_ends_in_time_is_the_caller_s(discarded):
    assert await run_login(compute(int), discarded.put) == "connection"

    assert discarded.empty()


async def test_a_connection_that_comes_after_the_caller_left_is_closed(discarded):
    may_end = threading.Event()
    with trio.move_on_after(0.05) as scope:
        await run_login(compute(partial(may_end.wait, PATIENCE_S)), discarded.put)

    assert scope.cancelled_caught
    assert discarded.empty()
    may_end.set()
    assert await wait_discarded(discarded) == "connection"
    assert discarded.empty()


async def test_a_connection_that_comes_while_the_caller_leaves_is_closed_once(
    discarded,
):
    """Its step ends about when the cancellation comes."""
    token = trio.lowlevel.current_trio_token()
    for _ in range(20):
        with trio.CancelScope() as scope:
            cancel = partial(token.run_sync_soon, scope.cancel)
            await run_login(compute(cancel), discarded.put)
        if scope.cancelled_caught:
            assert await wait_discarded(discarded) == "connection"
        assert discarded.empty()


async def test_a_login_that_fails_closes_nothing(discarded):
    def fail():
        raise OSError("no route")

    with pytest.raises(OSError, match="no route"):
        await run_login(compute(fail), discarded.put)

    assert discarded.empty()
