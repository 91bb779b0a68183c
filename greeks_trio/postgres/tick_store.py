"""Where ticks go: `TickStore` opens a `CopySink`, which stores batches durably.

The fast path is one binary COPY outside of a transaction block: a transaction of its
own, without the round trips of BEGIN and COMMIT.  It knows nothing of duplicates; one
of them refuses the batch.  The slow path copies into a temporary table and inserts from
there what is not stored yet.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from typing import Final, NamedTuple

import psycopg
import trio
from psycopg.rows import TupleRow

from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.errors import StoreError, StoreRejected, StoreUnavailable
from greeks_trio.model.records import Tick
from greeks_trio.postgres.connect import is_same_database, open_connection
from greeks_trio.postgres.connection import TrioConnection
from greeks_trio.postgres.failures import (
    Trouble,
    is_about_files,
    plain_message,
    translated,
    trouble_of,
)
from greeks_trio.postgres.schema.migrate import bring_up_to_date
from greeks_trio.postgres.schema.months import Month, ensure_months, month_of
from greeks_trio.postgres.schema.partitions import ensure_partitions_ahead
from greeks_trio.postgres.tick_rows import (
    COPY_STAGING,
    COPY_TICKS,
    CREATE_STAGING,
    INSERT_STAGED,
    TYPES,
    tick_row,
)

logger = logging.getLogger(__name__)

# Partitions of an empty database are a convenience: the writer makes what it needs.
_FIRST_PARTITIONS_LIMIT_S: Final = 2.0
# Each deadlock takes the server a second to see, and one is rare enough.
_COLLISION_LIMIT: Final = 3

_MISSING_PARTITION: Final = "23514"  # with the name of a constraint it is a poor row
_DUPLICATE: Final = "23505"
# What a distributed PostgreSQL makes of any error of its shards inside of a COPY.
_UNKNOWN: Final = "XX000"

_WHO_AM_I: Final = """
select pid, backend_start from pg_stat_activity where pid = pg_backend_pid()
"""
# The time of its start tells a session from another one that got its number.
_END_SESSION: Final = """
select pg_terminate_backend(pid, %s) from pg_stat_activity
where pid = %s and backend_start = %s and usename = current_user
"""


class _Backend(NamedTuple):
    """One session, as the server knows it."""

    pid: int
    started_at: datetime


def _today() -> date:
    return datetime.now(UTC).date()


class TickStore:
    """Opens sinks, one after the other or several at a time.

    Remembers the sessions of sinks that ended in the middle of something: whether they
    committed is unknown, and an open transaction would block whoever sends the same
    rows again, so the next `open` ends them first.  Those of other open sinks, and of
    other programs, are left alone.
    """

    def __init__(
        self, config: DatabaseConfig, *, today: Callable[[], date] = _today
    ) -> None:
        self._config = config
        self._today = today
        self._unsettled: set[_Backend] = set()

    def reconfigure(self, config: DatabaseConfig) -> None:
        """Use this configuration for the sinks that are opened from now on.

        When it names another database, open sinks are of no more use: what is written
        shall not be spread over two of them for as long as a connection lasts.
        """
        self._config = config

    def leads_to(self, config: DatabaseConfig) -> bool:
        """Return whether the next sink will be on the database of this configuration."""
        return is_same_database(self._config, config)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[CopySink]:
        """Connect, bring the schema up to date and give out a sink.

        The sink is closed at the end.  Takes at most three times ``config.timeout_s``
        unless there is something to migrate, however busy the table is.

        Raises:
            StoreUnavailable: there is no connection; also for a refused login.
            SchemaRejected: this program and the database do not go together.
        """
        config = self._config
        async with open_connection(config, autocommit=True) as connection:
            backend = await self._settle(connection, config)
            if await bring_up_to_date(connection, look_limit_s=config.timeout_s):
                await self._make_first_partitions(config)
            try:
                yield CopySink(connection, config, lambda: self.leads_to(config))
            finally:
                if connection.closed:
                    self._unsettled.add(backend)

    async def _settle(
        self, connection: TrioConnection[TupleRow], config: DatabaseConfig
    ) -> _Backend:
        """End the sessions whose outcome is unknown, and return our own."""
        with (
            translated(connection, may_refuse=False),
            trio.fail_after(config.timeout_s),
        ):
            # They get half of the time to go.  One that cannot, because it is frozen,
            # goes when it can: it has been told.
            give_up_at = trio.current_time() + config.timeout_s / 2
            for lost in list(self._unsettled):
                wait_ms = math.ceil(1000 * (give_up_at - trio.current_time()))
                await connection.execute(_END_SESSION, [max(1, wait_ms), *lost])
                self._unsettled.discard(lost)
            cursor = await connection.execute(_WHO_AM_I)
            (backend,) = await cursor.fetchall()
        return _Backend(*backend)

    async def _make_first_partitions(self, config: DatabaseConfig) -> None:
        """Make partitions for a database that was empty, as far as that is quick.

        Later it is the partition keeper's work: the table may be busy then.
        """
        try:
            async with open_connection(config, autocommit=True) as connection:
                with (
                    translated(connection, may_refuse=False),
                    trio.fail_after(_FIRST_PARTITIONS_LIMIT_S),
                ):
                    await ensure_partitions_ahead(connection, self._today())
        except StoreError as exc:
            logger.warning("partitions.not_made reason=%s", exc)


class CopySink:
    """Stores batches of ticks over one connection; made by `TickStore.open`."""

    def __init__(
        self,
        connection: TrioConnection[TupleRow],
        config: DatabaseConfig,
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        self._connection = connection
        self._config = config
        self._is_wanted = is_wanted
        # Those whose partition is known to exist.
        self._months: set[Month] = set()
        self._has_staging = False

    async def write(
        self, ticks: Sequence[Tick], *, check_duplicates: bool = False
    ) -> int:
        """Store the ticks, all or none, and return how many rows are new.

        Durable when it returns.  A tick that is stored already is not stored again.
        Takes at most ``config.timeout_s`` seconds and the moment that it takes to give
        up; cancelled, it stores all or none.

        Args:
            ticks: Any number; more than some thousand gain nothing.
            check_duplicates: Expect that some are stored already.  Without it they are
                found out too, but only after the batch has been sent for nothing.

        Raises:
            StoreUnavailable: the same ticks may be offered again, with
                ``check_duplicates``, to another sink: this one is of no more use.
            StoreRejected: PostgreSQL refuses at least one of these ticks; the sink
                remains in use.  With ``rows`` when their month is at fault, which has
                no partition and cannot have one.
        """
        if not ticks:
            return 0
        self._check_wanted()
        try:
            with translated(self._connection), trio.fail_after(self._config.timeout_s):
                return await self._store(ticks, check_duplicates)
        except StoreUnavailable:
            self._connection.close_nowait()
            raise

    async def ping(self) -> None:
        """Return when the server has answered.

        Raises:
            StoreUnavailable: it did not, and this sink is of no more use.
        """
        self._check_wanted()
        try:
            with (
                translated(self._connection, may_refuse=False),
                trio.fail_after(self._config.timeout_s),
            ):
                await self._connection.execute("select")
        except StoreUnavailable:
            self._connection.close_nowait()
            raise

    def _check_wanted(self) -> None:
        if not self._is_wanted():
            raise StoreUnavailable("the configuration names another database now")

    async def _store(self, ticks: Sequence[Tick], check_duplicates: bool) -> int:
        """Store the ticks; again at once when another transaction was in the way."""
        for _ in range(_COLLISION_LIMIT - 1):
            try:
                return await self._store_into_months(ticks, check_duplicates)
            except psycopg.OperationalError as exc:
                if self._connection.closed:
                    raise
                if trouble_of(exc.sqlstate) is not Trouble.COLLISION:
                    raise
                logger.info("sink.collided sqlstate=%s", exc.sqlstate)
                # It was about the same rows, so the other one has stored them.
                check_duplicates = True
        return await self._store_into_months(ticks, check_duplicates)

    async def _store_into_months(
        self, ticks: Sequence[Tick], check_duplicates: bool
    ) -> int:
        await self._ensure_partitions(ticks)
        try:
            return await self._insert(ticks, check_duplicates)
        except psycopg.errors.CheckViolation as exc:
            if exc.sqlstate != _MISSING_PARTITION or exc.diag.constraint_name:
                raise
            # Somebody dropped or detached it.
            self._months.clear()
        await self._ensure_partitions(ticks)
        return await self._insert(ticks, check_duplicates)

    async def _insert(self, ticks: Sequence[Tick], check_duplicates: bool) -> int:
        if not check_duplicates:
            try:
                return await self._copy(COPY_TICKS, ticks)
            except psycopg.DatabaseError as exc:
                if self._connection.closed:
                    raise
                if exc.sqlstate not in (_DUPLICATE, _UNKNOWN):
                    raise
                logger.debug("sink.checking_duplicates sqlstate=%s", exc.sqlstate)
        return await self._merge(ticks)

    async def _copy(self, statement: bytes, ticks: Sequence[Tick]) -> int:
        async with self._connection.cursor() as cursor:
            async with cursor.copy(statement) as copy:
                copy.set_types(TYPES)
                write_row = copy.write_row
                for tick in ticks:
                    await write_row(tick_row(tick))
            return len(ticks)

    async def _merge(self, ticks: Sequence[Tick]) -> int:
        try:
            if not self._has_staging:
                await self._connection.execute(CREATE_STAGING)
                self._has_staging = True
            async with self._connection.transaction():
                await self._copy(COPY_STAGING, ticks)
                cursor = await self._connection.execute(INSERT_STAGED)
                return len(await cursor.fetchall())
        except psycopg.errors.InternalError_ as exc:
            # The second time, and the connection lives: it is about these rows.
            if self._connection.closed or is_about_files(exc.diag.source_file):
                raise
            raise StoreRejected(plain_message(exc), sqlstate=exc.sqlstate) from exc

    async def _ensure_partitions(self, ticks: Sequence[Tick]) -> None:
        """Make the partitions that are missing.

        Raises:
            StoreRejected: one cannot be made, and no other takes those rows.
        """
        months = {month_of(tick) for tick in ticks} - self._months
        if not months:
            return
        # Not on our connection: what waits for a lock there holds up what it has.
        async with open_connection(self._config, autocommit=True) as connection:
            with translated(connection, may_refuse=False):
                await ensure_months(connection, ticks, months)
        self._months |= months
