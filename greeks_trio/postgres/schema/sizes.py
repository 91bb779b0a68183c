"""How large the database is: read from the catalog, without a scan of any table."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

import psycopg

from greeks_trio.postgres.schema.partitions import month_bounds

_DATABASE: Final = "select pg_database_size(current_database()), clock_timestamp()"
# A partition that is being exchanged or dropped is locked: a short wait, then no figure.
_MONTHS: Final = """
select c.relname, pg_total_relation_size(c.oid)
from pg_inherits i join pg_class c on c.oid = i.inhrelid
where i.inhparent = to_regclass('greek_snapshots') and c.relkind = 'r'
    and c.relname ~ '^greek_snapshots_[0-9]{4}_(0[1-9]|1[0-2])$'
order by c.relname
"""
# The share of the payload in the width of a row, by the statistics of the newest analyzed
# month.  Compression by TOAST is not in it.
_PAYLOAD: Final = """
select sum(avg_width) filter (where attname = 'source_payload')::float8
    / nullif(sum(avg_width), 0)
from pg_stats
where schemaname = current_schema() and tablename = (
    select max(tablename) from pg_stats
    where schemaname = current_schema()
        and tablename ~ '^greek_snapshots_[0-9]{4}_[0-9]{2}$'
)
"""
_DIRECTORY: Final = """
select case when pg_has_role('pg_read_all_settings', 'usage')
    then current_setting('data_directory', true) end
"""
# A role that only inserts ticks may not read the table.
MAY_READ_ARCHIVED: Final = """
select coalesce(has_table_privilege(to_regclass('archived_months'), 'select'), false)
"""
_ARCHIVED: Final = """
select count(distinct month) from archived_months
where file is not null and dropped_at is not null and loaded_at is null
"""
_NAME: Final = re.compile(r"greek_snapshots_([0-9]{4})_([0-9]{2})")
_DAY_S: Final = 86_400.0
# A month that is younger says too little about a day of it.
_LEAST_DAYS: Final = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseSizes:
    """The size of the database.

    Attributes:
        database_bytes: The whole database.
        months: The first day and the bytes, with indexes, of each month of ticks.
        archived_months: The number of months that are in files only; `None` if the role may
            not know it.
        payload_share: The share of `source_payload` in a row, from 0 to 1; `None` before
            PostgreSQL has analyzed a month.
        data_directory: The directory of the server, `None` if the role may not know it.
        at: The database's clock.
    """

    database_bytes: int
    months: Sequence[tuple[date, int]]
    archived_months: int | None
    payload_share: float | None
    data_directory: str | None
    at: datetime

    @property
    def bytes_per_day(self) -> float | None:
        """Return the growth: that of this month, in its first days that of the last one."""
        for month, size in sorted(self.months, reverse=True):
            start, end = month_bounds(month)
            days = (min(end, self.at.astimezone(UTC)) - start).total_seconds() / _DAY_S
            if days >= _LEAST_DAYS and size > _EMPTY_BYTES:
                return size / days
        return None


# An empty month has the first pages of its indexes.
_EMPTY_BYTES: Final = 128 * 1024


async def read_sizes(connection: psycopg.AsyncConnection[Any]) -> DatabaseSizes:
    """Return the sizes.

    Raises:
        psycopg.Error: any error of the database; the caller may try again.
    """
    async with connection.transaction():
        await connection.execute("set local lock_timeout = '1s'")
        await connection.execute("set local statement_timeout = '10s'")
        ((total, now),) = await _fetch(connection, _DATABASE)
        months = await _fetch(connection, _MONTHS)
        ((share,),) = await _fetch(connection, _PAYLOAD)
        archived = None
        if await _fetch(connection, MAY_READ_ARCHIVED) == [(True,)]:
            ((archived,),) = await _fetch(connection, _ARCHIVED)
        ((directory,),) = await _fetch(connection, _DIRECTORY)
    return DatabaseSizes(
        database_bytes=total,
        months=[(_month(name), size) for name, size in months],
        archived_months=archived,
        payload_share=share,
        data_directory=directory,
        at=now,
    )


async def _fetch(
    connection: psycopg.AsyncConnection[Any], query: str
) -> list[tuple[Any, ...]]:
    cursor = await connection.execute(query.encode())
    return await cursor.fetchall()


def _month(name: str) -> date:
    found = _NAME.fullmatch(name)
    assert found is not None  # noqa: S101 - by the query
    return date(int(found[1]), int(found[2]), 1)
