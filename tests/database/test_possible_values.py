"""The limits of the views are those of the feeds."""

from __future__ import annotations

import math

import pytest

from greeks_trio.model.possible import impossible_fields, price_range
from greeks_trio.model.records import BrokerGreeks, Greeks
from tests.fix_postgres import connect

GREEKS = ("delta", "gamma", "theta", "vega", "rho", "implied_volatility")
NUMBERS = [
    each
    for border in (0.0, 1e-9, 0.5, 1.05, 1.0, 2.0, 100.0, 1e9, 2147483647.0, 1.8e308)
    for number in (border, -border)
    for each in (number, math.nextafter(number, math.inf), math.nextafter(number, -2e9))
    # The views take numbers below 1e-50 for 0, which no limit has to tell from it.
    if each == 0 or abs(each) > 1e-50
] + [math.nan, math.inf, -math.inf]


@pytest.fixture(scope="module")
def schema(database_template):
    with connect(database_template) as connection:
        yield connection


@pytest.mark.parametrize("name", GREEKS)
def test_the_views_take_the_greeks_that_the_feeds_take(schema, name):
    for number in NUMBERS:
        values = dict.fromkeys(GREEKS) | {name: number}
        arguments = list(values.values())

        found = schema.execute(
            f"select {name} from possible_greeks(%s, %s, %s, %s, %s, %s)", arguments
        ).fetchone()

        event = BrokerGreeks(Greeks(**values), 1, b"{}")
        expected = None if impossible_fields(event) else number
        assert found == (expected,), number


@pytest.mark.parametrize("kind", ["share", "index", "future"])
def test_the_views_take_the_prices_of_underlyings_that_the_feeds_take(schema, kind):
    for number in NUMBERS:
        found = schema.execute(
            "select possible_price(%s, %s)", [number, kind == "future"]
        ).fetchone()

        expected = number if price_range(kind).has(number) else None
        assert found == (expected,), number
