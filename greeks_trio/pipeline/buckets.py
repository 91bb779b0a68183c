"""Counts of values by fixed upper bounds: what a Prometheus histogram consists of.

Beside the fine buckets of `greeks_trio.pipeline.latency`, whose bounds nobody would want to
read: these are few and round, and so is the question that they answer exactly, how many
were not above a bound.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable
from itertools import accumulate


class BucketCounts:
    """How many values were not above each bound, and what they add up to.

    Attributes:
        sum: Of all the values, in their unit.
    """

    __slots__ = ("_bounds", "_counts", "sum")

    def __init__(self, bounds: Iterable[float]) -> None:
        self._bounds = sorted(set(bounds))
        # The last one is for what is above all bounds.
        self._counts = [0] * (len(self._bounds) + 1)
        self.sum = 0.0

    def record(self, value: float, number: int = 1) -> None:
        """Count ``number`` times one value."""
        self._counts[bisect_left(self._bounds, value)] += number
        self.sum += value * number

    @property
    def count(self) -> int:
        """Return how many values there were."""
        return sum(self._counts)

    def above(self, bound: float) -> int:
        """Return how many were above, exactly if it is one of the bounds."""
        return sum(self._counts[bisect_left(self._bounds, bound) + 1 :])

    def cumulative(self) -> list[tuple[float, int]]:
        """Return each bound with the number of values up to it, infinity last."""
        return list(
            zip((*self._bounds, math.inf), accumulate(self._counts), strict=True)
        )
