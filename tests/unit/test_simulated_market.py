from __future__ import annotations

import math
from datetime import date
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greeks_trio.simulators.book.textbook import textbook_market
from greeks_trio.simulators.market import (
    BEAT_S,
    Market,
    SimulatedOption,
    Underlying,
    black_scholes_greeks,
    next_beat,
)

TODAY = date(2026, 3, 2)


def make_market(contracts: int = 50, seed: int = 1) -> Market:
    return textbook_market(contracts=contracts, seed=seed, today=TODAY)


def shown_after_a_step(market: Market, underlying: Underlying, now: float) -> float:
    market.show(now)
    market.move(underlying)
    market.show(now + BEAT_S)
    return underlying.price


def test_the_same_seed_gives_the_same_walk():
    walks = []
    for _ in range(2):
        market = make_market()
        spy = market.underlyings[0]
        walks.append([shown_after_a_step(market, spy, now) for now in range(20)])

    assert walks[0] == walks[1]


def test_another_seed_gives_another_walk():
    one, other = make_market(seed=1), make_market(seed=2)

    assert shown_after_a_step(one, one.underlyings[0], 0) != shown_after_a_step(
        other, other.underlyings[0], 0
    )


def test_all_brokers_show_a_new_price_at_the_same_beat():
    market = make_market()
    spy = market.underlyings[0]
    market.show(100.0)
    before = spy.price
    market.move(spy)

    market.show(100.0 + BEAT_S - 0.01)
    between = spy.price
    market.show(100.0 + BEAT_S)

    assert before == between != spy.price
    assert next_beat(100.0) == 100.0 + BEAT_S == next_beat(100.0 + BEAT_S - 0.01)


def test_ten_thousand_contracts_are_all_different():
    options = make_market(10_000).options

    assert len({each.contract.contract_key for each in options}) == 10_000
    assert len({each.conid for each in options}) == 10_000


def test_no_option_of_the_market_has_expired():
    assert all(each.terms.expiration > TODAY for each in make_market(500).options)


def test_a_contract_says_the_same_as_its_terms():
    for option in make_market().options:
        assert option.contract.strike == option.terms.strike
        assert option.contract.underlying == option.underlying.symbol
        assert option.contract.contract_key.startswith(option.terms.root)


def test_the_model_agrees_with_the_textbook():
    """The example of Hull, "Options, Futures, and Other Derivatives"."""
    greeks = black_scholes_greeks(
        "call", spot=49, strike=50, years=0.3846, volatility=0.2, rate=0.05
    )

    assert greeks.delta == pytest.approx(0.522, abs=5e-4)
    assert greeks.gamma == pytest.approx(0.066, abs=5e-4)
    assert greeks.theta == pytest.approx(-4.31 / 365, abs=5e-5)
    assert greeks.vega == pytest.approx(0.121, abs=5e-4)
    assert greeks.rho == pytest.approx(0.0891, abs=5e-5)
    assert greeks.implied_volatility == 0.2


@given(
    spot=st.floats(10, 1_000),
    moneyness=st.floats(0.7, 1.4),
    years=st.floats(0.02, 2),
    volatility=st.floats(0.1, 1),
)
def test_delta_is_the_change_of_the_price(spot, moneyness, years, volatility):
    def value(at: float) -> float:
        found = black_scholes_greeks(
            "call",
            spot=at,
            strike=spot * moneyness,
            years=years,
            volatility=volatility,
        )
        return at * found.delta - found.rho * 100 / years

    delta = black_scholes_greeks(
        "call", spot=spot, strike=spot * moneyness, years=years, volatility=volatility
    ).delta

    step = spot * 1e-4
    assert (value(spot + step) - value(spot - step)) / (2 * step) == pytest.approx(
        delta, abs=1e-4
    )


def test_prices_are_those_of_the_formula():
    market = make_market()

    for option in market.options:
        price = market.price(option, market.greeks(option))

        assert price == pytest.approx(black_scholes_price(option))


def black_scholes_price(option: SimulatedOption) -> float:
    spot, strike = option.underlying.price, float(option.terms.strike)
    years = ((option.terms.expiration - TODAY).days + 0.5) / 365
    spread = option.volatility * math.sqrt(years)
    d1 = (math.log(spot / strike) + 0.04 * years) / spread + spread / 2
    discounted = strike * math.exp(-0.04 * years)
    normal = NormalDist()
    call = spot * normal.cdf(d1) - discounted * normal.cdf(d1 - spread)
    return call if option.terms.option_type == "call" else call - spot + discounted
