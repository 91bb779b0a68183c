"""Lost ticks by broker, and the intervals in which they were received."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime

from greeks_trio.model.gap_reasons import GapReason
from greeks_trio.model.records import Broker, FeedGap, Tick


class Losses:
    """Counts ticks that will never be stored, and makes gaps of them.

    Attributes:
        rows: Ticks lost since the start, by broker.
    """

    def __init__(self) -> None:
        self.rows: Counter[Broker] = Counter()
        # First and last receipt of the ticks that are in no gap yet.
        self._untold: dict[Broker, tuple[datetime, datetime]] = {}

    @property
    def total(self) -> int:
        """Return the ticks lost since the start."""
        return self.rows.total()

    @property
    def is_untold(self) -> bool:
        """Return whether some are in no gap yet, see `pop_gaps`."""
        return bool(self._untold)

    def add(
        self, broker: Broker, rows: int, first_at: datetime, last_at: datetime
    ) -> None:
        """Count ticks that were received in this interval; 0 when it is unknown how many."""
        self.rows[broker] += rows
        first, last = self._untold.get(broker, (first_at, last_at))
        self._untold[broker] = (min(first, first_at), max(last, last_at))

    def add_ticks(self, ticks: Iterable[Tick]) -> None:
        """Count these ticks."""
        for tick in ticks:
            received_at = tick.record.received_at
            self.add(tick.record.broker, 1, received_at, received_at)

    def pop_gaps(self) -> list[FeedGap]:
        """Return the losses since the last call as gaps, one for each broker."""
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
