"""The rows that every way stores, and what one way needed for them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from operator import attrgetter
from pathlib import Path
from typing import Protocol

from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.model.fingerprint import fingerprint
from greeks_trio.model.records import Tick, UnifiedPositionRecord
from greeks_trio.postgres.tick_rows import COLUMNS
from tests.factories import START, make_tick

ALL_AT_ONCE = 1 << 30
NAMES = tuple(name for name, _ in COLUMNS)
_RECORD = attrgetter(*NAMES[:-2])


@dataclass
class Rows:
    """What is stored.

    Attributes:
        records: In the order of their times; a way may store the first of them only.
        ticks: The same with their fingerprints.
        batch: The rows of one commit, where a way leaves the choice.
        prepared: All rows as a file in PostgreSQL's binary format.
        warm_up: One row as such a file; it is not one of the rows.
    """

    config: DatabaseConfig
    records: Sequence[UnifiedPositionRecord]
    ticks: Sequence[Tick]
    batch: int
    prepared: Path
    warm_up: Path

    @classmethod
    def make(
        cls,
        config: DatabaseConfig,
        records: Sequence[UnifiedPositionRecord],
        batch: int,
        directory: Path,
    ) -> Rows:
        """Add the ticks; the files are made later."""
        ticks = [Tick(record, fingerprint(record), 0.0) for record in records]
        paths = (directory / name for name in ("rows.bin", "warm_up.bin"))
        return cls(config, records, ticks, batch, *paths)


def warm_up_tick(number: int) -> Tick:
    """Return a tick that is not one of the rows."""
    return make_tick(event_time=START - timedelta(seconds=1 + number))


def plain_row(tick: Tick) -> tuple[object, ...]:
    """Return the values of a row as a user would pass them, with JSON as text."""
    record = tick.record
    return (*_RECORD(record), record.source_payload.decode(), tick.fingerprint)


def in_batches(items: Sequence, size: int) -> Iterator[Sequence]:
    """Yield the items, at most ``size`` at once."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


@dataclass
class Need:
    """What a way needed; seconds of the clock and of this side's processor."""

    wall_s: float = 0.0
    client_s: float = 0.0


@dataclass
class Found:
    """All that was measured of one way, one item for each round.

    Attributes:
        batch: Most rows in a commit.
    """

    batch: int
    rows_per_s: list[float] = field(default_factory=list)
    client_us: list[float] = field(default_factory=list)
    server_us: list[float] = field(default_factory=list)
    commits_s: list[float] = field(default_factory=list)


class Way(Protocol):
    """A way to store ticks.

    Attributes:
        name: Its name in the table.
        share: The part of the rows that it stores in a round; slow ways store fewer.
        batch: The rows of one commit; 0 takes as many as the product does.
    """

    name: str
    share: float
    batch: int

    def store(self, rows: Rows, number: int) -> Need:
        """Store the first ``number`` rows."""

    def commit_each(self, rows: Rows, number: int) -> list[float]:
        """Store the first rows one by one, and return the seconds of each commit."""


@contextmanager
def needed() -> Iterator[Need]:
    """Measure the block in this process."""
    need = Need()
    wall, client = time.perf_counter(), time.process_time()
    yield need
    need.wall_s = time.perf_counter() - wall
    need.client_s = time.process_time() - client
