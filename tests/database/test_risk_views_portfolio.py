"""`portfolio_asof` and `portfolio_greeks`: each sum computed by hand, and the positions that it lacks."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

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

COUNTS = (
    "contracts",
    "shares_futures",
    "other_positions",
    "missing_tick",
    "missing_multiplier",
    "missing_price",
    "missing_delta",
    "missing_share_future_delta",
    "missing_gamma",
    "missing_theta",
    "missing_vega",
    "missing_rho",
    "missing_dollar_delta",
    "missing_dollar_gamma",
    "stale",
    "not_realtime",
    "unknown_positions",
    "missing_price_factor",
    "carried_delta",
    "carried_gamma",
    "carried_theta",
    "carried_vega",
    "carried_rho",
    "carried_value",
)
SUMS = (
    "option_delta",
    "share_future_delta",
    "gamma",
    "theta",
    "vega",
    "rho",
    "dollar_delta",
    "dollar_gamma",
)


@pytest.fixture
def database(emptied_database):
    """The database of the module: its tests only write rows."""
    return emptied_database


@pytest.fixture
def db(database):
    with risk_database(database) as connection:
        yield connection


def counts(row, *, beside=("contracts", "shares_futures")):
    """Return the counts that are not zero, but for the totals."""
    return {name: row[name] for name in COUNTS if row[name] and name not in beside}


def sums(row):
    return {name: row[name] for name in SUMS}


def hold_two(db):
    """Short three calls, long two puts, and a tick of the calls."""
    hold(db, -3)
    hold(db, 2, PUT)
    tick(db, event_time=MOMENT - seconds(20))


def tick_put(db, **changes):
    greeks = {"delta": -0.25, "gamma": 0.02, "theta": -0.1, "vega": 0.4, "rho": -0.05}
    values = {"option_type": "put", "underlying_price": 660.0, **greeks, **changes}
    tick(db, PUT, **values)


def test_each_sum_is_quantity_times_multiplier_times_greek(db):
    """Calls: -300 units at 650; puts: 200 units at 660."""
    hold_two(db)
    tick_put(db)

    assert portfolio_asof(db) == [
        {
            "broker": "ibkr",
            "account_id": "U1",
            "currency": "USD",
            "underlying": "SPY",
            "expiration": date(2025, 12, 19),
            **dict.fromkeys(COUNTS, 0),
            "contracts": 2,
            "option_delta": pytest.approx(-300 * 0.5 + 200 * -0.25),
            "share_future_delta": 0.0,
            "gamma": pytest.approx(-300 * 0.01 + 200 * 0.02),
            "theta": pytest.approx(-300 * -0.2 + 200 * -0.1),
            "vega": pytest.approx(-300 * 0.6 + 200 * 0.4),
            "rho": pytest.approx(-300 * 0.1 + 200 * -0.05),
            "dollar_delta": pytest.approx(-300 * 0.5 * 650 + 200 * -0.25 * 660),
            "dollar_gamma": pytest.approx(
                -300 * 0.01 * 650**2 / 100 + 200 * 0.02 * 660**2 / 100
            ),
            "oldest_age_s": 20.0,
            "market_value": None,
            "missing_value": 2,
            "oldest_carried_age_s": None,
        }
    ]


def test_shares_have_a_row_of_their_own_with_the_price_from_the_options(db):
    hold(db)
    tick(db, underlying_price=650.0)
    hold_shares(db, -200)

    shares, options = portfolio_asof(db)

    assert shares["expiration"] is None
    assert sums(shares) == {
        **dict.fromkeys(SUMS, 0.0),
        "share_future_delta": -200.0,
        "dollar_delta": -130_000.0,
    }
    assert shares["shares_futures"] == 1
    assert counts(shares) == {}
    assert shares["oldest_age_s"] == 10.0
    assert options["option_delta"] == 50.0
    assert options["share_future_delta"] == 0.0


def test_a_future_counts_with_its_multiplier_beside_the_options_on_it(db):
    """With the same expiration they share a row, but not a column."""
    key = "./ES  251219C6600"
    future = {"underlying": "/ESZ25", "multiplier": 50, "price_factor": 1}
    hold(db, 2, key, kind="future_option", **future)
    tick(db, key, underlying="/ESZ25", underlying_price=6700.0)
    hold_shares(
        db,
        -3,
        contract_key="/ESZ25",
        kind="future",
        expiration="2025-12-19",
        **future,
    )

    [row] = portfolio_asof(db)

    assert row["option_delta"] == 50.0
    assert row["share_future_delta"] == -150.0
    assert row["dollar_delta"] == (50 - 150) * 6700
    assert row["dollar_gamma"] == pytest.approx(100 * 0.01 * 6700**2 / 100)
    assert (row["contracts"], row["shares_futures"]) == (1, 1)
    assert counts(row) == {}


@pytest.mark.parametrize(
    ("greek", "missing", "without"),
    [
        ("delta", {"delta", "dollar_delta"}, {"option_delta": -150.0}),
        ("gamma", {"gamma", "dollar_gamma"}, {"gamma": -3.0}),
        ("theta", {"theta"}, {"theta": 60.0}),
        ("vega", {"vega"}, {"vega": -180.0}),
        ("rho", {"rho"}, {"rho": -30.0}),
    ],
)
def test_a_value_that_is_missing_is_counted_beside_the_sum_of_the_others(
    db, greek, missing, without
):
    hold_two(db)
    tick_put(db, **{greek: None})

    [row] = portfolio_asof(db)

    assert counts(row) == {f"missing_{name}": 1 for name in missing}
    assert {name: row[name] for name in without} == pytest.approx(without)


def test_a_contract_without_a_tick_is_missing_everywhere(db):
    hold_two(db)

    [row] = portfolio_asof(db)

    lacking = ("tick", "price", "delta", "gamma", "theta", "vega", "rho")
    dollars = ("dollar_delta", "dollar_gamma")
    assert row["contracts"] == 2
    assert counts(row) == {
        **{f"missing_{name}": 1 for name in (*lacking, *dollars)},
        "stale": 1,
    }
    assert row["option_delta"] == -150.0
    assert row["oldest_age_s"] == 20.0


def test_a_sum_of_nothing_known_is_null(db):
    hold(db)

    [row] = portfolio_asof(db)

    assert sums(row) == {**dict.fromkeys(SUMS), "share_future_delta": 0.0}
    assert row["oldest_age_s"] is None


def test_an_option_without_a_multiplier_is_in_no_sum(db):
    hold_two(db)
    tick_put(db)
    hold(db, 2, PUT, at=MOMENT - seconds(5), multiplier=None)

    [row] = portfolio_asof(db)

    lacking = ("multiplier", "delta", "gamma", "theta", "vega", "rho")
    dollars = ("dollar_delta", "dollar_gamma")
    assert counts(row) == {f"missing_{name}": 1 for name in (*lacking, *dollars)}
    assert row["option_delta"] == -150.0


@pytest.mark.parametrize(
    ("multiplier", "delta"), [(None, 10.0), (0, 10.0), (1, 10.0), (3, 30.0)]
)
def test_a_share_needs_no_multiplier(db, multiplier, delta):
    hold_shares(db, 10, multiplier=multiplier)
    tick(db, account_id="watchlist", quantity=None)

    [row] = portfolio_asof(db)

    assert row["share_future_delta"] == delta
    assert row["dollar_delta"] == delta * 650
    assert counts(row) == {}


@pytest.mark.parametrize(
    ("multiplier", "delta"), [(50, 500.0), (None, None), (0, None), ("NaN", None)]
)
def test_a_future_needs_a_multiplier(db, multiplier, delta):
    future = {"kind": "future", "underlying": "/ESZ25", "price_factor": 1}
    hold_shares(db, 10, contract_key="/ESZ25", multiplier=multiplier, **future)
    watched = {"account_id": "watchlist", "quantity": None, "underlying": "/ESZ25"}
    tick(db, "./ES  251219C6600", **watched)

    [row] = portfolio_asof(db)

    assert row["share_future_delta"] == delta
    assert row["dollar_delta"] == (None if delta is None else delta * 650)
    missing = ("multiplier", "share_future_delta", "dollar_delta")
    assert counts(row) == (
        {f"missing_{name}": 1 for name in missing} if delta is None else {}
    )


def test_shares_take_the_newest_price_of_their_own_broker(db):
    hold_shares(db, 1)
    for key, account, age, price in (
        (CALL, "U1", 30, 640.0),
        (PUT, "U2", 20, 641.0),
    ):
        hold(db, contract_key=key, account_id=account)
        tick(
            db,
            key,
            account_id=account,
            event_time=MOMENT - seconds(age),
            underlying_price=price,
        )
    hold(db, broker="tastytrade", account_id="T1")
    tick(db, broker="tastytrade", account_id="T1", underlying_price=642.0)

    shares = portfolio_asof(db)[0]

    assert shares["dollar_delta"] == 641.0
    assert shares["oldest_age_s"] == 20.0


def test_shares_take_the_price_from_the_other_broker_if_theirs_has_none(db):
    hold_shares(db, 1)
    hold(db, contract_key=PUT)
    tick(db, PUT, underlying_price=None)
    hold(db, broker="tastytrade", account_id="T1")
    tick(db, broker="tastytrade", account_id="T1", underlying_price=642.0)

    shares = portfolio_asof(db)[0]

    assert shares["dollar_delta"] == 642.0
    assert counts(shares) == {}


def test_shares_without_a_price_are_counted_and_not_valued(db):
    hold_shares(db, 5)
    hold(db, contract_key="QQQ   251219C00500000", underlying="QQQ")
    tick(db, "QQQ   251219C00500000", underlying="QQQ")

    shares = next(row for row in portfolio_asof(db) if row["underlying"] == "SPY")

    assert shares["share_future_delta"] == 5.0
    assert shares["dollar_delta"] is None
    assert counts(shares) == {
        "missing_price": 1,
        "missing_dollar_delta": 1,
        "stale": 1,
    }


def test_positions_without_any_value_are_counted_separately(db):
    hold_shares(db, 1000, kind="other", contract_key="T 4.5 2030", underlying=None)

    [row] = portfolio_asof(db)

    assert row["underlying"] == "T 4.5 2030"
    assert (row["contracts"], row["shares_futures"]) == (0, 0)
    assert counts(row) == {"other_positions": 1, "missing_dollar_delta": 1}
    assert sums(row) == {**dict.fromkeys(SUMS, 0.0), "dollar_delta": None}


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"event_time": MOMENT - seconds(300)}, {}),
        ({"event_time": MOMENT - seconds(301)}, {"stale": 1}),
        ({"availability": "delayed"}, {"stale": 1, "not_realtime": 1}),
        ({"availability": "frozen"}, {"stale": 1, "not_realtime": 1}),
        ({"availability": "unknown"}, {"stale": 1, "not_realtime": 1}),
    ],
)
def test_stale_and_not_realtime_values_are_counted(db, changes, found):
    hold_two(db)
    tick_put(db, **changes)

    [row] = portfolio_asof(db)

    assert counts(row) == found


def test_a_share_whose_price_is_stale_is_counted(db):
    hold_shares(db)
    watched = {"account_id": "watchlist", "quantity": None, "availability": "delayed"}
    tick(db, **watched)

    [row] = portfolio_asof(db)

    assert counts(row) == {"stale": 1, "not_realtime": 1}


def test_accounts_currencies_underlyings_and_expirations_are_apart(db):
    different = [
        {},
        {"account_id": "U2"},
        {"currency": "EUR"},
        {"currency": None},
        {"underlying": "XSP"},
        {"expiration": "2026-01-16"},
        {"broker": "tastytrade"},
    ]
    for number, changes in enumerate(different):
        key = f"SPY   251219C{number:08d}"
        hold(db, number + 1, key, **changes)
        broker = changes.get("broker", "ibkr")
        account_id = changes.get("account_id", "U1")
        tick(db, key, broker=broker, account_id=account_id, delta=1.0)

    found = portfolio_asof(db)

    assert sorted(row["option_delta"] for row in found) == [
        100.0 * (number + 1) for number in range(len(different))
    ]
    assert [row["contracts"] for row in found] == [1] * len(different)


def test_neither_closed_nor_watched_contracts_are_in_it(db):
    hold(db, 1, at=MOMENT - seconds(60))
    hold(db, 0, at=MOMENT - seconds(30))
    hold_shares(db, 5, at=MOMENT - seconds(60))
    hold_shares(db, 0, at=MOMENT - seconds(30))
    tick(db)
    tick(db, PUT, account_id="watchlist", quantity=None)

    assert len(greeks_asof(db)) == 1
    assert portfolio_asof(db) == []


def test_the_past_has_the_positions_and_ticks_known_then(db):
    hold(db, 1, at=MOMENT - seconds(60))
    hold(db, 2, at=MOMENT)
    hold(db, 0, at=MOMENT + seconds(60))
    tick(db, event_time=MOMENT - seconds(50), delta=0.1)
    tick(
        db,
        event_time=MOMENT - seconds(40),
        received_at=MOMENT + seconds(30),
        delta=0.2,
    )

    by_moment = {
        after: [
            (row["option_delta"], row["missing_tick"])
            for row in portfolio_asof(db, MOMENT + seconds(after))
        ]
        for after in (-61, -60, -50, 0, 30, 60)
    }

    assert by_moment == {
        -61: [],
        -60: [(None, 1)],
        -50: [(10.0, 0)],
        0: [(20.0, 0)],
        30: [(40.0, 0)],
        60: [],
    }


def test_the_age_from_which_a_tick_is_stale_is_an_argument(db):
    hold(db)
    tick(db, event_time=MOMENT - seconds(10))

    found = rows(
        db,
        "select stale from unnest(array[9.9, 10.1]) as age,"
        " portfolio_asof(%s, age) order by age",
        MOMENT,
    )

    assert [row["stale"] for row in found] == [1, 0]


def test_the_view_is_the_present(db):
    now = datetime.now(UTC)
    expiration = now.date() + timedelta(days=30)
    hold(db, 2, at=now - seconds(60), expiration=expiration)
    hold_shares(db, 3, at=now - seconds(60))
    hold(db, contract_key=PUT)  # expired long ago
    tick(db, event_time=now - seconds(1))

    views = rows(db, "select * from portfolio_greeks order by contracts")
    asof = rows(db, "select * from portfolio_asof(now()) order by contracts")

    assert [row["dollar_delta"] for row in views] == [1950.0, 65_000.0]
    assert [{**row, "oldest_age_s": 0} for row in views] == [
        {**row, "oldest_age_s": 0} for row in asof
    ]
