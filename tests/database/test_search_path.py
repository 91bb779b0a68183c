"""The views work for every reader, whatever its search_path, and after a restore."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg import sql

from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.postgres.embedded.binaries import find_programs
from greeks_trio.postgres.schema.migrate import migrate
from tests.database.risk_rows import hold, rows, seconds, tick
from tests.fix_postgres import connect, connect_trio, fresh_database

LATER = datetime.now(UTC).date() + timedelta(days=30)
VIEWS = (
    "latest_greeks",
    "portfolio_greeks",
    "broker_divergence",
    "outages",
    "greeks_asof(now())",
    "portfolio_asof('infinity')",
)


@pytest.fixture
def own_schema(any_server) -> Iterator[DatabaseConfig]:
    """A database in which the tables lie in the schema ``Desk 7``, which needs quotes."""
    with fresh_database(any_server) as config, connect(config) as db:
        db.execute('create schema "Desk 7"')
        db.execute(
            sql.SQL('alter database {} set search_path = "Desk 7"').format(
                sql.Identifier(config.dbname)
            )
        )
        yield config


def fill(db: psycopg.Connection) -> None:
    now = datetime.now(UTC)
    db.execute("create table ticks partition of greek_snapshots default")
    hold(db, 2, at=now - seconds(60), expiration=LATER)
    tick(db, event_time=now - seconds(5), price=3.0)
    # Incomplete, so that the functions in plpgsql are called.
    tick(db, event_time=now - seconds(2), gamma=None, expiration=LATER)
    tick(db, account_id="watchlist", event_time=now - seconds(2), expiration=LATER)


async def test_the_views_need_no_search_path_and_survive_a_restore(
    own_schema, tmp_path
):
    async with await connect_trio(own_schema) as connection:
        await migrate(connection)
    with connect(own_schema) as db:
        fill(db)
        db.execute(
            "create materialized view public.copied as select * from latest_greeks"
        )
        db.execute("set search_path = pg_catalog")
        for view in VIEWS:
            assert rows(db, f'select * from "Desk 7".{view}') or view in VIEWS[2:4]
        db.execute("refresh materialized view public.copied")
        [carried] = rows(
            db,
            """select * from "Desk 7".latest_greeks where account_id <> 'watchlist'""",
        )
        assert (carried["gamma"], carried["carried_gamma"]) == (0.01, True)
        # Another schema with tables of these names is not looked at.
        db.execute("set search_path = other, public")
        db.execute("create schema other")
        db.execute('create table other.greek_snapshots (like "Desk 7".greek_snapshots)')
        assert len(rows(db, 'select * from "Desk 7".latest_greeks')) == 2

    dump = tmp_path / "dump"
    with fresh_database(own_schema) as target:
        run(own_schema, "pg_dump", "-Fc", "-f", str(dump), own_schema.dbname)
        run(own_schema, "pg_restore", "--exit-on-error", "-d", target.dbname, str(dump))
        with connect(target) as db:
            assert len(rows(db, 'select * from "Desk 7".latest_greeks')) == 2
            assert len(rows(db, "select * from public.copied")) == 2


def run(server: DatabaseConfig, program: str, *arguments: str) -> None:
    """Run a program of PostgreSQL that fits the server."""
    with connect(server) as db:
        version = 18 if db.info.server_version >= 18_00_00 else 16
    subprocess.run(
        [
            str(find_programs(version, None) / program),
            f"--host={server.server.host}",
            f"--port={server.server.port}",
            f"--username={server.user}",
            *arguments,
        ],
        env={"PGPASSWORD": server.password.reveal()},
        check=True,
        capture_output=True,
        text=True,
    )
