"""A month leaves ``greek_snapshots``: archived, detached, compared again, dropped.

Each step is repeatable, and a kill after any of them loses nothing:

1. The files are written, compared and recorded (`greeks_trio.archive.export`).
2. The month is detached.  From then on no new row can reach its table: the service makes
   the month again for a late tick.
3. The table gets another name, so that the service does not attach it again.
4. The rows are compared with the files once more.  Rows that arrived between the first
   and the second step are written to the files now.
5. The table is dropped.

``detach ... concurrently`` needs no lock that disturbs readers and writers.  It is not
possible beside a default partition.  Then the plain form waits for its lock for
`LOCK_LIMIT` at most, and other sessions wait behind it for no longer.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

import psycopg
import trio
from psycopg import sql

from greeks_trio.archive.export import Month, archive_rows
from greeks_trio.archive.months import KEPT, LEAVING, Months, MonthTable, read_months
from greeks_trio.archive.names import Origin, month_text
from greeks_trio.archive.records import (
    ArchivedPart,
    mark_dropped,
    read_parts,
    write_part,
)
from greeks_trio.archive.rows import Connection, one_snapshot, summaries
from greeks_trio.errors import ArchiveFailed
from greeks_trio.postgres.schema.partitions import partition_name
from greeks_trio.postgres.server_kind import read_server_kind

logger = logging.getLogger(__name__)

# The longest time that other sessions wait behind a statement of this module.
LOCK_LIMIT: Final = "1s"
_ATTEMPTS: Final = 5
_PAUSE_S: Final = 2.0
_LOCK_SETTING: Final = f"set local lock_timeout = '{LOCK_LIMIT}'"
# A detach waits for these; it must not begin while it would wait for long.
_LONG_TRANSACTIONS: Final = """
select a.pid, a.usename, now() - a.xact_start
from pg_locks l join pg_stat_activity a using (pid)
where l.relation = 'greek_snapshots'::regclass and a.pid <> pg_backend_pid()
    and l.granted and a.xact_start < clock_timestamp() - interval '2 s'
limit 1
"""
_DETACH_CONCURRENTLY: Final = sql.SQL(
    "alter table greek_snapshots detach partition {table} concurrently"
)
_FINALIZE: Final = sql.SQL(
    "alter table greek_snapshots detach partition {table} finalize"
)
_DETACH: Final = sql.SQL("alter table greek_snapshots detach partition {table}")
_RENAME: Final = sql.SQL("alter table {table} rename to {name}")
_LOCK: Final = sql.SQL("lock table {table} in access exclusive mode")
_IS_ATTACHED: Final = """
select exists (select from pg_inherits
    where inhrelid = to_regclass(%s) and inhparent = 'greek_snapshots'::regclass)
"""
_DROP: Final = sql.SQL("drop table {table}")


@dataclass(frozen=True, slots=True)
class Departure:
    """The destination of the rows of a month.

    Attributes:
        directory: The directory of the files; `None` drops the rows without files.
        keep_detached: Whether the table stays in the database, outside of
            ``greek_snapshots``.
    """

    directory: Path | None
    keep_detached: bool = False


@dataclass(frozen=True, slots=True)
class Left:
    """The rows that left; ``files`` is empty if they were dropped without files."""

    month: date
    rows: int
    bytes: int
    files: Sequence[str]


async def take_out(
    connection: Connection, month: date, departure: Departure, origin: Origin
) -> Left:
    """Take a month out of ``greek_snapshots``; also go on where a run was interrupted.

    Args:
        connection: In autocommit.
        month: The first day of the month.
        departure: The destination of its rows.
        origin: For the files.

    Raises:
        ArchiveFailed: a file is not right, or a lock was not granted in time.  The rows are
            in the database.
        psycopg.Error: any other error of the database.
    """
    leaving = (await read_months(connection)).table(month, LEAVING)
    compared: Sequence[ArchivedPart] = ()
    if leaving is None:
        compared = await _archive(connection, month, departure, origin)
        leaving = await _detach(connection, month)
    parts = await _compare(connection, leaving, departure, origin, compared)
    await _drop(connection, leaving, parts, departure)
    left = Left(
        month,
        sum(part.summary.rows for part in parts),
        leaving.bytes,
        [part.file for part in parts if part.file is not None],
    )
    logger.warning(
        "retention.month_left month=%s rows=%d bytes=%d files=%s kept_in_database=%s",
        month_text(month),
        left.rows,
        left.bytes,
        ",".join(left.files) or "none",
        departure.keep_detached,
    )
    return left


async def _archive(
    connection: Connection, month: date, departure: Departure, origin: Origin
) -> Sequence[ArchivedPart]:
    """Archive the month while it is in the table, so that readers have it meanwhile."""
    table = (await read_months(connection)).table(month)
    if table is None:
        raise ArchiveFailed(f"there is no month {month_text(month)} in the database")
    if departure.directory is None:
        return ()
    source = Month(month, table.identifier, departure.directory, origin)
    return await archive_rows(connection, source)


async def _detach(connection: Connection, month: date) -> MonthTable:
    """Detach and rename the month; return its table under the new name."""
    for attempt in range(_ATTEMPTS):
        if attempt:
            await trio.sleep(_PAUSE_S)
        try:
            if await _try_to_detach(connection, month):
                break
        except psycopg.errors.LockNotAvailable:
            logger.info("retention.table_busy month=%s", month_text(month))
    else:
        raise ArchiveFailed(
            f"the month {month_text(month)} cannot be detached, because other sessions use "
            "greek_snapshots all the time: run the command again at a quieter time"
        )
    leaving = (await read_months(connection)).table(month, LEAVING)
    if leaving is None:
        raise ArchiveFailed(f"the table of {month_text(month)} was renamed meanwhile")
    return leaving


async def _try_to_detach(connection: Connection, month: date) -> bool:
    """Detach and rename; return false if a late tick has attached the month again."""
    months = await read_months(connection)
    table = months.table(month)
    if table is None:
        raise ArchiveFailed(f"the month {month_text(month)} has disappeared")
    if table.is_detaching:
        await connection.execute(_FINALIZE.format(table=table.identifier))
    elif table.is_attached:
        await _refuse_long_transactions(connection)
        await _detach_partition(connection, months, table)
    return await _rename(connection, table.name, partition_name(month) + LEAVING)


async def _detach_partition(
    connection: Connection, months: Months, table: MonthTable
) -> None:
    # Citus cannot do it concurrently.
    is_distributed = (await read_server_kind(connection)).is_distributed
    if not months.has_default and not is_distributed:
        # Outside of any transaction.  The session has a lock_timeout too.
        await connection.execute(_DETACH_CONCURRENTLY.format(table=table.identifier))
        return
    async with connection.transaction():
        await connection.execute(_LOCK_SETTING)
        await connection.execute(_DETACH.format(table=table.identifier))


async def _refuse_long_transactions(connection: Connection) -> None:
    cursor = await connection.execute(_LONG_TRANSACTIONS)
    if found := await cursor.fetchall():
        pid, user, age = found[0]
        raise psycopg.errors.LockNotAvailable(
            f"session {pid} of {user} has used greek_snapshots for {age}"
        )


async def _rename(connection: Connection, name: str, new_name: str) -> bool:
    """Rename a table that is no partition; return false if it is one."""
    table = sql.Identifier(name)
    async with connection.transaction():
        await connection.execute(_LOCK_SETTING)
        await connection.execute(_LOCK.format(table=table))
        cursor = await connection.execute(_IS_ATTACHED, [name])
        if await cursor.fetchall() == [(True,)]:
            return False
        await connection.execute(
            _RENAME.format(table=table, name=sql.Identifier(new_name))
        )
    return True


async def _compare(
    connection: Connection,
    leaving: MonthTable,
    departure: Departure,
    origin: Origin,
    compared: Sequence[ArchivedPart],
) -> Sequence[ArchivedPart]:
    """Return the parts that have exactly the rows of the table."""
    if departure.directory is not None:
        source = Month(leaving.month, leaving.identifier, departure.directory, origin)
        return await archive_rows(connection, source, compared)
    async with one_snapshot(connection):
        found = await summaries(connection, leaving.identifier)
    known = await read_parts(connection, leaving.month)
    return [
        ArchivedPart(
            broker,
            1 + max((k.part for k in known if k.broker == broker), default=0),
            summary,
            None,
            0,
            is_dropped=False,
        )
        for broker, summary in found.items()
    ]


async def _drop(
    connection: Connection,
    leaving: MonthTable,
    parts: Sequence[ArchivedPart],
    departure: Departure,
) -> None:
    """Drop the table, or give it a name of its own, and record it: both or none."""
    async with connection.transaction():
        await connection.execute(_LOCK_SETTING)
        if departure.keep_detached:
            name = await _free_name(connection, partition_name(leaving.month) + KEPT)
            await connection.execute(
                _RENAME.format(table=leaving.identifier, name=sql.Identifier(name))
            )
        else:
            await connection.execute(_DROP.format(table=leaving.identifier))
        for part in parts:
            await write_part(connection, leaving.month, part)
        await mark_dropped(connection, leaving.month)


async def _free_name(connection: Connection, name: str) -> str:
    for number in range(1, 1000):
        free = name if number == 1 else f"{name}_{number}"
        cursor = await connection.execute("select to_regclass(%s) is null", [free])
        if await cursor.fetchall() == [(True,)]:
            return free
    raise ArchiveFailed(f"there are too many tables {name}")
