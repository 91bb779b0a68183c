"""Read rows of a table, and put rows beside it to compare them.

Every function needs an open transaction with `TEXT_SETTINGS`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from greeks_trio.archive.columns import CHECKSUM, LOADED, NAMES, TEXT_SETTINGS, WRITTEN
from greeks_trio.errors import ArchiveFailed
from greeks_trio.postgres.connection import TrioConnection

Connection: TypeAlias = TrioConnection[TupleRow]

_SUMMARY: Final = sql.SQL(
    f"select broker, count(*), {CHECKSUM} from {{table}} group by broker order by broker"  # noqa: S608
)
_OUT: Final = sql.SQL(
    f"copy (select {WRITTEN} from {{table}} where broker = {{broker}}"  # noqa: S608
    " order by account_id, contract_key, event_time, fingerprint)"
    " to stdout (format csv)"
)
_CREATE_STAGED: Final = """
create temporary table staged_archive (like greek_snapshots) on commit drop
"""
_STAGE: Final = f"copy pg_temp.staged_archive ({NAMES}) from stdin (format csv)"
_CLEAR: Final = "truncate pg_temp.staged_archive"
# `id` and `persisted_at` come back as they were.
_INSERT: Final = (
    f"insert into greek_snapshots ({NAMES}) overriding system value"  # noqa: S608
    f" select {LOADED} from pg_temp.staged_archive"
    " order by event_time, broker, account_id, contract_key, fingerprint"
    " on conflict (broker, account_id, contract_key, event_time, fingerprint)"
    " do nothing returning 1"
)
_IN_TABLE: Final = (
    "select count(*) from pg_temp.staged_archive join greek_snapshots"
    " using (broker, account_id, contract_key, event_time, fingerprint)"
)
STAGED: Final = sql.SQL("pg_temp.staged_archive")
_NO_RIGHT: Final = "42501"


@dataclass(frozen=True, slots=True)
class Summary:
    """The properties by which sets of rows are compared."""

    rows: int = 0
    checksum: int = 0

    def __add__(self, other: Summary) -> Summary:
        """Return the summary of both sets together."""
        return Summary(self.rows + other.rows, self.checksum + other.checksum)


@asynccontextmanager
async def one_snapshot(connection: Connection) -> AsyncIterator[None]:
    """Run the block in a transaction that sees the rows of one moment."""
    async with connection.transaction():
        await connection.execute("set transaction isolation level repeatable read")
        await connection.execute(TEXT_SETTINGS)
        yield


async def summaries(
    connection: psycopg.AsyncConnection[Any], table: sql.Composable
) -> Mapping[str, Summary]:
    """Return the summary of each broker's rows in a table."""
    cursor = await connection.execute(_SUMMARY.format(table=table))
    return {
        broker: Summary(rows, int(checksum))
        for broker, rows, checksum in await cursor.fetchall()
    }


async def read_rows(
    connection: Connection, table: sql.Composable, broker: str
) -> AsyncGenerator[bytes, None]:
    """Yield the broker's rows as lines of CSV, by contract and time."""
    statement = _OUT.format(table=table, broker=sql.Literal(broker))
    async with connection.cursor() as cursor, cursor.copy(statement) as copy:
        while line := await copy.read():
            yield bytes(line)  # noqa: ASYNC119 - every caller closes the generator


@asynccontextmanager
async def staging(connection: Connection) -> AsyncIterator[None]:
    """Run the block in a transaction with an empty table for the rows of a file.

    Raises:
        ArchiveFailed: the role may make no temporary table.
    """
    async with connection.transaction():
        await connection.execute(TEXT_SETTINGS)
        try:
            await connection.execute(_CREATE_STAGED)
        except psycopg.errors.InsufficientPrivilege as exc:
            raise ArchiveFailed(
                "the role may make no temporary table, which is needed to compare a file "
                "with the database: grant temporary on database to this role"
            ) from exc
        yield


async def stage(connection: Connection, lines: bytes) -> None:
    """Put rows of a file, as CSV, into the table of `staging`; earlier ones leave it."""
    await connection.execute(_CLEAR)
    async with connection.cursor() as cursor, cursor.copy(_STAGE) as copy:
        await copy.write(lines)


async def insert_staged(connection: Connection) -> int:
    """Insert the staged rows that ``greek_snapshots`` lacks; return how many it lacked."""
    cursor = await connection.execute(_INSERT)
    return len(await cursor.fetchall())


async def count_present(connection: Connection) -> int:
    """Return how many of the staged rows are in ``greek_snapshots``."""
    cursor = await connection.execute(_IN_TABLE)
    (row,) = await cursor.fetchall()
    return int(row[0])
