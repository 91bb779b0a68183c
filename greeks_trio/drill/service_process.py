"""The service under drill: a process that is killed, stopped and started again."""

from __future__ import annotations

import math
import os
import resource
import signal
import sys
import time
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final

import trio

from greeks_trio.drill.observer import Observer
from greeks_trio.drill.processes import Child, ProcessFailed
from greeks_trio.drill.report_stream import CLOCK_ERROR

# Imports, a login and an empty database, on a machine that is busy with faults.
START_LIMIT_S: Final = 60.0
# The drain limit of the configuration, and time for the operating system.
STOP_LIMIT_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Kill:
    """When a SIGKILL was sent: monotonic seconds just before and just after."""

    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Pause:
    """From SIGSTOP to SIGCONT, in monotonic seconds."""

    began: float
    ended: float


class DrilledService:
    """A service across its processes; `run` is its task.

    Args:
        settings: The file of its settings; its other files are in the same directory.
        number: From 0, if there are several.

    Attributes:
        number: The same.
        kills: Each SIGKILL so far.
        pauses: Each SIGSTOP that has ended so far, with its SIGCONT.
        clock_errors: From when on, in monotonic seconds, the service's wall clock was
            how many seconds ahead.
        http_port: Where the present process answers; 0 while it starts.
        peak_rss: Most memory that a process of it was seen to use, in bytes.
        turn: Held by the fault that kills or stops it.
    """

    def __init__(self, settings: Path, observer: Observer, number: int = 0) -> None:
        self.number = number
        self.kills: list[Kill] = []
        self.pauses: list[Pause] = []
        self.clock_errors: list[tuple[float, float]] = []
        self.http_port = 0
        self.peak_rss = 0
        self.turn = trio.Lock()
        self._settings = settings
        self._observer = observer
        self._child: Child | None = None
        self._is_leaving = False
        self._left = trio.Event()
        self._numbers = count(1)
        self._clock = settings.with_name("clock")
        # One item: the process that has been started and is to be heard.
        self._send, self._receive = trio.open_memory_channel[Child](1)

    @property
    def pid(self) -> int | None:
        """Return the present process's number."""
        return None if self._child is None else self._child.pid

    def start(self) -> None:
        """Start a process; there must be none."""
        log = self._settings.with_name("service.log")
        number = next(self._numbers)
        name = f"service {self.number + 1} (process {number})"
        # A file of its own: the one before may still be mapped by a process that ends.
        self._clock = self._settings.with_name(f"clock-{number}")
        self.step_clock(0.0)
        self.http_port = 0
        self._is_leaving = False
        self._left = trio.Event()
        arguments = ["drill-service", str(self._settings), str(self._clock)]
        self._child = Child(name, arguments, log=log, pipe_log=True)
        self._observer.new_run(self.number)
        self._send.send_nowait(self._child)

    def step_clock(self, seconds: float) -> None:
        """Let the present process's wall clock be so many seconds ahead from now on."""
        # Never shorter on the way: the process has it mapped, and a read beyond the end
        # of a mapped file is a SIGBUS.
        fd = os.open(self._clock, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            file.write(CLOCK_ERROR.pack(seconds))
        self.clock_errors.append((time.monotonic(), seconds))

    def clock_error(self, at: float) -> float:
        """Return by how many seconds the wall clock was ahead at a monotonic time."""
        number = bisect_right(self.clock_errors, (at, math.inf))
        return self.clock_errors[number - 1][1] if number else 0.0

    @contextmanager
    def file_size_limited(self, most: int) -> Iterator[None]:
        """Let the present process write no file beyond so many bytes (Linux).

        Raises:
            ProcessFailed: the operating system has no such limits.
        """
        with self.limited(resource.RLIMIT_FSIZE, most):
            yield

    @contextmanager
    def limited(self, what: int, most: int) -> Iterator[None]:
        """Set a limit of the operating system for the present process (Linux).

        Raises:
            ProcessFailed: the operating system has no such limits.
        """
        if sys.platform != "linux":
            raise ProcessFailed("this fault needs Linux")
        assert self.pid is not None  # noqa: S101
        before = resource.prlimit(self.pid, what)
        resource.prlimit(self.pid, what, (most, before[1]))
        try:
            yield
        finally:
            with suppress(ProcessLookupError):
                resource.prlimit(self.pid, what, before)

    @contextmanager
    def log_unread(self) -> Iterator[None]:
        """Read nothing of the present process's stderr."""
        assert self._child is not None  # noqa: S101
        reading, self._child.may_read_log = self._child.may_read_log, trio.Event()
        try:
            yield
        finally:
            self._child.may_read_log.set()
            self._child.may_read_log = reading

    def send(self, number: signal.Signals) -> None:
        """Send the present process a signal."""
        assert self._child is not None  # noqa: S101
        self._child.send(number)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the present process within the block, without a signal that it sees."""
        began = time.monotonic()
        self.send(signal.SIGSTOP)
        try:
            yield
        finally:
            self.send(signal.SIGCONT)
            self.pauses.append(Pause(began, time.monotonic()))

    async def kill(self) -> None:
        """Send SIGKILL and return when the process has gone."""
        assert self._child is not None  # noqa: S101
        self._is_leaving = True
        before = time.monotonic()
        self._child.send(signal.SIGKILL)
        self.kills.append(Kill(before, time.monotonic()))
        await self._wait_left(self._child)

    async def stop(self) -> None:
        """Send SIGTERM and return when the process has drained and gone.

        Raises:
            ProcessFailed: it did not end, or not with status 0.
        """
        child = self._child
        assert child is not None  # noqa: S101
        await self.wait_started()
        self._is_leaving = True
        child.send(signal.SIGTERM)
        await self._wait_left(child)
        if status := child.reap():
            raise child.failure(f"ended with status {status} after SIGTERM")

    async def stop_in_start(self) -> None:
        """Send SIGTERM, also to a process that has not started; return when it has gone.

        Raises:
            ProcessFailed: it did not end, or with another status than 0 or the signal's.
        """
        child = self._child
        assert child is not None  # noqa: S101
        self._is_leaving = True
        child.send(signal.SIGTERM)
        await self._wait_left(child)
        if (status := child.reap()) not in (0, -signal.SIGTERM):
            raise child.failure(f"ended with status {status} after SIGTERM")

    async def wait_started(self) -> None:
        """Return when the present process has started, or gone.

        Raises:
            ProcessFailed: it takes too long.
        """
        # Before that, a SIGTERM has the operating system's effect.
        with trio.move_on_after(START_LIMIT_S):
            while not self.http_port and not self._left.is_set():
                await self._observer.wait_report()
            return
        raise ProcessFailed("the service did not start")

    async def run(self) -> None:
        """Hear each process to its end, until cancelled; leaves none behind.

        Raises:
            ProcessFailed: a process did not start, or ended by itself.
        """
        with self._send, self._receive:
            async for child in self._receive:
                try:
                    await self._hear(child)
                finally:
                    child.destroy()
                    self._left.set()

    async def _hear(self, child: Child) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child.copy_log, name="service log")
            await self._hear_reports(child)
        status = child.reap()
        if not self._is_leaving:
            raise child.failure(f"ended by itself with status {status}")

    async def _hear_reports(self, child: Child) -> None:
        with trio.move_on_after(START_LIMIT_S) as start:
            while data := await child.stdout.receive_some():
                for report in self._observer.hear(bytes(data), self.number):
                    if report.kind == "started":
                        start.deadline = float("inf")
                        self.http_port = report.number
        if start.cancelled_caught:
            raise child.failure(f"did not start within {START_LIMIT_S:.0f} s")

    async def _wait_left(self, child: Child) -> None:
        with trio.move_on_after(STOP_LIMIT_S):
            await self._left.wait()
            return
        raise child.failure(f"did not end within {STOP_LIMIT_S:.0f} s")
