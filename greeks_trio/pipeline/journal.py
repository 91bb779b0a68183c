"""The journal: the records besides ticks that go to the database.

These are positions, account values and gaps.

The entries of one table and broker form a lane and are stored in order.  A lane that the
database refuses waits, and the other lanes go on.  Within a lane, an entry that fails alone
is set aside for the quarantine as soon as one behind it is stored.

Account values come every minute.  So that an outage of days does not fill the queue, those
that wait become one entry now and then.
"""

from __future__ import annotations

import logging
import math
from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final, TypeAlias

import msgspec
import trio

from greeks_trio.errors import GapUndecided, StoreError, StoreRejected
from greeks_trio.model.account_values import AccountValuesSnapshot
from greeks_trio.model.records import Broker, FeedGap, LeftoverGaps
from greeks_trio.pipeline.stores import JournalEntry
from greeks_trio.waiting import Backoff, WakeUp

logger = logging.getLogger(__name__)

# A gap is about 300 bytes and a snapshot of 1,000 positions about 400 kB; snapshots come
# only when something changed, so after days without a database it is some tens of MB.
MAX_WAITING: Final = 1_000
USUAL_MAX_BYTES: Final = 32 * 2**20

# So many entries with account values of one broker become one.
PACKED: Final = 60

# How long entries are tried after the end of the input.
LAST_TRIES_S: Final = 1.0

# A lane that has failed for so long lets the entries behind its first one try.  An entry
# that is refused for its values lets them try at once.
GIVES_WAY_AFTER_S: Final = 60.0
# So many entries of a lane are tried before it waits again.
_TRIES_A_ROUND: Final = 5
_MAX_DELAY_S: Final = 15.0
# Another service says so often that it has the feed.
_DECIDED_S: Final = 2.0

# Table and broker.
_LaneName: TypeAlias = tuple[type[JournalEntry], Broker]


@dataclass(slots=True)
class Waiting:
    """A journal entry that is not stored yet.

    Attributes:
        disk_id: Its id on disk, 0 when the disk does not have it.
        since: When it was first seen waiting, in monotonic seconds.
        failure: Why the database did not take it at the last try.
        replaces: The ids on disk of the entries whose rows it has.
        is_packed: Whether it has the rows of several entries.
    """

    entry: JournalEntry
    disk_id: int = 0
    since: float | None = None
    failure: StoreError | None = None
    replaces: Sequence[int] = ()
    is_packed: bool = False


class _Lane:
    """The state of the entries of one table and broker.

    Attributes:
        tried: The entries that have failed in this round, oldest first.
        retry_at: When the next round begins.
        failing_since: When the first try failed after the last success.
    """

    def __init__(self) -> None:
        self.tried: list[Waiting] = []
        self.retry_at = -math.inf
        self.failing_since: float | None = None
        self.backoff = Backoff(max_delay_s=_MAX_DELAY_S)

    def failed_for_s(self) -> float:
        since = self.failing_since
        return 0.0 if since is None else trio.current_time() - since

    def end_round(self, delay_s: float) -> None:
        self.tried = []
        self.retry_at = trio.current_time() + delay_s

    def begin_again(self) -> None:
        self.tried, self.retry_at, self.failing_since = [], -math.inf, None
        self.backoff.reset()


class Journal:
    """The queue of entries that are not stored yet, oldest first.

    Args:
        inherited: Entries of an earlier run with their ids on disk.

    Attributes:
        set_aside: Entries that the database refuses, on their way to the quarantine.
        attempts: How often an entry was given out to be stored.
    """

    def __init__(
        self,
        max_waiting: int = MAX_WAITING,
        *,
        inherited: Iterable[tuple[int, JournalEntry]] = (),
    ) -> None:
        self._waiting = deque(Waiting(entry, id_) for id_, entry in inherited)
        self._max_waiting = max_waiting
        self._changed = WakeUp()
        self._closed_at: float | None = None
        self.attempts = 0
        self._released: list[int] = []
        self._lanes: defaultdict[_LaneName, _Lane] = defaultdict(_Lane)
        self.set_aside: list[Waiting] = []
        self._is_full = False

    def __len__(self) -> int:
        return len(self._waiting)

    def record(self, entry: JournalEntry) -> None:
        """Queue the entry.  When the queue is full the oldest one goes to the quarantine."""
        if len(self._waiting) >= self._max_waiting:
            self._say_full()
            oldest = self._waiting[0]
            oldest.failure = oldest.failure or StoreError("too many entries wait")
            self._set_aside(oldest)
        self._waiting.append(Waiting(entry))
        if isinstance(entry, AccountValuesSnapshot):
            self._pack(entry.broker)
        self._changed.wake()

    def has(self, entry: JournalEntry) -> bool:
        """Return whether an equal entry waits."""
        return any(each.entry == entry for each in self._waiting)

    def _say_full(self) -> None:
        # Each entry that goes has a line of its own, so one line is enough for all.
        if not self._is_full:
            logger.critical("journal.full max_waiting=%d", self._max_waiting)
        self._is_full = True

    def close(self) -> None:
        """End the input: no more entries will be recorded."""
        self._closed_at = trio.current_time()
        self._changed.wake()

    # The database's side.

    async def wait_entry(self) -> JournalEntry | None:
        """Wait for an entry and return it without removing it; `None` after the last."""
        while not self._waiting:
            if self._closed_at is not None:
                return None
            await self._changed.wait()
        return self._waiting[0].entry

    async def wait_due(self) -> Waiting | None:
        """Wait for an entry to try.  Return `None` when there is none any more.

        After the journal was closed, entries are tried for `LAST_TRIES_S`.
        """
        while await self.wait_entry() is not None:
            if self.closed_for_s() >= LAST_TRIES_S:
                return None
            if (due := self._next_due()) is not None:
                self.attempts += 1
                return due
            with trio.move_on_at(self._wait_until()):
                await self._changed.wait()
        return None

    def stored(self, waiting: Waiting) -> None:
        """Remove an entry that is stored.

        The entries of its lane that have failed before it in this round fail alone, so
        they are set aside.
        """
        lane = self._lane(waiting)
        for each in lane.tried:
            self._was_overtaken(each, waiting)
        lane.begin_again()
        self.remove(waiting.entry)

    def failed(self, waiting: Waiting, failure: StoreError) -> None:
        """Note that the database did not take the entry."""
        if not any(each is waiting for each in self._waiting):
            return  # its rows are in another entry by now
        lane = self._lane(waiting)
        waiting.failure = failure
        if lane.failing_since is None:
            lane.failing_since = trio.current_time()
        lane.tried.append(waiting)
        is_refused = isinstance(failure, StoreRejected)
        is_late = lane.failed_for_s() >= GIVES_WAY_AFTER_S
        if is_refused and is_late and len(lane.tried) == 1:
            lane.begin_again()
            self._set_aside(waiting)
        elif not (is_refused or is_late) or (
            len(lane.tried) >= _TRIES_A_ROUND or self._first_untried(lane) is None
        ):
            is_undecided = isinstance(failure, GapUndecided)
            delay_s = _DECIDED_S if is_undecided else lane.backoff.next_delay()
            lane.end_round(delay_s)

    def remove(self, entry: JournalEntry) -> None:
        """Remove the entry if it still waits."""
        for waiting in self._waiting:
            if waiting.entry is entry:
                self._waiting.remove(waiting)
                self._release(waiting)
                self._is_full &= len(self._waiting) > self._max_waiting // 2
                self._changed.wake()
                return

    def oldest(self) -> Waiting | None:
        """Return the entry that has waited for the longest time."""
        return self._waiting[0] if self._waiting else None

    async def wait_change(self) -> None:
        """Wait for the next entry, or for the end of one."""
        await self._changed.wait()

    def closed_for_s(self) -> float:
        """Return the seconds since it was closed, 0 while it is open."""
        return 0.0 if self._closed_at is None else trio.current_time() - self._closed_at

    async def pause(self, delay_s: float) -> None:
        """Sleep until the delay is over or the journal is closed.

        When it is closed already, sleep at most `LAST_TRIES_S`.
        """
        if self._closed_at is not None:
            await trio.sleep(min(delay_s, LAST_TRIES_S))
            return
        with trio.move_on_after(delay_s):
            while self._closed_at is None:
                await self._changed.wait()

    # The disk's side.

    async def wait_disk_work(self) -> None:
        """Wait until the disk lacks an entry, or has one that may be deleted."""
        while not (self._released or self.set_aside or self.not_on_disk()):
            await self._changed.wait()

    def not_on_disk(self) -> list[Waiting]:
        """Return the entries that would be lost with this process."""
        every = chain(self.set_aside, self._waiting)
        return [each for each in every if not each.disk_id]

    def is_on_disk(self, waiting: Waiting, disk_id: int) -> None:
        """Note that the disk has the entry, which may be stored by now."""
        waiting.disk_id = disk_id
        self._released += waiting.replaces
        waiting.replaces = ()
        every = chain(self.set_aside, self._waiting)
        if not any(each is waiting for each in every):
            self._released.append(disk_id)

    def released(self) -> list[int]:
        """Return the ids of entries that the disk may delete."""
        return self._released[:]

    def gone_from_disk(self, disk_ids: Collection[int]) -> None:
        """Note that the disk has deleted them."""
        self._released = [each for each in self._released if each not in disk_ids]

    def is_quarantined(self, waiting: Waiting) -> None:
        """Note that the quarantine has an entry that was set aside."""
        self.set_aside.remove(waiting)
        self._release(waiting)

    def _lane(self, waiting: Waiting) -> _Lane:
        return self._lanes[_lane_name(waiting)]

    def _first_untried(self, lane: _Lane) -> Waiting | None:
        for each in self._waiting:
            if self._lane(each) is lane and not any(each is t for t in lane.tried):
                return each
        return None

    def _next_due(self) -> Waiting | None:
        now = trio.current_time()
        for waiting in self._waiting:
            lane = self._lane(waiting)
            if lane.retry_at > now:
                continue
            if not any(waiting is each for each in lane.tried):
                return waiting
        return None

    def _wait_until(self) -> float:
        """Return when the next lane begins a round, or when the last tries end."""
        until = min(self._lane(each).retry_at for each in self._waiting)
        if self._closed_at is None:
            return until
        return min(until, self._closed_at + LAST_TRIES_S)

    def _was_overtaken(self, waiting: Waiting, by: Waiting) -> None:
        match waiting.entry, by.entry:
            case LeftoverGaps() as leftover, FeedGap() as gap:
                # It stays, and must not end the gap when it is stored later.
                own = (*leftover.own, (gap.contract_key, gap.started_at))
                waiting.entry = msgspec.structs.replace(leftover, own=own)
            case LeftoverGaps(), LeftoverGaps():
                # The later one ends the same gaps.
                self.remove(waiting.entry)
            case _:
                self._set_aside(waiting)

    def _set_aside(self, waiting: Waiting) -> None:
        self._waiting.remove(waiting)
        self.set_aside.append(waiting)
        self._changed.wake()

    def _pack(self, broker: Broker) -> None:
        """Make one entry of the account values of a broker, if many entries wait.

        The disk keeps the old entries until it has the new one.
        """
        found = [
            (each, each.entry)
            for each in self._waiting
            if isinstance(each.entry, AccountValuesSnapshot)
            and each.entry.broker == broker
            and not each.is_packed
            and not any(each is tried for tried in self._lane(each).tried)
        ]
        if len(found) < PACKED:
            return
        waiting = [each for each, _ in found]
        rows = chain.from_iterable(entry.rows for _, entry in found)
        packed = Waiting(
            AccountValuesSnapshot(broker=broker, rows=tuple(rows)),
            since=waiting[0].since,
            replaces=[each.disk_id for each in waiting if each.disk_id],
            is_packed=True,
        )
        gone = {id(each) for each in waiting}
        kept = [each for each in self._waiting if id(each) not in gone]
        self._waiting = deque([packed, *kept])

    def _release(self, waiting: Waiting) -> None:
        self._released += waiting.replaces
        if waiting.disk_id:
            self._released.append(waiting.disk_id)


def _lane_name(waiting: Waiting) -> _LaneName:
    entry = waiting.entry
    table = FeedGap if isinstance(entry, LeftoverGaps) else type(entry)
    return table, entry.broker
