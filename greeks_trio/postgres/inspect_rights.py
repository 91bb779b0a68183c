"""``check`` for the database: the server, the schema, the rights of the role, and TLS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.rows import dict_row, tuple_row

from greeks_trio.config.addresses import is_this_machine
from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.errors import SchemaRejected
from greeks_trio.model.findings import Finding
from greeks_trio.postgres.schema.migrate import (
    missing_migrations,
    rehearse,
)
from greeks_trio.postgres.schema.partitions import covered_months
from greeks_trio.postgres.schema.schema_files import load_migrations
from greeks_trio.waiting import utc_now

_MIGRATIONS: Final = "migrations"
_VERIFYING: Final = ("verify-ca", "verify-full")
# The rights that the service uses, by table.
NEEDED: Final[dict[str, Sequence[str]]] = {
    "schema_migrations": ("SELECT",),
    "greek_snapshots": ("SELECT", "INSERT"),
    "positions": ("SELECT", "INSERT"),
    "account_values": ("SELECT", "INSERT"),
    "market_metrics": ("SELECT", "INSERT"),
    "feed_gaps": ("SELECT", "INSERT", "UPDATE"),
    "feed_coverage": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "leases": ("SELECT", "INSERT", "UPDATE"),
    "estimated_greeks": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "trades": ("SELECT", "INSERT"),
    "position_tags": ("SELECT", "INSERT", "UPDATE", "DELETE"),
}
# For the limits of alerts.toml.
NEEDED_FOR_LIMITS: Final[dict[str, Sequence[str]]] = {
    "alert_states": ("SELECT", "INSERT", "UPDATE"),
    "alert_events": ("SELECT", "INSERT"),
    "alert_deliveries": ("SELECT", "INSERT", "UPDATE"),
}
_ROLE: Final = """
select current_user::text as role, current_database()::text as database,
       current_schema()::text as schema,
       coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) as may_create,
       coalesce(has_function_privilege(
           to_regprocedure('make_month(date)'), 'EXECUTE'), false) as may_make_months,
       (select pg_has_role(relowner, 'USAGE') from pg_class
        where oid = to_regclass('greek_snapshots')) as is_owner,
       (select pg_get_userbyid(relowner)::text from pg_class
        where oid = to_regclass('greek_snapshots')) as owner
"""
_MISSING: Final = """
select name, right_
from unnest(%s::text[], %s::text[]) as needed (name, right_)
where to_regclass(name) is not null
  and not has_table_privilege(to_regclass(name), right_)
"""
_TLS: Final = (
    "select ssl, version, cipher from pg_stat_ssl where pid = pg_backend_pid()"
)


async def inspect_schema_state(
    connection: psycopg.AsyncConnection[Any], _: DatabaseConfig
) -> list[Finding]:
    """Return whether the schema is that of this program; as ``serve`` finds out.

    In an empty database, all migrations are tried and taken back.
    """
    try:
        lacking = await missing_migrations(connection)
        if len(lacking) == len(load_migrations()):
            await rehearse(connection)
    except SchemaRejected as exc:
        return [Finding(subject="database", verdict="failed", sentence=str(exc))]
    version = connection.info.parameter_status("server_version")
    state = "the schema is in place"
    if lacking:
        state = f"it lacks {', '.join(lacking)}, which serve applies"
    return [
        Finding(
            subject="database",
            verdict="fine",
            sentence=f"PostgreSQL {version}, {state}",
        )
    ]


async def inspect_rights(
    connection: psycopg.AsyncConnection[Any], _: DatabaseConfig
) -> list[Finding]:
    """Return whether the role has the rights that the service needs."""
    try:
        lacking = bool(await missing_migrations(connection))
    except SchemaRejected:
        lacking = False  # `inspect_schema_state` says so
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_ROLE)
        role = await cursor.fetchone()
    assert role is not None  # noqa: S101 - the query always has one row
    if missing := await missing_rights(connection, NEEDED):
        return [_lacks_rights(role["role"], missing)]
    if lacking:
        return [_makes_tables(role, needs=_MIGRATIONS)]
    is_due = role["owner"] and not await covered_months(connection, utc_now().date(), 1)
    return [
        _makes_tables(role, needs="the partition of this month" if is_due else None)
    ]


async def inspect_rights_for_limits(
    connection: psycopg.AsyncConnection[Any],
) -> list[Finding]:
    """Return a finding if the role lacks a right that the limits of alerts need."""
    if not (missing := await missing_rights(connection, NEEDED_FOR_LIMITS)):
        return []
    cursor = await connection.execute("select current_user::text")
    [(role,)] = await cursor.fetchall()
    return [_lacks_rights(role, missing)]


async def missing_rights(
    connection: psycopg.AsyncConnection[Any], needed: Mapping[str, Sequence[str]]
) -> list[tuple[str, str]]:
    """Return the tables and rights that the role lacks; tables that exist only."""
    pairs = [(name, right) for name, rights in needed.items() for right in rights]
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(
            _MISSING, [list(each) for each in zip(*pairs, strict=True)]
        )
        return await cursor.fetchall()


async def inspect_tls(
    connection: psycopg.AsyncConnection[Any], config: DatabaseConfig
) -> list[Finding]:
    """Return how the connection is protected on its way."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_TLS)
        row = await cursor.fetchone() or {"ssl": False}
    used = f"{row['version']}, {row['cipher']}" if row["ssl"] else "not used"
    if all(map(is_this_machine, config.hosts)):
        return [_tls("fine", f"{used}; the server is on this machine")]
    if config.sslmode in _VERIFYING:
        return [_tls("fine", f"{used}; the server is verified ({config.sslmode})")]
    problem = "another machine could pretend to be the server"
    if not row["ssl"]:
        problem = "everybody on the way can read the rows"
    return [
        _tls(
            "warning",
            f"{used}; with POSTGRES_SSLMODE={config.sslmode} {problem}",
            "Set POSTGRES_SSLMODE=verify-full, and POSTGRES_SSLROOTCERT to the "
            "certificate of the server's authority.",
        )
    ]


def _tls(verdict: Any, sentence: str, remedy: str | None = None) -> Finding:  # noqa: ANN401
    return Finding(subject="TLS", verdict=verdict, sentence=sentence, remedy=remedy)


def _lacks_rights(role: str, missing: Sequence[tuple[str, str]]) -> Finding:
    named = ", ".join(f"{right} on {name}" for name, right in missing)
    grants = (
        sql.SQL("grant {} on {} to {};").format(
            sql.SQL(right.lower()), sql.Identifier(name), sql.Identifier(role)
        )
        for name, right in missing
    )
    return Finding(
        subject="rights",
        verdict="failed",
        sentence=f"the role {role} lacks {named}",
        remedy=" ".join(each.as_string() for each in grants),
    )


def _makes_tables(role: dict[str, Any], *, needs: str | None) -> Finding:
    """Return whether the role can make tables.

    Args:
        role: The row of `_ROLE`.
        needs: The tables that are missing now.
    """
    name, schema = role["role"], role["schema"]
    if schema is None:
        return Finding(
            subject="rights",
            verdict="failed",
            sentence=f"the search_path of the role {name} has no schema that exists",
            remedy="Make the schema, or set search_path for the role.",
        )
    may_attach = role["is_owner"] is not False
    if role["may_create"] and may_attach:
        return Finding(
            subject="rights",
            verdict="fine",
            sentence=f"the role {name} may write rows and make tables",
        )
    if role["may_make_months"] and needs != _MIGRATIONS:
        return Finding(
            subject="rights",
            verdict="fine",
            sentence=f"the role {name} may write rows and have months made",
        )
    if not role["may_create"]:
        lack = f"may not make tables in the schema {schema}"
        grant = sql.SQL("grant create on schema {} to {};").format(
            sql.Identifier(schema), sql.Identifier(name)
        )
    else:
        lack = f"does not own greek_snapshots, which belongs to {role['owner']}"
        grant = sql.SQL("grant {} to {};").format(
            sql.Identifier(role["owner"]), sql.Identifier(name)
        )
    use = needs or "the partitions of later months"
    return Finding(
        subject="rights",
        verdict="failed" if needs else "warning",
        sentence=f"the role {name} {lack}, so it cannot make {use}",
        remedy=grant.as_string(),
    )
