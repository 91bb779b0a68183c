"""Make missing tables, keys, indexes, views and functions again.

Only missing objects are made.  No row and no existing object is changed, except that views
and functions are replaced by the same ones.  So a function that differs is right again.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from typing import Any, Final

import psycopg

from greeks_trio.errors import SchemaRejected
from greeks_trio.postgres.schema.catalog import (
    Thing,
    expected_here,
    read_catalog,
)
from greeks_trio.postgres.schema.distribution import execute_distributed
from greeks_trio.postgres.schema.migrate import newer_migrations
from greeks_trio.postgres.schema.schema_files import schema_text
from greeks_trio.postgres.schema.statements import statements
from greeks_trio.postgres.server_kind import read_server_kind

logger = logging.getLogger(__name__)

_REFUSALS: Final = (psycopg.ProgrammingError, psycopg.IntegrityError)
_NAMED: Final = re.compile(r"create (table|index|view|function) (\w+)")
_LOCK_TIMEOUT: Final = "set local lock_timeout = '5s'"


async def repair(connection: psycopg.AsyncConnection[Any]) -> list[str]:
    """Make the missing objects in one transaction, and return their names.

    Args:
        connection: Outside a transaction, of a role that owns the tables.  Every migration
            is applied.

    Raises:
        SchemaRejected: one cannot be made, such as a primary key with rows that are there
            twice, or the schema is that of a newer program; nothing has changed.
        psycopg.Error: there is no answer.
    """
    if newer := await newer_migrations(connection):
        raise SchemaRejected(
            f"cannot repair the schema of a newer version, which has {', '.join(newer)};"
            " run migrate --repair of that version"
        )
    try:
        return await _repair(connection)
    except _REFUSALS as exc:
        raise SchemaRejected(
            f"cannot repair the schema, and nothing has changed: {exc.diag.message_primary}; "
            "if an object was renamed, give it its name again; otherwise make it as "
            "db/schema.sql has it, or restore a backup",
            sqlstate=exc.sqlstate,
        ) from exc


async def _repair(connection: psycopg.AsyncConnection[Any]) -> list[str]:
    expected = await expected_here(connection)
    kind = await read_server_kind(connection)
    async with connection.transaction():
        await connection.execute(_LOCK_TIMEOUT)
        found = await read_catalog(connection)
        missing = [
            thing
            for thing, wanted in expected.items()
            if thing not in found
            or (thing.kind == "function" and found[thing] != wanted)
        ]
        if not missing:
            return []
        if kind.is_distributed:
            await execute_distributed(connection, _repairs(missing))
        else:
            for statement in _repairs(missing):
                await connection.execute(statement.encode())
        await _add_constraints(connection, expected)
    names = [f"{thing.kind} {thing.name}" for thing in missing]
    logger.warning("schema.repaired names=%s", ", ".join(names))
    return names


def _repairs(missing: list[Thing]) -> Iterator[str]:
    """Yield the statements for everything that is missing, in the order of the schema."""
    for statement in statements(schema_text()):
        named = _NAMED.match(statement)
        if named is None:
            # Comments, settings of functions and of tables: the same once more.
            if not statement.startswith("insert"):
                yield statement
        elif named[1] in ("view", "function"):
            yield statement.replace("create ", "create or replace ", 1)
        elif Thing(named[1], named[2]) in missing:
            yield statement


async def _add_constraints(
    connection: psycopg.AsyncConnection[Any], expected: dict[Thing, str]
) -> None:
    found = await read_catalog(connection)
    for thing, definition in expected.items():
        if thing.kind == "constraint" and thing not in found:
            table, _, name = thing.name.partition(".")
            # Both come from our own file.
            statement = f"alter table {table} add constraint {name} {definition}"
            await connection.execute(statement.encode())
