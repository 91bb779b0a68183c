"""``check`` says about a database what ``serve`` would find out."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace

import pytest
from psycopg import sql

from greeks_trio.commands.check import inspect_database
from greeks_trio.config.settings import Secret
from greeks_trio.errors import GreeksError
from greeks_trio.postgres.connect import open_connection
from greeks_trio.postgres.inspect_rights import NEEDED, inspect_tls
from greeks_trio.postgres.schema import migrate
from tests.fix_postgres import connect


@contextmanager
def other_role(database, *statements):
    """Yield the login of a new role, after these statements about it."""
    name = f"role_{database.dbname}"
    with connect(database) as admin:
        admin.execute(
            sql.SQL("create role {} login password 'pa55word'").format(
                sql.Identifier(name)
            )
        )
        try:
            for statement in statements:
                admin.execute(sql.SQL(statement).format(role=sql.Identifier(name)))
            yield replace(database, user=name, password=Secret("pa55word"))
        finally:
            admin.execute(
                sql.SQL("drop owned by {0}; drop role {0}").format(sql.Identifier(name))
            )


async def serve_starts(config) -> bool:
    """Return whether the service would go on after its first look at the database."""
    try:
        async with open_connection(config, autocommit=True) as connection:
            await migrate.bring_up_to_date(connection, look_limit_s=5)
    except GreeksError:
        return False
    return True


async def failures(config) -> dict[str, str]:
    return {
        each.subject: f"{each.sentence}; {each.remedy}"
        for each in await inspect_database(config)
        if each.verdict == "failed"
    }


async def test_a_server_that_is_too_old(database, monkeypatch):
    monkeypatch.setattr(migrate, "OLDEST_SERVER", 99_00_00)

    assert "PostgreSQL 15 or later is needed" in (await failures(database))["database"]
    assert not await serve_starts(database)


async def test_a_schema_that_this_program_cannot_work_with(database):
    with connect(database) as admin:
        name = "9999_later_breaks_older"
        admin.execute("insert into schema_migrations values (%s, 'x')", [name])

    assert name in (await failures(database))["database"]
    assert not await serve_starts(database)


async def test_a_newer_schema_that_only_adds_is_no_failure(database):
    with connect(database) as admin:
        admin.execute("insert into schema_migrations values ('9999_later', 'x')")
        admin.execute("drop view portfolio_greeks cascade")

    assert await failures(database) == {}
    assert await serve_starts(database)


async def test_a_table_of_another_program_with_the_name_of_ours(empty_database):
    with connect(empty_database) as admin:
        admin.execute("create table schema_migrations (version bigint)")

    assert (
        "schema_migrations belongs to another program"
        in ((await failures(empty_database))["database"])
    )
    assert not await serve_starts(empty_database)


async def test_a_view_of_another_program_with_the_name_of_ours(empty_database):
    """A late migration finds it; the check tries them all, and leaves nothing behind."""
    with connect(empty_database) as admin:
        admin.execute("create view tick_history as select 1 as x")
        found = await failures(empty_database)
        [(left,)] = admin.execute(
            "select count(*) from pg_class where relname = 'positions'"
        ).fetchall()

    assert '"tick_history" already exists; use another database' in found["database"]
    assert left == 0
    assert not await serve_starts(empty_database)


async def test_a_table_that_has_the_name_of_a_partition(database):
    with connect(database) as admin:
        admin.execute("select make_month(current_date)")
        admin.execute(
            "do $$ begin execute format('create table %I (x int)', to_char(current_date"
            " + interval '1 month', '\"greek_snapshots_\"YYYY_MM')); end $$"
        )

    [found] = [
        each
        for each in await inspect_database(database)
        if each.subject == "partitions"
    ]

    assert found.verdict == "warning"
    assert "cannot be made: " in found.sentence
    assert "rename what else has this name" in found.remedy


async def test_an_empty_database_without_the_right_to_make_tables(empty_database):
    with other_role(empty_database) as config:
        found = await failures(config)
        assert not await serve_starts(config)

    assert "may not make tables in the schema public" in found["rights"]
    assert 'grant create on schema "public" to' in found["rights"]


async def test_a_role_that_owns_an_empty_database(empty_database):
    with other_role(
        empty_database, "grant create on schema public to {role}"
    ) as config:
        assert await failures(config) == {}
        assert await serve_starts(config)


GRANTS = tuple(
    f"grant {', '.join(rights)} on {name} to {{role}}"
    for name, rights in NEEDED.items()
)


@pytest.mark.parametrize("lacking", range(len(GRANTS)))
async def test_each_missing_right_is_named_with_its_grant(database, lacking):
    grants = [each for number, each in enumerate(GRANTS) if number != lacking]
    name = list(NEEDED)[lacking]
    with other_role(database, *grants) as config:
        found = await failures(config)

    assert f"INSERT on {name}" in found["rights"] or name == "schema_migrations"
    assert f'grant select on "{name}" to' in found["rights"]


async def test_a_role_that_cannot_make_partitions_is_a_warning(database):
    with connect(database) as owner:
        owner.execute("select make_month(current_date)")
    with other_role(database, *GRANTS) as config:
        found = await inspect_database(config)

    [rights] = [each for each in found if each.subject == "rights"]
    assert rights.verdict == "warning"
    assert "cannot make the partitions of later months" in rights.sentence


@pytest.mark.parametrize(
    ("host", "sslmode", "verdict"),
    [
        ("127.0.0.1", "prefer", "fine"),
        ("/run/postgresql", "disable", "fine"),
        ("db.example", "require", "warning"),
        ("db.example", "disable", "warning"),
        ("db.example", "verify-full", "fine"),
    ],
)
async def test_a_server_elsewhere_that_is_not_verified_is_a_warning(
    database, connection, host, sslmode, verdict
):
    [finding] = await inspect_tls(
        connection, replace(database, hosts=(host,), sslmode=sslmode)
    )

    assert finding.verdict == verdict


async def test_every_subject_is_tested_on_a_database_of_serve(database):
    subjects = [each.subject for each in await inspect_database(database)]

    for subject in (
        *("tables and views", "partitions", "rights", "clock", "TLS"),
        "present views",
    ):
        assert subject in subjects


async def test_a_server_that_answers_and_does_not_commit(database, monkeypatch):
    """As with a standby that is away, or without transaction ids."""
    commit = "greeks_trio.postgres.proving._COMMIT_SOMETHING"
    monkeypatch.setattr(commit, b"select pg_sleep(30)")
    found = await failures(replace(database, timeout_s=0.3))

    assert "does not commit: PostgreSQL does not answer in time" in found["commit"]


async def test_this_month_has_no_partition_and_the_role_cannot_make_it(database):
    with other_role(database, *GRANTS) as config:
        found = await failures(config)

    assert "cannot make the partition of this month" in found["rights"]
