"""Views of a fleet let a migration of one service's schema pass.

A view of a fleet depends on the views of each service, which a migration may change or
drop.  Before a migration, each such view is replaced by one with the same columns that
depends on nothing.  It keeps its rights, and it fails with a message instead of an answer
without rows.  `greeks_trio.postgres.schema.fleet_views` makes it anew.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from greeks_trio.program import program_name

logger = logging.getLogger(__name__)

# The beginning of the comment of each view that this program has made for a fleet.
MARK: Final = "greeks_trio fleet view"
# An expression that cannot be answered: a text that is no truth value.
_MESSAGE: Final = "a migration has changed this view: run fleet-views again"

_DEPENDENT: Final = b"""
select vn.nspname, v.relname,
    (select json_agg(json_build_array(attname, format_type(atttypid, atttypmod))
        order by attnum)
    from pg_attribute where attrelid = v.oid and attnum > 0 and not attisdropped)
from pg_class v join pg_namespace vn on vn.oid = v.relnamespace
where v.relkind = 'v' and vn.nspname <> current_schema()
  and starts_with(obj_description(v.oid, 'pg_class'), %s)
  and exists (
    select from pg_rewrite r
    join pg_depend d on d.objid = r.oid and d.classid = 'pg_rewrite'::regclass
        and d.refclassid = 'pg_class'::regclass
    join pg_class t on t.oid = d.refobjid
    join pg_namespace tn on tn.oid = t.relnamespace
    where r.ev_class = v.oid and tn.nspname = current_schema())
"""


async def free_fleet_views(connection: psycopg.AsyncConnection[Any]) -> list[str]:
    """Replace the views of a fleet that depend on our schema, and return their names.

    A view of another role stays as it is, because only its owner can replace it.

    Args:
        connection: In the transaction of a migration.
    """
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(_DEPENDENT, [MARK])
        found = await cursor.fetchall()
    freed = []
    for home, view, columns in found:
        name = sql.Identifier(home, view)
        try:
            async with connection.transaction():
                await connection.execute(_stub(name, columns))
                await _mark(connection, name)
        except psycopg.errors.InsufficientPrivilege:
            logger.warning(
                "schema.fleet_view_kept name=%s.%s reason=another role owns it",
                home,
                view,
            )
            continue
        freed.append(f"{home}.{view}")
    if freed:
        logger.warning(
            "schema.fleet_views_freed names=%s remedy=%s fleet-views makes them again, and so"
            " does a running fleet",
            *(", ".join(freed), program_name()),
        )
    return freed


def _stub(view: sql.Identifier, columns: Sequence[tuple[str, str]]) -> sql.Composed:
    """Return the statement that replaces a view by one that depends on nothing."""
    nulls = [
        sql.SQL("null::{} as {}").format(
            sql.SQL(kind),  # from the catalog of the server
            sql.Identifier(column),
        )
        for column, kind in columns
    ]
    statement = "create or replace view {} as select {} where {}::text::boolean"
    return sql.SQL(statement).format(view, sql.SQL(", ").join(nulls), _MESSAGE)


async def _mark(connection: psycopg.AsyncConnection[Any], view: sql.Identifier) -> None:
    """Let `make_fleet_views` see that the view is not the one that it has made."""
    comment = sql.SQL("comment on view {} is {}").format(view, MARK)
    await connection.execute(comment)
