"""How ticks and journal entries lie on the disk.  Pure.

The first byte of a blob tells the encoding of the rest.  Usually this is msgpack: maps
with field names, so a later version can add fields with defaults and still read the blobs
of this one.  Large blobs are compressed.  Text with lone surrogates does not fit into
msgpack, so such a blob is JSON with escapes.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

import msgspec

from greeks_trio.model.account_values import AccountValuesSnapshot
from greeks_trio.model.records import (
    FeedGap,
    LeftoverGaps,
    PositionsSnapshot,
    Tick,
    UnifiedPositionRecord,
)
from greeks_trio.pipeline.stores import JournalEntry

_MSGPACK: Final = b"m"
_COMPRESSED: Final = b"z"
_JSON: Final = b"j"

# Below this a blob fits into a page or two anyway.
_COMPRESS_FROM: Final = 4096
# A compressed blob unpacks to so many bytes at most.  Larger ones are not compressed, so
# a blob on disk never needs more memory than this or its own size.
_UNPACKED_MAX: Final = 256 * 2**20
# The fastest: Greeks of one frame differ in few bytes, so it already saves five sixths.
_LEVEL: Final = 1

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

_JOURNAL_TYPES: Final[dict[str, type[JournalEntry]]] = {
    "positions": PositionsSnapshot,
    "account-values": AccountValuesSnapshot,
    "gap": FeedGap,
    "leftover-gaps": LeftoverGaps,
}
_JOURNAL_KINDS: Final = {type_: kind for kind, type_ in _JOURNAL_TYPES.items()}

_T = TypeVar("_T")


class _StoredTick(msgspec.Struct, frozen=True, gc=False):
    record: UnifiedPositionRecord
    fingerprint: int


class _StoredTicks(msgspec.Struct, frozen=True, gc=False):
    ticks: list[_StoredTick]


def encode_ticks(ticks: Sequence[Tick], *, compress: bool = True) -> bytes:
    """Return a blob of the ticks; to compress them takes ten times as long."""
    # An object for each tick, without the fields that mean nothing later, would take longer
    # than all the rest.  They are skipped on reading.
    return _encode({"ticks": ticks}, compress=compress)


def decode_ticks(blob: bytes) -> list[Tick]:
    """Return the ticks of a blob, ``read_at`` 0.

    Raises:
        ValueError: `encode_ticks` does not return such a blob.
    """
    stored = _decode(blob, _StoredTicks).ticks
    return [Tick(each.record, each.fingerprint, 0.0) for each in stored]


def encode_journal_entry(
    entry: JournalEntry, *, compress: bool = True
) -> tuple[str, bytes]:
    """Return the kind of the journal entry and its blob."""
    return _JOURNAL_KINDS[type(entry)], _encode(entry, compress=compress)


def decode_journal_entry(kind: str, blob: bytes) -> JournalEntry:
    """Return the journal entry of a blob.

    Raises:
        ValueError: `encode_journal_entry` does not return such a blob.
    """
    if kind not in _JOURNAL_TYPES:
        raise ValueError(f"no journal entry is a {kind!r}")
    return _decode(blob, _JOURNAL_TYPES[kind])


def checksum(blob: bytes) -> int:
    """Return a number that another blob most likely does not have."""
    return zlib.crc32(blob)


def verified(blob: bytes, expected: int) -> bytes:
    """Return the blob, which must have this checksum.

    Raises:
        ValueError: the blob has another one.
    """
    if checksum(blob) != expected:
        raise ValueError("its checksum is wrong")
    return blob


def to_microseconds(moment: datetime) -> int:
    """Return the moment as microseconds since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


def from_microseconds(number: int) -> datetime:
    """Return the moment, UTC.

    Raises:
        OverflowError: there is no such day.
    """
    return _EPOCH + number * _MICROSECOND


def _encode(value: object, *, compress: bool = True) -> bytes:
    try:
        plain = msgspec.msgpack.encode(value)
    except UnicodeEncodeError:
        return _JSON + json.dumps(msgspec.to_builtins(value)).encode("ascii")
    if not compress or not _COMPRESS_FROM <= len(plain) <= _UNPACKED_MAX:
        return _MSGPACK + plain
    return _COMPRESSED + zlib.compress(plain, _LEVEL)


def _decode(blob: bytes, type_: type[_T]) -> _T:
    decode = _DECODERS.get(blob[:1])
    if decode is None:
        raise ValueError(f"no blob begins with {blob[:1]!r}")
    try:
        value: _T = decode(blob[1:], type_)
    except (msgspec.MsgspecError, zlib.error, RecursionError) as exc:
        raise ValueError(str(exc)) from exc
    return value


def _decode_msgpack(rest: bytes, type_: type[_T]) -> _T:
    return msgspec.msgpack.decode(rest, type=type_)


def _decode_compressed(rest: bytes, type_: type[_T]) -> _T:
    unpacker = zlib.decompressobj()
    plain = unpacker.decompress(rest, _UNPACKED_MAX)
    if not unpacker.eof:
        raise ValueError(f"it is cut, or unpacks to more than {_UNPACKED_MAX} bytes")
    return msgspec.msgpack.decode(plain, type=type_)


def _decode_json(rest: bytes, type_: type[_T]) -> _T:
    return msgspec.convert(json.loads(rest), type_)


_DECODERS: Final[dict[bytes, Callable[[bytes, Any], Any]]] = {
    _MSGPACK: _decode_msgpack,
    _COMPRESSED: _decode_compressed,
    _JSON: _decode_json,
}
