"""The embedded server's processes: start, readiness, end.

Everything here blocks for a bounded time, so it runs in a worker thread under Trio.
`ServerProcess` itself is made in the main thread: the kernel sends its signal when the
*thread* ends that started the process.

A small thread copies the server's output to its log file.  A line of that output says
that the server accepts connections.  The end of the output says that every process of the
server has ended.  So nothing here has to poll.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

import psutil

from greeks_trio.config.directories import open_own_file
from greeks_trio.errors import StoreUnavailable
from greeks_trio.postgres.embedded.programs import Runner

# Recovery after a kill reads at most the last checkpoint's gigabyte of WAL.
READY_LIMIT_S: Final = 60.0
# The time for a shutdown of each kind: with a checkpoint, without one, by force.
_STOP: Final = ((signal.SIGINT, 10.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))
# The sum of these times and a reserve.
STOP_LIMIT_S: Final = 25.0
# The kernel ends a killed process within milliseconds.  PostgreSQL's other processes
# notice the end of the postmaster as quickly.
_KILL_LIMIT_S: Final = 5.0
# A standby accepts read-only connections.
_READY: Final = re.compile(rb"system is ready to accept (read-only )?connections")
_PORT_TAKEN: Final = "could not bind"
_TAIL_LINES: Final = 20
# The exit status of a process that is not our child is not known.
UNKNOWN_STATUS: Final = 255
_MAX_LOG_BYTES: Final = 4_000_000


class PortTaken(StoreUnavailable):
    """Another process has taken the port in the meantime."""


class ServerProcess:
    """One running ``postgres``; made in the main thread."""

    def __init__(self, runner: Runner, arguments: Sequence[str], log: Path) -> None:
        self._log = log
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._is_ready = False
        # Set when the server is ready, and when it has ended.
        self._settled = threading.Event()
        self._process = runner.start(["postgres", *arguments])
        self._reader = threading.Thread(
            target=self._read_log, name="embedded server's log", daemon=True
        )
        self._reader.start()

    @property
    def pid(self) -> int:
        """The postmaster."""
        return self._process.pid

    @property
    def has_left_some(self) -> bool:
        """Whether some process of the server has not ended yet."""
        return self._reader.is_alive()

    def wait_ended(self) -> int:
        """Wait without a limit for the end; return the exit status, or minus the signal.

        This is the end of the postmaster; its other processes get `_KILL_LIMIT_S` to
        follow.
        """
        status = self._process.wait()
        self._reader.join(_KILL_LIMIT_S)
        return status

    def wait_ready(self, limit_s: float | None = READY_LIMIT_S) -> None:
        """Wait until the server accepts connections; `None` means without a limit.

        Raises:
            PortTaken: the server must be started on another port.
            StoreUnavailable: it ended, or is still not ready; with the end of its log.
        """
        settled = self._settled.wait(limit_s)
        if self._is_ready:
            return
        said = "\n".join(self._tail)
        if _PORT_TAKEN in said:
            raise PortTaken(said)
        what = "ended" if settled else f"is not ready after {limit_s:.0f} s"
        raise StoreUnavailable(
            f"the embedded PostgreSQL {what}; its log ends with:\n{said}"
        )

    def stop(self) -> None:
        """Shut down within `STOP_LIMIT_S`: cleanly, else at once, else by force."""
        for number, patience_s in _STOP:
            self._process.send_signal(number)
            self._reader.join(patience_s)
            if not self._reader.is_alive():
                break
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)

    def kill(self) -> None:
        """End every process of the server at once, as a crash of the machine would.

        Returns when they have gone, or after `_KILL_LIMIT_S`.
        """
        self.signal_all(signal.SIGKILL)
        self._reader.join(_KILL_LIMIT_S)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)

    def signal_all(self, number: signal.Signals) -> None:
        """Send a signal to every process of the server."""
        signal_family(self.pid, number)

    def _read_log(self) -> None:
        """Copy the server's output until all of its processes have ended."""
        assert self._process.stderr is not None  # noqa: S101
        with self._process.stderr as lines, _open_log(self._log) as log:
            for line in lines:
                self._tail.append(line.decode(errors="replace").rstrip())
                _append(log, line)
                if _READY.search(line):
                    self._is_ready = True
                    self._settled.set()
        self._settled.set()


class AttachedServer:
    """A server that ``db start`` has started; it stays when this process ends."""

    has_left_some = False

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._process = psutil.Process(pid)

    def wait_ended(self) -> int:
        """Wait without a limit for the end; return `UNKNOWN_STATUS`."""
        self._process.wait()
        return UNKNOWN_STATUS

    def stop(self) -> None:
        """Leave it running."""

    def kill(self) -> None:
        """End every process of the server at once, and return when they have gone."""
        family = [self._process, *self._process.children(recursive=True)]
        self.signal_all(signal.SIGKILL)
        psutil.wait_procs(family, _KILL_LIMIT_S)

    def signal_all(self, number: signal.Signals) -> None:
        """Send a signal to every process of the server."""
        signal_family(self.pid, number)


def signal_family(pid: int, number: signal.Signals) -> None:
    """Send a signal to a server's first process and to all processes below it."""
    with suppress(psutil.NoSuchProcess):
        postmaster = psutil.Process(pid)
        # The stopped postmaster starts no further process, and no child loses its
        # parent before it is found.
        postmaster.send_signal(signal.SIGSTOP)
        for process in (*postmaster.children(recursive=True), postmaster):
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)


def _open_log(path: Path) -> IO[bytes]:
    # Errors in the log contain rows, so the log is as private as the data.
    try:
        fd = open_own_file(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    except OSError:
        # Without its directory the server ends too, and its end must still be noticed.
        fd = os.open(os.devnull, os.O_WRONLY)
    return open(fd, "ab", 0)


def _append(log: IO[bytes], line: bytes) -> None:
    # A full disk must not stop the reading, or the server would wait for it.
    with suppress(OSError):
        if log.tell() > _MAX_LOG_BYTES:
            log.truncate(0)
        log.write(line)
