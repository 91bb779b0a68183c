"""Rows that PostgreSQL refuses, and writing while it is away."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import psycopg
import pytest
import trio

from greeks_trio.errors import StoreRejected, StoreUnavailable
from greeks_trio.postgres.failures import store_error
from greeks_trio.postgres.tick_store import TickStore
from tests.factories import START, make_tick
from tests.fix_postgres import connect
from tests.snapshots import count, insert_key_of, rows, sessions, wait_blocked


@pytest.fixture
def store(database):
    """The store under test, on the day of the factories' ticks."""
    return TickStore(database, today=START.date)


@pytest.fixture
async def sink(store):
    """One open sink."""
    async with store.open() as sink:
        yield sink


@pytest.fixture
def observer(database):
    """A second connection: reads the table and acts as an administrator."""
    with connect(database) as observer:
        yield observer


# Rows that PostgreSQL refuses.

POISON = {
    "no Greek at all": (
        {"delta": None, "gamma": None, "theta": None, "vega": None, "rho": None},
        "23514",
    ),
    "empty key": ({"contract_key": ""}, "23514"),
    "broker that is no word": ({"broker": "No Word"}, "23514"),
    "no account": ({"account_id": None}, "23502"),
    # Random text, because other text would be compressed.
    "an account too long for the index": (
        {"account_id": random.Random(1).randbytes(5_000).hex()},
        "54000",
    ),
    "a text with a NUL": ({"account_id": "a\0b"}, "22021"),
    "a payload that is no JSON": ({"source_payload": b"{"}, "22P02"),
    "a payload with an escaped NUL": ({"source_payload": b'"\\u0000"'}, "22P05"),
    "a text cannot be encoded as UTF-8": ({"account_id": "\ud800"}, None),
    # psycopg itself refuses it.
    "a number too large for numeric": ({"quantity": Decimal("1E+140000")}, None),
    "a payload too deep": (
        {"source_payload": b"[" * 100_000 + b"]" * 100_000},
        "54001",
    ),
}


@pytest.mark.parametrize("check_duplicates", [False, True])
@pytest.mark.parametrize("poison", POISON)
async def test_a_poor_row_refuses_its_batch_and_nothing_else(
    sink, observer, poison, check_duplicates
):
    changes, sqlstate = POISON[poison]
    bad = make_tick(2)
    bad = msgspec.structs.replace(
        bad, record=msgspec.structs.replace(bad.record, **changes)
    )

    with pytest.raises(StoreRejected) as caught:
        await sink.write([make_tick(1), bad], check_duplicates=check_duplicates)
    assert caught.value.sqlstate == sqlstate
    assert count(observer) == 0

    assert await sink.write([make_tick(1)], check_duplicates=check_duplicates) == 1
    assert count(observer) == 1


@pytest.mark.parametrize("check_duplicates", [False, True])
@pytest.mark.parametrize(
    "moment", [datetime(1, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC)]
)
async def test_the_ends_of_the_calendar_are_stored(
    sink, observer, moment, check_duplicates
):
    odd = make_tick(event_time=moment)

    new = await sink.write([make_tick(1), odd], check_duplicates=check_duplicates)

    assert new == 2
    assert odd.record in rows(observer)


async def test_refused_rows_may_be_tried_again_one_by_one(sink, observer):
    """An operator retries a quarantine in this way, over one sink."""
    observer.execute(
        "alter table greek_snapshots add constraint small check (delta < 1)"
    )
    ticks = [make_tick(number, delta=number / 2) for number in range(4)]
    await sink.write([ticks[0]])
    outcomes = []

    for tick in ticks:
        try:
            outcomes.append(await sink.write([tick], check_duplicates=True))
        except StoreRejected as exc:
            outcomes.append(exc.sqlstate)

    assert outcomes == [0, 1, "23514", "23514"]
    assert count(observer) == 2


def test_a_refusal_names_the_constraint_and_not_the_row(database):
    with connect(database) as connection:
        connection.execute("create table t (n int constraint small check (n < 5))")
        with pytest.raises(psycopg.errors.CheckViolation) as caught:
            connection.execute("insert into t values (42)")

    error = store_error(caught.value)
    assert isinstance(error, StoreRejected)
    assert "small" in str(error)
    assert "42" not in str(error)


def test_a_refusal_that_is_about_the_database_does_not_count():
    violation = psycopg.errors.CheckViolation()
    violation.sqlstate = "23514"

    assert isinstance(store_error(violation), StoreRejected)
    assert isinstance(store_error(violation, may_refuse=False), StoreUnavailable)


# A distributed PostgreSQL reports every error of a shard as XX000.

XX000_UNLESS_STAGED = """
create function lose_sqlstate() returns trigger language plpgsql as $$
begin
    if current_query() like 'copy%' or {always} then
        raise exception 'something on a shard' using errcode = 'XX000';
    end if;
    return new;
end $$;
create trigger lose_sqlstate before insert on greek_snapshots
    for each row execute function lose_sqlstate();
"""


async def test_an_unknown_error_takes_the_slow_path_once(sink, observer):
    await sink.write([make_tick(1)])
    observer.execute(XX000_UNLESS_STAGED.format(always=False))

    assert await sink.write([make_tick(1), make_tick(2)]) == 1
    assert count(observer) == 2


async def test_an_unknown_error_on_the_slow_path_is_a_refusal(sink, observer):
    observer.execute(XX000_UNLESS_STAGED.format(always=True))

    with pytest.raises(StoreRejected) as caught:
        await sink.write([make_tick(1)])
    assert caught.value.sqlstate == "XX000"

    observer.execute("drop trigger lose_sqlstate on greek_snapshots")
    assert await sink.write([make_tick(1)]) == 1


# Outages.


async def test_a_store_opens_on_an_empty_database(empty_database):
    store = TickStore(empty_database, today=START.date)
    async with store.open() as sink:
        assert await sink.write([make_tick()]) == 1

    with connect(empty_database) as observer:
        partitions = observer.execute(
            "select inhrelid::regclass::text from pg_inherits"
            " where inhparent = 'greek_snapshots'::regclass order by 1"
        ).fetchall()
    assert partitions == [("greek_snapshots_2026_11",)]  # the keeper makes the others


async def test_two_stores_may_open_an_empty_database_at_once(empty_database):
    new = []

    async def write():
        async with TickStore(empty_database, today=START.date).open() as sink:
            new.append(await sink.write([make_tick()]))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(write)

    assert sorted(new) == [0, 0, 1]


async def test_a_terminated_session_is_unavailable_and_the_next_one_goes_on(
    store, observer
):
    async with store.open() as sink:
        await sink.write([make_tick(1)])
        for pid in sessions(observer):
            observer.execute("select pg_terminate_backend(%s, 5000)", [pid])

        with pytest.raises(StoreUnavailable):
            await sink.write([make_tick(2)])
        with pytest.raises(StoreUnavailable):
            await sink.write([make_tick(2)])

    async with store.open() as sink:
        assert await sink.write([make_tick(2)], check_duplicates=True) == 1


async def test_a_session_terminated_in_the_middle_of_a_write_is_unavailable(
    store, observer
):
    async with store.open() as sink:
        await sink.write([make_tick(1)])

        async def be_terminated():
            with pytest.raises(StoreUnavailable) as caught:
                await sink.write([make_tick(2)])
            assert caught.value.sqlstate == "57P01"

        with observer.transaction():
            observer.execute("lock table greek_snapshots in access exclusive mode")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(be_terminated)
                await wait_blocked(observer)
                for pid in sessions(observer):
                    observer.execute("select pg_terminate_backend(%s)", [pid])


async def test_a_locked_table_is_unavailable_in_time(store, observer):
    store = TickStore(replace(store._config, timeout_s=0.3), today=START.date)
    async with store.open() as sink:
        await sink.write([make_tick(1)])
        started_at = trio.current_time()

        with observer.transaction():
            observer.execute("lock table greek_snapshots in access exclusive mode")
            with pytest.raises(StoreUnavailable):
                await sink.write([make_tick(2)])

        assert trio.current_time() - started_at < 8
        with pytest.raises(StoreUnavailable):  # it is of no more use
            await sink.write([make_tick(2)])


async def test_a_write_that_is_cancelled_leaves_nothing_behind_on_the_server(
    store, observer
):
    async with store.open() as sink:
        await sink.write([make_tick(1)])
        with observer.transaction():
            observer.execute("lock table greek_snapshots in access exclusive mode")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sink.write, [make_tick(2)])
                await wait_blocked(observer)
                nursery.cancel_scope.cancel()

        assert await sink.write([make_tick(3)]) == 1

    assert rows(observer) == [make_tick(1).record, make_tick(3).record]


async def test_a_deaf_server_is_unavailable_in_time_and_its_session_is_ended(
    proxy, observer
):
    """The locks of the lost session must not block the next attempt with the same rows."""
    store = TickStore(replace(proxy.config, timeout_s=0.5), today=START.date)
    async with store.open() as sink:
        await sink.write([make_tick(1)])
        lost = sink._connection.info.backend_pid
        proxy.go_deaf()
        started_at = trio.current_time()

        with pytest.raises(StoreUnavailable):
            await sink.write([make_tick(2)])
        assert trio.current_time() - started_at < 8
    assert lost in sessions(observer)  # it has not heard of it

    proxy.hear_new_connections()
    async with store.open() as sink:
        assert lost not in sessions(observer)
        assert await sink.write([make_tick(2)], check_duplicates=True) == 1


async def test_a_healthy_sink_survives_the_opening_of_another(store):
    async with store.open() as first:
        await first.write([make_tick(1)])
        async with store.open() as second:
            assert await second.write([make_tick(2)]) == 1
        assert await first.write([make_tick(3)]) == 1


async def test_a_commit_whose_answer_is_lost_is_found_stored(proxy, observer):
    store = TickStore(replace(proxy.config, timeout_s=0.5), today=START.date)
    async with store.open() as sink:
        await sink.write([make_tick(1)])
        async with trio.open_nursery() as nursery:
            with observer.transaction(force_rollback=True):
                # The rows arrive and wait for our transaction, which may hold the same row.
                insert_key_of(observer, make_tick(2))
                nursery.start_soon(expect_unavailable, sink, [make_tick(2)])
                await wait_blocked(observer)
                proxy.go_deaf()
    await wait_stored(observer, 2)

    proxy.hear_new_connections()
    async with store.open() as sink:
        assert await sink.write([make_tick(2)], check_duplicates=True) == 0

    assert rows(observer) == [make_tick(1).record, make_tick(2).record]


async def expect_unavailable(sink, ticks):
    """Write the ticks, which fails."""
    with pytest.raises(StoreUnavailable):
        await sink.write(ticks)


async def wait_stored(observer, number):
    """Wait until there are so many rows."""
    while True:
        if count(observer) == number:
            return
        await trio.lowlevel.checkpoint()


async def test_a_ping_finds_out_that_the_session_has_ended(store, sink, observer):
    await sink.ping()
    observer.execute(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid()"
    )

    with pytest.raises(StoreUnavailable):
        await sink.ping()

    async with store.open() as another:
        assert await another.write([make_tick()]) == 1


async def test_a_ping_that_is_not_answered_ends_in_time(proxy):
    store = TickStore(replace(proxy.config, timeout_s=0.3), today=START.date)
    async with store.open() as sink:
        proxy.go_deaf()

        with pytest.raises(StoreUnavailable, match="in time"):
            await sink.ping()
