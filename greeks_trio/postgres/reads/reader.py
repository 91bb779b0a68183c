"""Reading for those who ask over HTTP, in worker threads, away from the way of the ticks.

A thread cannot be ended, a query can: whoever is cancelled tells the server to stop, and
the thread then ends by itself.  The reads have a limit of their own, the exports another,
so that neither keeps the other waiting; beyond a few that wait, more are refused at once.

An export is one transaction with a cursor, so it is one state of the table however long it
takes.  It goes 500 rows at a time and holds at most three of these steps: one at its
receiver, one in the channel, one in the thread's hands.  With the usual 500 bytes a row
that is below 1 MB.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, TypeVar

import psycopg
import trio
from psycopg.abc import Params, Query

from greeks_trio.config.settings import DatabaseConfig, HttpConfig
from greeks_trio.errors import ReadsBusy, ReadTooLong, StoreError, StoreUnavailable
from greeks_trio.postgres.reads.pool import Lease, ReadConnection, ReadPool

logger = logging.getLogger(__name__)

T = TypeVar("T")

STEP_ROWS: Final = 500

# Reads that may wait for those under way, for each of these.
_WAITING_FOR_EACH: Final = 4
# Somebody who does not take 500 rows in that time is gone, or may come again.
_STALL_LIMIT_S: Final = 60.0
# The first step of an export may have to sort millions of rows.  Shorter than the HTTP
# interface waits for an answer to begin, because PostgreSQL's trouble is the better news.
_EXPORT_TIMEOUT: Final = "set local statement_timeout = '25s'"
_CANCEL_LIMIT_S: Final = 1.5
_CLOSE_LIMIT_S: Final = 3.0
# For each of the pool's two threads.
_THREAD_LIMIT_S: Final = 1.0


class Reader:
    """Runs reads; `run` ends what they leave open.

    Args:
        database: Which one to read, asked at each read: SIGHUP may change it.
        limits: How many reads and exports at a time, and how long a read may take.
    """

    def __init__(
        self, database: Callable[[], DatabaseConfig], limits: HttpConfig
    ) -> None:
        self._database = database
        self._limits = limits
        self._slots = trio.CapacityLimiter(limits.max_reads)
        self._export_slots = trio.CapacityLimiter(limits.max_exports)
        self._exports = 0
        self._pool: ReadPool | None = None

    async def run(self) -> None:
        """Wait to be cancelled, then end connections and threads, within 3 s."""
        try:
            await trio.sleep_forever()
        finally:
            with trio.move_on_after(_CLOSE_LIMIT_S, shield=True):
                await self._close_pool()

    async def read(self, work: Callable[[ReadConnection], T]) -> T:
        """Return what the work returns; it reads, or may be done twice.

        A cancellation ends its query.

        Raises:
            ReadsBusy: as many as may be are under way and waiting.
            ReadTooLong: PostgreSQL was told to stop.
            StoreUnavailable: the database is away.
            StoreRejected: PostgreSQL refuses a value.
        """
        slots = self._slots
        if slots.statistics().tasks_waiting >= _WAITING_FOR_EACH * slots.total_tokens:
            raise ReadsBusy("as many reads as may be are under way and waiting")
        lease = Lease()
        # Half of it is for waiting; and PostgreSQL may be there and not answer.
        with trio.move_on_after(2 * self._limits.read_timeout_s):
            pool = await self._current()
            try:
                return await self._in_thread(lease, slots, pool, work)
            except StoreUnavailable:
                if pool is self._pool:
                    raise
            # Another database was configured while it waited for its turn.
            return await self._in_thread(lease, slots, await self._current(), work)
        if lease.is_connected:
            raise ReadTooLong("PostgreSQL has not answered")
        if lease.has_turn:
            raise StoreUnavailable("the database cannot be reached")
        raise ReadsBusy("the reads under way take long")

    @asynccontextmanager
    async def export(self, query: Query, params: Params) -> AsyncIterator[Export]:
        """Run a query that gives one line of text for each row; end it with the block.

        Raises:
            ReadsBusy: as many as may be are under way.
        """
        if self._exports >= self._limits.max_exports:
            raise ReadsBusy("as many exports as may be are under way")
        self._exports += 1
        try:
            pool = await self._current()
            send, receive = trio.open_memory_channel[bytes](1)
            export = Export(receive)
            work = partial(_export_lines, query, params, partial(_give, send))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._run_export, pool, work, export, send)
                with receive:
                    yield export
                nursery.cancel_scope.cancel()
        finally:
            self._exports -= 1

    async def _run_export(
        self,
        pool: ReadPool,
        work: Callable[[ReadConnection], None],
        export: Export,
        send: trio.MemorySendChannel[bytes],
    ) -> None:
        """Send the lines and note how it ended; ends with the query, or cancelled."""
        with send:
            try:
                await self._in_thread(Lease(), self._export_slots, pool, work)
                export.is_complete = True
            except StoreError as exc:
                export.failure = exc

    async def _in_thread(
        self,
        lease: Lease,
        slots: trio.CapacityLimiter,
        pool: ReadPool,
        work: Callable[[ReadConnection], T],
    ) -> T:
        try:
            return await trio.to_thread.run_sync(
                pool.run, work, lease, limiter=slots, abandon_on_cancel=True
            )
        except trio.Cancelled:
            # Its slot stays taken until the thread has ended.
            with trio.move_on_after(_CANCEL_LIMIT_S, shield=True):
                await trio.to_thread.run_sync(lease.cancel, abandon_on_cancel=True)
            raise

    async def _current(self) -> ReadPool:
        """Return the pool of the database that is configured at the moment."""
        config = self._database()
        if self._pool is not None and self._pool.config != config:
            await self._close_pool()
        if self._pool is None:
            self._pool = ReadPool(
                config,
                size=self._limits.max_reads + self._limits.max_exports,
                statement_timeout_s=self._limits.read_timeout_s,
            )
        return self._pool

    async def _close_pool(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            close = partial(pool.close, patience_s=_THREAD_LIMIT_S)
            await trio.to_thread.run_sync(close, abandon_on_cancel=True)


class Export:
    """The lines of an export, to be taken step by step.

    Attributes:
        is_complete: Whether there is nothing more to come.
        failure: What ended it before.
    """

    def __init__(self, chunks: trio.MemoryReceiveChannel[bytes]) -> None:
        self._chunks = chunks
        self.is_complete = False
        self.failure: StoreError | None = None

    async def next_lines(self) -> bytes:
        """Return the next lines, each ending in a newline; nothing after the last one.

        Raises:
            StoreError: there would be more, but it was ended.
        """
        try:
            return await self._chunks.receive()
        except trio.EndOfChannel:
            if self.failure is not None:
                raise self.failure from None
            return b""


def _export_lines(
    query: Query,
    params: Params,
    give: Callable[[bytes], None],
    connection: ReadConnection,
) -> None:
    """Give the rows of a query step by step, in the thread.

    Raises:
        StoreUnavailable: the connection broke when some were given already.  Before, it
            is psycopg's own error, and the whole may be done again.
    """
    has_given = False
    try:
        with connection.transaction():
            connection.execute(_EXPORT_TIMEOUT)
            with connection.cursor("export") as cursor:
                cursor.execute(query, params)
                while rows := cursor.fetchmany(STEP_ROWS):
                    has_given = True
                    give("".join(f"{line}\n" for (line,) in rows).encode())
    except psycopg.OperationalError as exc:
        if has_given and connection.closed:
            raise StoreUnavailable("the connection broke in the middle") from exc
        raise


def _give(send: trio.MemorySendChannel[bytes], chunk: bytes) -> None:
    """Wait in the thread until the receiver takes the chunk."""
    try:
        trio.from_thread.run(_send_in_time, send, chunk)
    except (trio.BrokenResourceError, trio.RunFinishedError) as exc:
        raise ReadTooLong("nobody takes the rows any more") from exc
    except trio.TooSlowError as exc:
        raise ReadTooLong("the rows were taken too slowly") from exc


async def _send_in_time(send: trio.MemorySendChannel[bytes], chunk: bytes) -> None:
    with trio.fail_after(_STALL_LIMIT_S):
        await send.send(chunk)
