"""What was lost, so that it can be told: how many ticks, of which broker, from when."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime

from greeks_trio.model.gap_reasons import GapReason
from greeks_trio.model.records import Broker, FeedGap, Tick


class Losses:
    """Counts ticks that nobody will store, and tells them as gaps.

    Attributes:
        rows: Ticks lost since the start, by broker.
    """

    def __init__(self) -> None:
        self.rows: Counter[Broker] = Counter()
        # First and last receipt of what was lost and not told yet.
        self._untold: dict[Broker, tuple[datetime, datetime]] = {}

    @property
    def total(self) -> int:
        """Return the ticks lost since the start."""
        return self.rows.total()

    @property
    def is_untold(self) -> bool:
        """Whether some wait for `pop_gaps`."""
        return bool(self._untold)

    def add(
        self, broker: Broker, rows: int, first_at: datetime, last_at: datetime
    ) -> None:
        """Count ticks that were received in this interval."""
        self.rows[broker] += rows
        first, last = self._untold.get(broker, (first_at, last_at))
        self._untold[broker] = (min(first, first_at), max(last, last_at))

    def add_ticks(self, ticks: Iterable[Tick]) -> None:
        """Count these ticks."""
        for tick in ticks:
            received_at = tick.record.received_at
            self.add(tick.record.broker, 1, received_at, received_at)

    def pop_gaps(self) -> list[FeedGap]:
        """Return what was lost since the last call as gaps, one per broker."""
        gaps = [
            FeedGap(
                broker=broker,
                started_at=first,
                ended_at=last,
                reason=GapReason.TICKS_LOST,
            )
            for broker, (first, last) in self._untold.items()
        ]
        self._untold.clear()
        return gaps
