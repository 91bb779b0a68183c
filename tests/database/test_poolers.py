"""Connecting by way of a connection pooler: PgBouncer, and a small one of our own."""

from __future__ import annotations

import re

import pytest
import trio

from greeks_trio.config.settings import HttpConfig
from greeks_trio.errors import StoreUnavailable
from greeks_trio.postgres.connect import open_connection
from greeks_trio.postgres.journal_store import JournalStore
from greeks_trio.postgres.poolers import refuse_shared_sessions
from greeks_trio.postgres.reads.reader import Reader
from greeks_trio.postgres.tick_store import TickStore
from tests.factories import START, make_tick
from tests.fix_pooler import FakePooler, pgbouncer
from tests.fix_postgres import connect, connect_trio
from tests.snapshots import count


@pytest.fixture
def observer(database):
    """A connection past the pooler."""
    with connect(database) as observer:
        yield observer


async def read_row(config, query):
    """Return a row that the reads of HTTP get."""
    reader = Reader(lambda: config, HttpConfig())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader.run)
        row = await reader.read(lambda connection: connection.execute(query).fetchone())
        nursery.cancel_scope.cancel()
    return row


async def connect_once(config):
    """Open a connection of the service and close it."""
    async with open_connection(config):
        pass


async def test_every_part_works_by_way_of_session_pooling(
    database, observer, tmp_path, caplog
):
    observer.execute(f"alter database {database.dbname} set synchronous_commit = off")
    with pgbouncer(database, tmp_path, pool_mode="session") as pooled:
        async with (
            TickStore(pooled, today=START.date).open() as sink,
            JournalStore(pooled).open(),
        ):
            assert await sink.write([make_tick()]) == 1
            assert await sink.write([make_tick()]) == 0
        async with open_connection(pooled) as connection:
            assert connection.is_pooled
            assert connection.session.settings["synchronous_commit"] == "on"
        shown = await read_row(
            pooled,
            "select current_setting('statement_timeout'),"
            " current_setting('transaction_read_only')",
        )

    assert count(observer) == 1
    assert shown == ("5s", "on")
    # The month may be there from an earlier test.
    assert not [each for each in caplog.messages if "partition.made" not in each]


@pytest.mark.parametrize("mode", ["transaction", "statement"])
async def test_pgbouncer_that_shares_sessions_is_refused(
    database, observer, tmp_path, mode
):
    store = TickStore(database, today=START.date)
    async with store.open():
        pass
    with pgbouncer(database, tmp_path, pool_mode=mode) as pooled:
        store.reconfigure(pooled)
        with pytest.raises(StoreUnavailable, match="pool_mode = session") as caught:
            async with store.open() as sink:
                await sink.write([make_tick()])
        refusal = pytest.RaisesExc(StoreUnavailable, match="pool_mode = session")
        with pytest.RaisesGroup(refusal):
            await read_row(pooled, "select 1")

    assert caught.value.needs_person
    assert count(observer) == 0


async def test_a_pool_whose_sessions_are_all_in_use_is_one_of_sessions(
    database, tmp_path, caplog
):
    with pgbouncer(database, tmp_path, pool_mode="session", default_pool_size=1) as it:
        async with open_connection(it) as connection:
            assert connection.is_pooled
            await connection.execute("select 1")

    assert not caplog.messages


async def test_a_session_that_the_pooler_has_passed_on_is_not_ended(
    database, observer, tmp_path
):
    with pgbouncer(database, tmp_path, pool_mode="session") as pooled:
        store = TickStore(pooled, today=START.date)
        async with store.open() as sink:
            ours = sink._connection.session.pid
            sink._connection.close_nowait()  # its outcome is unknown
        # The sink had a second connection for a moment, so there may be two sessions.
        with connect(pooled) as one, connect(pooled) as another:
            pids = {
                each: each.execute("select pg_backend_pid()").fetchone()
                for each in (one, another)
            }
            [stranger] = [each for each, pid in pids.items() if pid == (ours,)]
            async with store.open():
                pass
            assert stranger.execute("select pg_backend_pid()").fetchone() == (ours,)


@pytest.mark.parametrize(
    ("discards", "evidence"),
    [(False, "a second connection got the same session"), (True, "two statements")],
)
async def test_any_pooler_that_shares_sessions_is_refused_and_they_stay_as_they_were(
    database, nursery, discards, evidence
):
    pooler = FakePooler(database, discards=discards)
    await nursery.start(pooler.serve)

    with pytest.raises(StoreUnavailable, match=evidence):
        await connect_once(pooler.config)

    shown = pooler.show("lock_timeout", "search_path", "synchronous_commit")
    assert shown == ["0", '"$user", public', "on"]
    assert pooler.show("greeks_trio.mark") == [""]


@pytest.mark.parametrize(
    ("failures", "is_refused"),
    [
        ([(b"57P01", b"terminating connection")] * 2, False),
        ([(b"08P01", b"server conn crashed?")], False),
        ([(b"08P01", b"transaction blocks not allowed")] * 2, True),
    ],
)
async def test_a_connection_that_ends_meanwhile_says_nothing_about_the_pooler(
    database, nursery, failures, is_refused
):
    pooler = FakePooler(database)
    pooler.failures += failures
    await nursery.start(pooler.serve)

    with pytest.raises(
        StoreUnavailable, match=re.escape(failures[0][1].decode())
    ) as caught:
        await connect_once(pooler.config)

    assert caught.value.needs_person is is_refused
    assert ("pool_mode = session" in str(caught.value)) is is_refused


async def test_a_direct_connection_is_set_up_in_one_round_trip(database, nursery):
    pooler = FakePooler(database)
    pooler.announces_process = True
    await nursery.start(pooler.serve)

    await connect_once(pooler.config)

    assert len(pooler.queries) == 1


async def test_the_mark_of_a_trial_that_is_cancelled_is_removed(database):
    async with await connect_trio(database) as connection:
        with trio.move_on_after(0.2):
            await refuse_shared_sessions(connection, trio.sleep_forever)

        cursor = await connection.execute("select current_setting('greeks_trio.mark')")
        assert await cursor.fetchall() == [("",)]
