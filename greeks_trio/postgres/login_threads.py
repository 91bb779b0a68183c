"""Run the steps of a login in threads, because the server decides how long they compute.

With SCRAM the server names the number of iterations, up to 2^31: libpq then computes for
hours, in one call.  In the event loop such a call would stop the whole service, also for a
server that only took the port.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
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


async def run_login(steps: PQGenConn[T], discard: Callable[[T], object]) -> T:
    """Run psycopg's generator of a login to its end.

    A cancellation leaves a step alone that still computes.  Its thread closes the
    connection when it ends.

    Args:
        steps: The generator.
        discard: Closes a connection that came too late for the caller.  It is called in
            any thread.
    """
    login = _Login(steps, discard)
    ready = 0
    try:
        while True:
            wanted = await trio.to_thread.run_sync(
                login.step, ready, abandon_on_cancel=True, limiter=_threads()
            )
            if isinstance(wanted, _Done):
                login.done = None  # from now on it is the caller's
                return wanted.result
            ready = await _wait(*wanted)
    finally:
        login.leave()
        _close(steps)


@dataclass
class _Done(Generic[T]):
    result: T


class _Login(Generic[T]):
    """A login whose last step may end while the caller leaves.

    Attributes:
        done: The result that the caller has not taken yet.
    """

    def __init__(self, steps: PQGenConn[T], discard: Callable[[T], object]) -> None:
        self.done: _Done[T] | None = None
        self._steps = steps
        self._discard = discard
        self._lock = threading.Lock()
        self._is_left = False

    def step(self, ready: int) -> tuple[int, Wait] | _Done[T]:
        """Compute to the next wait; for a thread."""
        try:
            return self._steps.send(Ready(ready)) if ready else next(self._steps)
        except StopIteration as end:
            done = _Done(end.value)
        with self._lock:
            if not self._is_left:
                self.done = done
                return done
        self._discard(done.result)
        return done

    def leave(self) -> None:
        """Close a connection that the caller has not taken, now or when it comes."""
        with self._lock:
            self._is_left = True
            done, self.done = self.done, None
        if done is not None:
            self._discard(done.result)


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
