"""What has become of the ticks: counts, latencies, and who wants to be told.

Two latencies from the moment at which a frame was read: until its ticks are *durable*, in
the table or on disk, whichever comes first; and until they are committed to the table.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Final, TypeAlias

import trio

from greeks_trio.model.records import Broker, Tick
from greeks_trio.pipeline.histograms import BucketCounts, LatencySummary, RollingLatency
from greeks_trio.pipeline.refused_rows import BatchOutcome

# Seconds, of a histogram for Prometheus.  From far below what is usual, one commit, to
# where the spool has long stepped in; the bar that is configured goes between them.
LATENCY_BOUNDS_S: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0),
)
# Seconds: the way here, then a late or delayed source, up to the quarter of an hour of
# delayed quotes and the first values of a session, which are yesterday's.
EVENT_AGE_BOUNDS_S: Final = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
    *(30.0, 60.0, 300.0, 1200.0),
)

_FRAME: Final = attrgetter("read_at", "record.broker")

TickListener: TypeAlias = Callable[[Sequence[Tick]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TickListeners:
    """Who is told at once.

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
    """One kind of latency: fine for percentiles, and by broker in round buckets."""

    def __init__(self, slo_s: float) -> None:
        self.rolling = RollingLatency()
        self.by_broker = _by_broker((*LATENCY_BOUNDS_S, slo_s))

    def record(self, ticks: Sequence[Tick], *, now: float) -> None:
        """Count what has been achieved for ticks at this moment."""
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
    """Counts commits and what became durable.

    Args:
        listeners: Who is told at once.
        slo_s: The bar for the latency to durable; one more bound of the histograms.

    Attributes:
        to_durable: From frame read to durable.
        to_commit: From frame read to commit, without what was replayed.
        event_age: From the broker's time of the event to its receipt, by broker, in seconds,
            of the ticks that became durable.  A clock that is behind the broker's
            gives 0.
        persisted: Ticks known to be in the table, by broker.
        already_stored: Ticks offered that the table had.
        replayed: Ticks that came by way of the disk, those of earlier runs too, by
            broker.
    """

    def __init__(
        self,
        listeners: TickListeners = NO_LISTENERS,
        *,
        slo_s: float = LATENCY_BOUNDS_S[-1],
    ) -> None:
        self._listeners = listeners
        self.to_durable = Latencies(slo_s)
        self.to_commit = Latencies(slo_s)
        self.event_age = _by_broker(EVENT_AGE_BOUNDS_S)
        self.persisted: Counter[Broker] = Counter()
        self.already_stored = 0
        self.replayed: Counter[Broker] = Counter()

    def durable(self, ticks: Sequence[Tick]) -> None:
        """Note that ticks are durable that were not before."""
        self.to_durable.record(ticks, now=trio.current_time())
        for tick in ticks:
            record = tick.record
            age_s = (record.received_at - record.event_time).total_seconds()
            self.event_age[record.broker].record(max(0.0, age_s))
        if ticks and self._listeners.durable is not None:
            self._listeners.durable(ticks)

    def committed(self, stored: BatchOutcome) -> None:
        """Note what the writer has stored."""
        self.to_commit.record(stored.ticks, now=trio.current_time())
        self._note(stored)

    def committed_again(self, stored: BatchOutcome) -> None:
        """Note what the replayer has stored; when it was read is not known any more."""
        self.replayed.update(tick.record.broker for tick in stored.ticks)
        self._note(stored)

    def latency_to_durable(self) -> LatencyStatistics:
        """Return the latencies from frame read to durable."""
        return self.to_durable.statistics()

    def latency_to_commit(self) -> LatencyStatistics:
        """Return the latencies from frame read to commit, without what was replayed."""
        return self.to_commit.statistics()

    def _note(self, stored: BatchOutcome) -> None:
        self.persisted.update(tick.record.broker for tick in stored.ticks)
        self.already_stored += len(stored.ticks) - stored.new
        if stored.ticks and self._listeners.committed is not None:
            self._listeners.committed(stored.ticks)
