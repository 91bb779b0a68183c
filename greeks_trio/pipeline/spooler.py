"""The spooler: puts ticks on disk that the database does not take in time.

A tick that is not committed so many milliseconds after its frame was read goes to disk *as
well*.  The COPY under way goes on, and its commit releases the entry again.  A healthy
server is that slow now and then, so the spool is part of normal operation.  Without a
connection every tick goes to disk at once and leaves memory.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

import trio

from greeks_trio.errors import SpoolUnavailable
from greeks_trio.model.records import Broker
from greeks_trio.pipeline.backlog import Backlog
from greeks_trio.pipeline.stores import Spool, SpooledEntry
from greeks_trio.pipeline.tick_counts import TickCounts
from greeks_trio.waiting import Backoff

logger = logging.getLogger(__name__)

# Most ticks in one entry: about 2 MB, which a disk takes in some ten milliseconds.
ENTRY_ROWS: Final = 2_000

# If one call takes longer, the disk hangs, and the status says so.
_HANGS_AFTER_S: Final = 5.0

# How long the end of the service waits for the disk.
_LAST_APPENDS_S: Final = 2.0


class Spooler:
    """Puts ticks of the backlog on disk, and gives them to the replayer.

    Args:
        backlog: The ticks that wait for the database.
        spool: The disk.
        tick_counts: Counts the ticks that become durable here.
        after_s: Seconds from frame read after which a tick goes to disk.
        inherited_to: Returns the newest entry of an earlier run: 0 when there is none,
            `None` until the disk has been read.

    Attributes:
        spooled: Ticks put on disk since the start, by broker.
    """

    def __init__(
        self,
        backlog: Backlog,
        spool: Spool,
        tick_counts: TickCounts,
        *,
        after_s: float,
        inherited_to: Callable[[], int | None] = lambda: 0,
    ) -> None:
        self._backlog = backlog
        self._spool = spool
        self._tick_counts = tick_counts
        self._after_s = after_s
        self._released: list[int] = []
        self._inherited_to = inherited_to
        self._knows_inherited = False
        self._look_for_inherited()
        # The replayer has stored all entries up to this one.
        self._replayed_to = 0
        # It is storing the entries up to this one: they must not be dropped.
        self._protected = 0
        self.spooled: Counter[Broker] = Counter()
        # The kinds of calls that fail at present, and why.  A full disk can be read.
        self._failures: dict[str, str] = {}
        # The kinds of calls that the disk has not answered, and when they began.
        self._asked_at: dict[str, float] = {}

    @property
    def last_error(self) -> str | None:
        """Return why calls of the disk fail or hang, `None` when the disk works."""
        if self._asked_at:
            waited_s = trio.current_time() - min(self._asked_at.values())
            if waited_s > _HANGS_AFTER_S:
                return f"the disk has not answered for {waited_s:.0f} s"
        return next(iter(self._failures.values()), None)

    async def run(self) -> None:
        """Spool until the backlog is closed and empty, then return.

        At the end, also when cancelled, put all ticks on disk that are only in memory,
        and delete the released entries.
        """
        backoff = Backoff()
        try:
            while await self._wait_for_work():
                try:
                    await self._append()
                except SpoolUnavailable:
                    await self._pause(backoff.next_delay())
                else:
                    backoff.reset()
        finally:
            with trio.move_on_after(_LAST_APPENDS_S, shield=True):
                await self._spool_rest()

    # The replayer's side.

    @property
    def has_more_to_replay(self) -> bool:
        """Return whether there may be ticks that only the disk has."""
        # The first read opens a file that could not be opened at the start.
        return not self._knows_inherited or (
            self._backlog.replay_to > self._replayed_to
        )

    def replay_again(self) -> None:
        """Let the replayer begin again with the oldest entry."""
        self._replayed_to = 0

    async def read(
        self, max_rows: int, *, after: int = 0, is_ahead: bool = False
    ) -> list[SpooledEntry]:
        """Return the oldest entries that only the disk has, none when there are none.

        Args:
            max_rows: The entries have at most so many ticks, unless the first has more.
            after: Only entries with a higher id.
            is_ahead: Whether entries before these are not stored yet.

        Raises:
            SpoolUnavailable: the disk refuses.
        """
        upto = self._backlog.replay_to
        # An append that runs after this read must not drop the entries that it returns.
        protected, self._protected = self._protected, upto
        try:
            with self._noting_failure("read"):
                entries = await self._spool.read(
                    after=after, upto=upto, max_rows=max_rows
                )
            protected = entries[-1].id if entries else protected
        finally:
            self._protected = protected
        self._note_dropped()
        if not entries and not is_ahead:
            self._replayed_to = upto
        return entries

    async def replayed(self, entries: Sequence[SpooledEntry]) -> None:
        """Delete entries that are stored now.

        Raises:
            SpoolUnavailable: the disk refuses, and `read` returns them again.
        """
        with self._noting_failure("forget"):
            await self._spool.release([entry.id for entry in entries])
        self._backlog.gone_from_disk(entry.id for entry in entries)

    async def _wait_for_work(self) -> bool:
        """Wait for work.  Return `False` when there can be none any more."""
        backlog = self._backlog
        while True:
            if not backlog.is_database_up:
                backlog.evict()
            if backlog.is_finished:
                return False
            self._released += backlog.pop_released()
            if self._released:
                return True
            due_in_s = self._due_in_s()
            if due_in_s is None:
                await backlog.wait_change(or_ticks=True)
                continue
            if due_in_s <= 0:
                return True
            with trio.move_on_after(due_in_s):
                await backlog.wait_change()

    def _due_in_s(self) -> float | None:
        """Return the seconds until ticks have to go to disk, `None` without any."""
        read_at = self._backlog.oldest_unspooled_at()
        if read_at is None:
            return None
        if not self._backlog.is_database_up:
            return 0.0
        return read_at + self._after_s - trio.current_time()

    def _read_until(self, is_last: bool) -> float:
        """Return when the youngest tick was read that goes to disk now."""
        if is_last or not self._backlog.is_database_up:
            return math.inf
        return trio.current_time() - self._after_s / 2

    async def _append(self, *, is_last: bool = False) -> None:
        """Put the ticks on disk that are due, and delete the released entries."""
        due_in_s = self._due_in_s()
        is_due = due_in_s is not None and (due_in_s <= 0 or is_last)
        # Only ticks that are due or soon will be: the database is about to store the others.
        # Each tick that goes to disk needlessly has to be released there again.
        ticks = (
            self._backlog.start_spooling(
                ENTRY_ROWS, read_until=self._read_until(is_last)
            )
            if is_due
            else []
        )
        released = self._released[:]
        entry = None
        try:
            with self._noting_failure("append"):
                if ticks:
                    entry = await self._spool.append(
                        ticks,
                        release=released,
                        protected=self._protected,
                        is_brief=self._backlog.is_database_up,
                    )
                else:
                    await self._spool.release(released)
        finally:
            # If this was cancelled, the disk may have them after all.  Then they are
            # offered to the database twice, which stores them once.
            durable = self._backlog.end_spooling(entry)
        del self._released[: len(released)]
        self._backlog.gone_from_disk(released)
        self.spooled.update(tick.record.broker for tick in ticks)
        self._tick_counts.durable(durable)
        self._note_dropped()

    async def _spool_rest(self) -> None:
        # When both are cancelled, the processor still puts its ticks and then closes.
        while not self._backlog.is_closed:
            await self._backlog.wait_change()
        self._released += self._backlog.pop_released()
        with suppress(SpoolUnavailable):
            while self._released or self._backlog.oldest_unspooled_at() is not None:
                await self._append(is_last=True)

    async def _pause(self, delay_s: float) -> None:
        with trio.move_on_after(delay_s):
            while not self._backlog.is_finished:
                await self._backlog.wait_change()

    def _note_dropped(self) -> None:
        """Tell the backlog about dropped entries, which counts the lost ticks."""
        # One line until the loss is a gap, at most a minute later: a full spool drops an
        # entry for each one that it takes.
        is_first = not self._backlog.losses.is_untold
        dropped = self._spool.pop_dropped()
        rows = sum(self._backlog.dropped_from_disk(each).total() for each in dropped)
        if rows and is_first:
            logger.critical(
                "spool.ticks_lost reason=%s rows=%d from=%s",
                dropped[0].reason,
                rows,
                min(each.first_at for each in dropped).isoformat(),
            )

    @contextmanager
    def _noting_failure(self, of: str) -> Iterator[None]:
        """Remember whether this kind of call fails."""
        was_well = not self._failures
        self._asked_at[of] = trio.current_time()
        try:
            yield
        except SpoolUnavailable as exc:
            self._failures[of] = str(exc)
            if was_well:
                logger.critical("spool.unavailable reason=%s", exc)
            raise
        finally:
            del self._asked_at[of]
        self._failures.pop(of, None)
        self._look_for_inherited()
        if not (was_well or self._failures):
            logger.warning("spool.available_again")

    def _look_for_inherited(self) -> None:
        """Leave the entries of an earlier run to the replayer, once they are known."""
        if self._knows_inherited:
            return
        inherited = self._inherited_to()
        if inherited is not None:
            self._knows_inherited = True
            self._backlog.leave_to_replayer(inherited)
