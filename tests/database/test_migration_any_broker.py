"""The fourth migration, on a database that an earlier version has filled."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
from psycopg import errors

from greeks_trio.postgres.schema.migrate import migrate
from greeks_trio.postgres.schema.partitions import month_bounds, partition_name
from greeks_trio.postgres.schema.schema_files import load_migrations
from tests.fix_postgres import connect, connect_trio

BEFORE = load_migrations()[:3]
THIS = load_migrations()[3]
AS_IF_LARGE = replace(THIS, sql=THIS.sql.replace(b"64 * 1024 * 1024", b"0"))
NOVEMBER, DECEMBER = date(2026, 11, 1), date(2026, 12, 1)
TICK = (
    "insert into greek_snapshots (event_time, received_at, broker, account_id,"
    " underlying, contract_key, delta, availability, source_payload, fingerprint)"
    " values (%s, now(), %s, 'U1', 'SPY', 'C', 0.5, 'realtime', '{}', 1)"
)
CHECKS = (
    "select conrelid::regclass::text, convalidated from pg_constraint"
    " where conname like '%\\_broker\\_check' order by 1"
)


async def make_month(connection, month):
    """Make and attach a month as the versions before ``make_month`` did."""
    name, (start, end) = partition_name(month), month_bounds(month)
    if await (
        await connection.execute("select to_regclass(%s)", [name])
    ).fetchone() == (None,):
        await connection.execute(
            f"create table {name} (like greek_snapshots including all excluding identity)"
        )
    await connection.execute(
        f"alter table greek_snapshots attach partition {name}"
        f" for values from ('{start}') to ('{end}')"
    )


@pytest.fixture
async def old(empty_database):
    """A database of the version before, with an attached and a detached month."""
    async with await connect_trio(empty_database) as connection:
        await migrate(connection, BEFORE)
        await make_month(connection, NOVEMBER)
        await make_month(connection, DECEMBER)
    with connect(empty_database) as observer:
        for month in ("2026-11-20", "2026-12-20"):
            insert_tick(observer, month, "ibkr")
        observer.execute(
            "alter table greek_snapshots detach partition greek_snapshots_2026_12"
        )
        observer.execute(
            "insert into positions (broker, account_id, contract_key, observed_at, kind,"
            " quantity) values ('tastytrade', 'U1', 'C', now(), 'option', 1)"
        )
        for reason in ("ticks-lost", "no Greeks", "no market-data line", "silence"):
            observer.execute(
                "insert into feed_gaps (broker, started_at, reason)"
                " values ('ibkr', now(), %s)",
                [reason],
            )
        yield observer


def insert_tick(observer, day, broker):
    observer.execute(TICK, [f"{day} 15:00+00", broker])


async def apply(database, migration=THIS):
    async with await connect_trio(database) as connection:
        await migrate(connection, [*BEFORE, migration])


async def test_it_takes_a_broker_that_no_version_has_known(empty_database, old):
    await apply(empty_database)

    insert_tick(old, "2026-11-20", "thirdbroker")

    rows = old.execute(
        "select broker from greek_snapshots_2026_11 order by broker"
    ).fetchall()
    assert rows == [("ibkr",), ("thirdbroker",)]


@pytest.mark.parametrize("broker", ["", "IBKR", "two words", "1st", "ibkr "])
async def test_a_broker_is_a_lower_case_word_in_every_table(
    empty_database, old, broker
):
    await apply(empty_database)

    with pytest.raises(errors.CheckViolation, match="greek_snapshots_broker_check"):
        insert_tick(old, "2026-11-20", broker)
    with pytest.raises(errors.CheckViolation, match="feed_gaps_broker_check"):
        old.execute(
            "insert into feed_gaps (broker, started_at, reason) values (%s, now(), 'x')",
            [broker],
        )
    with pytest.raises(errors.CheckViolation, match="positions_broker_check"):
        old.execute(
            "insert into positions (broker, account_id, contract_key, observed_at,"
            " kind, quantity) values (%s, 'U1', 'C', now(), 'option', 1)",
            [broker],
        )


async def test_small_tables_are_validated(empty_database, old):
    await apply(empty_database)

    assert old.execute(CHECKS).fetchall() == [
        ("feed_gaps", True),
        ("greek_snapshots", True),
        ("greek_snapshots_2026_11", True),
        ("greek_snapshots_2026_12", True),
        ("positions", True),
    ]


async def test_large_tables_are_not_read(empty_database, old):
    await apply(empty_database, AS_IF_LARGE)

    assert {is_valid for _, is_valid in old.execute(CHECKS)} == {False}
    with pytest.raises(errors.CheckViolation):
        insert_tick(old, "2026-11-20", "IBKR")


@pytest.mark.parametrize("migration", [THIS, AS_IF_LARGE])
async def test_months_can_be_attached_and_made_afterwards(
    empty_database, old, migration
):
    await apply(empty_database, migration)

    async with await connect_trio(empty_database) as connection:
        await make_month(connection, DECEMBER)
        await make_month(connection, date(2027, 1, 1))

    insert_tick(old, "2026-12-20", "thirdbroker")
    insert_tick(old, "2027-01-20", "thirdbroker")
    assert old.execute("select count(*) from greek_snapshots").fetchone() == (4,)


async def test_reasons_of_gaps_get_their_present_spelling(empty_database, old):
    await apply(empty_database)

    reasons = {reason for (reason,) in old.execute("select reason from feed_gaps")}
    assert reasons == {"ticks lost", "no greeks", "no market data line", "silence"}
