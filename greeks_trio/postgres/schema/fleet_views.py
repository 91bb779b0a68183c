"""Views over the schemas of several services, in a schema of their own.

Each view of the services' schemas has one with ``fleet_`` in front of its name: the rows of
all services, with the column ``service`` first.  The list comes from the catalog, so the
schemas may have different versions.  They are plain views, which need no rights beyond
those of their owner.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import sql

from greeks_trio.errors import SchemaRejected
from greeks_trio.postgres.schema.fleet_catalog import SourceView, fetch, read_sources
from greeks_trio.postgres.schema.fleet_stubs import MARK

PREFIX: Final = "fleet_"
_LOCK_TIMEOUT: Final = b"set local lock_timeout = '5s'"
_EXISTING: Final = b"""
select c.relname, coalesce(obj_description(c.oid, 'pg_class'), ''), coalesce((
    select json_agg(json_build_array(r.rolname, acl.privilege_type))
    from aclexplode(c.relacl) acl left join pg_roles r on r.oid = acl.grantee
    where acl.grantee <> c.relowner), '[]')
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = %s and starts_with(c.relname, 'fleet_')
"""
_HAS_SCHEMA: Final = b"select from pg_namespace where nspname = %s"
_CAST: Final = b"""
select from pg_cast where castsource = %s::regtype and casttarget = %s::regtype
"""


@dataclass(frozen=True, slots=True)
class FleetViews:
    """The outcome of `make_fleet_views`.

    Attributes:
        names: All views.
        changed: Those that were made, replaced or dropped now.
        left_out: A sentence for each service, or part of one, that is not in the views.
    """

    names: list[str]
    changed: list[str]
    left_out: list[str]


@dataclass(frozen=True, slots=True)
class _Existing:
    """A view that is there.

    Attributes:
        grants: The rights of other roles; the role `None` is everybody.
    """

    comment: str
    grants: Sequence[tuple[str | None, str]]


async def make_fleet_views(
    connection: psycopg.AsyncConnection[Any], home: str, schemas: Mapping[str, str]
) -> FleetViews:
    """Make or replace the views in one transaction.

    A view that is as it should be stays untouched.

    Args:
        connection: Outside a transaction.
        home: The schema of the views; it is made if it does not exist.
        schemas: The schema of each service, by the name of the service.

    Raises:
        SchemaRejected: there is nothing to make views of, or the server refused.
        psycopg.Error: any other error.
    """
    try:
        async with connection.transaction():
            await connection.execute(_LOCK_TIMEOUT)
            return await _make(connection, home, schemas)
    except (
        psycopg.ProgrammingError,
        psycopg.errors.DependentObjectsStillExist,
    ) as exc:
        raise SchemaRejected(
            f"the database refused the views of the fleet: {exc}", sqlstate=exc.sqlstate
        ) from exc


async def has_fleet_views(connection: psycopg.AsyncConnection[Any], home: str) -> bool:
    """Return whether a schema has views of `make_fleet_views`."""
    rows = await fetch(connection, _EXISTING, home)
    return any(comment.startswith(MARK) for _, comment, _ in rows)


async def _make(
    connection: psycopg.AsyncConnection[Any], home: str, schemas: Mapping[str, str]
) -> FleetViews:
    sources = await read_sources(connection, schemas)
    if not sources.views:
        reasons = "; ".join(sources.left_out)
        raise SchemaRejected(f"no service has tables to make views of: {reasons}")
    if not await fetch(connection, _HAS_SCHEMA, home):
        made = sql.SQL("create schema {}").format(sql.Identifier(home))
        await connection.execute(made)
    existing = {
        name: _Existing(comment, grants)
        for name, comment, grants in await fetch(connection, _EXISTING, home)
    }
    maker = _Maker(connection, home, sources.left_out)
    changed, names = [], []
    for name, views in sorted(sources.views.items()):
        names.append(f"{PREFIX}{name}")
        if await maker.make(name, views, existing.pop(names[-1], None)):
            changed.append(names[-1])
    for name, each in existing.items():
        if each.comment.startswith(MARK):
            await maker.drop(name)
            changed.append(name)
    return FleetViews(names, changed, sources.left_out)


class _Maker:
    def __init__(
        self,
        connection: psycopg.AsyncConnection[Any],
        home: str,
        left_out: list[str],
    ) -> None:
        self._connection = connection
        self._home = home
        self._left_out = left_out

    async def make(
        self, name: str, views: list[SourceView], existing: _Existing | None
    ) -> bool:
        """Make one view, and return whether there was another one, or none."""
        view = sql.Identifier(self._home, f"{PREFIX}{name}")
        query = await self._query(name, views)
        text = query.as_string(self._connection)
        mark = f"{MARK} {hashlib.sha256(text.encode()).hexdigest()[:16]}"
        if existing is not None and existing.comment.startswith(mark):
            return False
        if existing is not None and not existing.comment.startswith(MARK):
            raise SchemaRejected(
                f"{self._home}.{PREFIX}{name} is there and is not a view of this program: "
                "rename it, or choose another schema for the views"
            )
        await self._replace(view, query, () if existing is None else existing.grants)
        about = f"{mark}: {views[0].about}, of each service"
        await self._run("comment on view {} is {}", view, sql.Literal(about))
        return True

    async def drop(self, name: str) -> None:
        """Drop a view that no service has any more."""
        await self._run("drop view {}", sql.Identifier(self._home, name))

    async def _replace(
        self,
        view: sql.Identifier,
        query: sql.Composed,
        grants: Iterable[tuple[str | None, str]],
    ) -> None:
        # It fails where a column has gone, or has another type.
        with suppress(psycopg.errors.InvalidTableDefinition):
            async with self._connection.transaction():
                await self._run("create or replace view {} as {}", view, query)
            return
        await self._run("drop view {}", view)
        await self._run("create view {} as {}", view, query)
        for role, right in grants:
            to = sql.SQL("public") if role is None else sql.Identifier(role)
            await self._run("grant {} on {} to {}", _as_is(right), view, to)

    async def _query(self, name: str, views: list[SourceView]) -> sql.Composed:
        """Return the rows of all services; a column that a service lacks is null there."""
        types: dict[str, str] = {}
        for each in views:
            types |= {
                column: kind
                for column, kind in each.types.items()
                if column not in types
            }
        selects = []
        for each in views:
            columns: list[sql.Composable] = [
                sql.SQL("{}::text as service").format(each.service)
            ]
            for column, kind in types.items():
                columns.append(await self._column(name, each, column, kind))
            selects.append(
                sql.SQL("select {} from {}").format(
                    sql.SQL(", ").join(columns), sql.Identifier(each.schema, name)
                )
            )
        return sql.SQL(" union all ").join(selects)

    async def _column(
        self, name: str, view: SourceView, column: str, kind: str
    ) -> sql.Composable:
        has = view.types.get(column)
        identifier = sql.Identifier(column)
        if has == kind:
            return identifier
        value: sql.Composable = sql.SQL("null")
        if has is not None:
            if await fetch(self._connection, _CAST, has, kind):
                value = identifier
            else:
                self._left_out.append(
                    f"{view.service}: {name}.{column} has the type {has} and not {kind}"
                )
        return sql.SQL("{}::{} as {}").format(value, _as_is(kind), identifier)

    async def _run(self, statement: str, *parts: sql.Composable) -> None:
        await self._connection.execute(_as_is(statement).format(*parts))


def _as_is(text: str) -> sql.SQL:
    """Return a text of ours, or of the catalog of the server, as a part of a statement."""
    return sql.SQL(text)
