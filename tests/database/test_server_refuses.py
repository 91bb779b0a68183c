"""A server that answers and stores nothing: outages that look like faults of the rows."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import replace

import psycopg
import pytest
import trio
from psycopg import sql

from greeks_trio.errors import StoreRejected, StoreUnavailable
from greeks_trio.model.gap_reasons import GapReason
from greeks_trio.model.records import FeedGap, PositionsSnapshot
from greeks_trio.pipeline.backlog import Backlog
from greeks_trio.pipeline.conditions import Conditions
from greeks_trio.pipeline.journal import Journal
from greeks_trio.pipeline.journal_writer import JournalDisk, run_journal
from greeks_trio.pipeline.refused_rows import RefusedRows
from greeks_trio.pipeline.supervised import PartOutages
from greeks_trio.pipeline.tick_counts import TickCounts
from greeks_trio.pipeline.writer import Writer
from greeks_trio.postgres.embedded.restarts import open_restartable_server
from greeks_trio.postgres.journal_store import JournalStore
from greeks_trio.postgres.tick_store import TickStore
from greeks_trio.waiting import WakeUp
from tests.concurrency.fakes import MemoryQuarantine, MemorySpool
from tests.factories import START, make_position, make_tick, tick_bytes
from tests.fix_pooler import pgbouncer
from tests.fix_postgres import QUICK, apply_schema, connect
from tests.snapshots import count


def store_of(config, timeout_s=1.0):
    """Return a store that gives up soon, on the day of the factories' ticks."""
    return TickStore(replace(config, timeout_s=timeout_s), today=START.date)


@pytest.fixture
async def server(tmp_path):
    """A separate server that the test may break."""
    # The vacuum that PostgreSQL orders by itself looks at another database so often.
    settings = QUICK | {"wal_level": "logical", "autovacuum_naptime": "1"}
    async with open_restartable_server(tmp_path, settings=settings) as server:
        apply_schema(server.config)
        yield server


@pytest.fixture
def observer(database):
    """A second connection: reads the table and acts as an administrator."""
    with connect(database) as observer:
        # A probe is a row of the present moment.
        observer.execute("select make_month(current_date)")
        yield observer


class RunningWriter:
    """A writer on a real database, with a quarantine in memory."""

    def __init__(self, store):
        self.backlog = Backlog(tick_bytes(10_000))
        self.quarantine = MemoryQuarantine()
        refused_rows = RefusedRows(self.quarantine)
        self.writer = Writer(self.backlog, refused_rows, TickCounts(), batch_rows=100)
        self._store = store

    async def run(self):
        await self.writer.run(self._store.open, WakeUp())

    async def wait(self, is_connected):
        with trio.fail_after(20):
            while self.writer.statistics().is_connected is not is_connected:
                await trio.lowlevel.checkpoint()

    async def wait_for_a_retry(self):
        with trio.fail_after(20):
            while not self.writer.statistics().retries:
                await trio.lowlevel.checkpoint()


# Transaction ids used up.

# The first id of a segment of the log of commits, within the last three million.
_SEGMENT = 2046
_LAST_IDS = _SEGMENT * 2**20


def set_next_id(server, data_dir, number):
    """Set the next transaction id of a stopped server."""
    segment = data_dir / "postgres-18" / "pg_xact" / f"{_SEGMENT:04X}"
    segment.write_bytes(bytes(2**18))
    segment.chmod(0o666)
    cluster = server._server._cluster
    cluster.runner.run("pg_resetwal", "-x", str(number), cluster.server_path)


async def test_a_server_without_transaction_ids_is_an_outage_and_no_row_is_at_fault(
    server, tmp_path, nursery, caplog
):
    """A slot that nothing reads keeps PostgreSQL from freezing; later it does by itself.

    An old prepared transaction does the same, but after `set_next_id` the server needs
    half a minute to start with one.
    """
    async with store_of(server.config).open() as sink:
        await sink.write([make_tick(0)])
    with connect(server.config) as admin:
        admin.execute("select pg_create_logical_replication_slot('held', 'pgoutput')")
    await server.stop()
    set_next_id(server, tmp_path, _LAST_IDS)
    running = RunningWriter(store_of(server.config))
    running.backlog.put([make_tick(1), make_tick(2)])

    await server.start()
    with pytest.raises(psycopg.Error) as caught, connect(server.config) as admin:
        admin.execute("create table t ()")
    assert caught.value.sqlstate == "54000"  # as a row that is too large
    nursery.start_soon(running.run)
    await running.wait_for_a_retry()
    with connect(server.config) as admin:
        admin.execute("select pg_drop_replication_slot('held')")
    await running.wait(True)

    assert running.quarantine.ticks == []
    assert "reason=database is not accepting commands" in caplog.text
    with connect(server.config) as admin:
        assert count(admin) == 3


# Every row refused, for another reason.

ALL_REFUSED = """
create function refuse() returns trigger language plpgsql as $$
begin raise exception 'closed for the audit' using errcode = '54000'; end $$;
create trigger refuse before insert on greek_snapshots
    for each row execute function refuse();
"""


@pytest.mark.parametrize("has_stored", [False, True])
async def test_a_table_that_takes_no_row_is_an_outage(database, observer, has_stored):
    async with store_of(database).open() as sink:
        if has_stored:
            await sink.write([make_tick(0)])
        observer.execute(ALL_REFUSED)
        with pytest.raises(StoreRejected):
            await sink.write([make_tick(1)])

        with pytest.raises(StoreUnavailable, match=r"no row at all: closed") as caught:
            await sink.probe()
        assert caught.value.needs_person

    async with store_of(database).open() as sink:
        observer.execute("drop trigger refuse on greek_snapshots")
        await sink.probe()
        assert await sink.write([make_tick(1)]) == 1
    assert count(observer) == 1 + has_stored  # the probes left nothing


async def test_a_broker_whose_rows_are_refused_is_no_outage(database, observer):
    async with store_of(database).open() as sink:
        await sink.write([make_tick(0)])
        observer.execute(
            "alter table greek_snapshots add check (broker <> 'ibkr') not valid"
        )
        with pytest.raises(StoreRejected):
            await sink.write([make_tick(1)])

        await sink.probe()


# Commits that hang.


async def test_commits_that_wait_for_an_absent_standby_are_an_outage_that_is_named(
    server, nursery, caplog
):
    caplog.set_level(logging.INFO)
    running = RunningWriter(store_of(server.config, timeout_s=0.5))
    nursery.start_soon(running.run)
    await running.wait(True)
    with connect(server.config) as admin:
        set_for_all(admin, "synchronous_standby_names", "absent")
        running.backlog.put([make_tick(0)])
        await running.wait(False)

        seen = set()
        for _ in range(60):
            seen.add(running.writer.statistics().is_connected)
            await trio.sleep(0.05)
        assert seen == {False}
        assert "standby servers 'absent'" in running.writer.statistics().last_error
        assert caplog.text.count("writer.connected") == 1

        set_for_all(admin, "synchronous_standby_names", "")
        await running.wait(True)
        assert count(admin) == 1
        assert caplog.text.count("writer.connected") == 2

        # An idle service notices it, too.
        async with store_of(server.config, timeout_s=0.5).open() as sink:
            await sink.ping()
            set_for_all(admin, "synchronous_standby_names", "absent")
            with pytest.raises(StoreUnavailable):
                await sink.ping()


def set_for_all(admin, name, value):
    """Change a setting of the running server, and return when sessions have it."""
    admin.execute(
        sql.SQL("alter system set {} = {}").format(sql.Identifier(name), value)
    )
    admin.execute("select pg_reload_conf()")
    password = admin.info.password
    with psycopg.connect(admin.info.dsn, password=password, autocommit=True) as other:
        while other.execute(f"show {name}").fetchone() != (value,):
            pass


# A role with few rights.


@contextmanager
def a_plain_role(database, observer):
    """Yield the database by way of a role that may insert and read, and no more."""
    name = f"plain_of_{database.dbname}"
    observer.execute(f"create role {name} login password 'w'")
    observer.execute(f"grant insert, select on all tables in schema public to {name}")
    try:
        yield replace(database, user=name, password=type(database.password)("w"))
    finally:
        observer.execute(f"drop owned by {name}")
        observer.execute(f"drop role {name}")


async def test_a_proof_needs_no_right_besides_insert(database, observer):
    async with store_of(database).open() as sink:
        await sink.write([make_tick(0)])
    with a_plain_role(database, observer) as plain:
        async with store_of(plain).open() as sink:
            await sink.ping()
            await sink.write([make_tick(1)])
            await sink.probe()

    assert count(observer) == 2


# Another service that stores the same ticks.


async def test_duplicates_that_go_on_are_few_errors_in_the_log_of_the_server(
    database, observer
):
    """PostgreSQL counts a rollback for each COPY that finds a duplicate."""
    ticks = [make_tick(number) for number in range(20)]
    async with store_of(database).open() as sink:
        await sink.write(ticks)
    async with store_of(database).open() as sink:
        for tick in ticks:
            assert await sink.write([tick]) == 0
        assert await sink.write([make_tick(99)]) == 1
        pid = sink._connection.info.backend_pid
    with trio.fail_after(10):
        while observer.execute(
            "select 1 from pg_stat_activity where pid = %s", [pid]
        ).fetchone():
            await trio.lowlevel.checkpoint()
    [(rollbacks,)] = observer.execute(
        "select xact_rollback from pg_stat_database where datname = current_database()"
    ).fetchall()
    # Each of the two sinks has taken a row back when it was opened.
    assert rollbacks == 2 + 1


# A pooler that reports several errors in one exchange.


async def test_sessions_that_end_behind_a_pooler_never_end_the_writer(
    database, observer, tmp_path
):
    with pgbouncer(database, tmp_path, pool_mode="session") as pooled:
        running = RunningWriter(store_of(pooled, timeout_s=5))
        outages = PartOutages(Conditions())
        ticks = [make_tick(number) for number in range(3_000)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outages.run, "writer", running.run)
            for number, tick in enumerate(ticks):
                running.backlog.put([tick])
                if number % 15 == 14:
                    await trio.sleep(0.01)
                if number % 60 == 59:
                    observer.execute(TERMINATE)
            running.backlog.close()

    assert count(observer) == 3_000
    assert running.quarantine.ticks == []
    assert running.writer.statistics().retries + outages.counts["writer"] > 3


TERMINATE = """
select pg_terminate_backend(pid) from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid()
"""


# A role that may not update gaps.


async def test_gaps_that_may_not_be_updated_hold_up_no_positions(
    database, observer, nursery
):
    async with store_of(database).open():
        pass
    journal, conditions, spool = Journal(), Conditions(), MemorySpool()
    gap = FeedGap(broker="ibkr", started_at=START, reason=GapReason.SILENCE)
    journal.record(gap)
    journal.record(
        PositionsSnapshot(
            broker="ibkr",
            account_ids=("U1234567",),
            positions=(make_position(),),
            observed_at=START,
        )
    )
    with a_plain_role(database, observer) as plain:
        disk = JournalDisk(spool=spool, quarantine=MemoryQuarantine(), after_s=0.05)
        nursery.start_soon(
            run_journal, journal, JournalStore(plain).open, disk, conditions
        )
        with trio.fail_after(20):
            while not stored(observer, "positions"):
                await trio.lowlevel.checkpoint()
            while list(spool.journal.values()) != [gap]:
                await trio.lowlevel.checkpoint()
        assert stored(observer, "feed_gaps") == 0

        observer.execute(f"grant update on feed_gaps to {plain.user}")
        with trio.fail_after(20):
            while spool.journal or not stored(observer, "feed_gaps"):
                await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()


def stored(observer, table):
    """Return the number of rows in the table."""
    query = sql.SQL("select count(*) from {}").format(sql.Identifier(table))
    return observer.execute(query).fetchone()[0]
