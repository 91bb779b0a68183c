"""Ticks on their way to the database, in memory, oldest first.

The one buffer between the processor and the writer.  Putting never waits, because
reading from the brokers must never stop: beyond the bound the oldest ticks are lost, and
counted.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from datetime import datetime
from itertools import islice

import trio

from greeks_trio.model.records import Broker, FeedGap, Tick

logger = logging.getLogger(__name__)


class Backlog:
    """A bounded queue of ticks with one producer and one consumer.

    A tick is about 1.5 kB with its payload, so the default bound of 200,000 rows is
    300 MB after 200 s without a database at 1,000 ticks/s; it is empty otherwise.

    Attributes:
        lost: Ticks that fell out since the start.
        peak: Most ticks that waited at one time.
    """

    def __init__(self, max_rows: int) -> None:
        self._rows: deque[Tick] = deque()
        self._max_rows = max_rows
        self._closed = False
        self._arrived = trio.Event()
        # First and last receipt of what was lost since `pop_losses`, by broker.
        self._losses: dict[Broker, tuple[datetime, datetime]] = {}
        self.lost = 0
        self.peak = 0

    def __len__(self) -> int:
        return len(self._rows)

    def put(self, ticks: Iterable[Tick]) -> None:
        """Append ticks, oldest first."""
        self._rows.extend(ticks)
        self._bound()
        self._arrived.set()

    def put_back(self, ticks: list[Tick]) -> None:
        """Return ticks that `take` gave and nobody stored, before all others."""
        self._rows.extendleft(reversed(ticks))
        self._bound()
        self._arrived.set()

    def close(self) -> None:
        """Say that no more ticks will be put."""
        self._closed = True
        self._arrived.set()

    async def wait_rows(self) -> bool:
        """Wait until there are ticks; `False` when it is closed and empty."""
        while not self._rows:
            if self._closed:
                return False
            self._arrived = trio.Event()
            await self._arrived.wait()
        return True

    @property
    def is_finished(self) -> bool:
        """Whether it is closed and empty."""
        return self._closed and not self._rows

    def take(self, max_rows: int) -> list[Tick]:
        """Remove and return the oldest ticks, at most ``max_rows``."""
        rows = self._rows
        if len(rows) <= max_rows:
            taken = list(rows)
            rows.clear()
            return taken
        taken = list(islice(rows, max_rows))
        for _ in range(max_rows):
            rows.popleft()
        return taken

    def pop_losses(self) -> list[FeedGap]:
        """Return what was lost since the last call as gaps, one per broker."""
        gaps = [
            FeedGap(broker=broker, started_at=first, ended_at=last, reason="ticks-lost")
            for broker, (first, last) in self._losses.items()
        ]
        self._losses.clear()
        return gaps

    def _bound(self) -> None:
        self.peak = max(self.peak, len(self._rows))
        excess = len(self._rows) - self._max_rows
        if excess <= 0:
            return
        self.lost += excess
        if not self._losses:
            logger.critical(
                "backlog.ticks_lost lost=%d max_rows=%d", self.lost, self._max_rows
            )
        for _ in range(excess):
            record = self._rows.popleft().record
            first, last = self._losses.get(
                record.broker, (record.received_at, record.received_at)
            )
            self._losses[record.broker] = (
                min(first, record.received_at),
                max(last, record.received_at),
            )
