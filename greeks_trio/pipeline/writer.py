"""The writer: take the waiting ticks, COPY, COMMIT, repeat.

There is no fixed batch size.  A single tick is written at once.  While one flush runs, the
next batch collects, so batches grow with the load.  Under load a flush begins every few
milliseconds at most, because each costs as much as a hundred ticks.

A flush that fails is repeated with the same rows on a new connection, after a bounded
delay with jitter.  The repetition checks for duplicates, because the lost COMMIT may have
taken effect.  Without a connection the rows do not wait here: the spooler puts them on
disk, and the replayer stores them from there, while the writer goes on with new ticks.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, TypeAlias

import trio

from greeks_trio.errors import StoreUnavailable, leaves, plain_reason
from greeks_trio.pipeline.backlog import Backlog
from greeks_trio.pipeline.histograms import BucketCounts
from greeks_trio.pipeline.refused_rows import RefusedRows, TickSink
from greeks_trio.pipeline.tick_counts import TickCounts
from greeks_trio.waiting import Backoff, Pace, WakeUp

logger = logging.getLogger(__name__)

# After this time without ticks the writer sends the database a query.  Without it, a lost
# database would not be noticed at night.
_PING_AFTER_S: Final = 10.0

# One flush begins in each of these intervals under load, at every second read of the sockets
# and as long after it as the work on the messages takes.
_FLUSH_INTERVAL_S: Final = 0.008
_AFTER_READ_S: Final = 0.0025

# Bounds of histograms for Prometheus: from a single tick to the largest flush, and from
# a commit on a fast disk to the time after which a connection is given up.
FLUSH_ROWS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)
FLUSH_BOUNDS_S: Final = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1),
    *(0.25, 0.5, 1.0, 2.5, 5.0),
)

OpenTickSink: TypeAlias = Callable[[], AbstractAsyncContextManager[TickSink]]


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterStatistics:
    """The writer's counters since the start.

    Attributes:
        flushes: Commits.
        retries: Flushes and connections that failed.
        largest_flush: Most rows in one commit.
        is_connected: Whether there is a connection at this moment on which something was
            committed.  After rows could not be stored, only stored rows count, while
            some wait.
        last_error: The reason for the last failure, in plain words.
    """

    flushes: int
    retries: int
    largest_flush: int
    is_connected: bool
    last_error: str | None


class Writer:
    """Moves ticks from the backlog into a sink, across connections.

    Args:
        backlog: The ticks to write.
        refused_rows: Stores a batch although PostgreSQL refuses some of its rows.
        tick_counts: Counts every commit.
        batch_rows: Most rows in one flush.
        has_more_to_replay: Returns whether ticks wait on disk.

    Attributes:
        flush_rows: Ticks in each flush.
        flush_s: Duration of each flush in seconds, commit included.
    """

    def __init__(
        self,
        backlog: Backlog,
        refused_rows: RefusedRows,
        tick_counts: TickCounts,
        *,
        batch_rows: int,
        has_more_to_replay: Callable[[], bool] = lambda: False,
    ) -> None:
        self._backlog = backlog
        self._refused_rows = refused_rows
        self._tick_counts = tick_counts
        self._batch_rows = batch_rows
        self._has_more_to_replay = has_more_to_replay
        self.flush_rows = BucketCounts(FLUSH_ROWS)
        self.flush_s = BucketCounts(FLUSH_BOUNDS_S)
        # True from a failure until the rows it left behind are stored.
        self._outcome_unknown = False
        self._flushes = self._retries = self._largest_flush = 0
        self._is_connected = False
        # Whether something was committed over this connection.
        self._has_committed = False
        self._last_error: str | None = None
        # The last failure in the log, until the database has stored something again: it
        # may accept each connection and refuse each row.
        self._said: str | None = None

    async def run(self, open_sink: OpenTickSink, retry_now: WakeUp) -> None:
        """Flush until the backlog is closed and empty, then return.

        The end needs no connection when there is nothing left to store.  When it is
        cancelled, ticks without a commit stay in the backlog.  ``retry_now`` ends the
        wait between two attempts.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._end_without_connection, nursery.cancel_scope)
            await self._flush_across_connections(open_sink, retry_now)
            nursery.cancel_scope.cancel()

    def statistics(self) -> WriterStatistics:
        """Return the counters."""
        return WriterStatistics(
            flushes=self._flushes,
            retries=self._retries,
            largest_flush=self._largest_flush,
            is_connected=self._has_committed and self._refused_rows.failure is None,
            last_error=self._last_error or self._refused_rows.failure,
        )

    async def _end_without_connection(self, scope: trio.CancelScope) -> None:
        """Wait until no ticks are left, then end the attempts to connect."""
        while not self._backlog.is_finished or self._is_connected:
            await self._backlog.wait_change()
        scope.cancel()

    async def _flush_across_connections(
        self, open_sink: OpenTickSink, retry_now: WakeUp
    ) -> None:
        backoff = Backoff()
        while True:
            failure: BaseException | None = None
            is_done = False
            try:
                async with open_sink() as sink:
                    await self._flush_all(sink, backoff)
                is_done = True
            except* StoreUnavailable as group:
                failure = group
            finally:
                self._is_connected = self._has_committed = False
                self._backlog.is_database_up = is_done
            if failure is None:
                return
            delay_s = backoff.next_delay()
            self._report(failure, delay_s)
            with trio.move_on_after(delay_s):
                await retry_now.wait()

    async def _flush_all(self, sink: TickSink, backoff: Backoff) -> None:
        self._is_connected = True
        self._backlog.is_database_up = True
        pace = Pace(_FLUSH_INTERVAL_S, offset_s=_AFTER_READ_S)
        while await self._wait_rows(sink):
            if len(self._backlog) < self._batch_rows:
                await pace.wait()
            pace.note()
            await self._flush(sink)
            backoff.reset()

    async def _flush(self, sink: TickSink) -> None:
        batch = self._backlog.take(self._batch_rows)
        began_at = trio.current_time()
        is_stored = False
        try:
            stored = await self._refused_rows.store(
                sink, batch, check_duplicates=self._outcome_unknown
            )
            is_stored = True
        finally:
            self._outcome_unknown = not is_stored
            if not is_stored:
                self._backlog.give_back()
        fresh = self._backlog.settle(stored.postponed)
        if stored.not_quarantined:
            self._backlog.losses.add_ticks(stored.not_quarantined)
            not_quarantined = set(map(id, stored.not_quarantined))
            fresh = [tick for tick in fresh if id(tick) not in not_quarantined]
        if stored.ticks:
            self._note_commit()
        self._flushes += 1
        self._largest_flush = max(self._largest_flush, len(batch))
        self.flush_rows.record(len(batch))
        self.flush_s.record(trio.current_time() - began_at)
        self._tick_counts.committed(stored)
        self._tick_counts.durable(fresh)

    async def _wait_rows(self, sink: TickSink) -> bool:
        """Wait as `Backlog.wait_rows` does, and test the connection meanwhile."""
        while True:
            # Without rows, a new connection is tested at once.
            with trio.move_on_after(_PING_AFTER_S if self._has_committed else 0):
                return await self._backlog.wait_rows()
            await sink.ping()
            if not self._backlog and not self._has_more_to_replay():
                self._refused_rows.failure = None
            self._note_commit()

    def _note_commit(self) -> None:
        """Note that something was committed; perhaps that is the end of an outage."""
        was_connected = self._has_committed and self._last_error is None
        self._has_committed = True
        if was_connected or self._refused_rows.failure is not None:
            return
        self._last_error = self._said = None
        logger.info("writer.connected backlog=%d", len(self._backlog))

    def _report(self, failure: BaseException, delay_s: float) -> None:
        self._retries += 1
        reason = plain_reason(failure)
        is_new_reason = reason != self._said
        self._last_error = self._said = reason
        level = logging.WARNING if is_new_reason else logging.DEBUG
        if is_new_reason and any(_needs_person(leaf) for leaf in leaves(failure)):
            level = logging.ERROR
        logger.log(
            level,
            "writer.retrying delay_s=%.1f backlog=%d lost=%d reason=%s",
            delay_s,
            len(self._backlog),
            self._backlog.losses.total,
            reason,
        )


def _needs_person(exc: BaseException) -> bool:
    return isinstance(exc, StoreUnavailable) and exc.needs_person
