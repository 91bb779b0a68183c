"""The process of one service: started, read, signalled, and ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from typing import Final

import trio

# Seconds for the kernel between the end of a process's output and its own.
_REAP_LIMIT_S: Final = 5.0


class ServiceProcess:
    """One run of ``serve``; made in the main thread.

    The end of `output` is the end of the process.  On Linux the process stops as by SIGTERM
    when ours ends, also by SIGKILL.

    Attributes:
        pid: Its process id.
        output: Its log.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        # Not `trio.lowlevel.open_process`: that forks in a worker thread, and a signal at
        # the parent's death comes when the *thread* ends that forked.
        # The service takes a SIGHUP when it can handle it, see `end_with_parent`.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
        try:
            self._popen = subprocess.Popen(  # noqa: S603  our own program
                [
                    *(sys.executable, "-m", "greeks_trio", "serve"),
                    *("--follow-parent", str(os.getpid())),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environment,
                # Ctrl-C in a terminal is for the fleet, which stops its services.
                start_new_session=True,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        assert self._popen.stdout is not None  # noqa: S101  # it is a pipe
        with self._popen.stdout as pipe:
            self.output = trio.lowlevel.FdStream(os.dup(pipe.fileno()))
        self.pid = self._popen.pid

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        if self._popen.poll() is None:
            self._popen.send_signal(number)

    def reap(self) -> int:
        """Close its output, and return its exit status; kill it if it still runs."""
        self.output.close()
        try:
            return self._popen.wait(_REAP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            return self._popen.wait()


def in_words(status: int) -> str:
    """Return the meaning of an exit status of ``serve``."""
    if status < 0:
        return f"ended by {signal.Signals(-status).name}"
    meanings = {
        0: "stopped on request",
        1: "a bug",
        2: "wrong settings",
        3: "every broker refused the login",
        4: "the schema of the database does not fit",
    }
    return f"exit status {status}: {meanings.get(status, 'unknown')}"
