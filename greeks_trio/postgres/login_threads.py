"""Run the steps of a login in threads, because the server decides how long they compute.

With SCRAM the server names the number of iterations, up to 2^31: libpq then computes for
hours, in one call.  In the event loop such a call would stop the whole service, also for a
server that only took the port.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from types import GeneratorType
from typing import Final, Generic, TypeVar, cast

import trio
from psycopg.abc import PQGenConn
from psycopg.waiting import Ready, Wait

logger = logging.getLogger(__name__)

T = TypeVar("T")

# A thread that computes cannot be stopped, so a hostile server costs this many at most.
_MAX_THREADS: Final = 3
_limiter: Final = trio.lowlevel.RunVar[trio.CapacityLimiter]("_limiter")


async def run_login(steps: PQGenConn[T]) -> T:
    """Run psycopg's generator of a login to its end.

    A cancellation leaves a step alone that still computes.  Its thread closes the
    connection when it ends.
    """
    ready = 0
    try:
        while True:
            wanted = await trio.to_thread.run_sync(
                _next_wish, steps, ready, abandon_on_cancel=True, limiter=_threads()
            )
            if isinstance(wanted, _Done):
                return wanted.result
            ready = await _wait(*wanted)
    finally:
        _close(steps)


@dataclass
class _Done(Generic[T]):
    result: T


def _next_wish(steps: PQGenConn[T], ready: int) -> tuple[int, Wait] | _Done[T]:
    try:
        return steps.send(Ready(ready)) if ready else next(steps)
    except StopIteration as end:
        return _Done(end.value)


async def _wait(fileno: int, wanted: Wait) -> int:
    if wanted == Wait.R:
        await trio.lowlevel.wait_readable(fileno)
        return Ready.R
    await trio.lowlevel.wait_writable(fileno)
    return Ready.W


def _threads() -> trio.CapacityLimiter:
    try:
        return _limiter.get()
    except LookupError:
        limiter = trio.CapacityLimiter(_MAX_THREADS)
        _limiter.set(limiter)
        return limiter


def _close(steps: PQGenConn[T]) -> None:
    # A generator that runs is closed by its thread, which has the last reference to it.
    if not cast("GeneratorType[object, object, object]", steps).gi_running:
        steps.close()
        return
    logger.warning(
        "connection.login_computes threads=%d most=%d reason=the server asks for a login "
        "that takes too long to compute (SCRAM iterations); is it the right server?",
        _threads().borrowed_tokens,
        _MAX_THREADS,
    )
