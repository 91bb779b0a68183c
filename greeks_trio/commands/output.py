"""Standard output and error that may be full, closed, or read by a program that leaves.

``check | head`` ends the reader after its first lines.  The command goes on without a
word and ends with its own status.  An output that cannot be written for another reason,
such as a full disk, is named in one line at the end.
"""

from __future__ import annotations

import io
import os
import sys
from typing import TextIO

_STDIN, _STDOUT, _STDERR = range(3)


class _Forgiving(io.FileIO):
    """A file descriptor to which writing never fails.

    Attributes:
        fault: The reason of the first write that failed, also a reader that has left.
    """

    def __init__(self, fd: int) -> None:
        super().__init__(fd, "wb", closefd=False)
        self.fault: OSError | None = None

    def write(self, data: object) -> int:
        """Write the data, or drop them after an error."""
        size = len(memoryview(data))  # type: ignore[arg-type]  # any buffer
        if self.fault is not None:
            return size
        try:
            return super().write(data)  # type: ignore[arg-type]
        except OSError as exc:
            self.fault = exc
            return size


class Output:
    """The standard output of the process.  Made by `open_outputs`."""

    def __init__(self, raw: _Forgiving | None) -> None:
        self._raw = raw

    def fault(self) -> str | None:
        """Return the reason why output is missing; `None` if none is, or none is read."""
        if self._raw is None:
            return None
        sys.stdout.flush()
        exc = self._raw.fault
        if exc is None or isinstance(exc, BrokenPipeError):
            return None
        return exc.strerror or str(exc)


def open_outputs() -> Output:
    """Make `sys.stdout` and `sys.stderr` forgive, and return the former.

    Does nothing where another program has replaced them, such as a test runner.
    """
    _open_closed()
    if sys.stdout is not sys.__stdout__ or sys.stderr is not sys.__stderr__:
        return Output(None)
    raw = _Forgiving(_STDOUT)
    sys.stdout = sys.__stdout__ = _text(raw, sys.stdout)  # type: ignore[assignment,misc]
    sys.stderr = sys.__stderr__ = _text(_Forgiving(_STDERR), sys.stderr)  # type: ignore[assignment,misc]
    return Output(raw)


def _open_closed() -> None:
    """Let the closed ones of the three standard descriptors lead nowhere.

    Otherwise the next file or socket that is opened would take their numbers.
    """
    for fd in (_STDIN, _STDOUT, _STDERR):
        try:
            os.fstat(fd)
        except OSError:
            # The lowest free number, which is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def _text(raw: _Forgiving, before: TextIO | None) -> TextIO:
    is_terminal = raw.isatty()
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=before.encoding if before is not None else "utf-8",
        # A character that the encoding lacks is no reason to fail.
        errors="backslashreplace",
        line_buffering=is_terminal or raw.fileno() == _STDERR,
    )
