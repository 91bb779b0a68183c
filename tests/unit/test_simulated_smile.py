"""The smile of the simulated volatilities."""

from __future__ import annotations

import pytest

from greeks_trio.simulators.book.smile import smile_volatility


def test_low_strikes_have_the_higher_volatility_and_both_ends_rise():
    strikes = (80, 90, 95, 100, 105, 110, 130)
    smile = [smile_volatility(0.2, 100.0, strike, 30) for strike in strikes]

    lowest = smile.index(min(smile))
    assert smile[:lowest] == sorted(smile[:lowest], reverse=True)
    assert smile[lowest:] == sorted(smile[lowest:])
    assert smile[2] > smile[4]
    assert smile[3] == pytest.approx(0.2, rel=0.05)


def test_a_longer_term_has_the_higher_volatility_at_the_money():
    by_days = [smile_volatility(0.2, 100.0, 100.0, days) for days in (1, 30, 365, 900)]

    assert by_days == sorted(by_days)
    assert by_days[-1] < 0.23


@pytest.mark.parametrize(("price", "strike"), [(-3.0, 5.0), (56.0, -5.0), (56.0, 0.0)])
def test_prices_and_strikes_below_zero_get_the_volatility_at_the_money(price, strike):
    assert smile_volatility(0.3, price, strike, 30) == smile_volatility(0.3, 9, 9, 30)


@pytest.mark.parametrize("strike", [1.0, 10_000.0])
@pytest.mark.parametrize("days", [0, 1, 800])
def test_no_volatility_is_absurd(strike, days):
    assert 0.2 < smile_volatility(0.2, 100.0, strike, days) < 0.4
