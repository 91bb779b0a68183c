"""Between the feeds and the writer: put ticks in order and drop repeated ones.

The processor keeps, for each account and contract, the times of the newest tick and the
keys of the last few events.  The table's primary key makes sure that an event is stored
once.  The processor drops the usual repeats (doubled first frames, the last value after a
reconnect), so that COPY stays on its fast path.
"""

from __future__ import annotations

from array import array
from collections import Counter
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
    """One contract in one account: the times of its newest tick, and the last keys."""

    __slots__ = ("_oldest", "event_time", "keys", "received_at")

    def __init__(self, first: UnifiedPositionRecord) -> None:
        self.event_time = first.event_time
        self.received_at = first.received_at
        # Hashes of 64 bits in one block: 3 kB less for each contract than tuples in a deque.
        # Of two different events, one of the other's time or older, they are the same once in
        # 10 ** 18 cases.
        self.keys = array("q")
        # The place of the oldest one, once all places are taken.
        self._oldest = 0

    def remember(self, key: int) -> None:
        """Keep the key of an event, in the place of the oldest one."""
        if len(self.keys) < _REMEMBERED:
            self.keys.append(key)
        else:
            self.keys[self._oldest] = key
            self._oldest = (self._oldest + 1) % _REMEMBERED


class Processor:
    """Puts the ticks of each frame in order and drops repeated ones.

    Attributes:
        latest: The newest tick of each series.
        last_read_at: When the last tick of each contract was read, in seconds of the
            monotonic clock; for the staleness report.
    """

    def __init__(self) -> None:
        self.latest = Latest()
        self._series: dict[SeriesKey, _Series] = {}
        self.last_read_at: dict[tuple[Broker, ContractKey], float] = {}
        self._received: Counter[str] = Counter()
        self._duplicates: Counter[str] = Counter()
        self._late: Counter[str] = Counter()

    def process(self, ticks: list[Tick]) -> list[Tick]:
        """Return the new ticks of a frame by event time, without repeats."""
        if len(ticks) > 1:
            ticks = sorted(ticks, key=_ORDER)
        read_at, is_new = self.last_read_at, self._is_new
        fresh: list[Tick] = []
        for tick in ticks:
            record = tick.record
            read_at[record.broker, record.contract_key] = tick.read_at
            if is_new(tick, record):
                fresh.append(tick)
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

    def _is_new(self, tick: Tick, record: UnifiedPositionRecord) -> bool:
        series_key = (record.broker, record.account_id, record.contract_key)
        series = self._series.get(series_key)
        if series is None:
            series = self._series[series_key] = _Series(record)
        event_time, received_at = record.event_time, record.received_at
        key = hash((event_time, tick.fingerprint))
        is_newest = event_time > series.event_time
        # No remembered key is newer.
        if not is_newest and key in series.keys:
            self._duplicates[record.broker] += 1
            return False
        series.remember(key)
        if is_newest or (
            event_time == series.event_time and received_at >= series.received_at
        ):
            series.event_time, series.received_at = event_time, received_at
            self.latest.put(series_key, record)
        elif event_time < series.event_time:
            self._late[record.broker] += 1
        return True


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
