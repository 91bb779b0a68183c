"""Market metrics in the real table, and beta-weighted deltas computed by hand."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from greeks_trio.model.market_metrics import MarketMetrics
from greeks_trio.postgres.market_metrics_store import store_file, store_metrics
from greeks_trio.postgres.reads.betas import read_betas
from tests.database.risk_rows import (
    CALL,
    MOMENT,
    hold,
    risk_database,
    rows,
    tick,
)
from tests.fix_postgres import connect_trio

AAPL = "AAPL  251219C00250000"
OTHER_AAPL = "AAPL  251219P00250000"
NVDA = "NVDA  251219C00200000"
SAP = "OPT:SAP:EUREX:1"


@pytest.fixture
def database(emptied_database):
    return emptied_database


@pytest.fixture
def book(database):
    """Yield a connection to a database with a small book in two currencies."""
    with risk_database(database) as connection:
        hold(connection, 2)
        tick(connection, delta=0.5, underlying_price=650.0)
        hold(connection, -1, AAPL, underlying="AAPL")
        tick(connection, AAPL, underlying="AAPL", delta=0.4, underlying_price=250.0)
        hold(connection, 3, OTHER_AAPL, underlying="AAPL")
        hold(connection, 1, NVDA, account_id="U2", underlying="NVDA")
        tick(
            connection,
            NVDA,
            account_id="U2",
            underlying="NVDA",
            delta=0.6,
            underlying_price=200.0,
        )
        abroad = {"account_id": "U2", "underlying": "SAP"}
        hold(connection, 1, SAP, currency="EUR", price_factor=1, **abroad)
        tick(connection, SAP, delta=0.5, underlying_price=100.0, **abroad)
        yield connection
        connection.execute("drop table ticks")


def metric(connection, symbol, source, beta, *, at=MOMENT, **values):
    """Store one row of metrics; its time is a minute before the moment."""
    row = {"beta": beta, "beta_date": date(2025, 11, 10), **values}
    connection.execute(
        f"insert into market_metrics (symbol, source, observed_at, {', '.join(row)})"
        f" values (%s, %s, %s, {', '.join(['%s'] * len(row))})",
        [symbol, source, at - timedelta(minutes=1), *row.values()],
    )


def weighted(connection, benchmark="SPY", moment=MOMENT):
    """Return (shares, dollars, beta, source, missing) of each underlying."""
    found = rows(
        connection,
        "select * from beta_weighted_asof(%s, %s)",
        moment,
        benchmark,
    )
    return {
        each["underlying"]: (
            pytest.approx(each["beta_weighted_delta"]),
            pytest.approx(each["beta_weighted_dollar_delta"]),
            each["beta"],
            each["beta_source"],
            each["missing"],
        )
        for each in found
    }


def totals(connection, benchmark="SPY"):
    """Return the sums by account; the one of all accounts by `None`."""
    found = rows(
        connection,
        "select * from beta_weighted_totals_asof(%s, %s)",
        MOMENT,
        benchmark,
    )
    return {each["account_id"]: each for each in found}


def test_the_deltas_in_shares_of_spy(book):
    metric(book, "AAPL", "tastytrade", 1.2)
    earlier = MOMENT - timedelta(days=1)
    metric(book, "AAPL", "file", 1.5, at=earlier, beta_date=date(2025, 11, 1))
    metric(book, "SAP", "file", 1.0)
    # The broker's own beta of SPY does not count: it is 1 by definition.
    metric(book, "SPY", "tastytrade", 0.98)

    assert weighted(book) == {
        "SPY": (100.0, 65_000.0, 1.0, "definition", []),
        "AAPL": (-15_000 / 650, -15_000.0, 1.5, "file", []),
        "NVDA": (None, None, None, None, ["beta"]),
        "SAP": (None, None, 1.0, "file", ["currency"]),
    }
    found = totals(book)
    assert set(found) == {"U1", "U2", None}
    every = found[None]
    assert every["beta_weighted_dollar_delta"] == pytest.approx(50_000)
    assert every["beta_weighted_delta"] == pytest.approx(50_000 / 650)
    names = (
        *("positions", "left_out", "missing_beta", "missing_currency"),
        *("missing_dollar_delta", "missing_benchmark_beta", "missing_benchmark_price"),
    )
    assert [every[name] for name in names] == [5, 3, 1, 1, 1, 0, 0]
    assert every["without_beta"] == ["NVDA"]
    assert every["oldest_beta_date"] == date(2025, 11, 1)
    assert every["benchmark_price"] == 650
    # Nothing of this account is in a sum.
    assert found["U2"]["beta_weighted_delta"] is None
    assert found["U2"]["left_out"] == 2


def test_a_future_takes_the_beta_of_its_product(book):
    future = {"underlying": "/ESZ25", "kind": "future_option", "multiplier": 50}
    hold(book, 1, "./ESZ5 251219C6600", price_factor=1, **future)
    tick(
        book,
        "./ESZ5 251219C6600",
        underlying="/ESZ25",
        delta=0.5,
        underlying_price=6500.0,
    )
    metric(book, "/ESZ25", "tastytrade", 1.1)
    assert weighted(book)["/ESZ25"] == (
        *(162_500 * 1.1 / 650, 162_500 * 1.1, 1.1, "tastytrade", []),
    )
    metric(book, "/ES", "file", 1.0)
    assert weighted(book)["/ESZ25"][2:] == (1.0, "file", [])


def test_another_benchmark(book):
    metric(book, "SPY", "tastytrade", 1.0)
    metric(book, "AAPL", "tastytrade", 1.2)
    assert weighted(book, "QQQ")["SPY"] == (
        *(None, None, 1.0, "tastytrade"),
        ["benchmark_beta", "benchmark_price"],
    )
    assert totals(book, "QQQ")[None]["missing_benchmark_beta"] == 5

    metric(book, "QQQ", "tastytrade", 1.25)
    assert weighted(book, "QQQ")["SPY"] == (
        *(None, 52_000.0, 1.0, "tastytrade"),
        ["benchmark_price"],
    )
    # In shares of AAPL: its own delta counts as it is.
    found = weighted(book, "AAPL")
    assert found["AAPL"] == (-40.0, -10_000.0, 1.2, "tastytrade", [])
    assert found["SPY"][:2] == (65_000 / 1.2 / 250, 65_000 / 1.2)
    # A benchmark in another currency takes the positions in that currency.
    metric(book, "SAP", "file", 0.5)
    assert weighted(book, "SAP")["SAP"][:2] == (50.0, 5_000.0)
    assert weighted(book, "SAP")["AAPL"][4] == ["currency"]


def test_the_beta_of_a_moment(book):
    metric(book, "AAPL", "file", 9.0, at=MOMENT - timedelta(days=30))
    metric(book, "AAPL", "file", None, at=MOMENT - timedelta(minutes=20))
    metric(book, "AAPL", "tastytrade", 1.2)
    metric(book, "NVDA", "tastytrade", 2.0, at=MOMENT - timedelta(days=8))
    # Other programs may write what cannot be.
    metric(book, "SAP", "file", float("nan"))

    assert weighted(book)["AAPL"][2:] == (1.2, "tastytrade", [])
    assert weighted(book)["NVDA"][4] == ["beta"]
    assert weighted(book)["SAP"][4] == ["currency", "beta"]
    # The file had it then; its row has no end.
    earlier = MOMENT - timedelta(minutes=30)
    assert weighted(book, moment=earlier)["AAPL"][2:4] == (9.0, "file")


def test_the_present(book):
    tick(book, event_time=datetime.now(UTC), delta=0.5, underlying_price=650.0)
    metric(book, "SPY", "tastytrade", 1.0, at=datetime.now(UTC), iv_rank=0.25)
    hold(book, 1, CALL, at=datetime.now(UTC), expiration="2099-12-19")

    [row] = book.execute(
        "select underlying, beta_weighted_delta, missing from beta_weighted"
    ).fetchall()
    assert row == ("SPY", 50.0, [])
    [every, _] = book.execute(
        "select account_id, positions, left_out from beta_weighted_totals"
        " order by account_id nulls first"
    ).fetchall()
    assert every == (None, 1, 0)
    [row] = book.execute(
        "select symbol, beta, iv_rank, own_iv_missing, age_s < 120"
        " from latest_market_metrics"
    ).fetchall()
    assert row == ("SPY", 1.0, 0.25, "no implied volatility", True)


def test_the_rank_from_our_own_volatilities(book):
    def store(days):
        book.execute(
            "insert into market_metrics (symbol, source, observed_at, recorded_at,"
            " iv_index, iv_index_days) select 'SPY', 'timeline', t, t, v, 30 from ("
            " select %s::timestamptz - n * interval '1 day' as t, 0.1 + n * 0.001 as v"
            # An earlier value of each day, which does not count.
            " from generate_series(1, %s) n union all select %s::timestamptz"
            " - n * interval '1 day' - interval '1 hour', 9 from generate_series(1, %s) n"
            ") each on conflict do nothing",
            [MOMENT, days, MOMENT, days],
        )

    def own():
        [row] = rows(book, "select * from market_metrics_asof(%s)", MOMENT)
        return tuple(
            row[f"own_iv_{name}"]
            for name in ("index", "days", "rank", "percentile", "missing")
        )

    store(58)
    today = MOMENT - timedelta(minutes=5)
    metric(book, "SPY", "timeline", None, at=today, iv_index=0.13, iv_index_days=30)
    assert own() == (0.13, 59, None, None, "fewer than 60 days")
    # 0.101 is the lowest, and 0.22 the highest; 29 of 121 days were below 0.13.
    store(120)
    assert own() == (
        *(0.13, 121, pytest.approx((0.13 - 0.101) / (0.22 - 0.101))),
        *(pytest.approx(29 / 121), None),
    )
    # Days before the last year do not count.
    store(400)
    assert own()[1] == 365


async def test_rows_are_appended_when_they_say_something_new(book, database):
    def row(symbol, beta, at=0.0, source="tastytrade"):
        observed_at = MOMENT + timedelta(hours=at)
        return MarketMetrics(
            symbol=symbol, source=source, observed_at=observed_at, beta=beta
        )

    def stored(symbol, source="tastytrade"):
        found = book.execute(
            "select beta from market_metrics where symbol = %s and source = %s"
            " order by observed_at",
            [symbol, source],
        )
        return [beta for (beta,) in found]

    async with await connect_trio(database) as connection:
        first = [row("AAPL", 1.2), row("SPX", None)]
        await store_metrics(connection, first)
        # Sent again, and read again with the same and with another beta.
        await store_metrics(connection, first)
        await store_metrics(connection, [row("AAPL", 1.2, 1), row("SPX", None, 1)])
        assert (stored("AAPL"), stored("SPX")) == ([1.2], [None])
        await store_metrics(connection, [row("AAPL", 1.3, 2)])
        # A day later the same is said again.
        await store_metrics(connection, [row("AAPL", 1.3, 25.9), row("SPX", None, 25)])
        assert (stored("AAPL"), stored("SPX")) == ([1.2, 1.3], [None, None])
        await store_metrics(connection, [row("AAPL", 1.3, 26.1)])
        assert stored("AAPL") == [1.2, 1.3, 1.3]

        of_file = [row(each, 1.0, source="file") for each in ("F", "QQQ")]
        await store_file(connection, of_file)
        await store_file(connection, of_file[:1])
        await store_file(connection, of_file[:1])
        assert (stored("F", "file"), stored("QQQ", "file")) == ([1.0], [1.0, None])
        await store_file(connection, [])
        assert stored("F", "file") == [1.0, None]
        assert len(stored("AAPL")) == 3


def test_the_betas_for_scenarios(book):
    now = datetime.now(UTC)
    metric(book, "AAPL", "file", 1.5, at=now)
    metric(book, "QQQ", "tastytrade", 1.25, at=now, beta_date=None)
    metric(book, "SPX", "tastytrade", None, at=now)
    day = date(2025, 11, 10)

    assert read_betas("SPY", book) == {"AAPL": (1.5, day), "QQQ": (1.25, None)}
    assert read_betas("QQQ", book) == {"AAPL": (1.2, day), "QQQ": (1.0, None)}
    assert read_betas("SPX", book) == {}
