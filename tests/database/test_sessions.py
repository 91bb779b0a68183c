"""Settings, schema and connection limits of our sessions, and their inspections."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from psycopg import sql

from greeks_trio.config.settings import HttpConfig, Secret
from greeks_trio.errors import StoreUnavailable
from greeks_trio.postgres.connect import open_connection
from greeks_trio.postgres.inspect_session import (
    connections_needed,
    inspect_connections,
    inspect_session,
)
from greeks_trio.postgres.reads.pool import Lease, ReadPool
from greeks_trio.postgres.session_settings import (
    Session,
    refuse_wrong_settings,
    session_settings,
    set_up_statement,
)
from greeks_trio.postgres.tick_store import TickStore
from tests.factories import START, make_tick
from tests.fix_postgres import apply_schema, connect

# Values that a role may have, and that would break the promise or the reading.
HARMFUL = {
    "synchronous_commit": "off",
    "timezone": "America/New_York",
    "datestyle": "German",
    "intervalstyle": "iso_8601",
    "extra_float_digits": "-3",
    "bytea_output": "escape",
    "standard_conforming_strings": "off",
    "array_nulls": "off",
    "quote_all_identifiers": "on",
    "exit_on_error": "on",
    "statement_timeout": "2s",
    "idle_session_timeout": "2s",
    "lock_timeout": "1ms",
    "idle_in_transaction_session_timeout": "1ms",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
}


@contextmanager
def login(database, admin, *, name="", options=""):
    """Yield the configuration of a role that is no superuser."""
    role = name or f"role_{database.dbname}"
    identifier = sql.Identifier(role)
    admin.execute(
        sql.SQL("create role {} login password 'secret' {}").format(
            identifier, sql.SQL(options)
        )
    )
    try:
        yield replace(database, user=role, password=Secret("secret"))
    finally:
        admin.execute(sql.SQL("drop owned by {} cascade").format(identifier))
        admin.execute(sql.SQL("drop role {}").format(identifier))


@pytest.fixture
def admin(empty_database):
    """A superuser in an empty database."""
    with connect(empty_database) as admin:
        yield admin


async def shown(config, *names):
    """Return settings of a session of ours."""
    async with open_connection(config) as connection:
        cursor = await connection.execute(
            "select current_setting(name) from unnest(%s::text[]) as n (name)",
            [list(names)],
        )
        return [value for (value,) in await cursor.fetchall()]


async def test_no_setting_of_the_role_reaches_our_sessions(empty_database, admin):
    with login(empty_database, admin) as config:
        before = await shown(config, *HARMFUL)
        for name, value in HARMFUL.items():
            admin.execute(
                sql.SQL("alter role {} set {} = {}").format(
                    sql.Identifier(config.user), sql.Identifier(name), value
                )
            )

        assert await shown(config, *HARMFUL) == before

    assert before[:3] == ["on", "UTC", "ISO, MDY"]


async def test_a_role_that_may_only_read_by_default_writes(empty_database, admin):
    with login(empty_database, admin) as config:
        admin.execute(
            f"alter role {config.user} set default_transaction_read_only = on"
        )

        # A failover looks the same to libpq.
        with pytest.raises(StoreUnavailable, match="read-only"):
            await shown(config, "transaction_read_only")


def test_the_first_statement_lifts_the_limit_of_the_role_for_the_others(database):
    with connect(database) as connection:
        connection.execute("set statement_timeout = '5s'")
        pid = connection.info.backend_pid
        statements = set_up_statement({}, pid).as_string(connection)
        connection.execute(statements.partition(";")[0].encode())
        limit = connection.execute("show statement_timeout").fetchone()

    assert limit == ("0",)


@pytest.mark.parametrize("wrong", [{"synchronous_commit": "off"}, {"TimeZone": None}])
def test_a_setting_that_does_not_stay_is_refused(database, wrong):
    wanted = session_settings(database)
    found = {name: value for name, value in (wanted | wrong).items() if value}
    session = Session(pid=1, user="u", path="public, pg_temp", settings=found)

    with pytest.raises(StoreUnavailable, match=next(iter(wrong))) as caught:
        refuse_wrong_settings(session, wanted)

    assert caught.value.needs_person


# The schema.


async def test_the_schema_that_the_role_names_is_ours_alone(empty_database, admin):
    with login(empty_database, admin) as config:
        admin.execute(f"create schema greeks authorization {config.user}")
        admin.execute(f"alter role {config.user} set search_path = greeks, public")

        async with TickStore(config, today=START.date).open() as sink:
            await sink.write([make_tick()])
        path = await shown(config, "search_path")

        assert path == ["greeks, pg_temp"]
        assert admin.execute(
            "select count(*) from greeks.greek_snapshots"
        ).fetchone() == (1,)


async def test_a_schema_of_a_stranger_does_not_catch_our_rows(database):
    with connect(database) as admin, login(database, admin) as config:
        admin.execute(f"grant all on all tables in schema public to {config.user}")
        admin.execute(f"grant create on database {database.dbname} to {config.user}")
        with login(database, admin, name=f"thief_{database.dbname}") as thief:
            admin.execute(f"grant create on database {database.dbname} to {thief.user}")
            with connect(thief) as stranger:
                stranger.execute(f"create schema {config.user}")
                stranger.execute(f"grant usage on schema {config.user} to public")
                stranger.execute(f"set search_path = {config.user}")
                stranger.execute("create table greek_snapshots (id int)")
                stranger.execute("grant all on greek_snapshots to public")
            assert await shown(config, "search_path") == ["public, pg_temp"]

            admin.execute(f"drop table {config.user}.greek_snapshots")
            admin.execute(f"alter role {thief.user} set search_path = {config.user}")
            apply_schema(thief)
            async with open_connection(config) as connection:
                [finding] = [
                    each
                    for each in await inspect_session(connection, config)
                    if each.subject == "schema"
                ]
            assert await shown(config, "search_path") == ["public, pg_temp"]

    assert finding.verdict == "warning"
    assert f"role_{database.dbname} (of thief_{database.dbname})" in finding.sentence


async def test_of_two_schemas_of_strangers_none_is_used(empty_database, admin):
    with login(empty_database, admin) as config:
        names = [f"{each}_{empty_database.dbname}" for each in ("one", "two")]
        with login(empty_database, admin, name=names[0]) as one:
            with login(empty_database, admin, name=names[1]) as two:
                for owner in (one, two):
                    admin.execute(
                        f"create schema {owner.user} authorization {owner.user}"
                    )
                    apply_schema(owner)
                    admin.execute(
                        f"grant usage on schema {owner.user} to {config.user}"
                    )
                admin.execute(
                    f"alter role {config.user} set search_path = {', '.join(names)}"
                )
                with pytest.raises(StoreUnavailable, match="more than one") as caught:
                    await shown(config)
                admin.execute(f"alter role {config.user} set search_path = {names[1]}")
                assert await shown(config, "search_path") == [f"{names[1]}, pg_temp"]

    assert all(name in str(caught.value) for name in names)
    assert caught.value.needs_person


async def test_no_tables_are_made_in_the_schema_of_a_stranger(empty_database, admin):
    with login(empty_database, admin) as config:
        admin.execute(
            f"grant create on database {empty_database.dbname} to {config.user}"
        )
        with login(empty_database, admin, name=f"thief_{config.user}") as thief:
            admin.execute(
                f"create schema {config.user} authorization {thief.user}; "
                f"grant usage, create on schema {config.user} to {config.user}"
            )
            with pytest.raises(StoreUnavailable, match=f"belongs to {thief.user}"):
                async with TickStore(config, today=START.date).open():
                    pass


async def test_a_role_without_a_schema_is_told_to_name_one(empty_database, admin):
    with login(empty_database, admin) as config:
        admin.execute(f"alter role {config.user} set search_path = nowhere")

        with pytest.raises(StoreUnavailable, match="no schema for the tables"):
            await shown(config)


# The number of connections.


def test_the_page_of_the_database_has_the_number_of_connections():
    page = Path(__file__).parents[2].joinpath("docs/database.md").read_text("utf-8")

    assert f"at most {connections_needed(None)} connections" in page
    assert f"{connections_needed(HttpConfig())} by default" in page


async def test_too_few_connections_are_found_before_the_start(empty_database, admin):
    needed = connections_needed(HttpConfig())
    with login(empty_database, admin, options="connection limit 6") as config:
        async with open_connection(config) as connection:
            [finding] = await inspect_connections(connection, needed)
        admin.execute(f"alter role {config.user} connection limit 2")
        async with open_connection(config) as connection:
            [worse] = await inspect_connections(connection, needed)
        admin.execute(finding.remedy.partition(" Or ")[0])
        async with open_connection(config) as connection:
            [better] = await inspect_connections(connection, needed)

    assert finding.verdict == "warning"
    assert f"up to {needed}, and the role {config.user} may have 6" in finding.sentence
    assert (worse.verdict, better.verdict) == ("failed", "fine")


async def test_too_many_connections_at_run_time_are_named_with_a_remedy(
    empty_database, admin
):
    with login(empty_database, admin, options="connection limit 1") as config:
        async with open_connection(config):
            with pytest.raises(
                StoreUnavailable, match="GREEKS_HTTP_MAX_READS"
            ) as caught:
                await shown(config)
            pool = ReadPool(config, size=1, statement_timeout_s=1)
            with pytest.raises(StoreUnavailable, match="too many connections for role"):
                await trio.to_thread.run_sync(
                    pool.run, lambda connection: connection.execute("select"), Lease()
                )
            await trio.to_thread.run_sync(lambda: pool.close(patience_s=5))

    assert caught.value.sqlstate == "53300"


async def test_a_session_says_all_about_itself(database):
    async with open_connection(database) as connection:
        found = {
            each.subject: each for each in await inspect_session(connection, database)
        }
        risky = await inspect_session(connection, replace(database, require_auth="md5"))

    assert found["pooler"].sentence == "none"
    assert found["login"].sentence == (
        "with a password; accepted methods: scram-sha-256"
    )
    assert found["schema"].sentence == "public"
    assert found["durability"].verdict == "warning"  # see `QUICK`
    assert "login" in {each.subject for each in risky if each.verdict == "warning"}
