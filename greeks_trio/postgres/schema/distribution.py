"""Distribute the schema of our tables with Citus, and make the objects in it.

Citus keeps all tables of a distributed schema on one node, so each batch of ticks commits
on one node.  It refuses several statements in one message, and some of the statements in
earlier migrations.  So an empty schema is distributed first, and gets its objects from
``db/schema.sql``.  A schema with tables is brought up to date before Citus moves it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

import psycopg

from greeks_trio.postgres.schema.citus_form import citus_form
from greeks_trio.postgres.schema.schema_files import schema_text
from greeks_trio.postgres.schema.statements import statements
from greeks_trio.postgres.server_kind import ServerKind, read_server_kind

logger = logging.getLogger(__name__)

_DISTRIBUTE: Final = "select citus_schema_distribute(%s::regnamespace)"
# PL/pgSQL looks for the tables at each call, and a reader may have another search_path.
_SET_PATHS: Final = """
do $$
declare
    name regprocedure;
begin
    for name in
        select p.oid from pg_proc p join pg_language l on l.oid = prolang
        where lanname = 'plpgsql' and pronamespace = current_schema()::regnamespace
          and not exists (
              select from unnest(proconfig) each where each like 'search_path=%')
    loop
        execute format(
            'alter function %s set search_path = %I, pg_temp', name, current_schema());
    end loop;
end
$$
"""
# The right, a version or a worker is missing.  A node that does not answer has other codes:
# then the caller tries again.
_REFUSALS: Final = (
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.FeatureNotSupported,
    psycopg.errors.ObjectNotInPrerequisiteState,
    psycopg.errors.InvalidParameterValue,
)


async def distribute_empty(connection: psycopg.AsyncConnection[Any]) -> bool:
    """Distribute the schema if there is Citus; return whether it is distributed.

    Args:
        connection: In a transaction.  The schema has no tables.

    Raises:
        psycopg.Error: a node does not answer; the caller may try again.
    """
    kind = await read_server_kind(connection)
    return kind.is_distributed or await _distribute(connection, kind)


async def distribute_full(connection: psycopg.AsyncConnection[Any]) -> bool:
    """Do as `distribute_empty` with a schema that is up to date; its rows are moved.

    The functions get their new form first: Citus takes a view and a function that read each
    other for a circle.  Without its part in that step, Citus takes no notice of it.
    """
    kind = await read_server_kind(connection)
    if kind.is_distributed or kind.citus is None:
        return kind.is_distributed
    if kind.obstacle() is None:
        await connection.execute("set local citus.enable_ddl_propagation = off")
        await execute_distributed(connection, _functions())
        await connection.execute("set local citus.enable_ddl_propagation = on")
    if not await _distribute(connection, kind):
        return False
    await execute_distributed(connection, _functions_and_views())
    return True


async def _distribute(
    connection: psycopg.AsyncConnection[Any], kind: ServerKind
) -> bool:
    if kind.citus is None:
        return False
    obstacle = kind.obstacle()
    if obstacle is None:
        try:
            async with connection.transaction():
                await connection.execute(_DISTRIBUTE, [kind.schema])
        except _REFUSALS as exc:
            obstacle = (
                _why(exc),
                "change it, then run migrate",
            )
    if obstacle is not None:
        logger.warning(
            "schema.not_distributed schema=%s reason=%s; remedy=%s",
            kind.schema,
            *obstacle,
        )
        return False
    return True


async def make_distributed(connection: psycopg.AsyncConnection[Any]) -> None:
    """Make everything that ``db/schema.sql`` has, in a distributed schema without tables.

    Args:
        connection: In a transaction.
    """
    await execute_distributed(connection, statements(schema_text()))


async def execute_distributed(
    connection: psycopg.AsyncConnection[Any], every: Iterator[str]
) -> None:
    """Execute the statements, with the functions in the form of a distributed schema.

    Args:
        connection: In a transaction.
        every: Statements of the schema or of a migration.
    """
    for statement in every:
        await connection.execute(citus_form(statement).encode())
    await connection.execute(_SET_PATHS)


@cache
def rewritten_functions() -> frozenset[str]:
    """Return the names of the SQL functions that are in PL/pgSQL in a distributed schema."""
    return frozenset(
        statement.removeprefix("create function ").partition("(")[0]
        for statement in statements(schema_text())
        if "\nlanguage sql" in statement and citus_form(statement) != statement
    )


def _functions() -> Iterator[str]:
    for statement in statements(schema_text()):
        if statement.startswith("create function "):
            yield _replacing(statement)


def _functions_and_views() -> Iterator[str]:
    for statement in statements(schema_text()):
        if statement.startswith(("create function ", "create view ")):
            yield _replacing(statement)


def _replacing(statement: str) -> str:
    return statement.replace("create ", "create or replace ", 1)


def _why(exc: psycopg.Error) -> str:
    return exc.diag.message_primary or str(exc)
