"""Cursors: where a page ended, as a text that says nothing to anybody else.

It holds a version, a checksum of the question, and the place.  The checksum is against
mistakes, not against people: a cursor only ever leads to rows that the question asks for.
"""

from __future__ import annotations

import base64
import binascii
from hashlib import blake2b
from http import HTTPStatus
from typing import Final

import msgspec

from greeks_trio.api.answers import Problem
from greeks_trio.postgres.reads.questions import Place, Question

_VERSION: Final = 1
_DIGEST_BYTES: Final = 6


class _Cursor(msgspec.Struct, array_like=True, frozen=True):
    version: int
    question: str
    place: Place


def encode_cursor(question: Question, place: Place | None) -> str | None:
    """Return the text for a place, `None` for none."""
    if place is None:
        return None
    cursor = _Cursor(_VERSION, _digest(question), place)
    return base64.urlsafe_b64encode(msgspec.json.encode(cursor)).decode().rstrip("=")


def decode_cursor(question: Question, text: str | None) -> Place | None:
    """Return the place for a text.

    Raises:
        Problem: it is no cursor, or one of another question.
    """
    if text is None:
        return None
    try:
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        raw = base64.b64decode(padded, altchars=b"-_", validate=True)
        cursor = msgspec.json.decode(raw, type=_Cursor)
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        raise _problem("It is no cursor of this interface.") from None
    if cursor.version != _VERSION or cursor.question != _digest(question):
        raise _problem("It belongs to a list with other filters.")
    return cursor.place


def _digest(question: Question) -> str:
    encoded = msgspec.json.encode(question)
    return blake2b(encoded, digest_size=_DIGEST_BYTES).hexdigest()


def _problem(reason: str) -> Problem:
    return Problem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        f"The cursor is not valid here. {reason} Begin without one.",
    )
