"""Ticks on their way to the database, in memory, oldest first.

This is the one buffer between the processor, the writer and the spooler.  Putting never
waits, because reading from the brokers must never stop.

A tick leaves the backlog when it is stored.  It also leaves when the disk has it and
memory should not keep it: then it is *evicted*, and the replayer stores it from the disk.
A tick that the table cannot take at present, because its month has no partition, is
*postponed*: it leaves for the disk, and the ticks behind it do not wait for it.
The disk gets the oldest ticks first, so they come before the ticks that it does not have.
"""

from __future__ import annotations

import logging
import math
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from itertools import chain, islice, takewhile
from operator import attrgetter
from typing import Final

from greeks_trio.model.records import Broker, Tick
from greeks_trio.pipeline.losses import Losses
from greeks_trio.pipeline.spooled_ticks import SpooledTicks
from greeks_trio.pipeline.stores import Dropped
from greeks_trio.waiting import WakeUp

logger = logging.getLogger(__name__)

# Values of `Tick.entry` that are not the id of an entry.
_NOT_SPOOLED: Final = 0
_BEING_SPOOLED: Final = -1
_STORED_MEANWHILE: Final = -2  # stored while the disk was still taking the tick
_DROPPED: Final = -3  # the disk had the tick and has lost or dropped it
_ONLY_HERE: Final = (_NOT_SPOOLED, _BEING_SPOOLED)

# A tick without its payload: two structs, two times, seven floats, a place in a queue, and
# the overhead of malloc.  In a measurement 100,000 ticks took 655 bytes each.
TICK_BYTES: Final = 720

_PAYLOAD: Final = attrgetter("record.source_payload")


class Backlog:
    """A queue of ticks with one producer, one writer and one spooler.

    Its bound is in bytes.  Beyond it, ticks that the disk has are evicted, and then the
    oldest are lost.  The batch that the writer has taken does not count.

    Attributes:
        replay_to: Entries up to this id have ticks that only the disk has.
        losses: The lost ticks.
        bytes: Size of the waiting ticks, about.
        peak: The highest number of ticks at one time.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._rows: deque[Tick] = deque()
        # How many at the head of `_rows` are not `_NOT_SPOOLED`.
        self._marked = 0
        self._taken: list[Tick] = []
        # Postponed ticks that the disk has not got yet.
        self._postponed: deque[Tick] = deque()
        self._spooling: list[Tick] = []
        # Evicted for want of room while the disk was taking them: lost if it fails.
        self._evicted_while_spooling: list[Tick] = []
        self._spooled = SpooledTicks()
        self.replay_to = 0
        self.losses = Losses()
        self.bytes = 0
        self.peak = 0
        self._is_database_up = False
        self._closed = False
        self._ticks_are_changes = False
        self._arrived = WakeUp()
        self._changed = WakeUp()

    def __len__(self) -> int:
        return len(self._rows) + len(self._taken) + len(self._postponed)

    @property
    def is_closed(self) -> bool:
        """Return whether no more ticks will be put."""
        return self._closed

    @property
    def is_finished(self) -> bool:
        """Return whether it is closed and empty."""
        return self._closed and not len(self)

    @property
    def is_database_up(self) -> bool:
        """Return whether the writer has a connection, or had one when it finished."""
        return self._is_database_up

    @is_database_up.setter
    def is_database_up(self, is_up: bool) -> None:
        self._is_database_up = is_up
        self._changed.wake()

    async def wait_change(self, *, or_ticks: bool = False) -> None:
        """Wait for the next change after this call.

        A change is one of these: the database comes or goes, an entry is released or
        left to the replayer, the backlog is closed or finished.  With ``or_ticks`` the
        arrival of a tick is a change too.
        """
        self._ticks_are_changes |= or_ticks
        await self._changed.wait()

    async def wait_rows(self) -> bool:
        """Wait until there are ticks to take.  Return `False` when closed and empty."""
        while not self._rows:
            if self._closed:
                return False
            await self._arrived.wait()
        return True

    # The producer's side.

    def put(self, ticks: Iterable[Tick]) -> None:
        """Append ticks, oldest first."""
        added = list(ticks)
        self._rows += added
        self.bytes += _size_of(added)
        self.peak = max(self.peak, len(self))
        self._bound()
        self._arrived.wake()
        if self._ticks_are_changes:
            self._ticks_are_changes = False
            self._changed.wake()

    def close(self) -> None:
        """End the input: no more ticks will be put."""
        self._closed = True
        self._arrived.wake()
        self._changed.wake()

    # The writer's side.

    def take(self, max_rows: int) -> list[Tick]:
        """Return the oldest ticks, at most ``max_rows``.

        `settle` or `give_back` follows.
        """
        rows = self._rows
        if len(rows) <= max_rows:
            self._taken = list(rows)
            rows.clear()
        else:
            self._taken = [rows.popleft() for _ in range(max_rows)]
        self._marked = max(0, self._marked - len(self._taken))
        if rows or self._postponed:
            self.bytes -= _size_of(self._taken)
        else:
            self.bytes = 0
        return self._taken

    def settle(self, postponed: Sequence[Tick] = ()) -> list[Tick]:
        """Forget the taken ticks: they are stored.  Return those that the disk had not.

        Args:
            postponed: Some of the taken ticks, which are not stored and leave for the
                disk.
        """
        taken, self._taken = self._taken, []
        if postponed:
            waiting = set(map(id, postponed))
            taken = [tick for tick in taken if id(tick) not in waiting]
            self._postpone(postponed)
        fresh = [tick for tick in taken if tick.entry in _ONLY_HERE]
        if self._spooling:
            for tick in fresh:
                if tick.entry == _BEING_SPOOLED:
                    tick.entry = _STORED_MEANWHILE
        if len(fresh) < len(taken) and self._spooled.stored(taken):
            self._changed.wake()
        if self._closed and not self._rows:
            self._changed.wake()
        return fresh

    def give_back(self) -> None:
        """Put the taken ticks back in front: it is not known that they are stored."""
        self._rows.extendleft(reversed(self._taken))
        self.bytes += _size_of(self._taken)
        self._taken = []
        self._mark()
        self._bound()
        self._arrived.wake()

    # The spooler's side.

    @property
    def has_postponed(self) -> bool:
        """Return whether postponed ticks are still on their way to the disk."""
        return bool(self._postponed)

    def oldest_unspooled_at(self) -> float | None:
        """Return when the oldest tick that is not on disk was read, monotonic."""
        for tick in chain(self._postponed, self._taken):
            if tick.entry == _NOT_SPOOLED:
                return tick.read_at
        if self._marked < len(self._rows):
            return self._rows[self._marked].read_at
        return None

    def not_on_disk(self) -> list[Tick]:
        """Return the ticks that would be lost with this process."""
        return [
            tick
            for tick in chain(self._postponed, self._taken, self._rows)
            if tick.entry in (*_ONLY_HERE, _DROPPED)
        ]

    def start_spooling(
        self, max_rows: int, *, read_until: float = math.inf
    ) -> list[Tick]:
        """Return the oldest ticks that are not on disk, at most ``max_rows``.

        All postponed ones, and of the others those before the first that was read after
        this moment, monotonic.
        `end_spooling` follows in every case.
        """

        def is_old(tick: Tick) -> bool:
            return tick.read_at <= read_until

        # Two feeds may swap ticks by some microseconds.  The disk must get them in the order
        # of the queue all the same, so the first young one ends the search.
        old = list(takewhile(is_old, self._taken))
        first = chain(self._postponed, old)
        taken = [tick for tick in first if tick.entry == _NOT_SPOOLED][:max_rows]
        room = max_rows - len(taken) if len(old) == len(self._taken) else 0
        end = self._marked + room
        waiting = list(takewhile(is_old, islice(self._rows, self._marked, end)))
        self._marked += len(waiting)
        self._spooling = taken + waiting
        for tick in self._spooling:
            tick.entry = _BEING_SPOOLED
        return self._spooling

    def end_spooling(self, entry: int | None) -> list[Tick]:
        """Note the entry that has the ticks now, `None` when the disk did not take them.

        Return the ticks that have become durable by this.
        """
        ticks, self._spooling = self._spooling, []
        evicted_while_spooling, self._evicted_while_spooling = (
            self._evicted_while_spooling,
            [],
        )
        fresh = [tick for tick in ticks if tick.entry == _BEING_SPOOLED]
        stored = [tick for tick in ticks if tick.entry == _STORED_MEANWHILE]
        for tick in fresh:
            tick.entry = entry or _NOT_SPOOLED
        if entry is None:
            self._mark()
            self._lose(evicted_while_spooling)
            return []
        self._spooled.add(entry, in_memory=fresh, stored=stored)
        for tick in evicted_while_spooling:
            self._leave_to_disk(tick)
        self._leave_postponed_to_disk()
        return fresh

    def evict(self) -> None:
        """Evict all ticks that the disk has, except those that the writer has taken."""
        while self._rows and self._rows[0].entry > 0:
            self._leave_to_disk(self._pop_oldest())
        if self._closed and not self._rows:
            self._arrived.wake()
            self._changed.wake()

    def dropped_from_disk(self, dropped: Dropped) -> Counter[Broker]:
        """Note that the disk has dropped entries.  Return how many ticks are lost.

        Ticks that are stored, or still in memory, are not lost.
        """
        in_memory = self._spooled.in_memory(dropped.ids)
        lost = self._spooled.lost_with(dropped)
        if in_memory:
            for tick in chain(self._taken, self._rows):
                if tick.entry in in_memory:
                    tick.entry = _DROPPED
        for broker, rows in lost.items():
            self.losses.add(broker, rows, dropped.first_at, dropped.last_at)
        return lost

    def gone_from_disk(self, entries: Iterable[int]) -> None:
        """Note that the disk has deleted entries that were released."""
        self._spooled.forget(entries)

    def leave_to_replayer(self, entry: int) -> None:
        """Let the replayer store the entries up to this one."""
        if entry > self.replay_to:
            self.replay_to = entry
            self._changed.wake()

    def pop_released(self) -> list[int]:
        """Return the entries since the last call that the disk may delete."""
        return self._spooled.pop_released()

    def _leave_to_disk(self, tick: Tick) -> None:
        self._spooled.evicted(tick)
        # Entries before it are replayed too, although the writer may have their ticks.
        self.leave_to_replayer(tick.entry)

    def _postpone(self, ticks: Sequence[Tick]) -> None:
        """Keep the ticks until the disk has them."""
        for tick in ticks:
            if tick.entry == _DROPPED:
                tick.entry = _NOT_SPOOLED
            self._postponed.append(tick)
            self.bytes += _size(tick)
        self._leave_postponed_to_disk()
        self._bound()
        self._changed.wake()

    def _leave_postponed_to_disk(self) -> None:
        """Forget the postponed ticks that the disk has by now."""
        if not self._postponed:
            return
        waiting: deque[Tick] = deque()
        for tick in self._postponed:
            if tick.entry > 0:
                self.bytes -= _size(tick)
                self._leave_to_disk(tick)
            else:
                waiting.append(tick)
        self._postponed = waiting
        self._changed.wake()

    def _mark(self) -> None:
        """Count again the ticks at the head that are on disk or on their way to it."""
        marked = takewhile(lambda tick: tick.entry != _NOT_SPOOLED, self._rows)
        self._marked = sum(1 for _ in marked)

    def _bound(self) -> None:
        lost = []
        while self.bytes > self.max_bytes and (self._postponed or self._rows):
            tick = self._pop_postponed() if self._postponed else self._pop_oldest()
            if tick.entry > 0:
                self._leave_to_disk(tick)
            elif tick.entry == _BEING_SPOOLED:
                self._evicted_while_spooling.append(tick)
            else:
                lost.append(tick)
        self._lose(lost)

    def _pop_oldest(self) -> Tick:
        tick = self._rows.popleft()
        self._marked = max(0, self._marked - 1)
        self.bytes -= _size(tick)
        return tick

    def _pop_postponed(self) -> Tick:
        tick = self._postponed.popleft()
        self.bytes -= _size(tick)
        return tick

    def _lose(self, ticks: list[Tick]) -> None:
        if ticks and not self.losses.is_untold:
            logger.critical("backlog.ticks_lost max_bytes=%d", self.max_bytes)
        self.losses.add_ticks(ticks)


def _size_of(ticks: Sequence[Tick]) -> int:
    return TICK_BYTES * len(ticks) + sum(map(len, map(_PAYLOAD, ticks)))


def _size(tick: Tick) -> int:
    return TICK_BYTES + len(tick.record.source_payload)
