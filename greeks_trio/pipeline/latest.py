"""The latest tick of each series, and the series that changed since a version.

A series is one contract in one account at one broker.  Every tick passes `Latest.put`, which
costs one dict store.  All other work is done when a reader asks, or for many series at
once, once for each series that changed meanwhile, however many ticks the series had.

A change has a number, and a series has the number of its last change only.  A reader keeps
one number, its position, and asks for the next series after it.  So a reader that asks
rarely gets the newest tick of each series, and no queue of ticks waits for a reader.

The number of series is bounded.  Beyond the bound the series that changed longest ago are
dropped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import count, repeat
from typing import Final, TypeAlias

import msgspec

from greeks_trio.model.contracts import ContractKey
from greeks_trio.model.payload import NO_PAYLOAD
from greeks_trio.model.records import Broker, UnifiedPositionRecord
from greeks_trio.waiting import WakeUp

SeriesKey: TypeAlias = tuple[Broker, str, ContractKey]

# Ten times as many as in the load tests; with the usual payloads about 100 MB.
MAX_SERIES: Final = 100_000

# No reader needs the payload.  Removing a usual one would cost more than keeping it.
MAX_PAYLOAD_BYTES: Final = 4_096

# The ticks that changed most recently wait for a reader, but no more than this: the first
# reader after a long time would hold up the service.
MAX_FRESH: Final = 1_000

# The version of a reader that has seen no tick.
NOTHING_SEEN: Final = 0


class Latest:
    """The newest tick of each series by ``(event_time, received_at)``.

    Args:
        max_series: Most series that are kept.
    """

    def __init__(self, max_series: int = MAX_SERIES) -> None:
        self._max_series = max_series
        self._max_fresh = min(max_series, MAX_FRESH)
        # The ticks since the last call of `_look`.
        self._fresh: dict[SeriesKey, UnifiedPositionRecord] = {}
        # Each series with the number of its last change, oldest change first.
        self._kept: dict[SeriesKey, tuple[int, UnifiedPositionRecord]] = {}
        # The series whose kept tick was read from the table.
        self._seeded: set[SeriesKey] = set()
        self._version = NOTHING_SEEN
        self._newer = WakeUp()

    def put(self, key: SeriesKey, record: UnifiedPositionRecord) -> None:
        """Take a tick that is at least as new as those of its series before it."""
        if len(record.source_payload) > MAX_PAYLOAD_BYTES:
            record = msgspec.structs.replace(record, source_payload=NO_PAYLOAD)
        number = len(self._fresh)
        self._fresh[key] = record
        if not number:
            self._newer.wake()
        elif number >= self._max_fresh:
            self._look()

    def seed(self, records: Iterable[UnifiedPositionRecord]) -> int:
        """Take ticks of earlier runs unless the series has a newer one; return how many.

        They do not displace another series.
        """
        self._look()
        taken = 0
        for record in records:
            key = (record.broker, record.account_id, record.contract_key)
            kept = self._kept.get(key)
            if kept is None:
                is_wanted = len(self._kept) < self._max_series
            else:
                is_wanted = _age_order(kept[1]) < _age_order(record)
            if is_wanted:
                self._seeded.add(key)
                self._keep({key: record})
                taken += 1
        if taken:
            self._newer.wake()
        return taken

    @property
    def version(self) -> int:
        """The number of the last change."""
        self._look()
        return self._version

    def changes(
        self, since: int = NOTHING_SEEN, most: int | None = None
    ) -> tuple[int, Sequence[UnifiedPositionRecord]]:
        """Return the latest tick of each series that changed after ``since``.

        Args:
            since: The version that the reader has seen.
            most: The number of ticks at which the answer ends; default: all.

        Returns:
            The version that the reader has seen with these ticks, and the ticks, oldest
            change first.
        """
        self._look()
        changed = []
        for each in reversed(self._kept.values()):
            if each[0] <= since:
                break
            changed.append(each)
        seen = self._version
        if most is not None and len(changed) > most:
            del changed[:-most]
            seen = changed[0][0]
        changed.reverse()
        return seen, [record for _, record in changed]

    def snapshot(self) -> Iterator[UnifiedPositionRecord]:
        """Return an iterator over the latest tick of each series as they are now.

        The call costs little however many series there are.
        """
        self._look()
        return (record for _, record in tuple(self._kept.values()))

    async def wait_newer(self, version: int) -> None:
        """Wait until `changes` has a newer version than this one."""
        while self._version <= version and not self._fresh:
            await self._newer.wait()

    def __len__(self) -> int:
        """Return the number of series."""
        self._look()
        return len(self._kept)

    def _look(self) -> None:
        """Move the fresh ticks to the kept ones, and number their changes."""
        if not self._fresh:
            return
        fresh, self._fresh = self._fresh, {}
        # A tick that was read from the table may be newer than the fresh one.
        for key in self._seeded & fresh.keys():
            if _age_order(self._kept[key][1]) > _age_order(fresh[key]):
                del fresh[key]
            else:
                self._seeded.remove(key)
        self._keep(fresh)
        for _ in range(len(self._kept) - self._max_series):
            key = next(iter(self._kept))
            del self._kept[key]
            self._seeded.discard(key)

    def _keep(self, records: dict[SeriesKey, UnifiedPositionRecord]) -> None:
        """Number the changes of these series.

        With thousands of contracts nearly every tick comes here, so the loops are in C.
        """
        kept, first = self._kept, self._version + 1
        # Removed first, because an existing key would keep its place.
        deque(map(kept.pop, records, repeat(None)), maxlen=0)
        kept.update(
            zip(records, zip(count(first), records.values(), strict=False), strict=True)
        )
        self._version += len(records)


def _age_order(record: UnifiedPositionRecord) -> tuple[datetime, datetime]:
    return record.event_time, record.received_at
