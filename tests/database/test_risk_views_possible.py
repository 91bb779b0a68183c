"""No stored value makes a view fail: it is missing and counted, and all others are right."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from greeks_trio.api.lists.resources import AS_OF, LATEST, PORTFOLIO, SNAPSHOTS
from tests.database.risk_rows import (
    CALL,
    MOMENT,
    PUT,
    greeks_asof,
    hold,
    hold_shares,
    portfolio_asof,
    risk_database,
    rows,
    seconds,
    tick,
)
from tests.timeline import all_of, asking

LARGEST = 1.7976931348623157e308
SMALLEST = 5e-324
INFINITY = float("inf")
NAN = float("nan")
GREEKS = ("delta", "gamma", "theta", "vega", "rho")
NEVER = (LARGEST, -LARGEST, INFINITY, -INFINITY, NAN, 1e200, -1e200)
# Of each field, values that it cannot have.
IMPOSSIBLE = {
    "delta": (*NEVER, 2.0, -1.5, -2.0),
    "gamma": (*NEVER, -1.0, -2.0),
    "theta": NEVER,
    "vega": (*NEVER, -1.0, -2.0),
    "rho": NEVER,
    "implied_volatility": (*NEVER, -1.0, 0.0, 101.0),
    "underlying_price": (*NEVER, -1.0, 0.0, SMALLEST),
    "price": (*NEVER, -1.0),
    "bid": (*NEVER, -1.0),
    "ask": (*NEVER, -1.0, 0.0),
}
NUMBERS = (
    "NaN",
    "Infinity",
    "-Infinity",
    "1e400",
    "-1e400",
    "1e-400",
    "1e4000",
    "1e-9999",
)


@pytest.fixture
def database(emptied_database):
    """The database of the module: its tests only write rows."""
    return emptied_database


@pytest.fixture
def db(database):
    with risk_database(database) as connection:
        yield connection


def missing(row):
    return {
        name.removeprefix("missing_"): count
        for name, count in row.items()
        if name.startswith("missing_") and count
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name, values in IMPOSSIBLE.items() for value in values],
)
def test_an_impossible_value_is_missing_and_the_others_stay(db, name, value):
    hold(db, 2, price_factor=1)
    whole = {"price": 12.5, "bid": 12.25, "ask": 12.75}
    tick(db, **{**whole, name: value})

    [row] = greeks_asof(db)
    [total] = portfolio_asof(db)

    stored = {
        "delta": 0.5,
        "gamma": 0.01,
        "theta": -0.2,
        "vega": 0.6,
        "rho": 0.1,
        "implied_volatility": 0.183,
        "underlying_price": 650.0,
        **whole,
    }
    assert {each: row[each] for each in stored} == {**stored, name: None}
    concerned = {
        "delta": {"delta", "dollar_delta"},
        "gamma": {"gamma", "dollar_gamma"},
        "underlying_price": {"price", "dollar_delta", "dollar_gamma"},
        "price": {"value"},
    }.get(name, {name} & set(GREEKS))
    assert missing(total) == dict.fromkeys(concerned, 1)


@pytest.mark.parametrize("name", [*GREEKS, "price", "implied_volatility"])
def test_a_value_next_to_nothing_is_nothing(db, name):
    """Its product would be too small for the type; zero is right to 50 digits."""
    hold(db, 2)
    tick(db, **{"price": 12.5, name: SMALLEST})

    [row] = greeks_asof(db)
    [total] = portfolio_asof(db)

    assert row[name] == (None if name == "implied_volatility" else 0.0)
    assert missing(total) in ({}, {"value": 1})


@pytest.mark.parametrize("price", [-37.63, 0.0, -0.25])
def test_the_price_of_a_future_may_be_negative(db, price):
    key = "./LO  251219P-5"
    terms = {"underlying": "/CLF26", "multiplier": 1000, "price_factor": 1}
    hold(db, 1, key, kind="future_option", **terms)
    tick(db, key, underlying="/CLF26", underlying_price=price)

    [row] = portfolio_asof(db)

    assert row["dollar_delta"] == pytest.approx(500 * price)
    assert row["missing_price"] == 0


@pytest.mark.parametrize("column", ["quantity", "multiplier", "price_factor"])
@pytest.mark.parametrize("value", NUMBERS)
def test_an_impossible_number_of_a_position_is_missing(db, column, value):
    hold(db, 2, price_factor=1)
    hold(db, **{"contract_key": PUT, "quantity": 1, "price_factor": 1, column: value})
    hold_shares(db, **{"quantity": 1, "price_factor": 1, column: value})
    for key in (CALL, PUT):
        tick(db, key, price=12.5)

    shares, options = portfolio_asof(db)

    assert options["dollar_delta"] == 2 * 50 * 650.0
    assert options["missing_dollar_delta"] == 1
    assert shares["missing_dollar_delta"] == 1
    assert options["missing_multiplier"] == (column != "price_factor")
    assert options["missing_price_factor"] == (column == "price_factor")


@pytest.mark.parametrize("value", [0, -100])
def test_no_multiplier_is_zero_or_negative(db, value):
    hold(db, 2, multiplier=value)
    tick(db)

    [row] = portfolio_asof(db)

    assert (row["option_delta"], row["missing_multiplier"]) == (None, 1)


def test_the_greatest_possible_values_have_a_sum(db):
    for number in range(20):
        key = f"SPY   251219C{number:08d}"
        hold(db, "999999999999", key, multiplier="999999999999", price_factor=1e12)
        greeks = dict.fromkeys(("gamma", "theta", "vega", "rho"), 1e9)
        tick(db, key, delta=1.05, underlying_price=1e9, price=1e9, **greeks)

    [row] = portfolio_asof(db)

    assert missing(row) == {}
    assert 0 < row["dollar_gamma"] < LARGEST
    assert row["vega"] == pytest.approx(20e45, rel=1e-6)


def test_the_smallest_possible_values_have_a_sum(db):
    tiny = "0.000000000001"
    hold(db, tiny, multiplier=tiny, price_factor=tiny)
    greeks = dict.fromkeys(GREEKS, 1.1e-50)
    tick(db, underlying_price=1e-9, price=1.1e-50, **greeks)

    [row] = portfolio_asof(db)

    assert missing(row) == {}
    assert row["dollar_gamma"] > 0


@pytest.mark.parametrize("column", ["event_time", "received_at", "underlying_price_at"])
@pytest.mark.parametrize("value", ["infinity", "-infinity", "9999-01-01 00:00+00"])
def test_an_impossible_time_hides_no_other_tick(db, column, value):
    """Such a row would be the newest for ever, or have no age."""
    now = datetime.now(UTC)
    expiration = now.date() + timedelta(days=30)
    hold(db, 2, at=now - seconds(60), expiration=expiration)
    tick(db, event_time=now - seconds(5), delta=0.4)
    times = {"event_time": now - seconds(2), "received_at": now - seconds(1)}
    tick(db, **{**times, column: value, "delta": 0.6})

    [row] = rows(db, "select * from latest_greeks")
    [total] = rows(db, "select * from portfolio_greeks")

    # The database's clock at the insert stands in for a received_at from the future.
    is_used = column == "underlying_price_at" or (
        column == "received_at" and value != "-infinity"
    )
    delta = 0.6 if is_used else 0.4
    assert (row["delta"], total["option_delta"]) == (delta, 200 * delta)
    assert row["is_stale"] is False
    assert total["stale"] == 0


async def test_every_answer_is_given(database, db):
    """The lists of the interface have all rows."""
    now = datetime.now(UTC)
    terms = {"at": now - seconds(60), "expiration": "infinity"}
    numbers = enumerate(NUMBERS)
    for number, value in numbers:
        key = f"SPY   991219C{number:08d}"
        hold(db, value, key, multiplier=value, strike=value, **terms)
        bad = NEVER[number % len(NEVER)]
        greeks = dict.fromkeys(
            (*GREEKS, "underlying_price", "price", "bid", "ask"), bad
        )
        tick(db, key, event_time=now - seconds(1), **greeks)
    hold_shares(db, "NaN", at=now - seconds(60))

    async with asking(database) as timeline:
        sums = await all_of(timeline, PORTFOLIO)
        latest = await all_of(timeline, LATEST)
        ticks = await all_of(timeline, SNAPSHOTS)
        past = await all_of(timeline, AS_OF, at=MOMENT)

    shares, total = sorted(sums, key=lambda row: row["contracts"])
    assert total["contracts"] == total["missing_delta"] == len(NUMBERS)
    assert shares["missing_share_future_delta"] == 1
    assert {row[name] for row in latest for name in GREEKS} == {None}
    assert len(ticks) == len(latest) == len(NUMBERS)
    assert past == []
