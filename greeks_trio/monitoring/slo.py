"""Whether ticks are durable in time: the rolling p95 against the bar.

Discussion of when the bar counts as breached.

- The p95 is that of the last minute, and ticks that still wait count in it from the moment
  at which they have waited longer than the bar: else nothing would be late while nothing
  at all becomes durable.
- Of fewer than `MIN_TICKS` ticks in that minute the p95 is merely the slowest one, and one
  slow disk sync at night is no breach.  A tick that waits `MAX_OVERDUE_S` longer than the
  bar is one all the same, however few there are.
- It is over when the p95 has come down to `RECOVERED` of the bar, or no tick has become
  durable for a minute, and none waits too long.  So what lies about the bar makes one
  breach, and a minute with few ticks ends none.

No clock and no event loop in here: who calls says what time it is.
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
# As long as a connection that does not answer is borne with by default.
MAX_OVERDUE_S: Final = 5.0
RECOVERED: Final = 0.8

_FRACTION: Final = 0.95
_STEPS: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class SloStatistics:
    """The state at the last look.

    Attributes:
        p95_s: Seconds, of the last minute and of what waits for too long; `None`
            without a tick.
        ticks: How many that is the p95 of.
        overdue: Ticks that are not durable and older than the bar.
        oldest_undurable_age_s: Age of the oldest tick that is not durable, 0 without one.
        breached_s: For how long the bar has been breached, `None` when it is not.
        breaches: How often it has been since the start.
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
        """Return what is wrong for a person, `None` when nothing is."""
        if self.breached_s is None:
            return None
        p95 = "unknown" if self.p95_s is None else f"{self.p95_s * 1e3:.0f} ms"
        words = (
            f"latency: above the bar of {self.target_s * 1e3:.0f} ms since"
            f" {self.breached_s:.0f} s, p95 of the last minute {p95}"
        )
        if self.overdue:
            words += (
                f"; {self.overdue} ticks are not durable and older than that,"
                f" the oldest {self.oldest_undurable_age_s:.1f} s"
            )
        return words


class SloWatch:
    """Says once when the bar is breached, and once when it is kept again."""

    def __init__(self, target_s: float) -> None:
        self.target_s = target_s
        self._p95_s: float | None = None
        self._ticks = self._overdue = 0
        self._oldest_s = 0.0
        self._looked_at = 0.0
        self._breached_at: float | None = None
        self._breaches = 0

    def update(self, window: Histogram, waiting_s: Sequence[float], now: float) -> None:
        """Look at the latencies, and log when it begins or ends.

        Args:
            window: The latencies to durable of the last minute; it is changed.
            waiting_s: The ages of all ticks that are not durable.
            now: The monotonic clock.
        """
        overdue = sorted(age for age in waiting_s if age > self.target_s)
        # There may be a hundred thousand: recorded by hundreds, none off by much.
        step = len(overdue) // _STEPS + 1
        for start in range(0, len(overdue), step):
            some = overdue[start : start + step]
            window.record(some[-1], len(some))
        self._p95_s = window.percentile(_FRACTION)
        self._ticks, self._overdue = window.count, len(overdue)
        self._oldest_s = max(waiting_s, default=0.0)
        self._looked_at = now
        if self._breached_at is None and self._is_breached():
            self._begin()
        elif self._breached_at is not None and self._is_kept_again():
            self._end(self._breached_at)

    def statistics(self) -> SloStatistics:
        """Return what was found at the last look."""
        since = self._breached_at
        return SloStatistics(
            target_s=self.target_s,
            p95_s=self._p95_s,
            ticks=self._ticks,
            overdue=self._overdue,
            oldest_undurable_age_s=self._oldest_s,
            breached_s=None if since is None else self._looked_at - since,
            breaches=self._breaches,
        )

    def _is_breached(self) -> bool:
        is_slow = self._ticks >= MIN_TICKS and (self._p95_s or 0.0) > self.target_s
        return is_slow or self._oldest_s > self.target_s + MAX_OVERDUE_S

    def _is_kept_again(self) -> bool:
        return not self._overdue and (self._p95_s or 0.0) <= RECOVERED * self.target_s

    def _begin(self) -> None:
        self._breached_at = self._looked_at
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
            self._looked_at - breached_at,
            (self._p95_s or 0.0) * 1e3,
        )
