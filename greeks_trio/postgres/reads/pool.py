"""psycopg's pool, as the worker threads see it: sessions that only read.

Everything here blocks and runs in a thread.  The pool itself has threads of its own,
which end with `ReadPool.close`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Lock
from typing import Any, Final, TypeAlias, TypeVar

import psycopg
from psycopg.rows import TupleRow
from psycopg_pool import ConnectionPool, PoolTimeout

from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.errors import ReadTooLong, StoreUnavailable
from greeks_trio.postgres.connect import connection_arguments
from greeks_trio.postgres.failures import translated

T = TypeVar("T")
ReadConnection: TypeAlias = psycopg.Connection[TupleRow]

# How long a question waits for a connection: far longer than connecting takes, and short
# enough for somebody who looks at a page.
_CONNECT_LIMIT_S: Final = 2.0
# Somebody who asks to cancel does not wait any longer for that.
_CANCEL_LIMIT_S: Final = 1.0
# A dashboard that asks once a minute finds its connection still there.
_MAX_IDLE_S: Final = 120.0
# An export whose client takes its time is idle between two steps; longer than this it
# cannot be, see `greeks_trio.postgres.reads.reader`.
_IDLE_IN_TRANSACTION_S: Final = 120

_QUERY_CANCELLED: Final = "57014"


class Lease:
    """The connection that one read has at the moment, so that another can end it.

    Attributes:
        has_turn: Whether a thread has begun with it.
        is_connected: Whether there was a connection for it.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._connection: ReadConnection | None = None
        self._is_cancelled = False
        self.has_turn = False
        self.is_connected = False

    @contextmanager
    def on(self, connection: ReadConnection) -> Iterator[None]:
        """Let `cancel` end what the block does on the connection."""
        self.is_connected = True
        with self._lock:
            if self._is_cancelled:
                raise ReadTooLong("given up")
            self._connection = connection
        try:
            yield
        finally:
            # Waits for a `cancel` that has begun: it must not hit the next one's query.
            with self._lock:
                self._connection = None

    def cancel(self) -> None:
        """End the read that is under way, or will be."""
        with self._lock:
            self._is_cancelled = True
            if self._connection is not None and not self._connection.closed:
                # Its failure is no news: the read ends by its timeout then.
                with suppress(psycopg.Error):
                    self._connection.cancel_safe(timeout=_CANCEL_LIMIT_S)


class ReadPool:
    """Connections to one database.

    Args:
        size: Most connections at a time.
        statement_timeout_s: Seconds after which the server ends a statement.
    """

    def __init__(
        self, config: DatabaseConfig, *, size: int, statement_timeout_s: float
    ) -> None:
        self.config = config
        self._pool = ConnectionPool(
            kwargs=_arguments(config, statement_timeout_s),
            min_size=0,
            max_size=size,
            open=False,
            name="greeks_trio reads",
            max_idle=_MAX_IDLE_S,
            # Or the pause between its attempts grows to minutes while the database is
            # away, and reads stay refused for as long after it is back.
            reconnect_timeout=_CONNECT_LIMIT_S,
            # It connects to one server: a second thread has nothing to do.
            num_workers=1,
        )

    def run(self, work: Callable[[ReadConnection], T], lease: Lease) -> T:
        """Return what the work returns, which reads, or may be done twice.

        Raises:
            StoreUnavailable: there is no connection, or it broke.
            StoreRejected: PostgreSQL refuses a value.
            ReadTooLong: the time was up, or the lease was cancelled.
        """
        lease.has_turn = True
        try:
            return self._attempt(work, lease)
        except _ConnectionLost:
            # It had been waiting here since before a restart of the server, perhaps, and
            # so had the others.
            with translated():
                self._pool.check()
        try:
            return self._attempt(work, lease)
        except _ConnectionLost as lost:
            raise StoreUnavailable("the connection broke") from lost

    def close(self, *, patience_s: float) -> None:
        """End the pool's threads and its idle connections; the others at their return.

        Args:
            patience_s: Seconds for each thread, which may be connecting just now.
        """
        self._pool.close(timeout=patience_s)

    def _attempt(self, work: Callable[[ReadConnection], T], lease: Lease) -> T:
        try:
            with translated():
                self._pool.open()
                with self._connection() as connection, lease.on(connection):
                    try:
                        return work(connection)
                    except psycopg.OperationalError as exc:
                        if connection.closed:
                            raise _ConnectionLost from exc
                        raise
        except StoreUnavailable as exc:
            if exc.sqlstate == _QUERY_CANCELLED:
                raise ReadTooLong(str(exc), sqlstate=exc.sqlstate) from exc
            raise

    @contextmanager
    def _connection(self) -> Iterator[ReadConnection]:
        try:
            connection = self._pool.getconn(timeout=_CONNECT_LIMIT_S)
        except PoolTimeout as exc:
            raise StoreUnavailable("the database cannot be reached") from exc
        try:
            yield connection
        finally:
            self._pool.putconn(connection)


class _ConnectionLost(Exception):
    """The connection broke during the work."""


def _arguments(config: DatabaseConfig, statement_timeout_s: float) -> dict[str, Any]:
    """Return the arguments of ``connect``; they hold the password in the clear."""
    arguments = connection_arguments(config)
    settings = {
        "default_transaction_read_only": "on",
        "statement_timeout": math.ceil(statement_timeout_s * 1000),
        "idle_in_transaction_session_timeout": _IDLE_IN_TRANSACTION_S * 1000,
        # Compiling costs more than these statements do.
        "jit": "off",
    }
    options = " ".join(f"-c {name}={value}" for name, value in settings.items())
    return arguments | {
        "application_name": "greeks_trio reads",
        # A later setting wins.
        "options": f"{arguments['options']} {options}",
        # Not read-write: libpq would take our read-only sessions for a standby's.
        "target_session_attrs": "primary",
        "autocommit": True,
        # A plan for any value is a bad plan for partitions.
        "prepare_threshold": None,
    }
