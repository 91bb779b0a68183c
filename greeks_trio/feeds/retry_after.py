"""The seconds that a server asks us to stay away for, from its ``Retry-After`` header."""

from __future__ import annotations

from typing import Final

# No maintenance keeps a client away for longer.  A server that says more by mistake must
# not cost the whole day.
MAX_RETRY_AFTER_S: Final = 3600.0


def parse_retry_after(text: str | None) -> float | None:
    """Return the seconds of the header, at most `MAX_RETRY_AFTER_S`.

    Returns `None` without a number.  The header may also hold a date, but neither broker
    sends one.
    """
    if text is None or not (text.isascii() and text.isdecimal()):
        return None
    # Twelve digits are more seconds than the maximum, and always a finite float.
    return min(float(text[:12]), MAX_RETRY_AFTER_S)
