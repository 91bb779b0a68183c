"""The state of the ticks in each entry that this run has put on disk.

The disk has to keep an entry until the last of its ticks is stored.  If the disk drops
the entry before, a tick that is neither stored nor in memory is lost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final

from greeks_trio.model.records import Broker, Tick
from greeks_trio.pipeline.stores import Dropped

_ENTRY: Final = attrgetter("entry", "record.broker")
_BROKER: Final = attrgetter("record.broker")


@dataclass(slots=True)
class _Entry:
    """The ticks of an entry by broker.

    Attributes:
        in_memory: The ticks that are also in memory, and wait there for the database.
        stored: The ticks that the database took from memory.
        has_evicted: Whether the entry has other ticks, which only the disk has.
    """

    in_memory: Counter[Broker]
    stored: Counter[Broker] = field(default_factory=Counter)
    has_evicted: bool = False


class SpooledTicks:
    """The entries with ticks in memory, or with ticks that were stored from memory.

    This is small even when the spool is large: an entry is forgotten when all its ticks
    are evicted, or when the disk has deleted it.
    """

    def __init__(self) -> None:
        self._entries: dict[int, _Entry] = {}
        self._released: list[int] = []

    def in_memory(self, ids: Iterable[range]) -> set[int]:
        """Return the entries among these of which memory has ticks."""
        return {each for each in self._known(ids) if self._entries[each].in_memory}

    def add(
        self, entry_id: int, *, in_memory: Iterable[Tick], stored: Iterable[Tick]
    ) -> None:
        """Add an entry.  Some of its ticks may be stored by now."""
        entry = _Entry(_by_broker(in_memory), _by_broker(stored))
        self._entries[entry_id] = entry
        self._close(entry_id, entry)

    def stored(self, ticks: Iterable[Tick]) -> bool:
        """Note that ticks are stored.  Return whether the disk may delete an entry."""
        may_delete = False
        for (entry_id, broker), number in Counter(map(_ENTRY, ticks)).items():
            entry = self._entries.get(entry_id)
            if entry is not None:
                _take_out(entry, broker, number)
                entry.stored[broker] += number
                may_delete |= self._close(entry_id, entry)
        return may_delete

    def evicted(self, tick: Tick) -> None:
        """Note that a tick left memory, so only the disk has it."""
        entry = self._entries.get(tick.entry)
        if entry is not None:
            _take_out(entry, tick.record.broker, 1)
            entry.has_evicted = True
            self._close(tick.entry, entry)

    def forget(self, entry_ids: Iterable[int]) -> None:
        """Note that the disk has deleted entries whose ticks are stored."""
        for each in entry_ids:
            entry = self._entries.get(each)
            if entry is not None and not entry.in_memory:
                del self._entries[each]

    def lost_with(self, dropped: Dropped) -> Counter[Broker]:
        """Note that entries were dropped.  Return the ticks that are lost with them."""
        lost = Counter(dropped.rows)
        for each in self._known(dropped.ids):
            entry = self._entries.pop(each)
            lost -= entry.stored
            lost -= entry.in_memory
        return lost

    def pop_released(self) -> list[int]:
        """Return the entries since the last call that the disk may delete."""
        released, self._released = self._released, []
        return released

    def _known(self, ids: Iterable[range]) -> set[int]:
        found: set[int] = set()
        for span in ids:
            if len(span) < len(self._entries):
                found.update(each for each in span if each in self._entries)
            else:
                found.update(each for each in self._entries if each in span)
        return found

    def _close(self, entry_id: int, entry: _Entry) -> bool:
        """Release or forget the entry when memory has none of its ticks any more."""
        if entry.in_memory:
            return False
        if not entry.has_evicted:
            self._released.append(entry_id)
        elif not entry.stored:
            del self._entries[entry_id]
        return not entry.has_evicted


def _by_broker(ticks: Iterable[Tick]) -> Counter[Broker]:
    return Counter(map(_BROKER, ticks))


def _take_out(entry: _Entry, broker: Broker, number: int) -> None:
    entry.in_memory[broker] -= number
    if not entry.in_memory[broker]:
        del entry.in_memory[broker]
