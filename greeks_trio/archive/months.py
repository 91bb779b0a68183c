"""The months of ``greek_snapshots`` in the catalog, and tables that only look like them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from greeks_trio.archive.columns import COLUMNS, NOT_ARCHIVED
from greeks_trio.errors import ArchiveFailed
from greeks_trio.postgres.schema.partitions import month_bounds, partition_name
from greeks_trio.program import program_name

# A month that has left the table, and waits to be dropped.
LEAVING: Final = "_leaving"
# A month's rows without payloads, before they take the place of the others.
NARROW: Final = "_narrow"
# The rows with payloads, after that.
WIDE: Final = "_wide"
# A month that an operator wants to keep outside of the table.
KEPT: Final = "_kept"

_KIND: Final = """
select relkind, exists (
    select from pg_namespace join pg_class c on c.relnamespace = pg_namespace.oid
    where nspname = '_timescaledb_catalog' and c.relname = 'hypertable'
)
from pg_class where oid = to_regclass('greek_snapshots')
"""
_COLUMNS: Final = """
select attname from pg_attribute
where attrelid = 'greek_snapshots'::regclass and attnum > 0 and not attisdropped
"""
_TABLES: Final = """
select c.relname, i.inhrelid is not null, coalesce(i.inhdetachpending, false),
    c.reltuples::bigint, pg_total_relation_size(c.oid),
    pg_get_expr(c.relpartbound, c.oid), c.relkind
from pg_class c
left join pg_inherits i on i.inhrelid = c.oid
    and i.inhparent = 'greek_snapshots'::regclass
where c.relkind in ('r', 'f', 'p') and (i.inhrelid is not null or (
    c.relnamespace = (select relnamespace from pg_class
        where oid = 'greek_snapshots'::regclass)
    and c.relname ~ '^greek_snapshots_[0-9]{4}_[0-9]{2}(_leaving|_narrow|_wide)?$'
))
order by c.relname
"""
_NAME: Final = re.compile(r"greek_snapshots_([0-9]{4})_([0-9]{2})(_[a-z]+)?")


@dataclass(frozen=True, slots=True)
class MonthTable:
    """A table with the rows of one month.

    Attributes:
        suffix: Empty for the month itself, else `LEAVING`, `NARROW` or `WIDE`.
        is_attached: Whether it is a partition of ``greek_snapshots``.
        is_detaching: Whether a concurrent detach has begun and not ended.
        rows: PostgreSQL's estimate, -1 if it has none.
        bytes: Its size with indexes and TOAST.
    """

    month: date
    name: str
    suffix: str
    is_attached: bool
    is_detaching: bool
    rows: int
    bytes: int

    @property
    def identifier(self) -> sql.Identifier:
        """Return its name for a statement."""
        return sql.Identifier(self.name)


@dataclass(frozen=True, slots=True)
class Months:
    """The tables of all months, oldest first, and the partitions that are not ours.

    Attributes:
        foreign: The names of partitions that have another name or other bounds.
        has_default: Whether one of them is the default partition.
    """

    tables: Sequence[MonthTable]
    foreign: Sequence[str]
    has_default: bool

    def table(self, month: date, suffix: str = "") -> MonthTable | None:
        """Return the table of a month, `None` if there is none."""
        return next(
            (t for t in self.tables if (t.month, t.suffix) == (month, suffix)), None
        )

    @property
    def attached(self) -> Sequence[MonthTable]:
        """Return the months that are partitions."""
        return [each for each in self.tables if each.is_attached]


async def read_months(connection: psycopg.AsyncConnection[Any]) -> Months:
    """Return the tables of the months.

    Raises:
        ArchiveFailed: another program manages ``greek_snapshots``, or it has other
            columns than this program knows.
    """
    await _refuse_foreign_table(connection)
    tables, foreign, has_default = [], [], False
    for row in await _fetch(connection, _TABLES):
        name, is_attached, is_detaching, rows, size, bound, kind = row
        has_default = has_default or bound == "DEFAULT"
        found = _month_of(name)
        is_ours = kind == "r" and found is not None
        if is_attached and not (is_ours and _has_bounds(bound, name)):
            foreign.append(name)
        elif found is not None and is_ours:
            month, suffix = found
            tables.append(
                MonthTable(month, name, suffix, is_attached, is_detaching, rows, size)
            )
    return Months(tables, foreign, has_default)


def present_month(database_now: datetime, our_now: datetime) -> date:
    """Return the month that counts as the present one.

    It is the earlier one of the two clocks.  A clock that runs a year ahead must not make
    months old.
    """
    earlier = min(database_now, our_now).astimezone(UTC)
    return date(earlier.year, earlier.month, 1)


def months_before(month: date, number: int) -> date:
    """Return the month that is ``number`` months earlier."""
    index = month.year * 12 + month.month - 1 - number
    return date(max(1, index // 12), index % 12 + 1, 1)


async def _refuse_foreign_table(connection: psycopg.AsyncConnection[Any]) -> None:
    rows = await _fetch(connection, _KIND)
    if not rows:
        raise ArchiveFailed(
            f"the database has no table greek_snapshots: run {program_name()} migrate"
        )
    kind, has_timescale = rows[0]
    if kind != "p":
        other = " (a hypertable of TimescaleDB)" if has_timescale else ""
        raise ArchiveFailed(
            f"greek_snapshots{other} has no partitions by month, so this command does "
            "not change it; a retention policy of TimescaleDB can"
        )
    names = {name for (name,) in await _fetch(connection, _COLUMNS)}
    if names != (known := {NOT_ARCHIVED, *(each.name for each in COLUMNS)}):
        odd = ", ".join(sorted(names ^ known))
        raise ArchiveFailed(
            f"greek_snapshots has other columns than this program archives ({odd}): "
            "remove the columns that were added, or install the matching version"
        )


async def _fetch(
    connection: psycopg.AsyncConnection[Any], query: str
) -> list[tuple[Any, ...]]:
    async with (
        connection.transaction(),
        connection.cursor(row_factory=tuple_row) as cursor,
    ):
        # The bounds are in the time zone of the session.
        await cursor.execute("set local timezone = 'UTC'; set local datestyle = 'ISO'")
        await cursor.execute(query.encode())
        return await cursor.fetchall()


def _month_of(name: str) -> tuple[date, str] | None:
    found = _NAME.fullmatch(name)
    if found is None or not 1 <= int(found[2]) <= 12 or int(found[1]) < 1:
        return None
    return date(int(found[1]), int(found[2]), 1), found[3] or ""


def _has_bounds(bound: str, name: str) -> bool:
    found = _month_of(name)
    if found is None or found[1] or partition_name(found[0]) != name:
        return False
    start, end = (f"{each:%Y-%m-%d} 00:00:00+00" for each in month_bounds(found[0]))
    return bound == f"FOR VALUES FROM ('{start}') TO ('{end}')"
