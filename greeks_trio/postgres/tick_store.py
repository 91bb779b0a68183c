"""Store ticks: `TickStore` opens a `CopySink`, which stores batches durably.

The fast path is one binary COPY outside of a transaction block: a transaction of its
own, without the round trips of BEGIN and COMMIT.  A duplicate makes the whole COPY fail.

The slow path is one ``insert ... select from unnest(...) on conflict do nothing``, with an
array for each column.  It needs no table, no right to make one, and nothing on the server
lives longer than the statement.  Measured in one run with half of the rows stored before
(tests/benchmarks/staging.py), relative to a temporary table that lasts as long as
the connection: one row 0.04 to 0.36, 50 rows 0.3 to 0.75, 500 rows 0.8 to 1.5, 5,000 rows
1.4 to 2.1.  A temporary table holds back ``datfrozenxid`` and needs the right TEMP, one
for each transaction also fills the catalog with dead rows, and an unlogged table would
need deletes, vacuum and rights of its own.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, date, datetime, time
from typing import Final, TypeAlias

import msgspec
import psycopg
import trio
from psycopg.abc import Buffer
from psycopg.rows import TupleRow

from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.errors import StoreError, StoreRejected, StoreUnavailable
from greeks_trio.model.records import Tick
from greeks_trio.postgres.connect import is_same_database, open_connection
from greeks_trio.postgres.connection import TrioConnection
from greeks_trio.postgres.database_watch import DatabaseWatch
from greeks_trio.postgres.duplicates import ExpectedDuplicates
from greeks_trio.postgres.failures import (
    Trouble,
    is_about_server,
    lacks_partition,
    names_lost_node,
    plain_message,
    translated,
    trouble_of,
)
from greeks_trio.postgres.prepared_insert import FORGOTTEN, MOST_ROWS, PreparedInsert
from greeks_trio.postgres.proving import (
    RowProbe,
    commit_something,
    sample_tick,
)
from greeks_trio.postgres.schema.migrate import bring_up_to_date
from greeks_trio.postgres.schema.months import KnownPartitions
from greeks_trio.postgres.tick_copy import copy_ticks
from greeks_trio.postgres.tick_rows import (
    INSERT_NEW,
    pack_columns,
    register_dumpers,
)
from greeks_trio.postgres.unsettled import UnsettledSessions

logger = logging.getLogger(__name__)

# It only saves time: the first flush does the rest.
_WARM_UP_LIMIT_S: Final = 1.0
_WARM_UP_ROWS: Final = 100
# The server needs a second to notice a deadlock, and deadlocks are rare.
_COLLISION_LIMIT: Final = 3

_DUPLICATE: Final = "23505"
# Inside a COPY, Citus reports any error of a node as this.  Outside, most errors keep their
# code, so the same rows are offered again by an INSERT.
_UNKNOWN: Final = "XX000"

# Called after a commit with its ticks and what `copy_ticks` returned; with nothing if they
# were not copied.
CommitListener: TypeAlias = Callable[[Sequence[Tick], Sequence[Buffer]], None]


def _today() -> date:
    return datetime.now(UTC).date()


class TickStore:
    """Opens sinks, one after the other or several at a time.

    A sink may end in the middle of an operation.  It is then unknown whether its session
    committed, and an open transaction would block the same rows.  The next `open` ends
    such sessions first.  It leaves those of other open sinks and programs alone.

    Args:
        config: The database.
        today: Returns the day whose partition is made first.
        watch: Told of each new connection.
        on_commit: Called after each commit.
    """

    def __init__(
        self,
        config: DatabaseConfig,
        *,
        today: Callable[[], date] = _today,
        watch: DatabaseWatch | None = None,
        on_commit: CommitListener | None = None,
    ) -> None:
        self._config = config
        self._today = today
        self._on_commit = on_commit
        self._watch = watch or DatabaseWatch()
        self._unsettled = UnsettledSessions()
        self._probe = RowProbe()

    def reconfigure(self, config: DatabaseConfig) -> None:
        """Use this configuration for the sinks that are opened from now on.

        When it names another database, open sinks refuse to write: otherwise the ticks
        would go to two databases for as long as a connection lasts.
        """
        self._config = config

    def leads_to(self, config: DatabaseConfig) -> bool:
        """Return whether the next sink will use the database of this configuration."""
        return is_same_database(self._config, config)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[CopySink]:
        """Connect, bring the schema up to date and yield a sink.

        The sink is closed at the end.  This takes at most three times
        ``config.timeout_s``, also with a busy table, unless a migration is due.

        Raises:
            StoreUnavailable: there is no connection; also for a refused login.
            SchemaRejected: the schema of the database does not fit this program.
        """
        config = self._config
        async with open_connection(config, autocommit=True) as connection:
            standby = await self._unsettled.find_missing_standby(connection, config)
            backend = await self._unsettled.end(connection, config)
            await bring_up_to_date(connection, look_limit_s=config.timeout_s)
            is_same = await self._watch.look_at_new(connection, config.timeout_s)
            is_settled = False
            try:
                sink = CopySink(
                    connection,
                    config,
                    is_wanted=lambda: self.leads_to(config) and is_same(),
                    probe=self._probe,
                    missing_standby=standby,
                    on_commit=self._on_commit,
                )
                await sink.warm_up(self._today())
                yield sink
                is_settled = not connection.closed
            finally:
                if not is_settled:
                    self._unsettled.add(backend)


class CopySink:
    """Stores batches of ticks over one connection; made by `TickStore.open`."""

    def __init__(
        self,
        connection: TrioConnection[TupleRow],
        config: DatabaseConfig,
        *,
        is_wanted: Callable[[], bool] = lambda: True,
        probe: RowProbe,
        missing_standby: str | None = None,
        on_commit: CommitListener | None = None,
    ) -> None:
        self._connection = connection
        self._config = config
        self._is_wanted = is_wanted
        self._probe = probe
        self._missing_standby = missing_standby
        self._on_commit = on_commit
        # The data of the COPY that stored the last ticks.
        self._copied: Sequence[Buffer] = ()
        self._partitions = KnownPartitions(config)
        self._duplicates = ExpectedDuplicates()
        register_dumpers(connection)
        # `None` if it did not last.
        self._prepared: PreparedInsert | None = PreparedInsert(connection)

    async def write(
        self, ticks: Sequence[Tick], *, check_duplicates: bool = False
    ) -> int:
        """Store the ticks, all or none, and return how many rows are new.

        The rows are durable when it returns.  A tick that is stored already is not stored
        again.  It takes at most ``config.timeout_s`` seconds and the time to give up.
        When it is cancelled, it has stored all or none.

        Args:
            ticks: Any number; a batch of more than a few thousand is not faster.
            check_duplicates: Expect that some ticks are stored already.  Without it,
                duplicates are found only after the batch was sent once, unless batches
                before it had some.

        Raises:
            StoreUnavailable: offer the same ticks again, with ``check_duplicates``, to
                another sink; this one cannot be used any more.
            StoreRejected: PostgreSQL refuses at least one of these ticks; the sink
                remains in use.
            PartitionMissing: some of the ticks have no partition; the sink remains in
                use.
        """
        if not ticks:
            return 0
        with self._in_time():
            check_duplicates |= self._duplicates.are_likely(trio.current_time())
            new = await self._store(ticks, check_duplicates)
        self._probe.stored = ticks[0]
        copied, self._copied = self._copied, ()
        if self._on_commit is not None:
            self._on_commit(ticks, copied)
        return new

    async def warm_up(self, today: date) -> None:
        """Make the first flush as fast as the later ones.

        It makes today's partition, which costs another connection, and copies some rows and
        takes them back.  After an error on a live connection the first flush does the rest.

        Raises:
            StoreUnavailable: this sink cannot be used any more.
        """
        try:
            with (
                translated(self._connection, may_refuse=False),
                trio.move_on_after(_WARM_UP_LIMIT_S),
            ):
                await self._partitions.prepare(today)
                sample = sample_tick(datetime.combine(today, time(), UTC))
                # Distinct rows: a frame at the start has about as many.
                rows = [
                    msgspec.structs.replace(sample, fingerprint=number)
                    for number in range(_WARM_UP_ROWS)
                ]
                async with self._connection.transaction(force_rollback=True):
                    await copy_ticks(self._connection, rows)
                if self._prepared is not None:
                    await self._prepared.prepare(1)
        except StoreError as exc:
            if self._connection.closed:
                raise
            logger.info("sink.not_warm reason=%s", exc)

    async def ping(self) -> None:
        """Return when the server has committed something.

        Raises:
            StoreUnavailable: it did not; this sink cannot be used any more.
        """
        with self._in_time(may_refuse=False):
            await commit_something(self._connection)

    async def probe(self) -> None:
        """Return if the database takes rows at all.

        Raises:
            StoreUnavailable: it does not; this sink cannot be used any more.
        """
        with self._in_time(may_refuse=False):
            await self._probe.ask(self._connection)

    @contextmanager
    def _in_time(self, *, may_refuse: bool = True) -> Iterator[None]:
        """Give the connection up if the block takes too long or the database fails."""
        if not self._is_wanted():
            raise StoreUnavailable(
                "the configuration or the address leads to another database now"
            )
        try:
            with (
                translated(self._connection, may_refuse=may_refuse),
                trio.fail_after(self._config.timeout_s),
            ):
                yield
        except StoreUnavailable as exc:
            self._connection.close_nowait()
            if self._missing_standby and isinstance(exc.__cause__, trio.TooSlowError):
                raise StoreUnavailable(
                    f"{exc}: {self._missing_standby}", needs_person=True
                ) from exc
            raise

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
                # The other transaction had the same rows, so it has stored them.
                check_duplicates = True
        return await self._store_into_months(ticks, check_duplicates)

    async def _store_into_months(
        self, ticks: Sequence[Tick], check_duplicates: bool
    ) -> int:
        await self._partitions.ensure(self._connection, ticks)
        try:
            return await self._insert(ticks, check_duplicates)
        except psycopg.errors.CheckViolation as exc:
            if not lacks_partition(exc):
                raise
            # The partition was dropped or detached.
            self._partitions.forget()
        await self._partitions.ensure(self._connection, ticks)
        return await self._insert(ticks, check_duplicates)

    async def _insert(self, ticks: Sequence[Tick], check_duplicates: bool) -> int:
        if not check_duplicates:
            try:
                return await self._insert_unchecked(ticks)
            except psycopg.DatabaseError as exc:
                if self._connection.closed:
                    raise
                if exc.sqlstate not in (_DUPLICATE, _UNKNOWN):
                    raise
                logger.debug("sink.checking_duplicates sqlstate=%s", exc.sqlstate)
                self._duplicates.copy_failed(trio.current_time())
        return await self._merge(ticks)

    async def _insert_unchecked(self, ticks: Sequence[Tick]) -> int:
        if len(ticks) <= MOST_ROWS and self._prepared is not None:
            try:
                return await self._prepared.store(ticks)
            except FORGOTTEN as exc:
                if self._connection.closed:
                    raise
                logger.info("sink.prepares_nothing sqlstate=%s", exc.sqlstate)
                self._prepared = None
        self._copied = await copy_ticks(self._connection, ticks)
        return len(ticks)

    async def _merge(self, ticks: Sequence[Tick]) -> int:
        try:
            async with self._connection.cursor() as cursor:
                columns = await pack_columns(cursor, ticks)
                await cursor.execute(INSERT_NEW, columns)
                new = len(await cursor.fetchall())
            self._duplicates.checked(len(ticks), new, trio.current_time())
            if new < len(ticks):
                # A commit that was given up may have taken effect here, and still wait
                # for a standby.  A statement without a new row waits for nothing.
                await commit_something(self._connection)
        except psycopg.errors.InternalError_ as exc:
            # The second error on a live connection: these rows are at fault, or a node.
            if self._connection.closed or is_about_server(exc.diag.source_file):
                raise
            if names_lost_node(exc):
                raise
            raise StoreRejected(plain_message(exc), sqlstate=exc.sqlstate) from exc
        return new
