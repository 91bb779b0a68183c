"""Make any JSON text acceptable to PostgreSQL's jsonb.

jsonb refuses what JSON allows: the character U+0000, lone surrogates, and numbers
beyond the range of numeric.  A payload must never cost its tick, so these become
U+FFFD, and such a number becomes a string with the same digits.

The text is changed token by token and never parsed.  The rest of the text stays the same,
and the depth of nesting does not matter.

Source: PostgreSQL documentation, "JSON Types".
"""

from __future__ import annotations

import re
from typing import Final

# The payload of a tick that keeps none.
NO_PAYLOAD: Final = b"{}"

# numeric has at most 131,072 digits before the point and 16,383 after it.  A number of
# fewer than 6,000 characters with an exponent of at most four digits is always inside.
_HUGE_EXPONENT: Final = re.compile(rb"[eE][+-]?[0-9]{5}")
# In this shape and without signs, the payload has this text where a number would match the
# pattern above.  To search for it takes a quarter of the time.
_SHAPE: Final = bytes.maketrans(b"123456789E", b"000000000e")
_SIGNS: Final = b"+-"
_HUGE_SHAPE: Final = b"0e00000"
_HUGE: Final = 6_000
_TOKEN: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"|-?[0-9][0-9.eE+-]*+', re.DOTALL)
# A whole pair comes first: jsonb refuses only halves on their own.
_ESCAPE: Final = re.compile(
    rb"\\u[dD][89abAB]..\\u[dD][c-fC-F]..|\\u(?:0000|[dD][89a-fA-F]..)|\\."
)
_REPLACED: Final = re.compile(rb"\\u(?:0000|[dD]...)")
_REPLACEMENT: Final = b"\\ufffd"


def jsonb_safe(payload: bytes) -> tuple[bytes, bool]:
    """Return the payload as jsonb takes it, and whether something was replaced.

    Args:
        payload: Valid JSON text in valid UTF-8.
    """
    # Nearly every payload ends here.  The checks are cheap; they may find too much, and
    # then the substitution below changes nothing.
    if (
        len(payload) < _HUGE
        and b"\\" not in payload
        and _HUGE_SHAPE not in payload.translate(_SHAPE, _SIGNS)
    ):
        return payload, False
    mended = _TOKEN.sub(_mend_token, payload)
    return mended, mended != payload


def _mend_token(found: re.Match[bytes]) -> bytes:
    token = found[0]
    if token.startswith(b'"'):
        return _ESCAPE.sub(_mend_escape, token) if b"\\u" in token else token
    is_huge = len(token) >= _HUGE or _HUGE_EXPONENT.search(token) is not None
    return b'"%b"' % token if is_huge else token


def _mend_escape(found: re.Match[bytes]) -> bytes:
    return _REPLACEMENT if _REPLACED.fullmatch(found[0]) else found[0]
