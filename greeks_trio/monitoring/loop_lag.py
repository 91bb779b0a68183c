"""How late the event loop is: what any task has to wait until it is its turn.

One task that wants to be woken each tenth of a second, and measures how much later it is.
Whatever holds the loop up, a long computation or a call that blocks, holds it up as well.
Up to a millisecond of it is the kernel's: epoll counts in these.
"""

from __future__ import annotations

from typing import Final

import trio

from greeks_trio.pipeline.histograms import BucketCounts, LatencySummary, RollingLatency

# 600 measurements a minute, so that the p99 is not one of them alone.
INTERVAL_S: Final = 0.1

# For Prometheus, in seconds; our own bars are 5 ms for the p99 and 50 ms for the maximum.
LAG_BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)


class LoopLag:
    """How late the loop has been, of the last minute and since the start.

    Attributes:
        buckets: All that was measured, in seconds.
    """

    def __init__(self) -> None:
        self._rolling = RollingLatency()
        self.buckets = BucketCounts(LAG_BOUNDS_S)

    def record(self, lag_s: float, *, now: float) -> None:
        """Count one measurement at a moment of the monotonic clock."""
        self._rolling.record(lag_s, now=now)
        self.buckets.record(lag_s)

    def window(self) -> LatencySummary:
        """Return the percentiles of the last minute, in seconds."""
        return self._rolling.window(now=trio.current_time())

    def since_start(self) -> LatencySummary:
        """Return the percentiles since the start, in seconds."""
        return self._rolling.since_start.summary()


async def run_loop_lag(lag: LoopLag) -> None:
    """Measure each `INTERVAL_S` how late the event loop is, until cancelled."""
    while True:
        due_at = trio.current_time() + INTERVAL_S
        await trio.sleep_until(due_at)
        now = trio.current_time()
        lag.record(max(now - due_at, 0.0), now=now)
