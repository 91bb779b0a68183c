"""Connect to the configured database, set the session up, and keep refusals' SQLSTATE.

A password is sent only to a server that proves that it knows it, see `required_methods`.

`greeks_trio.postgres.login` has the steps of a login.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Final, Self

import msgspec
import psycopg
import trio
from psycopg import sql
from psycopg.abc import PQGenConn
from psycopg.rows import Row, TupleRow

from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.postgres.connection import TrioConnection
from greeks_trio.postgres.failures import translated
from greeks_trio.postgres.login import login
from greeks_trio.postgres.login_threads import run_login
from greeks_trio.postgres.poolers import refuse_shared_sessions
from greeks_trio.postgres.session_settings import (
    Session,
    read_back_statement,
    read_session,
    refuse_wrong_settings,
    session_settings,
    set_up_statement,
)

# Each session adds a slash and a name of its own.
APPLICATION: Final = "greeks_trio"

# Much longer than a healthy server takes to answer a request to cancel.
_CANCEL_LIMIT_S: Final = 2.0

# psycopg takes no less.
_LEAST_LIMIT_S: Final = 2

# A dead peer is noticed after 10 + 3 * 5 s, also while nothing is sent.
_KEEPALIVES: Final = {
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}
# A method in which the server proves that it knows the password, and never sees it.
_WITH_PASSWORD: Final = "scram-sha-256"  # noqa: S105
# libpq may find a password in its own file.
_WITHOUT_PASSWORD: Final = "!password,!md5"  # noqa: S105


def is_same_database(one: DatabaseConfig, other: DatabaseConfig) -> bool:
    """Return whether both name the same database; the login may differ."""
    return (one.servers, one.dbname, one.schema) == (
        other.servers,
        other.dbname,
        other.schema,
    )


def connection_arguments(config: DatabaseConfig) -> dict[str, Any]:
    """Return the arguments for ``connect``; they contain the password as plain text.

    Nothing here depends on the variables of libpq that have a setting of ours.
    """
    return {
        "host": ",".join(server.host for server in config.servers),
        "port": ",".join(str(server.port) for server in config.servers),
        "user": config.user,
        # An empty one lets libpq look into its password file.
        "password": config.password.reveal(),
        "dbname": config.dbname,
        "sslmode": config.sslmode,
        "sslrootcert": str(config.sslrootcert) if config.sslrootcert else None,
        "require_auth": required_methods(config),
        "connect_timeout": _limit_of_one(config),
        # Of several servers or addresses, the one that accepts rows.
        "target_session_attrs": "read-write",
        "application_name": APPLICATION,
        "client_encoding": "utf8",
        # Poolers refuse options; `greeks_trio.postgres.session_settings` sets them.
        "options": "",
        "tcp_user_timeout": math.ceil(config.timeout_s * 1000),
        **_KEEPALIVES,
    }


def _limit_of_one(config: DatabaseConfig) -> int:
    """Return the seconds for each server or address, so that the next is tried in time."""
    return max(
        _LEAST_LIMIT_S, math.ceil(config.timeout_s / max(2, len(config.servers)))
    )


def connect_limit_s(config: DatabaseConfig) -> float:
    """Return the seconds in which every server is tried."""
    others = len(config.servers) - 1
    return max(config.timeout_s, others * _limit_of_one(config) + config.timeout_s / 2)


def required_methods(config: DatabaseConfig) -> str:
    """Return the methods of authentication that we accept, as libpq writes them."""
    by_default = _WITH_PASSWORD if config.password.reveal() else _WITHOUT_PASSWORD
    return config.require_auth or by_default


@asynccontextmanager
async def open_connection(
    config: DatabaseConfig, *, autocommit: bool = False
) -> AsyncIterator[LoginConnection[TupleRow]]:
    """Connect within `connect_limit_s`, and always close at the end.

    The session has `session_settings` and a name of its own.  PostgreSQL rolls back a
    transaction that the block did not commit.

    Raises:
        StoreUnavailable: there is no connection; also for a refused login, a pooler that
            shares sessions, and settings that the session does not keep.
    """
    connection = None
    try:
        with translated(may_refuse=False), trio.fail_after(connect_limit_s(config)):
            connection = await _connect(config)
            await _set_up(connection, config)
            await connection.set_autocommit(autocommit)
        yield connection
    finally:
        if connection is not None:
            connection.close_nowait()


@asynccontextmanager
async def open_to_inspect(
    config: DatabaseConfig,
) -> AsyncIterator[LoginConnection[TupleRow]]:
    """Do as `open_connection` in autocommit, and leave no new schema behind."""
    async with open_connection(config, autocommit=True) as connection:
        try:
            yield connection
        finally:
            if connection.has_made_schema and not connection.closed:
                statement = sql.SQL("drop schema if exists {}").format(
                    sql.Identifier(config.schema)
                )
                with trio.move_on_after(_CANCEL_LIMIT_S, shield=True):
                    # A service may have made its tables there meanwhile.
                    with suppress(psycopg.Error):
                        await connection.execute(statement)


async def _connect(config: DatabaseConfig) -> LoginConnection[TupleRow]:
    arguments = connection_arguments(config)
    # The name tells our session from a later one in the same process of the server.
    arguments["application_name"] = f"{APPLICATION}/{secrets.token_hex(8)}"
    connection = await LoginConnection.connect(autocommit=True, **arguments)
    connection.cancel_limit_s = min(_CANCEL_LIMIT_S, config.timeout_s)
    return connection


async def _set_up(
    connection: LoginConnection[TupleRow], config: DatabaseConfig
) -> None:
    """Set and verify the settings, and recognise a pooler."""
    settings = session_settings(config)
    pid = connection.info.backend_pid
    schema = config.schema
    session = await _ask(connection, set_up_statement(settings, pid, schema))
    if schema and not session.homes:
        await _make_schema(connection, schema)
        session = await _ask(connection, set_up_statement(settings, pid, schema))
    if session.pid != pid:
        await refuse_shared_sessions(connection, partial(_connect, config))
        await _ask(connection, set_up_statement(settings, session.pid, schema))
        # Read by a statement of its own: the settings must outlive a transaction.
        again = await _ask(connection, read_back_statement(settings))
        session = msgspec.structs.replace(
            again, homes=session.homes, role_path=session.role_path
        )
        connection.is_pooled = True
    refuse_wrong_settings(session, settings, schema)
    connection.session = session


async def _make_schema(connection: LoginConnection[TupleRow], schema: str) -> None:
    """Make the schema of a new login, if the role may; else the session says so."""
    statement = sql.SQL("create schema {}").format(sql.Identifier(schema))
    with suppress(
        psycopg.errors.InsufficientPrivilege,
        psycopg.errors.ReadOnlySqlTransaction,
        # Another session makes it at the same moment.
        psycopg.errors.DuplicateSchema,
        psycopg.errors.UniqueViolation,
    ):
        await connection.execute(statement)
        connection.has_made_schema = True


async def _ask(
    connection: LoginConnection[TupleRow], statement: sql.Composed
) -> Session:
    cursor = await connection.execute(statement)
    while cursor.nextset():
        pass
    [(answer,)] = await cursor.fetchall()
    return read_session(answer)


class LoginConnection(TrioConnection[Row]):
    """A `TrioConnection` whose failed ``connect`` carries the server's SQLSTATE.

    Attributes:
        session: The session, as `open_connection` has set it up.
        is_pooled: Whether a pooler is between us and the server.
        has_made_schema: Whether this login has made the schema of GREEKS_DB_SCHEMA.
    """

    session: Session
    is_pooled: bool = False
    has_made_schema: bool = False

    @classmethod
    async def _run_connecting(cls, steps: PQGenConn[Self]) -> Self:
        return await run_login(steps, discard=lambda late: late.pgconn.finish())

    @classmethod
    def _connect_gen(cls, conninfo: str = "") -> PQGenConn[Self]:
        return cls((yield from login(conninfo)))
