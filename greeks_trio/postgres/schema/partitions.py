"""The monthly partitions of ``greek_snapshots``.

``create table ... partition of`` takes an exclusive lock on the parent: it waits behind
every open reader, and all other sessions wait behind it.  Therefore a partition is made as
a table of its own and then attached; that lock does not disturb readers and writers.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import psycopg
from psycopg.rows import tuple_row

logger = logging.getLogger(__name__)

# Any number; every program that makes partitions here must use the same.
_PARTITION_LOCK: Final = 7_402_318_915_520_032
# `read committed` sees commits that happened during the wait for the lock.  Attaching
# waits only for other DDL, which is rare and short.
_TRANSACTION: Final = """
set transaction isolation level read committed;
set local lock_timeout = '2s'
"""

_EXISTING: Final = """
select child.relname
from pg_inherits
join pg_class child on child.oid = inhrelid
where inhparent = 'greek_snapshots'::regclass
"""
# It runs with the rights of the owner of the tables, see ``db/schema.sql``.
_MAKE: Final = "select make_month(%s)"
# The condition that the rows of each partition fulfil, also of partitions that another
# program made.  It is null for a single default partition, which takes all rows.
_CONSTRAINTS: Final = """
select coalesce(pg_get_partition_constraintdef(inhrelid), 'true')
from pg_inherits where inhparent = 'greek_snapshots'::regclass
"""
_UNCOVERED: Final = """
select distinct event_time from unnest(%s::timestamptz[]) as moments (event_time)
where not ({covered})
"""


def month_bounds(month: date) -> tuple[datetime, datetime]:
    """Return the first moment of the month that has this day, and of the next, UTC."""
    start = datetime(month.year, month.month, 1, tzinfo=UTC)
    return start, _next_month(start)


def partition_name(month: date) -> str:
    """Return the name of the partition of the month that has this day."""
    return f"greek_snapshots_{month.year:04d}_{month.month:02d}"


async def existing_partitions(connection: psycopg.AsyncConnection[Any]) -> set[str]:
    """Return the names of the attached partitions."""
    async with (
        connection.transaction(),
        connection.cursor(row_factory=tuple_row) as cursor,
    ):
        await cursor.execute(_EXISTING)
        return {str(name) for (name,) in await cursor.fetchall()}


async def ensure_partition(
    connection: psycopg.AsyncConnection[Any], month: date
) -> bool:
    """Make and attach the month's partition; return false when it existed.

    Two programs may do this at the same time; readers and writers of other months are
    not disturbed.  A detached table of that name is attached again.

    Args:
        connection: A separate one, outside a transaction.  Inside the transaction that
            writes the rows, the new partition would block others until its end.
        month: Any day of the month, UTC.

    Raises:
        psycopg.Error: for instance a lock timeout; the caller may try again.
    """
    name = partition_name(month)
    if name in await existing_partitions(connection):
        return False
    async with connection.transaction():
        await connection.execute(_TRANSACTION)
        await connection.execute("select pg_advisory_xact_lock(%s)", [_PARTITION_LOCK])
        if name in await existing_partitions(connection):
            return False
        await connection.execute(_MAKE, [date(month.year, month.month, 1)])
    logger.info("partition.made name=%s", name)
    return True


async def announce_partition(
    connection: psycopg.AsyncConnection[Any], month: date
) -> None:
    """Let all sessions plan their prepared statements again.

    A statement that was planned while the partition was being attached does not look into
    it, until something about the table changes.

    Args:
        connection: As for `ensure_partition`.
        month: Any day of a month that has a partition, UTC.

    Raises:
        psycopg.Error: for instance a lock timeout; the caller may try again.
    """
    try:
        async with connection.transaction():
            await connection.execute(_TRANSACTION)
            await connection.execute(_MAKE, [date(month.year, month.month, 1)])
    except psycopg.errors.FeatureNotSupported as exc:
        # Citus refuses the change that tells the sessions.  There, each statement is planned
        # anew by the node that has the partition.
        logger.debug("partition.not_announced reason=%s", exc.diag.message_primary)


async def objection_to_partition(
    connection: psycopg.AsyncConnection[Any], month: date
) -> str:
    """Return why the month's partition cannot be made; empty if it can be.

    It is made and taken back.  Writers are not disturbed.

    Raises:
        psycopg.Error: the connection is lost.
    """
    try:
        async with connection.transaction(force_rollback=True):
            await connection.execute("set local lock_timeout = '2s'")
            await connection.execute(_MAKE, [date(month.year, month.month, 1)])
    except psycopg.Error as exc:
        if connection.closed:
            raise
        return exc.diag.message_primary or str(exc)
    return ""


async def ensure_partitions_ahead(
    connection: psycopg.AsyncConnection[Any], today: date, months: int = 2
) -> list[str]:
    """Make the partitions of this month and the next ones; return the new names.

    ``today`` is the day in UTC, ``months`` the number of months after the present one.
    ``connection`` is as for `ensure_partition`.
    """
    made = []
    month, _ = month_bounds(today)
    for _ in range(months + 1):
        if await ensure_partition(connection, month):
            made.append(partition_name(month))
        month = _next_month(month)
    return made


async def uncovered_moments(
    connection: psycopg.AsyncConnection[Any], moments: Collection[datetime]
) -> set[datetime]:
    """Return the moments without a partition; partitions of other programs count."""
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(_CONSTRAINTS)
        covered = [f"({constraint})" for (constraint,) in await cursor.fetchall()]
        # The text comes from the catalog, so nothing in it needs quoting.
        query = _UNCOVERED.format(covered=" or ".join(covered) or "false")
        await cursor.execute(query.encode(), [list(moments)])
        return {moment for (moment,) in await cursor.fetchall()}


async def covered_months(
    connection: psycopg.AsyncConnection[Any], today: date, months: int
) -> int:
    """Return how many months from the present one on have partitions, without a hole.

    Args:
        connection: Any connection.
        today: The day in UTC.
        months: The most months to look at.
    """
    starts = [month_bounds(today)[0]]
    while len(starts) < months:
        starts.append(_next_month(starts[-1]))
    # A partition may begin or end within a month.
    edges = {
        start: {start, _next_month(start) - timedelta(microseconds=1)}
        for start in starts
    }
    uncovered = await uncovered_moments(connection, set().union(*edges.values()))
    for number, start in enumerate(starts):
        if edges[start] & uncovered:
            return number
    return months


def _next_month(start: datetime) -> datetime:
    if start.year == 9999 and start.month == 12:
        return datetime.max.replace(tzinfo=UTC)  # there is no later moment
    if start.month == 12:
        return start.replace(year=start.year + 1, month=1)
    return start.replace(month=start.month + 1)
