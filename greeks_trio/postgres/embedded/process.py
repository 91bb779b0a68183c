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
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import psutil

from greeks_trio.errors import StoreUnavailable
from greeks_trio.postgres.embedded.binaries import Account

# Recovery after a kill reads at most the last checkpoint's gigabyte of WAL.
READY_LIMIT_S: Final = 60.0
# The time for a shutdown of each kind: with a checkpoint, without one, by force.
_STOP: Final = ((signal.SIGINT, 10.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))
# The sum of these times and a reserve.
STOP_LIMIT_S: Final = 25.0
_TOOL_LIMIT_S: Final = 120.0
# The kernel ends a killed process within milliseconds.  PostgreSQL's other processes
# notice the end of the postmaster as quickly.
_KILL_LIMIT_S: Final = 5.0
_READY: Final = b"database system is ready to accept connections"
_PORT_TAKEN: Final = "could not bind"
_TAIL_LINES: Final = 20
_MAX_LOG_BYTES: Final = 4_000_000
_LAUNCHER: Final = Path(__file__).with_name("launcher.py")
# The programs get none of our variables: PGDATA and others would change their work.
_ENVIRONMENT: Final = {"LC_ALL": "C", "TZ": "UTC", "PATH": os.defpath}


class PortTaken(StoreUnavailable):
    """Another process has taken the port in the meantime."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """How to run the server's programs.

    Attributes:
        programs: Their directory.
        account: The account that runs them; `None` is the present user.
        fds: Open files that they need.
    """

    programs: Path
    account: Account | None
    fds: tuple[int, ...] = ()

    def start(
        self, arguments: Sequence[str], fds: Sequence[int] = ()
    ) -> subprocess.Popen[bytes]:
        """Start the program; its stderr is a pipe.

        It gets a session of its own, so that Ctrl-C in the terminal goes to the service
        alone: the service still has rows to store.
        """
        program, *rest = arguments
        user = ("", "")
        if self.account is not None:
            user = (str(self.account.uid), str(self.account.gid))
        launcher = [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid())]
        return subprocess.Popen(  # noqa: S603
            [*launcher, *user, str(self.programs / program), *rest],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd="/",
            env=_ENVIRONMENT,
            pass_fds=(*self.fds, *fds),
            start_new_session=True,
        )

    def run(self, *arguments: str, fds: Sequence[int] = ()) -> None:
        """Run the program to its end.

        Raises:
            StoreUnavailable: it failed or did not end in time.
        """
        with self.start(arguments, fds) as process:
            try:
                _, errors = process.communicate(timeout=_TOOL_LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                raise StoreUnavailable(f"{arguments[0]} does not end") from None
        if process.returncode != 0:
            said = errors.decode(errors="replace").strip()
            raise StoreUnavailable(f"{arguments[0]} failed: {said}")


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
        with suppress(psutil.NoSuchProcess):
            postmaster = psutil.Process(self.pid)
            # The stopped postmaster starts no further process, and no child loses its
            # parent before it is found.
            postmaster.send_signal(signal.SIGSTOP)
            for process in (*postmaster.children(recursive=True), postmaster):
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(number)

    def _read_log(self) -> None:
        """Copy the server's output until all of its processes have ended."""
        assert self._process.stderr is not None  # noqa: S101
        with self._process.stderr as lines, _open_log(self._log) as log:
            for line in lines:
                self._tail.append(line.decode(errors="replace").rstrip())
                _append(log, line)
                if _READY in line:
                    self._is_ready = True
                    self._settled.set()
        self._settled.set()


def _open_log(path: Path) -> IO[bytes]:
    # Errors in the log contain rows, so the log is as private as the data.
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
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
