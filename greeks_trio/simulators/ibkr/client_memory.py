"""What a client knows of a contract that has read every frame.  Pure.

Frames carry only what changed, and may come late.  A client remembers each field with
the time of the frame that brought it; to a row it adds what it remembers from that
time or before; an empty text or ``N/A`` clears a field.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

DELTA, GAMMA, THETA, VEGA, IMPLIED_VOLATILITY = "7308", "7309", "7310", "7311", "7633"
# Without one of these there is nothing to store.
STORABLE_FIELDS: Final = frozenset((DELTA, GAMMA, THETA, VEGA))
GREEK_FIELDS: Final = STORABLE_FIELDS | {IMPLIED_VOLATILITY}
# What stands for no value.
BLANKS: Final = ("", "N/A")

Values = dict[str, str | float | msgspec.Raw]
# Each Greek field's number, `None` where there is none; volatility as a fraction.
Row = dict[str, float | None]


class ReaderMemory:
    """One contract on one connection."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, float | None]] = {}

    def receive(self, frame: Mapping[str, object], updated_ms: int) -> Row | None:
        """Take a frame; return the row to store, `None` when there is none."""
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
    if text in BLANKS:
        return None
    if name == IMPLIED_VOLATILITY:
        return float(text.rstrip("%")) / 100
    return float(text)
