"""What has become of the ticks of each entry that this run has put on disk.

An entry is needed until the last of its ticks is stored.  What nobody remembers any more
when the disk has to drop an entry is lost; what is stored, or still in memory, is not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from greeks_trio.model.records import Broker, Tick
from greeks_trio.pipeline.stores import Dropped


@dataclass(slots=True)
class _Entry:
    """The fates of an entry's ticks, by broker.

    Attributes:
        in_memory: Those that are waiting for the database beside the disk.
        stored: Those that the database took from memory.
        has_evicted: Whether there are others, which only the disk has.
    """

    in_memory: Counter[Broker]
    stored: Counter[Broker] = field(default_factory=Counter)
    has_evicted: bool = False


class SpooledTicks:
    """Follows entries from memory's side.

    Small however much is on disk: an entry is forgotten as soon as all its ticks are
    evicted, or the disk has let go of it.
    """

    def __init__(self) -> None:
        self._entries: dict[int, _Entry] = {}
        self._released: list[int] = []

    @property
    def is_empty(self) -> bool:
        """Whether memory has no tick that the disk has too."""
        return not self._entries

    def has_in_memory(self, entry_id: int) -> bool:
        """Return whether memory has ticks of this entry."""
        return entry_id in self._entries and bool(self._entries[entry_id].in_memory)

    def add(
        self, entry_id: int, *, in_memory: Iterable[Tick], stored: Iterable[Tick]
    ) -> None:
        """Begin to follow an entry, of which some may be stored by now."""
        entry = _Entry(_by_broker(in_memory), _by_broker(stored))
        self._entries[entry_id] = entry
        self._close(entry_id, entry)

    def stored(self, tick: Tick) -> bool:
        """Note that a tick is stored; whether its entry is not needed any more."""
        entry = self._entries.get(tick.entry)
        if entry is None:
            return False
        _take_out(entry, tick.record.broker)
        entry.stored[tick.record.broker] += 1
        return self._close(tick.entry, entry)

    def evicted(self, tick: Tick) -> None:
        """Note that from now on only the disk has a tick."""
        entry = self._entries.get(tick.entry)
        if entry is not None:
            _take_out(entry, tick.record.broker)
            entry.has_evicted = True
            self._close(tick.entry, entry)

    def forget(self, entry_ids: Iterable[int]) -> None:
        """Note that the disk has let go of entries whose ticks are stored."""
        for each in entry_ids:
            entry = self._entries.get(each)
            if entry is not None and not entry.in_memory:
                del self._entries[each]

    def lost_with(self, dropped: Dropped) -> Counter[Broker]:
        """Note that an entry was dropped; return how many of its ticks nobody has."""
        lost = Counter(dropped.rows)
        entry = self._entries.pop(dropped.id, None)
        if entry is not None:
            lost -= entry.stored
            lost -= entry.in_memory
        return lost

    def pop_released(self) -> list[int]:
        """Return the entries since the last call that nobody needs any more."""
        released, self._released = self._released, []
        return released

    def _close(self, entry_id: int, entry: _Entry) -> bool:
        """Release the entry, or forget it, when nothing of it is in memory any more."""
        if entry.in_memory:
            return False
        if not entry.has_evicted:
            self._released.append(entry_id)
        elif not entry.stored:
            del self._entries[entry_id]
        return not entry.has_evicted


def _by_broker(ticks: Iterable[Tick]) -> Counter[Broker]:
    return Counter(tick.record.broker for tick in ticks)


def _take_out(entry: _Entry, broker: Broker) -> None:
    entry.in_memory[broker] -= 1
    if not entry.in_memory[broker]:
        del entry.in_memory[broker]
