"""The schema and the writer on a real Citus; see `tests.citus`."""

from __future__ import annotations

import os
import random
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import trio

from greeks_trio.errors import StoreUnavailable
from greeks_trio.pipeline.refused_rows import RefusedRows
from greeks_trio.postgres.connect import open_connection
from greeks_trio.postgres.lease import Lease
from greeks_trio.postgres.schema.catalog import inspect_schema
from greeks_trio.postgres.schema.migrate import migrate
from greeks_trio.postgres.schema.repair import repair
from greeks_trio.postgres.schema.schema_files import load_migrations
from greeks_trio.postgres.server_kind import inspect_server, read_server_kind
from greeks_trio.postgres.tick_store import TickStore
from greeks_trio.waiting import WakeUp
from tests.citus import (
    URL,
    WHY_NOT,
    Node,
    answer,
    copy_tables,
    fresh_schema,
    node_of,
    nodes,
    opened,
    questions,
)
from tests.database.random_book import random_book
from tests.database.risk_rows import risk_database
from tests.factories import START, make_tick
from tests.fix_processes import Stage, fetch, wait_until
from tests.snapshots import count

pytestmark = [
    pytest.mark.skipif(not URL, reason=WHY_NOT),
    pytest.mark.timeout(600),
]

NAMES = [each.name for each in load_migrations()]
KILLS = int(os.environ.get("TEST_CITUS_KILLS", "2"))
BATCH = 200


class Quarantine:
    def __init__(self):
        self.rows = []

    async def add(self, tick, *, sqlstate, reason):
        self.rows.append((tick, sqlstate))


@pytest.fixture
def citus():
    """The coordinator and a schema that does not exist yet."""
    with fresh_schema() as config:
        yield config


@pytest.fixture
async def made(citus):
    """A schema with our tables, distributed."""
    async with open_connection(citus, autocommit=True) as connection:
        await migrate(connection)
    return citus


@pytest.fixture
def observer(made):
    with opened(made) as observer:
        yield observer


def ticks(number, start=1, **changes):
    return [make_tick(n, **changes) for n in range(start, start + number)]


# The schema.


async def test_a_schema_is_made_distributed_once(citus):
    async with open_connection(citus, autocommit=True) as connection:
        [before] = await inspect_server(connection, citus)
        assert before.verdict == "fine"
        assert await migrate(connection) == NAMES
        assert await migrate(connection) == []
        kind = await read_server_kind(connection)
        [server] = await inspect_server(connection, citus)
        [catalog] = await inspect_schema(connection, citus)

    assert kind.is_distributed
    assert kind.workers >= 1
    assert server.verdict == catalog.verdict == "fine"
    assert kind.node in server.sentence


async def test_a_schema_with_rows_is_distributed_later(citus, monkeypatch):
    """As it is when the coordinator gets its first worker later than its first tick."""
    with monkeypatch.context() as patch:
        patch.setattr(
            "greeks_trio.postgres.server_kind.ServerKind.obstacle",
            lambda kind: ("the coordinator has no worker", "add one"),
        )
        async with TickStore(citus, today=START.date).open() as sink:
            await sink.write(ticks(20))
        async with open_connection(citus, autocommit=True) as connection:
            assert not (await read_server_kind(connection)).is_distributed

    async with open_connection(citus, autocommit=True) as connection:
        assert await migrate(connection) == []
        assert (await read_server_kind(connection)).is_distributed
        [catalog] = await inspect_schema(connection, citus)
    assert catalog.verdict == "fine"
    for node in nodes(citus):
        with opened(node) as observer:
            assert count(observer) == 20
            observer.execute("select * from latest_greeks").fetchall()


async def test_public_and_a_worker_are_named_with_the_remedy(made):
    public = replace(made, schema="public")
    async with open_connection(public, autocommit=True) as connection:
        [finding] = await inspect_server(connection, public)
    assert finding.verdict == "warning"
    assert "GREEKS_DB_SCHEMA" in finding.remedy
    async with open_connection(nodes(made)[1], autocommit=True) as connection:
        [finding] = await inspect_server(connection, made)
    assert finding.verdict == "warning"
    assert "POSTGRES_HOST" in finding.remedy


async def test_a_function_that_was_dropped_is_made_again(made, observer):
    observer.execute("drop function position_greeks_asof cascade")
    async with open_connection(made, autocommit=True) as connection:
        assert await repair(connection)
        [catalog] = await inspect_schema(connection, made)
    assert catalog.verdict == "fine"
    with opened(nodes(made)[-1]) as worker:
        worker.execute("select * from position_greeks").fetchall()


# Ticks.


async def test_ticks_are_stored_once(made, observer):
    async with TickStore(made, today=START.date).open() as sink:
        for number in (1, 3, 30):
            new = ticks(number, start=100 * number)
            assert await sink.write(new) == number
            assert await sink.write([*new, make_tick(5000 + number)]) == 1
    assert count(observer) == 37


@pytest.mark.parametrize("number", [1, 30])
async def test_only_the_bad_row_goes_into_quarantine(made, observer, number):
    bad = make_tick(9999, broker="No Word")
    quarantine = Quarantine()
    async with TickStore(made, today=START.date).open() as sink:
        await sink.write([make_tick(5000)])
        outcome = await RefusedRows(quarantine).store(
            sink, [*ticks(number), bad], check_duplicates=False
        )
    assert [(tick, code) for tick, code in quarantine.rows] == [(bad, "23514")]
    assert outcome.new == number
    assert count(observer) == number + 1


@pytest.mark.parametrize("number", [1, 30])
async def test_a_missing_partition_is_made(made, observer, number):
    async with TickStore(made, today=START.date).open() as sink:
        await sink.write(ticks(number))
        observer.execute("drop table greek_snapshots_2026_11")
        assert await sink.write(ticks(number)) == number
    assert count(observer) == number


async def test_one_service_has_the_lease(made):
    one, other = (Lease("alerts", holder, lasts_s=40.0) for holder in ("one", "other"))
    async with open_connection(made, autocommit=True) as connection:
        for lease in (one, other):
            await lease.take(connection)
        assert one.epoch == 1
        assert other.epoch is None
        await one.release(connection)
        await other.take(connection)
        assert other.epoch == 2


# Views and functions.


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_every_view_and_function_answers_as_on_one_server(made, database, seed):
    now = datetime.now(UTC).replace(microsecond=0)
    with risk_database(database) as plain, opened(made) as coordinator:
        expiration = (now + timedelta(days=2)).date()
        random_book(plain, random.Random(seed), now, expiration=expiration)
        # Of two prices at one moment either may be taken.
        plain.execute(
            "update greek_snapshots set event_time = event_time - id * interval '1 ms'"
        )
        copy_tables(plain, coordinator)
        for node in nodes(made):
            with opened(node) as connection:
                different = [
                    question
                    for moment in (now, now - timedelta(seconds=20))
                    for question in questions(plain, moment)
                    if answer(connection, question) != answer(plain, question)
                ]
            assert different == []
        assert answer(plain, "select * from portfolio_greeks")
        assert answer(plain, "select * from risk_totals")


# The service.


class CitusStage(Stage):
    """A stage whose table is in a schema of its own."""

    @property
    def table(self):
        return f"{self.database.schema}.greek_snapshots"

    async def stored(self):
        return await fetch(
            self.database,
            "select broker, account_id, contract_key,"
            " round(extract(epoch from event_time) * 1000)::int8,"
            " delta, gamma, theta, vega, rho, implied_volatility"
            f" from {self.table} where account_id <> 'watchlist'",
        )


async def test_the_service_stores_every_tick_and_has_no_trouble(citus, tmp_path):
    stage = CitusStage(tmp_path, citus)
    async with stage.simulate("--contracts", "24", "--rate", "80") as simulators:
        endpoints = await simulators.read_json()
        stage.configure(endpoints, GREEKS_DB_SCHEMA=citus.schema)
        async with stage.serve() as service:
            await service.wait_line("writer.connected")
            await service.wait_line("is distributed")
            for broker in ("ibkr", "tastytrade"):
                await wait_until(
                    citus,
                    f"select count(*) >= 100 from {stage.table} where broker = '{broker}'",
                )
            assert await simulators.stop() == 0
            for broker in ("ibkr", "tastytrade"):
                await service.wait_line(f"feed.restarting broker={broker}")
            assert await service.stop() == 0
    assert service.count("schema.distributed") == 1
    for trouble in ("journal.retrying", "partitions.not", "CRITICAL"):
        assert service.count(trouble) == 0
    stored = await stage.stored()
    assert len(stored) == len(set(stored))
    assert set(stored) == stage.sent()
    gaps = await fetch(citus, f"select reason from {citus.schema}.feed_gaps")
    assert gaps


# Lost nodes.


class Writer:
    """Offers batches until each is stored, as the service does; ``run`` ends by `stop`."""

    def __init__(self, config, quarantine):
        self._store = TickStore(config, today=START.date)
        self._rows = RefusedRows(quarantine)
        self.stored, self.failed = WakeUp(), WakeUp()
        self._is_over = False

    @property
    def offered(self):
        return self.stored.calls * BATCH

    def stop(self):
        self._is_over = True

    async def run(self):
        is_second = False
        while not self._is_over:
            try:
                async with self._store.open() as sink:
                    while not self._is_over:
                        await self._offer(sink, check_duplicates=is_second)
                        is_second = False
            except* StoreUnavailable:
                is_second = True
                self.failed.wake()
                await trio.sleep(0.05)

    async def _offer(self, sink, *, check_duplicates):
        batch = ticks(BATCH, start=self.offered + 1)
        outcome = await self._rows.store(sink, batch, check_duplicates=check_duplicates)
        assert len(outcome.ticks) == BATCH
        self.stored.wake()
        await trio.lowlevel.checkpoint()


def coordinator_of(config):
    return config


@pytest.mark.parametrize("killed", [node_of, coordinator_of])
async def test_nothing_is_lost_or_stored_twice_when_a_node_is_killed(made, killed):
    """``TEST_CITUS_KILLS`` kills, under load, of the worker with the tables or of the other."""
    with opened(made) as connection:
        connection.execute("select make_month(%s)", [START.date()])
    node, quarantine = Node.of(killed(made)), Quarantine()
    writer = Writer(made, quarantine)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writer.run)
        for _ in range(KILLS):
            await wait_more(writer.stored, 5)
            await trio.to_thread.run_sync(node.kill)
            await wait_more(writer.failed, 1)
            await trio.to_thread.run_sync(node.start)
        await wait_more(writer.stored, 5)
        writer.stop()

    with opened(made) as connection:
        # A worker that dies between the two phases of a commit shows its rows after this.
        connection.execute("select recover_prepared_transactions()")
        [(stored, distinct)] = connection.execute(
            "select count(*), count(distinct event_time) from greek_snapshots"
        ).fetchall()
    # pytest shows it with -rP.
    sys.stdout.write(f"{KILLS} kills, {writer.failed.calls} failures, {stored} ticks\n")
    assert quarantine.rows == []
    assert stored == distinct == writer.offered


async def wait_more(event, number):
    with trio.fail_after(60):
        await event.wait_beyond(event.calls + number - 1)
