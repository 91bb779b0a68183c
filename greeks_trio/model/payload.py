"""Make any JSON text acceptable to PostgreSQL's jsonb.

jsonb refuses what JSON allows: the character U+0000, lone surrogates, and numbers
beyond the range of numeric.  A payload must never cost its tick, so these become
U+FFFD, and such a number becomes the text that was sent.

Source: PostgreSQL documentation, "JSON Types".
"""

from __future__ import annotations

import json
import re
from typing import Final

# What may need mending.  Nearly every payload passes this one search.
_SUSPICIOUS: Final = re.compile(
    rb"\\u0000|\\u[dD][89a-fA-F]|[eE][+-]?\d{3}|\d{400}|:\s*-?[NI]"
)
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")
# Doubles end at 308; numeric goes on to 131,072 digits, but nothing real does.
_MAX_EXPONENT: Final = 400


def jsonb_safe(payload: bytes) -> tuple[bytes, bool]:
    """Return the payload as jsonb takes it, and whether something was replaced.

    Args:
        payload: Valid JSON text in valid UTF-8.
    """
    if _SUSPICIOUS.search(payload) is None:
        return payload, False
    mender = _Mender()
    value = json.loads(
        payload,
        parse_float=mender.real,
        parse_int=mender.integer,
        parse_constant=mender.constant,
    )
    mended = mender.mend(value)
    if not mender.replaced:
        return payload, False
    return json.dumps(mended, separators=(",", ":")).encode(), True


class _Mender:
    """Replaces what jsonb refuses and remembers whether it had to."""

    def __init__(self) -> None:
        self.replaced = False

    def real(self, text: str) -> float | str:
        exponent = text.lower().partition("e")[2]
        if len(text) > _MAX_EXPONENT or (
            exponent and abs(int(exponent)) > _MAX_EXPONENT
        ):
            return self.constant(text)
        return float(text)

    def integer(self, text: str) -> int | str:
        return self.constant(text) if len(text) > _MAX_EXPONENT else int(text)

    def constant(self, text: str) -> str:
        self.replaced = True
        return text

    def mend(self, value: object) -> object:
        match value:
            case str():
                mended = _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", value)
                self.replaced |= mended != value
                return mended
            case list():
                return [self.mend(item) for item in value]
            case dict():
                return {self.mend(key): self.mend(item) for key, item in value.items()}
        return value
