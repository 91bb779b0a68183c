"""The writer: take what is waiting, COPY, COMMIT, repeat.

Discussion of the flush.  There is no timer and no fixed batch size: a lone tick is written
at once, and while one flush is under way the next batch gathers by itself, so batches grow
with the load exactly as far as they must.

A flush that fails is repeated with the same rows on a new connection, after a bounded and
jittered delay, and checked for duplicates because the lost COMMIT may have taken effect.
Rows that PostgreSQL refuses are found by halving the batch; they are logged in full and
counted, and the others are stored.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from itertools import chain, groupby
from operator import attrgetter
from typing import Final, Protocol, TypeAlias

import msgspec
import trio

from greeks_trio.errors import (
    StoreError,
    StoreRejected,
    StoreUnavailable,
    leaves,
    plain_reason,
)
from greeks_trio.model.records import Tick
from greeks_trio.pipeline.backlog import Backlog
from greeks_trio.pipeline.backoff import Backoff
from greeks_trio.pipeline.latency import LatencySummary, RollingLatency
from greeks_trio.pipeline.wakeup import WakeUp

logger = logging.getLogger(__name__)

# SQLSTATE classes that wait for a person: a refused login, an unknown database.
_OPERATOR_CLASSES: Final = ("28", "3D")

# Seconds without ticks after which the database is asked whether it is still there:
# at night nothing else would notice that it has gone.
_PING_AFTER_S: Final = 10.0


class TickSink(Protocol):
    """Where ticks go; ``greeks_trio.postgres.copy_sink`` in the product."""

    async def write(
        self, ticks: Sequence[Tick], *, check_duplicates: bool = False
    ) -> int:
        """Store all the ticks durably, or none; return the rows that are new.

        Raises:
            StoreUnavailable: the connection is spent; offer the same ticks to another
                with ``check_duplicates``, because they may have been stored.
            StoreRejected: the database refuses at least one of them.
        """

    async def ping(self) -> None:
        """Return when the database has given a sign of life.

        Raises:
            StoreUnavailable: the connection is spent.
        """


OpenTickSink: TypeAlias = Callable[[], AbstractAsyncContextManager[TickSink]]
CommitObserver: TypeAlias = Callable[[Sequence[Tick], float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterStatistics:
    """What the writer has done since the start.

    Attributes:
        persisted: Rows stored, by broker.
        already_stored: Rows offered that the table had.
        quarantined: Rows that PostgreSQL refused, by broker.
        flushes: Commits.
        retries: Flushes and connections that failed.
        largest_flush: Most rows in one commit.
        is_connected: Whether there is a connection at this moment.
        last_error: Why the last attempt failed, in plain words.
    """

    persisted: dict[str, int]
    already_stored: int
    quarantined: dict[str, int]
    flushes: int
    retries: int
    largest_flush: int
    is_connected: bool
    last_error: str | None
    window: LatencySummary
    since_start: LatencySummary


class Writer:
    """Moves ticks from the backlog into a sink, across connections.

    Args:
        backlog: Where the ticks come from.
        batch_rows: Most rows in one flush.
        on_commit: Called after each commit with its ticks and the monotonic time.
    """

    def __init__(
        self,
        backlog: Backlog,
        *,
        batch_rows: int,
        on_commit: CommitObserver | None = None,
    ) -> None:
        self._backlog = backlog
        self._batch_rows = batch_rows
        self._on_commit = on_commit
        # True from a failure until the rows it left behind are stored.
        self._outcome_unknown = False
        self._latency = RollingLatency()
        self._persisted: Counter[str] = Counter()
        self._quarantined: Counter[str] = Counter()
        self._already_stored = 0
        self._flushes = self._retries = self._largest_flush = 0
        self._is_connected = False
        self._last_error: str | None = None

    async def run(self, open_sink: OpenTickSink, retry_now: WakeUp) -> None:
        """Flush until the backlog is closed and empty, then return.

        That needs no connection when there is nothing left to store.  Cancelled, it
        leaves what is not committed in the backlog.  ``retry_now`` cuts the wait
        between attempts short.
        """
        backoff = Backoff()
        while True:
            failure: BaseException | None = None
            try:
                async with open_sink() as sink:
                    await self._flush_all(sink, backoff)
            except* StoreUnavailable as group:
                failure = group
            finally:
                self._is_connected = False
            if failure is None or self._backlog.is_finished:
                return
            delay_s = backoff.next_delay()
            self._report(failure, delay_s)
            with trio.move_on_after(delay_s):
                await retry_now.wait()

    def statistics(self) -> WriterStatistics:
        """Return the counters and latencies."""
        return WriterStatistics(
            persisted=dict(self._persisted),
            already_stored=self._already_stored,
            quarantined=dict(self._quarantined),
            flushes=self._flushes,
            retries=self._retries,
            largest_flush=self._largest_flush,
            is_connected=self._is_connected,
            last_error=self._last_error,
            window=self._latency.window(now=trio.current_time()),
            since_start=self._latency.since_start.summary(),
        )

    async def _flush_all(self, sink: TickSink, backoff: Backoff) -> None:
        self._is_connected = True
        self._last_error = None
        logger.info("writer.connected backlog=%d", len(self._backlog))
        while await self._wait_rows(sink):
            # What is not settled yet, the oldest rows last.
            parts = [self._backlog.take(self._batch_rows)]
            try:
                while parts:
                    await self._settle_last(sink, parts)
            finally:
                if parts:
                    self._outcome_unknown = True
                    self._backlog.put_back(list(chain(*reversed(parts))))
            self._outcome_unknown = False
            backoff.reset()

    async def _wait_rows(self, sink: TickSink) -> bool:
        """Do as `Backlog.wait_rows`, and see that the database stays there."""
        while True:
            with trio.move_on_after(_PING_AFTER_S):
                return await self._backlog.wait_rows()
            await sink.ping()

    async def _settle_last(self, sink: TickSink, parts: list[list[Tick]]) -> None:
        """Store the last part, or halve it when PostgreSQL refuses it."""
        part = parts[-1]
        try:
            new = await sink.write(part, check_duplicates=self._outcome_unknown)
        except StoreRejected as exc:
            parts.pop()
            if len(part) == 1:
                self._quarantine(part[0], exc)
            else:
                middle = len(part) // 2
                parts += [part[middle:], part[:middle]]
        else:
            parts.pop()
            self._committed(part, new)

    def _committed(self, batch: list[Tick], new: int) -> None:
        now = trio.current_time()
        # The ticks of a frame were read together, so they share one latency.
        for read_at, frame in groupby(batch, key=attrgetter("read_at")):
            ticks = list(frame)
            self._latency.record(now - read_at, len(ticks), now=now)
            self._persisted[ticks[0].record.broker] += len(ticks)
        self._already_stored += len(batch) - new
        self._flushes += 1
        self._largest_flush = max(self._largest_flush, len(batch))
        if self._on_commit is not None:
            self._on_commit(batch, now)

    def _quarantine(self, tick: Tick, exc: StoreRejected) -> None:
        self._quarantined[tick.record.broker] += 1
        logger.error(
            "writer.row_refused sqlstate=%s reason=%s row=%s",
            exc.sqlstate,
            exc,
            _row_text(tick),
        )

    def _report(self, failure: BaseException, delay_s: float) -> None:
        self._retries += 1
        reason = plain_reason(failure)
        is_news = reason != self._last_error
        self._last_error = reason
        level = logging.WARNING
        if any(_waits_for_operator(leaf) for leaf in leaves(failure)):
            # Only a person can mend this, and says so once, not every few seconds.
            level = logging.ERROR if is_news else logging.DEBUG
        logger.log(
            level,
            "writer.retrying delay_s=%.1f backlog=%d lost=%d reason=%s",
            delay_s,
            len(self._backlog),
            self._backlog.lost,
            reason,
        )


def _row_text(tick: Tick) -> str:
    """Return all values of a row as JSON, whatever is wrong with them."""
    values = msgspec.structs.asdict(tick.record)
    payload = tick.record.source_payload.decode("utf-8", "backslashreplace")
    values["source_payload"] = payload
    # Not msgspec: a lone surrogate may be what was refused, and it refuses it too.
    return json.dumps(values, separators=(",", ":"), default=str)


def _waits_for_operator(exc: BaseException) -> bool:
    return isinstance(exc, StoreError) and (exc.sqlstate or "")[:2] in _OPERATOR_CLASSES
