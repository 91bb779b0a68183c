"""Ticks on their way into the real table: values, duplicates, refusals, outages."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import msgspec
import psycopg
import pytest
import trio
from psycopg import sql

from greeks_trio.errors import StoreRejected, StoreUnavailable
from greeks_trio.model.records import UnifiedPositionRecord
from greeks_trio.postgres.copy_sink import TickStore
from greeks_trio.postgres.tick_rows import COPY_TICKS, TYPES, tick_row
from greeks_trio.postgres.translate import store_error
from tests.factories import START, make_tick
from tests.fix_postgres import connect

pytest_plugins = ["tests.fix_proxy"]


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
    """Looks at the table, and does to others what administrators do."""
    with connect(database) as observer:
        yield observer


def rows(observer):
    """Return all rows as the records that they were, in the readers' order.

    Payloads are compact again, as they were; jsonb is not text.
    """
    names = UnifiedPositionRecord.__struct_fields__
    query = sql.SQL(
        "select {} from greek_snapshots order by event_time, received_at, id"
    ).format(sql.SQL(", ").join(map(sql.Identifier, names)))
    return [
        UnifiedPositionRecord(
            **dict(zip(names, (*values, msgspec.json.encode(payload)), strict=True))
        )
        for *values, payload in observer.execute(query)
    ]


def count(observer):
    """Return how many rows there are."""
    return observer.execute("select count(*) from greek_snapshots").fetchone()[0]


def sessions(observer):
    """Return the pids of our other sessions in this database."""
    cursor = observer.execute(
        "select pid from pg_stat_activity where application_name = 'greeks_trio'"
        " and datname = current_database()"
    )
    return {pid for (pid,) in cursor}


async def wait_blocked(observer):
    """Wait until one of our sessions waits for a lock."""
    while not observer.execute(
        "select 1 from pg_stat_activity where wait_event_type = 'Lock'"
        " and application_name = 'greeks_trio' and datname = current_database()"
    ).fetchone():
        await trio.lowlevel.checkpoint()


# Values.

TICKS = [
    make_tick(1),
    make_tick(2, delta=0.1 + 0.2, gamma=5e-324, theta=-1.7976931348623157e308),
    make_tick(3, delta=-0.0, vega=None, implied_volatility=None, underlying_price=None),
    make_tick(4, strike=Decimal("0.5"), quantity=Decimal("-1234567890.123456789")),
    make_tick(5, strike=Decimal(4300), quantity=Decimal("1E+3")),
    make_tick(
        6,
        broker="tastytrade",
        account_id="watchlist",
        quantity=None,
        expiration=None,
        strike=None,
        option_type=None,
        rho=-0.0047,
    ),
    make_tick(7, underlying="BRK/B", account_id="Konto ☃ 𝄞", availability="delayed"),
    make_tick(8, source_payload='{"a":"ünï☃ 𝄞","b":[1.5,null]}'.encode()),
    make_tick(9, event_time=datetime(2026, 11, 20, 16, 0, 0, 123456, tzinfo=UTC)),
]


@pytest.mark.parametrize("check_duplicates", [False, True])
async def test_every_value_comes_back_as_it_was(sink, observer, check_duplicates):
    assert await sink.write(TICKS, check_duplicates=check_duplicates) == len(TICKS)

    found = rows(observer)
    assert found == [tick.record for tick in TICKS]
    assert math.copysign(1, found[2].delta) == -1
    assert str(found[3].quantity) == "-1234567890.123456789"


async def test_what_the_database_adds_is_there(sink, observer):
    tick = make_tick()
    await sink.write([tick])

    [row] = observer.execute(
        "select id > 0, persisted_at > now() - interval '1 minute', fingerprint,"
        " tableoid::regclass::text from greek_snapshots"
    ).fetchall()
    assert row == (True, True, tick.fingerprint, "greek_snapshots_2026_11")


async def test_nothing_to_write_is_written(sink):
    assert await sink.write([]) == 0


async def test_a_large_batch_is_stored_whole(sink, observer):
    ticks = [
        make_tick(number, source_payload=b'"' + b"x" * 2000 + b'"')
        for number in range(5000)
    ]

    assert await sink.write(ticks) == 5000
    assert count(observer) == 5000


# Duplicates.


@pytest.mark.parametrize("check_duplicates", [False, True])
async def test_what_is_stored_already_is_not_stored_again(
    sink, observer, check_duplicates
):
    await sink.write([make_tick(1), make_tick(2)])

    batch = [make_tick(2), make_tick(3), make_tick(3), make_tick(1)]
    assert await sink.write(batch, check_duplicates=check_duplicates) == 1

    assert rows(observer) == [make_tick(number).record for number in (1, 2, 3)]


async def test_after_duplicates_the_sink_goes_on(sink, observer):
    for _ in range(3):
        await sink.write([make_tick(1), make_tick(2)])
    await sink.write([make_tick(3)])

    assert count(observer) == 3


async def test_of_equal_ticks_in_one_batch_the_one_received_first_stays(sink, observer):
    late = make_tick(1, received_at=START + timedelta(seconds=9))
    early = make_tick(1, received_at=START + timedelta(seconds=2))

    assert await sink.write([late, early], check_duplicates=True) == 1
    assert rows(observer) == [early.record]


async def test_two_sinks_that_write_the_same_ticks_store_them_once(store, observer):
    ticks = [make_tick(number) for number in range(1000)]
    new = []

    async def write(ticks):
        async with store.open() as sink:
            for start in range(0, 1000, 100):
                batch = ticks[start : start + 100]
                new.append(await sink.write(batch, check_duplicates=True))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write, ticks)
        nursery.start_soon(write, ticks)

    assert sum(new) == count(observer) == 1000


# Partitions.


@pytest.mark.parametrize("check_duplicates", [False, True])
async def test_a_tick_of_any_month_finds_its_partition(
    sink, observer, check_duplicates
):
    times = [
        datetime(2001, 1, 1, tzinfo=UTC),
        datetime(2026, 11, 30, 23, 59, 59, 999999, tzinfo=UTC),
        datetime(2026, 12, 1, tzinfo=UTC),
        datetime(2031, 5, 5, tzinfo=UTC),
    ]
    ticks = [make_tick(event_time=time) for time in times]

    assert await sink.write(ticks, check_duplicates=check_duplicates) == 4
    assert [record.event_time for record in rows(observer)] == times


@pytest.mark.parametrize("check_duplicates", [False, True])
async def test_a_partition_that_was_dropped_is_made_again(
    sink, observer, check_duplicates
):
    await sink.write([make_tick(1)])
    observer.execute("drop table greek_snapshots_2026_11")

    assert await sink.write([make_tick(2)], check_duplicates=check_duplicates) == 1
    assert count(observer) == 1


async def test_a_partition_that_cannot_be_made_in_time_is_unavailable(store, observer):
    store = TickStore(replace(store._config, timeout_s=0.5), today=START.date)
    async with store.open() as sink:
        with observer.transaction():
            observer.execute("lock table greek_snapshots in access exclusive mode")
            with pytest.raises(StoreUnavailable):
                await sink.write(
                    [make_tick(event_time=datetime(2031, 5, 5, tzinfo=UTC))]
                )

    async with store.open() as sink:
        assert await sink.write([make_tick()]) == 1


async def test_a_partition_that_cannot_be_attached_is_not_the_ticks_fault(
    sink, observer
):
    """A detached table of that name holds a row of another month."""
    observer.execute(
        "create table greek_snapshots_2031_05"
        " (like greek_snapshots including all excluding identity)"
    )
    insert_key_of(observer, make_tick(), table="greek_snapshots_2031_05")

    with pytest.raises(StoreUnavailable) as caught:
        await sink.write([make_tick(event_time=datetime(2031, 5, 5, tzinfo=UTC))])
    assert caught.value.sqlstate == "23514"


# Rows that PostgreSQL refuses.

POISON = {
    "no Greek at all": (
        {"delta": None, "gamma": None, "theta": None, "vega": None, "rho": None},
        "23514",
    ),
    "empty key": ({"contract_key": ""}, "23514"),
    "unknown broker": ({"broker": "nobody"}, "23514"),
    "no account": ({"account_id": None}, "23502"),
    "a text with a NUL": ({"account_id": "a\0b"}, "22021"),
    "a payload that is no JSON": ({"source_payload": b"{"}, "22P02"),
    "a payload with an escaped NUL": ({"source_payload": b'"\\u0000"'}, "22P05"),
    "a text that UTF-8 does not have": ({"account_id": "\ud800"}, None),
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


def test_a_refusal_names_the_constraint_and_not_the_row(database):
    with connect(database) as connection:
        connection.execute("create table t (n int constraint small check (n < 5))")
        with pytest.raises(psycopg.errors.CheckViolation) as caught:
            connection.execute("insert into t values (42)")

    error = store_error(caught.value)
    assert isinstance(error, StoreRejected)
    assert "small" in str(error)
    assert "42" not in str(error)


async def test_a_refusal_on_a_dead_connection_does_not_count(sink):
    violation = psycopg.errors.CheckViolation()
    violation.sqlstate = "23514"

    assert isinstance(store_error(violation), StoreRejected)
    assert isinstance(store_error(violation, may_refuse=False), StoreUnavailable)


@pytest.mark.parametrize(
    "sqlstate",
    [
        "08006",
        "25006",
        "28P01",
        "3D000",
        "40001",
        "40P01",
        "42P01",
        "42501",
        "42703",
        "53100",
        "53300",
        "55P03",
        "57P01",
        "57P03",
        "57014",
        "58030",
        "XX000",
        None,
    ],
)
def test_what_is_about_the_database_is_unavailable(sqlstate):
    error = psycopg.OperationalError("no")
    error.sqlstate = sqlstate

    translated = store_error(error)

    assert isinstance(translated, StoreUnavailable)
    assert translated.sqlstate == sqlstate


# A distributed PostgreSQL: what happens to the shards arrives as XX000.

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
    assert partitions == [
        ("greek_snapshots_2026_11",),
        ("greek_snapshots_2026_12",),
        ("greek_snapshots_2027_01",),
    ]


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

        assert trio.current_time() - started_at < 2
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
    """What the lost session still holds must not block whoever sends the rows again."""
    store = TickStore(replace(proxy.config, timeout_s=0.5), today=START.date)
    async with store.open() as sink:
        await sink.write([make_tick(1)])
        [lost] = sessions(observer)
        proxy.go_deaf()
        started_at = trio.current_time()

        with pytest.raises(StoreUnavailable):
            await sink.write([make_tick(2)])
        assert trio.current_time() - started_at < 3
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
        [lost] = sessions(observer)
        async with trio.open_nursery() as nursery:
            with observer.transaction(force_rollback=True):
                # The rows arrive and wait for us: we may be storing the same one.
                insert_key_of(observer, make_tick(2))
                nursery.start_soon(expect_unavailable, sink, [make_tick(2)])
                await wait_blocked(observer)
                proxy.go_deaf()
    while lost in sessions(observer) and count(observer) < 2:
        await trio.lowlevel.checkpoint()

    proxy.hear_new_connections()
    async with store.open() as sink:
        assert await sink.write([make_tick(2)], check_duplicates=True) == 0

    assert rows(observer) == [make_tick(1).record, make_tick(2).record]


async def expect_unavailable(sink, ticks):
    """Write the ticks and see it fail."""
    with pytest.raises(StoreUnavailable):
        await sink.write(ticks)


def insert_key_of(observer, tick, table="greek_snapshots"):
    """Insert a row with the key of the tick."""
    record = tick.record
    query = sql.SQL(
        "insert into {} (id, event_time, received_at, broker, account_id, underlying,"
        " contract_key, delta, availability, source_payload, fingerprint)"
        " overriding system value"
        " values (0, %s, %s, %s, %s, 'x', %s, 0, 'unknown', '{{}}', %s)"
    )
    observer.execute(
        query.format(sql.Identifier(table)),
        [
            record.event_time,
            record.received_at,
            record.broker,
            record.account_id,
            record.contract_key,
            tick.fingerprint,
        ],
    )


def test_columns_types_and_values_are_side_by_side():
    names = COPY_TICKS.decode().partition("(")[2].partition(")")[0].split(", ")

    assert len(names) == len(TYPES) == len(tick_row(make_tick()))
    record = make_tick().record
    for name, value in zip(names, tick_row(make_tick()), strict=True):
        if name not in ("source_payload", "fingerprint"):
            assert value == getattr(record, name)
    assert date(2026, 12, 18) in tick_row(make_tick())
