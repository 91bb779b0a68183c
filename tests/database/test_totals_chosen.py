"""The totals of chosen positions, their beta-weighted sums, and their estimates."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from itertools import combinations

import pytest

from tests.database.random_book import random_book
from tests.database.risk_rows import MOMENT, hold, hold_shares, risk_database, rows
from tests.timeline import asking, serving

GROUPS = (
    *("broker", "account_id", "underlying", "expiration", "expiration_bucket"),
    "strategy_tag",
)
WITHOUT = ("expiration", "strategy_tag")
SUMS = (
    *("option_delta", "dollar_delta", "dollar_gamma", "theta", "vega", "rho"),
    *("market_value", "beta_weighted_delta", "beta_weighted_dollar_delta"),
)
COUNTS = (
    *("positions", "missing_vega", "missing_dollar_delta", "stale"),
    *("missing_beta_weighted", "missing_beta", "missing_currency"),
)
# The same names in beta_weighted_totals.
OF_BETAS = {
    "positions": "positions",
    "missing_beta_weighted": "left_out",
    "missing_beta": "missing_beta",
    "missing_currency": "missing_currency",
    "missing_dollar_delta": "missing_dollar_delta",
    "missing_benchmark_beta": "missing_benchmark_beta",
    "missing_benchmark_price": "missing_benchmark_price",
}
EXPIRATION = date(2025, 11, 14)


@pytest.fixture
def database(emptied_database):
    return emptied_database


@pytest.fixture
def db(database):
    with risk_database(database) as connection:
        yield connection
        connection.execute("drop table ticks")


def weigh(db, **betas):
    """Store betas of underlyings; null for one that the source does not know."""
    for symbol, beta in betas.items():
        db.execute(
            "insert into market_metrics (symbol, source, observed_at, beta, beta_date)"
            " values (%s, 'file', %s, %s, '2025-11-10')",
            [symbol.replace("_", ":"), MOMENT - timedelta(days=1), beta],
        )


def totals(db, group_by, moment=MOMENT, **named):
    named = {name: value for name, value in named.items() if value is not None}
    names = "".join(f", {name} => %s" for name in named)
    return rows(
        db,
        f"select * from risk_totals_asof(%s::timestamptz, %s{names})",
        moment,
        list(group_by),
        *named.values(),
    )


def filters_of(row, group_by):
    """Return the values by which the positions of a row are chosen."""
    only = {name: row[name] for name in group_by if row[name] is not None}
    if "account_id" in only:
        only["broker"] = row["broker"]
    nulls = [name for name in WITHOUT if name in group_by and row[name] is None]
    if "expiration_bucket" in group_by and row["expiration_bucket"] is None:
        nulls = sorted({*nulls, "expiration"})
    return only, nulls


@pytest.mark.parametrize("seed", range(2))
def test_the_positions_of_every_row_can_be_chosen(db, seed):
    random_book(db, random.Random(seed), MOMENT, expiration=EXPIRATION)
    weigh(db, SPY=1.0, QQQ=1.2)
    for group_by in combinations(GROUPS, 3):
        for row in totals(db, group_by, benchmark="SPY"):
            only, nulls = filters_of(row, group_by)
            chosen = {f"only_{name}": value for name, value in only.items()}
            chosen |= {"only_without": nulls or None, "benchmark": "SPY"}
            found = totals(db, (), **chosen)
            [same] = [each for each in found if each["currency"] == row["currency"]]
            for name in (*SUMS, *COUNTS):
                expected = row[name] and pytest.approx(row[name])
                assert same[name] == expected, (group_by, only, nulls, name)


async def test_the_list_of_positions_takes_the_same_filters(db, database):
    now = datetime.now(UTC)
    random_book(db, random.Random(3), now, expiration=now.date() + timedelta(days=1))
    group_by = ("account_id", "underlying", "expiration", "strategy_tag")
    chosen = 0
    async with asking(database) as timeline, serving(timeline) as client:
        asked = {"group_by": ",".join(group_by)}
        found = (await client.get("/v1/risk/totals", params=asked)).json()["items"]
        for row in found:
            only, nulls = filters_of(row, group_by)
            if nulls:
                only["without"] = ",".join(nulls)
            only["currency"] = row["currency"]
            answer = await client.get("/v1/risk/positions", params=only)
            positions = answer.json()["items"]
            assert len(positions) == row["positions"], only
            assert sum(each["dollar_delta"] or 0 for each in positions) == (
                pytest.approx(row["dollar_delta"] or 0)
            )
            [total] = (
                await client.get("/v1/risk/totals", params={**only, "group_by": "book"})
            ).json()["items"]
            assert total["positions"] == row["positions"]
            chosen += len(positions)
        bucket = {"expiration_bucket": "1-7", "group_by": "expiration"}
        days = (await client.get("/v1/risk/totals", params=bucket)).json()["items"]
    assert chosen == 40
    expected = [str(now.date() + timedelta(days=number)) for number in (1, 6)]
    assert list(dict.fromkeys(row["expiration"] for row in days)) == expected


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("benchmark", ["SPY", "QQQ", "RY:CAD", "IWM"])
def test_beta_weighted_sums_are_those_of_beta_weighted(db, seed, benchmark):
    random_book(db, random.Random(seed), MOMENT, expiration=EXPIRATION)
    weigh(db, SPY=1.0, QQQ=1.2, RY_CAD=0.8 if seed else None)
    [every] = rows(
        db,
        "select * from beta_weighted_totals_asof(%s, %s) where account_id is null",
        MOMENT,
        benchmark,
    )
    for number in range(len(GROUPS) + 1):
        for group_by in combinations(GROUPS, number):
            found = totals(db, group_by, benchmark=benchmark)
            for name, of in OF_BETAS.items():
                assert sum(row[name] for row in found) == every[of], (group_by, name)
            for name in ("beta_weighted_delta", "beta_weighted_dollar_delta"):
                known = [row[name] for row in found if row[name] is not None]
                total = sum(known) if known else None
                expected = every[name]
                assert total == (expected and pytest.approx(expected)), group_by
            without = {each for row in found for each in row["without_beta"]}
            assert sorted(without) == every["without_beta"]
            for name in ("benchmark_price", "benchmark_price_at"):
                assert {row[name] for row in found} == {every[name]}
            days = [row["oldest_beta_date"] for row in found]
            assert (
                min((each for each in days if each), default=None)
                == (every["oldest_beta_date"])
            )


def test_without_a_benchmark_nothing_is_weighted(db):
    hold(db)
    [row] = rows(db, "select * from risk_totals_asof(%s, '{}')", MOMENT)
    assert row["positions"] == 1
    assert row["benchmark"] is None
    assert row["missing_beta_weighted"] is None
    assert row["beta_weighted_delta"] is None


def estimate(db, key, now, *, broker="ibkr", account_id="U1", **values):
    row = {"delta": 0.5, "gamma": 0.02, "theta": -0.1, "vega": 0.3, "rho": 0.2}
    row |= {"underlying_price": 640.0, "volatility": 0.2, "model": "american", **values}
    row |= {"volatility_source": "price", "volatility_broker": broker, "rate": 0.04}
    row |= {"underlying_price_broker": broker, "dividend_yield": 0.0}
    names = ", ".join(row)
    db.execute(
        f"insert into estimated_greeks (broker, account_id, contract_key, computed_at,"
        f" inputs_at, {names}) values (%s, %s, %s, %s, %s"
        f"{', %s' * len(row)})",
        [broker, account_id, key, now, now, *row.values()],
    )


def test_estimates_take_their_place_in_every_grouping(db):
    now = datetime.now(UTC)
    random_book(db, random.Random(5), now, expiration=now.date() + timedelta(days=1))
    weigh(db, SPY=1.0, QQQ=1.2)
    held = rows(db, "select * from position_greeks where kind = 'option'")
    for row in held[::2]:
        place = {name: row[name] for name in ("broker", "account_id")}
        estimate(db, row["contract_key"], now, **place)
    portfolio = rows(db, "select * from portfolio_with_estimates")
    assert sum(row["estimated_contracts"] for row in portfolio) > 5

    for number in range(3):
        for group_by in combinations(GROUPS, number):
            found = totals(db, group_by, "infinity", with_estimates=True)
            for name in (
                *("estimated_contracts", "missing_vega", "missing_rho"),
                *("missing_dollar_delta", "stale"),
            ):
                of = sum(row[name] for row in portfolio)
                assert sum(row[name] for row in found) == of, (group_by, name)
            for name in ("dollar_delta", "theta", "vega", "rho", "dollar_gamma"):
                for each in (name, f"estimated_{name}"):
                    assert sum(row[each] or 0 for row in found) == pytest.approx(
                        sum(row[each] or 0 for row in portfolio)
                    ), (group_by, each)


def test_estimates_of_one_contract_by_hand(db):
    now = datetime.now(UTC)
    day = now.date() + timedelta(days=20)
    key = f"SPY   {day:%y%m%d}C00600000"
    hold(db, -3, key, expiration=day, at=now)
    hold_shares(db, 10, at=now)
    estimate(db, key, now)
    weigh(db, SPY=1.0)

    [row] = totals(
        db, ("underlying",), "infinity", with_estimates=True, benchmark="SPY"
    )
    assert (row["net_delta"], row["estimated_net_delta"]) == (-140.0, -150.0)
    assert (row["theta"], row["estimated_theta"]) == (pytest.approx(30.0),) * 2
    assert row["dollar_delta"] == row["estimated_dollar_delta"] == -150 * 640.0
    # The shares have no price: an estimate is no price for them.
    assert (row["missing_net_delta"], row["missing_dollar_delta"]) == (0, 1)
    assert row["beta_weighted_dollar_delta"] == -150 * 640.0
    assert row["missing_beta_weighted"] == 1
    assert (row["estimated_contracts"], row["missing_tick"]) == (1, 1)
    assert 0 <= row["oldest_estimate_age_s"] < 60
    [row] = totals(db, ("underlying",), "infinity")
    assert (row["estimated_contracts"], row["theta"]) == (0, None)
    # The past has no estimates.
    [row] = totals(db, ("underlying",), now, with_estimates=True)
    assert (row["estimated_contracts"], row["theta"]) == (0, None)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("without=underlying", "has 'underlying'; it takes expiration, strategy_tag"),
        ("expiration=tomorrow", "has to be a day"),
        ("expiration_bucket=9", "expiration_bucket"),
        (
            "with_estimates=true&at=2026-01-01T00:00:00Z",
            "with_estimates goes with no at",
        ),
    ],
)
async def test_what_chooses_nothing_is_refused_in_words(database, asked, words):
    async with asking(database) as timeline, serving(timeline) as client:
        answer = await client.get(f"/v1/risk/totals?{asked}")

    assert answer.status_code == 422
    assert words in answer.text.replace("\\u0027", "'")
