"""The text of a websocket frame or an answer that is not quite JSON.  Pure."""

from __future__ import annotations

import json
import re
from typing import Final

from greeks_trio.brokers.tastytrade.wire.rows import read_integer
from greeks_trio.errors import ProtocolViolation

_SURROGATES: Final = re.compile("[\ud800-\udfff]")
_ESCAPED_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")
# A string, perhaps without an end, or a number that JSON does not have.
_BARE: Final = re.compile(
    r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|-?\b(?:NaN|Infinity)\b', re.DOTALL
)


def text_of(frame: str | bytes) -> str:
    """Return the frame's text.

    Raises:
        ProtocolViolation: it is no UTF-8.
    """
    # Whole, because msgspec does not look into the strings that it skips.
    try:
        return frame if isinstance(frame, str) else frame.decode()
    except UnicodeDecodeError:
        raise ProtocolViolation("bad-utf8", frame=frame) from None


def mended_json(text: str) -> str | None:
    """Return the text as msgspec reads it, `None` if nothing in it could be mended.

    NaN and Infinity become texts.  U+FFFD stands for surrogates that msgspec refuses.
    """
    quoted = _BARE.sub(_quote, text)
    return quoted if quoted != text else _without_lone_surrogates(text)


def _quote(found: re.Match[str]) -> str:
    token = found[0]
    return token if token.startswith('"') else f'"{token}"'


def _without_lone_surrogates(text: str) -> str | None:
    """Return the frame with U+FFFD for surrogates that msgspec refuses, else `None`.

    JSON allows an escaped half of a character, UTF-8 does not.
    """
    try:
        if not (_ESCAPED_SURROGATE.search(text) or _SURROGATES.search(text)):
            return None
        value = json.loads(text, parse_int=read_integer)
        mended = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError):
        return None
    mended = _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", mended)
    return None if mended == text else mended
