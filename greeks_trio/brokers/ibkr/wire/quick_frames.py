"""The usual frame of market data: bytes -> numbers in one step.  Pure.

Nearly every frame has plain numbers as texts, one percentage and one word.  msgspec reads
those without Python.  Every other frame, also one that only looks odd, is for
`greeks_trio.brokers.ibkr.wire.frames`, which knows all formats.  Both give the same values.
"""

from __future__ import annotations

from functools import lru_cache
from math import isfinite
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import astuple

from greeks_trio.brokers.ibkr.wire.fields import (
    Price,
    Unreadable,
    parse_letter,
    parse_percent,
)
from greeks_trio.brokers.ibkr.wire.memory import AVAILABILITY, IV, LAST, PLACES

# Few distinct texts fill these fields.
_percent: Final = lru_cache(8192)(parse_percent)
_letter: Final = lru_cache(256)(parse_letter)


class QuickFrame(msgspec.Struct, gc=False):
    """The fields of a frame, the numbers in the order of the memory."""

    delta: float | UnsetType = msgspec.field(name="7308", default=UNSET)
    gamma: float | UnsetType = msgspec.field(name="7309", default=UNSET)
    theta: float | UnsetType = msgspec.field(name="7310", default=UNSET)
    vega: float | UnsetType = msgspec.field(name="7311", default=UNSET)
    volatility: str | UnsetType = msgspec.field(name="7633", default=UNSET)
    availability: str | UnsetType = msgspec.field(name="6509", default=UNSET)
    last: float | UnsetType = msgspec.field(name="31", default=UNSET)
    bid: float | UnsetType = msgspec.field(name="84", default=UNSET)
    ask: float | UnsetType = msgspec.field(name="86", default=UNSET)
    mark: float | UnsetType = msgspec.field(name="7635", default=UNSET)
    topic: str = ""
    # `Any` keeps a number in a text apart from a number.
    conid: Any = None
    updated: Any = msgspec.field(name="_updated", default=None)
    error: Any = UNSET


# With ``strict=False`` a text is also read as a number.
_DECODER: Final = msgspec.json.Decoder(QuickFrame, strict=False)


def decode_quick(frame: bytes | str) -> QuickFrame | None:
    """Return the fields of a usual frame, `None` for any other."""
    if isinstance(frame, str) or not frame.isascii():
        return None
    try:
        quick = _DECODER.decode(frame)
    except (msgspec.DecodeError, RecursionError):
        return None
    is_usual = (
        quick.topic.startswith("smd+")
        and ";" not in quick.topic
        and quick.error is UNSET
        and type(quick.conid) is int
        and type(quick.updated) is int
    )
    return quick if is_usual else None


def quick_values(quick: QuickFrame) -> list[Any] | None:
    """Return the value of each place, `UNSET` for a field that the frame does not have.

    Returns `None` if a value needs another look.
    """
    values = list(astuple(quick)[:PLACES])
    numbers = [each for each in values if type(each) is float]
    if not isfinite(sum(numbers)):  # "nan" and "inf" are texts of floats too
        return None
    volatility, letters, last = values[IV], values[AVAILABILITY], values[LAST]
    if volatility is not UNSET:
        try:
            values[IV], is_signed = _percent(volatility)
        except Unreadable:
            return None
        if not is_signed:
            return None
    if letters is not UNSET:
        values[AVAILABILITY] = _letter(letters)
    if last is not UNSET:
        values[LAST] = Price(last)
    return values
