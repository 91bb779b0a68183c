"""The price of one underlying, from its trades and quotes.  Pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from greeks_trio.brokers.tastytrade.wire.messages import QuoteEvent, TradeEvent
from greeks_trio.model.normalise import EARLIEST_MS, MAX_AHEAD
from greeks_trio.model.possible import PriceKind, possible_price
from greeks_trio.model.underlying_price import (
    Stamped,
    UnderlyingPrice,
    market_of,
    newest_price,
    underlying_price,
)

_IMPOSSIBLE: Final = "impossible.underlying-price"
_MAX_AHEAD_MS: Final = MAX_AHEAD // timedelta(milliseconds=1)


class UnderlyingPrices:
    """The last trade and the market of one underlying.

    An event without a possible time of its own has the time when it was read.  But a
    server repeats its last trade to a new subscriber, so a trade without a time may be
    hours old: it counts only if it lies inside the market, or if there is none.

    Attributes:
        kind: The kind of the underlying.
    """

    def __init__(self, kind: PriceKind) -> None:
        self.kind: PriceKind = kind
        self._trade: Stamped | None = None
        self._is_timed = True
        self._quote: tuple[float | None, float | None, int] = (None, None, 0)
        # Worked out when a tick wants it, not at each quote.
        self._price: UnderlyingPrice | None = None
        self._is_priced = True

    def take_trade(
        self, event: TradeEvent, received_at: datetime, count: Callable[[str], object]
    ) -> None:
        """Take a trade, in the regular session or outside it; the newest one counts.

        A trade without a price says nothing.  ``count`` is called with
        ``impossible.underlying-price`` for each price that cannot be.
        """
        price = possible_price(event.price, self.kind)
        if price is None and event.price is not None:
            count(_IMPOSSIBLE)
        at_ms, is_timed = _time_of(event.time_ms, received_at)
        if price is None or (self._trade is not None and at_ms < self._trade.at_ms):
            return
        self._trade, self._is_timed = Stamped(price, at_ms), is_timed
        self._is_priced = False

    def take_quote(
        self, event: QuoteEvent, received_at: datetime, count: Callable[[str], object]
    ) -> None:
        """Take the market; half a market is none.  ``count`` as in `take_trade`."""
        at_ms, _ = _time_of(event.time_ms, received_at)
        bid = possible_price(event.bid, self.kind, beside=event.ask)
        ask = possible_price(event.ask, self.kind, beside=event.bid)
        for known, price in ((event.bid, bid), (event.ask, ask)):
            if price is None and known is not None:
                count(_IMPOSSIBLE)
        self._quote = (bid, ask, at_ms)
        self._is_priced = False

    def price(self) -> UnderlyingPrice | None:
        """Return the newer one of the last trade and the middle of the market."""
        if not self._is_priced:
            trade, market = self._trade, market_of(*self._quote, self.kind)
            if trade is not None and market is not None and not self._is_timed:
                trade = Stamped(trade.value, min(trade.at_ms, market.at_ms))
            self._price = underlying_price(newest_price(trade, market))
            self._is_priced = True
        return self._price


def _time_of(time_ms: int, received_at: datetime) -> tuple[int, bool]:
    """Return the event's time, and whether it is the server's."""
    received_ms = int(received_at.timestamp() * 1000)
    is_possible = EARLIEST_MS <= time_ms <= received_ms + _MAX_AHEAD_MS
    return (time_ms if is_possible else received_ms), is_possible
