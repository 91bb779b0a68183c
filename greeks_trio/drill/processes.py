"""A process of the drill: started, listened to, signalled, and gone at the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, Final

import trio

from greeks_trio.errors import GreeksError

# Seconds for the kernel between the end of a process's output and its own.
_REAP_LIMIT_S: Final = 5.0
_TAIL_LINES: Final = 15
_TAIL_BYTES: Final = 8_192


class DrillFailed(GreeksError):
    """Something of the drill did not come back within its time."""


class Child:
    """One run of ``python -m greeks_trio``; made in the main thread.

    What it says on stderr is appended to ``log``: by itself, or with ``pipe_log`` by
    `copy_log`, which no limit on its files touches.  The end of `stdout` is its end.
    """

    def __init__(
        self, name: str, arguments: list[str], *, log: Path, pipe_log: bool = False
    ) -> None:
        self.name = name
        self._log = log
        # Not `trio.lowlevel.open_process`: that forks in a worker thread, and a signal
        # at the parent's death comes when the *thread* ends that forked.
        with log.open("ab") as errors:
            self._popen = subprocess.Popen(  # noqa: S603  our own program
                [sys.executable, "-m", "greeks_trio", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE if pipe_log else errors,
                cwd=log.parent,  # no `.env` of the user's
                # The terminal's Ctrl-C is for the drill alone.
                start_new_session=True,
            )
        self.stdout = _stream(self._popen.stdout)
        self._stderr = _stream(self._popen.stderr) if pipe_log else None

    async def copy_log(self) -> None:
        """Append what it says to the log until it ends."""
        assert self._stderr is not None  # noqa: S101  it was asked for
        with self._log.open("ab", buffering=0) as log:
            async for data in self._stderr:
                log.write(data)

    @property
    def pid(self) -> int:
        """Return its number."""
        return self._popen.pid

    @property
    def has_ended(self) -> bool:
        """Tell whether it is gone."""
        return self._popen.poll() is not None

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, unless it is gone."""
        if not self.has_ended:
            self._popen.send_signal(number)

    def reap(self) -> int:
        """Return its exit status; its output has ended.

        Raises:
            DrillFailed: it closed its output and lives.
        """
        try:
            return self._popen.wait(_REAP_LIMIT_S)
        except subprocess.TimeoutExpired:
            raise self.failure("does not end") from None

    def destroy(self) -> None:
        """Kill it if need be, and let go of everything."""
        if not self.has_ended:
            self._popen.kill()
        self._popen.wait()
        for stream in filter(None, (self.stdout, self._stderr)):
            stream.close()

    def failure(self, what: str) -> DrillFailed:
        """Return the error that says so, with the last lines of the log."""
        return DrillFailed(f"{self.name} {what}; its log ends with:\n{tail(self._log)}")


def _stream(pipe: IO[bytes] | None) -> trio.lowlevel.FdStream:
    assert pipe is not None  # noqa: S101  a pipe was asked for
    with pipe:
        return trio.lowlevel.FdStream(os.dup(pipe.fileno()))


def tail(path: Path) -> str:
    """Return the last lines of a log."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        lines = file.read().decode(errors="replace").splitlines()
    return "\n".join(lines[-_TAIL_LINES:])
