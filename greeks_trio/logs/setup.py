"""Sends the log to stderr; most lines of libraries are left out."""

from __future__ import annotations

import logging
import math
import sys
from contextlib import nullcontext
from typing import Final, TextIO

from greeks_trio.logs.background import BackgroundStream
from greeks_trio.logs.formats import FORMATTERS, LogFormat
from greeks_trio.logs.repeats import RepeatedLines

# The loggers of libraries, and the least level of theirs that is written.  tastytrade sets
# its own level to DEBUG at its import, and logs tokens there.  That may happen after our
# configuration, so the limit is in our handler.  httpx2 logs each request at INFO.
_LEAST_LEVELS: Final = {
    "tastytrade": logging.WARNING,
    "trio-websocket": logging.WARNING,
    "httpx2": logging.WARNING,
    "httpcore2": logging.WARNING,
    "hypercorn": logging.WARNING,
    "asyncio": logging.WARNING,
    # The alerts show its words themselves.
    "apprise": logging.CRITICAL,
    "urllib3": logging.ERROR,
    "psycopg": logging.ERROR,
}


def configure_logging(
    *, log_format: LogFormat = "text", level: int | str = logging.INFO
) -> None:
    """Send the log to stderr, in place of any earlier configuration.

    Args:
        log_format: The form of a line.
        level: The least level that is written.
    """
    handler = StderrHandler()
    handler.setFormatter(FORMATTERS[log_format]())
    handler.addFilter(_is_heard)
    logging.basicConfig(handlers=[handler], level=level, force=True)
    logging.captureWarnings(capture=True)


def tell_repeats() -> None:
    """Write how often lines were repeated; for the end of the program."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, StderrHandler):
            handler.tell_repeats()


def explain_dropped(number: int) -> str:
    """Return the line that tells how many lines of the log are missing."""
    record = logging.LogRecord(
        name=__name__,
        level=logging.WARNING,
        pathname=__file__,
        lineno=0,
        msg="log.lines_dropped number=%d reason=%s",
        args=(number, "stderr did not take them in time"),
        exc_info=None,
    )
    [*_, handler] = logging.getLogger().handlers or [StderrHandler()]
    return handler.format(record)


def critical_stream() -> TextIO:
    """Return the present `sys.stderr`, with the places for lines of level CRITICAL."""
    stream = sys.stderr
    return stream.critical if isinstance(stream, BackgroundStream) else stream


class StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to the present `sys.stderr`.

    The live table of the demo replaces `sys.stderr`, so that log lines do not break it.
    """

    def __init__(self) -> None:
        logging.Handler.__init__(self)
        self._repeats = RepeatedLines()
        self._is_critical = False

    @property
    def stream(self) -> TextIO:  # type: ignore[override]  # ours cannot be set
        """The present stream; for a line of level CRITICAL, its places of their own."""
        return critical_stream() if self._is_critical else sys.stderr

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line, unless it repeats itself too often."""
        if sys.stderr is None:  # closed before our start
            return
        for repeated in self._repeats.ended(record.created):
            self._write(repeated)
        if self._repeats.is_wanted(record):
            self._write(record)

    def tell_repeats(self) -> None:
        """Write how often each line was repeated, and begin anew."""
        if sys.stderr is None:
            return
        with self.lock or nullcontext():
            for repeated in self._repeats.ended(math.inf):
                self._write(repeated)

    def close(self) -> None:
        """End the handler."""
        self.tell_repeats()
        super().close()

    def _write(self, record: logging.LogRecord) -> None:
        self._is_critical = record.levelno >= logging.CRITICAL
        super().emit(record)


def _is_heard(record: logging.LogRecord) -> bool:
    root = record.name.partition(".")[0]
    return record.levelno >= _LEAST_LEVELS.get(root, logging.NOTSET)
