"""`greeks_asof` and `latest_greeks`: their rows, and the age of each."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from tests.database.risk_rows import (
    CALL,
    MOMENT,
    PUT,
    greeks_asof,
    hold,
    hold_shares,
    risk_database,
    rows,
    seconds,
    tick,
)

GREEKS = ("delta", "gamma", "theta", "vega", "rho")
CARRIED = tuple(f"carried_{name}" for name in (*GREEKS, "implied_volatility"))


@pytest.fixture
def database(emptied_database):
    """The database of the module: its tests only write rows."""
    return emptied_database


@pytest.fixture
def db(database):
    with risk_database(database) as connection:
        yield connection


def contracts(found):
    return [row["contract_key"] for row in found]


def test_a_held_contract_has_the_position_and_the_newest_tick(db):
    hold(db, -3, instrument_id="701", exchange="CBOE", price_factor=1)
    tick(
        db,
        event_time=MOMENT - seconds(12),
        received_at=MOMENT - seconds(10),
        underlying_price_at=MOMENT - seconds(13),
        price=12.35,
        bid=12.25,
        ask=12.5,
        in_rotation=True,
    )

    assert greeks_asof(db) == [
        {
            "broker": "ibkr",
            "account_id": "U1",
            "contract_key": CALL,
            "underlying": "SPY",
            "expiration": date(2025, 12, 19),
            "strike": Decimal(600),
            "option_type": "call",
            "quantity": Decimal(-3),
            "multiplier": Decimal(100),
            "currency": "USD",
            "event_time": MOMENT - seconds(12),
            "received_at": MOMENT - seconds(10),
            "delta": 0.5,
            "gamma": 0.01,
            "theta": -0.2,
            "vega": 0.6,
            "rho": 0.1,
            "implied_volatility": 0.183,
            "underlying_price": 650.0,
            "availability": "realtime",
            "age_s": 10.0,
            "is_stale": False,
            "stale_reason": None,
            "kind": "option",
            "instrument_id": "701",
            "exchange": "CBOE",
            "price_factor": Decimal(1),
            "price": 12.35,
            "bid": 12.25,
            "ask": 12.5,
            "position_value": -300 * 12.35,
            "underlying_price_at": MOMENT - seconds(13),
            "underlying_price_source": None,
            **dict.fromkeys(CARRIED, False),
            "carried_age_s": None,
            "in_rotation": True,
            "carried_price": False,
        }
    ]


@pytest.mark.parametrize(
    "ticks",
    [
        pytest.param([(-20, -20, 0.1), (-10, -10, 0.9)], id="event_time"),
        pytest.param([(-10, -10, 0.9), (-20, -20, 0.1)], id="out-of-order"),
        pytest.param([(-10, -9, 0.9), (-20, -1, 0.1)], id="late-event"),
        pytest.param([(-10, -8, 0.9), (-10, -9, 0.1)], id="received_at"),
        pytest.param([(-10, -8, 0.1), (-10, -8, 0.9)], id="id"),
    ],
)
def test_the_newest_is_by_event_time_then_received_at_then_id(db, ticks):
    """In any order of arrival and of the primary key."""
    hold(db)
    for number, (event_time, received_at, delta) in enumerate(ticks):
        tick(
            db,
            event_time=MOMENT + seconds(event_time),
            received_at=MOMENT + seconds(received_at),
            delta=delta,
            fingerprint=-number,
        )

    assert [row["delta"] for row in greeks_asof(db)] == [0.9]


def test_a_closed_position_is_not_in_it(db):
    hold(db, at=MOMENT - seconds(60))
    hold(db, 0, at=MOMENT - seconds(30))
    hold(db, contract_key=PUT)
    tick(db)
    tick(db, PUT)

    assert contracts(greeks_asof(db)) == [PUT]


def test_a_position_that_was_opened_again_is_in_it(db):
    hold(db, 1, at=MOMENT - seconds(60))
    hold(db, 0, at=MOMENT - seconds(30))
    hold(db, 5, at=MOMENT - seconds(20))

    assert [row["quantity"] for row in greeks_asof(db)] == [5]


def test_a_contract_without_a_tick_is_in_it_with_nothing_and_stale(db):
    hold(db)
    tick(db, PUT)

    [row] = greeks_asof(db)

    assert row["quantity"] == 1
    assert row["is_stale"] is True
    assert row["stale_reason"] == "no tick"
    assert {row[name] for name in (*GREEKS, "event_time", "received_at", "age_s")} == {
        None
    }
    assert row["availability"] is None


@pytest.mark.parametrize("greek", GREEKS)
def test_a_tick_with_one_greek_has_that_one_only(db, greek):
    """The tick before is older than the limit."""
    hold(db)
    tick(db, event_time=MOMENT - seconds(301))
    nothing = dict.fromkeys(GREEKS)
    tick(db, event_time=MOMENT - seconds(1), **{**nothing, greek: 0.25})

    [row] = greeks_asof(db)

    assert {name: row[name] for name in GREEKS} == {**nothing, greek: 0.25}


def test_each_account_has_its_own_newest_tick(db):
    for account, delta in (("U1", 0.1), ("U2", 0.2)):
        hold(db, account_id=account)
        tick(db, account_id=account, delta=delta)
    tick(db, account_id="U3")

    found = greeks_asof(db)

    assert [(row["account_id"], row["delta"]) for row in found] == [
        ("U1", 0.1),
        ("U2", 0.2),
    ]


def test_shares_are_no_contract(db):
    hold_shares(db, 100)
    hold_shares(db, 1, contract_key="/ESZ5", kind="future")
    hold_shares(db, 1, contract_key="X", kind="other")
    hold(db, contract_key="./ESZ5", kind="future_option")

    assert contracts(greeks_asof(db)) == ["./ESZ5"]


@pytest.mark.parametrize(
    ("times", "stale"),
    [
        ({"event_time": 300}, False),
        ({"event_time": 300.001}, True),
        ({"event_time": 300.001, "received_at": 1}, True),
        ({"event_time": 1, "received_at": 300.001}, True),
    ],
)
def test_a_tick_is_stale_when_it_came_or_happened_too_long_ago(db, times, stale):
    hold(db)
    tick(db, **{name: MOMENT - seconds(age) for name, age in times.items()})

    [row] = greeks_asof(db)

    assert row["is_stale"] is stale
    assert row["stale_reason"] == ("old" if stale else None)


@pytest.mark.parametrize("availability", ["delayed", "frozen", "unknown"])
def test_a_tick_that_is_not_realtime_is_stale(db, availability):
    hold(db)
    tick(db, availability=availability)

    [row] = greeks_asof(db)

    assert row["is_stale"] is True
    assert row["stale_reason"] == availability


def test_a_tick_that_is_old_and_delayed_is_old(db):
    """Delayed data that have stopped are worse than delayed data."""
    hold(db)
    tick(db, event_time=MOMENT - seconds(301), availability="delayed")

    assert [row["stale_reason"] for row in greeks_asof(db)] == ["old"]


def test_the_age_from_which_a_tick_is_stale_is_an_argument(db):
    hold(db)
    tick(db, event_time=MOMENT - seconds(10))

    found = rows(
        db,
        "select age, is_stale from unnest(array[9.9, 10.1]) as age,"
        " greeks_asof(%s, age) order by age",
        MOMENT,
    )

    assert [row["is_stale"] for row in found] == [True, False]


def test_an_expired_contract_leaves_when_its_day_is_over_everywhere(db):
    hold(db)
    over = datetime(2025, 12, 20, 12, tzinfo=UTC)

    assert contracts(greeks_asof(db, over - seconds(1))) == [CALL]
    assert greeks_asof(db, over) == []


def test_the_newest_row_says_when_a_contract_expires(db):
    hold(db, expiration=None, at=MOMENT - seconds(60))
    hold(db, expiration="2025-11-01", at=MOMENT - seconds(30))

    assert greeks_asof(db) == []


def test_the_past_knows_only_ticks_that_had_been_received(db):
    """A late event belongs to its time, but was not known then."""
    hold(db)
    tick(db, event_time=MOMENT - seconds(30), delta=0.1)
    tick(
        db,
        event_time=MOMENT - seconds(20),
        received_at=MOMENT + seconds(5),
        delta=0.2,
    )
    tick(db, event_time=MOMENT + seconds(10), delta=0.3)

    by_moment = {
        after: [row["delta"] for row in greeks_asof(db, MOMENT + seconds(after))]
        for after in (-40, -30, 0, 4, 5, 9, 10)
    }

    assert by_moment == {
        -40: [None],
        -30: [0.1],
        0: [0.1],
        4: [0.1],
        5: [0.2],
        9: [0.2],
        10: [0.3],
    }


def test_the_past_has_no_tick_of_a_later_time_by_the_brokers_clock(db):
    hold(db)
    tick(db, delta=0.1)
    ahead = MOMENT + seconds(2)
    tick(db, event_time=ahead, received_at=MOMENT - seconds(1), delta=0.2)

    assert [row["delta"] for row in greeks_asof(db)] == [0.1]
    assert [row["delta"] for row in greeks_asof(db, ahead)] == [0.2]


def test_the_past_has_the_positions_that_were_held_then(db):
    hold(db, 1, at=MOMENT - seconds(60))
    hold(db, -4, at=MOMENT - seconds(30))
    hold(db, 0, at=MOMENT + seconds(30))

    by_moment = {
        after: [row["quantity"] for row in greeks_asof(db, MOMENT + seconds(after))]
        for after in (-61, -60, -31, -30, 29, 30)
    }

    assert by_moment == {-61: [], -60: [1], -31: [1], -30: [-4], 29: [-4], 30: []}


def test_ages_in_the_past_are_relative_to_the_moment(db):
    hold(db)
    tick(db, event_time=MOMENT - seconds(10))

    [row] = greeks_asof(db, MOMENT + timedelta(hours=1))

    assert row["age_s"] == 3610.0
    assert row["is_stale"] is True


def watch(db, contract_key=CALL, **changes):
    tick(db, contract_key, account_id="watchlist", quantity=None, **changes)


def test_watched_contracts_of_any_broker_are_in_it(db):
    for broker in ("abroker", "tastytrade", "thirdbroker"):
        watch(db, broker=broker)

    assert [row["broker"] for row in greeks_asof(db)] == [
        "abroker",
        "tastytrade",
        "thirdbroker",
    ]


def test_watched_contracts_are_in_it_without_a_quantity(db):
    """Each broker has several contracts, with several ticks each."""
    hold(db, account_id="U2")
    for broker in ("ibkr", "tastytrade"):
        for key in (CALL, PUT):
            watch(db, key, broker=broker, delta=0.1, event_time=MOMENT - seconds(20))
            watch(db, key, broker=broker, delta=0.2, event_time=MOMENT - seconds(10))

    found = [row for row in greeks_asof(db) if row["account_id"] == "watchlist"]

    assert [(row["broker"], row["contract_key"], row["delta"]) for row in found] == [
        ("ibkr", CALL, 0.2),
        ("ibkr", PUT, 0.2),
        ("tastytrade", CALL, 0.2),
        ("tastytrade", PUT, 0.2),
    ]
    unknown = ("quantity", "multiplier", "currency")
    assert {row[name] for row in found for name in unknown} == {None}
    assert found[0]["underlying"] == "SPY"
    assert found[0]["expiration"] == date(2025, 12, 19)
    assert found[0]["strike"] == 600
    assert found[1]["is_stale"] is False


@pytest.mark.parametrize(
    ("age", "changes", "found"),
    [
        (timedelta(days=7), {}, [CALL]),
        (timedelta(days=7, seconds=1), {}, []),
        (timedelta(days=1), {"expiration": "2025-11-12"}, []),
        (timedelta(seconds=-1), {}, []),
    ],
)
def test_a_watched_contract_stays_a_week_and_never_beyond_its_expiration(
    db, age, changes, found
):
    watch(db, event_time=MOMENT - age, **changes)

    assert contracts(greeks_asof(db)) == found


def test_a_week_of_the_watch_list_may_begin_in_the_month_before(db):
    moment = datetime(2025, 12, 5, 15, tzinfo=UTC)
    watch(db, event_time=moment - timedelta(days=6))

    assert contracts(greeks_asof(db, moment)) == [CALL]


def insert_now(db):
    """Hold a contract that ticks at the present and expires in a month."""
    now = datetime.now(UTC)
    expiration = now.date() + timedelta(days=30)
    hold(db, 2, at=now - seconds(60), expiration=expiration)
    tick(db, event_time=now - seconds(1), expiration=expiration)
    return now


def test_the_view_is_the_present(db):
    insert_now(db)
    hold(db, contract_key=PUT)  # expired long ago

    [row] = rows(db, "select * from latest_greeks")

    assert row["contract_key"] == CALL
    assert row["delta"] == 0.5
    assert 1 <= row["age_s"] < 60
    assert row["is_stale"] is False
    [asof] = rows(db, "select * from greeks_asof(now())")
    assert {**asof, "age_s": None} == {**row, "age_s": None}


def test_a_tick_from_a_clock_that_is_ahead_is_the_newest_and_its_age_not_negative(db):
    now = insert_now(db)
    tick(db, event_time=now + seconds(200), delta=0.9)

    [row] = rows(db, "select * from latest_greeks")

    assert row["delta"] == 0.9
    # received_at is ahead too, so the age counts from the insert.
    assert 0 <= row["age_s"] < 60
    assert row["is_stale"] is False


def test_the_age_goes_on_within_a_transaction(db):
    """The present is when the statement begins, not the transaction."""
    insert_now(db)
    query = "select received_at, age_s, statement_timestamp() as at from latest_greeks"

    with db.transaction():
        db.execute("select")
        [row] = rows(db, query)

    assert row["age_s"] == (row["at"] - row["received_at"]).total_seconds()
