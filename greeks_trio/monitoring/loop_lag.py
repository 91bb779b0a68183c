"""The lag of the event loop: the time that a task waits for its turn.

A task asks to be woken each tenth of a second, and measures the delay.  A long computation
or a call that blocks delays this task like every other one.  Up to a millisecond of the
delay comes from the kernel: epoll counts in milliseconds.
"""

from __future__ import annotations

from typing import Final

import trio

from greeks_trio.pipeline.histograms import BucketCounts, LatencySummary, RollingLatency

# 600 measurements a minute, so that the p99 is more than one measurement.
INTERVAL_S: Final = 0.1

# For Prometheus, in seconds.  Our own limits are 5 ms for the p99 and 50 ms at most.
LAG_BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)


class LoopLag:
    """The lag of the last minute and since the start.

    Attributes:
        buckets: All measurements, in seconds.
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
    """Measure the lag each `INTERVAL_S` until cancelled."""
    while True:
        due_at = trio.current_time() + INTERVAL_S
        await trio.sleep_until(due_at)
        now = trio.current_time()
        lag.record(max(now - due_at, 0.0), now=now)
