"""Several schemas in one database: each is a database of its own for its service."""

from __future__ import annotations

from dataclasses import replace

import psycopg
import pytest
from psycopg import sql

from greeks_trio.commands.check import inspect_database
from greeks_trio.config.settings import Secret
from greeks_trio.errors import StoreUnavailable
from greeks_trio.postgres.connect import open_connection
from greeks_trio.postgres.embedded.clients import client_environment
from greeks_trio.postgres.schema.migrate import migrate
from greeks_trio.postgres.tick_store import TickStore
from greeks_trio.postgres.uri import database_uri
from tests.factories import START, make_tick
from tests.fix_postgres import connect, connect_options, fresh_database

SCHEMAS = ("login_a", "Login B")


@pytest.fixture
async def two(any_server):
    """The configurations of two schemas of a database, each with its tables."""
    with fresh_database(any_server) as database:
        configs = [replace(database, schema=name) for name in SCHEMAS]
        for config in configs:
            async with open_connection(config, autocommit=True) as connection:
                await migrate(connection)
        yield configs


def ticks_in(config):
    with connect(config) as db:
        query = sql.SQL("select price from {}.greek_snapshots").format(
            sql.Identifier(config.schema)
        )
        return [price for (price,) in db.execute(query).fetchall()]


async def test_each_schema_has_its_own_ticks(two):
    for price, config in enumerate(two, 1):
        store = TickStore(config, today=START.date)
        async with store.open() as sink:
            await sink.write([make_tick(price=price)])

    assert [ticks_in(config) for config in two] == [[1], [2]]
    with connect(two[0]) as db:
        [(rest,)] = db.execute(
            "select count(*) from pg_class where relnamespace = 'public'::regnamespace"
        ).fetchall()
    assert rest == 0


async def test_a_schema_that_the_role_may_not_make_is_named_with_the_remedy(database):
    with connect(database) as db:
        db.execute("create role guest login password 'guest'")
        db.execute(
            sql.SQL("revoke create on database {} from public").format(
                sql.Identifier(database.dbname)
            )
        )
    guest = replace(database, user="guest", password=Secret("guest"), schema="desk")
    try:
        with pytest.raises(
            StoreUnavailable, match=r"create schema .desk. authorization .guest"
        ):
            async with open_connection(guest):
                pass
    finally:
        with connect(database) as db:
            db.execute("drop role guest")


async def test_the_schema_of_the_setting_wins_over_that_of_the_path(database):
    """The tables in public stay as they are, and are not used."""
    config = replace(database, schema="desk")
    async with open_connection(config, autocommit=True) as connection:
        assert connection.session.schema == "desk"
        cursor = await connection.execute("select to_regclass('greek_snapshots')")
        assert await cursor.fetchall() == [(None,)]
        await connection.execute("drop schema desk")


async def test_a_schema_that_the_role_may_not_use_is_refused_with_the_remedy(database):
    """PostgreSQL would skip it, and make the tables in the temporary schema."""
    guest = replace(database, user="guest", password=Secret("guest"), schema="desk")
    with connect(database) as db:
        db.execute("create role guest login password 'guest'")
        db.execute("create schema desk")
    try:
        with pytest.raises(
            StoreUnavailable, match=r'grant usage, create on schema "desk" to "guest"'
        ):
            async with open_connection(guest):
                pass
    finally:
        with connect(database) as db:
            db.execute("drop role guest")


async def test_a_check_leaves_no_schema_behind(empty_database):
    found = await inspect_database(replace(empty_database, schema="Desk B"))

    assert "failed" not in [each.verdict for each in found]
    with connect(empty_database) as db:
        query = "select count(*) from pg_namespace where nspname = 'Desk B'"
        assert db.execute(query).fetchall() == [(0,)]


def test_the_address_and_the_shell_lead_to_the_schema(database):
    name = "D\u00e9sk \\ \"B'"
    config = replace(database, schema=name)
    with connect(database) as db:
        db.execute(sql.SQL("create schema {}").format(sql.Identifier(name)))
    shell = client_environment(config, {"PGOPTIONS": "-cwork_mem=1MB"})
    address = database_uri(config, with_password=True)

    for place, options in ((address, {}), ("", {"options": shell["PGOPTIONS"]})):
        login = {} if place else connect_options(config)
        with psycopg.connect(place, **login, **options) as db:
            assert db.execute("select current_schema()").fetchall() == [(name,)]
            if options:
                assert db.execute("show work_mem").fetchall() == [("1MB",)]
