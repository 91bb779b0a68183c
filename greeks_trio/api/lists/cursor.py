"""Cursors: the position where a page ended, as a text without meaning for clients.

A cursor holds a version, a checksum of the list and its filters, and the position.  The
checksum is against mistakes, not against attacks: a forged cursor leads to no other rows
than those that its request may have anyway.
"""

from __future__ import annotations

import base64
import binascii
from hashlib import blake2b
from http import HTTPStatus
from typing import Final

import msgspec

from greeks_trio.api.answers import Problem
from greeks_trio.api.lists.resource import ListFilter
from greeks_trio.postgres.reads.listing import PagePosition

_VERSION: Final = 2
_DIGEST_BYTES: Final = 6


class _Cursor(msgspec.Struct, array_like=True, frozen=True):
    version: int
    digest: str
    position: PagePosition


def encode_cursor(wanted: ListFilter, position: PagePosition | None) -> str | None:
    """Return the text for a position, `None` for none."""
    if position is None:
        return None
    cursor = _Cursor(_VERSION, _digest(wanted), position)
    return base64.urlsafe_b64encode(msgspec.json.encode(cursor)).decode().rstrip("=")


def decode_cursor(wanted: ListFilter, text: str | None) -> PagePosition | None:
    """Return the position for a text.

    Raises:
        Problem: the text is no cursor, or the cursor of another list.
    """
    if text is None:
        return None
    try:
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        raw = base64.b64decode(padded, altchars=b"-_", validate=True)
        cursor = msgspec.json.decode(raw, type=_Cursor)
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        raise _problem("It is not a `next_cursor` of this service.") from None
    if cursor.version != _VERSION:
        raise _problem("It comes from another version of the service.")
    if cursor.digest != _digest(wanted):
        raise _problem("It belongs to another list, or to a list with other filters.")
    return cursor.position


def _digest(wanted: ListFilter) -> str:
    encoded = msgspec.json.encode(wanted)
    return blake2b(encoded, digest_size=_DIGEST_BYTES).hexdigest()


def _problem(reason: str) -> Problem:
    return Problem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        f"`cursor` is not valid here. {reason} Begin without it.",
    )
