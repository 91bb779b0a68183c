"""``check`` for a session: the pooler, settings, schema, login, and number of connections."""

from __future__ import annotations

from typing import Any, Final

import psycopg
import trio
from psycopg import sql
from psycopg.rows import dict_row

from greeks_trio.config.settings import DatabaseConfig, HttpConfig
from greeks_trio.errors import StoreError
from greeks_trio.model.findings import Finding, Verdict
from greeks_trio.postgres.connect import LoginConnection, required_methods
from greeks_trio.postgres.failures import translated
from greeks_trio.postgres.proving import commit_something
from greeks_trio.postgres.session_settings import Session

# The writer, the replayer, the journal and the refresh of latest_ticks keep one each.
_KEPT: Final = 4
# The partition keeper; and the start, a new month or the trial of a pooler.
_SHORT: Final = 2
# The sizes once a minute, and retention once a day: its work and its lock.
_STORAGE: Final = 3

_SERVER: Final = """
select
    current_setting('fsync') as fsync,
    current_setting('full_page_writes') as full_page_writes,
    current_setting('synchronous_standby_names') as standbys,
    (select max(age(datfrozenxid)) from pg_database) as oldest_transaction,
    (select string_agg(distinct case a.grantee
            when 0 then 'public' else pg_get_userbyid(a.grantee)::text end, ', ')
     from pg_namespace n, aclexplode(n.nspacl) a
     where n.nspname = current_schema() and a.privilege_type = 'CREATE'
       and a.grantee not in (n.nspowner, current_user::regrole::oid)) as makers
"""
# Autovacuum freezes at 200 million by default, so this age means that it cannot.
_OLD_TRANSACTION: Final = 1_000_000_000
_LIMITS: Final = """
select
    current_user::text as role,
    nullif(r.rolconnlimit, -1) as of_role,
    nullif(d.datconnlimit, -1) as of_database,
    d.datname::text as database,
    case when r.rolsuper then 0
        else current_setting('superuser_reserved_connections')::int
            + coalesce(current_setting('reserved_connections', true)::int, 0)
    end as reserved,
    current_setting('max_connections')::int as of_server,
    (select count(*) from pg_stat_activity
     where backend_type = 'client backend'
       and application_name not like 'greeks_trio%%') as others
from pg_roles r, pg_database d
where r.rolname = current_user and d.datname = current_database()
"""


def connections_needed(http: HttpConfig | None, *, watches_limits: bool = False) -> int:
    """Return the most connections that the service has at a time."""
    reads = http.max_reads + http.max_exports if http is not None else 0
    return _KEPT + _SHORT + _STORAGE + reads + watches_limits


async def inspect_session(
    connection: psycopg.AsyncConnection[Any], config: DatabaseConfig
) -> list[Finding]:
    """Return the facts about the way to the server and about our session.

    Args:
        connection: One of `open_connection`, so its settings are verified.
        config: The configuration that it was opened with.
    """
    assert isinstance(connection, LoginConnection)  # noqa: S101 - see above
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_SERVER)
        server = await cursor.fetchone()
    assert server is not None  # noqa: S101 - the query always has one row
    session = connection.session
    return [
        _pooler(is_pooled=connection.is_pooled),
        _settings(session),
        _login(connection, config),
        _schema(session, server["makers"]),
        _durability(server),
        _transaction_ids(server["oldest_transaction"]),
        await _commits(connection, config, server["standbys"]),
    ]


async def _commits(
    connection: LoginConnection, config: DatabaseConfig, standbys: str
) -> Finding:
    """Return whether a commit takes effect; it changes no table.

    A server answers queries also if it has no more transaction ids, or if each commit
    waits for a standby that is away.
    """
    try:
        with translated(connection), trio.fail_after(config.timeout_s):
            await commit_something(connection)
    except StoreError as exc:
        return Finding(
            subject="commit",
            verdict="failed",
            sentence=f"the server does not commit: {exc}",
            remedy=f"Start one of the standby servers '{standbys}', or change "
            "synchronous_standby_names."
            if standbys
            else None,
        )
    return _fine("commit", "the server commits")


def _pooler(*, is_pooled: bool) -> Finding:
    if is_pooled:
        return _fine("pooler", "a pooler keeps one session for each client")
    return _fine("pooler", "none")


def _settings(session: Session) -> Finding:
    number = len(session.settings)
    return _fine("session settings", f"{number} settings are in force, as read back")


def _login(connection: psycopg.AsyncConnection[Any], config: DatabaseConfig) -> Finding:
    by = "with a password" if connection.pgconn.used_password else "without a password"
    accepted = required_methods(config)
    if not {"password", "md5"} & set(accepted.split(",")):
        return _fine("login", f"{by}; accepted methods: {accepted}")
    return Finding(
        subject="login",
        verdict="warning",
        sentence=f"{by}; POSTGRES_REQUIRE_AUTH={accepted} lets the server, or another in "
        "its place, ask for the password in a form that can be stolen",
        remedy="Use scram-sha-256, or POSTGRES_SSLMODE=verify-full.",
    )


def _schema(session: Session, makers: str | None) -> Finding:
    if session.strangers:
        names = ", ".join(
            f"{each.schema} (of {each.owner})" for each in session.strangers
        )
        return Finding(
            subject="schema",
            verdict="warning",
            sentence=f"{session.schema} is in use; {names} has tables of the same names",
            remedy="Drop or rename the tables that are not used.",
        )
    if makers:
        revoke = sql.SQL("revoke create on schema {} from ...;")
        return Finding(
            subject="schema",
            verdict="warning",
            sentence=f"{session.schema}, in which {makers} can make functions that run "
            "with the rights of this role",
            remedy=revoke.format(sql.Identifier(session.schema)).as_string(),
        )
    return _fine("schema", session.schema)


def _durability(server: dict[str, Any]) -> Finding:
    off = [name for name in ("fsync", "full_page_writes") if server[name] == "off"]
    if off:
        return Finding(
            subject="durability",
            verdict="warning",
            sentence=f"{' and '.join(off)} is off, so a crash of the server's machine "
            "loses or damages committed ticks",
            remedy=f"Set {' and '.join(f'{each} = on' for each in off)} in postgresql.conf.",
        )
    standbys = server["standbys"]
    waits = f"; it waits for the standby {standbys}" if standbys else ""
    return _fine("durability", f"a commit is on the disk of the server{waits}")


def _transaction_ids(age: int) -> Finding:
    """Return whether the server will run out of transaction ids; it has 2^31."""
    if age <= _OLD_TRANSACTION:
        return _fine("transaction ids", f"the oldest is {age:,} transactions old")
    return Finding(
        subject="transaction ids",
        verdict="warning",
        sentence=f"the oldest is {age:,} transactions old, and the server stops at about "
        "2,100,000,000",
        remedy="Let autovacuum run, end old transactions and prepared ones, drop unused "
        "replication slots, then run vacuum freeze in each database.",
    )


async def inspect_connections(
    connection: psycopg.AsyncConnection[Any], needed: int
) -> list[Finding]:
    """Return whether the server lets the service have its connections.

    Args:
        connection: Any connection of the service's role.
        needed: See `connections_needed`.
    """
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_LIMITS)
        row = await cursor.fetchone()
    assert row is not None  # noqa: S101 - the query always has one row
    role, database = sql.Identifier(row["role"]), sql.Identifier(row["database"])
    free = row["of_server"] - row["reserved"] - row["others"]
    limits = [
        (
            row["of_role"],
            f"the role {row['role']} may have",
            sql.SQL("alter role {} connection limit {};").format(role, needed),
        ),
        (
            row["of_database"],
            f"the database {row['database']} may have",
            sql.SQL("alter database {} connection limit {};").format(database, needed),
        ),
        (free, "the server has free", sql.SQL("Raise max_connections.")),
    ]
    short = [
        Finding(
            subject="connections",
            verdict=_verdict_of(limit),
            sentence=f"the service uses up to {needed}, and {holder} {limit}",
            remedy=f"{remedy.as_string()} Or lower GREEKS_HTTP_MAX_READS and "
            "GREEKS_HTTP_MAX_EXPORTS.",
        )
        for limit, holder, remedy in limits
        if limit is not None and limit < needed
    ]
    return short or [_fine("connections", f"up to {needed}, and {free} are free")]


def _verdict_of(limit: int) -> Verdict:
    return "failed" if limit < _KEPT + _SHORT else "warning"


def _fine(subject: str, sentence: str) -> Finding:
    return Finding(subject=subject, verdict="fine", sentence=sentence)
