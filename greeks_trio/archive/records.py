"""The table ``archived_months``: the content of the files, and whether the rows are dropped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import psycopg

from greeks_trio.archive.names import FileFacts, Origin
from greeks_trio.archive.rows import Summary
from greeks_trio.version import program_version

_ORIGIN: Final = """
select current_database(), (select oid from pg_database
    where datname = current_database()), max(name)
from schema_migrations
"""
_SYSTEM: Final = "select system_identifier from pg_control_system()"
_MAY_ASK: Final = """
select has_function_privilege('pg_control_system()', 'execute')
"""
_READ: Final = """
select broker, part, rows, checksum, file, file_bytes, dropped_at is not null
from archived_months where month = %s order by broker, part
"""
_WRITE: Final = """
insert into archived_months (month, broker, part, rows, checksum, file, file_bytes)
values (%s, %s, %s, %s, %s, %s, %s)
on conflict (month, broker, part) do update set
    rows = excluded.rows, checksum = excluded.checksum, file = excluded.file,
    file_bytes = excluded.file_bytes, archived_at = excluded.archived_at
"""
_DROPPED: Final = """
update archived_months
set dropped_at = coalesce(dropped_at, present.at), loaded_at = null
-- Not in coalesce: Citus refuses functions of time there.
from (select statement_timestamp() as at) present
where month = %s
"""
_LOADED: Final = """
insert into archived_months as a (month, broker, part, rows, checksum, file, file_bytes,
    dropped_at, loaded_at)
values (%s, %s, %s, %s, %s, %s, %s, clock_timestamp(), clock_timestamp())
on conflict (month, broker, part) do update set loaded_at = excluded.loaded_at
"""
_LOADED_MONTHS: Final = """
select distinct month from archived_months where loaded_at is not null
"""
_UNFINISHED_MONTHS: Final = """
select distinct month from archived_months where dropped_at is null
"""
_NARROW_MONTHS: Final = "select distinct month from dropped_payloads"


@dataclass(frozen=True, slots=True)
class ArchivedPart:
    """One row of ``archived_months``.

    Attributes:
        file: The name of the file; `None` if the rows were dropped without one.
        is_dropped: Whether the rows have left the table.
    """

    broker: str
    part: int
    summary: Summary
    file: str | None
    file_bytes: int
    is_dropped: bool


async def read_origin(connection: psycopg.AsyncConnection[Any]) -> Origin:
    """Return the identity of the database and of this program."""
    cursor = await connection.execute(_ORIGIN)
    ((name, oid, migration),) = await cursor.fetchall()
    ((may_ask,),) = await (await connection.execute(_MAY_ASK)).fetchall()
    system = "unknown"
    if may_ask:
        ((number,),) = await (await connection.execute(_SYSTEM)).fetchall()
        system = str(number)
    return Origin(f"{name}, system {system}, oid {oid}", migration, program_version())


async def read_parts(
    connection: psycopg.AsyncConnection[Any], month: date
) -> Sequence[ArchivedPart]:
    """Return the files of a month that are known."""
    cursor = await connection.execute(_READ, [month])
    return [
        ArchivedPart(
            broker, part, Summary(rows, int(checksum)), file, size or 0, is_dropped
        )
        for broker, part, rows, checksum, file, size, is_dropped in await cursor.fetchall()
    ]


async def write_part(
    connection: psycopg.AsyncConnection[Any], month: date, part: ArchivedPart
) -> None:
    """Record a file, or rows that are dropped without one."""
    summary, size = part.summary, part.file_bytes if part.file else None
    row = [part.broker, part.part, summary.rows, summary.checksum, part.file, size]
    await connection.execute(_WRITE, [month, *row])


async def mark_dropped(connection: psycopg.AsyncConnection[Any], month: date) -> None:
    """Record that the rows of all files of a month have left the database."""
    await connection.execute(_DROPPED, [month])


async def mark_loaded(
    connection: psycopg.AsyncConnection[Any],
    month: date,
    facts: FileFacts,
    file: str,
    size: int,
) -> None:
    """Record that the rows of a file are in the table again."""
    row = [facts.broker, facts.part, facts.rows, int(facts.checksum), file, size]
    await connection.execute(_LOADED, [month, *row])


async def loaded_months(connection: psycopg.AsyncConnection[Any]) -> set[date]:
    """Return the months with rows that came back from a file."""
    cursor = await connection.execute(_LOADED_MONTHS)
    return {month for (month,) in await cursor.fetchall()}


async def unfinished_months(connection: psycopg.AsyncConnection[Any]) -> set[date]:
    """Return the months with a file whose rows are still in the database."""
    cursor = await connection.execute(_UNFINISHED_MONTHS)
    return {month for (month,) in await cursor.fetchall()}


async def narrow_months(connection: psycopg.AsyncConnection[Any]) -> set[date]:
    """Return the months whose payloads were dropped."""
    cursor = await connection.execute(_NARROW_MONTHS)
    return {month for (month,) in await cursor.fetchall()}
