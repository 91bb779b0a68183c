"""Skew and term structure against the smile that the Greeks are made from."""

from __future__ import annotations

import math
from datetime import date, timedelta

import pytest

from greeks_trio.simulators.market import black_scholes_greeks
from tests.database.risk_rows import MOMENT, hold, risk_database, rows, tick

SPOT = 650.0
FIRST, SECOND = date(2025, 12, 5), date(2026, 1, 2)


@pytest.fixture
def database(emptied_database):
    return emptied_database


@pytest.fixture
def connection(database):
    with risk_database(database) as connection:
        yield connection
        connection.execute("drop table ticks")


def days_to(expiration):
    """Return the days to 16:00 in New York, which is 21:00 UTC in winter."""
    hours = (
        (expiration - MOMENT.date()).days * 24 + 21 - MOMENT.hour - MOMENT.minute / 60
    )
    return hours / 24


def smile(strike, level):
    """Return a volatility that falls with the strike."""
    return level - 0.5 * (strike / SPOT - 1) + (strike / SPOT - 1) ** 2


def greeks(strike, kind, expiration, level):
    return black_scholes_greeks(
        kind,
        spot=SPOT,
        strike=strike,
        years=days_to(expiration) / 365,
        volatility=smile(strike, level),
    )


def place_of(strike, expiration, level):
    return greeks(strike, "call", expiration, level).delta


def volatility_at(place, expiration, level):
    """Return the volatility of the strike with this delta, by bisection."""
    low, high = 300.0, 1300.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (
            (middle, high)
            if place_of(middle, expiration, level) > place
            else (low, middle)
        )
    return smile(low, level)


def store(connection, expiration, level, strikes):
    """Hold out-of-the-money options at these strikes, each with a tick."""
    for strike in strikes:
        kind = "call" if strike >= SPOT else "put"
        key = f"SPY   {expiration:%y%m%d}{kind[0].upper()}{strike * 1000:08d}"
        terms = {"expiration": expiration, "strike": strike, "option_type": kind}
        found = greeks(strike, kind, expiration, level)
        hold(connection, 1, key, **terms)
        tick(
            connection,
            key,
            underlying_price=SPOT,
            delta=found.delta,
            implied_volatility=found.implied_volatility,
            **terms,
        )


def test_the_views_know_the_smile(connection):
    store(connection, FIRST, 0.20, range(560, 741, 5))
    store(connection, SECOND, 0.24, range(560, 741, 5))
    # An adjusted option, a stale one, and one without a delta are no points.
    other = {"expiration": FIRST, "strike": 650, "option_type": "call"}
    for key, changes in (
        ("SPY1  251205C00650000", {"delta": 0.5, "implied_volatility": 3.0}),
        (
            "SPY   251205C00650500",
            {"delta": 0.5, "event_time": MOMENT - timedelta(hours=2)},
        ),
        ("SPY   251205C00651500", {"delta": None, "implied_volatility": 3.0}),
    ):
        hold(connection, 1, key, **other)
        tick(connection, key, **other, **changes)

    near, far = rows(
        connection,
        "select * from volatility_skew_asof(%s) order by expiration",
        MOMENT,
    )
    for row, expiration, level in ((near, FIRST, 0.20), (far, SECOND, 0.24)):
        assert row["days"] == pytest.approx(days_to(expiration))
        known = {
            "at_the_money": volatility_at(0.5, expiration, level),
            "call_25_delta": volatility_at(0.25, expiration, level),
            "put_25_delta": volatility_at(0.75, expiration, level),
        }
        for name, value in known.items():
            assert row[name] == pytest.approx(value, abs=2e-4), name
        skew = known["put_25_delta"] - known["call_25_delta"]
        assert row["skew"] == pytest.approx(skew, abs=4e-4)
        assert row["skew"] > 0.02
    strikes = range(560, 741, 5)
    used = [0.01 <= place_of(each, FIRST, 0.20) <= 0.99 for each in strikes]
    assert 25 < sum(used) < 37
    assert near["options"] == sum(used)
    assert near["not_used"] == 37 - sum(used) + 3

    [row] = rows(
        connection,
        "select * from volatility_term_structure_asof(%s) where days_used = 30",
        MOMENT,
    )
    first, second = days_to(FIRST), days_to(SECOND)
    share = (30 - first) / (second - first)
    variance = (1 - share) * near["at_the_money"] ** 2 * first
    variance += share * far["at_the_money"] ** 2 * second
    assert row["implied_volatility"] == pytest.approx(math.sqrt(variance / 30))
    assert (row["expiration_before"], row["expiration_after"]) == (FIRST, SECOND)


def test_nothing_is_guessed_from_options_that_are_far_away(connection):
    # Places near 0.9 and 0.1: the middle is 0.4 away from both.
    store(connection, FIRST, 0.20, (600, 690))
    store(connection, SECOND, 0.24, (650,))

    near, far = rows(
        connection,
        "select * from volatility_skew_asof(%s) order by expiration",
        MOMENT,
    )
    assert near["at_the_money"] is None
    assert near["skew"] is None
    assert near["options"] == 2
    # One option that is nearly at the money counts for it, and for nothing else.
    assert far["at_the_money"] == pytest.approx(smile(650, 0.24))
    assert far["put_25_delta"] is None
    # There is no other expiration, so 30 days are those of this one.
    [row] = rows(connection, "select * from volatility_term_structure_asof(%s)", MOMENT)
    assert row["days"] == 30
    assert row["days_used"] == pytest.approx(days_to(SECOND))
    assert row["implied_volatility"] == pytest.approx(far["at_the_money"])
