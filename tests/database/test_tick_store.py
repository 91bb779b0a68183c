"""Ticks on their way into the real table: values, duplicates, partitions."""

from __future__ import annotations

import math
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest
import trio

from greeks_trio.config.settings import Secret
from greeks_trio.errors import PartitionMissing, StoreRejected, StoreUnavailable
from greeks_trio.postgres import tick_store
from greeks_trio.postgres.duplicates import ENOUGH_NEW_ROWS
from greeks_trio.postgres.prepared_insert import MOST_ROWS
from greeks_trio.postgres.schema import months
from greeks_trio.postgres.tick_rows import COPY_TICKS, TYPES, tick_row
from greeks_trio.postgres.tick_store import TickStore
from greeks_trio.spool.copied_rows import decode_rows
from tests.factories import START, make_tick
from tests.fix_postgres import connect
from tests.snapshots import count, insert_key_of, rows


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


@pytest.mark.parametrize(
    ("rows_at_once", "check_duplicates"), [(1, False), (100, False), (100, True)]
)
async def test_every_value_comes_back_as_it_was(
    sink, observer, rows_at_once, check_duplicates
):
    for start in range(0, len(TICKS), rows_at_once):
        some = TICKS[start : start + rows_at_once]
        assert await sink.write(some, check_duplicates=check_duplicates) == len(some)

    found = rows(observer)
    assert found == [tick.record for tick in TICKS]
    assert math.copysign(1, found[2].delta) == -1
    assert str(found[3].quantity) == "-1234567890.123456789"


async def test_the_columns_that_the_database_fills_are_there(sink, observer):
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
async def test_a_stored_tick_is_not_stored_again(sink, observer, check_duplicates):
    await sink.write([make_tick(1), make_tick(2)])

    batch = [make_tick(2), make_tick(3), make_tick(3), make_tick(1)]
    assert await sink.write(batch, check_duplicates=check_duplicates) == 1

    assert rows(observer) == [make_tick(number).record for number in (1, 2, 3)]


@pytest.mark.parametrize("check_duplicates", [False, True])
async def test_a_row_that_another_unique_index_refuses_is_no_duplicate(
    sink, observer, check_duplicates
):
    await sink.write([make_tick(1)])
    observer.execute(
        "create unique index other on greek_snapshots_2026_11 (account_id)"
    )

    with pytest.raises(StoreRejected, match="other"):
        await sink.write([make_tick(2)], check_duplicates=check_duplicates)


async def test_after_duplicates_the_sink_goes_on(sink, observer):
    for _ in range(3):
        await sink.write([make_tick(1), make_tick(2)])
    await sink.write([make_tick(3)])

    assert count(observer) == 3


async def test_a_batch_with_a_duplicate_makes_the_next_ones_slow_until_enough_are_new(
    sink, observer, monkeypatch
):
    """Each failure is an error in the log of the server."""
    unchecked, insert = [], sink._insert_unchecked

    async def noted_insert(ticks):
        unchecked.append(len(ticks))
        return await insert(ticks)

    monkeypatch.setattr(sink, "_insert_unchecked", noted_insert)
    ticks = [make_tick(number) for number in range(ENOUGH_NEW_ROWS + 10)]

    await sink.write(ticks[:2])
    assert await sink.write(ticks[1:3]) == 1  # fails
    assert await sink.write(ticks[2:4]) == 1
    assert await sink.write(ticks[4:-1]) == len(ticks) - 5
    assert await sink.write(ticks[-1:]) == 1

    assert unchecked == [2, 2, 1]
    assert count(observer) == len(ticks)


async def test_duplicates_leave_nothing_in_the_catalog(sink, observer):
    """A temporary table would hold back the age of the database's transaction ids."""
    for _ in range(3):
        await sink.write([make_tick(1), make_tick(2)], check_duplicates=True)

    assert (
        observer.execute(
            "select relname from pg_class where relpersistence <> 'p'"
        ).fetchall()
        == []
    )


async def test_duplicates_need_no_right_to_make_temporary_tables(database, observer):
    observer.execute(f"revoke all on database {database.dbname} from public")
    with a_writers_role(database, observer) as writer:
        observer.execute(
            f"grant connect on database {database.dbname} to {writer.user}"
        )
        async with TickStore(database, today=START.date).open() as sink:
            await sink.write([make_tick(1)])
        async with TickStore(writer, today=START.date).open() as sink:
            assert await sink.write([make_tick(1), make_tick(2)]) == 1

    assert count(observer) == 2


@pytest.mark.parametrize("rows_at_once", [1, MOST_ROWS])
async def test_very_few_rows_need_no_copy(sink, observer, rows_at_once, monkeypatch):
    monkeypatch.setattr(tick_store, "copy_ticks", None)
    ticks = [make_tick(number) for number in range(2 * rows_at_once)]

    assert await sink.write(ticks[:rows_at_once]) == rows_at_once
    assert await sink.write(ticks[rows_at_once:]) == rows_at_once

    assert rows(observer) == [tick.record for tick in ticks]
    prepared = await sink._connection.execute(
        "select count(*) from pg_prepared_statements"
    )
    assert await prepared.fetchall() == [(len({1, rows_at_once}),)]


@pytest.mark.parametrize(
    "statement", ["deallocate all", "prepare greeks_trio_2 as select 1"]
)
async def test_a_pooler_that_forgets_what_was_prepared_costs_nothing(
    sink, observer, statement, caplog
):
    await sink._connection.execute(statement)
    size = 1 if statement == "deallocate all" else 2
    caplog.set_level("INFO")

    for start in (0, size):
        ticks = [make_tick(number) for number in range(start, start + size)]
        assert await sink.write(ticks) == size

    assert count(observer) == 2 * size
    assert caplog.text.count("sink.prepares_nothing") == 1


async def test_equal_numbers_keep_their_own_digits(sink, observer):
    ticks = [
        make_tick(number, strike=Decimal(text), quantity=Decimal(text))
        for number, text in enumerate(["600", "600.00", "6E+2", "-0", "0.00", "600"])
    ]

    await sink.write(ticks)

    found = observer.execute(
        "select strike::text, quantity::text from greek_snapshots order by event_time"
    ).fetchall()
    texts = ["600", "600.00", "600", "0", "0.00", "600"]
    assert found == [(text, text) for text in texts]


async def test_more_different_numbers_than_are_kept(sink, observer, monkeypatch):
    monkeypatch.setattr("greeks_trio.postgres.tick_rows._KEPT_NUMBERS", 3)
    ticks = [make_tick(number, strike=Decimal(number)) for number in range(20)]

    await sink.write(ticks)
    await sink.write([make_tick(20, strike=Decimal(0))])

    assert rows(observer) == [
        *(t.record for t in ticks),
        make_tick(20, strike=Decimal(0)).record,
    ]


async def test_more_rows_than_a_row_of_copy_has_fields(sink, observer):
    """psycopg's formatter of rows makes the arrays, and counts its fields in 16 bits."""
    ticks = [make_tick(number) for number in range(33_000)]

    assert await sink.write(ticks, check_duplicates=True) == 33_000
    assert await sink.write(ticks[::2], check_duplicates=True) == 0


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


# Partitions that cannot be made.

MAY = {"event_time": datetime(2031, 5, 5, tzinfo=UTC)}


def put_a_strangers_row(observer):
    """A detached table of that name holds a row of another month."""
    observer.execute(
        "create table greek_snapshots_2031_05"
        " (like greek_snapshots including all excluding identity)"
    )
    insert_key_of(observer, make_tick(), table="greek_snapshots_2031_05")


# The obstacle, and a part of PostgreSQL's reason.
OBSTACLES = {
    "a row of another month": (put_a_strangers_row, "violated by some row"),
    "a table with other columns": (
        "create table greek_snapshots_2031_05 (n int)",
        "not found in parent",
    ),
    "a view": (
        "create view greek_snapshots_2031_05 as select 1 as n",
        "cannot be performed|is not",
    ),
    "a sequence": (
        "create sequence greek_snapshots_2031_05",
        "cannot be performed|is not",
    ),
    "somebody's partition of a part of the month": (
        "create table theirs partition of greek_snapshots for values"
        " from ('2031-05-10 00:00+00') to ('2031-05-20 00:00+00')",
        "would overlap",
    ),
}


@pytest.mark.parametrize("check_duplicates", [False, True])
@pytest.mark.parametrize("name", OBSTACLES)
async def test_a_partition_that_cannot_be_made_holds_back_the_rows_of_its_month(
    sink, observer, name, check_duplicates
):
    obstacle, reason = OBSTACLES[name]
    if callable(obstacle):
        obstacle(observer)
    else:
        observer.execute(obstacle)
    ticks = [make_tick(1), make_tick(2, **MAY), make_tick(3), make_tick(4, **MAY)]

    with pytest.raises(PartitionMissing, match=reason) as caught:
        await sink.write(ticks, check_duplicates=check_duplicates)

    assert list(caught.value.reasons) == ["greek_snapshots_2031_05"]
    assert caught.value.rows == {1, 3}
    assert count(observer) == 0
    assert await sink.write(ticks[::2], check_duplicates=check_duplicates) == 2


async def test_a_role_that_may_not_make_partitions_stores_the_other_months(
    database, observer, sink
):
    await sink.write([make_tick(0)])
    with a_writers_role(database, observer) as writer:
        async with TickStore(writer, today=START.date).open() as sink:
            for _ in range(2):
                with pytest.raises(
                    PartitionMissing, match=r"permission denied|must be owner"
                ) as caught:
                    await sink.write([make_tick(1, **MAY), make_tick(2)])
                assert caught.value.rows == {0}
            assert await sink.write([make_tick(2)]) == 1

            observer.execute(
                "create table greek_snapshots_2031_05 partition of greek_snapshots"
                " for values from ('2031-05-01 00:00+00') to ('2031-06-01 00:00+00')"
            )
            assert await sink.write([make_tick(1, **MAY)]) == 1


@contextmanager
def a_writers_role(database, observer):
    """Yield the database by way of a role that may insert and read, and no more."""
    name = f"writer_of_{database.dbname}"
    observer.execute(f"create role {name} login password 'w'")
    observer.execute(f"grant insert, select on all tables in schema public to {name}")
    try:
        yield replace(database, user=name, password=Secret("w"))
    finally:
        observer.execute(f"drop owned by {name}")
        observer.execute(f"drop role {name}")


@pytest.mark.parametrize(
    "bounds", ["default", "for values from ('2031-01-01') to ('2032-01-01')"]
)
async def test_a_partition_that_another_program_made_is_used(sink, observer, bounds):
    observer.execute(f"create table theirs partition of greek_snapshots {bounds}")
    if bounds == "default":  # or ours could be made
        insert_key_of(observer, make_tick(7, **MAY, delta=0.7))

    for _ in range(2):
        await sink.write([make_tick(1), make_tick(2, **MAY)])

    assert observer.execute("select count(*) from theirs where id > 0").fetchone() == (
        1,
    )
    assert count(observer) == 2 + (bounds == "default")


async def test_months_are_refused_row_by_row_where_they_are_partly_taken(
    sink, observer
):
    observer.execute(OBSTACLES["somebody's partition of a part of the month"][0])
    taken = make_tick(1, event_time=datetime(2031, 5, 15, tzinfo=UTC))

    with pytest.raises(PartitionMissing) as caught:
        await sink.write([taken, make_tick(2, **MAY)])

    assert caught.value.rows == {1}
    assert await sink.write([taken]) == 1


async def test_a_store_that_is_reconfigured_opens_its_next_sink_that_way(database):
    store = TickStore(replace(database, ports=(1,)), today=START.date)
    with pytest.raises(StoreUnavailable):
        async with store.open():
            pass

    store.reconfigure(database)

    async with store.open() as sink:
        assert await sink.write([make_tick()]) == 1


async def test_an_open_sink_is_of_no_use_when_another_database_is_configured(database):
    store = TickStore(database, today=START.date)
    async with store.open() as sink:
        store.reconfigure(replace(database, password=Secret("same place")))
        assert await sink.write([make_tick()]) == 1

        store.reconfigure(replace(database, dbname="another"))

        for use in (sink.ping(), sink.write([make_tick(1)])):
            with pytest.raises(StoreUnavailable, match="another database"):
                await use


def test_columns_types_and_values_are_side_by_side():
    names = COPY_TICKS.decode().partition("(")[2].partition(")")[0].split(", ")

    assert len(names) == len(TYPES) == len(tick_row(make_tick()))
    record = make_tick().record
    for name, value in zip(names, tick_row(make_tick()), strict=True):
        if name not in ("strike", "quantity", "source_payload", "fingerprint"):
            assert value == getattr(record, name)
    assert date(2026, 12, 18) in tick_row(make_tick())


async def test_the_bytes_of_a_copy_are_its_ticks_again_for_the_log(database):
    commits = []
    store = TickStore(
        database,
        today=START.date,
        on_commit=lambda ticks, copied: commits.append((list(ticks), list(copied))),
    )
    first, again = TICKS + [make_tick(number) for number in range(100, 600)], TICKS[:3]

    async with store.open() as sink:
        await sink.write(first)
        await sink.write(again)

    [(stored, copied), (stored_again, nothing)] = commits
    assert (stored, stored_again, nothing) == (first, again, [])
    blob = b"".join(copied)
    assert [repr(tick) for tick in decode_rows(blob)] == [
        repr(replaced(tick)) for tick in first
    ]
    for end in [*range(0, 2000, 7), *range(len(blob) - 50, len(blob))]:
        with pytest.raises(ValueError):  # noqa: PT011  every cut has its own words
            decode_rows(blob[:end])


def replaced(tick):
    """Return the tick with its numbers as PostgreSQL has them: 1E+3 is 1000."""
    plain = {
        name: Decimal(f"{value:f}")
        for name in ("strike", "quantity")
        if (value := getattr(tick.record, name)) is not None
    }
    return msgspec.structs.replace(
        tick, record=msgspec.structs.replace(tick.record, **plain)
    )


# The first flush of a connection.


async def test_a_new_sink_needs_no_other_connection_for_the_first_tick_of_today(
    store, observer, monkeypatch
):
    async with store.open() as sink:
        [(name,)] = observer.execute("select to_regclass('greek_snapshots_2026_11')")
        monkeypatch.delattr(months, "open_connection")

        await sink.write([make_tick()])

    assert name == "greek_snapshots_2026_11"
    assert count(observer) == 1


async def test_a_new_sink_has_tried_rows_and_taken_them_back(store, observer):
    async with store.open() as sink:
        [(tried,)] = observer.execute(
            "select last_value from greek_snapshots_id_seq where is_called"
        ).fetchall()
        assert tried == 100
        assert observer.execute("select 1 from greek_snapshots").fetchall() == []
        assert await sink.write([make_tick(0)]) == 1


async def test_a_new_sink_does_without_where_the_row_is_refused(store, observer):
    observer.execute(
        "alter table greek_snapshots add check (broker in ('ibkr', 'tastytrade'))"
    )

    async with store.open() as sink:
        assert await sink.write([make_tick(0)]) == 1


async def test_a_row_that_was_tried_in_vain_leaves_no_transaction_open(store, observer):
    """Otherwise the ticks behind it would never be committed."""
    async with store.open():
        pass
    async with AsyncExitStack() as stack:
        with observer.transaction():
            observer.execute("lock table greek_snapshots in exclusive mode")
            sink = await stack.enter_async_context(store.open())
        assert await sink.write([make_tick()]) == 1
        assert count(observer) == 1


async def test_a_sink_opens_while_the_table_is_locked(store, observer):
    with observer.transaction():
        observer.execute("lock table greek_snapshots in access exclusive mode")
        async with store.open():
            pass

    async with store.open() as sink:
        assert await sink.write([make_tick()]) == 1


async def test_a_partition_of_today_that_cannot_be_made_is_a_matter_of_its_ticks(
    database, observer
):
    put_a_strangers_row(observer)
    store = TickStore(database, today=MAY["event_time"].date)

    async with store.open() as sink:
        assert await sink.write([make_tick()]) == 1
        with pytest.raises(PartitionMissing):
            await sink.write([make_tick(**MAY)])
