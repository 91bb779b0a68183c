from __future__ import annotations

import psycopg
import pytest
import trio
from psycopg import errors, sql

from greeks_trio.errors import SchemaRejected, StoreUnavailable
from greeks_trio.postgres.schema import migrate as migrate_module
from greeks_trio.postgres.schema.catalog import inspect_schema
from greeks_trio.postgres.schema.migrate import (
    bring_up_to_date,
    migrate,
    newer_migrations,
)
from greeks_trio.postgres.schema.repair import repair
from greeks_trio.postgres.schema.schema_files import (
    Migration,
    load_migrations,
    schema_directory,
)
from tests.database.catalog import describe
from tests.fix_postgres import (
    apply_schema,
    connect,
    connect_trio,
    fresh_database,
)

NAMES = [migration.name for migration in load_migrations()]


def test_migrations_are_numbered_without_a_gap():
    assert [int(name.split("_")[0]) for name in NAMES] == [
        number for number, _ in enumerate(NAMES, start=1)
    ]


def test_the_schema_is_found_in_a_checkout():
    assert schema_directory().joinpath("schema.sql").is_file()


async def test_an_empty_database_is_brought_up_to_date_once(empty_database):
    async with await connect_trio(empty_database) as connection:
        assert await migrate(connection) == NAMES
        assert await migrate(connection) == []

    with connect(empty_database) as look:
        found = look.execute("select name, sha256 from schema_migrations").fetchall()
    assert found == [(each.name, each.sha256) for each in load_migrations()]


async def test_the_migrations_lead_to_the_schema_on_every_version(any_server):
    with (
        fresh_database(any_server) as migrated,
        fresh_database(any_server) as created,
    ):
        async with await connect_trio(migrated) as connection:
            await migrate(connection)
        apply_schema(created)

        with connect(migrated) as one, connect(created) as other:
            assert describe(one) == describe(other)
            assert describe(one)


async def test_a_database_made_from_the_schema_needs_no_migration(connection):
    assert await migrate(connection) == []


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read"])
async def test_services_may_start_at_once_on_an_empty_database(
    empty_database, isolation
):
    results: list[list[str]] = []

    async def start() -> None:
        async with await connect_trio(empty_database) as connection:
            await connection.execute(
                sql.SQL("set default_transaction_isolation = {}").format(isolation)
            )
            results.append(await migrate(connection))

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(start)

    # Each migration is applied by the first of them.
    assert len(results) == 4
    assert sorted(name for made in results for name in made) == NAMES


async def test_a_database_that_is_up_to_date_is_only_looked_at(database, connection):
    with connect(database) as busy, busy.transaction():
        busy.execute("select pg_advisory_lock(%s)", [migrate_module._MIGRATION_LOCK])
        busy.execute(
            "lock table greek_snapshots, trades, positions, feed_gaps"
            " in access exclusive mode"
        )
        busy.execute("lock table schema_migrations in exclusive mode")

        with trio.fail_after(5):
            assert await migrate(connection) == []


async def test_a_migration_that_cannot_have_the_lock_lets_go(
    empty_database, monkeypatch
):
    monkeypatch.setattr(
        migrate_module, "_TRANSACTION", "set local lock_timeout = '50ms'"
    )
    async with await connect_trio(empty_database) as connection:
        with connect(empty_database) as busy:
            busy.execute(
                "select pg_advisory_lock(%s)", [migrate_module._MIGRATION_LOCK]
            )
            with pytest.raises(errors.LockNotAvailable):
                await migrate(connection)

        assert await migrate(connection) == NAMES


async def test_a_newer_schema_that_only_adds_is_accepted(database, connection):
    with connect(database) as newer:
        newer.execute("insert into schema_migrations values ('9999_later', 'abc')")

    assert await migrate(connection) == []
    assert await newer_migrations(connection) == ["9999_later"]
    [finding] = await inspect_schema(connection, database)
    assert (finding.verdict, "9999_later" in finding.sentence) == ("warning", True)
    with pytest.raises(SchemaRejected, match="of a newer version"):
        await repair(connection)


@pytest.mark.parametrize(
    "name", ["9999_later_breaks_older", "0001_other", "0000_early"]
)
async def test_a_schema_that_this_program_cannot_work_with_is_refused(
    database, connection, name
):
    with connect(database) as newer:
        newer.execute("insert into schema_migrations values (%s, 'abc')", [name])

    with pytest.raises(SchemaRejected, match=f"cannot work with the schema.*{name}"):
        await migrate(connection)


async def test_a_migration_that_has_changed_since_is_refused(database, connection):
    with connect(database) as edited:
        edited.execute("update schema_migrations set sha256 = 'abc'")

    with pytest.raises(
        SchemaRejected, match=r"0001_initial.sql is not the one that was"
    ):
        await migrate(connection)


async def test_a_role_without_rights_is_told_so(empty_database):
    role = sql.Identifier(f"{empty_database.dbname}_reader")
    with connect(empty_database) as admin:
        admin.execute(sql.SQL("create role {}").format(role))
        try:
            async with await connect_trio(empty_database) as connection:
                await connection.execute(sql.SQL("set role {}").format(role))
                with pytest.raises(SchemaRejected, match="permission") as refused:
                    await migrate(connection)
        finally:
            admin.execute(sql.SQL("drop role {}").format(role))

    assert refused.value.sqlstate == "42501"


async def test_another_programs_table_in_the_way_is_an_operators_business(
    empty_database,
):
    with connect(empty_database) as other:
        other.execute("create table trades (mine text)")

        async with await connect_trio(empty_database) as connection:
            with pytest.raises(SchemaRejected, match="trades") as refused:
                await migrate(connection)

        left = other.execute("select to_regclass('greek_snapshots')").fetchone()
    assert refused.value.sqlstate == "42P07"
    assert left == (None,)


async def test_a_failure_keeps_the_migrations_before_it(database, connection):
    good = Migration("9998_more", b"create table more (n int); create table other ()")
    bad = Migration("9999_bad", b"create table bad (); select nonsense")

    with pytest.raises(SchemaRejected, match="9999_bad"):
        await migrate(connection, [*load_migrations(), good, bad])

    with connect(database) as look:
        tables = look.execute(
            "select to_regclass('more') is null, to_regclass('bad') is null"
        ).fetchone()
    assert tables == (False, True)
    assert await migrate(connection, [*load_migrations(), good]) == []


async def test_an_old_server_is_refused(connection, monkeypatch):
    monkeypatch.setattr(migrate_module, "OLDEST_SERVER", 99_00_00)

    with pytest.raises(SchemaRejected, match="PostgreSQL 15"):
        await migrate(connection)


async def test_a_lost_connection_is_not_a_schema_problem(database, connection):
    with connect(database) as admin:
        admin.execute("select pg_terminate_backend(%s)", [connection.info.backend_pid])

    with pytest.raises(psycopg.OperationalError):
        await migrate(connection)


async def test_the_check_of_the_migrations_ends_at_its_limit(database):
    """The limit for applying them is far longer, and ticks wait meanwhile."""
    async with await connect_trio(database) as connection:
        assert await bring_up_to_date(connection, look_limit_s=5) == []
        with connect(database) as admin, admin.transaction():
            admin.execute("lock table schema_migrations")
            started_at = trio.current_time()
            with pytest.raises(StoreUnavailable, match="in time"):
                await bring_up_to_date(connection, look_limit_s=0.2)
            assert trio.current_time() - started_at < 4


async def test_bringing_up_to_date_returns_the_applied_migrations(empty_database):
    async with await connect_trio(empty_database) as connection:
        assert await bring_up_to_date(connection, look_limit_s=5) == NAMES
        assert await bring_up_to_date(connection, look_limit_s=5) == []
