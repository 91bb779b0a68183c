"""The market metrics on their way: from the brokers and the file to the database.

They are few and can be read again.  So the newest values of each underlying wait in memory
while the database is away, and a restart reads them again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

from greeks_trio.model.market_metrics import FILE, MarketMetrics
from greeks_trio.waiting import WakeUp


@dataclass(slots=True)
class ReadingPlan:
    """When a broker is asked, across its connections.

    Attributes:
        due_at: When all metrics are due, on the monotonic clock.
        barred_until: Until then the broker is not asked.
        read: The symbols of the last complete reading.
        note: The shortfalls of the last reading in words; empty without any.
    """

    due_at: float = -inf
    barred_until: float = -inf
    read: frozenset[str] = frozenset()
    note: str = ""


class MetricsBoard:
    """The metrics that are not stored yet, and the underlyings that need metrics.

    Args:
        benchmark: Needs metrics too.

    Attributes:
        plan: When the broker is asked.
        wanted: The underlyings of all positions and watched options, from the database;
            `None` before the first look.
        wanted_changed: Woken when there is a new one among them.
        changed: Woken when there is something to store.
    """

    def __init__(self, benchmark: str = "SPY") -> None:
        self._benchmark = benchmark
        self.plan = ReadingPlan()
        self.wanted: frozenset[str] | None = None
        self.wanted_changed = WakeUp()
        self.changed = WakeUp()
        # The newest row of each symbol and source.
        self._waiting: dict[tuple[str, str], MarketMetrics] = {}
        self._file: tuple[MarketMetrics, ...] | None = None

    def want(self, symbols: Iterable[str]) -> None:
        """Take the underlyings that need metrics."""
        before, self.wanted = self.wanted, frozenset({*symbols, self._benchmark})
        if before is None or self.wanted - before:
            self.wanted_changed.wake()

    def record(self, rows: Iterable[MarketMetrics]) -> None:
        """Take the rows of a broker."""
        self._waiting |= {(each.symbol, each.source): each for each in rows}
        self.changed.wake()

    def use_file(self, rows: Iterable[MarketMetrics]) -> None:
        """Take all rows of the file; a symbol that it lacks has no beta there."""
        self._file = tuple(each for each in rows if each.source == FILE)
        self.changed.wake()

    def waiting(self) -> list[MarketMetrics]:
        """Return the rows of brokers that wait."""
        return list(self._waiting.values())

    def file(self) -> tuple[MarketMetrics, ...] | None:
        """Return the rows of the file, `None` if they are stored."""
        return self._file

    def stored(
        self,
        rows: Iterable[MarketMetrics],
        file: tuple[MarketMetrics, ...] | None = None,
    ) -> None:
        """Note that the database has the rows, which may have been replaced meanwhile."""
        for each in rows:
            key = each.symbol, each.source
            if self._waiting.get(key) is each:
                del self._waiting[key]
        if file is not None and self._file is file:
            self._file = None
