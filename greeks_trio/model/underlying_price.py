"""The price of an underlying, out of its last trade and its market.  Pure.

The newer one counts: the last trade may be hours old while the market has moved on.  A
market is no price if a side is missing, if the bid is above the ask, or if it is so wide
that its sides are only placeholders.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import msgspec

from greeks_trio.model.possible import PriceKind, possible_price

# Shares of the ask.  Outside the session, quotes far from any trade stand for "no market".
_TOO_WIDE: Final = 0.5
# The middle of such a market says less than a trade inside it.
_LOOSE: Final = 0.1
# Nearer to zero than this, the width of a future's market is no share of its price.
_SMALL: Final = 1.0
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class UnderlyingPrice(msgspec.Struct, frozen=True, gc=False):
    """A price, and when it was made, otherwise when it was read, UTC.

    ``at`` is `None` if neither is known.
    """

    value: float
    at: datetime | None


class Stamped(NamedTuple):
    """A price and its time, milliseconds since 1970; a negative time is not known."""

    value: float
    at_ms: int


class Market(NamedTuple):
    """Both sides of a market that is one, and the time of the newer side."""

    bid: float
    ask: float
    at_ms: int

    @property
    def middle(self) -> Stamped:
        """The middle, rounded: that of 4712.49 and 4741.13 is 4726.81."""
        return Stamped(round((self.bid + self.ask) / 2, 8), self.at_ms)

    @property
    def is_loose(self) -> bool:
        """Whether it is so wide that its middle is a poor estimate."""
        return self.ask - self.bid > _LOOSE * abs(self.ask)


def market_of(
    bid: float | None, ask: float | None, at_ms: int, kind: PriceKind
) -> Market | None:
    """Return the market that the two sides make, `None` if they make none."""
    low = possible_price(bid, kind, beside=ask)
    high = possible_price(ask, kind, beside=bid)
    if low is None or high is None or low > high:
        return None
    is_relative = kind != "future" or low > _SMALL
    if is_relative and high - low > _TOO_WIDE * high:
        return None
    return Market(low, high, at_ms)


def newest_price(trade: Stamped | None, market: Market | None) -> Stamped | None:
    """Return the newer one of the last trade and the middle of the market.

    If they are equally old, the trade counts if it lies inside the market; a trade from
    before the market need not.
    """
    if market is None or trade is None:
        return trade if market is None else market.middle
    if trade.at_ms > market.at_ms:
        return trade
    is_inside = market.bid <= trade.value <= market.ask
    if is_inside and (trade.at_ms == market.at_ms or market.is_loose):
        return trade
    return market.middle


def underlying_price(price: Stamped | None) -> UnderlyingPrice | None:
    """Return the price with its time as a date."""
    if price is None:
        return None
    at = None if price.at_ms < 0 else _EPOCH + timedelta(milliseconds=price.at_ms)
    return UnderlyingPrice(price.value, at)
