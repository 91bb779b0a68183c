"""The events of a simulated DXLink server: wire names and values.  Pure.

Source: the event schemas of the dxLink specification; dxFeed's Java API for the index
of a Greeks event, ``seconds << 32 | milliseconds << 22 | sequence``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from greeks_trio.model.records import Greeks
from greeks_trio.simulators.ledger import LedgerTick
from greeks_trio.simulators.market import SimulatedOption

_TRADE_FIELDS: Final = (
    *("eventType", "eventSymbol", "eventTime", "time", "timeNanoPart", "sequence"),
    *("exchangeCode", "price", "change", "size", "dayId", "dayVolume"),
    *("dayTurnover", "tickDirection", "extendedTradingHours"),
)
# Columns of each event type that we serve, in the order of the specification.
EVENT_FIELDS: Final[dict[str, tuple[str, ...]]] = {
    "Greeks": (
        *("eventType", "eventSymbol", "eventTime", "eventFlags", "index", "time"),
        *("sequence", "price", "volatility", "delta", "gamma", "theta", "rho", "vega"),
    ),
    "Quote": (
        *("eventType", "eventSymbol", "eventTime", "sequence", "timeNanoPart"),
        *("bidTime", "bidExchangeCode", "bidPrice", "bidSize"),
        *("askTime", "askExchangeCode", "askPrice", "askSize"),
    ),
    "Trade": _TRADE_FIELDS,
    # A trade outside the regular session.
    "TradeETH": _TRADE_FIELDS,
}
# Columns that the server leaves out while the fault ``columns`` is active.
_LEFT_OUT: Final = {"Greeks": frozenset({"rho", "price", "sequence"})}
NAN: Final = "NaN"
# SNAPSHOT_BEGIN | SNAPSHOT_END | REMOVE_EVENT: an empty snapshot, not data.
EMPTY_SNAPSHOT: Final = 4 | 8 | 2
# Indices have prices but no sizes, and no exchange.
_INDICES: Final = frozenset({"SPX"})
# The numbers that mean "unset": the largest ones of C, C++ and Java, and small ones
# where no Greek can be so small.
_LARGEST: Final = (1.7976931348623157e308, 2147483647.0, 9223372036854775807.0)
UNSET: Final = {
    "delta": (*_LARGEST, -2.0),
    "gamma": (*_LARGEST, -1.0),
    "theta": _LARGEST,
    "vega": (*_LARGEST, -1.0),
    "rho": _LARGEST,
    "implied_volatility": (*_LARGEST, -1.0),
}
_COLUMNS: Final = {"implied_volatility": "volatility"}
_SMALL_PRICE: Final = 5.0
_MS_PER_DAY: Final = 86_400_000


class TickNote(msgspec.Struct, frozen=True, gc=False):
    """The data of a Greeks event that the ledger needs."""

    contract_key: str
    event_time_ms: int
    greeks: Greeks


class FeedEvent:
    """One event; ``note`` is `None` if it is no tick.

    Attributes:
        is_written: Whether its tick is in the ledger.
    """

    __slots__ = ("is_written", "kind", "note", "values")

    def __init__(
        self, kind: str, values: dict[str, object], note: TickNote | None = None
    ) -> None:
        self.kind = kind
        self.values = values
        self.note = note
        self.is_written = False


def greeks_index(time_ms: int, sequence: int) -> int:
    """Return the index of a Greeks event, unique within its symbol."""
    return (time_ms // 1000) << 32 | (time_ms % 1000) << 22 | sequence


def greeks_event(
    symbol: str,
    option: SimulatedOption,
    greeks: Greeks,
    time_ms: int,
    *,
    price: float | None,
) -> FeedEvent:
    """Return the event; a missing value is NaN.  Without any Greek it is no tick."""
    values: dict[str, object] = {
        "eventType": "Greeks",
        "eventSymbol": symbol,
        "eventTime": 0,
        "eventFlags": 0,
        "index": greeks_index(time_ms, 0),
        "time": time_ms,
        "sequence": 0,
        "price": _or_nan(price),
        "volatility": _or_nan(greeks.implied_volatility),
        "delta": _or_nan(greeks.delta),
        "gamma": _or_nan(greeks.gamma),
        "theta": _or_nan(greeks.theta),
        "rho": _or_nan(greeks.rho),
        "vega": _or_nan(greeks.vega),
    }
    is_tick = (
        greeks.delta is not None
    )  # delta is the last Greek that a simulated event loses
    note = TickNote(option.contract.contract_key, time_ms, greeks) if is_tick else None
    return FeedEvent("Greeks", values, note)


def unset_event(event: FeedEvent, name: str, number: float) -> FeedEvent:
    """Return a Greeks event in which one column has a number that means "unset".

    Without its delta it is still a tick: the other Greeks are those of the model.
    """
    column = _COLUMNS.get(name, name)
    if event.note is None or event.values[column] == NAN:
        return event
    greeks = msgspec.structs.replace(event.note.greeks, **{name: None})
    note = msgspec.structs.replace(event.note, greeks=greeks)
    is_tick = any(
        each is not None
        for each in (greeks.delta, greeks.gamma, greeks.theta, greeks.vega, greeks.rho)
    )
    values = event.values | {column: number}
    return FeedEvent("Greeks", values, note if is_tick else None)


def empty_greeks_snapshot(symbol: str) -> FeedEvent:
    """Return the marker row of a symbol without events; all its values are NaN."""
    values: dict[str, object] = dict.fromkeys(EVENT_FIELDS["Greeks"], NAN)
    values |= {"eventType": "Greeks", "eventSymbol": symbol, "eventTime": 0}
    values |= {"eventFlags": EMPTY_SNAPSHOT, "index": 0, "time": 0, "sequence": 0}
    return FeedEvent("Greeks", values)


def quote_event(symbol: str, price: float, time_ms: int) -> FeedEvent:
    """Return a quote one basis point wide around the price; indices have no sizes."""
    is_index = symbol in _INDICES
    second_ms = time_ms // 1000 * 1000  # dxFeed sends quote times in whole seconds
    values: dict[str, object] = {
        "eventType": "Quote",
        "eventSymbol": symbol,
        "eventTime": 0,
        "sequence": 0,
        "timeNanoPart": 0,
        "bidTime": second_ms,
        "bidExchangeCode": "" if is_index else "Q",
        "bidPrice": _rounded(price * 0.99995),
        "bidSize": NAN if is_index else 51.0,
        "askTime": second_ms,
        "askExchangeCode": "" if is_index else "Q",
        "askPrice": _rounded(price * 1.00005),
        "askSize": NAN if is_index else 10.0,
    }
    return FeedEvent("Quote", values)


def trade_event(
    symbol: str, price: float, time_ms: int, *, kind: str = "Trade"
) -> FeedEvent:
    """Return a trade at the price; volumes have exponents, as Java writes them."""
    is_index = symbol in _INDICES
    values: dict[str, object] = {
        "eventType": kind,
        "eventSymbol": symbol,
        "eventTime": 0,
        "time": time_ms,
        "timeNanoPart": 0,
        "sequence": time_ms % 1_000_000,
        "exchangeCode": "\0" if is_index else "Q",
        "price": round(price, 4),
        "change": 0.0,
        "size": NAN if is_index else 100.0,
        "dayId": time_ms // _MS_PER_DAY,
        "dayVolume": NAN if is_index else msgspec.Raw(b"1.3743299E7"),
        "dayTurnover": NAN if is_index else msgspec.Raw(b"3.41724504505567E9"),
        "tickDirection": "UNDEFINED",
        "extendedTradingHours": kind == "TradeETH",
    }
    return FeedEvent(kind, values)


def _rounded(price: float) -> float:
    """Return a price to the cent, or with more digits for a currency's future."""
    return round(price, 2 if abs(price) > _SMALL_PRICE else 6)


def _or_nan(value: float | None) -> float | str:
    return NAN if value is None else value


def ledger_ticks(
    note: TickNote, account_ids: Iterable[str], now: float
) -> list[LedgerTick]:
    """Return the ledger's lines for a tick that is sent now, one for each account."""
    greeks = note.greeks
    return [
        LedgerTick(
            broker="tastytrade",
            account_id=account_id,
            contract_key=note.contract_key,
            event_time_ms=note.event_time_ms,
            delta=greeks.delta,
            gamma=greeks.gamma,
            theta=greeks.theta,
            vega=greeks.vega,
            rho=greeks.rho,
            implied_volatility=greeks.implied_volatility,
            sent_monotonic=now,
        )
        for account_id in account_ids
    ]


def other_columns(kind: str, columns: tuple[str, ...]) -> tuple[str, ...]:
    """Return fewer columns in another order, or the same if none would be left."""
    left_out = _LEFT_OUT.get(kind, frozenset())
    return tuple(each for each in columns[::-1] if each not in left_out) or columns
