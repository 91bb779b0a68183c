"""The identity of a database: tells it from another one at the same address.

The address may lead to another server, the configuration to another database, and a person
may drop, restore or empty the tables while we are connected.  Everything that was told to
one database is told again to another.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec
import psycopg
from psycopg.rows import tuple_row

# The tables whose rows are told once: the journal does not write them again by itself.
_TOLD: Final = ("positions", "feed_gaps")

_IDENTITY: Final = """
select
    current_database(),
    d.oid::bigint,
    pg_postmaster_start_time(),
    coalesce((
        select n.nspname from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where c.oid = to_regclass('positions')
    ), current_schema(), ''),
    coalesce((
        select json_object_agg(name, array[
            to_regclass(name)::oid::bigint,
            pg_relation_filenode(to_regclass(name))::bigint
        ])
        from unnest(%s::text[]) as told (name)
        where to_regclass(name) is not null
    ), '{}')
from pg_database d
where d.datname = current_database()
"""
# Not every role may call it at every provider.
_SERVER: Final = "select system_identifier from pg_control_system()"


class DatabaseIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """One database at one moment.

    Attributes:
        server: The system identifier of the server; `None` if it may not be read.
        database: Its name and object id.
        schema: The schema of the tables.
        tables: Object id and file of each table that is there.  ``truncate`` gives a table
            another file, as ``vacuum full`` does.
        started_at: When the server was started.
    """

    server: int | None
    database: tuple[str, int]
    schema: str
    tables: Mapping[str, tuple[int, int]]
    started_at: datetime


async def read_identity(connection: psycopg.AsyncConnection[Any]) -> DatabaseIdentity:
    """Return the identity of the database at the other end.

    Args:
        connection: Outside a transaction.

    Raises:
        psycopg.Error: there is no answer.
    """
    server = await _read_server(connection)
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(_IDENTITY, [list(_TOLD)])
        [(name, oid, started_at, schema, tables)] = await cursor.fetchall()
    return DatabaseIdentity(
        server=server,
        database=(name, oid),
        schema=schema,
        tables={table: (ids[0], ids[1]) for table, ids in tables.items()},
        started_at=started_at,
    )


async def _read_server(connection: psycopg.AsyncConnection[Any]) -> int | None:
    try:
        async with connection.cursor(row_factory=tuple_row) as cursor:
            await cursor.execute(_SERVER)
            [(identifier,)] = await cursor.fetchall()
    except (
        psycopg.errors.InsufficientPrivilege,
        psycopg.errors.UndefinedFunction,
        psycopg.errors.FeatureNotSupported,
    ):
        return None
    return int(identifier)


def differences(before: DatabaseIdentity, after: DatabaseIdentity) -> list[str]:
    """Return in words why it is not the same database with the same tables.

    A server that was only started again is the same.
    """
    if None not in (before.server, after.server) and before.server != after.server:
        return ["it is another server"]
    if before.database != after.database:
        return [f"it is the database {after.database[0]}, made anew or another one"]
    if before.schema != after.schema and before.tables and after.tables:
        return [f"the tables are in the schema {after.schema}, not in {before.schema}"]
    words = []
    for table, (oid, file) in before.tables.items():
        if table not in after.tables:
            words.append(f"the table {table} is gone")
        elif after.tables[table][0] != oid:
            words.append(f"the table {table} was made anew")
        elif after.tables[table][1] != file:
            words.append(f"the table {table} was emptied or written anew")
    return words
