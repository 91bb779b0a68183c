"""What the pipeline wants of a disk: a spool for ticks and notes, and a quarantine.

``greeks_trio.spool`` in the product.  What these methods promise is durable when they
return: written and synced.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeAlias

from greeks_trio.model.records import (
    Broker,
    FeedGap,
    LeftoverGaps,
    PositionsSnapshot,
    Tick,
)

# What the journal writes down besides ticks.
JournalEntry: TypeAlias = PositionsSnapshot | FeedGap | LeftoverGaps


@dataclass(frozen=True, slots=True, kw_only=True)
class SpooledEntry:
    """Ticks that were appended together.

    Attributes:
        id: Grows with every entry, also across runs.
        ticks: In the order in which they were appended.  ``read_at`` is 0: the
            monotonic clock of another run means nothing.
    """

    id: int
    ticks: Sequence[Tick]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """An entry that is gone from the spool without having been released.

    Attributes:
        rows: Ticks by broker.
        first_at: When the first of its ticks was received.
        last_at: When the last one was.
        reason: ``spool-full`` or ``spool-damaged``.
    """

    id: int
    rows: Mapping[Broker, int]
    first_at: datetime
    last_at: datetime
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolSize:
    """How much there is.

    Attributes:
        rows: Ticks in all entries.
        bytes: On disk, without what is free for reuse.
        oldest_at: When the oldest tick was received; `None` when there is none.
    """

    entries: int
    rows: int
    bytes: int
    oldest_at: datetime | None


class Spool(Protocol):
    """Ticks and notes on disk, oldest first.

    Every method raises `SpoolUnavailable` when the disk does not take or give; nothing
    has changed then, as far as the caller has to care: the same call may be repeated.
    Calls may overlap; they take their turns.
    """

    async def append(
        self, ticks: Sequence[Tick], *, release: Sequence[int] = (), protected: int = 0
    ) -> int:
        """Store the ticks as one entry and return its id; drop the released entries.

        One transaction.  When the spool is larger than its bound then, the oldest
        entries with an id above ``protected`` are dropped, see `pop_dropped`.
        """

    async def release(self, ids: Sequence[int]) -> None:
        """Drop entries whose ticks are elsewhere by now; unknown ids are fine."""

    async def read(
        self, *, after: int = 0, upto: int, max_rows: int
    ) -> list[SpooledEntry]:
        """Return the oldest entries with ids above ``after`` up to ``upto``, whole.

        As many as fit into ``max_rows`` ticks, at least one; none when there is none.
        An entry that cannot be read is dropped, see `pop_dropped`, and its bytes are
        kept in the quarantine's directory.
        """

    async def note(self, notes: Sequence[JournalEntry]) -> list[int]:
        """Store notes and return an id for each."""

    async def forget_notes(self, ids: Sequence[int]) -> None:
        """Drop notes by their ids; unknown ones are fine."""

    def pop_dropped(self) -> list[Dropped]:
        """Return what was dropped since the last call."""

    def size(self) -> SpoolSize:
        """Return how much there is, as of the last call that changed it."""


class Quarantine(Protocol):
    """Rows that PostgreSQL refused, on disk until somebody has looked at them."""

    async def add(self, tick: Tick, *, sqlstate: str | None, reason: str) -> None:
        """Keep a row, once however often it is added.

        Raises:
            SpoolUnavailable: the disk does not take it.
        """

    def waiting(self) -> int:
        """Return how many rows there are, as of the last `add` or `recount`."""

    async def recount(self) -> int:
        """Look how many rows there are; another process may have taken some."""
