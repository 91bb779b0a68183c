"""Fixtures with a real PostgreSQL.

The server is the embedded one, version 18, or what ``TEST_DATABASE_URL`` names: a URL of
a role that may create databases, such as
``postgresql://postgres:secret@localhost/postgres``.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from greeks_trio.config.settings import DatabaseConfig, Secret
from greeks_trio.postgres.connection import TrioConnection
from greeks_trio.postgres.embedded.server import embedded_server
from greeks_trio.postgres.schema.schema_files import schema_directory

# Nobody misses a test's data after a power failure.
QUICK = {"fsync": "off", "full_page_writes": "off", "autovacuum": "off"}
_EMPTY = """
do $$
declare
    found text;
begin
    for found in
        select oid::regclass::text from pg_class
        where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')
          and oid > {newest}
    loop
        execute 'drop table ' || found;
    end loop;
    for found in
        select oid::regclass::text from pg_class
        where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')
          and relname <> 'schema_migrations'
    loop
        execute 'truncate ' || found || ' restart identity';
    end loop;
end $$
"""
# One value per process, so that runs that share a server do not meet.
_PREFIX = f"greeks_test_{os.getpid()}"
_serial = count(1)


def connect_options(config: DatabaseConfig) -> dict[str, str | int]:
    """Return the arguments of psycopg's ``connect`` for this database."""
    return {
        "host": config.server.host,
        "port": config.server.port,
        "user": config.user,
        "password": config.password.reveal(),
        "dbname": config.dbname,
        "sslmode": config.sslmode,
    }


def connect(config: DatabaseConfig) -> psycopg.Connection:
    """Return a plain connection in autocommit, for arranging and asserting."""
    return psycopg.connect(**connect_options(config), autocommit=True)


async def connect_trio(config: DatabaseConfig) -> TrioConnection:
    """Return a connection for the code under test."""
    return await TrioConnection.connect(**connect_options(config), autocommit=True)


@contextmanager
def fresh_database(
    server: DatabaseConfig, template: str = "template0"
) -> Iterator[DatabaseConfig]:
    """Yield a database of its own on the server and drop it afterwards."""
    name = f"{_PREFIX}_{next(_serial)}"
    with connect(server) as admin:
        admin.execute(
            sql.SQL("create database {} template {}").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
        try:
            yield replace(server, dbname=name)
        finally:
            admin.execute(
                sql.SQL("drop database {} with (force)").format(sql.Identifier(name))
            )


def apply_schema(config: DatabaseConfig) -> None:
    """Make the tables from ``db/schema.sql``."""
    with connect(config) as connection:
        connection.execute(schema_directory().joinpath("schema.sql").read_bytes())


def _make_logins_cheap(config: DatabaseConfig) -> None:
    """Let a login of the role compute little: the tests have some ten thousand."""
    with connect(config) as connection:
        connection.execute("set scram_iterations = 1")
        connection.execute(
            sql.SQL("alter role {} password {}").format(
                sql.Identifier(config.user), config.password.reveal()
            )
        )


@contextmanager
def _server(url: str) -> Iterator[DatabaseConfig]:
    if not url:
        with embedded_server(settings=QUICK, is_superuser=True) as config:
            _make_logins_cheap(config)
            yield config
        return
    given = {key: str(value) for key, value in conninfo_to_dict(url).items()}
    yield DatabaseConfig(
        hosts=(given.get("host", "localhost"),),
        ports=(int(given.get("port", 5432)),),
        user=given.get("user", "postgres"),
        password=Secret(given.get("password", "")),
        dbname=given.get("dbname", "postgres"),
        sslmode=given.get("sslmode", "prefer"),
    )


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[DatabaseConfig]:
    """A server for the whole session; its database is not for tests."""
    with _server(os.environ.get("TEST_DATABASE_URL", "")) as config:
        yield config


@pytest.fixture(scope="session")
def embedded_16_server() -> Iterator[DatabaseConfig]:
    """An embedded server of version 16, whatever the other one is."""
    with embedded_server(version=16, settings=QUICK, is_superuser=True) as config:
        _make_logins_cheap(config)
        yield config


@pytest.fixture(scope="module")
def cluster_directory(tmp_path_factory) -> Path:
    """A data directory for the tests of a module that start servers one after the other.

    A start on the cluster of an earlier test costs a tenth of one that makes a cluster.
    Each test leaves a directory on which a server starts, and may leave tables.
    """
    return tmp_path_factory.mktemp("cluster")


@pytest.fixture(scope="session")
def _first_start(tmp_path_factory) -> Path:
    """A data directory on which a server has run once."""
    directory = tmp_path_factory.mktemp("first") / "data"
    with embedded_server(directory, settings=QUICK):
        pass
    return directory


@pytest.fixture
def used_directory(_first_start, tmp_path) -> Path:
    """A data directory of the test's own with a cluster: a copy costs less than ``initdb``."""
    directory = tmp_path / "used"
    subprocess.run(["cp", "-a", _first_start, directory], check=True)
    return directory


@pytest.fixture(scope="session")
def database_template(postgres_server) -> Iterator[DatabaseConfig]:
    """A database made from ``db/schema.sql``, to be copied."""
    with fresh_database(postgres_server) as config:
        apply_schema(config)
        yield config


@pytest.fixture
def database(postgres_server, database_template) -> Iterator[DatabaseConfig]:
    """A fresh database with the present schema and no partitions."""
    with fresh_database(postgres_server, database_template.dbname) as config:
        yield config


@pytest.fixture(scope="module")
def module_database(
    postgres_server, database_template
) -> Iterator[tuple[DatabaseConfig, int]]:
    """A database for a whole module, and its newest table; tests use `emptied_database`."""
    with fresh_database(postgres_server, database_template.dbname) as config:
        with connect(config) as connection:
            [(newest,)] = connection.execute("select max(oid)::bigint from pg_class")
        yield config, newest


@pytest.fixture
def emptied_database(module_database) -> DatabaseConfig:
    """The module's database, without the rows and tables that earlier tests have made.

    For tests that leave our own tables as they are: to empty it costs less than a copy.
    """
    config, newest = module_database
    with connect(config) as connection:
        connection.execute(sql.SQL(_EMPTY).format(newest=sql.Literal(newest)))
    return config


@pytest.fixture(params=["present", "16"])
def any_server(request) -> DatabaseConfig:
    """Each server that the database code has to work on."""
    name = "postgres_server" if request.param == "present" else "embedded_16_server"
    server: DatabaseConfig = request.getfixturevalue(name)
    return server


@pytest.fixture
def empty_database(postgres_server) -> Iterator[DatabaseConfig]:
    """A fresh database with nothing in it."""
    with fresh_database(postgres_server) as config:
        yield config


@pytest.fixture
async def connection(database) -> AsyncIterator[TrioConnection]:
    """A connection in autocommit to the test's database."""
    async with await connect_trio(database) as connection:
        yield connection


def pytest_report_header() -> str:
    """Say at the top which server the tests run on."""
    url = os.environ.get("TEST_DATABASE_URL", "")
    return f"PostgreSQL: {re.sub(r':[^:/@]*@', ':***@', url) or 'embedded'}"
