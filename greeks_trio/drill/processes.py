"""A child process of a demo or a drill: started, read, signalled, and ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import IO, Final

import trio

from greeks_trio.config.load import environment_of_children
from greeks_trio.errors import GreeksError

# Seconds for the kernel between the end of a process's output and its own.
_REAP_LIMIT_S: Final = 5.0
_TAIL_LINES: Final = 15
_TAIL_BYTES: Final = 8_192


class ProcessFailed(GreeksError):
    """A process of the demo or the drill did not start, answer or end in time."""


class Child:
    """One run of ``python -m greeks_trio``; made in the main thread.

    Its stderr is appended to ``log``: by itself, or with ``pipe_log`` by `copy_log`,
    which works even when the process may not write files.  Without ``log`` its stderr
    is ours.  The end of `stdout` is the end of the process.
    """

    def __init__(
        self,
        name: str,
        arguments: list[str],
        *,
        log: Path | None,
        pipe_log: bool = False,
    ) -> None:
        self.name = name
        self._log = log
        # A fault replaces it by one that is not set: then the log is not read.
        self.may_read_log = trio.Event()
        self.may_read_log.set()
        # Not `trio.lowlevel.open_process`: that forks in a worker thread, and a signal
        # at the parent's death comes when the *thread* ends that forked.
        with nullcontext() if log is None else log.open("ab") as errors:
            self._popen = subprocess.Popen(  # noqa: S603  our own program
                [sys.executable, "-m", "greeks_trio", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE if pipe_log else errors,
                # The user's `.env` is not read there.
                cwd=None if log is None else log.parent,
                env=environment_of_children(),
                # Ctrl-C in a terminal reaches a whole process group.  The parent ends
                # its children itself, in the right order.
                start_new_session=True,
            )
        self.stdout = _stream(self._popen.stdout)
        self._stderr = _stream(self._popen.stderr) if pipe_log else None

    async def copy_log(self) -> None:
        """Append its stderr to the log until it ends."""
        assert self._log is not None  # noqa: S101
        assert self._stderr is not None  # noqa: S101  pipe_log
        with self._log.open("ab", buffering=0) as log:
            async for data in self._stderr:
                log.write(data)
                await self.may_read_log.wait()

    @property
    def pid(self) -> int:
        """Return its process id."""
        return self._popen.pid

    @property
    def has_ended(self) -> bool:
        """Tell whether it has ended."""
        return self._popen.poll() is not None

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        if not self.has_ended:
            self._popen.send_signal(number)

    def reap(self) -> int:
        """Return its exit status; its output has ended.

        Raises:
            ProcessFailed: it closed its output and still runs.
        """
        try:
            return self._popen.wait(_REAP_LIMIT_S)
        except subprocess.TimeoutExpired:
            raise self.failure("does not end") from None

    def destroy(self) -> None:
        """Kill it if it still runs, and close its pipes."""
        if not self.has_ended:
            self._popen.kill()
        self._popen.wait()
        for stream in filter(None, (self.stdout, self._stderr)):
            stream.close()

    def failure(self, problem: str) -> ProcessFailed:
        """Return the error that names the problem, with the last lines of the log."""
        text = f"{self.name} {problem}"
        if self._log is not None:
            text += f"; the log ends with:\n{_last_lines(self._log)}"
        return ProcessFailed(text)


def _stream(pipe: IO[bytes] | None) -> trio.lowlevel.FdStream:
    assert pipe is not None  # noqa: S101  Popen made a pipe
    with pipe:
        return trio.lowlevel.FdStream(os.dup(pipe.fileno()))


def _last_lines(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        lines = file.read().decode(errors="replace").splitlines()
    return "\n".join(lines[-_TAIL_LINES:])
