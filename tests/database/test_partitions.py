from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta

import psycopg
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from psycopg import errors

from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.postgres.schema import partitions as partitions_module
from greeks_trio.postgres.schema.partitions import (
    ensure_partition,
    ensure_partitions_ahead,
    existing_partitions,
    month_bounds,
    partition_name,
)
from tests.fix_postgres import apply_schema, connect, connect_trio, fresh_database

INSERT = (
    "insert into greek_snapshots (event_time, received_at, broker, account_id,"
    " underlying, contract_key, delta, availability, source_payload, fingerprint)"
    " values (%s, now(), 'ibkr', 'U1', 'SPY', 'SPY   261218C00600000', 0.5,"
    " 'realtime', '{}', %s) returning tableoid::regclass::text, id"
)


@pytest.fixture
def schema_database(any_server) -> Iterator[DatabaseConfig]:
    """An empty schema on each of the versions."""
    with fresh_database(any_server) as config:
        apply_schema(config)
        yield config


def insert(
    connection: psycopg.Connection, moment: datetime, fingerprint: int = 1
) -> tuple[str, int]:
    found = connection.execute(INSERT, [moment, fingerprint]).fetchone()
    assert found is not None
    return found


@contextmanager
def reader_on(config: DatabaseConfig) -> Iterator[psycopg.Connection]:
    """Yield a connection in the middle of a transaction that has read the parent."""
    with connect(config) as reader, reader.transaction():
        reader.execute("select count(*) from greek_snapshots")
        yield reader


@given(st.datetimes(datetime(1, 1, 1), datetime(9999, 11, 30), timezones=st.just(UTC)))  # noqa: DTZ001
def test_every_moment_lies_in_its_month(moment):
    start, end = month_bounds(moment.date())

    assert start <= moment < end
    assert (start.day, end.day) == (1, 1)
    assert timedelta(days=28) <= end - start <= timedelta(days=31)


def test_a_partition_is_called_by_its_month():
    assert partition_name(date(2026, 3, 31)) == "greek_snapshots_2026_03"
    assert partition_name(date(987, 12, 1)) == "greek_snapshots_0987_12"


async def test_a_tick_of_any_month_finds_its_partition(schema_database):
    months = [date(1999, 12, 31), date(2024, 2, 29), date(2026, 11, 20)]
    async with await connect_trio(schema_database) as connection:
        for month in months:
            assert await ensure_partition(connection, month)
            assert not await ensure_partition(connection, month)

        names = {partition_name(month) for month in months}
        assert await existing_partitions(connection) == names

    with connect(schema_database) as writer:
        for month in months:
            start, end = month_bounds(month)
            last = end - timedelta(microseconds=1)
            assert insert(writer, start)[0] == partition_name(month)
            assert insert(writer, last)[0] == partition_name(month)
            with pytest.raises(errors.CheckViolation):
                insert(writer, end)


async def test_bounds_are_utc_whatever_the_sessions_time_zone(schema_database):
    async with await connect_trio(schema_database) as connection:
        await connection.execute("set timezone = 'Pacific/Auckland'")
        await connection.execute("set datestyle = 'SQL, DMY'")
        await ensure_partition(connection, date(2026, 11, 1))

    with connect(schema_database) as look:
        look.execute("set timezone = 'UTC'")
        bounds = look.execute(
            "select pg_get_expr(relpartbound, oid) from pg_class"
            " where relname = 'greek_snapshots_2026_11'"
        ).fetchone()
    assert bounds == (
        "FOR VALUES FROM ('2026-11-01 00:00:00+00') TO ('2026-12-01 00:00:00+00')",
    )


async def test_ids_come_from_the_table_and_not_from_the_partition(schema_database):
    async with await connect_trio(schema_database) as connection:
        await ensure_partitions_ahead(connection, date(2026, 11, 1))

    with connect(schema_database) as writer:
        moments = [datetime(2026, month, 2, tzinfo=UTC) for month in (11, 12, 11)]
        ids = [insert(writer, moment, i)[1] for i, moment in enumerate(moments)]
    assert ids == sorted(set(ids))


async def test_a_partition_has_the_keys_and_checks_of_the_table(schema_database):
    async with await connect_trio(schema_database) as connection:
        await ensure_partition(connection, date(2026, 11, 1))

    with connect(schema_database) as writer:
        insert(writer, datetime(2026, 11, 2, tzinfo=UTC))
        with pytest.raises(errors.UniqueViolation):
            insert(writer, datetime(2026, 11, 2, tzinfo=UTC))
        with pytest.raises(errors.CheckViolation) as refused:
            writer.execute("update greek_snapshots set broker = 'Schwab'")
        indexes = writer.execute(
            "select count(*) from pg_index"
            " where indrelid = 'greek_snapshots_2026_11'::regclass"
        ).fetchone()
    assert refused.value.diag.constraint_name == "greek_snapshots_broker_check"
    assert indexes == (3,)


async def test_a_reader_in_a_transaction_delays_no_other(schema_database):
    async with await connect_trio(schema_database) as connection:
        await ensure_partition(connection, date(2026, 11, 1))

        with reader_on(schema_database) as reader, trio.fail_after(5):
            assert await ensure_partition(connection, date(2026, 12, 1))

            reader.execute("select count(*) from greek_snapshots")
            with connect(schema_database) as other:
                other.execute("set lock_timeout = '1s'")
                other.execute("select count(*) from greek_snapshots")
                insert(other, datetime(2026, 12, 2, tzinfo=UTC))


async def test_a_writer_in_a_transaction_delays_no_other(schema_database):
    async with await connect_trio(schema_database) as connection:
        await ensure_partition(connection, date(2026, 11, 1))

        with connect(schema_database) as writer, writer.transaction():
            insert(writer, datetime(2026, 11, 2, tzinfo=UTC))
            with trio.fail_after(5):
                assert await ensure_partition(connection, date(2026, 12, 1))


async def test_two_may_make_the_same_partition_at_once(schema_database):
    made: list[bool] = []

    async def make() -> None:
        async with await connect_trio(schema_database) as connection:
            made.append(await ensure_partition(connection, date(2026, 11, 1)))

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(make)

    assert sorted(made) == [False, False, False, True]


async def test_a_partition_that_was_detached_comes_back_with_its_rows(schema_database):
    async with await connect_trio(schema_database) as connection:
        await ensure_partition(connection, date(2026, 11, 1))
        with connect(schema_database) as admin:
            insert(admin, datetime(2026, 11, 2, tzinfo=UTC))
            admin.execute(
                "alter table greek_snapshots"
                " detach partition greek_snapshots_2026_11 concurrently"
            )

        assert await ensure_partition(connection, date(2026, 11, 1))

        with connect(schema_database) as admin:
            insert(admin, datetime(2026, 11, 3, tzinfo=UTC))
            rows = admin.execute("select count(*) from greek_snapshots").fetchone()
    assert rows == (2,)


async def test_a_blocked_table_is_given_up(schema_database, monkeypatch):
    monkeypatch.setattr(
        partitions_module, "_TRANSACTION", "set local lock_timeout = '50ms'"
    )
    async with await connect_trio(schema_database) as connection:
        with connect(schema_database) as admin, admin.transaction():
            admin.execute("lock table greek_snapshots in access exclusive mode")
            with pytest.raises(errors.LockNotAvailable):
                await ensure_partition(connection, date(2026, 11, 1))

        assert await ensure_partition(connection, date(2026, 11, 1))


async def test_months_ahead_cross_the_year(connection):
    made = await ensure_partitions_ahead(connection, date(2026, 11, 30))

    assert made == [
        "greek_snapshots_2026_11",
        "greek_snapshots_2026_12",
        "greek_snapshots_2027_01",
    ]
    assert await ensure_partitions_ahead(connection, date(2026, 12, 1)) == [
        "greek_snapshots_2027_02"
    ]
