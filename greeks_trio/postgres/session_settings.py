"""The settings of our sessions: set after connecting, read back, and refused if wrong.

A pooler between us and the server drops settings that the first message of a connection
carries, so they are set by a statement.  One message sets them, pins ``search_path`` and
reads everything back.

The schema with our tables is the one of GREEKS_DB_SCHEMA.  Without that setting it is the
first one on the role's ``search_path`` that holds ``schema_migrations``.  Any role that
may create schemas can make one named as our role, which comes first on that path.
Therefore a table that belongs to us, to the owner of the database or to a superuser wins,
and two tables of strangers are refused.  From then on the path has only the schema that
was found.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import msgspec
from psycopg import sql

from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.errors import StoreUnavailable

# The server gives up waiting for a lock before we give up the server: it says why.
_LOCK_SHARE: Final = 0.8

# The same at the server's end as `greeks_trio.postgres.connect` has at ours.  Without it,
# the session of a machine that disappeared during a COPY would keep its rows locked for
# two hours.  A session over a local socket reads them back as 0.
_KEEPALIVES: Final = {
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}

# Every name here is the one of ``pg_settings``, and every value is in its unit.
# "default_transaction_read_only" is left to the server: hosts turn it on for a disk that is
# nearly full, and libpq connects only where it is off.
_ALWAYS: Final = {
    # The promise: a commit that was acknowledged survives a crash.
    "synchronous_commit": "on",
    # The text of times, numbers and other values.  psycopg reads only ISO dates.
    "TimeZone": "UTC",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "client_encoding": "UTF8",
    "standard_conforming_strings": "on",
    "array_nulls": "on",
    # The catalog quotes a name only where it must; the schema is compared by its words.
    "quote_all_identifiers": "off",
    # A refused row ends its statement and not the session.
    "exit_on_error": "off",
    # The role's limits are meant for people's queries; ours are in the program.
    "statement_timeout": "0",
    "idle_session_timeout": "0",
    "transaction_timeout": "0",
    # Statements that expect to see what others committed meanwhile.
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
}
# Version 17 and newer.
_NEWER: Final = frozenset({"transaction_timeout"})

# The limit comes first: the role's own one counts for each statement of the message.
_SET_UP: Final = sql.SQL("""
select pg_catalog.set_config(
    'statement_timeout', '0', pg_catalog.pg_backend_pid() <> {pid});
select pg_catalog.set_config('greeks_trio.path', {path}::pg_catalog.text, true);
select pg_catalog.set_config('search_path', 'pg_catalog', true);
select set_config('greeks_trio.homes', coalesce(json_agg(home)::text, '[]'), true)
from (
    select
        n.nspname as schema,
        r.rolname as owner,
        c.oid is not null as has_tables,
        has_schema_privilege(n.oid, 'USAGE') as is_usable,
        t.is_trusted
    from unnest(current_setting('greeks_trio.path')::name[])
        with ordinality as path (schema, place)
    join pg_namespace n on n.nspname = path.schema
    left join pg_class c
        on c.relnamespace = n.oid
        and c.relname = 'schema_migrations'
        and c.relkind in ('r', 'p')
        and exists (
            select from pg_attribute a where a.attrelid = c.oid and a.attname = 'sha256')
    join pg_roles r on r.oid = coalesce(c.relowner, n.nspowner)
    join pg_roles me on me.rolname = current_user
    join pg_database d on d.datname = current_database()
    cross join lateral (
        select r.oid in (me.oid, d.datdba)
            or r.rolsuper
            or r.rolname = 'pg_database_owner'
            or (not me.rolsuper and pg_has_role(me.oid, r.oid, 'member'))
    ) t (is_trusted)
    where n.nspname not in ('pg_catalog', 'information_schema')
    order by c.oid is null, c.oid is not null and not t.is_trusted, path.place
) home;
select set_config(name, value, pg_backend_pid() <> {pid})
from unnest({names}::text[], {values}::text[]) as wanted (name, value)
where exists (select from pg_settings s where s.name = wanted.name);
select set_config(
    'search_path',
    coalesce(quote_ident(homes -> 0 ->> 'schema') || ', ', '') || 'pg_temp',
    pg_backend_pid() <> {pid})
from (select current_setting('greeks_trio.homes')::json) as found (homes);
""")
_READ_BACK: Final = sql.SQL("""
select pg_catalog.json_build_object(
    'pid', pg_catalog.pg_backend_pid(),
    'user', current_user,
    'path', pg_catalog.current_setting('search_path'),
    'role_path', pg_catalog.current_setting('greeks_trio.path', true),
    'homes', nullif(pg_catalog.current_setting('greeks_trio.homes', true), '')
        ::pg_catalog.json,
    'settings', (
        select pg_catalog.json_object_agg(s.name, s.setting)
        from pg_catalog.pg_settings s
        where s.name = any ({names}::pg_catalog.text[])
    )
)::pg_catalog.text
""")


class Home(msgspec.Struct, frozen=True):
    """A schema on the role's ``search_path`` that may hold our tables.

    Attributes:
        schema: The name.
        owner: The owner of ``schema_migrations``; without that table, of the schema.
        has_tables: Whether ``schema_migrations`` is there.
        is_usable: Whether our role has the right USAGE.  Without it the server would
            skip the schema and make tables in the temporary one.
        is_trusted: Whether the owner is our role, the owner of the database, a superuser
            or a role of which ours is a member.
    """

    schema: str
    owner: str
    has_tables: bool
    is_usable: bool
    is_trusted: bool


class Session(msgspec.Struct, frozen=True):
    """One session on the server, as the server describes it.

    Attributes:
        pid: The process at the server.
        user: The role whose rights apply.
        path: The ``search_path`` in force.
        settings: The settings in force, in the units of ``pg_settings``.
        homes: The schemas in which our tables can be, the one in use first.
        role_path: The existing schemas on the role's own ``search_path``, or the one
            that is configured.
    """

    pid: int
    user: str
    path: str
    settings: Mapping[str, str]
    homes: list[Home] | None = None
    role_path: str | None = None

    @property
    def schema(self) -> str:
        """The schema of our tables; empty if the role sees none."""
        return self.homes[0].schema if self.homes else ""

    @property
    def strangers(self) -> list[Home]:
        """The schemas with tables like ours that are not used."""
        return [home for home in (self.homes or [])[1:] if home.has_tables]


def session_settings(config: DatabaseConfig) -> dict[str, str]:
    """Return the settings of a session that writes.

    They end an idle transaction, because the locks of a stopped service would hold back
    all others.
    """
    timeout_ms = math.ceil(config.timeout_s * 1000)
    return {
        **_ALWAYS,
        "lock_timeout": str(math.ceil(timeout_ms * _LOCK_SHARE)),
        "idle_in_transaction_session_timeout": str(2 * timeout_ms),
    }


def set_up_statement(
    settings: Mapping[str, str], pid: int, schema: str = ""
) -> sql.Composed:
    """Return the statements that set and read back the settings, for one round trip.

    Args:
        settings: The settings.
        pid: The process that the server named while connecting.  If another process
            executes the statements, a pooler is in the way, and they change nothing
            beyond themselves.
        schema: The schema of the tables; empty to look for it on the role's path.
    """
    path = sql.SQL("array[{}]::pg_catalog.name[]").format(sql.Literal(schema))
    every = {**_KEEPALIVES, **settings}
    set_up = _SET_UP.format(
        pid=sql.Literal(pid),
        path=path if schema else sql.SQL("pg_catalog.current_schemas(false)"),
        names=sql.Literal(list(every)),
        values=sql.Literal(list(every.values())),
    )
    return set_up + read_back_statement(settings)


def read_back_statement(settings: Mapping[str, str]) -> sql.Composed:
    """Return the query for a `Session`."""
    return _READ_BACK.format(names=sql.Literal(list(settings)))


def read_session(answer: str) -> Session:
    """Return the session that the server describes."""
    return msgspec.json.decode(answer, type=Session)


def refuse_wrong_settings(
    session: Session, wanted: Mapping[str, str], schema: str = ""
) -> None:
    """Return if the session has the settings, and one schema for our tables.

    Raises:
        StoreUnavailable: a setting has another value, or the schema is in doubt; a person
            has to act.
    """
    wrong = [
        f"{name} is {session.settings.get(name)!r} and not {value!r}"
        for name, value in wanted.items()
        if session.settings.get(name) != value
        and not (name in _NEWER and name not in session.settings)
    ]
    if wrong:
        raise StoreUnavailable(
            f"the session does not keep its settings: {'; '.join(wrong)}; remove the "
            "part between this program and PostgreSQL that drops SET, or connect to "
            "PostgreSQL itself",
            needs_person=True,
        )
    if problem := _doubt_about_schema(session, schema):
        raise StoreUnavailable(problem, sqlstate="3F000", needs_person=True)


def _doubt_about_schema(session: Session, schema: str) -> str | None:
    homes = session.homes or []
    if schema:
        if not homes:
            return _missing_schema(session, schema)
        return None if homes[0].is_usable else _closed_schema(session, homes[0])
    if not homes:
        return (
            f"role {session.user} has no schema for the tables: create one, and name it "
            f"with: alter role {session.user} set search_path = ..."
        )
    first, rivals = homes[0], session.strangers
    if first.is_trusted or (first.has_tables and not rivals):
        return None
    if first.has_tables:
        found = ", ".join(
            f"{each.schema} (of {each.owner})" for each in [first, *rivals]
        )
        return (
            f"more than one schema has tables of this program: {found}; choose one with: "
            f"alter role {session.user} set search_path = ..."
        )
    return (
        f"schema {first.schema} belongs to {first.owner}; role {session.user} and the "
        "owner of the database are others; choose the schema for the tables with: "
        f"alter role {session.user} set search_path = ..."
    )


def _closed_schema(session: Session, home: Home) -> str:
    command = sql.SQL("grant usage, create on schema {} to {}").format(
        sql.Identifier(home.schema), sql.Identifier(session.user)
    )
    return (
        f"the schema {home.schema} of GREEKS_DB_SCHEMA belongs to {home.owner}, and role "
        f"{session.user} may not use it: {command.as_string()}"
    )


def _missing_schema(session: Session, schema: str) -> str:
    command = sql.SQL("create schema {} authorization {}").format(
        sql.Identifier(schema), sql.Identifier(session.user)
    )
    return (
        f"the schema {schema} of GREEKS_DB_SCHEMA does not exist, and role "
        f"{session.user} may not make it: {command.as_string()}"
    )
