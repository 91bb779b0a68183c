"""Empty the payloads of one month, and give their space back to the disk.

``source_payload`` is most of a row, so an empty one saves most of the space.  An update in
place would leave a table of the old size with holes in it, and ``vacuum full`` would lock
readers out.  Therefore the rows are copied to a new table, which then takes the place of
the old one in one short transaction.  Every step is repeatable after a kill:

1. `NARROW`, a new table, gets the rows with an empty payload.
2. One transaction exchanges the two tables.  It waits for its lock for a second at most.
   The old table is named `WIDE` then.
3. Rows that arrived between the two steps are copied from `WIDE`.
4. Every column but the payload is compared between the two tables, row by row.
5. `WIDE` is dropped.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import date
from typing import Final
from uuid import uuid4

import psycopg
import trio
from psycopg import sql

from greeks_trio.archive.columns import COLUMNS, KEY, NAMES, TEXT_SETTINGS
from greeks_trio.archive.leave import LOCK_LIMIT
from greeks_trio.archive.months import NARROW, WIDE, MonthTable, read_months
from greeks_trio.archive.names import month_text
from greeks_trio.archive.rows import Connection
from greeks_trio.errors import ArchiveFailed
from greeks_trio.postgres.schema.partitions import month_bounds, partition_name

logger = logging.getLogger(__name__)

_ATTEMPTS: Final = 10
_PAUSE_S: Final = 2.0

_EMPTIED: Final = ", ".join(
    "'{}'::jsonb" if each.name == "source_payload" else each.name for each in COLUMNS
)
# For a format of psycopg, which has braces too.
_EMPTIED_FORMAT: Final = _EMPTIED.replace("{}", "{{}}")
_SAME_KEY: Final = " and ".join(f"n.{name} = w.{name}" for name in KEY)
_OTHERS: Final = [each.name for each in COLUMNS if each.name != "source_payload"]
_OF_WIDE: Final = ", ".join(f"w.{name}" for name in _OTHERS)
_OF_NARROW: Final = ", ".join(f"n.{name}" for name in _OTHERS)

_DROP_IF_EXISTS: Final = sql.SQL("drop table if exists {narrow}")
# The check spares the exchange a scan of the table.
_CREATE: Final = sql.SQL(
    "create table {narrow} (like greek_snapshots"
    " including all excluding identity excluding indexes,"
    " constraint month_bounds check (event_time >= {start} and event_time < {end}))"
)
_COPY: Final = sql.SQL(
    f"insert into {{narrow}} ({NAMES}) select {_EMPTIED_FORMAT} from {{table}}"  # noqa: S608
)
# Made after the rows are there: quicker, and a fifth smaller.  Those that are like the
# indexes of the parent become parts of them when the table is attached.
_INDEXES: Final = """
select substring(pg_get_indexdef(i.indexrelid) from ' (USING .*)$'), i.indisunique, c.contype
from pg_index i
left join pg_constraint c
    on c.conindid = i.indexrelid and c.conrelid = i.indrelid and c.contype in ('p', 'u')
where i.indrelid = 'greek_snapshots'::regclass
order by i.indexrelid
"""
_INDEX: Final = sql.SQL("create {unique} index {name} on {narrow} {definition}")
_CONSTRAINT: Final = sql.SQL(
    "alter table {narrow} add constraint {name} {kind} using index {name}"
)
_ANALYZE: Final = sql.SQL("analyze {narrow}")
_EXCHANGE: Final = sql.SQL(
    """
    set local lock_timeout = {limit};
    lock table greek_snapshots in access exclusive mode;
    alter table greek_snapshots detach partition {table};
    alter table {table} rename to {wide};
    alter table {narrow} rename to {table};
    alter table greek_snapshots attach partition {table}
        for values from ({start}) to ({end});
    alter table {table} drop constraint month_bounds
    """
)
_COPY_MISSING: Final = sql.SQL(
    f"insert into greek_snapshots ({NAMES}) overriding system value"  # noqa: S608
    f" select {_EMPTIED_FORMAT} from {{wide}} w"
    f" where not exists (select from {{table}} n where {_SAME_KEY})"
    " on conflict do nothing"
)
_DIFFERENT: Final = sql.SQL(
    f"select count(*) filter (where row({_OF_WIDE}) is distinct from row({_OF_NARROW})),"  # noqa: S608
    f" count(*) from {{wide}} w left join {{table}} n on {_SAME_KEY}"
)
_DROP: Final = sql.SQL("set local lock_timeout = {limit}; drop table {wide}")
_RECORD: Final = """
insert into dropped_payloads (month, rows, bytes_before, bytes_after)
values (%s, %s, %s, pg_total_relation_size(%s::regclass))
"""


@dataclass(frozen=True, slots=True)
class Narrowed:
    """A month without payloads, and its size in bytes before and after."""

    month: date
    rows: int
    bytes_before: int
    bytes_after: int


async def drop_payloads(connection: Connection, month: date) -> Narrowed:
    """Empty the payloads of a month; also go on where a run was interrupted.

    Args:
        connection: In autocommit.
        month: The first day of the month.

    Raises:
        ArchiveFailed: the month is not there or busy, or the copy is not right.
        psycopg.Error: any other error of the database.
    """
    name = partition_name(month)
    wide = (await read_months(connection)).table(month, WIDE)
    if wide is None:
        await _copy(connection, month)
        await _exchange(connection, month)
        wide = (await read_months(connection)).table(month, WIDE)
    if wide is None:
        raise ArchiveFailed(f"the table {name}{WIDE} has disappeared")
    rows = await _compare(connection, wide, sql.Identifier(name))
    async with connection.transaction():
        await connection.execute(_DROP.format(limit=LOCK_LIMIT, wide=wide.identifier))
        await connection.execute(_RECORD, [month, rows, wide.bytes, name])
        cursor = await connection.execute(
            "select pg_total_relation_size(%s::regclass)", [name]
        )
        ((after,),) = await cursor.fetchall()
    logger.warning(
        "retention.payloads_dropped month=%s rows=%d bytes_before=%d bytes_after=%d",
        month_text(month),
        rows,
        wide.bytes,
        after,
    )
    return Narrowed(month, rows, wide.bytes, after)


async def _copy(connection: Connection, month: date) -> None:
    table = (await read_months(connection)).table(month)
    if table is None or not table.is_attached:
        raise ArchiveFailed(f"there is no month {month_text(month)} in the database")
    narrow = sql.Identifier(partition_name(month) + NARROW)
    start, end = (sql.Literal(each.isoformat()) for each in month_bounds(month))
    await connection.execute(_DROP_IF_EXISTS.format(narrow=narrow))
    await connection.execute(_CREATE.format(narrow=narrow, start=start, end=end))
    async with connection.transaction():
        await connection.execute(TEXT_SETTINGS)
        await connection.execute(_COPY.format(narrow=narrow, table=table.identifier))
    await _make_indexes(connection, month)
    await connection.execute(_ANALYZE.format(narrow=narrow))


async def _make_indexes(connection: Connection, month: date) -> None:
    """Give the new table every index and key that the parent has."""
    table = partition_name(month) + NARROW
    narrow = sql.Identifier(table)
    cursor = await connection.execute(_INDEXES)
    for number, (text, is_unique, key) in enumerate(await cursor.fetchall(), start=1):
        # The table takes its indexes along when it is renamed, so the names are new ones.
        name = sql.Identifier(f"{table}_{number}_{uuid4().hex[:8]}")
        statement = _INDEX.format(
            unique=sql.SQL("unique" if is_unique else ""),
            name=name,
            narrow=narrow,
            definition=sql.SQL(text),  # from the catalog
        )
        await connection.execute(statement)
        if key is not None:
            kind = sql.SQL("primary key" if key == "p" else "unique")
            await connection.execute(
                _CONSTRAINT.format(narrow=narrow, name=name, kind=kind)
            )


async def _exchange(connection: Connection, month: date) -> None:
    name = partition_name(month)
    start, end = (sql.Literal(each.isoformat()) for each in month_bounds(month))
    statement = _EXCHANGE.format(
        limit=LOCK_LIMIT,
        table=sql.Identifier(name),
        narrow=sql.Identifier(name + NARROW),
        wide=sql.Identifier(name + WIDE),
        start=start,
        end=end,
    )
    for attempt in range(_ATTEMPTS):
        if attempt:
            await trio.sleep(_PAUSE_S)
        try:
            async with connection.transaction():
                await connection.execute(statement)
        except psycopg.errors.LockNotAvailable:
            logger.info("retention.table_busy month=%s", month_text(month))
        else:
            return
    raise ArchiveFailed(
        f"the payloads of {month_text(month)} cannot be dropped, because other sessions use "
        "greek_snapshots all the time: run the command again at a quieter time"
    )


async def _compare(
    connection: Connection, wide: MonthTable, table: sql.Identifier
) -> int:
    """Copy late rows, compare every row, and return how many there are."""
    names = {"wide": wide.identifier, "table": table}
    async with connection.transaction():
        await connection.execute(TEXT_SETTINGS)
        await connection.execute(_COPY_MISSING.format(**names))
    async with connection.transaction():
        await connection.execute(TEXT_SETTINGS)
        cursor = await connection.execute(_DIFFERENT.format(**names))
        ((different, rows),) = await cursor.fetchall()
    if different:
        raise ArchiveFailed(
            f"{different} rows of {wide.name} are not the same in the month that took its "
            f"place; {wide.name} stays. Compare the two tables, then drop or attach it"
        )
    return int(rows)
