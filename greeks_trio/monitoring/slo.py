"""The latency SLO: the rolling p95 of the latency to durable stays below a target.

How a breach begins and ends:

- The p95 is of the last minute.  A tick that is not durable counts from the moment at which
  it is older than the target; it is overdue then.  Otherwise a standstill would show no
  latency at all.
- With fewer than `MIN_TICKS` ticks in the minute the p95 is the slowest tick.  One slow disk
  sync at night is no breach, so a small number of ticks begins none.
- A tick that is more than `MAX_OVERDUE_S` overdue is a breach, however few ticks there are.
- A breach ends when the p95 is at most `RECOVERED` of the target, or no tick became durable
  for a minute, and no tick is overdue.  So a p95 near the target makes one breach, and a
  minute with few ticks does not end one.

There is no clock and no event loop here: the caller gives the time.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from greeks_trio.pipeline.histograms import Histogram

logger = logging.getLogger(__name__)

# Below this the p95 is the maximum.
MIN_TICKS: Final = 20
# The default time-out for a connection that does not answer.
MAX_OVERDUE_S: Final = 5.0
RECOVERED: Final = 0.8

_FRACTION: Final = 0.95
_STEPS: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class SloStatistics:
    """The state at the last update, in seconds.

    Attributes:
        target_s: The target for the p95.
        p95_s: The p95 of the last minute with the overdue ticks; `None` without a tick.
        ticks: The number of ticks in the p95.
        overdue: Ticks that are not durable and older than the target.
        oldest_undurable_age_s: Age of the oldest tick that is not durable, 0 without one.
        breached_s: Time since the breach began, `None` without a breach.
        breaches: The number of breaches since the start.
    """

    target_s: float
    p95_s: float | None
    ticks: int
    overdue: int
    oldest_undurable_age_s: float
    breached_s: float | None
    breaches: int

    @property
    def is_breached(self) -> bool:
        """Return whether the SLO is breached."""
        return self.breached_s is not None

    def in_words(self) -> str | None:
        """Return the breach as a sentence for a person, `None` without a breach."""
        if self.breached_s is None:
            return None
        p95 = "unknown" if self.p95_s is None else f"{self.p95_s * 1e3:.0f} ms"
        words = (
            f"latency: above the SLO of {self.target_s * 1e3:.0f} ms for"
            f" {self.breached_s:.0f} s, p95 of the last minute {p95}"
        )
        if self.overdue:
            words += (
                f"; {self.overdue} ticks are overdue,"
                f" the oldest is {self.oldest_undurable_age_s:.1f} s old"
            )
        return words


class SloWatch:
    """Logs once when a breach begins, and once when it ends.

    Attributes:
        target_s: The target for the p95, in seconds.
    """

    def __init__(self, target_s: float) -> None:
        self.target_s = target_s
        self._p95_s: float | None = None
        self._ticks = self._overdue = 0
        self._oldest_s = 0.0
        self._updated_at = 0.0
        self._breached_at: float | None = None
        self._breaches = 0

    def update(self, window: Histogram, waiting_s: Sequence[float], now: float) -> None:
        """Take the latencies of the last minute, and log when a breach begins or ends.

        Args:
            window: The latencies to durable of the last minute.  It is changed.
            waiting_s: The ages of all ticks that are not durable.
            now: The monotonic clock.
        """
        overdue = sorted(age for age in waiting_s if age > self.target_s)
        # There may be a hundred thousand.  They are recorded in at most a hundred groups,
        # each with the age of its oldest tick.
        step = len(overdue) // _STEPS + 1
        for start in range(0, len(overdue), step):
            some = overdue[start : start + step]
            window.record(some[-1], len(some))
        self._p95_s = window.percentile(_FRACTION)
        self._ticks, self._overdue = window.count, len(overdue)
        self._oldest_s = max(waiting_s, default=0.0)
        self._updated_at = now
        if self._breached_at is None and self._is_breached():
            self._begin()
        elif self._breached_at is not None and self._is_kept_again():
            self._end(self._breached_at)

    def statistics(self) -> SloStatistics:
        """Return the state at the last update."""
        since = self._breached_at
        return SloStatistics(
            target_s=self.target_s,
            p95_s=self._p95_s,
            ticks=self._ticks,
            overdue=self._overdue,
            oldest_undurable_age_s=self._oldest_s,
            breached_s=None if since is None else self._updated_at - since,
            breaches=self._breaches,
        )

    def _is_breached(self) -> bool:
        is_slow = self._ticks >= MIN_TICKS and (self._p95_s or 0.0) > self.target_s
        return is_slow or self._oldest_s > self.target_s + MAX_OVERDUE_S

    def _is_kept_again(self) -> bool:
        return not self._overdue and (self._p95_s or 0.0) <= RECOVERED * self.target_s

    def _begin(self) -> None:
        self._breached_at = self._updated_at
        self._breaches += 1
        logger.warning(
            "slo.breached p95_ms=%.1f slo_ms=%.1f ticks=%d overdue=%d"
            " oldest_waiting_ms=%.0f",
            (self._p95_s or 0.0) * 1e3,
            self.target_s * 1e3,
            self._ticks,
            self._overdue,
            self._oldest_s * 1e3,
        )

    def _end(self, breached_at: float) -> None:
        self._breached_at = None
        logger.warning(
            "slo.recovered after_s=%.0f p95_ms=%.1f",
            self._updated_at - breached_at,
            (self._p95_s or 0.0) * 1e3,
        )
