"""`position_greeks` and `risk_totals`: a book computed by hand, and sums that add up."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from itertools import combinations

import psycopg
import pytest

from tests.database.random_book import random_book, tag
from tests.database.risk_rows import (
    CALL,
    EARLIER,
    MOMENT,
    PUT,
    hold,
    hold_shares,
    risk_database,
    rows,
    seconds,
    tick,
)

RY = "ibkr:7001"
ES = "./ES  251219C6600"
LATER = "SPY   261120C00700000"
ODD = "SPY   251219C00610000"
GROUPS = (
    *("broker", "account_id", "underlying", "expiration", "expiration_bucket"),
    "strategy_tag",
)
SUMS = (
    *("option_delta", "share_future_delta", "gamma", "theta", "vega", "rho"),
    *("dollar_delta", "dollar_gamma", "market_value"),
)
# By columns of portfolio_greeks: the same from the single positions.
_OPTION = "kind in ('option', 'future_option')"
_SHARE = "kind in ('equity', 'future')"
FROM_POSITIONS = {
    "contracts": f"count(*) filter (where {_OPTION})",
    "shares_futures": f"count(*) filter (where {_SHARE})",
    "other_positions": f"count(*) filter (where not {_OPTION} and not {_SHARE})",
    "unknown_positions": "count(*) filter (where kind = 'unknown')",
    "option_delta": f"sum(position_delta) filter (where {_OPTION})",
    "share_future_delta": f"sum(position_delta) filter (where {_SHARE})",
    "gamma": "sum(position_gamma)",
    "theta": "sum(position_theta)",
    "vega": "sum(position_vega)",
    "rho": "sum(position_rho)",
    "dollar_delta": "sum(dollar_delta)",
    "dollar_gamma": "sum(dollar_gamma)",
    "market_value": "sum(position_value)",
    **{
        f"missing_{name}": f"count(*) filter (where '{name}' = any(missing))"
        for name in (
            *("tick", "multiplier", "price", "price_factor", "delta", "gamma", "theta"),
            *("share_future_delta", "vega", "rho", "dollar_delta", "dollar_gamma"),
            "value",
        )
    },
    **{
        f"carried_{name}": f"count(*) filter (where '{name}' = any(carried))"
        for name in ("delta", "gamma", "theta", "vega", "rho", "value")
    },
    "stale": "count(*) filter (where is_stale)",
    "not_realtime": "count(*) filter (where not_realtime)",
    "oldest_age_s": "max(age_s)",
    "oldest_carried_age_s": "max(carried_age_s)",
}


@pytest.fixture
def db(emptied_database):
    """The database of the module: its tests only write rows."""
    with risk_database(emptied_database) as connection:
        yield connection


def trade(
    db: psycopg.Connection, key: str, strategy: str | None, at: datetime = EARLIER
) -> None:
    db.execute(
        "insert into trades (broker, account_id, symbol, contract_key, action, quantity,"
        "  strategy_tag, created_at) values ('ibkr', 'U1', 'S', %s, 'buy', 1, %s, %s)",
        [key, strategy, at],
    )


def totals(
    db: psycopg.Connection, *group_by: str, moment: datetime = MOMENT, **only: str
) -> dict[tuple, dict]:
    """Return the rows by what they are grouped by, with the currency last."""
    names = "".join(f", only_{name} => %s" for name in only)
    found = rows(
        db,
        f"select * from risk_totals_asof(%s, %s{names})",
        moment,
        list(group_by),
        *only.values(),
    )
    return {tuple(row[name] for name in (*group_by, "currency")): row for row in found}


@pytest.fixture
def book(db):
    """Short calls and shares in dollars, a call in Canada, futures, and four that lack something."""
    hold(db, -3)
    tick(db, price=12.5, event_time=MOMENT - seconds(20))
    at_tastytrade = {"broker": "tastytrade", "account_id": "T1"}
    hold(db, 2, PUT, option_type="put", currency=None, **at_tastytrade)
    put = {"delta": -0.25, "gamma": 0.02, "theta": -0.1, "vega": 0.4, "rho": -0.05}
    tick(db, PUT, option_type="put", price=8.0, **at_tastytrade, **put)
    hold_shares(db, 200)
    canada = {"underlying": "RY:CAD", "expiration": "2025-11-14"}
    hold(db, 1, RY, currency="CAD", price_factor=1, **canada)
    tick(db, RY, **canada, delta=0.4, underlying_price=200.0, rho=None, price=3.0)
    future = {"underlying": "/ESZ25", "multiplier": 50, "price_factor": 1}
    hold(db, 2, ES, kind="future_option", **future)
    tick(db, ES, underlying="/ESZ25", underlying_price=6700.0, price=100.0)
    on = {"kind": "future", "expiration": "2025-12-19"}
    hold_shares(db, -1, contract_key="/ESZ25", **on, **future)
    hold(db, 1, LATER, account_id="U2", expiration="2026-11-20")  # no tick
    hold(db, 1, ODD, multiplier=None)
    tick(db, ODD, price=11.0, availability="delayed")
    bond = {"contract_key": "ibkr:9", "underlying": None, "kind": "other"}
    hold_shares(db, 5, **bond)
    unknown = {"contract_key": "ibkr:8", "underlying": None, "kind": "unknown"}
    hold_shares(db, 5, account_id="U2", **unknown)
    return db


def test_a_position_has_its_part_of_each_sum(book):
    found = {
        (row["account_id"], row["contract_key"]): row
        for row in rows(book, "select * from position_greeks_asof(%s)", MOMENT)
    }

    call = found["U1", CALL]
    assert call["position_delta"] == -150.0
    assert call["position_gamma"] == pytest.approx(-3.0)
    assert call["position_theta"] == pytest.approx(60.0)
    assert call["position_vega"] == pytest.approx(-180.0)
    assert call["position_rho"] == pytest.approx(-30.0)
    assert call["dollar_delta"] == -150.0 * 650
    assert call["dollar_gamma"] == pytest.approx(-3.0 * 650**2 / 100)
    assert call["position_value"] == -300 * 12.5
    assert (call["age_s"], call["is_stale"], call["stale_reason"]) == (20, False, None)
    assert (call["missing"], call["carried"]) == ([], [])
    assert (call["currency"], call["expiration_bucket"]) == ("USD", "31-90")
    assert found["T1", PUT]["currency"] is None
    assert found["U1", RY]["missing"] == ["rho"]
    assert found["U1", RY]["expiration_bucket"] == "0DTE"
    shares = found["U1", "SPY"]
    assert (shares["position_delta"], shares["price"]) == (200.0, 650.0)
    assert shares["position_value"] == 200 * 650.0
    assert (shares["missing"], shares["expiration_bucket"]) == ([], None)
    future = found["U1", "/ESZ25"]
    assert (future["position_delta"], future["position_value"]) == (-50.0, 0.0)
    assert future["dollar_delta"] == -50 * 6700
    silent = found["U2", LATER]
    assert silent["stale_reason"] == "no tick"
    assert set(silent["missing"]) == {
        *("tick", "price", "delta", "gamma", "theta", "vega", "rho"),
        *("dollar_delta", "dollar_gamma", "value"),
    }
    odd = found["U1", ODD]
    assert odd["stale_reason"] == "delayed"
    assert odd["missing"][:2] == ["multiplier", "delta"]
    assert found["U1", "ibkr:9"]["missing"] == ["dollar_delta", "value"]
    assert len(found["U2", "ibkr:8"]["missing"]) == 13
    assert len(found) == 10


def test_the_delta_of_an_underlying_goes_over_both_brokers_and_its_shares(book):
    found = totals(book, "underlying")

    assert set(found) == {
        *(("SPY", "USD"), ("RY:CAD", "CAD"), ("/ESZ25", "USD")),
        *(("ibkr:9", "USD"), ("ibkr:8", "USD")),
    }
    spy = found["SPY", "USD"]
    assert spy["net_delta"] == -150 - 50 + 200
    assert (spy["option_delta"], spy["share_future_delta"]) == (-200.0, 200.0)
    assert spy["gamma"] == pytest.approx(-3.0 + 4.0)
    assert spy["dollar_delta"] == 0.0
    assert spy["theta"] == pytest.approx(60 - 20)
    assert spy["vega"] == pytest.approx(-180 + 80)
    assert spy["market_value"] == -3750 + 1600 + 130_000
    assert (spy["positions"], spy["contracts"], spy["shares_futures"]) == (5, 4, 1)
    assert (spy["unnamed_currency"], spy["underlyings"]) == (1, 1)
    assert (spy["missing_net_delta"], spy["missing_dollar_delta"]) == (2, 2)
    assert (spy["missing_tick"], spy["missing_multiplier"]) == (1, 1)
    assert (spy["stale"], spy["not_realtime"], spy["oldest_age_s"]) == (2, 1, 20)
    assert found["/ESZ25", "USD"]["net_delta"] == 50 - 50
    assert found["RY:CAD", "CAD"]["rho"] is None
    assert found["RY:CAD", "CAD"]["missing_rho"] == 1
    bond = found["ibkr:9", "USD"]
    assert (bond["other_positions"], bond["net_delta"], bond["vega"]) == (1, 0, 0)
    assert (bond["dollar_delta"], bond["missing_dollar_delta"]) == (None, 1)
    unknown = found["ibkr:8", "USD"]
    assert unknown["net_delta"] is None
    assert (unknown["unknown_positions"], unknown["missing_net_delta"]) == (1, 1)


def test_units_of_several_underlyings_are_not_added_but_their_money_is(book):
    found = totals(book)

    assert set(found) == {("USD",), ("CAD",)}
    dollars, canada = found["USD",], found["CAD",]
    assert dollars["underlyings"] == 4
    for name in ("net_delta", "option_delta", "share_future_delta", "gamma"):
        assert dollars[name] is None
    assert dollars["dollar_delta"] == (50 - 50) * 6700
    assert dollars["market_value"] == 127_850 + 100 * 100.0
    assert dollars["positions"] == 9
    assert canada["net_delta"] == 40.0
    assert canada["dollar_delta"] == 8000.0
    assert canada["market_value"] == 300.0


def test_a_sum_without_any_known_value_is_null_also_beside_shares(db):
    """The portfolio has 0 in the row of the shares: there is nothing to sum."""
    hold(db)
    hold_shares(db, 10)

    [row] = totals(db, "underlying").values()

    assert (row["theta"], row["missing_theta"]) == (None, 1)
    assert (row["gamma"], row["dollar_gamma"], row["option_delta"]) == (None,) * 3
    assert (row["net_delta"], row["missing_net_delta"]) == (10.0, 1)


def test_accounts_and_brokers_are_apart(book):
    by_account = totals(book, "account_id")
    by_broker = totals(book, "broker")

    assert set(by_account) == {
        ("U1", "USD"),
        ("U1", "CAD"),
        ("U2", "USD"),
        ("T1", "USD"),
    }
    assert by_account["U2", "USD"]["broker"] == "ibkr"
    assert by_account["U2", "USD"]["theta"] is None
    assert by_account["U2", "USD"]["missing_theta"] == 2
    assert by_account["T1", "USD"]["net_delta"] == -50.0
    assert set(by_broker) == {("ibkr", "USD"), ("ibkr", "CAD"), ("tastytrade", "USD")}


def test_the_buckets_are_in_order_and_shares_are_in_none(book):
    found = totals(book, "expiration_bucket")

    ordered = sorted(found.values(), key=lambda row: row["place"])
    assert [(row["expiration_bucket"], row["positions"]) for row in ordered] == [
        *((None, 3), ("0DTE", 1), ("31-90", 5), ("over 365", 1)),
    ]


@pytest.mark.parametrize(
    ("days", "bucket"),
    [
        (-1, "expired"),
        *((0, "0DTE"), (1, "1-7"), (7, "1-7"), (8, "8-30"), (30, "8-30")),
        *((31, "31-90"), (90, "31-90"), (91, "91-365"), (365, "91-365")),
        *((366, "over 365"), (None, None)),
    ],
)
def test_the_limits_of_the_buckets(db, days, bucket):
    today = date(2025, 11, 14)
    expiration = None if days is None else today + timedelta(days=days)

    query = "select expiration_bucket(%s::date, %s)"
    assert db.execute(query, [expiration, today]).fetchone() == (bucket,)


def test_a_day_that_never_comes_has_a_bucket(db):
    query = (
        "select expiration_bucket('infinity', %s), expiration_bucket('-infinity', %s)"
    )

    today = date(2025, 11, 14)
    assert db.execute(query, [today, today]).fetchone() == ("over 365", "expired")


def test_a_tag_of_a_position_comes_before_the_newest_tag_of_a_trade(book):
    trade(book, CALL, "old", EARLIER - seconds(9))
    trade(book, CALL, "condor")
    trade(book, CALL, None, MOMENT - seconds(5))
    trade(book, CALL, "of the future", MOMENT + seconds(5))
    trade(book, ES, "hedge")
    trade(book, ODD, "condor")
    tag(book, ES, "overlay")
    tag(book, ODD, None)
    tag(book, "SPY", "condor")
    tag(book, PUT, "of another account")

    found = totals(book, "strategy_tag")

    assert set(found) == {
        *(("condor", "USD"), ("overlay", "USD"), (None, "USD"), (None, "CAD")),
    }
    assert found["condor", "USD"]["net_delta"] == -150 + 200
    assert found["condor", "USD"]["positions"] == 2
    assert found["overlay", "USD"]["option_delta"] == 50.0
    assert found[None, "USD"]["positions"] == 6
    [only] = totals(book, "underlying", strategy_tag="condor").values()
    assert (only["underlying"], only["net_delta"]) == ("SPY", 50.0)
    only = totals(book, strategy_tag="condor", account_id="U2")
    assert only == {}


@pytest.mark.parametrize(
    ("only", "positions"),
    [
        ({"broker": "tastytrade"}, 1),
        ({"account_id": "U1"}, 7),
        ({"underlying": "SPY"}, 5),
        ({"underlying": "SPY", "account_id": "U2"}, 1),
        ({"broker": "nobody"}, 0),
    ],
)
def test_totals_of_some_positions_only(book, only, positions):
    found = totals(book, **only).values()

    assert sum(row["positions"] for row in found) == positions


def from_positions(db, source):
    """Return the rows of the portfolio, summed from single positions."""
    selected = ", ".join(f"{value} as {name}" for name, value in FROM_POSITIONS.items())
    return rows(
        db,
        "select broker, account_id, currency, underlying, expiration,"
        f" {selected} from {source} group by 1, 2, 3, 4, 5",
    )


def by_group(found):
    names = ("broker", "account_id", "currency", "underlying", "expiration")
    return {tuple(row[name] for name in names): row for row in found}


def assert_same(portfolio, positions):
    portfolio, positions = by_group(portfolio), by_group(positions)
    assert set(portfolio) == set(positions)
    for group, row in positions.items():
        for name in FROM_POSITIONS:
            expected = portfolio[group][name]
            found = row[name]
            if name in SUMS and found is None and expected == 0:
                continue  # there is nothing to sum
            assert found == (expected and pytest.approx(expected)), (group, name)


@pytest.mark.parametrize("seed", range(3))
def test_any_grouping_adds_up_to_the_book_and_agrees_with_the_portfolio(db, seed):
    random_book(db, random.Random(seed), MOMENT, expiration=date(2025, 11, 14))
    portfolio = rows(db, "select * from portfolio_asof(%s)", MOMENT)

    positions = from_positions(db, f"position_greeks_asof('{MOMENT.isoformat()}')")

    assert len(portfolio) > 10
    assert_same(portfolio, positions)
    for number in range(len(GROUPS) + 1):
        for group_by in combinations(GROUPS, number):
            assert_adds_up(portfolio, totals(db, *group_by).values(), group_by)


def assert_adds_up(portfolio, found, group_by):
    assert sum(row["positions"] for row in found) == sum(
        row["contracts"] + row["shares_futures"] + row["other_positions"]
        for row in portfolio
    )
    for name in (
        "dollar_delta",
        "dollar_gamma",
        "theta",
        "vega",
        "rho",
        "market_value",
    ):
        for currency in ("USD", "CAD"):
            expected = sum(
                row[name] or 0
                for row in portfolio
                if (row["currency"] or "USD") == currency
            )
            parts = [row[name] or 0 for row in found if row["currency"] == currency]
            assert sum(parts) == pytest.approx(expected), (group_by, name)
    for name in ("missing_vega", "missing_dollar_delta", "missing_tick", "stale"):
        assert sum(row[name] for row in found) == sum(row[name] for row in portfolio)
    if "underlying" in group_by:
        deltas = [(row["net_delta"], row["missing_net_delta"]) for row in found]
        assert sum(delta or 0 for delta, _ in deltas) == pytest.approx(
            sum(
                (row["option_delta"] or 0) + (row["share_future_delta"] or 0)
                for row in portfolio
            )
        )


def test_the_present_is_the_same_with_latest_ticks_as_without(db):
    """Complete rows come directly from there, the others the long way."""
    now = datetime.now(UTC)
    random_book(db, random.Random(7), now, expiration=now.date() + timedelta(days=1))
    db.execute("select refresh_latest()")
    complete = "select count(*) > 3 from kept_ticks where is_complete"
    assert db.execute(complete).fetchone() == (True,)
    assert db.execute("select is_latest_complete()").fetchone() == (True,)

    # One transaction: the same clock is not needed for the sums.
    kept = by_group(from_positions(db, "position_greeks"))
    portfolio = by_group(rows(db, "select * from portfolio_greeks"))
    totals_kept = rows(db, "select * from risk_totals where group_by = 'strategy_tag'")
    db.execute("delete from latest_state")
    looked_up = by_group(from_positions(db, "position_greeks"))

    assert set(kept) == set(looked_up) == set(portfolio)
    for group, row in kept.items():
        for name in FROM_POSITIONS.keys() - {"oldest_age_s", "oldest_carried_age_s"}:
            same = row[name] and pytest.approx(row[name])
            assert looked_up[group][name] == same, (group, name)
            if row[name] is not None:
                assert portfolio[group][name] == same, (group, name)
    assert sum(row["positions"] for row in totals_kept) == 40
    db.execute("truncate latest_ticks, latest_state")
