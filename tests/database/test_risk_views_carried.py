"""Greeks that the newest tick lacks come from older ticks, marked and with their age."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.database.risk_rows import (
    CALL,
    MOMENT,
    PUT,
    greeks_asof,
    hold,
    portfolio_asof,
    risk_database,
    rows,
    seconds,
    tick,
)

GREEKS = ("delta", "gamma", "theta", "vega", "rho")
VALUES = (*GREEKS, "implied_volatility")
NOTHING = dict.fromkeys(VALUES)
OLDER = {
    "delta": 0.4,
    "gamma": 0.02,
    "theta": -0.3,
    "vega": 0.7,
    "rho": 0.2,
    "implied_volatility": 0.2,
}
CHANGED = {"delta": 0.45, "gamma": 0.03, "theta": -0.4, "vega": 0.8, "rho": 0.3}


@pytest.fixture
def database(emptied_database):
    """The database of the module: its tests only write rows."""
    return emptied_database


@pytest.fixture
def db(database):
    with risk_database(database) as connection:
        yield connection


def carried(row):
    return {name for name in VALUES if row[f"carried_{name}"]}


@pytest.mark.parametrize("name", VALUES)
def test_a_value_that_the_newest_tick_lacks_is_the_one_before(db, name):
    hold(db, broker="tastytrade")
    tick(db, broker="tastytrade", event_time=MOMENT - seconds(40), **OLDER)
    tick(db, broker="tastytrade", **{name: None})

    [row] = greeks_asof(db)

    assert row[name] == OLDER[name]
    assert carried(row) == {name}
    assert row["carried_age_s"] == 40.0
    assert row["age_s"] == 10.0
    assert row["is_stale"] is False


@pytest.mark.parametrize("name", GREEKS)
def test_a_tick_with_one_greek_takes_each_other_from_its_newest_tick(db, name):
    """Each Greek came last in a tick of its own."""
    hold(db)
    tick(db, event_time=MOMENT - seconds(200), **{**NOTHING, **OLDER})
    for age, greek in enumerate(GREEKS, 20):
        value = {**NOTHING, greek: CHANGED[greek]}
        tick(db, event_time=MOMENT - seconds(age), **value)
    tick(db, event_time=MOMENT - seconds(1), **{**NOTHING, name: -0.25})

    [row] = greeks_asof(db)

    assert {greek: row[greek] for greek in GREEKS} == {**CHANGED, name: -0.25}
    assert row["implied_volatility"] == 0.2
    assert carried(row) == set(VALUES) - {name}
    assert row["carried_age_s"] == 200.0


def test_nothing_is_carried_where_the_newest_tick_has_everything(db):
    hold(db)
    tick(db, event_time=MOMENT - seconds(20), **OLDER)
    tick(db)

    [row] = greeks_asof(db)

    assert carried(row) == set()
    assert row["carried_age_s"] is None


@pytest.mark.parametrize(
    ("event_age", "received_age", "found"),
    [
        (300, 300, 0.7),
        (300.001, 300, None),
        (300, 300.001, None),
        (301, 5, None),
        (5, 301, None),
    ],
)
def test_a_value_older_than_the_limit_is_not_carried(
    db, event_age, received_age, found
):
    hold(db)
    tick(
        db,
        event_time=MOMENT - seconds(event_age),
        received_at=MOMENT - seconds(received_age),
        vega=0.7,
    )
    tick(db, event_time=MOMENT - seconds(1), vega=None)

    [row] = greeks_asof(db)

    assert row["vega"] == found
    assert row["carried_vega"] is (found is not None)


def test_the_limit_is_an_argument(db):
    hold(db)
    tick(db, event_time=MOMENT - seconds(20), vega=0.7)
    tick(db, event_time=MOMENT - seconds(1), vega=None)
    query = "select vega from greeks_asof(%s, %s)"

    found = [rows(db, query, MOMENT, limit)[0]["vega"] for limit in (19, 20, 21)]

    assert found == [None, 0.7, 0.7]


def test_a_tick_beyond_the_limit_is_shown_as_it_is(db):
    """Everything in it is as old as it is."""
    hold(db)
    tick(db, event_time=MOMENT - seconds(302), vega=0.7)
    tick(db, event_time=MOMENT - seconds(301), vega=None)

    [row] = greeks_asof(db)

    assert (row["delta"], row["vega"], row["stale_reason"]) == (0.5, None, "old")


def test_only_ticks_of_the_same_series_are_carried(db):
    hold(db)
    for other in (
        {"contract_key": PUT},
        {"account_id": "U2"},
        {"broker": "tastytrade"},
    ):
        tick(db, **{"event_time": MOMENT - seconds(5), "vega": 0.9, **other})
    tick(db, vega=None)

    [row] = greeks_asof(db)

    assert row["vega"] is None


def test_the_past_carries_only_ticks_that_had_been_received(db):
    hold(db)
    tick(db, event_time=MOMENT - seconds(60), vega=0.1)
    tick(
        db,
        event_time=MOMENT - seconds(30),
        received_at=MOMENT + seconds(20),
        vega=0.2,
    )
    tick(db, event_time=MOMENT - seconds(10), vega=None)
    tick(db, event_time=MOMENT + seconds(10), vega=0.3)

    by_moment = {
        after: greeks_asof(db, MOMENT + seconds(after))[0]["vega"]
        for after in (-11, 0, 9, 10)
    }
    db.execute("delete from greek_snapshots where event_time > %s", [MOMENT])
    late = greeks_asof(db, MOMENT + seconds(20))[0]["vega"]

    assert by_moment == {-11: 0.1, 0: 0.1, 9: 0.1, 10: 0.3}
    assert late == 0.2


@pytest.mark.parametrize(
    ("older", "newest", "found"),
    [
        ("delayed", "realtime", None),
        ("unknown", "realtime", None),
        ("realtime", "realtime", 0.7),
        ("realtime", "delayed", 0.7),
        ("delayed", "delayed", 0.7),
        ("frozen", "delayed", None),
    ],
)
def test_a_value_that_is_not_realtime_never_stands_for_one_that_is(
    db, older, newest, found
):
    hold(db)
    tick(db, event_time=MOMENT - seconds(20), vega=0.7, availability=older)
    tick(db, vega=None, availability=newest)

    assert [row["vega"] for row in greeks_asof(db)] == [found]


@pytest.mark.parametrize("broker", ["ibkr", "tastytrade", "thirdbroker"])
def test_rho_alone_is_carried_for_the_brokers_that_send_it(db, broker):
    hold(db, broker=broker)
    tick(db, broker=broker, event_time=MOMENT - seconds(20), rho=0.2)
    tick(db, broker=broker, rho=None)

    [row] = greeks_asof(db)

    assert row["rho"] == (None if broker == "ibkr" else 0.2)


def test_an_impossible_value_is_replaced_by_the_newest_possible_one(db):
    hold(db)
    tick(db, event_time=MOMENT - seconds(30), vega=0.7)
    tick(db, event_time=MOMENT - seconds(20), vega=1.7976931348623157e308)
    tick(db, vega=-1.0)

    [row] = greeks_asof(db)

    assert (row["vega"], row["carried_vega"], row["carried_age_s"]) == (0.7, True, 30)


def test_sums_stay_whole_and_count_the_carried_values(db):
    hold(db, -3)
    hold(db, 2, PUT)
    for key in (CALL, PUT):
        tick(db, key, event_time=MOMENT - seconds(30), **OLDER)
    tick(db, vega=None, gamma=None)
    tick(db, PUT, vega=None, event_time=MOMENT - seconds(5))

    [row] = portfolio_asof(db)

    assert row["vega"] == pytest.approx(-100 * 0.7)
    assert row["missing_vega"] == 0
    counted = {name: row[f"carried_{name}"] for name in GREEKS}
    assert counted == {**dict.fromkeys(GREEKS, 0), "gamma": 1, "vega": 2}
    assert row["oldest_carried_age_s"] == 30.0
    assert row["stale"] == 0


def test_a_carried_volatility_is_in_no_sum_and_gives_no_age(db):
    hold(db)
    tick(db, event_time=MOMENT - seconds(30), **OLDER)
    tick(db, implied_volatility=None)

    [row] = portfolio_asof(db)

    assert row["oldest_carried_age_s"] is None


def test_the_sum_of_a_contract_does_not_flicker(db):
    """Every other tick has no vega; each moment has a sum of it."""
    hold(db)
    for number in range(20):
        vega = 0.6 if number % 2 == 0 else None
        tick(db, event_time=MOMENT + seconds(number), vega=vega)

    found = [
        portfolio_asof(db, MOMENT + seconds(number + 0.5))[0]["vega"]
        for number in range(20)
    ]

    assert found == [60.0] * 20


def test_the_present_views_carry_too(db):
    now = datetime.now(UTC)
    expiration = now.date() + timedelta(days=30)
    hold(db, 2, at=now - seconds(60), expiration=expiration)
    tick(db, event_time=now - seconds(20), vega=0.7)
    tick(db, event_time=now - seconds(1), vega=None)

    [row] = rows(db, "select * from latest_greeks")
    [total] = rows(db, "select * from portfolio_greeks")

    assert (row["vega"], row["carried_vega"]) == (0.7, True)
    assert (total["vega"], total["carried_vega"]) == (140.0, 1)
    assert 20 <= total["oldest_carried_age_s"] < 60


def test_a_price_that_the_newest_tick_lacks_is_carried_so_that_the_value_stays(db):
    hold(db, quantity=-2)
    tick(db, event_time=MOMENT - seconds(60), price=11.5)
    tick(db, event_time=MOMENT - seconds(40), price=12.5)
    tick(db, event_time=MOMENT - seconds(20), price=float("nan"))
    tick(db, event_time=MOMENT - seconds(1))

    [row] = greeks_asof(db)
    [sums] = portfolio_asof(db)

    assert (row["price"], row["carried_price"]) == (12.5, True)
    assert (row["position_value"], row["carried_age_s"]) == (-2500.0, 40.0)
    assert (sums["market_value"], sums["missing_value"]) == (-2500.0, 0)
    assert (sums["carried_value"], sums["oldest_carried_age_s"]) == (1, 40.0)


def test_the_carried_age_is_that_of_the_oldest_of_greeks_and_price(db):
    hold(db)
    tick(db, event_time=MOMENT - seconds(60), vega=0.7)
    tick(db, event_time=MOMENT - seconds(40), price=12.5, vega=None)
    tick(db, event_time=MOMENT - seconds(1), vega=None)

    [row] = greeks_asof(db)

    assert (row["vega"], row["price"], row["carried_age_s"]) == (0.7, 12.5, 60.0)


def test_a_price_that_is_older_than_the_limit_or_20_ticks_is_missing(db):
    hold(db)
    tick(db, event_time=MOMENT - seconds(400), price=12.5)
    tick(db)
    hold(db, contract_key=PUT, option_type="put")
    tick(db, contract_key=PUT, event_time=MOMENT - seconds(100), price=12.5)
    for age in range(20, 40):
        tick(db, contract_key=PUT, event_time=MOMENT - seconds(age))

    for row in greeks_asof(db):
        assert (row["price"], row["carried_price"]) == (None, False)
    assert sum(sums["missing_value"] for sums in portfolio_asof(db)) == 2
