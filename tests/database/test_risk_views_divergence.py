"""`broker_divergence`: the values of two brokers for the same contract."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from tests.database.risk_rows import CALL, PUT, hold, risk_database, rows, seconds, tick

VALUES = {
    "delta": (0.5, 0.4),
    "gamma": (0.03, 0.01),
    "theta": (-0.6, -0.5),
    "vega": (0.7, 0.9),
    "rho": (None, 0.2),
    "implied_volatility": (0.2, 0.19),
    "underlying_price": (650.0, 649.5),
    "price": (12.5, 12.25),
}


@pytest.fixture
def database(emptied_database):
    """The database of the module: its tests only write rows."""
    return emptied_database


@pytest.fixture
def db(database):
    with risk_database(database) as connection:
        yield connection


@pytest.fixture
def now():
    return datetime.now(UTC)


def hold_now(db, now, broker, contract_key=CALL, **changes):
    expiration = now.date() + timedelta(days=30)
    values = {"at": now - seconds(60), "expiration": expiration, **changes}
    hold(db, 1, contract_key, broker=broker, **values)


def divergence(db):
    return rows(db, "select * from broker_divergence order by contract_key")


def test_both_brokers_stand_side_by_side_with_the_difference(db, now):
    for number, broker in enumerate(("ibkr", "tastytrade")):
        hold_now(db, now, broker)
        tick(
            db,
            broker=broker,
            event_time=now - seconds(10 + number),
            **{name: pair[number] for name, pair in VALUES.items()},
        )

    [row] = divergence(db)

    assert row["contract_key"] == CALL
    assert row["underlying"] == "SPY"
    assert row["expiration"] == now.date() + timedelta(days=30)
    assert row["strike"] == Decimal(600)
    assert row["option_type"] == "call"
    for name, (ibkr, tastytrade) in VALUES.items():
        assert row[f"ibkr_{name}"] == ibkr
        assert row[f"tastytrade_{name}"] == tastytrade
        difference = None if ibkr is None else pytest.approx(ibkr - tastytrade)
        assert row[f"{name}_difference"] == difference
    assert row["ibkr_event_time"] == now - seconds(10)
    assert row["tastytrade_event_time"] == now - seconds(11)
    assert row["tastytrade_age_s"] - row["ibkr_age_s"] == pytest.approx(1)
    assert (row["ibkr_is_stale"], row["tastytrade_is_stale"]) == (False, False)


@pytest.mark.parametrize("stale", ["ibkr", "tastytrade"])
def test_each_side_has_its_own_stale_flag(db, now, stale):
    for broker in ("ibkr", "tastytrade"):
        hold_now(db, now, broker)
        availability = "delayed" if broker == stale else "realtime"
        tick(db, broker=broker, event_time=now, availability=availability)

    [row] = divergence(db)

    assert {broker: row[f"{broker}_is_stale"] for broker in ("ibkr", "tastytrade")} == {
        "ibkr": stale == "ibkr",
        "tastytrade": stale == "tastytrade",
    }


def test_a_contract_at_one_broker_is_not_in_it(db, now):
    hold_now(db, now, "ibkr")
    hold_now(db, now, "ibkr", account_id="U2")
    hold_now(db, now, "tastytrade", PUT)

    assert divergence(db) == []


def test_a_side_without_a_tick_is_empty_and_stale(db, now):
    hold_now(db, now, "ibkr")
    hold_now(db, now, "tastytrade")
    tick(db, event_time=now)

    [row] = divergence(db)

    assert row["ibkr_delta"] == 0.5
    assert row["tastytrade_delta"] is None
    assert row["delta_difference"] is None
    assert row["tastytrade_age_s"] is None
    assert (row["ibkr_is_stale"], row["tastytrade_is_stale"]) == (False, True)


def test_of_several_accounts_the_newest_tick_counts(db, now):
    hold_now(db, now, "tastytrade")
    for number, account in enumerate(("U1", "U2", "U3")):
        hold_now(db, now, "ibkr", account_id=account)
        if account != "U3":  # which never ticked
            at = now - seconds(10 - number)
            tick(db, account_id=account, event_time=at, delta=number / 10)

    [row] = divergence(db)

    assert row["ibkr_delta"] == 0.1


def test_a_watched_contract_may_be_one_of_the_sides(db, now):
    hold_now(db, now, "ibkr")
    watched = {"account_id": "watchlist", "quantity": None}
    tick(
        db,
        broker="tastytrade",
        event_time=now,
        expiration=date(now.year + 1, 1, 1),
        **watched,
    )

    [row] = divergence(db)

    assert (row["ibkr_delta"], row["tastytrade_delta"]) == (None, 0.5)


def test_a_third_broker_does_not_hide_the_other_two(db, now):
    for broker in ("ibkr", "tastytrade", "thirdbroker"):
        hold_now(db, now, broker)
    hold_now(db, now, "ibkr", PUT)
    hold_now(db, now, "thirdbroker", PUT)

    assert [row["contract_key"] for row in divergence(db)] == [CALL]


def test_a_lent_price_of_the_underlying_is_no_price_of_the_other_broker(db, now):
    for broker in ("ibkr", "tastytrade"):
        hold_now(db, now, broker)
    tick(db, event_time=now, underlying_price=None)
    tick(db, broker="tastytrade", event_time=now, underlying_price=649.5)

    [row] = divergence(db)

    assert row["ibkr_underlying_price"] is None
    assert row["tastytrade_underlying_price"] == 649.5
    assert row["underlying_price_difference"] is None
