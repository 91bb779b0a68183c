"""Waiting with Trio for what psycopg's protocol generators wait for.

A generator yields what it waits for and is sent what is ready.  `drive` runs one on a
socket that stays the same; `drive_connecting` runs one that names its socket each time.
`Turns` and `TurnLock` see to it that a connection makes way for other tasks.

Imports only the standard library, trio and psycopg, and of psycopg no private name.

Source: psycopg's ``waiting.py`` and ``generators.py``.
"""

from __future__ import annotations

import select
import time
from typing import Final, TypeVar

import psycopg
import trio
from psycopg.abc import PQGen, PQGenConn
from psycopg.waiting import Ready, Wait

RV = TypeVar("RV")

# How long an operation may run without giving other tasks a turn, when its socket is
# always ready.  Seconds; psycopg does the same on asyncio.
_MAX_BUSY_S: Final = 0.005


class Turns:
    """When a connection last gave other tasks a turn.

    Attributes:
        taken_at: On the clock of `time.perf_counter`.
    """

    def __init__(self) -> None:
        self.taken_at = time.perf_counter()

    def note(self) -> None:
        """Other tasks just had a turn."""
        self.taken_at = time.perf_counter()

    async def make_way(self) -> None:
        """Let a pending cancellation through, and other tasks if it is their turn."""
        if time.perf_counter() - self.taken_at > _MAX_BUSY_S:
            await trio.lowlevel.checkpoint()
            self.note()
        else:
            await trio.lowlevel.checkpoint_if_cancelled()


class TurnLock:
    """A fair lock with the interface of `asyncio.Lock`, which psycopg expects.

    Taking it is no checkpoint when it is free: what begins after a cancellation decides
    for itself what it still has to do.  Whoever leaves a block without having waited for
    anything gives the other tasks a turn, so that the operations of a connection are
    checkpoints together with their look at the cancellation, `Turns.make_way`.

    Another task may release it: an asynchronous generator that holds it is closed by the
    event loop when nobody else does.
    """

    def __init__(self, turns: Turns) -> None:
        self._semaphore = trio.Semaphore(1, max_value=1)
        self._turns = turns
        self._holder: trio.lowlevel.Task | None = None
        self._taken_at = 0.0

    def locked(self) -> bool:
        """Return whether somebody has it."""
        return self._semaphore.value == 0

    @trio.lowlevel.enable_ki_protection
    async def acquire(self) -> bool:
        """Wait for it, first come, first served; always returns true.

        Raises:
            RuntimeError: this task has it; it would wait for itself for ever.
        """
        task = trio.lowlevel.current_task()
        if self._holder is task:
            raise RuntimeError("this task is in the middle of using the connection")
        try:
            self._semaphore.acquire_nowait()
        except trio.WouldBlock:
            await self._semaphore.acquire()
            self._turns.note()
        self._holder = task
        self._taken_at = time.perf_counter()
        return True

    @trio.lowlevel.enable_ki_protection
    def release(self) -> None:
        """Give it to whoever has waited longest."""
        self._holder = None
        self._semaphore.release()

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> None:
        await self.acquire()

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(self, *exc_info: object) -> None:
        has_waited = self._turns.taken_at >= self._taken_at
        self.release()
        if not has_waited:
            await trio.lowlevel.cancel_shielded_checkpoint()
            self._turns.note()


async def drive(
    gen: PQGen[RV], fileno: int, turns: Turns, *, look_first: bool = False
) -> RV:
    """Run a generator from where it is to its end; ``look_first`` even when late.

    Raises:
        psycopg.OperationalError: the socket was closed meanwhile.
    """
    try:
        wanted = next(gen)
        while True:
            # Nearly always writable, and asking is cheaper than a turn of the loop.
            ready = 0
            if look_first or wanted != Wait.R:
                ready = _ready_nowait(fileno, wanted)
            if not ready:
                ready = await _wait_ready(fileno, wanted)
                turns.note()
            elif time.perf_counter() - turns.taken_at > _MAX_BUSY_S:
                await trio.lowlevel.checkpoint()
                turns.note()
            wanted = gen.send(ready)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    except (OSError, trio.ClosedResourceError) as exc:
        raise psycopg.OperationalError("connection socket closed") from exc


async def drive_connecting(gen: PQGenConn[RV]) -> RV:
    """Run a generator that names its socket at each step, because libpq may change it.

    Whatever happens the generator is closed, and with it the socket of an attempt that
    was cut off.

    Raises:
        psycopg.OperationalError: the socket was closed meanwhile.
    """
    try:
        fileno, wanted = next(gen)
        while True:
            ready = await _wait_ready(fileno, wanted)
            fileno, wanted = gen.send(ready)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    except (OSError, trio.ClosedResourceError) as exc:
        raise psycopg.OperationalError("connection socket closed") from exc
    finally:
        gen.close()


async def _wait_ready(fileno: int, wanted: Wait) -> int:
    if wanted == Wait.R:
        await trio.lowlevel.wait_readable(fileno)
        return Ready.R
    if wanted == Wait.W:
        await trio.lowlevel.wait_writable(fileno)
        return Ready.W
    try:
        return await _wait_either(fileno)
    except BaseExceptionGroup as group:
        # Both halves of one wait; who waits knows nothing of a nursery.
        raise _first_leaf(group) from None


async def _wait_either(fileno: int) -> int:
    ready = 0

    async def wait_readable() -> None:
        nonlocal ready
        await trio.lowlevel.wait_readable(fileno)
        ready |= Ready.R
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_readable)
        await trio.lowlevel.wait_writable(fileno)
        ready |= Ready.W
        nursery.cancel_scope.cancel()
    return ready


def _first_leaf(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return an exception out of the group, an interruption rather than an error."""
    interruptions = group.split(Exception)[1]
    first = (interruptions or group).exceptions[0]
    return _first_leaf(first) if isinstance(first, BaseExceptionGroup) else first


def _ready_nowait(fileno: int, wanted: Wait) -> int:
    reading, writing = bool(wanted & Wait.R), bool(wanted & Wait.W)
    poller = select.poll()
    poller.register(fileno, select.POLLIN * reading | select.POLLOUT * writing)
    for _, found in poller.poll(0):
        if found & select.POLLNVAL:
            raise OSError("the socket is closed")
        readable = Ready.R if found & select.POLLIN else Ready.NONE
        writable = Ready.W if found & select.POLLOUT else Ready.NONE
        # An error or a hang-up counts as ready: libpq finds out what it is.
        return readable | writable or int(wanted)
    return 0
