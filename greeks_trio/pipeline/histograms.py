"""Histograms of latencies: over a rolling window, and since the start.

Each bucket is 2 % wider than the one before.  So a percentile is right within 2 % from 10
microseconds to an hour, and a histogram takes 1,000 integers for any number of ticks.  There
is no clock here: the caller gives the time.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

_FIRST_S: Final = 1e-5
_LOG_GROWTH: Final = math.log(1.02)
_BUCKETS: Final = 1_000

WINDOW_S: Final = 60.0
# The window moves in steps of this length, so it covers 55 to 60 seconds.
_SLICE_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencySummary:
    """Percentiles in seconds; `None` without a measurement."""

    count: int
    p50: float | None
    p95: float | None
    p99: float | None
    max: float | None

    def milliseconds(self) -> dict[str, float | None]:
        """Return the percentiles in milliseconds, for the demo and the API."""
        return {
            name: None if value is None else round(value * 1e3, 3)
            for name, value in (
                ("p50", self.p50),
                ("p95", self.p95),
                ("p99", self.p99),
                ("max", self.max),
            )
        }


class Histogram:
    """Counts of latencies by bucket, and the exact maximum in seconds."""

    def __init__(self) -> None:
        self.counts = [0] * _BUCKETS
        self.count = 0
        self.max = 0.0

    def record(self, seconds: float, number: int = 1) -> None:
        """Count ``number`` ticks of one latency."""
        self.record_in(_bucket(seconds), seconds, number)

    def record_in(self, bucket: int, seconds: float, number: int) -> None:
        """Count as `record` does, with a bucket that is known."""
        self.counts[bucket] += number
        self.count += number
        if seconds > self.max:
            self.max = seconds

    @classmethod
    def sum_of(cls, histograms: Sequence[Histogram]) -> Histogram:
        """Return a histogram with the counts of all."""
        total = cls()
        if histograms:
            columns = zip(*(each.counts for each in histograms), strict=True)
            total.counts = list(map(sum, columns))
            total.count = sum(each.count for each in histograms)
            total.max = max(each.max for each in histograms)
        return total

    def percentile(self, fraction: float) -> float | None:
        """Return the upper bound in seconds of the bucket that holds the fraction."""
        if not self.count:
            return None
        rank = math.ceil(fraction * self.count)
        seen = 0
        for bucket, number in enumerate(self.counts):
            seen += number
            if seen >= rank:
                return min(self.max, _FIRST_S * math.exp(bucket * _LOG_GROWTH))
        return self.max

    def summary(self) -> LatencySummary:
        """Return the percentiles."""
        return LatencySummary(
            count=self.count,
            p50=self.percentile(0.50),
            p95=self.percentile(0.95),
            p99=self.percentile(0.99),
            max=self.max if self.count else None,
        )


class RollingLatency:
    """Latencies since the start and of the last `WINDOW_S` seconds."""

    def __init__(self) -> None:
        self.since_start = Histogram()
        # (end of the slice on the monotonic clock, its latencies), oldest first.
        self._slices: deque[tuple[float, Histogram]] = deque()

    def record(self, seconds: float, number: int = 1, *, now: float) -> None:
        """Count ``number`` ticks of one latency at a moment of the monotonic clock."""
        bucket = _bucket(seconds)
        self.since_start.record_in(bucket, seconds, number)
        self._slice_at(now).record_in(bucket, seconds, number)

    def window(self, *, now: float) -> LatencySummary:
        """Return the percentiles of the last `WINDOW_S` seconds."""
        return self.window_histogram(now=now).summary()

    def window_histogram(self, *, now: float) -> Histogram:
        """Return the latencies of the last `WINDOW_S` seconds; the caller may change them."""
        self._forget_before(now - WINDOW_S + _SLICE_S)
        return Histogram.sum_of([each for _, each in self._slices])

    def _slice_at(self, now: float) -> Histogram:
        if self._slices and now < self._slices[-1][0]:
            return self._slices[-1][1]
        self._forget_before(now - WINDOW_S + _SLICE_S)
        self._slices.append((now + _SLICE_S, Histogram()))
        return self._slices[-1][1]

    def _forget_before(self, moment: float) -> None:
        while self._slices and self._slices[0][0] <= moment:
            self._slices.popleft()


def _bucket(seconds: float) -> int:
    if seconds <= _FIRST_S:
        return 0
    return min(int(math.log(seconds / _FIRST_S) / _LOG_GROWTH) + 1, _BUCKETS - 1)


class BucketCounts:
    """The number of values up to each bound, and their sum.

    Attributes:
        sum: The sum of all values, in their unit.
    """

    __slots__ = ("_bounds", "_counts", "sum")

    def __init__(self, bounds: Iterable[float]) -> None:
        self._bounds = sorted(set(bounds))
        # The last one counts the values above all bounds.
        self._counts = [0] * (len(self._bounds) + 1)
        self.sum = 0.0

    def record(self, value: float, number: int = 1) -> None:
        """Count ``number`` times one value."""
        self._counts[bisect_left(self._bounds, value)] += number
        self.sum += value * number

    def record_each(self, values: Sequence[float]) -> None:
        """Count each of the values once."""
        bounds, counts = self._bounds, self._counts
        for value in values:
            counts[bisect_left(bounds, value)] += 1
        self.sum += sum(values)

    @property
    def count(self) -> int:
        """Return the number of values."""
        return sum(self._counts)

    def above(self, bound: float) -> int:
        """Return the number of values above; it is exact for one of the bounds."""
        return sum(self._counts[bisect_left(self._bounds, bound) + 1 :])

    def cumulative(self) -> list[tuple[float, int]]:
        """Return each bound with the number of values up to it, infinity last."""
        return list(
            zip((*self._bounds, math.inf), accumulate(self._counts), strict=True)
        )
