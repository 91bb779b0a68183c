"""Make any JSON text acceptable to PostgreSQL's jsonb.

jsonb refuses what JSON allows: the character U+0000, lone surrogates, and numbers
beyond the range of numeric.  A payload must never cost its tick, so these become
U+FFFD, and such a number becomes the text that was sent.

Source: PostgreSQL documentation, "JSON Types".
"""

from __future__ import annotations

import json
import math
import re
from typing import Final

# numeric ends at 131,072 digits before the point and 16,383 after it.
_HUGE_EXPONENT: Final = re.compile(rb"[eE][+-]?[0-9]{5}")
_HUGE: Final = 100_000
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")
# Python refuses to convert integers of more digits than 4,300; nothing real has 400.
_MAX_DIGITS: Final = 400


def jsonb_safe(payload: bytes) -> tuple[bytes, bool]:
    """Return the payload as jsonb takes it, and whether something was replaced.

    Args:
        payload: Valid JSON text in valid UTF-8.
    """
    # Nearly every payload ends here, so these are cheap and may cry wolf.
    if (
        b"\\u" not in payload
        and len(payload) < _HUGE
        and _HUGE_EXPONENT.search(payload) is None
    ):
        return payload, False
    mender = _Mender()
    value = json.loads(payload, parse_float=mender.real, parse_int=mender.integer)
    mended = mender.mend(value)
    if not mender.replaced:
        return payload, False
    return json.dumps(mended, separators=(",", ":")).encode(), True


class _Mender:
    """Replaces what jsonb refuses and remembers whether it had to."""

    def __init__(self) -> None:
        self.replaced = False

    def real(self, text: str) -> float | str:
        value = float(text)
        return value if math.isfinite(value) else self._as_text(text)

    def integer(self, text: str) -> int | str:
        return int(text) if len(text) <= _MAX_DIGITS else self._as_text(text)

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

    def _as_text(self, number: str) -> str:
        self.replaced = True
        return number
