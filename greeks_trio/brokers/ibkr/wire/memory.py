"""The memory of one conid: the last value of each field, and when it was true.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from msgspec import UNSET

from greeks_trio.brokers.ibkr.wire.fields import Price
from greeks_trio.model.possible import PriceKind, possible_price
from greeks_trio.model.underlying_price import (
    Market,
    Stamped,
    UnderlyingPrice,
    market_of,
    newest_price,
    underlying_price,
)

# Places of the fields, as in `greeks_trio.brokers.ibkr.wire.fields`.
IV, AVAILABILITY, LAST, BID, ASK, MARK = range(4, 10)
PLACES: Final = 10
# The places before this one are the Greeks and the volatility; with none of them a frame
# is no tick.
GREEKS: Final = 5

_NEVER: Final = -1
_NO_GREEKS: Final = [UNSET] * GREEKS
_NO_PRICES: Final = [UNSET] * (PLACES - LAST)


class FieldMemory:
    """The fields of one conid.

    Attributes:
        values: The last value of each place, `None` for none; `LAST` has a `Price`.
        times: When each value was true, milliseconds since 1970.
        newest: The newest of the times.
    """

    __slots__ = ("_impossible", "_is_priced", "_price", "newest", "times", "values")

    def __init__(self) -> None:
        self.values: list[Any] = [None] * PLACES
        self.times: list[int] = [_NEVER] * PLACES
        self.newest = _NEVER
        # The price is worked out when a tick wants it, not in each frame.
        self._price: UnderlyingPrice | None = None
        self._is_priced = False
        self._impossible: frozenset[int] = frozenset()

    def take(self, named: Iterable[tuple[int, Any]], at: int) -> None:
        """Remember the fields of a frame; a late one overwrites nothing newer."""
        values, times = self.values, self.times
        for place, value in named:
            if at >= times[place]:
                values[place], times[place] = value, at
                if place >= LAST:
                    self._is_priced = False
        if at > self.newest:
            self.newest = at

    def take_newest(self, fields: list[Any], at: int) -> bool:
        """Remember the fields of a frame that is not late; return whether it has Greeks.

        Args:
            fields: A value for each place, `UNSET` for a field that the frame lacks.
            at: Not before `newest`.
        """
        values, times = self.values, self.times
        for place, value in enumerate(fields):
            if value is not UNSET:
                values[place], times[place] = value, at
        self.newest = at
        if fields[LAST:] != _NO_PRICES:
            self._is_priced = False
        return fields[:GREEKS] != _NO_GREEKS

    def row_at(self, at: int) -> list[Any]:
        """Return the values that were true at a moment; they are not to be changed."""
        if at >= self.newest:
            return self.values
        return [
            value if time <= at else None
            for value, time in zip(self.values, self.times, strict=True)
        ]

    def underlying_price(
        self, kind: PriceKind, count: Callable[[str], object]
    ) -> UnderlyingPrice | None:
        """Return the price of the underlying; see `IbkrProtocol.underlying_price`."""
        if not self._is_priced:
            self._price = underlying_price(self._best_price(kind, count))
            self._is_priced = True
        return self._price

    def _best_price(
        self, kind: PriceKind, count: Callable[[str], object]
    ) -> Stamped | None:
        prices = self._possible_prices(kind, count)
        stamped = {
            place: None if price is None else Stamped(price, self.times[place])
            for place, price in prices.items()
        }
        market_at = max(self.times[BID], self.times[ASK])
        market = market_of(prices[BID], prices[ASK], market_at, kind)
        last: Price | None = self.values[LAST]
        is_trade = last is not None and last.kind == "trade"
        trade = stamped[LAST] if is_trade else None
        return _newest(trade, market, stamped[MARK]) or stamped[LAST]

    def _possible_prices(
        self, kind: PriceKind, count: Callable[[str], object]
    ) -> dict[int, float | None]:
        """Return the prices that can be; count the others once, for as long as they stay."""
        last, bid, ask, mark = self.values[LAST:]
        known = {LAST: None if last is None else last.value, MARK: mark}
        prices = {each: possible_price(price, kind) for each, price in known.items()}
        prices[BID] = possible_price(bid, kind, beside=ask)
        prices[ASK] = possible_price(ask, kind, beside=bid)
        known |= {BID: bid, ASK: ask}
        impossible = frozenset(
            place
            for place, price in prices.items()
            if price is None and known[place] is not None
        )
        for _ in impossible - self._impossible:
            count("impossible.underlying-price")
        self._impossible = impossible
        return prices


def _newest(
    trade: Stamped | None, market: Market | None, mark: Stamped | None
) -> Stamped | None:
    if market is not None or mark is None:
        return newest_price(trade, market)
    # IBKR works out the mark from the trade, so with the same time it is the newer one.
    return trade if trade is not None and trade.at_ms > mark.at_ms else mark
