"""The replayer: stores ticks from the disk that have left memory, the oldest first.

It has a connection of its own, so that fresh ticks keep their latency meanwhile.

Some of the ticks may be stored already: the commit was never confirmed, or the entry was
not deleted before the process was killed.  Such ticks are among the oldest, so the first
batch of each connection is checked for duplicates.  The others are new nearly always.  A
batch with a duplicate is stored all the same: the sink notices it, and then checks.

Ticks without a partition stay on disk.  The replayer goes on with the entries behind
them, and offers them again every half minute.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from typing import Final

import trio

from greeks_trio.errors import SpoolUnavailable, StoreUnavailable, plain_reason
from greeks_trio.model.records import Tick
from greeks_trio.pipeline.backlog import Backlog
from greeks_trio.pipeline.refused_rows import BatchOutcome, RefusedRows, TickSink
from greeks_trio.pipeline.spooler import Spooler
from greeks_trio.pipeline.stores import SpooledEntry
from greeks_trio.pipeline.tick_counts import TickCounts
from greeks_trio.pipeline.writer import OpenTickSink
from greeks_trio.waiting import Backoff

logger = logging.getLogger(__name__)

# Rows in one transaction, and of the first one, which is checked for duplicates.
BATCH_ROWS: Final = 5_000
FIRST_ROWS: Final = 1_000
# Counting a tick takes some microseconds, and fresh ticks wait for so many of them.
_COUNTED_ROWS: Final = 500

# The months without a partition are tried again after this time.
POSTPONED_AGAIN_S: Final = 30.0


class Replayer:
    """Moves ticks from the spool into a sink, across connections.

    Args:
        backlog: Tells whether the database is up and whether the service is ending.
        spooler: Gives the ticks that only the disk has.
        refused_rows: Stores a batch although some rows are refused.
        tick_counts: Counts the stored ticks.

    Attributes:
        steps: Attempts to connect and batches so far, also failed ones.
    """

    def __init__(
        self,
        backlog: Backlog,
        spooler: Spooler,
        refused_rows: RefusedRows,
        tick_counts: TickCounts,
    ) -> None:
        self._backlog = backlog
        self._spooler = spooler
        self._refused_rows = refused_rows
        self._tick_counts = tick_counts
        # Why the last attempt failed, unless ticks have been stored since.
        self._last_reason: str | None = None
        self.steps = 0
        # The entries with postponed ticks: the positions of the others, which are stored.
        self._held: dict[int, AbstractSet[int]] = {}
        self._again_at = math.inf

    async def run(self, open_sink: OpenTickSink) -> None:
        """Replay until the backlog is closed and empty and the spool is empty.

        Without a database it does not wait for an empty spool: the next run replays the
        rest.  When cancelled, ticks that are not committed stay in the spool.
        """
        backoff = Backoff()
        while await self._wait_for_work():
            failure: BaseException | None = None
            try:
                async with open_sink() as sink:
                    await self._replay(sink, backoff)
            except* (StoreUnavailable, SpoolUnavailable) as group:
                failure = group
            if failure is None:
                continue
            if self._backlog.is_finished:
                return
            delay_s = backoff.next_delay()
            self._report(failure, delay_s)
            await self._pause(delay_s)

    def _report(self, failure: BaseException, delay_s: float) -> None:
        reason = plain_reason(failure)
        logger.log(
            logging.DEBUG if reason == self._last_reason else logging.WARNING,
            "replayer.retrying delay_s=%.1f reason=%s",
            delay_s,
            reason,
        )
        self._last_reason = reason

    async def _pause(self, delay_s: float) -> None:
        """Sleep, but less when the service is ending: then there is one last try."""
        with trio.move_on_after(delay_s):
            while not self._backlog.is_finished:
                await self._backlog.wait_change()

    async def _wait_for_work(self) -> bool:
        """Wait until there are ticks to replay and a database.  `False` at the end."""
        while True:
            if trio.current_time() >= self._again_at:
                self._again_at = math.inf
                self._spooler.replay_again()
            is_possible = self._backlog.is_database_up
            if is_possible and self._spooler.has_more_to_replay:
                self.steps += 1
                return True
            if self._backlog.is_finished:
                return False
            with trio.move_on_at(self._again_at):
                await self._backlog.wait_change()

    async def _replay(self, sink: TickSink, backoff: Backoff) -> None:
        started_at, rows = trio.current_time(), 0
        entries: Sequence[SpooledEntry] = []
        # Up to here, each entry is stored and deleted, or is held.
        done_to = 0
        is_first = True
        held: set[int] = set()
        while entries := entries or await self._spooler.read(
            FIRST_ROWS if is_first else BATCH_ROWS, after=done_to
        ):
            async with trio.open_nursery() as nursery:
                ahead: list[SpooledEntry] = []
                nursery.start_soon(self._read_ahead, entries[-1].id, ahead)
                rows += await self._store(sink, entries, check_duplicates=is_first)
            is_first = False
            held.update(entry.id for entry in entries if entry.id in self._held)
            done_to = entries[-1].id
            entries = ahead
            backoff.reset()
            self._last_reason = None
        # The spool may have dropped some for want of room.
        self._held = {each: self._held[each] for each in held}
        if held:
            self._again_at = trio.current_time() + POSTPONED_AGAIN_S
        elif not self._backlog.has_postponed:
            self._refused_rows.all_have_partitions()
        if rows:
            seconds = trio.current_time() - started_at
            logger.info("replayer.done rows=%d seconds=%.1f", rows, seconds)

    async def _read_ahead(self, after: int, into: list[SpooledEntry]) -> None:
        """Add the entries after this one to the list, unless the disk refuses."""
        # The batch under way is stored in any case.  The next read tells of the disk.
        with suppress(SpoolUnavailable):
            into += await self._spooler.read(BATCH_ROWS, after=after, is_ahead=True)

    async def _store(
        self,
        sink: TickSink,
        entries: Sequence[SpooledEntry],
        *,
        check_duplicates: bool,
    ) -> int:
        """Store the ticks of the entries, delete the entries, and count the ticks.

        An entry with postponed ticks is held: it stays on disk.  The positions of its
        stored ticks are remembered, so that they are counted once.
        """
        self.steps += 1
        ticks = [tick for entry in entries for tick in self._open_ticks(entry)]
        stored = await self._refused_rows.store(
            sink, ticks, check_duplicates=check_duplicates
        )
        self._hold(entries, stored.postponed)
        done = [entry for entry in entries if entry.id not in self._held]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._spooler.replayed, done)
            await self._count(stored)
        self._backlog.losses.add_ticks(stored.not_quarantined)
        return len(ticks) - len(stored.postponed)

    async def _count(self, stored: BatchOutcome) -> None:
        """Count the ticks that are stored, and let other tasks run meanwhile."""
        new = stored.new
        for start in range(0, len(stored.ticks), _COUNTED_ROWS):
            some = stored.ticks[start : start + _COUNTED_ROWS]
            self._tick_counts.committed_again(
                BatchOutcome(ticks=some, new=min(new, len(some)))
            )
            new -= min(new, len(some))
            # Not cancelled between two parts: all of them are stored.
            await trio.lowlevel.cancel_shielded_checkpoint()

    def _open_ticks(self, entry: SpooledEntry) -> Sequence[Tick]:
        """Return the ticks of the entry without those that are stored."""
        stored = self._held.get(entry.id)
        if stored is None:
            return entry.ticks
        return [t for position, t in enumerate(entry.ticks) if position not in stored]

    def _hold(self, entries: Sequence[SpooledEntry], postponed: Sequence[Tick]) -> None:
        """Note the entries with postponed ticks."""
        if not (postponed or self._held):
            return
        waiting = set(map(id, postponed))
        for entry in entries:
            stored = {i for i, t in enumerate(entry.ticks) if id(t) not in waiting}
            if len(stored) < len(entry.ticks):
                self._held[entry.id] = stored
            else:
                self._held.pop(entry.id, None)
