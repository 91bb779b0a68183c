"""How ticks and notes lie on the disk.  Pure.

A blob is one byte that says how the rest is encoded, then the rest: msgpack maps with
field names, so that a later version whose records have more fields, each with a default,
reads what this one wrote.  Large blobs are compressed.  What msgpack cannot hold, text
with lone surrogates, is JSON with escapes.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

import msgspec

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
# The fastest: Greeks of one frame differ in few bytes, so it already saves five sixths.
_LEVEL: Final = 1

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

_NOTE_TYPES: Final[dict[str, type[JournalEntry]]] = {
    "positions": PositionsSnapshot,
    "gap": FeedGap,
    "leftover-gaps": LeftoverGaps,
}
_NOTE_KINDS: Final = {type_: kind for kind, type_ in _NOTE_TYPES.items()}

_T = TypeVar("_T")


class _StoredTick(msgspec.Struct, frozen=True, gc=False):
    record: UnifiedPositionRecord
    fingerprint: int


class _StoredTicks(msgspec.Struct, frozen=True, gc=False):
    ticks: list[_StoredTick]


def encode_ticks(ticks: Sequence[Tick]) -> bytes:
    """Return the ticks without ``read_at``."""
    return _encode(_StoredTicks([_StoredTick(t.record, t.fingerprint) for t in ticks]))


def decode_ticks(blob: bytes) -> list[Tick]:
    """Return the ticks of a blob, ``read_at`` 0.

    Raises:
        ValueError: it is not what `encode_ticks` returns.
    """
    stored = _decode(blob, _StoredTicks).ticks
    return [Tick(each.record, each.fingerprint, 0.0) for each in stored]


def encode_note(note: JournalEntry) -> tuple[str, bytes]:
    """Return the note's kind and its blob."""
    return _NOTE_KINDS[type(note)], _encode(note)


def decode_note(kind: str, blob: bytes) -> JournalEntry:
    """Return the note of a blob.

    Raises:
        ValueError: it is not what `encode_note` returns.
    """
    if kind not in _NOTE_TYPES:
        raise ValueError(f"no note is a {kind!r}")
    return _decode(blob, _NOTE_TYPES[kind])


def checksum(blob: bytes) -> int:
    """Return what tells a blob from the same one with wrong bytes."""
    return zlib.crc32(blob)


def verified(blob: bytes, expected: int) -> bytes:
    """Return the blob.

    Raises:
        ValueError: it has another checksum.
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


def _encode(value: object) -> bytes:
    try:
        plain = msgspec.msgpack.encode(value)
    except UnicodeEncodeError:
        return _JSON + json.dumps(msgspec.to_builtins(value)).encode("ascii")
    if len(plain) < _COMPRESS_FROM:
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
    return msgspec.msgpack.decode(zlib.decompress(rest), type=type_)


def _decode_json(rest: bytes, type_: type[_T]) -> _T:
    return msgspec.convert(json.loads(rest), type_)


_DECODERS: Final[dict[bytes, Callable[[bytes, Any], Any]]] = {
    _MSGPACK: _decode_msgpack,
    _COMPRESSED: _decode_compressed,
    _JSON: _decode_json,
}
