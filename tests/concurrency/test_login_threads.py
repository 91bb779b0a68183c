"""The end of a login in a thread, while its caller leaves."""

from __future__ import annotations

import threading

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


async def wait_discarded(discarded):
    with trio.fail_after(PATIENCE_S):
        while not discarded:
            await trio.sleep(0.01)


async def test_a_login_that_ends_in_time_is_the_caller_s():
    discarded = []

    assert await run_login(compute(int), discarded.append) == "connection"

    assert discarded == []


async def test_a_connection_that_comes_after_the_caller_left_is_closed():
    discarded, may_end = [], threading.Event()
    with trio.move_on_after(0.05) as scope:
        await run_login(
            compute(lambda: may_end.wait(PATIENCE_S)), discarded.append
        )

    assert scope.cancelled_caught
    assert discarded == []
    may_end.set()
    await wait_discarded(discarded)
    assert discarded == ["connection"]


async def test_a_connection_that_comes_while_the_caller_leaves_is_closed_once():
    """The step has ended, but the cancellation comes before its result."""
    discarded = []
    token = trio.lowlevel.current_trio_token()
    for _ in range(20):
        with trio.CancelScope() as scope:
            await run_login(
                compute(lambda: token.run_sync_soon(scope.cancel)),  # noqa: B023
                lambda late: discarded.append((scope, late)),  # noqa: B023
            )
        if scope.cancelled_caught:
            await wait_discarded(discarded)
            assert discarded == [(scope, "connection")]
            discarded.clear()
        assert discarded == []


async def test_a_login_that_fails_closes_nothing():
    discarded = []

    def fail():
        raise OSError("no route")

    with pytest.raises(OSError, match="no route"):
        await run_login(compute(fail), discarded.append)

    assert discarded == []
