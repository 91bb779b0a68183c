"""The log: one line per event to stderr, as text or as JSON.

A message is ``area.event key=value ...`` with lazy arguments.  What each level means:
DEBUG what single frames did; INFO life cycle and configuration; WARNING recovered on its
own; ERROR someone should look; CRITICAL data were lost, or a bug.

An expected error (`greeks_trio.errors`) in ``exc_info`` or among the arguments is shown in
words, also from inside exception groups; only what nobody expected has a traceback.
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

# Other people's loggers, and the least level at which they are heard.  tastytrade sets
# itself to DEBUG, where it logs tokens, when it is imported: that may be after us, so
# the limit sits in our handler.  httpx2 logs each request at INFO.
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
    """Send the log to stderr, replacing what was configured before.

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
    """Writes to whatever `sys.stderr` is at the moment of writing.

    The demo's live table puts something in its place, or the log would tear it apart.
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
    """Return ``exc_info`` as words if it was expected, else as a traceback."""
    if not record.exc_info or record.exc_info[1] is None:
        return None, None
    exc = record.exc_info[1]
    if all(isinstance(leaf, GreeksError) for leaf in leaves(exc)):
        return plain_reason(exc), None
    return None, formatter.formatException(record.exc_info)
