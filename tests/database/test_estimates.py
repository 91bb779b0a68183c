"""Estimates in the real table, computed by the real worker, and the views on them."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import trio

from greeks_trio.config.settings import Config
from greeks_trio.errors import JobTooLong
from greeks_trio.estimates.task import Estimator
from greeks_trio.pipeline.conditions import Conditions
from greeks_trio.worker.process import Worker
from tests.database.risk_rows import hold, risk_database, rows, tick

pytestmark = pytest.mark.timeout(60)

NOW = datetime.now(UTC)
DAY = (NOW + timedelta(days=60)).date()
KEY = f"SPY   {DAY:%y%m%d}C00600000"
PUT = f"SPY   {DAY:%y%m%d}P00600000"
INDEX = f"SPXW  {DAY:%y%m%d}C06000000"
TERMS = {"expiration": DAY}
# IBKR sends all but rho.
WITHOUT_RHO = {"rho": None, "price": 65.0}
GREEKS = ("delta", "gamma", "theta", "vega", "rho")


def aged(seconds):
    return {"event_time": datetime.now(UTC) - timedelta(seconds=seconds)}


@pytest.fixture
def db(database):
    with risk_database(database) as connection:
        yield connection


class Switch:
    """The configuration of an `Estimator`, as SIGHUP would change it."""

    def __init__(self, database, worker, conditions):
        self.config = Config(database=database, estimates=True)
        self.estimator = Estimator(
            lambda: self.config,
            worker,
            conditions,
            stale_after_s=300,
            interval_s=0.05,
            pause_factor=0,
        )

    def turn(self, is_on):
        self.config = replace(self.config, estimates=is_on)
        self.estimator.changed.wake()


@asynccontextmanager
async def estimating(database, worker=None, conditions=None):
    """Yield the switch of an estimator that runs."""
    worker = worker or Worker()
    switch = Switch(database, worker, conditions or Conditions())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.run)
        nursery.start_soon(switch.estimator.run)
        yield switch
        nursery.cancel_scope.cancel()


async def until(db, condition):
    """Wait until a condition on `estimated_greeks` holds."""
    with trio.fail_after(20):
        while not db.execute(  # noqa: ASYNC110 - the database tells nobody
            f"select coalesce(({condition}), false) from"
            " (select count(*) as rows, max(computed_at) as newest from"
            " estimated_greeks) e"
        ).fetchone()[0]:
            await trio.sleep(0.05)


def greeks(db):
    """Return the rows of the view by (broker, contract)."""
    return {
        (row["broker"], row["contract_key"]): row
        for row in rows(db, "select * from greeks_with_estimates")
    }


def sources(row):
    return [row[f"{name}_source"] for name in GREEKS]


async def test_estimates_stand_beside_the_values_of_the_brokers(db, database):
    hold(db, 2, KEY, **TERMS)
    tick(db, KEY, **TERMS, **WITHOUT_RHO, **aged(2))
    # No tick at IBKR; another broker has the contract.
    hold(db, -3, PUT, **TERMS, option_type="put", account_id="U2")
    hold(db, 1, PUT, **TERMS, option_type="put", broker="tastytrade")
    tick(db, PUT, **TERMS, option_type="put", broker="tastytrade", **aged(5))
    # Stale at IBKR, and no other tick.
    index = {**TERMS, "underlying": "SPX", "strike": 6000}
    hold(db, 1, INDEX, **index)
    tick(db, INDEX, **index, rho=None, **aged(400))
    before = rows(db, "select * from portfolio_greeks order by broker, account_id")

    async with estimating(database) as switch:
        await until(db, "rows = 3")
        found = greeks(db)

        row = found["ibkr", KEY]
        assert sources(row) == ["broker"] * 4 + ["estimated"]
        assert (row["delta"], row["vega"]) == (0.5, 0.6)
        # 600 at 650, 18.3 %, 4 %, about 60 days.
        assert row["rho"] == pytest.approx(0.85, rel=0.05)
        assert row["estimate_model"] == "american"
        assert row["estimate_volatility_source"] == "implied_volatility"
        assert (row["estimate_volatility"], row["estimate_rate"]) == (0.183, 0.04)
        assert 2 <= row["estimate_age_s"] < 30
        assert row["no_estimate_reason"] is None

        row = found["ibkr", PUT]
        assert sources(row) == ["estimated"] * 5
        assert row["stale_reason"] == "no tick"
        assert row["estimate_volatility_broker"] == "tastytrade"
        assert row["delta"] == pytest.approx(-0.12, abs=0.03)

        row = found["tastytrade", PUT]
        assert sources(row) == ["broker"] * 5
        assert (row["estimate_age_s"], row["no_estimate_reason"]) == (None, None)
        row = found["ibkr", INDEX]
        assert sources(row) == ["broker"] * 4 + [None]
        assert row["no_estimate_reason"] == "volatility and price are stale: old"

        # The columns of the brokers, and their sums, stay as they are.
        [(rho,)] = db.execute(
            "select rho from latest_greeks where contract_key = %s", [KEY]
        )
        assert rho is None
        after = rows(db, "select * from portfolio_greeks order by broker, account_id")
        for old, new in zip(before, after, strict=True):
            assert {k: v for k, v in new.items() if not k.endswith("age_s")} == {
                k: v for k, v in old.items() if not k.endswith("age_s")
            }

        [first, index_row, second, other] = rows(
            db,
            "select * from portfolio_with_estimates"
            " order by broker, account_id, underlying = 'SPX'",
        )
        assert first["rho"] == first["estimated_rho"]
        assert first["rho"] == pytest.approx(200 * found["ibkr", KEY]["rho"])
        assert (first["missing_rho"], first["estimated_contracts"]) == (0, 1)
        assert (first["option_delta"], first["estimated_option_delta"]) == (100, 0)
        assert (index_row["rho"], index_row["missing_rho"]) == (None, 1)
        assert (index_row["estimated_rho"], index_row["stale"]) == (0, 1)
        put = found["ibkr", PUT]
        assert second["option_delta"] == pytest.approx(-300 * put["delta"])
        assert second["estimated_option_delta"] == second["option_delta"]
        assert second["dollar_delta"] == pytest.approx(-300 * put["delta"] * 650)
        assert second["dollar_gamma"] == pytest.approx(
            -300 * put["gamma"] * 650**2 / 100
        )
        assert (second["missing_delta"], second["missing_dollar_delta"]) == (0, 0)
        assert (other["estimated_contracts"], other["estimated_vega"]) == (0, 0)
        assert other["vega"] == 60

        with trio.fail_after(20):
            while switch.estimator.counts != (2, 1):  # noqa: ASYNC110
                await trio.sleep(0.05)


async def test_a_stale_value_is_replaced_in_the_sums_and_not_added_to(db, database):
    hold(db, 1, KEY, **TERMS)
    tick(db, KEY, **TERMS, **WITHOUT_RHO, delta=0.4, **aged(400))
    hold(db, 1, KEY, **TERMS, account_id="U2")
    tick(db, KEY, **TERMS, **WITHOUT_RHO, account_id="U2", **aged(1))

    async with estimating(database):
        await until(db, "rows = 2")
    [stale, _] = rows(db, "select * from portfolio_with_estimates order by account_id")
    [listed, _] = rows(db, "select * from greeks_with_estimates order by account_id")

    assert sources(listed) == ["estimated"] * 5
    assert listed["is_stale"]
    assert stale["option_delta"] == pytest.approx(100 * listed["delta"])
    assert stale["estimated_option_delta"] == pytest.approx(stale["option_delta"])
    assert stale["estimated_vega"] == pytest.approx(stale["vega"])
    assert (stale["missing_delta"], stale["stale"]) == (0, 1)
    # A new tick of the broker counts at once, without another round.
    tick(db, KEY, **TERMS, **WITHOUT_RHO, delta=0.7, **aged(0))
    [fresh, _] = rows(db, "select * from portfolio_with_estimates order by account_id")
    assert (fresh["option_delta"], fresh["estimated_option_delta"]) == (70, 0)


async def test_an_estimate_ends_with_its_inputs(db, database):
    hold(db, 1, KEY, **TERMS)
    tick(db, KEY, **TERMS, **WITHOUT_RHO, **aged(10))
    async with estimating(database):
        await until(db, "rows = 1")

    def seen(stale_after_s):
        [row] = rows(db, "select * from greeks_with_estimates_now(%s)", stale_after_s)
        [total] = rows(
            db, "select * from portfolio_with_estimates_now(%s)", stale_after_s
        )
        return (
            row["rho_source"],
            row["no_estimate_reason"],
            total["missing_rho"],
            total["estimated_rho"] != 0,
        )

    assert seen(300) == ("estimated", None, 0, True)
    db.execute("update estimated_greeks set inputs_at = now() - interval '301 s'")
    assert seen(300) == (None, "the inputs are old", 1, False)
    db.execute("delete from estimated_greeks")
    assert seen(300) == (None, "not computed", 1, False)


async def test_the_switch_removes_and_brings_back_estimates(db, database):
    hold(db, 1, KEY, **TERMS)
    tick(db, KEY, **TERMS, **WITHOUT_RHO, **aged(1))
    conditions = Conditions()
    async with estimating(database, conditions=conditions) as switch:
        await until(db, "rows = 1")
        switch.turn(False)
        await until(db, "rows = 0")
        switch.turn(True)
        await until(db, "rows = 1")
        # The position is closed.
        hold(db, 0, KEY, **TERMS, at=datetime.now(UTC))
        await until(db, "rows = 0")
        hold(db, 1, KEY, **TERMS, at=datetime.now(UTC))
        await until(db, "rows = 1")
        # The database ends the connection.
        db.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where pid <> pg_backend_pid() and datname = current_database()"
        )
        await until(db, f"newest > '{datetime.now(UTC)}'")
        assert not conditions.entries()
    # Another run, with the setting off, finds the rows of the run before.
    worker = Worker()
    switch = Switch(database, worker, Conditions())
    switch.turn(False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(switch.estimator.run)
        await until(db, "rows = 0")
        nursery.cancel_scope.cancel()


class BrokenWorker:
    async def run(self):
        await trio.sleep_forever()

    async def call(self, _job, *_parts):
        raise JobTooLong


async def test_a_worker_that_fails_is_a_condition(db, database):
    hold(db, 1, KEY, **TERMS)
    tick(db, KEY, **TERMS, **WITHOUT_RHO, **aged(1))
    conditions = Conditions()
    async with estimating(database, BrokenWorker(), conditions) as switch:
        with trio.fail_after(30):
            while not conditions.entries():  # noqa: ASYNC110
                await trio.sleep(0.1)
        assert "estimates failed" in conditions.entries()
        switch.turn(False)
        with trio.fail_after(30):
            while conditions.entries():  # noqa: ASYNC110
                await trio.sleep(0.1)
