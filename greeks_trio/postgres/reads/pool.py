"""psycopg's pool for the worker threads: sessions that only read.

Everything in this module blocks and runs in a thread.  The pool has threads of its own,
which end with `ReadPool.close`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Event, Lock
from typing import Any, Final, Self, TypeVar

import msgspec
import psycopg
import trio
from psycopg import sql
from psycopg.abc import PQGenConn
from psycopg.rows import TupleRow
from psycopg_pool import ConnectionPool, PoolTimeout

from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.errors import ReadTooLong, StoreUnavailable
from greeks_trio.postgres.connect import (
    APPLICATION,
    connection_arguments,
    open_connection,
)
from greeks_trio.postgres.failures import store_error, translated
from greeks_trio.postgres.login import login
from greeks_trio.postgres.session_settings import (
    Session,
    read_back_statement,
    read_session,
    refuse_wrong_settings,
    session_settings,
    set_up_statement,
)

T = TypeVar("T")

# The longest wait for a connection: far longer than connecting takes, and short enough for
# a person who looks at a page.
_CONNECT_LIMIT_S: Final = 2.0
# The longest wait for a cancellation.
_CANCEL_LIMIT_S: Final = 1.0
# A read that was between two statements runs the next one within the pause.
_CANCEL_PAUSE_S: Final = 0.1
_CANCEL_ATTEMPTS: Final = 10
# A dashboard that reads once a minute uses its connection again.
_MAX_IDLE_S: Final = 120.0
# An export of a slow client is idle between two steps, but never for so long; see
# `greeks_trio.postgres.reads.reader`.
_IDLE_IN_TRANSACTION_S: Final = 120

_QUERY_CANCELLED: Final = "57014"


class ReadConnection(psycopg.Connection[TupleRow]):
    """A connection of the pool, which tells the reason when it cannot be made.

    Attributes:
        session: The session, once it is set up.
    """

    session: Session | None = None

    @classmethod
    def connect(  # type: ignore[override]
        cls,
        conninfo: str = "",
        *,
        tell: Callable[[psycopg.Error], None],
        **kwargs: Any,  # noqa: ANN401 - passed on
    ) -> Self:
        """Connect, or tell the reason and raise it."""
        try:
            return super().connect(conninfo, **kwargs)
        except psycopg.Error as exc:
            tell(exc)
            raise

    @classmethod
    def _connect_gen(cls, conninfo: str = "") -> PQGenConn[Self]:
        return cls((yield from login(conninfo)))


class Lease:
    """The connection of one read, by which another task can end the read.

    Attributes:
        is_connected: Whether the read has got a connection.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._has_ended = Event()
        self._connection: ReadConnection | None = None
        self._is_cancelled = False
        self._began_at: float | None = None
        self.is_connected = False

    @property
    def has_turn(self) -> bool:
        """Whether a thread has begun with the read."""
        return self._began_at is not None

    def begin(self) -> None:
        """Note that a thread has begun with the read."""
        if self._began_at is None:
            self._began_at = time.perf_counter()

    def running_s(self) -> float:
        """Return the seconds since the thread has begun, 0 before."""
        return 0.0 if self._began_at is None else time.perf_counter() - self._began_at

    @contextmanager
    def on(self, connection: ReadConnection) -> Iterator[None]:
        """Let `cancel` end the query that the block runs on the connection."""
        self.is_connected = True
        with self._lock:
            if self._is_cancelled:
                raise ReadTooLong("the read was cancelled before it began")
            self._connection = connection
        try:
            yield
        finally:
            # Waits for a `cancel` that has begun: it must not end the query of the next
            # read.
            with self._lock:
                self._connection = None
            self._has_ended.set()

    def cancel(self) -> None:
        """End the read, now or as soon as it begins.

        PostgreSQL ignores a request to cancel between two statements, so one request may
        not be enough.  If a request fails, the read ends by its time-out.
        """
        for _ in range(_CANCEL_ATTEMPTS):
            with self._lock:
                self._is_cancelled = True
                if self._connection is None or self._connection.closed:
                    return
                try:
                    self._connection.cancel_safe(timeout=_CANCEL_LIMIT_S)
                except psycopg.Error:
                    return
            if self._has_ended.wait(_CANCEL_PAUSE_S):
                return


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
        self._settings = _settings(config, statement_timeout_s)
        # The pool itself does not say why it cannot connect.
        self._failure: psycopg.Error | None = None
        self._size = size
        self._pool = self._new_pool()

    def run(self, work: Callable[[ReadConnection], T], lease: Lease) -> T:
        """Return the result of the work, which reads, or may be done twice.

        Raises:
            StoreUnavailable: there is no connection, or the connection broke.
            StoreRejected: PostgreSQL refuses a value.
            ReadTooLong: the time-out has passed, or the lease was cancelled.
        """
        lease.begin()
        try:
            return self._attempt(work, lease)
        except _ConnectionLost:
            # The connection may be older than a restart of the server.  Then all idle
            # connections are broken, so the pool checks each of them.
            with translated():
                self._pool.check()
        try:
            return self._attempt(work, lease)
        except _ConnectionLost as lost:
            raise StoreUnavailable("the connection broke") from lost

    def close(self, *, patience_s: float) -> None:
        """End the pool's threads and its idle connections; the others end at their return.

        Args:
            patience_s: Seconds for each thread, which may be connecting at the moment.
        """
        self._pool.close(timeout=patience_s)

    def _new_pool(self) -> ConnectionPool[ReadConnection]:
        return ConnectionPool(
            connection_class=ReadConnection,
            kwargs={**_arguments(self.config), "tell": self._note_failure},
            min_size=0,
            max_size=self._size,
            open=False,
            name="greeks_trio reads",
            max_idle=_MAX_IDLE_S,
            # Without this, the pause between attempts grows to minutes while the database
            # is away, and reads are still refused after it is back.
            reconnect_timeout=_CONNECT_LIMIT_S,
            # The pool connects to one server, so a second thread would be idle.
            num_workers=1,
        )

    def _open(self) -> None:
        pool = self._pool
        try:
            pool.open()
        except (RuntimeError, MemoryError):
            # It counts as open, and has no thread that would ever connect.
            pool.close(timeout=0)
            self._pool = self._new_pool()
            raise

    def _attempt(self, work: Callable[[ReadConnection], T], lease: Lease) -> T:
        try:
            with translated():
                self._open()
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
        self._failure = None
        try:
            connection = self._pool.getconn(timeout=_CONNECT_LIMIT_S)
        except PoolTimeout as exc:
            if self._failure is not None:
                raise store_error(self._failure, may_refuse=False) from self._failure
            raise StoreUnavailable("the database cannot be reached") from exc
        try:
            if connection.session is None:
                connection.session = self._set_up(connection)
            yield connection
        finally:
            if connection.session is None:
                connection.close()
            self._pool.putconn(connection)

    def _set_up(self, connection: ReadConnection) -> Session:
        try:
            return _set_up(connection, self.config, self._settings)
        except psycopg.OperationalError as exc:
            if connection.closed:
                raise _ConnectionLost from exc
            raise

    def _note_failure(self, failure: psycopg.Error) -> None:
        self._failure = failure


class _ConnectionLost(Exception):
    """The connection broke during the work."""


def _set_up(
    connection: ReadConnection, config: DatabaseConfig, settings: Mapping[str, str]
) -> Session:
    """Set and verify the settings; see `greeks_trio.postgres.connect`."""
    pid = connection.info.backend_pid
    session = _ask(connection, set_up_statement(settings, pid, config.schema))
    if session.pid != pid:
        # `open_connection` tries the pooler, which takes two connections and time limits.
        trio.from_thread.run(_try_pooler, config)
        _ask(connection, set_up_statement(settings, session.pid, config.schema))
        again = _ask(connection, read_back_statement(settings))
        session = msgspec.structs.replace(again, homes=session.homes)
    refuse_wrong_settings(session, settings, config.schema)
    return session


def _ask(connection: ReadConnection, statement: sql.Composed) -> Session:
    cursor = connection.execute(statement)
    while cursor.nextset():
        pass
    [(answer,)] = cursor.fetchall()
    return read_session(answer)


async def _try_pooler(config: DatabaseConfig) -> None:
    async with open_connection(config):
        pass


def _settings(config: DatabaseConfig, statement_timeout_s: float) -> dict[str, str]:
    return session_settings(config) | {
        "default_transaction_read_only": "on",
        "statement_timeout": str(math.ceil(statement_timeout_s * 1000)),
        "idle_in_transaction_session_timeout": str(_IDLE_IN_TRANSACTION_S * 1000),
        # Compiling would cost more than these statements.
        "jit": "off",
    }


def _arguments(config: DatabaseConfig) -> dict[str, Any]:
    """Return the arguments of ``connect``; they contain the password as plain text."""
    return connection_arguments(config) | {
        "application_name": f"{APPLICATION} reads",
        # Not `read-write`: a role whose sessions only read is good enough here.
        "target_session_attrs": "prefer-standby" if config.read_hosts else "primary",
        "autocommit": True,
        # A plan that fits every value is a bad plan for partitions.
        "prepare_threshold": None,
    }
