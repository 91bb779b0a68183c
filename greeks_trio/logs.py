"""The log: one line for each event to stderr, as text or as JSON.

A message is ``area.event key=value ...`` with lazy arguments.  The levels:

- DEBUG: details of single frames.
- INFO: starts, stops and the configuration.
- WARNING: a problem that the program recovers from by itself.
- ERROR: a problem that a person should look at.
- CRITICAL: data were lost, or the program has a bug.

An expected error (`greeks_trio.errors`) in ``exc_info`` or among the arguments is shown as
its message, also inside exception groups.  Only unexpected errors have a traceback.
"""

from __future__ import annotations

import json as stdlib_json
import logging
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, TextIO

import msgspec

from greeks_trio.errors import GreeksError, leaves, plain_reason

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
    "psycopg": logging.ERROR,
}

_EVENT: Final = re.compile(r"[a-z_]+\.[a-z_.]+")
# A conversion of %-formatting, with the key in front of it if there is one.
_CONVERSION: Final = re.compile(r"(?:([A-Za-z_]\w*)=)?%(?!%)[-+ #0-9.]*([a-zA-Z])")


def configure_logging(*, json: bool = False, level: int | str = logging.INFO) -> None:
    """Send the log to stderr, in place of any earlier configuration.

    Args:
        json: One JSON object a line instead of text.
        level: The least level that is written.
    """
    handler = _StderrHandler()
    handler.setFormatter(JsonFormatter() if json else TextFormatter())
    handler.addFilter(_is_heard)
    logging.basicConfig(handlers=[handler], level=level, force=True)
    logging.captureWarnings(capture=True)


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to the present `sys.stderr`.

    The live table of the demo replaces `sys.stderr`, so that log lines do not break it.
    """

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]  # ours cannot be set
        return sys.stderr


class TextFormatter(logging.Formatter):
    """``2026-01-31T09:30:00.123Z INFO feed.connected broker=ibkr``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, followed by the traceback of a bug."""
        line = f"{_time(record)} {record.levelname} {_message(record)}"
        error, traceback = _explained(self, record)
        if error:
            line = f"{line} error={error!r}"
        return f"{line}\n{traceback}" if traceback else line


class JsonFormatter(logging.Formatter):
    """One object a line: time, level, logger, event, message and the message's keys."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the object as text."""
        message = _message(record)
        event = _EVENT.match(message)
        error, traceback = _explained(self, record)
        line = _fields(record) | {
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "event": event.group() if event else None,
            "message": message,
            "error": error,
            "traceback": traceback,
        }
        present = {key: value for key, value in line.items() if value is not None}
        try:
            return msgspec.json.encode(present).decode()
        except UnicodeEncodeError:  # a lone surrogate in a text from elsewhere
            return stdlib_json.dumps(present)


def _is_heard(record: logging.LogRecord) -> bool:
    root = record.name.partition(".")[0]
    return record.levelno >= _LEAST_LEVELS.get(root, logging.NOTSET)


def _time(record: logging.LogRecord) -> str:
    when = datetime.fromtimestamp(record.created, UTC)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _message(record: logging.LogRecord) -> str:
    text = str(record.msg)
    if record.args:
        text %= _plain_args(record)
    if not record.name.startswith("greeks_trio"):
        text = f"{record.name}: {text}"
    return text.replace("\r", "\\r").replace("\n", "\\n")


def _plain_args(
    record: logging.LogRecord,
) -> tuple[object, ...] | Mapping[str, object] | None:
    args = record.args
    if not isinstance(args, tuple):
        return args
    return tuple(
        plain_reason(arg) if isinstance(arg, BaseException) else arg for arg in args
    )


def _fields(record: logging.LogRecord) -> dict[str, object]:
    """Return the ``key=%s`` arguments by their keys, numbers as numbers."""
    conversions = _CONVERSION.findall(str(record.msg))
    args = _plain_args(record)
    if not isinstance(args, tuple) or len(args) != len(conversions):
        return {}
    return {
        key: arg if isinstance(arg, int | float) else str(arg)
        for (key, _), arg in zip(conversions, args, strict=True)
        if key
    }


def _explained(
    formatter: logging.Formatter, record: logging.LogRecord
) -> tuple[str | None, str | None]:
    """Return ``exc_info`` as a message if it was expected, otherwise as a traceback."""
    if not record.exc_info or record.exc_info[1] is None:
        return None, None
    exc = record.exc_info[1]
    if all(isinstance(leaf, GreeksError) for leaf in leaves(exc)):
        return plain_reason(exc), None
    return None, formatter.formatException(record.exc_info)
