"""The faults that change the database itself; see `greeks_trio.drill.faults`.

A table that is renamed, an index or a table that is dropped and made again by ``migrate
--repair``, another database behind the name, and a backup that is restored while ticks
flow.  After the last two, PostgreSQL has lost rows that it had acknowledged, and the
service has to offer them again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from types import MappingProxyType
from typing import Final

import trio
from psycopg import sql
from psycopg.rows import TupleRow

from greeks_trio.config.load import environment_of_children
from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.drill.environment import ROLE, Environment
from greeks_trio.drill.faults_database import Act, execute, superuser
from greeks_trio.drill.processes import ProcessFailed
from greeks_trio.drill.schedule import PlannedFault
from greeks_trio.postgres.connect import open_connection
from greeks_trio.postgres.connection import TrioConnection
from greeks_trio.postgres.embedded.binaries import find_programs
from greeks_trio.postgres.embedded.clients import client_environment
from greeks_trio.postgres.schema.repair import repair

_TOOL_LIMIT_S: Final = 120.0
_AWAY: Final = "_away"
_BACK: Final = "_restored"
_SESSIONS: Final = (
    "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = {}"
)


@asynccontextmanager
async def _rename_table(
    environment: Environment, _: PlannedFault
) -> AsyncIterator[None]:
    async with environment.database_turn, superuser(environment) as connection:
        await execute(
            connection, "alter table greek_snapshots rename to greek_snapshots_away"
        )
        yield
        await execute(connection, "drop table if exists greek_snapshots cascade")
        await execute(
            connection, "alter table greek_snapshots_away rename to greek_snapshots"
        )


@asynccontextmanager
async def _drop_index(environment: Environment, _: PlannedFault) -> AsyncIterator[None]:
    async with environment.database_turn, superuser(environment) as connection:
        await execute(connection, "drop index greek_snapshots_event_time_idx")
        yield
        await _repair(connection)


@asynccontextmanager
async def _drop_table(environment: Environment, _: PlannedFault) -> AsyncIterator[None]:
    """Drop a table that holds no tick, with everything that needs it."""
    async with environment.database_turn, superuser(environment) as connection:
        await execute(connection, "drop table positions cascade")
        yield
        await _repair(connection)


async def _repair(connection: TrioConnection[TupleRow]) -> None:
    """Do as ``migrate --repair``, with the role of the service."""
    await execute(connection, "set role {}", sql.Identifier(ROLE))
    await repair(connection)


@asynccontextmanager
async def _other_database(
    environment: Environment, _: PlannedFault
) -> AsyncIterator[None]:
    """Let the name lead to an empty database, and then to the right one again."""
    config = environment.postgres.config
    async with environment.database_turn, _maintenance(config) as connection:
        await _move_away(connection, config.dbname)
        await _create(connection, config.dbname)
        yield
        await _drop(connection, config.dbname)
        await _rename(connection, config.dbname + _AWAY, config.dbname)


@asynccontextmanager
async def _restore(
    environment: Environment, fault: PlannedFault
) -> AsyncIterator[None]:
    """Dump, let ticks flow, destroy the database and restore the dump."""
    config = environment.postgres.config
    dump = environment.directory / f"backup-{fault.number}.dump"
    async with environment.database_turn:
        await _run(config, "pg_dump", "-Fc", "-f", str(dump), "-d", config.dbname)
        await trio.sleep(fault.value)
        async with _maintenance(config) as connection:
            await _move_away(connection, config.dbname)
            yield
            # Under another name: the service would migrate an empty database at once.
            await _create(connection, config.dbname + _BACK)
            await _run(config, "pg_restore", "-d", config.dbname + _BACK, str(dump))
            await _rename(connection, config.dbname + _BACK, config.dbname)
            await _drop(connection, config.dbname + _AWAY)
    dump.unlink()


CHANGING_ACTS: Final[Mapping[str, Act]] = MappingProxyType(
    {
        "rename-table": _rename_table,
        "drop-index": _drop_index,
        "drop-table": _drop_table,
        "other-database": _other_database,
        "restore": _restore,
    }
)


@asynccontextmanager
async def _maintenance(
    config: DatabaseConfig,
) -> AsyncIterator[TrioConnection[TupleRow]]:
    """Connect to the server's other database, from which this one can be renamed."""
    other = replace(config, dbname="postgres")
    async with open_connection(other, autocommit=True) as connection:
        yield connection


async def _move_away(connection: TrioConnection[TupleRow], name: str) -> None:
    await _rename(connection, name, name + _AWAY)


async def _rename(connection: TrioConnection[TupleRow], old: str, new: str) -> None:
    await _end_sessions(connection, old)
    await execute(
        connection,
        "alter database {} rename to {}",
        sql.Identifier(old),
        sql.Identifier(new),
    )
    await execute(
        connection,
        "alter database {} allow_connections true",
        sql.Identifier(new),
    )


async def _create(connection: TrioConnection[TupleRow], name: str) -> None:
    await execute(
        connection,
        "create database {} owner {}",
        sql.Identifier(name),
        sql.Identifier(ROLE),
    )


async def _drop(connection: TrioConnection[TupleRow], name: str) -> None:
    await execute(connection, "drop database {} with (force)", sql.Identifier(name))


async def _end_sessions(connection: TrioConnection[TupleRow], name: str) -> None:
    await execute(
        connection, "alter database {} allow_connections false", sql.Identifier(name)
    )
    await execute(connection, _SESSIONS, sql.Literal(name))


async def _run(config: DatabaseConfig, tool: str, *arguments: str) -> None:
    """Run a program of the server's own version."""
    command = [str(find_programs(18, None) / tool), *arguments]
    environment = client_environment(config, environment_of_children())
    with trio.move_on_after(_TOOL_LIMIT_S):
        done = await trio.run_process(
            command, env=environment, capture_stderr=True, check=False
        )
        if done.returncode:
            text = done.stderr.decode("utf-8", "replace")[-500:]
            raise ProcessFailed(f"{tool} ended with status {done.returncode}: {text}")
        return
    raise ProcessFailed(f"{tool} took longer than {_TOOL_LIMIT_S:.0f} s")
