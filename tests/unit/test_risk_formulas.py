"""Prices, Greeks and implied volatilities against QuantLib, and their edges.

``python -m tests.formula_errors`` prints the largest error of each region, for all contracts
of the grids; here is a part of them.
"""

from __future__ import annotations

import math
from datetime import UTC, date, datetime

import numpy as np
import pytest
import QuantLib as ql  # noqa: N813 - as its documents do

from greeks_trio.risk.american import value_american
from greeks_trio.risk.european import value_black, value_european
from greeks_trio.risk.implied import Reason, implied_american, implied_european
from greeks_trio.risk.normal import cumulative
from greeks_trio.risk.pricing import (
    Model,
    implied_options,
    model_of,
    value_options,
    years_to,
)
from greeks_trio.simulators.market import black_scholes_greeks
from tests.formula_errors import AMERICAN, FIGURES, REGIONS, TABLES, by_region

# In natural sizes, see tests.formula_errors.
CLOSED_FORM = dict.fromkeys(FIGURES, 1e-11) | {
    "price": 1e-14,
    # Against a difference between QuantLib's deltas.
    "charm": 1e-6,
}
SOLVED_EUROPEAN = {"volatility": 1e-9, "price": 1e-14, "wings": 1e-9, "unknown": 0.0}
LIMITS = {
    "European, Black-Scholes-Merton": dict.fromkeys(("all", *REGIONS), CLOSED_FORM),
    "On futures, Black 1976": dict.fromkeys(("all", *REGIONS), CLOSED_FORM),
    "Implied volatility, European": dict.fromkeys(("all", *REGIONS), SOLVED_EUROPEAN),
}


def american(price, delta, others, implied):
    return {
        "American": {"price": price, "delta": delta}
        | dict.fromkeys(("gamma", "theta", "vega", "rho"), others),
        "Implied volatility, American": {
            "volatility": implied,
            "price": 5e-6,
            "wings": 0.0,
            "unknown": 0.0,
        },
    }


AMERICAN_LIMITS = {
    "all": american(5e-5, 1e-3, 3e-3, 5e-3),
    "last hours": american(1e-8, 1e-5, 5e-3, 1e-5),
    "a day to a week": american(5e-7, 1e-4, 5e-4, 5e-4),
    "months": american(5e-6, 5e-4, 1e-3, 2e-3),
    "years": american(5e-5, 1e-3, 3e-3, 5e-3),
    "deep wings": american(5e-7, 1e-5, 1e-4, 1e-4),
    "zero rate": american(5e-5, 5e-4, 1e-3, 5e-3),
    "negative rate": american(5e-5, 1e-3, 3e-3, 5e-3),
    "yield above rate": american(5e-5, 1e-3, 3e-3, 5e-3),
}
for region, tables in AMERICAN_LIMITS.items():
    for title, limits in tables.items():
        LIMITS.setdefault(title, {})[region] = limits


@pytest.mark.parametrize("title", TABLES)
def test_no_error_against_quantlib_is_above_its_limit(title):
    grid, measure = TABLES[title]
    # Steps that fit none of the axes, so that every value is in the part.
    contract = grid[:, ::11] if grid is AMERICAN else grid[:, ::7]

    found = by_region(contract, measure(contract))

    assert found.keys() == LIMITS[title].keys()
    assert min(count for count, _ in found.values()) > 40
    above = [
        (region, figure, error)
        for region, (_, largest) in found.items()
        for figure, error in largest.items()
        # False for NaN too.
        if not error <= LIMITS[title][region][figure]
    ]
    assert above == []


def test_finite_differences_give_the_same_american_prices():
    """Another method: QuantLib's finite differences."""
    day = ql.Date(15, 6, 2026)
    ql.Settings.instance().evaluationDate = day
    count = ql.Actual365Fixed()
    for call, strike, days, volatility, rate, dividends in (
        (False, 110.0, 91, 0.25, 0.05, 0.0),
        (False, 95.0, 365, 0.4, 0.03, 0.02),
        (True, 90.0, 180, 0.3, 0.02, 0.07),
        (True, 100.0, 30, 0.2, 0.05, 0.0),
    ):
        process = ql.BlackScholesMertonProcess(
            ql.QuoteHandle(ql.SimpleQuote(100.0)),
            ql.YieldTermStructureHandle(ql.FlatForward(day, dividends, count)),
            ql.YieldTermStructureHandle(ql.FlatForward(day, rate, count)),
            ql.BlackVolTermStructureHandle(
                ql.BlackConstantVol(day, ql.NullCalendar(), volatility, count)
            ),
        )
        kind = ql.Option.Call if call else ql.Option.Put
        option = ql.VanillaOption(
            ql.PlainVanillaPayoff(kind, strike), ql.AmericanExercise(day, day + days)
        )
        option.setPricingEngine(ql.FdBlackScholesVanillaEngine(process, 800, 800))

        ours = value_american(
            call, 100.0, strike, days / 365, volatility, rate, dividends
        )

        assert float(ours.price) == pytest.approx(option.NPV(), abs=1e-3)
        assert float(ours.delta) == pytest.approx(option.delta(), abs=2e-4)


def test_vomma_and_charm_of_american_options_are_derivatives():
    def at(years=0.4, volatility=0.3):
        return value_american(
            [True, False],
            100.0,
            105.0,
            years,
            volatility,
            0.05,
            0.06,
            second_order=True,
        )

    found, step = at(), 1e-4
    vomma = (at(volatility=0.3 + step).vega - at(volatility=0.3 - step).vega) / 2 / step
    charm = (at(years=0.4 - step).delta - at(years=0.4 + step).delta) / 2 / step

    assert found.vomma == pytest.approx(vomma / 100, abs=1e-6)
    assert found.charm == pytest.approx(charm / 365, abs=1e-8)


def test_the_normal_distribution_has_all_digits_in_its_tail():
    x = np.linspace(-37.0, 9.0, 2001)
    exact = np.array([0.5 * math.erfc(-each / math.sqrt(2.0)) for each in x])

    # The exponential itself loses digits far out.
    assert np.max(np.abs(cumulative(x) / exact - 1.0)[x > -10.0]) < 1e-13
    assert np.max(np.abs(cumulative(x) / exact - 1.0)) < 1e-12


def test_the_simulated_market_has_the_greeks_of_the_closed_form():
    for option_type in ("call", "put"):
        for strike, years, volatility in ((90, 0.5, 0.3), (120, 0.01, 0.9)):
            theirs = black_scholes_greeks(
                option_type,
                spot=100.0,
                strike=strike,
                years=years,
                volatility=volatility,
            )
            ours = value_european(
                option_type == "call", 100.0, strike, years, volatility, 0.04
            )
            # How the simulated brokers price an option from its own Greeks.
            price = 100.0 * theirs.delta - theirs.rho * 100.0 / years
            implied = implied_european(
                option_type == "call", price, 100.0, strike, years, 0.04
            )

            for name in ("delta", "gamma", "theta", "vega", "rho"):
                assert float(getattr(ours, name)) == pytest.approx(
                    getattr(theirs, name), rel=1e-9, abs=1e-12
                ), name
            assert float(ours.price) == pytest.approx(price, abs=1e-9)
            assert float(implied.volatility) == pytest.approx(volatility, rel=1e-6)


def test_an_option_at_its_end_is_worth_its_exercise():
    for value in (value_european, value_black, value_american):
        found = value(
            [True, False, True, False], [110, 110, 90, 90], 100, 0.0, 0.3, 0.04
        )

        assert found.price.tolist() == [10.0, 0.0, 0.0, 10.0]
        assert found.delta.tolist() == [1.0, 0.0, 0.0, -1.0]
        for name in ("gamma", "theta", "vega"):
            assert not getattr(found, name).any()


def test_an_american_put_deep_in_the_money_is_exercised_now():
    found = value_american(False, 20.0, 100.0, 1.0, 0.2, 0.05)

    assert (found.price, found.delta) == (80.0, -1.0)
    assert (found.gamma, found.theta, found.vega, found.rho) == (0.0, 0.0, 0.0, 0.0)


def test_prices_that_no_model_has_are_nan():
    # Two boundaries: rate and yield below zero.
    assert math.isnan(value_american(False, 100, 100, 1, 0.2, -0.01, -0.03).price)
    assert math.isnan(value_european(True, -5.0, 100, 1, 0.2).price)
    assert math.isnan(value_american(False, 100, -5.0, 1, 0.2, 0.05).price)


def test_a_price_without_a_volatility_gets_the_reason():
    cases = {
        Reason.NO_TIME_VALUE: (True, 9.5, 110.0, 100.0, 0.5),
        Reason.PRICE_TOO_HIGH: (True, 111.0, 110.0, 100.0, 0.5),
        Reason.EXPIRED: (True, 12.0, 110.0, 100.0, 0.0),
        Reason.INPUT_MISSING: (True, math.nan, 110.0, 100.0, 0.5),
        Reason.KNOWN: (True, 14.0, 110.0, 100.0, 0.5),
    }
    arguments = list(zip(*cases.values(), strict=True))
    for implied in (implied_european, implied_american):
        found = implied(*arguments, 0.03)

        assert found.reason.tolist() == list(cases)
        assert np.isnan(found.volatility).tolist() == [True] * 4 + [False]
    # An American put at its intrinsic value: every low volatility gives this price.
    put = implied_american(False, 80.0, 20.0, 100.0, 1.0, 0.05)
    assert put.reason == Reason.NO_TIME_VALUE
    # No European put is worth more than the discounted strike; an American one may be.
    put = implied_american(False, 97.0, 60.0, 100.0, 3.0, 0.1)
    again = value_american(False, 60.0, 100.0, 3.0, put.volatility, 0.1)
    assert float(again.price) == pytest.approx(97.0, abs=1e-6)


def test_contracts_of_different_models_are_priced_together():
    models = np.array([Model.AMERICAN, Model.EUROPEAN, Model.BLACK], dtype=np.int8)
    column = np.array([False, False, False])[:, None]
    moves = 100.0 * np.array([[0.9, 1.0, 1.1]])

    found = value_options(models, column, moves, 110.0, 0.5, 0.3, 0.05)

    for row, value in enumerate((value_american, value_european, value_black)):
        alone = value(False, moves[0], 110.0, 0.5, 0.3, 0.05)
        assert found.price[row] == pytest.approx(alone.price)
        assert found.rho[row] == pytest.approx(alone.rho)
    implied = implied_options(
        models, column[:, 0], found.price[:, 1], 100.0, 110.0, 0.5, 0.05
    )
    assert implied.volatility == pytest.approx(0.3, abs=1e-7)


def test_the_model_follows_from_kind_and_root():
    assert model_of("option", "SPY   261218C00600000") is Model.AMERICAN
    assert model_of("option", "SPXW  261218C06000000") is Model.EUROPEAN
    assert model_of("option", "ibkr:702") is Model.AMERICAN
    assert model_of("future_option", "./EX3 270219C7100") is Model.BLACK


def test_an_option_lives_until_the_close_in_new_york():
    day = date(2026, 12, 18)

    assert years_to(day, datetime(2026, 12, 18, 20, 0, tzinfo=UTC)) == pytest.approx(
        1 / 24 / 365
    )
    assert years_to(day, datetime(2026, 12, 18, 21, 30, tzinfo=UTC)) < 0.0
    # The clocks of New York change on 1 November.
    assert years_to(
        date(2026, 11, 2), datetime(2026, 10, 31, 20, 0, tzinfo=UTC)
    ) == pytest.approx((2 + 1 / 24) / 365)
