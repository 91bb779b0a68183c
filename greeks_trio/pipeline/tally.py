"""What has become of the ticks: counts, latencies, and who wants to be told.

Two latencies from the moment at which a frame was read: until its ticks are *durable*, in
the table or on disk, whichever comes first; and until they are committed to the table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Final, TypeAlias

import trio

from greeks_trio.model.records import Broker, Tick
from greeks_trio.pipeline.isolation import Stored
from greeks_trio.pipeline.latency import LatencySummary, RollingLatency

TickObserver: TypeAlias = Callable[[Sequence[Tick]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observers:
    """Who is told at once.

    Attributes:
        committed: Called with the ticks of each commit.
        durable: Called with ticks when they are durable, once for each.
    """

    committed: TickObserver | None = None
    durable: TickObserver | None = None


NOBODY: Final = Observers()


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyStatistics:
    """Latencies of the last minute and since the start."""

    window: LatencySummary
    since_start: LatencySummary


class Tally:
    """Counts commits and what became durable.

    Attributes:
        persisted: Ticks known to be in the table, by broker.
        already_stored: Ticks offered that the table had.
        replayed: Ticks that came by way of the disk, those of earlier runs too.
    """

    def __init__(self, observers: Observers = NOBODY) -> None:
        self._observers = observers
        self._durable = RollingLatency()
        self._committed = RollingLatency()
        self.persisted: Counter[Broker] = Counter()
        self.already_stored = 0
        self.replayed = 0

    def durable(self, ticks: Sequence[Tick]) -> None:
        """Note that ticks are durable that were not before."""
        _record(self._durable, ticks)
        if ticks and self._observers.durable is not None:
            self._observers.durable(ticks)

    def committed(self, stored: Stored) -> None:
        """Note what the writer has stored."""
        _record(self._committed, stored.ticks)
        self._note(stored)

    def committed_again(self, stored: Stored) -> None:
        """Note what the replayer has stored; when it was read is not known any more."""
        self.replayed += len(stored.ticks)
        self._note(stored)

    def latency_to_durable(self) -> LatencyStatistics:
        """Return the latencies from frame read to durable."""
        return _summaries(self._durable)

    def latency_to_commit(self) -> LatencyStatistics:
        """Return the latencies from frame read to commit, without what was replayed."""
        return _summaries(self._committed)

    def _note(self, stored: Stored) -> None:
        self.persisted.update(tick.record.broker for tick in stored.ticks)
        self.already_stored += len(stored.ticks) - stored.new
        if stored.ticks and self._observers.committed is not None:
            self._observers.committed(stored.ticks)


def _record(latency: RollingLatency, ticks: Sequence[Tick]) -> None:
    now = trio.current_time()
    # The ticks of a frame were read together, so they share one latency.
    for read_at, frame in groupby(ticks, key=attrgetter("read_at")):
        latency.record(now - read_at, sum(1 for _ in frame), now=now)


def _summaries(latency: RollingLatency) -> LatencyStatistics:
    return LatencyStatistics(
        window=latency.window(now=trio.current_time()),
        since_start=latency.since_start.summary(),
    )
