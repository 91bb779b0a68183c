"""Counts and latencies of the ticks, and the listeners for their progress.

There are two latencies.  Both begin when a frame is read.  The latency to durable ends when
its ticks are in the table or on disk, whichever is first.  The latency to commit ends when
they are committed to the table.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Final, TypeAlias

import trio

from greeks_trio.model.records import Broker, Tick
from greeks_trio.pipeline.histograms import BucketCounts, LatencySummary, RollingLatency
from greeks_trio.pipeline.refused_rows import BatchOutcome

# For Prometheus, in seconds.  The first bounds are below the usual duration of a commit; the
# last ones are above the time after which ticks go to the spool.  The target of the SLO is
# one more bound.
LATENCY_BOUNDS_S: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0),
)
# In seconds.  The first bounds are for the network, then come late sources and quotes that
# are delayed by a quarter of an hour.  The first values of a session are a day old.
EVENT_AGE_BOUNDS_S: Final = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
    *(30.0, 60.0, 300.0, 1200.0),
)

_NO_AGE: Final = timedelta()
_FRAME: Final = attrgetter("read_at", "record.broker")
_BROKER: Final = attrgetter("record.broker")

TickListener: TypeAlias = Callable[[Sequence[Tick]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TickListeners:
    """Functions that are called with ticks at once.

    Attributes:
        committed: Called with the ticks of each commit.
        durable: Called with ticks when they are durable, once for each.
    """

    committed: TickListener | None = None
    durable: TickListener | None = None


NO_LISTENERS: Final = TickListeners()


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyStatistics:
    """Latencies of the last minute and since the start."""

    window: LatencySummary
    since_start: LatencySummary


def _by_broker(bounds: Sequence[float]) -> defaultdict[Broker, BucketCounts]:
    return defaultdict(partial(BucketCounts, bounds))


class Latencies:
    """One kind of latency: in fine buckets for percentiles, and by broker for Prometheus."""

    def __init__(self, slo_target_s: float) -> None:
        self.rolling = RollingLatency()
        self.by_broker = _by_broker((*LATENCY_BOUNDS_S, slo_target_s))

    def record(self, ticks: Sequence[Tick], *, now: float) -> None:
        """Count the latency of ticks that ends at this moment."""
        # The ticks of a frame were read together, so they share one latency.
        for (read_at, broker), frame in groupby(ticks, key=_FRAME):
            number = len(list(frame))
            self.rolling.record(now - read_at, number, now=now)
            self.by_broker[broker].record(now - read_at, number)

    def statistics(self) -> LatencyStatistics:
        """Return the percentiles."""
        return LatencyStatistics(
            window=self.rolling.window(now=trio.current_time()),
            since_start=self.rolling.since_start.summary(),
        )


class TickCounts:
    """Counts the ticks that are durable and those that are in the table.

    Args:
        listeners: Functions that are called with the ticks.
        slo_target_s: The target for the latency to durable in seconds.

    Attributes:
        to_durable: From frame read to durable.
        to_commit: From frame read to commit, without replayed ticks.
        event_age: From the broker's time of an event to its receipt, in seconds, by broker,
            of the ticks that became durable.  It is 0 when our clock is behind.
        persisted: Ticks that are in the table, by broker.
        already_stored: Ticks offered to the table that the table had.
        replayed: Ticks stored from the spool, those of earlier runs too, by broker.
    """

    def __init__(
        self,
        listeners: TickListeners = NO_LISTENERS,
        *,
        slo_target_s: float = LATENCY_BOUNDS_S[-1],
    ) -> None:
        self._listeners = listeners
        self.to_durable = Latencies(slo_target_s)
        self.to_commit = Latencies(slo_target_s)
        self.event_age = _by_broker(EVENT_AGE_BOUNDS_S)
        self.persisted: Counter[Broker] = Counter()
        self.already_stored = 0
        self.replayed: Counter[Broker] = Counter()

    def durable(self, ticks: Sequence[Tick]) -> None:
        """Count ticks that have just become durable."""
        self.to_durable.record(ticks, now=trio.current_time())
        ages_s: defaultdict[Broker, list[float]] = defaultdict(list)
        for tick in ticks:
            record = tick.record
            age = record.received_at - record.event_time
            ages_s[record.broker].append(age.total_seconds() if age > _NO_AGE else 0.0)
        for broker, values in ages_s.items():
            self.event_age[broker].record_each(values)
        if ticks and self._listeners.durable is not None:
            self._listeners.durable(ticks)

    def committed(self, stored: BatchOutcome) -> None:
        """Count the ticks that the writer has stored."""
        self.to_commit.record(stored.ticks, now=trio.current_time())
        self._note(stored)

    def committed_again(self, stored: BatchOutcome) -> None:
        """Count the ticks that the replayer has stored.  They have no latency any more."""
        self.replayed.update(map(_BROKER, stored.ticks))
        self._note(stored)

    def latency_to_durable(self) -> LatencyStatistics:
        """Return the latencies from frame read to durable."""
        return self.to_durable.statistics()

    def latency_to_commit(self) -> LatencyStatistics:
        """Return the latencies from frame read to commit, without replayed ticks."""
        return self.to_commit.statistics()

    def _note(self, stored: BatchOutcome) -> None:
        self.persisted.update(map(_BROKER, stored.ticks))
        self.already_stored += len(stored.ticks) - stored.new
        if stored.ticks and self._listeners.committed is not None:
            self._listeners.committed(stored.ticks)
