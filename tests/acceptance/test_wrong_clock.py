"""The service on a machine with a wrong clock, and on a database that is exchanged."""

from __future__ import annotations

import signal
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import psycopg
import pytest
import trio

import greeks_trio.postgres.database_watch as watch_module
from greeks_trio.config.load import load_config
from greeks_trio.service import run_service
from tests.fix_postgres import connect_trio, fresh_database
from tests.fix_processes import PATIENCE_S, fetch, wait_until

pytestmark = pytest.mark.timeout(120)

YEAR = timedelta(days=365)
BROKERS = ("ibkr", "tastytrade")
# Everything that only an earlier database was told, and the latest ticks.
IS_FULL = """
select count(distinct broker) = 2
    and count(*) filter (where delta is not null) = count(*)
from latest_greeks where quantity is not null
"""
# The last migration makes it; before, the views may change during a query.
HAS_TABLES = "select to_regclass('latest_state') is not null"


@pytest.fixture
def hurried(monkeypatch):
    """Look at the database ten times a second, and tell again each second."""
    monkeypatch.setattr(watch_module, "_INTERVAL_S", 0.1)
    monkeypatch.setattr(watch_module, "_TELL_AGAIN_S", 1.0)


@pytest.fixture
async def brokers(stage, monkeypatch):
    """Simulated brokers, and a configuration for them."""
    monkeypatch.setenv("GREEKS_ENV_FILE", str(stage.env_file))
    async with stage.simulate("--contracts", "20", "--rate", "100") as simulators:
        stage.configure(await simulators.read_json())
        yield simulators


async def start(nursery, stop, **options):
    run = partial(run_service, load_config(), stop=stop, **options)
    return (await nursery.start(run)).status


async def wait_reason(status):
    """Return the only reason about the clock, when all three were compared with it."""
    reasons = []
    with trio.move_on_after(PATIENCE_S):
        while True:
            reasons = [each for each in status.readiness() if "clock" in each]
            if reasons and "the database and ibkr and tastytrade;" in reasons[0]:
                break
            await trio.sleep(0.05)
    [reason] = reasons
    assert "that of the database and ibkr and tastytrade;" in reason
    return reason


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("error", [-YEAR, timedelta(hours=2)])
async def test_a_wrong_clock_is_corrected_and_named(stage, brokers, error):
    stop = trio.Event()
    began_at = datetime.now(UTC)
    async with trio.open_nursery() as nursery:
        status = await start(nursery, stop, now=lambda: datetime.now(UTC) + error)
        await wait_until(stage.database, HAS_TABLES)
        for broker in BROKERS:
            await stage.wait_rows(broker, 50)
        await wait_until(stage.database, IS_FULL)
        reason = await wait_reason(status)
        stop.set()

    assert "the clock of this machine is" in reason
    [(events, received, observed)] = await fetch(
        stage.database,
        "select min(event_time), min(received_at),"
        " (select min(observed_at) from positions) from greek_snapshots",
    )
    for at in (events, received, observed):
        assert abs(at - began_at) < timedelta(seconds=60)
    stored = await stage.stored()
    assert stored
    assert set(stored) <= stage.sent()
    partitions = await fetch(
        stage.database,
        "select inhrelid::regclass::text from pg_inherits"
        " where inhparent = 'greek_snapshots'::regclass"
        " and inhrelid::regclass::text not in (select to_char("
        "now() at time zone 'UTC' + make_interval(months => n),"
        " '\"greek_snapshots\"_YYYY_MM') from generate_series(0, 2) n)",
    )
    assert partitions == []


async def wait_at_last(database, condition):
    """Wait until it is true; the tables are made anew, so a deadlock is tried again."""
    for _ in range(10):
        with suppress(psycopg.errors.DeadlockDetected):
            await wait_until(database, condition)
            return
    raise AssertionError(f"always a deadlock: {condition}")


async def execute_at_last(db, statement):
    """Execute it; the service holds locks of its own, so a deadlock is tried again."""
    for _ in range(10):
        with suppress(psycopg.errors.DeadlockDetected):
            await db.execute(statement)
            return
    raise AssertionError(f"always a deadlock: {statement}")


@pytest.mark.usefixtures("hurried")
async def test_another_or_emptied_database_is_told_everything_again(
    stage, brokers, postgres_server, caplog
):
    """No part of it needs a restart."""
    stop, config = trio.Event(), None

    async def is_full(database):
        await wait_at_last(database, HAS_TABLES)
        await wait_at_last(database, IS_FULL)
        for view in ("portfolio_greeks", "positions"):
            complete = f"select count(distinct broker) = 2 from {view}"
            await wait_at_last(database, complete)

    async with await connect_trio(stage.database) as db:
        # The sessions of the service end before the database is dropped.
        with fresh_database(postgres_server) as other:
            async with trio.open_nursery() as nursery:
                await start(nursery, stop, load=lambda: config)
                await wait_until(stage.database, HAS_TABLES)
                await is_full(stage.database)

                for statement in (
                    "truncate positions, greek_snapshots, feed_gaps",
                    "delete from positions",
                    "drop schema public cascade; create schema public",
                    "drop view latest_greeks cascade; drop table positions cascade;"
                    " drop schema public cascade; create schema public",
                ):
                    await execute_at_last(db, statement)
                    await is_full(stage.database)
                changes = [
                    each for each in caplog.messages if "database.changed" in each
                ]
                assert any("was emptied" in each for each in changes)
                assert any("positions is gone" in each for each in changes)

                old = load_config()
                config = replace(
                    old, database=replace(old.database, dbname=other.dbname)
                )
                signal.raise_signal(signal.SIGHUP)
                await wait_until(other, HAS_TABLES)
                await is_full(other)
                nursery.cancel_scope.cancel()
