"""The faults of PostgreSQL itself; see `greeks_trio.drill.faults`.

They take turns: each finds a server that runs, and leaves one that does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import MappingProxyType
from typing import Final, LiteralString, TypeAlias

import trio
from psycopg import sql
from psycopg.rows import TupleRow

from greeks_trio.drill.environment import ROLE, Environment
from greeks_trio.drill.schedule import PlannedFault
from greeks_trio.postgres.connect import open_connection
from greeks_trio.postgres.connection import TrioConnection
from greeks_trio.postgres.failures import translated

# Yields the time at which the fault began, if that was before it was in force.
Act: TypeAlias = Callable[
    [Environment, PlannedFault], AbstractAsyncContextManager[float | None]
]

# Time for a statement on a busy server, and for a wait behind the service's transactions.
_STATEMENT_LIMIT_S: Final = 40.0
TERMINATE: Final = """
select pg_terminate_backend(pid) from pg_stat_activity
where usename = current_setting('drill.role')
"""


@asynccontextmanager
async def _kill_postgres(
    environment: Environment, _: PlannedFault
) -> AsyncIterator[None]:
    async with environment.database_turn:
        await environment.postgres.kill()
        yield
        await environment.postgres.start()


@asynccontextmanager
async def _restart_postgres(
    environment: Environment, _: PlannedFault
) -> AsyncIterator[None]:
    async with environment.database_turn:
        await environment.postgres.stop()
        yield
        await environment.postgres.start()


@asynccontextmanager
async def _freeze_postgres(
    environment: Environment, _: PlannedFault
) -> AsyncIterator[None]:
    async with environment.database_turn:
        try:
            await environment.postgres.freeze()
            yield
        finally:
            environment.postgres.thaw()


@asynccontextmanager
async def _lost_ack(environment: Environment, _: PlannedFault) -> AsyncIterator[None]:
    environment.database_link.swallow_commit()
    try:
        yield
    finally:
        environment.database_link.stop_swallowing()


@asynccontextmanager
async def _terminate_backend(
    environment: Environment, _: PlannedFault
) -> AsyncIterator[None]:
    async with environment.database_turn:
        async with superuser(environment) as connection:
            await execute(connection, TERMINATE)
        yield


@asynccontextmanager
async def _lock_table(environment: Environment, _: PlannedFault) -> AsyncIterator[None]:
    async with environment.database_turn, superuser(environment) as connection:
        await execute(connection, "set lock_timeout = '30s'")
        await execute(connection, "begin")
        await execute(connection, "lock table greek_snapshots in access exclusive mode")
        yield
        await execute(connection, "rollback")


@asynccontextmanager
async def _read_only(environment: Environment, _: PlannedFault) -> AsyncIterator[None]:
    name: LiteralString = "default_transaction_read_only"
    # One connection for both steps: new connections for writing are refused meanwhile.
    async with environment.database_turn, superuser(environment) as connection:
        await execute(connection, f"alter system set {name} = on")
        await execute(connection, "select pg_reload_conf()")
        yield
        await execute(connection, f"alter system reset {name}")
        await execute(connection, "select pg_reload_conf()")


@asynccontextmanager
async def _full_connections(
    environment: Environment, fault: PlannedFault
) -> AsyncIterator[None]:
    async with environment.database_turn:
        async with superuser(environment) as connection:
            await _limit_connections(connection, int(fault.value))
            await execute(connection, TERMINATE)
        yield
        async with superuser(environment) as connection:
            await _limit_connections(connection, -1)


DATABASE_ACTS: Final[Mapping[str, Act]] = MappingProxyType(
    {
        "kill-postgres": _kill_postgres,
        "restart-postgres": _restart_postgres,
        "freeze-postgres": _freeze_postgres,
        "lost-ack-database": _lost_ack,
        "terminate-backend": _terminate_backend,
        "lock-table": _lock_table,
        "read-only": _read_only,
        "full-connections": _full_connections,
    }
)


@asynccontextmanager
async def superuser(
    environment: Environment,
) -> AsyncIterator[TrioConnection[TupleRow]]:
    """Connect to the server itself, past the link that fails."""
    async with open_connection(
        environment.postgres.config, autocommit=True
    ) as connection:
        await execute(
            connection, "select set_config('drill.role', {}, false)", sql.Literal(ROLE)
        )
        yield connection


async def _limit_connections(connection: TrioConnection[TupleRow], most: int) -> None:
    await execute(
        connection,
        "alter role {} connection limit {}",
        sql.Identifier(ROLE),
        sql.Literal(most),
    )


async def execute(
    connection: TrioConnection[TupleRow], query: LiteralString, *parts: sql.Composable
) -> None:
    """Run a statement within `_STATEMENT_LIMIT_S`; ``parts`` fill its placeholders."""
    with translated(connection), trio.fail_after(_STATEMENT_LIMIT_S):
        await connection.execute(sql.SQL(query).format(*parts))
