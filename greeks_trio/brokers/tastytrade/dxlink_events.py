"""What one row of DXLink data means to us.  Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import msgspec
from msgspec import Raw

from greeks_trio.model.contracts import StreamerSymbol
from greeks_trio.model.records import Greeks


class GreeksEvent(msgspec.Struct, frozen=True, gc=False):
    """One Greeks event.

    Attributes:
        time_ms: Milliseconds since 1970, `None` if absent.
        payload: JSON object of what was sent, by the server's field names.
    """

    symbol: StreamerSymbol
    greeks: Greeks
    time_ms: int | None
    payload: bytes


class QuoteEvent(msgspec.Struct, frozen=True, gc=False):
    """The best bid and ask of an instrument."""

    symbol: StreamerSymbol
    bid: float | None
    ask: float | None


class TradeEvent(msgspec.Struct, frozen=True, gc=False):
    """The last trade of an instrument."""

    symbol: StreamerSymbol
    price: float | None


class Ignored(msgspec.Struct, frozen=True):
    """Something legal that means nothing to us; ``what`` is a word to count it by."""

    what: str


class OddRows(msgspec.Struct, frozen=True):
    """A part of a frame that makes no sense; the rest of the frame counts.

    Attributes:
        reason: A short stable word to count it by.
        text: The part, as it was sent.
        event_type: Of which events it was, `None` if that is not known.
    """

    reason: str
    text: str
    event_type: str | None = None


RowEvent: TypeAlias = GreeksEvent | QuoteEvent | TradeEvent | Ignored | OddRows


def odd_rows(
    reason: str, parts: Sequence[Raw], event_type: str | None = None
) -> OddRows:
    """Return what tells of a part of a frame that makes no sense."""
    text = b",".join(bytes(part) for part in parts)
    return OddRows(reason, text.decode("utf-8", "replace"), event_type)
