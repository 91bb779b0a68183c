"""Connect to the configured database, and keep the SQLSTATE of a refused login.

libpq drops the SQLSTATE of a connection that fails.  `LoginConnection` asks libpq for its
verbose messages while it connects: they contain the code.
"""

from __future__ import annotations

import ctypes
import math
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, Self

import psycopg
import trio
from psycopg import pq
from psycopg.abc import PQGenConn
from psycopg.pq.abc import PGconn
from psycopg.rows import Row, TupleRow
from psycopg.waiting import Wait

from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.postgres.connection import TrioConnection
from greeks_trio.postgres.failures import translated

# Much longer than a healthy server takes to answer a request to cancel.
_CANCEL_LIMIT_S: Final = 2.0

# A dead peer is noticed after 10 + 3 * 5 s, also while nothing is sent.
_KEEPALIVES: Final = {
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}
# The same at the server's end.  Without it, the session of a machine that disappeared
# during a COPY would keep its rows locked for two hours.
_SERVER_KEEPALIVES: Final = {
    "tcp_keepalives_idle": 10,
    "tcp_keepalives_interval": 5,
    "tcp_keepalives_count": 3,
}

# The server gives up waiting for a lock before we give up the server: it says why.
_LOCK_SHARE: Final = 0.8


def is_same_database(one: DatabaseConfig, other: DatabaseConfig) -> bool:
    """Return whether both name the same database; the login may differ."""
    return (one.host, one.port, one.dbname) == (other.host, other.port, other.dbname)


def connection_arguments(config: DatabaseConfig) -> dict[str, Any]:
    """Return the arguments for ``connect``; they contain the password as plain text.

    Sessions are in UTC and commit durably.  They end an idle transaction, because the
    locks of a stopped service would hold back all others.
    """
    timeout_ms = math.ceil(config.timeout_s * 1000)
    settings = {
        "TimeZone": "UTC",
        "DateStyle": "ISO",  # psycopg reads no other
        "synchronous_commit": "on",
        "lock_timeout": math.ceil(timeout_ms * _LOCK_SHARE),
        # Our own limits apply; the role's limit is meant for people's queries.
        "statement_timeout": 0,
        "idle_in_transaction_session_timeout": 2 * timeout_ms,
        **_SERVER_KEEPALIVES,
    }
    return {
        "host": config.host,
        "port": config.port,
        "user": config.user,
        "password": config.password.reveal(),
        "dbname": config.dbname,
        "sslmode": config.sslmode,
        "sslrootcert": str(config.sslrootcert) if config.sslrootcert else None,
        # For each address of the host, so that a second one is tried in time.
        "connect_timeout": math.ceil(config.timeout_s / 2),
        # Of several addresses, the one that accepts rows: a failover changes it.
        "target_session_attrs": "read-write",
        "application_name": "greeks_trio",
        "client_encoding": "utf8",
        "tcp_user_timeout": timeout_ms,
        "options": " ".join(f"-c {name}={value}" for name, value in settings.items()),
        **_KEEPALIVES,
    }


@asynccontextmanager
async def open_connection(
    config: DatabaseConfig, *, autocommit: bool = False
) -> AsyncIterator[TrioConnection[TupleRow]]:
    """Connect within ``config.timeout_s`` seconds, and always close at the end.

    PostgreSQL rolls back a transaction that the block did not commit.

    Raises:
        StoreUnavailable: there is no connection; also for a refused login.
    """
    with translated(), trio.fail_after(config.timeout_s):
        connection = await LoginConnection.connect(
            autocommit=autocommit, **connection_arguments(config)
        )
    connection.cancel_limit_s = min(_CANCEL_LIMIT_S, config.timeout_s)
    try:
        yield connection
    finally:
        connection.close_nowait()


_DEFAULT, _VERBOSE = 1, 2
# The server asked for a password and none is configured: treated as a wrong password.
_NO_PASSWORD: Final = "28P01"  # noqa: S105
# The settings that a refused login is about.
_SETTINGS_OF: Final = {
    "28000": "POSTGRES_USER",
    "28P01": "POSTGRES_USER or POSTGRES_PASSWORD",
    "3D000": "POSTGRES_DB",
}
_SERVER_SAYS: Final = re.compile(r":  ([0-9A-Z]{5}): (.*)")


class LoginConnection(TrioConnection[Row]):
    """A `TrioConnection` whose failed ``connect`` carries the server's SQLSTATE."""

    @classmethod
    def _connect_gen(cls, conninfo: str = "") -> PQGenConn[Self]:
        pgconn = pq.PGconn.connect_start(conninfo.encode())
        _set_verbosity(pgconn, _VERBOSE)
        while pgconn.status != pq.ConnStatus.BAD:
            match pgconn.connect_poll():
                case pq.PollingStatus.OK:
                    _set_verbosity(pgconn, _DEFAULT)
                    pgconn.nonblocking = 1
                    return cls(pgconn)
                case pq.PollingStatus.READING:
                    wanted = Wait.R
                case pq.PollingStatus.WRITING:
                    wanted = Wait.W
                case _:
                    break
            while not (yield pgconn.socket, wanted):
                pass
        error = login_error(pgconn.get_error_message())
        if pgconn.needs_password:
            error = psycopg.OperationalError(
                "the server asks for a password; set POSTGRES_PASSWORD"
            )
            error.sqlstate = _NO_PASSWORD
        pgconn.finish()
        raise error


def login_error(text: str) -> psycopg.OperationalError:
    """Return the error for libpq's text: the server's message and our settings."""
    found = _SERVER_SAYS.search(text)
    if found is None:
        return psycopg.OperationalError(text)
    sqlstate, message = found[1], found[2]
    settings = _SETTINGS_OF.get(sqlstate)
    error = psycopg.OperationalError(
        f"{message}; correct {settings}" if settings else message
    )
    error.sqlstate = sqlstate
    return error


def _set_verbosity(pgconn: PGconn, verbosity: int) -> None:
    library = _libpq()
    if library is not None:
        pointer = pgconn.pgconn_ptr  # type: ignore[attr-defined]
        library.PQsetErrorVerbosity(ctypes.c_void_p(pointer), verbosity)


def _libpq() -> Any:  # noqa: ANN401
    # Through psycopg's extension module the loader finds the libpq that psycopg uses.
    extension = sys.modules[pq.PGconn.__module__].__file__
    if extension is None or extension.endswith(".py"):
        return None
    return ctypes.CDLL(extension)
