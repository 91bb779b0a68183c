"""Ticks from the data of a binary COPY.  Pure.

The writer sends its rows to PostgreSQL in this format, so the log of acknowledged rows
keeps the same bytes: encoding each tick once more took 6 % of the service's processor
time.  Before the data lie names and types of the columns, ``name type,name type`` and a
zero byte, so another version can read it.

Source: PostgreSQL documentation, "COPY", section "Binary Format"; ``numeric_send``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from greeks_trio.model.records import Tick, UnifiedPositionRecord

_SIGNATURE: Final = b"PGCOPY\n\xff\r\n\0"
# The signature, flags, and the length of an empty extension.
_ROWS_FROM: Final = len(_SIGNATURE) + 4 + 4
_COUNT: Final = struct.Struct(">h")
_LENGTH: Final = struct.Struct(">i")
_NULL: Final = -1
_END: Final = -1

_INT8: Final = struct.Struct(">q")
_INT4: Final = struct.Struct(">i")
_FLOAT8: Final = struct.Struct(">d")
_NUMERIC: Final = struct.Struct(">HhHH")
_NEGATIVE: Final = 0x4000
_SPECIAL: Final = 0x8000
_DIGITS: Final = 4  # in each of a numeric's groups

_FIRST_MOMENT: Final = datetime(2000, 1, 1, tzinfo=UTC)
_FIRST_DAY: Final = date(2000, 1, 1)

_FINGERPRINT: Final = "fingerprint"
_FIELDS: Final = frozenset(UnifiedPositionRecord.__struct_fields__)


def decode_rows(blob: bytes) -> list[Tick]:
    """Return the ticks of such data, ``read_at`` 0.

    Columns that are no field of a tick are left out.

    Raises:
        ValueError: this is no such data, or it does not make ticks.
    """
    text, _, data = blob.partition(b"\0")
    columns = [each.partition(" ")[::2] for each in text.decode("ascii").split(",")]
    try:
        return [_tick(columns, row) for row in _rows(data)]
    except (struct.error, IndexError, KeyError, TypeError, OverflowError) as exc:
        raise ValueError(f"no data of a COPY: {exc!r}") from exc


def _rows(data: bytes) -> Iterator[list[bytes | None]]:
    if not data.startswith(_SIGNATURE):
        raise ValueError("the data does not begin as that of a COPY")
    at = _ROWS_FROM
    while (count := _COUNT.unpack_from(data, at)[0]) != _END:
        at += _COUNT.size
        row: list[bytes | None] = []
        for _ in range(count):
            (length,) = _LENGTH.unpack_from(data, at)
            at += _LENGTH.size
            if length == _NULL:
                row.append(None)
                continue
            if not 0 <= length <= len(data) - at:
                raise ValueError("a value is cut")
            row.append(data[at : at + length])
            at += length
        yield row


def _tick(columns: Sequence[Sequence[str]], row: Sequence[bytes | None]) -> Tick:
    values: dict[str, Any] = {}
    for (name, kind), value in zip(columns, row, strict=True):
        if name in _FIELDS or name == _FINGERPRINT:
            values[name] = None if value is None else _DECODERS[kind](value)
    fingerprint = values.pop(_FINGERPRINT)
    return Tick(UnifiedPositionRecord(**values), fingerprint, 0.0)


def _moment(value: bytes) -> datetime:
    return _FIRST_MOMENT + timedelta(microseconds=_INT8.unpack(value)[0])


def _day(value: bytes) -> date:
    return _FIRST_DAY + timedelta(days=_INT4.unpack(value)[0])


def _numeric(value: bytes) -> Decimal:
    count, weight, sign, scale = _NUMERIC.unpack_from(value)
    if sign & _SPECIAL:
        raise ValueError("a numeric is not a number")
    groups = struct.unpack_from(f">{count}H", value, _NUMERIC.size)
    # The digits as a whole number, then the point: exact, and with all its zeros.
    whole = int("".join(f"{group:04d}" for group in groups) or "0")
    behind_point = _DIGITS * (count - weight - 1)
    if behind_point > scale:
        whole //= 10 ** (behind_point - scale)
    else:
        whole *= 10 ** (scale - behind_point)
    digits = tuple(map(int, str(whole)))
    return Decimal((int(sign == _NEGATIVE), digits, -scale))


_DECODERS: Final[dict[str, Callable[[bytes], Any]]] = {
    "timestamptz": _moment,
    "date": _day,
    "text": bytes.decode,
    "numeric": _numeric,
    "float8": lambda value: _FLOAT8.unpack(value)[0],
    "bool": lambda value: value != b"\0",
    "int8": lambda value: _INT8.unpack(value)[0],
    # Before the text lies the number of the format.
    "jsonb": lambda value: value[1:],
}
