"""The values that a client knows of a contract after it has read every frame.  Pure.

A frame has only the changed fields, and may arrive late.  A client remembers each field
with the time of its frame.  It fills the missing fields of a row with remembered values
that are not newer than the row.  An empty text, ``N/A`` and an
impossible number clear a field.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

DELTA, GAMMA, THETA, VEGA, IMPLIED_VOLATILITY = "7308", "7309", "7310", "7311", "7633"
# A row without any of these is not stored.
STORABLE_FIELDS: Final = frozenset((DELTA, GAMMA, THETA, VEGA))
GREEK_FIELDS: Final = STORABLE_FIELDS | {IMPLIED_VOLATILITY}
# The texts that mean "no value".
BLANKS: Final = ("", "N/A")

# Texts beyond these are no values: they mean "unset".  Theta alone may be below -1.
_LOWEST: Final = {
    DELTA: -1.001,
    GAMMA: 0.0,
    THETA: -1e6,
    VEGA: 0.0,
    IMPLIED_VOLATILITY: 0.0,
}
_HIGHEST: Final = {
    DELTA: 1.001,
    GAMMA: 1e6,
    THETA: 1e6,
    VEGA: 1e6,
    IMPLIED_VOLATILITY: 10_000.0,
}

Values = dict[str, str | float | msgspec.Raw]
# The number of each Greek field, `None` without a value; volatility is a fraction.
Row = dict[str, float | None]


class ReaderMemory:
    """One contract on one connection."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, float | None]] = {}

    def receive(self, frame: Mapping[str, object], updated_ms: int) -> Row | None:
        """Take a frame; return the row to store, or `None` when there is no row to store."""
        row: Row = {}
        for name in GREEK_FIELDS:
            at, number = self._known.get(name, (updated_ms, None))
            if name in frame:
                row[name] = _read(name, str(frame[name]))
                if updated_ms >= at:
                    self._known[name] = (updated_ms, row[name])
            else:
                row[name] = number if at <= updated_ms else None
        is_tick = not GREEK_FIELDS.isdisjoint(frame)
        has_value = any(row[name] is not None for name in STORABLE_FIELDS)
        return row if is_tick and has_value else None


def _read(name: str, text: str) -> float | None:
    """Return the number; `None` if there is none, or one that the Greek cannot have."""
    if text in BLANKS:
        return None
    number = float(text.rstrip("%"))
    if not _LOWEST[name] <= number <= _HIGHEST[name]:
        return None
    return number / 100 if name == IMPLIED_VOLATILITY else number
