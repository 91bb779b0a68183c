"""The views of several services' schemas, as the catalog has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

_SCHEMAS: Final = b"""
select n.nspname, has_schema_privilege(n.oid, 'USAGE'), c.oid is not null,
    coalesce(has_table_privilege(c.oid, 'SELECT'), false)
from pg_namespace n
left join pg_class c on c.relnamespace = n.oid and c.relname = 'schema_migrations'
where n.nspname = any (%s)
"""
# Views named `kept_...` are internal.
_COLUMNS: Final = b"""
select n.nspname, c.relname, has_table_privilege(c.oid, 'SELECT'),
    coalesce(obj_description(c.oid, 'pg_class'), ''),
    json_agg(json_build_array(a.attname, format_type(a.atttypid, a.atttypmod))
        order by a.attnum)
from pg_class c join pg_namespace n on n.oid = c.relnamespace
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
where c.relkind = 'v' and c.relname !~ '^kept_' and n.nspname = any (%s)
group by n.nspname, c.oid, c.relname
"""


@dataclass(frozen=True, slots=True)
class SourceView:
    """A view in the schema of a service.

    Attributes:
        about: Its comment.
        types: The type of each column, in order.
    """

    service: str
    schema: str
    about: str
    types: Mapping[str, str]


@dataclass(slots=True)
class Sources:
    """The views of all services.

    Attributes:
        views: Each by its name, that of the newest version first.
        left_out: A sentence for each service, or part of one, that is not there.
    """

    views: dict[str, list[SourceView]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


async def read_sources(
    connection: psycopg.AsyncConnection[Any], schemas: Mapping[str, str]
) -> Sources:
    """Return the views in the schemas of the services.

    Args:
        connection: The connection.
        schemas: The schema of each service, by the name of the service.
    """
    sources = Sources()
    versions = await _versions(connection, schemas, sources)
    newest = max(versions.values(), default="")
    rows = await fetch(connection, _COLUMNS, list(schemas.values()))
    found = {(schema, name): tuple(rest) for schema, name, *rest in rows}
    for service in sorted(versions, key=lambda each: versions[each] != newest):
        schema = schemas[service]
        if versions[service] != newest:
            sources.left_out.append(
                f"{service}: its schema is at {versions[service]} and not at {newest}: "
                "views and columns that it lacks are missing or empty"
            )
        for name in sorted(view for of, view in found if of == schema):
            may_read, about, columns = found[schema, name]
            if may_read:
                view = SourceView(service, schema, about, dict(columns))
                sources.views.setdefault(name, []).append(view)
            else:
                reason = f"the role may not read {schema}.{name}"
                sources.left_out.append(f"{service}: {reason}")
    return sources


async def _versions(
    connection: psycopg.AsyncConnection[Any],
    schemas: Mapping[str, str],
    sources: Sources,
) -> dict[str, str]:
    """Return the newest migration of each service whose schema can be read."""
    rows = await fetch(connection, _SCHEMAS, list(schemas.values()))
    found = {schema: facts for schema, *facts in rows}
    versions = {}
    for service, schema in schemas.items():
        fault = _fault(schema, found.get(schema))
        if fault:
            sources.left_out.append(f"{service}: {fault}")
            continue
        query = sql.SQL("select coalesce(max(name), 'no migration') from {}")
        table = sql.Identifier(schema, "schema_migrations")
        [(versions[service],)] = await fetch(connection, query.format(table))
    return versions


def _fault(schema: str, facts: list[bool] | None) -> str:
    if facts is None:
        return f"its schema {schema} does not exist yet"
    may_use, has_tables, may_read = facts
    if not may_use:
        return f"the role may not use its schema {schema}"
    if not has_tables:
        return f"its schema {schema} has no tables yet"
    return "" if may_read else f"the role may not read the tables in {schema}"


async def fetch(
    connection: psycopg.AsyncConnection[Any],
    query: bytes | sql.Composed,
    *parameters: object,
) -> list[tuple[Any, ...]]:
    """Return all rows of a query."""
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(query, parameters or None)
        return await cursor.fetchall()
