"""How ticks become rows of ``greek_snapshots``, or arrays of their values.

Discussion of the format: binary COPY through psycopg's row formatter, which is written
in C.  Packing the bytes here was slower.  The payload is JSON text already, so it is
passed as bytes and gets jsonb's version number in front: wrapped in psycopg's ``Jsonb``
it took a quarter of the whole time.  Strike and quantity have few different values, and
psycopg needs as long for the two as for all the other columns, so their bytes are kept.

Source: PostgreSQL documentation, "COPY", section "Binary Format"; ``jsonb_recv``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from decimal import Decimal
from operator import attrgetter
from typing import Any, Final, cast

import psycopg
import trio
from psycopg import adapters
from psycopg.abc import Buffer
from psycopg.adapt import Dumper
from psycopg.copy import AsyncCopy, AsyncWriter
from psycopg.postgres import types
from psycopg.pq import Format
from psycopg.types.string import BytesBinaryDumper

from greeks_trio.model.records import Tick

# Column and type, in the order of `tick_row`, which gives bytes for some of the types.
COLUMNS: Final = (
    ("event_time", "timestamptz"),
    ("received_at", "timestamptz"),
    ("broker", "text"),
    ("account_id", "text"),
    ("underlying", "text"),
    ("contract_key", "text"),
    ("expiration", "date"),
    ("strike", "numeric"),
    ("option_type", "text"),
    ("quantity", "numeric"),
    ("delta", "float8"),
    ("gamma", "float8"),
    ("theta", "float8"),
    ("vega", "float8"),
    ("rho", "float8"),
    ("implied_volatility", "float8"),
    ("underlying_price", "float8"),
    ("underlying_price_at", "timestamptz"),
    ("price", "float8"),
    ("bid", "float8"),
    ("ask", "float8"),
    ("in_rotation", "bool"),
    ("availability", "text"),
    ("source_payload", "jsonb"),
    ("fingerprint", "int8"),
)
# Lies before the data of a COPY where it is kept: names and types of its columns.
COLUMNS_TEXT: Final = (
    ",".join(f"{name} {kind}" for name, kind in COLUMNS).encode("ascii") + b"\0"
)
# As numbers, because psycopg would look up each name again for each COPY.
PARAMETER_OIDS: Final = tuple(types[kind].oid for _, kind in COLUMNS)
_BYTES_OID: Final = types["bytea"].oid
_NUMERIC_OID: Final = types["numeric"].oid
# The types that psycopg has to make bytes of: bytes stay as they are.
TYPES: Final = tuple(
    _BYTES_OID if kind in ("jsonb", "numeric") else types[kind].oid
    for _, kind in COLUMNS
)
_NAMES: Final = ", ".join(name for name, _ in COLUMNS)

_JSONB_VERSION: Final = b"\x01"
# The bytes around the fields of a COPY's only row: signature, flags, extension and the
# number of fields before them, and the end mark.
_BEFORE_FIELDS: Final = 11 + 4 + 4 + 2
_AFTER_FIELDS: Final = 2


# Contracts come and go; then the numbers are made again.
_KEPT_NUMBERS: Final = 20_000


class _PackedNumbers(dict[str, bytes]):
    """The bytes of numbers in PostgreSQL's format by their text, which is exact.

    The hash of a number would not do: 600 and 600.00 are equal, and not the same.
    """

    def __init__(self) -> None:
        dumper = adapters.get_dumper_by_oid(_NUMERIC_OID, Format.BINARY)
        self._dump = dumper(Decimal).dump

    def __missing__(self, text: str) -> bytes:
        if len(self) >= _KEPT_NUMBERS:
            self.clear()
        packed = self[text] = bytes(cast(Buffer, self._dump(Decimal(text))))
        return packed


_PACKED: Final = _PackedNumbers()


def tick_row(tick: Tick) -> tuple[object, ...]:
    """Return the values of one row, as `TYPES` says."""
    record = tick.record
    strike, quantity = record.strike, record.quantity
    return (
        record.event_time,
        record.received_at,
        record.broker,
        record.account_id,
        record.underlying,
        record.contract_key,
        record.expiration,
        None if strike is None else _PACKED[str(strike)],
        record.option_type,
        None if quantity is None else _PACKED[str(quantity)],
        record.delta,
        record.gamma,
        record.theta,
        record.vega,
        record.rho,
        record.implied_volatility,
        record.underlying_price,
        record.underlying_price_at,
        record.price,
        record.bid,
        record.ask,
        record.in_rotation,
        record.availability,
        _JSONB_VERSION + record.source_payload,
        tick.fingerprint,
    )


COPY_TICKS: Final = (
    f"copy greek_snapshots ({_NAMES}) from stdin (format binary)".encode()
)

# In one order of the keys everywhere, so that two that insert the same rows never wait
# for each other in a circle; of equal keys the one received first.  Which rows are new is
# asked by RETURNING: a distributed PostgreSQL does not say in its command tag.  The key is
# named, so that a row which another unique index refuses is not taken for a stored one.
INSERT_NEW: Final = (
    f"insert into greek_snapshots ({_NAMES}) select {_NAMES}"  # noqa: S608
    f" from unnest({', '.join(f'%b::{kind}[]' for _, kind in COLUMNS)})"
    f" as offered ({_NAMES})"
    " order by event_time, broker, account_id, contract_key, fingerprint, received_at"
    " on conflict (broker, account_id, contract_key, event_time, fingerprint)"
    " do nothing returning 1"
).encode()


def insert_rows(rows: int) -> bytes:
    """Return the statement that inserts so many rows, with a parameter for each value."""
    places = iter(range(1, rows * len(COLUMNS) + 1))
    values = [
        f"({', '.join(f'${next(places)}' for _ in COLUMNS)})" for _ in range(rows)
    ]
    return f"insert into greek_snapshots ({_NAMES}) values {', '.join(values)}".encode()  # noqa: S608


def register_dumpers(connection: psycopg.AsyncConnection[Any]) -> None:
    """Let psycopg pass bytes on as they are, which its default does in Python."""
    connection.adapters.register_dumper(bytes, BytesBinaryDumper)
    connection.adapters.register_dumper(PackedArray, PackedArrayDumper)


class PackedArray(bytes):
    """A parameter: an array in PostgreSQL's binary format."""


class PackedArrayDumper(Dumper):
    """Passes a `PackedArray` on; the statement names its type."""

    format = Format.BINARY

    def dump(self, obj: PackedArray) -> Buffer:
        """Return the bytes."""
        return bytes(obj)


async def pack_columns(
    cursor: psycopg.AsyncCursor[Any], ticks: Sequence[Tick]
) -> list[PackedArray]:
    """Return the parameters of `INSERT_NEW`.

    Other tasks get a turn after each column, which takes some tenths of a millisecond for
    thousands of ticks.

    Raises:
        psycopg.DataError: psycopg cannot put a value into PostgreSQL's format.
        UnicodeEncodeError: a text cannot be encoded as UTF-8.
    """
    packed = []
    for (_, kind), column in zip(COLUMNS, _values_by_column(ticks), strict=True):
        packed.append(await _pack(cursor, kind, column))
        await trio.lowlevel.checkpoint()
    return packed


def _values_by_column(ticks: Sequence[Tick]) -> Iterator[list[object]]:
    records = [tick.record for tick in ticks]
    for name, _ in COLUMNS[:-2]:
        yield list(map(attrgetter(name), records))
    yield [_JSONB_VERSION + record.source_payload for record in records]
    yield [tick.fingerprint for tick in ticks]


async def _pack(
    cursor: psycopg.AsyncCursor[Any], kind: str, values: Sequence[object]
) -> PackedArray:
    """Return the values as an array.

    The elements of an array look like the fields of a row of COPY, so psycopg's formatter
    of rows makes them.  It is written in C, and it refuses the same values as in a COPY.
    """
    writer = _Collected()
    copy = AsyncCopy(cursor, binary=True, writer=writer)
    element_oid = types[kind].oid
    # JSON comes as bytes, see above.
    passed_oid = _BYTES_OID if kind == "jsonb" else element_oid
    copy.set_types([passed_oid] * len(values))
    await copy.write_row(values)
    await copy.finish(None)
    elements = writer.parts[0] if len(writer.parts) == 1 else b"".join(writer.parts)
    # One dimension, with nulls perhaps, the type, the number, and the first index.
    header = struct.pack(">iiIii", 1, 1, element_oid, len(values), 1)
    return PackedArray(header + elements[_BEFORE_FIELDS:-_AFTER_FIELDS])


class _Collected(AsyncWriter):
    """Keeps the bytes of a COPY."""

    def __init__(self) -> None:
        self.parts: list[Buffer] = []

    async def write(self, data: Buffer) -> None:
        if data:
            self.parts.append(data)
