"""The disk behind the pipeline: a spool for ticks and journal entries, and a quarantine.

``greeks_trio.spool`` implements them.  When a method returns, its effect is durable:
written and synced.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeAlias

from greeks_trio.model.account_values import AccountValuesSnapshot
from greeks_trio.model.records import (
    Broker,
    FeedGap,
    LeftoverGaps,
    PositionsSnapshot,
    Tick,
)

# The records besides ticks that the journal takes to the database.
JournalEntry: TypeAlias = (
    PositionsSnapshot | AccountValuesSnapshot | FeedGap | LeftoverGaps
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpooledEntry:
    """Ticks that were appended together.

    Attributes:
        id: Grows with every entry, also across runs.
        ticks: In the order in which they were appended.  ``read_at`` is 0, because the
            monotonic clock of another run means nothing here.
    """

    id: int
    ticks: Sequence[Tick]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """Ticks that are gone from the spool without having been released.

    Attributes:
        ids: Ids of the entries that are gone.  Some may have been released before.
        rows: Ticks by broker; 0 when their number is not known.
        first_at: When the first of the ticks was received, or a moment before that.
        last_at: When the last one was, or a moment after that.
        reason: ``spool-full`` or ``spool-damaged``.
    """

    ids: Sequence[range]
    rows: Mapping[Broker, int]
    first_at: datetime
    last_at: datetime
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolSize:
    """The size of a spool.

    Attributes:
        rows: Ticks in all entries.
        bytes: Size on disk, without pages that are free for reuse.
        oldest_at: When the oldest tick was received; `None` when there is none.
    """

    entries: int
    rows: int
    bytes: int
    oldest_at: datetime | None


class Spool(Protocol):
    """Ticks and journal entries on disk, oldest first.

    Every method raises `SpoolUnavailable` when the disk refuses.  Then nothing has
    changed, or repeating the call has the same effect as doing it once.
    Calls may overlap: they run one after the other.
    """

    async def append(
        self,
        ticks: Sequence[Tick],
        *,
        release: Sequence[int] = (),
        protected: int = 0,
        is_brief: bool = False,
    ) -> int:
        """Store the ticks as one entry and return its id; delete the released entries.

        All of it is one transaction.  If the spool is then larger than its bound, the
        oldest entries with an id above ``protected`` are dropped, see `pop_dropped`.

        ``is_brief`` says that the database is about to store the ticks, so that the time
        of the processor counts for more than the size.
        """

    async def release(self, ids: Sequence[int]) -> None:
        """Delete entries whose ticks are stored; unknown ids are fine."""

    async def read(
        self, *, after: int = 0, upto: int, max_rows: int
    ) -> list[SpooledEntry]:
        """Return the oldest entries with ids above ``after`` up to ``upto``, whole.

        Return as many as fit into ``max_rows`` ticks, but at least one if there is one.
        Entries that cannot be read are dropped, see `pop_dropped`.
        """

    async def append_journal(self, added: Sequence[JournalEntry]) -> list[int]:
        """Store journal entries and return an id for each."""

    async def release_journal(self, ids: Sequence[int]) -> None:
        """Delete journal entries that are stored; unknown ids are fine."""

    def pop_dropped(self) -> list[Dropped]:
        """Return the drops since the last call."""

    def size(self) -> SpoolSize:
        """Return the size after the last call that changed it."""


class RowKeeper(Protocol):
    """Keeps rows that PostgreSQL refused."""

    async def add(self, tick: Tick, *, sqlstate: str | None, reason: str) -> None:
        """Keep a row, once however often it is added.

        Raises:
            SpoolUnavailable: the disk refuses.
        """


class Quarantine(RowKeeper, Protocol):
    """Rows and journal entries that PostgreSQL refused, on disk until a person takes them out."""

    async def add_entry(
        self, entry: JournalEntry, *, sqlstate: str | None, reason: str
    ) -> None:
        """Keep a journal entry, once however often it is added.

        Raises:
            SpoolUnavailable: the disk refuses.
        """

    def waiting(self) -> int:
        """Return the number of rows and entries after the last `add` or `recount`."""

    async def recount(self) -> int:
        """Count them on disk: another process may have taken some out."""
