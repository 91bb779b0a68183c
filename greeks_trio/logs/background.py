"""An output stream that never waits for its reader.

A pipe without a reader, a stopped terminal or a slow disk makes each write wait, and a
write of the event loop would stop the whole service.  So a thread writes, from a bounded
queue.  A text that does not fit is dropped and counted.  One line tells the number when
there is room again.

The thread writes to the file descriptor itself.  A thread that waits in a write of Python's
own stream would hold the lock of that stream, and the end of the program needs the lock.
"""

from __future__ import annotations

import io
import os
import select
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal, TextIO
from weakref import WeakSet

MAX_BYTES: Final = 2**20
MAX_LINES: Final = 5_000
# Places that only lines of level CRITICAL take.
_CRITICAL_BYTES: Final = 2**18
_CRITICAL_LINES: Final = 500
# The end of the program waits for the thread so long.
CLOSE_LIMIT_S: Final = 1.5
# A text without the end of a line is handed over at this length.
_LONGEST_PART: Final = 2**16
# A pipe that is ready takes so much without waiting (PIPE_BUF).
_CHUNK: Final = 4_096
_THREAD_RETRY_S: Final = 1.0
_DROPPED: Final = "dropped"


@dataclass(frozen=True, slots=True)
class _Piece:
    """One text in the queue; ``told`` is the number of dropped lines that it tells."""

    data: bytes
    lines: int
    told: int = 0


class BackgroundStream(io.TextIOBase):
    """Takes the text of every thread and writes it from a thread of its own.

    The thread is a daemon.  It ends after `close` with the last text, or with the program.

    Args:
        stream: The stream whose place this one takes.
        explain: Returns the line that tells how many lines are missing.
    """

    def __init__(self, stream: TextIO, explain: Callable[[int], str]) -> None:
        self._stream = stream
        self._explain = explain
        self._descriptor = _descriptor_of(stream)
        # Decided now, because this is asked often and may cost a system call.
        self._is_terminal = stream.isatty()
        self._reset()
        _streams.add(self)

    def _reset(self) -> None:
        """Begin with an empty queue and no thread, also in a forked child."""
        self._changed = threading.Condition()
        self._pieces: deque[_Piece] = deque()
        self._bytes = 0
        self._lines = 0
        self._untold = 0
        self._part = ""
        self._is_closing = False
        self._thread: threading.Thread | None = None
        self._retry_thread_at = 0.0

    # What programs ask of a stream.

    @property
    def encoding(self) -> str:  # type: ignore[override]  # never changes
        """The encoding of the stream behind this one."""
        return self._stream.encoding or "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[mutable-override,override]  # fixed
        """How a character that the encoding lacks is written."""
        return "backslashreplace"

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        return self._is_terminal

    def fileno(self) -> int:
        """Return the file descriptor of the stream behind this one."""
        return self._stream.fileno()

    def writable(self) -> bool:
        """Return that the stream can be written."""
        return True

    def write(self, text: str) -> int:
        """Take the text; whole lines are written soon."""
        return self._write(text, is_critical=False)

    def flush(self) -> None:
        """Hand over the line that has no end yet; does not wait."""
        with self._changed:
            self._hand_over(len(self._part), is_critical=False)

    @property
    def critical(self) -> TextIO:
        """The same stream with places of its own in the queue."""
        return _Critical(self)  # type: ignore[return-value]  # enough for a handler

    def finish(self, limit_s: float = CLOSE_LIMIT_S) -> None:
        """Wait until everything is written, at most for the limit; the thread ends."""
        self.flush()
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
            if self._has_thread():
                self._changed.wait_for(lambda: not self._pieces, limit_s)
                return
        self._write_here(time.monotonic() + limit_s)

    # The side of the writers.

    def _write(self, text: str, *, is_critical: bool) -> int:
        if not isinstance(text, str):
            raise TypeError(f"a text is needed, not {type(text).__name__}")
        with self._changed:
            self._part += text
            end = self._part.rfind("\n") + 1
            if len(self._part) > _LONGEST_PART:
                end = len(self._part)
            self._hand_over(end, is_critical=is_critical)
        return len(text)

    def _hand_over(self, end: int, *, is_critical: bool) -> None:
        text, self._part = self._part[:end], self._part[end:]
        if not text:
            return
        data = text.encode(self.encoding, self.errors)
        piece = _Piece(data, max(1, text.count("\n")))
        if not self._fits(piece, is_critical=is_critical):
            self._count_dropped(piece.lines)
        else:
            if self._untold:
                self._queue_explanation()
            self._queue(piece)
        self._wake_thread()

    def _fits(self, piece: _Piece, *, is_critical: bool) -> bool:
        most_bytes = MAX_BYTES + _CRITICAL_BYTES * is_critical
        most_lines = MAX_LINES + _CRITICAL_LINES * is_critical
        return (
            self._bytes + len(piece.data) <= most_bytes
            and self._lines + piece.lines <= most_lines
        )

    def _count_dropped(self, lines: int) -> None:
        _total[_DROPPED] += lines
        self._untold += lines

    def _queue(self, piece: _Piece) -> None:
        self._pieces.append(piece)
        self._bytes += len(piece.data)
        self._lines += piece.lines

    def _queue_explanation(self) -> None:
        line = self._explain(self._untold) + "\n"
        self._queue(_Piece(line.encode(self.encoding, self.errors), 1, self._untold))
        self._untold = 0

    def _has_thread(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _wake_thread(self) -> None:
        if self._has_thread():
            self._changed.notify_all()
        elif time.monotonic() >= self._retry_thread_at:
            self._thread = threading.Thread(
                target=self._run, name="output", daemon=True
            )
            try:
                self._thread.start()
            except RuntimeError:  # no memory for a thread, or the program ends
                self._thread = None
                self._retry_thread_at = time.monotonic() + _THREAD_RETRY_S

    # The side of the thread.

    def _run(self) -> None:
        """Write piece after piece; returns when the queue is empty after `finish`."""
        while (piece := self._next()) is not None:
            try:
                self._put(piece.data)
            except (OSError, ValueError):  # the reader is gone, or the disk is full
                self._done(piece, is_written=False)
            else:
                self._done(piece, is_written=True)

    def _next(self) -> _Piece | None:
        with self._changed:
            self._changed.wait_for(lambda: self._pieces or self._is_closing)
            return self._pieces[0] if self._pieces else None

    def _done(self, piece: _Piece, *, is_written: bool) -> None:
        with self._changed:
            self._pieces.popleft()
            self._bytes -= len(piece.data)
            self._lines -= piece.lines
            if not is_written:
                self._untold += piece.told
                self._count_dropped(0 if piece.told else piece.lines)
            elif self._untold and not self._pieces:
                self._queue_explanation()
            self._changed.notify_all()

    def _put(self, data: bytes) -> None:
        if self._descriptor is None:
            self._stream.write(data.decode(self.encoding))
            self._stream.flush()
            return
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:  # another program has set it so
                _wait_ready(self._descriptor, None)

    def _write_here(self, deadline: float) -> None:
        """Write the queue without a thread, as long as no write has to wait."""
        data = b"".join(piece.data for piece in self._pieces)
        self._pieces.clear()
        rest = memoryview(data)
        try:
            while rest and self._is_ready(deadline):
                self._put(bytes(rest[:_CHUNK]))
                rest = rest[_CHUNK:]
        except (OSError, ValueError):  # counted below
            pass
        self._count_dropped(bytes(rest).count(b"\n"))

    def _is_ready(self, deadline: float) -> bool:
        left_s = max(0.0, deadline - time.monotonic())
        return self._descriptor is None or _wait_ready(self._descriptor, left_s)


class _Critical:
    """Writes lines of level CRITICAL to a `BackgroundStream`."""

    def __init__(self, stream: BackgroundStream) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream._write(text, is_critical=True)

    def flush(self) -> None:
        self._stream.flush()


_streams: WeakSet[BackgroundStream] = WeakSet()
_total = Counter[str]()


def lines_dropped() -> int:
    """Return how many lines of output were dropped since the start of the process."""
    return _total[_DROPPED]


@contextmanager
def background_output(
    name: Literal["stdout", "stderr"], explain: Callable[[int], str]
) -> Iterator[None]:
    """Let no write to the stream of `sys` wait for its reader within the block.

    At the end of the block, the rest is written within `CLOSE_LIMIT_S`.

    Args:
        name: The name of the stream in `sys`.
        explain: Returns the line that tells how many lines are missing.
    """
    before: TextIO | None = getattr(sys, name)
    if before is None or isinstance(before, BackgroundStream):
        yield
        return
    before.flush()
    stream = BackgroundStream(before, explain)
    setattr(sys, name, stream)
    try:
        yield
    finally:
        setattr(sys, name, before)
        stream.finish()


def _descriptor_of(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError, AttributeError):  # no file, such as a buffer of a test
        return None


def _wait_ready(descriptor: int, limit_s: float | None) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(None if limit_s is None else limit_s * 1e3))


def _forget_all() -> None:
    for stream in _streams:
        stream._reset()


os.register_at_fork(after_in_child=_forget_all)
