from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greeks_trio.model.underlying_price import (
    Market,
    Stamped,
    UnderlyingPrice,
    market_of,
    newest_price,
    underlying_price,
)

HOUR = 3_600_000


def price_of(trade, bid, ask, *, trade_at=0, quote_at=0, kind="share"):
    """Return the price of a trade and a quote at these times."""
    stamped = None if trade is None else Stamped(trade, trade_at)
    return newest_price(stamped, market_of(bid, ask, quote_at, kind))


@pytest.mark.parametrize(
    ("trade", "bid", "ask", "times", "price"),
    [
        # An old trade and a market that has moved on.
        (82.5, 91.0, 91.2, (0, 5 * HOUR), Stamped(91.1, 5 * HOUR)),
        (4310.25, 4402.0, 4402.5, (0, 70 * HOUR), Stamped(4402.25, 70 * HOUR)),
        # A newer trade.
        (91.3, 91.0, 91.2, (2, 1), Stamped(91.3, 2)),
        # Both in one message: the trade lies in the market, or it is an older one.
        (91.05, 91.0, 91.2, (1, 1), Stamped(91.05, 1)),
        (82.5, 91.0, 91.2, (1, 1), Stamped(91.1, 1)),
        # Only one of them.
        (None, 91.0, 91.2, (0, 1), Stamped(91.1, 1)),
        (91.0, None, 91.2, (1, 2), Stamped(91.0, 1)),
        (91.0, 0.0, 91.2, (1, 2), Stamped(91.0, 1)),
        (91.0, 91.2, 90.8, (1, 2), Stamped(91.0, 1)),
        (91.0, math.nan, 91.2, (1, 2), Stamped(91.0, 1)),
        (None, None, None, (0, 1), None),
        # One price for both sides is a market.
        (90.0, 91.0, 91.0, (1, 2), Stamped(91.0, 2)),
        # Placeholders far from any trade, as at night.
        (91.0, 0.01, 199_999.99, (1, 2), Stamped(91.0, 1)),
        (None, 0.01, 199_999.99, (1, 2), None),
        (91.0, 75.0, 120.0, (1, 2), Stamped(91.0, 1)),
        (60.0, 75.0, 120.0, (1, 2), Stamped(97.5, 2)),
    ],
)
def test_the_price_of_a_share_is_the_newer_one(trade, bid, ask, times, price):
    trade_at, quote_at = times

    found = price_of(trade, bid, ask, trade_at=trade_at, quote_at=quote_at)

    assert found == price


@pytest.mark.parametrize(
    ("bid", "ask", "price"),
    [
        (-37.7, -37.5, -37.6),
        (-0.05, 0.05, 0.0),
        (-1.02, -1.0, -1.01),
        (-1.0, -1.0, None),
        (-1.0, 4402.5, None),
        (4402.0, -1.0, None),
        (0.0, 4402.5, None),
        (12.0, 4402.5, None),
        (0.006705, 0.006706, 0.0067055),
    ],
)
def test_a_future_may_be_negative_and_unset_sides_make_no_market(bid, ask, price):
    found = price_of(None, bid, ask, kind="future")

    assert (found and found.value) == price


def test_an_unknown_time_stays_unknown():
    assert underlying_price(None) is None
    assert underlying_price(Stamped(91.0, -1)) == UnderlyingPrice(91.0, None)
    assert underlying_price(Stamped(91.0, 1_500)) == UnderlyingPrice(
        91.0, datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC)
    )


prices = st.none() | st.floats() | st.sampled_from([0.0, -1.0, 91.0, 91.2])


@given(
    prices,
    prices,
    st.sampled_from(["share", "index", "future"]),
)
def test_a_market_is_finite_and_not_crossed(bid, ask, kind):
    market = market_of(bid, ask, 7, kind)

    if market is not None:
        assert isinstance(market, Market)
        assert market.bid <= market.middle.value <= market.ask or math.isclose(
            market.middle.value, market.bid, abs_tol=1e-8
        )
        assert kind == "future" or market.bid > 0
