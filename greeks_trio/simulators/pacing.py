"""When the next tick is due.  Pure: the clock is an argument, in seconds."""

from __future__ import annotations

from typing import Final

# Ticks that are due within this time are sent together.  At ten thousand ticks a second,
# one wake-up and one TLS record for each tick would cost more than the ticks.
BATCH_INTERVAL_S: Final = 0.002

# The longest delay whose ticks are sent later, for example when a client did not read.
# Ticks of a longer delay are skipped: a market does not repeat them either.
MAX_DEBT_S: Final = 0.5


class Pacer:
    """A steady rate that does not drift: tick n is due n / rate after the start."""

    def __init__(self, rate: float, *, now: float) -> None:
        self._rate = rate
        self._start = now
        self._taken = 0

    def restart(self, now: float) -> None:
        """Count again from now, without any late ticks."""
        self._start = now
        self._taken = 0

    def take_due(self, now: float) -> int:
        """Return how many ticks have become due since the last call."""
        due = int((now - self._start) * self._rate) - self._taken
        if due > 1 + self._rate * MAX_DEBT_S:
            self.restart(now)
            return 1
        self._taken += max(due, 0)
        return max(due, 0)

    def next_at(self, now: float) -> float:
        """Return when to call `take_due` again: at the next tick, or a little later."""
        if self._rate <= 0:
            return float("inf")
        due = self._start + (self._taken + 1) / self._rate
        return max(due, now + BATCH_INTERVAL_S)


class Allowance:
    """A limit of requests: ``burst`` at once, and ``rate`` a second."""

    def __init__(self, burst: float, rate: float, *, now: float) -> None:
        self._burst = burst
        self._rate = rate
        self._left = burst
        self._at = now

    def take(self, now: float) -> bool:
        """Count one request; tell whether it is within the limit."""
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True
