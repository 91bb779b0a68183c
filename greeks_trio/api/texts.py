"""The texts that a client may send."""

from typing import Final

# PostgreSQL stores no NUL.  The other control characters (C0, DEL, C1), the separators of
# lines and the marks that change the direction of text are always a mistake.
NO_CONTROLS: Final = (
    r"^[^\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]+$"
)
