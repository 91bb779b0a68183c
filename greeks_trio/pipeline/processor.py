"""Between the feeds and the writer: put ticks in order and drop repeated ones.

The processor keeps, for each account and contract, the times of the newest tick and the
keys of the last few events.  The table's primary key makes sure that an event is stored
once.  The processor drops the usual repeats (doubled first frames, the last value after a
reconnect), so that COPY stays on its fast path.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

import trio

from greeks_trio.model.contracts import ContractKey
from greeks_trio.model.records import (
    Broker,
    Tick,
    UnifiedPositionRecord,
)
from greeks_trio.pipeline.backlog import Backlog
from greeks_trio.pipeline.latest import Latest, SeriesKey

# A broker repeats the last event or the last frame, and nothing older.
_REMEMBERED: Final = 16
# A hash is 0 as seldom as two are the same.
_NO_KEYS: Final = array("q", bytes(8 * _REMEMBERED))

_BROKER: Final = attrgetter("record.broker")
_ORDER: Final = attrgetter(
    "record.event_time", "record.contract_key", "record.account_id"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessorStatistics:
    """The processor's counters since the start, by broker.

    Attributes:
        received: Ticks from the feeds.
        duplicates: Ticks that were received before.
        late: Ticks that are older than the newest tick of their contract.
        contracts: Series (account and contract) that have a tick.
    """

    received: dict[str, int]
    duplicates: dict[str, int]
    late: dict[str, int]
    contracts: int


class _Series:
    """One contract in one account: the times of its newest tick, and its last keys."""

    __slots__ = ("event_time", "key_place", "keys_at", "read_at", "received_at")

    def __init__(self, first: UnifiedPositionRecord, keys_at: int) -> None:
        self.event_time = first.event_time
        self.received_at = first.received_at
        self.read_at = 0.0
        # Where its keys begin among those of all series, and the place of the next one.
        self.keys_at = keys_at
        self.key_place = 0


class Processor:
    """Puts the ticks of each frame in order and drops repeated ones.

    With thousands of contracts a series is no longer in the processor's cache when its next
    tick comes, so each of them has one place in one table, and one short object.

    Attributes:
        latest: The newest tick of each series.
    """

    def __init__(self) -> None:
        self.latest = Latest()
        self._series: dict[SeriesKey, _Series] = {}
        self._of_contract: defaultdict[Broker, dict[ContractKey, list[_Series]]] = (
            defaultdict(dict)
        )
        # Hashes of 64 bits in one block: 3 kB less for each contract than tuples in a deque.
        # Of two different events, one of the other's time or older, they are the same once in
        # 10 ** 18 cases.
        self._keys = array("q")
        self._received: Counter[str] = Counter()
        self._duplicates: Counter[str] = Counter()
        self._late: Counter[str] = Counter()

    def process(self, ticks: list[Tick]) -> list[Tick]:
        """Return the new ticks of a frame by event time, without repeats."""
        if len(ticks) > 1:
            ticks = sorted(ticks, key=_ORDER)
        fresh = list(filter(self._is_new, ticks))
        self._received.update(map(_BROKER, ticks))
        return fresh

    def statistics(self) -> ProcessorStatistics:
        """Return the counters."""
        return ProcessorStatistics(
            received=dict(self._received),
            duplicates=dict(self._duplicates),
            late=dict(self._late),
            contracts=len(self._series),
        )

    def last_read_at(
        self, broker: Broker, contract_keys: Iterable[ContractKey]
    ) -> list[float | None]:
        """Return when the last tick of each contract was read, `None` without any.

        In seconds of the monotonic clock, over all accounts, for the staleness report.
        """
        known = self._of_contract[broker]
        return [
            None
            if (series := known.get(key)) is None
            else series[0].read_at
            if len(series) == 1
            else max([each.read_at for each in series])
            for key in contract_keys
        ]

    def _is_new(self, tick: Tick) -> bool:
        record = tick.record
        series_key = (record.broker, record.account_id, record.contract_key)
        series = self._series.get(series_key)
        if series is None:
            series = self._begin(series_key, record)
        series.read_at = tick.read_at
        event_time, received_at = record.event_time, record.received_at
        key = hash((event_time, tick.fingerprint))
        is_newest = event_time > series.event_time
        first, place = series.keys_at, series.key_place
        # No remembered key is newer.
        if not is_newest and key in self._keys[first : first + _REMEMBERED]:
            self._duplicates[record.broker] += 1
            return False
        self._keys[first + place] = key
        series.key_place = (place + 1) % _REMEMBERED
        if is_newest or (
            event_time == series.event_time and received_at >= series.received_at
        ):
            series.event_time, series.received_at = event_time, received_at
            self.latest.put(series_key, record)
        elif event_time < series.event_time:
            self._late[record.broker] += 1
        return True

    def _begin(self, series_key: SeriesKey, first: UnifiedPositionRecord) -> _Series:
        """Return a new series, without any key."""
        series = self._series[series_key] = _Series(first, len(self._keys))
        self._keys.extend(_NO_KEYS)
        contracts = self._of_contract[first.broker]
        contracts.setdefault(first.contract_key, []).append(series)
        return series


async def run_processor(
    frames: trio.MemoryReceiveChannel[list[Tick]],
    processor: Processor,
    backlog: Backlog,
) -> None:
    """Process frames until every sender has closed, then close the backlog.

    When it is cancelled, it still processes the frames in the channel.
    """
    try:
        async for frame in frames:
            backlog.put(processor.process(frame))
    finally:
        with frames, suppress(trio.WouldBlock, trio.EndOfChannel):
            while True:
                backlog.put(processor.process(frames.receive_nowait()))
        backlog.close()
