"""One DXLink event, as a JSON object of the server's fields -> an event of ours.  Pure.

Source: schemas of the dxLink specification 1.0.2, https://github.com/dxFeed/dxLink
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Final, TypeAlias, TypeVar

import msgspec
from msgspec import Raw

from greeks_trio.brokers.tastytrade.wire.messages import (
    GreeksEvent,
    Ignored,
    OddRows,
    QuoteEvent,
    RowEvent,
    TradeEvent,
    odd_rows,
)
from greeks_trio.model.contracts import StreamerSymbol
from greeks_trio.model.records import Greeks

# Bits of eventFlags.  A removal says that an event no longer exists; the other three
# frame a snapshot, whose last row may be there only for its flags.
REMOVE_EVENT: Final = 0x02
SNAPSHOT_MARKS: Final = 0x04 | 0x08 | 0x10

_Wire: TypeAlias = float | str | None


class _GreeksRow(msgspec.Struct, rename="camel", gc=False):
    event_symbol: str
    event_flags: int = 0
    time: int | None = None
    price: _Wire = None
    delta: _Wire = None
    gamma: _Wire = None
    theta: _Wire = None
    vega: _Wire = None
    rho: _Wire = None
    volatility: _Wire = None


class _PlainGreeksRow(msgspec.Struct, rename="camel", gc=False):
    """The usual row: all values are numbers."""

    event_symbol: str
    event_flags: int = 0
    time: int | None = None
    price: float | None = None
    delta: float | None = None
    gamma: float | None = None
    theta: float | None = None
    vega: float | None = None
    rho: float | None = None
    volatility: float | None = None


class _QuoteRow(msgspec.Struct, rename="camel", gc=False):
    event_symbol: str
    bid_time: int | None = None
    bid_price: _Wire = None
    ask_time: int | None = None
    ask_price: _Wire = None


class _TradeRow(msgspec.Struct, rename="camel", gc=False):
    event_symbol: str
    price: _Wire = None
    time: int | None = None


_RowT = TypeVar("_RowT", _GreeksRow, _QuoteRow, _TradeRow)

_STRING: Final = msgspec.json.Decoder(str)
_PLAIN_GREEKS: Final = msgspec.json.Decoder(_PlainGreeksRow)
_GREEKS: Final = msgspec.json.Decoder(_GreeksRow)
_QUOTE: Final = msgspec.json.Decoder(_QuoteRow)
_TRADE: Final = msgspec.json.Decoder(_TradeRow)
# No integer of ours is longer, and Python refuses to read those of 4,300 digits.
_MAX_DIGITS: Final = 100
_TIMES: Final = ("time", "bidTime", "askTime")


def parse_full(fields: dict[str, Raw]) -> RowEvent:
    """Return the event of one object of the FULL format."""
    try:
        event_type = _STRING.decode(fields.get("eventType", Raw(b"null")))
    except (msgspec.DecodeError, RecursionError):
        return odd_rows("event-without-type", list(fields.values()))
    if event_type not in PARSERS:
        return Ignored("other-type")
    items = (msgspec.json.encode(key) + b":" + value for key, value in fields.items())
    return PARSERS[event_type](b"{%b}" % b",".join(items))


def _parse_greeks(payload: bytes) -> RowEvent:
    try:
        row = _PLAIN_GREEKS.decode(payload)
    except (msgspec.DecodeError, RecursionError):
        return _parse_other_greeks(payload)
    greeks = Greeks(row.delta, row.gamma, row.theta, row.vega, row.rho, row.volatility)
    if row.event_flags and _is_marker(row.event_flags, greeks):
        return Ignored("marker")
    symbol = StreamerSymbol(row.event_symbol)
    return GreeksEvent(greeks, row.time, payload, row.price, symbol=symbol)


def _parse_other_greeks(payload: bytes) -> RowEvent:
    row = _decode_row(_GREEKS, _GreeksRow, payload)
    if row is None:
        return _odd_event("Greeks", payload)
    greeks = Greeks(
        _finite(row.delta),
        _finite(row.gamma),
        _finite(row.theta),
        _finite(row.vega),
        _finite(row.rho),
        _finite(row.volatility),
    )
    if _is_marker(row.event_flags, greeks):
        return Ignored("marker")
    symbol = StreamerSymbol(row.event_symbol)
    return GreeksEvent(greeks, row.time, payload, _finite(row.price), symbol=symbol)


def _is_marker(flags: int, greeks: Greeks) -> bool:
    """Return whether the row only marks a step of a snapshot."""
    return bool(flags & REMOVE_EVENT or (flags & SNAPSHOT_MARKS and greeks == Greeks()))


def _parse_quote(payload: bytes) -> RowEvent:
    row = _decode_row(_QUOTE, _QuoteRow, payload)
    if row is None:
        return _odd_event("Quote", payload)
    bid, ask = _price(row.bid_price), _price(row.ask_price)
    at = max(row.bid_time or 0, row.ask_time or 0)
    return QuoteEvent(StreamerSymbol(row.event_symbol), bid, ask, at)


def _parse_trade(payload: bytes) -> RowEvent:
    row = _decode_row(_TRADE, _TradeRow, payload)
    if row is None:
        return _odd_event("Trade", payload)
    symbol = StreamerSymbol(row.event_symbol)
    return TradeEvent(symbol, _price(row.price), row.time or 0)


PARSERS: Final[dict[str, Callable[[bytes], RowEvent]]] = {
    "Greeks": _parse_greeks,
    "Quote": _parse_quote,
    "Trade": _parse_trade,
    "TradeETH": _parse_trade,
}


def _decode_row(
    decoder: msgspec.json.Decoder[_RowT], row_type: type[_RowT], payload: bytes
) -> _RowT | None:
    """Return the row, values of a wrong type as missing; `None` without a symbol."""
    try:
        return decoder.decode(payload)
    except (msgspec.DecodeError, RecursionError):
        pass
    try:
        found = json.loads(payload, parse_int=read_integer)
    except (ValueError, RecursionError):
        return None
    usable: dict[str, object] = {
        key: value
        for key, value in found.items()
        if isinstance(value, int | float | str) and not isinstance(value, bool)
    }
    usable["eventFlags"] = _whole(usable.get("eventFlags")) or 0
    usable |= {name: _whole(usable.get(name)) for name in _TIMES}
    try:
        return msgspec.convert(usable, row_type)
    except msgspec.ValidationError:
        return None


def _finite(value: _Wire) -> float | None:
    """Return a real number, or `None` for NaN, infinity, null and any text."""
    if value is None or isinstance(value, str) or value - value != 0.0:
        return None
    return value


def _price(value: _Wire) -> float | None:
    """Return the price; 0 is how the server writes that there is none.

    A negative one is real: futures have had them.
    """
    return _finite(value) or None


def _whole(value: object) -> int | None:
    if isinstance(value, int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return int(value)
    return None


def read_integer(text: str) -> int | float:
    """Return the number; a very long integer becomes a float."""
    return int(text) if len(text) < _MAX_DIGITS else float(text)


def _odd_event(event_type: str, payload: bytes) -> OddRows:
    text = payload.decode("utf-8", "replace")
    return OddRows("event-without-symbol", text, event_type)
