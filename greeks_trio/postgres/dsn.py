"""From the configuration to a connection."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import trio
from psycopg.rows import TupleRow

from greeks_trio.config import DatabaseConfig
from greeks_trio.postgres.connection import TrioConnection
from greeks_trio.postgres.login import LoginConnection
from greeks_trio.postgres.translate import translated

# What a healthy server takes to answer a request to cancel, with much to spare.
_CANCEL_LIMIT_S: Final = 2.0

# A dead peer is noticed after 10 + 3 * 5 s even when nothing is being sent.
_KEEPALIVES: Final = {
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}
# The same at the server's end: the session of a machine that has vanished in the middle
# of a COPY would keep its rows locked for two hours.
_SERVER_KEEPALIVES: Final = {
    "tcp_keepalives_idle": 10,
    "tcp_keepalives_interval": 5,
    "tcp_keepalives_count": 3,
}

# A server that waits for a lock gives up before we give it up, and says so.
_LOCK_SHARE: Final = 0.8


def is_same_database(one: DatabaseConfig, other: DatabaseConfig) -> bool:
    """Return whether both lead to the same place, with whatever login."""
    return (one.host, one.port, one.dbname) == (other.host, other.port, other.dbname)


def connection_arguments(config: DatabaseConfig) -> dict[str, Any]:
    """Return the arguments for ``connect``; they hold the password in the clear.

    Sessions are in UTC, commit durably, and give up their locks: an open transaction of
    a service that was stopped in its tracks would hold up everybody else.
    """
    timeout_ms = math.ceil(config.timeout_s * 1000)
    settings = {
        "TimeZone": "UTC",
        "DateStyle": "ISO",  # the only one that psycopg reads
        "synchronous_commit": "on",
        "lock_timeout": math.ceil(timeout_ms * _LOCK_SHARE),
        # Our own limits are the ones that count; a role's is made for people's queries.
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
        # For each address of the host; the second one gets its chance too.
        "connect_timeout": math.ceil(config.timeout_s / 2),
        # Of several addresses the one that takes rows: after a failover it is another.
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
    """Connect within ``config.timeout_s`` seconds; close at the end in any case.

    What the block did not commit is rolled back.

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
