"""Facts besides ticks that belong into the database: positions and gaps.

They are few, so one task writes them one by one, in order, on a connection of its own;
while the database is away they wait in a bounded queue.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol, TypeAlias

import trio

from greeks_trio.errors import StoreRejected, StoreUnavailable, plain_reason
from greeks_trio.model.records import FeedGap, LeftoverGaps, PositionsSnapshot
from greeks_trio.pipeline.backoff import Backoff

logger = logging.getLogger(__name__)

JournalEntry: TypeAlias = PositionsSnapshot | FeedGap | LeftoverGaps

# A gap is about 300 bytes and a snapshot of 1,000 positions about 400 kB; snapshots come
# only when something changed, so the worst case is some tens of MB after days without a
# database.
MAX_WAITING: Final = 1_000


# A server that answers at all does so much sooner.
LAST_TRIES_S: Final = 1.0


class JournalSink(Protocol):
    """Where entries go; ``greeks_trio.postgres.journal_sink`` in the product."""

    async def write(self, entry: JournalEntry) -> None:
        """Store the entry; storing it twice has the effect of storing it once.

        Raises:
            StoreUnavailable: the same entry may be offered again.
            StoreRejected: the database refuses this entry.
        """


OpenJournalSink: TypeAlias = Callable[[], AbstractAsyncContextManager[JournalSink]]


class Journal:
    """The queue of entries that are not stored yet, oldest first."""

    def __init__(self, max_waiting: int = MAX_WAITING) -> None:
        self._waiting: deque[JournalEntry] = deque()
        self._max_waiting = max_waiting
        self._arrived = trio.Event()
        self._closed_at: float | None = None
        self._closed = trio.Event()
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def record(self, entry: JournalEntry) -> None:
        """Queue the entry.  When the queue is full the oldest one is lost, counted."""
        if len(self._waiting) >= self._max_waiting:
            self._waiting.popleft()
            self.dropped += 1
            logger.critical("journal.entry_lost dropped=%d", self.dropped)
        self._waiting.append(entry)
        self._arrived.set()

    def close(self) -> None:
        """Say that nothing more will be recorded."""
        self._closed_at = trio.current_time()
        self._closed.set()
        self._arrived.set()

    async def wait_entry(self) -> JournalEntry | None:
        """Wait for an entry and return it without removing it; `None` after the last."""
        while not self._waiting:
            if self._closed.is_set():
                return None
            self._arrived = trio.Event()
            await self._arrived.wait()
        return self._waiting[0]

    def closed_for_s(self) -> float:
        """Return the seconds since it was closed, 0 while it is open."""
        return 0.0 if self._closed_at is None else trio.current_time() - self._closed_at

    async def pause(self, delay_s: float) -> None:
        """Sleep so long, less when it is closed meanwhile, and little when it is."""
        if self._closed.is_set():
            await trio.sleep(min(delay_s, LAST_TRIES_S))
            return
        with trio.move_on_after(delay_s):
            await self._closed.wait()

    def remove(self, entry: JournalEntry) -> None:
        """Remove the oldest entry if it still is this one."""
        if self._waiting and self._waiting[0] is entry:
            self._waiting.popleft()


async def run_journal(journal: Journal, open_sink: OpenJournalSink) -> None:
    """Store entries until the journal is closed and empty, then return.

    Without a database it returns `LAST_TRIES_S` after the journal was closed: nobody who
    stops a service wants to wait for a note.  It then, as when it is cancelled, leaves
    what is not stored in the journal.
    """
    backoff = Backoff()
    last_reason: str | None = None
    while await journal.wait_entry() is not None:
        try:
            async with open_sink() as sink:
                await _store_entries(journal, sink, backoff)
        except* StoreUnavailable as group:
            reason = plain_reason(group)
            logger.log(
                # The writer meets the same database and says what goes on.
                logging.DEBUG if reason == last_reason else logging.WARNING,
                "journal.retrying waiting=%d reason=%s",
                len(journal),
                reason,
            )
            last_reason = reason
        else:
            return
        if journal.closed_for_s() >= LAST_TRIES_S:
            return
        await journal.pause(backoff.next_delay())


async def _store_entries(journal: Journal, sink: JournalSink, backoff: Backoff) -> None:
    while (entry := await journal.wait_entry()) is not None:
        try:
            await sink.write(entry)
        except StoreRejected as exc:
            logger.error("journal.refused entry=%r reason=%s", entry, exc)
        journal.remove(entry)
        backoff.reset()
