"""The latest ticks of earlier runs, from the table."""

from __future__ import annotations

import gc
import warnings
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
import trio

from greeks_trio.errors import StoreUnavailable
from greeks_trio.model.contracts import ContractKey
from greeks_trio.model.records import PositionsSnapshot
from greeks_trio.pipeline.backlog import Backlog
from greeks_trio.pipeline.latest import Latest
from greeks_trio.postgres.journal_store import JournalStore
from greeks_trio.postgres.latest_seed import run_latest_seed
from greeks_trio.postgres.tick_store import TickStore
from greeks_trio.waiting import Backoff
from tests.factories import SPY_CALL, SPY_PUT, make_position, make_tick, tick_bytes
from tests.fix_postgres import connect

NOW = datetime.now(UTC)
EXPIRATION = NOW.date() + timedelta(days=30)
WATCHED = ContractKey("QQQ   261218C00500000")


def tick_at(number, **changes):
    """Return a tick of some minutes ago, ``number`` seconds later."""
    at = NOW - timedelta(minutes=5) + timedelta(seconds=number)
    return make_tick(
        number, event_time=at, received_at=at, expiration=EXPIRATION, **changes
    )


@pytest.fixture
def backlog():
    backlog = Backlog(tick_bytes(10))
    backlog.is_database_up = True
    return backlog


async def store(config, ticks, positions=()):
    async with TickStore(config).open() as sink:
        await sink.write(ticks)
    held = PositionsSnapshot(
        broker="ibkr",
        account_ids=("U1234567",),
        positions=tuple(
            msgspec.structs.replace(each, expiration=EXPIRATION) for each in positions
        ),
        observed_at=NOW - timedelta(minutes=6),
    )
    async with JournalStore(config).open() as journal:
        await journal.write(held)


async def test_the_newest_tick_of_each_held_or_watched_contract_is_filled_in(
    database, backlog
):
    newest = tick_at(9, delta=0.75, rho=None)
    watched = tick_at(
        4, account_id="watchlist", contract_key=WATCHED, underlying="QQQ", quantity=None
    )
    closed = tick_at(3, contract_key=SPY_PUT)
    await store(
        database,
        [tick_at(2), newest, tick_at(5), watched, closed],
        [make_position(-3)],
    )
    latest = Latest()

    await run_latest_seed(lambda: database, backlog, latest)

    _, found = latest.changes()
    shown = {record.contract_key: record for record in found}
    assert set(shown) == {SPY_CALL, WATCHED}
    assert shown[SPY_CALL] == msgspec.structs.replace(
        newest.record, source_payload=b"null"
    )
    assert shown[WATCHED].quantity is None


async def test_a_tick_that_came_meanwhile_stays_if_it_is_as_new(database, backlog):
    await store(
        database,
        [tick_at(1), tick_at(1, contract_key=SPY_PUT)],
        [make_position(), make_position(contract_key=SPY_PUT)],
    )
    latest = Latest()
    for tick in (tick_at(1), tick_at(0, contract_key=SPY_PUT)):
        record = tick.record
        latest.put((record.broker, record.account_id, record.contract_key), record)

    await run_latest_seed(lambda: database, backlog, latest)

    payloads = {each.contract_key: each.source_payload for each in latest.changes()[1]}
    assert payloads == {SPY_CALL: tick_at(1).record.source_payload, SPY_PUT: b"null"}


async def test_many_contracts_come_in_steps(database, backlog):
    keys = [ContractKey(f"SPY   261218C{n:08d}") for n in range(450)]
    await store(
        database,
        [tick_at(0, contract_key=key) for key in keys],
        [make_position(contract_key=key) for key in keys],
    )
    latest = Latest()

    await run_latest_seed(lambda: database, backlog, latest)

    assert len(latest) == 450


async def test_it_waits_for_the_writers_first_connection(empty_database, nursery):
    """Before that there is no schema to read."""
    backlog, latest = Backlog(tick_bytes(10)), Latest()
    asked, ended = [], trio.Event()

    def config():
        asked.append(empty_database)
        return empty_database

    async def seed():
        await run_latest_seed(config, backlog, latest)
        ended.set()

    nursery.start_soon(seed)
    await store(empty_database, [tick_at(0)], [make_position()])
    assert not asked
    backlog.is_database_up = True
    with trio.fail_after(10):
        await ended.wait()

    assert len(latest) == 1


async def test_a_failed_read_is_tried_again_a_few_times(database, backlog, caplog):
    nowhere = replace(database, dbname="there_is_none")
    places = iter([nowhere, database])
    await store(database, [tick_at(0)], [make_position()])
    latest = Latest()

    await run_latest_seed(
        lambda: next(places), backlog, latest, backoff=Backoff(min_delay_s=0.01)
    )

    assert len(latest) == 1
    assert "latest.not_filled" in caplog.text


async def test_it_ends_when_it_fails_each_time(database, backlog, caplog):
    with connect(database) as admin:
        admin.execute("alter function series_asof rename to elsewhere")
    latest = Latest()

    await run_latest_seed(
        lambda: database,
        backlog,
        latest,
        backoff=Backoff(min_delay_s=0.001, max_delay_s=0.002),
    )

    assert caplog.text.count("latest.not_filled") == 5
    assert len(latest) == 0


async def test_cancelled_it_ends_while_it_waits_and_while_it_asks(database, backlog):
    with connect(database) as holder, holder.transaction():
        holder.execute("lock table greek_snapshots in access exclusive mode")
        with trio.move_on_after(0.2) as asking:
            await run_latest_seed(lambda: database, backlog, Latest())
    with trio.move_on_after(0.05) as waiting:
        await run_latest_seed(lambda: database, Backlog(tick_bytes(1)), Latest())

    assert asking.cancelled_caught
    assert waiting.cancelled_caught


async def test_a_session_that_ends_between_two_reads_leaves_no_open_cursor(
    database, backlog
):
    await store(database, [tick_at(1)], [make_position(-3)])

    class Ending(Latest):
        """The session has ended, and the rest has to be left."""

        def seed(self, records):
            with connect(database) as observer:
                observer.execute(
                    "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
                    " where datname = current_database() and pid <> pg_backend_pid()"
                )
            raise StoreUnavailable("enough")

    with warnings.catch_warnings(record=True) as said, trio.move_on_after(1):
        warnings.simplefilter("always")
        await run_latest_seed(lambda: database, backlog, Ending())
    gc.collect()

    assert [each for each in said if each.category is ResourceWarning] == []
