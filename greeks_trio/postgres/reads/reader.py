"""Reading for HTTP requests, in worker threads, apart from the path of the ticks.

A thread cannot be ended, but a query can: a cancelled read tells the server to stop its
query, and then its thread ends.  Reads and exports have separate limits, so neither waits
for the other.  A few reads may wait for a thread; further ones are refused at once.

An export is one transaction with a cursor, so it shows one state of the table, however
long it takes.  It proceeds in steps of 500 rows and holds at most three steps: one at its
receiver, one in the channel, one in the thread.  With the usual 500 bytes a row, that is
below 1 MB.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Final, TypeVar

import psycopg
import trio
from psycopg.abc import Params, Query

from greeks_trio.config.settings import DatabaseConfig, HttpConfig
from greeks_trio.errors import ReadsBusy, ReadTooLong, StoreError, StoreUnavailable
from greeks_trio.postgres.reads.budget import ReadBudget
from greeks_trio.postgres.reads.pool import Lease, ReadConnection, ReadPool

logger = logging.getLogger(__name__)

T = TypeVar("T")

STEP_ROWS: Final = 500

# The limits of this process or machine: no new thread, too few file handles, no memory.
_NO_RESOURCES: Final = (RuntimeError, OSError, MemoryError)

# Reads that may wait, for each read that may run.
_WAITING_FOR_EACH: Final = 4
# A client that does not take 500 rows in this time counts as gone.
_STALL_LIMIT_S: Final = 60.0
# The first step of an export may have to sort millions of rows.  The time-out is shorter
# than that of the HTTP interface, because PostgreSQL's error says more than a time-out.
_EXPORT_TIMEOUT: Final = "set local statement_timeout = '25s'"
_CANCEL_LIMIT_S: Final = 1.5
_CLOSE_LIMIT_S: Final = 3.0
# For each of the pool's two threads.
_THREAD_LIMIT_S: Final = 1.0


class Reader:
    """Runs reads; `run` closes the connections and threads at the end.

    Args:
        database: Returns the database; called for each read, because SIGHUP may change
            it.
        limits: The number of reads and exports at a time, and the time of a read.
        note_failure: Called with ``reads`` and an unexpected error that ended a read.
    """

    def __init__(
        self,
        database: Callable[[], DatabaseConfig],
        limits: HttpConfig,
        note_failure: Callable[[str, BaseException], None] = lambda *_: None,
    ) -> None:
        self._database = database
        self._note_failure = note_failure
        self._limits = limits
        self._limit_s = 2 * limits.read_timeout_s
        self._slots = trio.CapacityLimiter(limits.max_reads)
        self._export_slots = trio.CapacityLimiter(limits.max_exports)
        self._reads = self._exports = 0
        # Made in the event loop, whose clock it uses.
        self._budget: ReadBudget | None = None
        self._pool: ReadPool | None = None

    async def run(self) -> None:
        """Wait for the cancellation, then end connections and threads within 3 s."""
        try:
            await trio.sleep_forever()
        finally:
            with trio.move_on_after(_CLOSE_LIMIT_S, shield=True):
                await self._close_pool()

    async def read(self, work: Callable[[ReadConnection], T]) -> T:
        """Return the result of the work, which reads, or may be done twice.

        A cancellation ends its query.

        Raises:
            ReadsBusy: the limit of reads that run and wait is reached.
            ReadTooLong: PostgreSQL was told to stop the query.
            StoreUnavailable: the database cannot be reached.
            StoreRejected: PostgreSQL refuses a value.
        """
        if self._reads >= (1 + _WAITING_FOR_EACH) * self._limits.max_reads:
            raise ReadsBusy("the limit of reads that run and wait is reached")
        self._reads += 1
        lease = Lease()
        try:
            return await self._read_in_time(lease, work)
        finally:
            self._reads -= 1
            self._budget_of_reads().spend(lease.running_s())

    async def _read_in_time(
        self, lease: Lease, work: Callable[[ReadConnection], T]
    ) -> T:
        # Half of the time is for the wait for a thread.  The limit also holds if PostgreSQL
        # accepts the connection and does not answer.
        with trio.move_on_after(self._limit_s):
            await self._budget_of_reads().wait()
            return await self._read(lease, work)
        if lease.is_connected:
            raise ReadTooLong("PostgreSQL has not answered")
        if lease.has_turn:
            raise StoreUnavailable("the database cannot be reached")
        raise ReadsBusy("no running read has ended in time")

    def _budget_of_reads(self) -> ReadBudget:
        if self._budget is None:
            self._budget = ReadBudget(self._limits.read_share, longest_s=self._limit_s)
        return self._budget

    async def _read(self, lease: Lease, work: Callable[[ReadConnection], T]) -> T:
        pool = await self._current()
        try:
            return await self._in_thread(lease, self._slots, pool, work)
        except StoreUnavailable:
            if pool is self._pool:
                raise
        # The configuration changed to another database during the wait.
        return await self._in_thread(lease, self._slots, await self._current(), work)

    @asynccontextmanager
    async def export(self, query: Query, params: Params) -> AsyncIterator[Export]:
        """Run a query that gives one line of text for each row; end it with the block.

        Raises:
            ReadsBusy: the limit of exports is reached.
        """
        if self._exports >= self._limits.max_exports:
            raise ReadsBusy("the limit of exports is reached")
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
        """Send the lines and keep the outcome; ends with the query, or when cancelled."""
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
            # The slot stays in use until the thread has ended.  Without a thread for the
            # request to cancel, the query ends by its time-out.
            with (
                trio.move_on_after(_CANCEL_LIMIT_S, shield=True),
                suppress(*_NO_RESOURCES),
            ):
                await trio.to_thread.run_sync(lease.cancel, abandon_on_cancel=True)
            raise
        except _NO_RESOURCES as exc:
            self._note_failure("reads", exc)
            raise StoreUnavailable(
                f"the process gets no thread, file or memory for the read: {exc}"
            ) from exc

    async def _current(self) -> ReadPool:
        """Return the pool of the present database."""
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
            # Without a thread for it, the pool's own threads end with the process.
            with suppress(*_NO_RESOURCES):
                await trio.to_thread.run_sync(close, abandon_on_cancel=True)


class Export:
    """The lines of an export, step by step.

    Attributes:
        is_complete: Whether all lines have come.
        failure: The error that ended the export too early.
    """

    def __init__(self, chunks: trio.MemoryReceiveChannel[bytes]) -> None:
        self._chunks = chunks
        self.is_complete = False
        self.failure: StoreError | None = None

    async def next_lines(self) -> bytes:
        """Return the next lines, each with a newline at its end; `b""` after the last.

        Raises:
            StoreError: the export ended before its last line.
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
        StoreUnavailable: the connection broke after the first rows.  Before them,
            psycopg's own error is raised, and the pool tries again.
    """
    has_given = False
    try:
        with connection.transaction():
            connection.execute(_EXPORT_TIMEOUT)
            cursor = connection.cursor("export")
            try:
                cursor.execute(query, params)
                while rows := cursor.fetchmany(STEP_ROWS):
                    has_given = True
                    give("".join(f"{line}\n" for (line,) in rows).encode())
            finally:
                # On the server it ends with the transaction.  Its own way to close needs a
                # server that answers, and leaves it open otherwise.
                psycopg.Cursor.close(cursor)
    except psycopg.OperationalError as exc:
        if has_given and connection.closed:
            raise StoreUnavailable("the connection broke during the export") from exc
        raise


def _give(send: trio.MemorySendChannel[bytes], chunk: bytes) -> None:
    """Wait in the thread until the receiver takes the chunk."""
    try:
        trio.from_thread.run(_send_in_time, send, chunk)
    except (trio.BrokenResourceError, trio.RunFinishedError) as exc:
        raise ReadTooLong("the client has left") from exc
    except trio.TooSlowError as exc:
        raise ReadTooLong("the client takes the rows too slowly") from exc


async def _send_in_time(send: trio.MemorySendChannel[bytes], chunk: bytes) -> None:
    with trio.fail_after(_STALL_LIMIT_S):
        await send.send(chunk)
