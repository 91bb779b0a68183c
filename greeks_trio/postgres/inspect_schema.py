"""``check`` for the schema: whether its tables, keys, views and functions are there.

The migrations that are recorded say which of them were made.  A person, a restore of a
part or another program may have removed some since.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import psycopg
from psycopg.rows import tuple_row

from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.errors import SchemaRejected
from greeks_trio.model.findings import Finding
from greeks_trio.postgres.schema.migrate import missing_migrations, schema_directory

_SUBJECT: Final = "tables and views"
_CREATED: Final = re.compile(r"^create (table|view|function) (\w+)", re.MULTILINE)
# Without its key a table stores a tick twice, or no row at all (`on conflict`).
KEYS: Final = {
    "schema_migrations": "primary key (name)",
    "greek_snapshots": "primary key (broker, account_id, contract_key, event_time, "
    "fingerprint)",
    "positions": "primary key (broker, account_id, contract_key, observed_at)",
    "feed_gaps": "constraint feed_gaps_key unique nulls not distinct (broker, "
    "account_id, contract_key, started_at, reason)",
    "trades": "primary key (id)",
}
_RELATIONS: Final = (
    "select name from unnest(%s::text[]) name where to_regclass(name) is null"
)
_FUNCTIONS: Final = """
select distinct name from unnest(%s::text[]) name
where not exists (
    select from pg_proc where proname = name and pg_function_is_visible(oid)
)
"""
_WITHOUT_KEY: Final = """
select name from unnest(%s::text[]) name
where to_regclass(name) is not null and not exists (
    select from pg_constraint where conrelid = to_regclass(name) and contype in ('p', 'u')
)
"""
# Rows of this table change, and PostgreSQL refuses that for a published table without a
# replica identity.
_UNPUBLISHABLE: Final = """
select exists (
    select from pg_class table_
    where oid = to_regclass('feed_gaps')
      and (relreplident = 'n' or relreplident = 'd' and not exists (
        select from pg_index where indrelid = table_.oid and indisprimary))
)
"""


async def inspect_schema(
    connection: psycopg.AsyncConnection[Any], _: DatabaseConfig
) -> list[Finding]:
    """Return the missing parts of a schema whose migrations are all recorded.

    Raises:
        psycopg.Error: there is no answer.
    """
    try:
        if await missing_migrations(connection):
            return []
    except SchemaRejected:
        return []  # another finding says why
    created = _CREATED.findall(schema_directory().joinpath("schema.sql").read_text())
    relations = [name for kind, name in created if kind != "function"]
    functions = [name for kind, name in created if kind == "function"]
    async with connection.cursor(row_factory=tuple_row) as cursor:
        missing = await _names(cursor, _RELATIONS, relations)
        missing += await _names(cursor, _FUNCTIONS, functions)
        keyless = await _names(cursor, _WITHOUT_KEY, list(KEYS))
        await cursor.execute(_UNPUBLISHABLE)
        is_unpublishable = await cursor.fetchone() == (True,)
    found = [_without_key(name) for name in keyless]
    if missing:
        found.append(_missing(missing))
    if is_unpublishable:
        found.append(_without_identity())
    return found or [
        Finding(
            subject=_SUBJECT, verdict="fine", sentence=f"all {len(created)} are there"
        )
    ]


async def _names(
    cursor: psycopg.AsyncCursor[Any], query: str, names: Sequence[str]
) -> list[str]:
    await cursor.execute(query.encode(), [list(names)])
    return [str(name) for (name,) in await cursor.fetchall()]


def _missing(names: Sequence[str]) -> Finding:
    return Finding(
        subject=_SUBJECT,
        verdict="failed",
        sentence=f"missing, although their migrations are recorded: {', '.join(names)}",
        remedy="Restore them from a backup, or move the schema away "
        "(alter schema ... rename to ...), run migrate, and copy the rows back.",
    )


def _without_key(name: str) -> Finding:
    return Finding(
        subject=_SUBJECT,
        verdict="failed",
        sentence=f"{name} has lost its key, so rows can be there twice or are refused",
        remedy=f"Remove rows that are there twice, then: alter table {name} add "
        f"{KEYS[name]};",
    )


def _without_identity() -> Finding:
    return Finding(
        subject=_SUBJECT,
        verdict="warning",
        sentence="feed_gaps has no replica identity, so a publication of it stops its "
        "updates",
        remedy="alter table feed_gaps replica identity full;",
    )
