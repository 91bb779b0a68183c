"""The forms of a log line: text, logfmt and JSON.

An expected error (`greeks_trio.errors`) in ``exc_info`` or among the arguments is shown as
its message, also inside exception groups.  Only unexpected errors have a traceback.

No line has a secret or a control character, not even in an argument.  A long line
is cut.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from textwrap import indent
from typing import Final, Literal, TypeAlias

import msgspec

from greeks_trio.errors import GreeksError, leaves, plain_reason
from greeks_trio.foreign_text import clean, clean_lines

LogFormat: TypeAlias = Literal["text", "logfmt", "json"]

# The line with the configuration has 3,000 characters.
_LONGEST_LINE: Final = 10_000
_LONGEST_TRACEBACK: Final = 20_000

_NEEDS_QUOTES: Final = re.compile(r'[\s"=\\]')
# The keys of each line; an argument with such a name is in the message only.
_RESERVED: Final = frozenset(
    {"time", "level", "logger", "event", "message", "error", "traceback"}
)
_EVENT: Final = re.compile(r"[a-z_]+\.[a-z_.]+")
# A conversion of %-formatting, with the key in front of it if there is one.
_CONVERSION: Final = re.compile(r"(?:([A-Za-z_]\w*)=)?%(?!%)[-+ #0-9.]*([a-zA-Z])")


class TextFormatter(logging.Formatter):
    """``2026-01-31T09:30:00.123Z INFO feed.connected broker=ibkr``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, followed by the traceback of a bug."""
        line = f"{_time(record)} {record.levelname} {message_of(record)}"
        error, traceback = _explained(self, record)
        if error:
            line = f"{line} error={error!r}"
        # Indented, because a message inside may look like a line of the log.
        return f"{line}\n{indent(traceback, '  ')}" if traceback else line


class JsonFormatter(logging.Formatter):
    """One object a line: time, level, logger, event, message and the message's keys."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the object as text."""
        return msgspec.json.encode(_parts(self, record)).decode()


class LogfmtFormatter(logging.Formatter):
    """``time=2026-01-31T09:30:00.123Z level=INFO event=feed.connected broker=ibkr ...``.

    The same keys as in JSON.  A value with a space, a quote, a backslash or ``=`` is quoted
    as in JSON.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the pairs in one line."""
        parts = _parts(self, record).items()
        return " ".join(f"{key}={_quoted(str(value))}" for key, value in parts)


FORMATTERS: Final[Mapping[LogFormat, type[logging.Formatter]]] = {
    "text": TextFormatter,
    "logfmt": LogfmtFormatter,
    "json": JsonFormatter,
}


def message_of(record: logging.LogRecord) -> str:
    """Return the message of the record in one line that is safe to show."""
    text = str(record.msg)
    if record.args:
        text %= _plain_args(record)
    if not record.name.startswith("greeks_trio"):
        text = f"{record.name}: {text}"
    return clean(text, limit=_LONGEST_LINE)


def _parts(
    formatter: logging.Formatter, record: logging.LogRecord
) -> dict[str, object]:
    """Return the parts of the line by their keys, without those that it does not have."""
    message = message_of(record)
    event = _EVENT.match(message)
    error, traceback = _explained(formatter, record)
    parts: dict[str, object] = {
        "time": _time(record),
        "level": record.levelname,
        "logger": record.name,
        "event": event.group() if event else None,
    }
    parts |= {
        key: value for key, value in _fields(record).items() if key not in _RESERVED
    }
    parts |= {"message": message, "error": error, "traceback": traceback}
    return {key: value for key, value in parts.items() if value is not None}


def _quoted(value: str) -> str:
    if value and not _NEEDS_QUOTES.search(value):
        return value
    return msgspec.json.encode(value).decode()


def _time(record: logging.LogRecord) -> str:
    when = datetime.fromtimestamp(record.created, UTC)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


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
        key: arg if isinstance(arg, int | float) else clean(str(arg))
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
    traceback = clean_lines(formatter.formatException(record.exc_info))
    if len(traceback) > _LONGEST_TRACEBACK:
        half = _LONGEST_TRACEBACK // 2
        traceback = f"{traceback[:half]}\n  ...\n{traceback[-half:]}"
    return None, traceback
