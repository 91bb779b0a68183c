"""Counts the lines that repeat themselves, so that one fault does not fill the log.

Within a minute the same line is written five times, and a line with a traceback once.  The
others are counted, and a line tells their number after the minute.  A line that differs in
one character is another line.  Lines of level CRITICAL are all written.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from greeks_trio.logs.formats import message_of

WINDOW_S: Final = 60.0
_WRITTEN: Final = 5
_WRITTEN_TRACEBACKS: Final = 1
# Most lines that are remembered; the oldest is forgotten, and its count told.
_MOST_LINES: Final = 1_000


@dataclass(slots=True)
class _Line:
    began: float
    level: int
    seen: int = 0
    left_out: int = 0


class RepeatedLines:
    """The lines of the last minute.  For use under the lock of a handler."""

    def __init__(self) -> None:
        # In the order of their beginnings.
        self._lines: dict[str, _Line] = {}

    def is_wanted(self, record: logging.LogRecord) -> bool:
        """Count the line and return whether it is to be written."""
        if record.levelno >= logging.CRITICAL:
            return True
        line = self._lines.setdefault(
            _key(record), _Line(record.created, record.levelno)
        )
        line.seen += 1
        most = _WRITTEN_TRACEBACKS if record.exc_info else _WRITTEN
        line.left_out += line.seen > most
        return line.seen <= most

    def ended(self, now: float) -> Iterator[logging.LogRecord]:
        """Yield a line for each count that is complete, and forget it.

        Args:
            now: The time of the next line, in seconds since 1970.
        """
        while self._lines:
            key, line = next(iter(self._lines.items()))
            # The clock may have been set back.
            is_over = not line.began <= now < line.began + WINDOW_S
            if not is_over and len(self._lines) <= _MOST_LINES:
                return
            del self._lines[key]
            if line.left_out:
                yield _told(key, line)


def _key(record: logging.LogRecord) -> str:
    text = message_of(record)
    if record.exc_info and record.exc_info[1] is not None:
        error = record.exc_info[1]
        text = f"{text} error={type(error).__name__}: {error}"
    return text


def _told(text: str, line: _Line) -> logging.LogRecord:
    return logging.LogRecord(
        name=__name__,
        level=line.level,
        pathname=__file__,
        lineno=0,
        msg="log.repeated times=%d window_s=%d line=%s",
        args=(line.left_out, int(WINDOW_S), repr(text[:300])),
        exc_info=None,
    )
