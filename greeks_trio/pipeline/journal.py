"""The journal: records besides ticks that go to the database, positions and gaps.

They are few, so one task writes them one by one, in order, on a connection of its own.
An entry that the database does not take in time goes to disk as well.  So an outage has
its gap even when the service is killed before the database is back.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

import trio

from greeks_trio.errors import (
    SpoolUnavailable,
    StoreRejected,
    StoreUnavailable,
    plain_reason,
)
from greeks_trio.pipeline.stores import JournalEntry, Spool
from greeks_trio.waiting import Backoff, WakeUp

logger = logging.getLogger(__name__)

# A gap is about 300 bytes and a snapshot of 1,000 positions about 400 kB; snapshots come
# only when something changed, so after days without a database it is some tens of MB.
MAX_WAITING: Final = 1_000
USUAL_MAX_BYTES: Final = 32 * 2**20

# A healthy server answers much sooner.
LAST_TRIES_S: Final = 1.0

# How long the end of the service waits for the disk.
_LAST_DISK_S: Final = 2.0


class JournalSink(Protocol):
    """The destination; ``greeks_trio.postgres.journal_store`` in the product."""

    async def write(self, entry: JournalEntry) -> None:
        """Store the entry.  Storing it twice has the effect of storing it once.

        Raises:
            StoreUnavailable: the same entry may be offered again.
            StoreRejected: the database refuses this entry.
        """


OpenJournalSink: TypeAlias = Callable[[], AbstractAsyncContextManager[JournalSink]]


@dataclass(slots=True)
class Waiting:
    """A journal entry that is not stored yet.

    Attributes:
        disk_id: Its id on disk, 0 when the disk does not have it.
    """

    entry: JournalEntry
    disk_id: int = 0


class Journal:
    """The queue of entries that are not stored yet, oldest first.

    Args:
        inherited: Entries of an earlier run with their ids on disk.

    Attributes:
        dropped: Entries lost since the start.
    """

    def __init__(
        self,
        max_waiting: int = MAX_WAITING,
        *,
        inherited: Iterable[tuple[int, JournalEntry]] = (),
    ) -> None:
        self._waiting = deque(Waiting(entry, id_) for id_, entry in inherited)
        self._max_waiting = max_waiting
        self._changed = WakeUp()
        self._closed_at: float | None = None
        self._released: list[int] = []
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def record(self, entry: JournalEntry) -> None:
        """Queue the entry.  When the queue is full the oldest one is lost and counted."""
        if len(self._waiting) >= self._max_waiting:
            self._release(self._waiting.popleft())
            self.dropped += 1
            logger.critical("journal.entry_lost dropped=%d", self.dropped)
        self._waiting.append(Waiting(entry))
        self._changed.wake()

    def close(self) -> None:
        """End the input: no more entries will be recorded."""
        self._closed_at = trio.current_time()
        self._changed.wake()

    # The database's side.

    async def wait_entry(self) -> JournalEntry | None:
        """Wait for an entry and return it without removing it; `None` after the last."""
        while not self._waiting:
            if self._closed_at is not None:
                return None
            await self._changed.wait()
        return self._waiting[0].entry

    def remove(self, entry: JournalEntry) -> None:
        """Remove the oldest entry if it still is this one."""
        if self._waiting and self._waiting[0].entry is entry:
            self._release(self._waiting.popleft())
            self._changed.wake()

    def closed_for_s(self) -> float:
        """Return the seconds since it was closed, 0 while it is open."""
        return 0.0 if self._closed_at is None else trio.current_time() - self._closed_at

    async def pause(self, delay_s: float) -> None:
        """Sleep until the delay is over or the journal is closed.

        When it is closed already, sleep at most `LAST_TRIES_S`.
        """
        if self._closed_at is not None:
            await trio.sleep(min(delay_s, LAST_TRIES_S))
            return
        with trio.move_on_after(delay_s):
            while self._closed_at is None:
                await self._changed.wait()

    # The disk's side.

    async def wait_disk_work(self) -> None:
        """Wait until the disk lacks an entry, or has one that may be deleted."""
        while not (self._released or self.not_on_disk()):
            await self._changed.wait()

    def not_on_disk(self) -> list[Waiting]:
        """Return the entries that would be lost with this process."""
        return [each for each in self._waiting if not each.disk_id]

    def is_on_disk(self, waiting: Waiting, disk_id: int) -> None:
        """Note that the disk has the entry, which may be stored by now."""
        waiting.disk_id = disk_id
        if not any(each is waiting for each in self._waiting):
            self._released.append(disk_id)

    def released(self) -> list[int]:
        """Return the ids of entries that the disk may delete."""
        return self._released[:]

    def gone_from_disk(self, disk_ids: Collection[int]) -> None:
        """Note that the disk has deleted them."""
        self._released = [each for each in self._released if each not in disk_ids]

    def _release(self, waiting: Waiting) -> None:
        if waiting.disk_id:
            self._released.append(waiting.disk_id)


async def run_journal(
    journal: Journal, open_sink: OpenJournalSink, spool: Spool, *, after_s: float
) -> None:
    """Store entries until the journal is closed and empty, then return.

    An entry that is not stored after ``after_s`` seconds goes to disk as well.

    Without a database it returns `LAST_TRIES_S` after the journal was closed, because
    the end of the service must not wait for the journal.  Then, as when it is cancelled,
    the entries that are not stored are on disk and stay in the journal.
    """
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_keep_on_disk, journal, spool, after_s)
            await _store_across_connections(journal, open_sink)
            nursery.cancel_scope.cancel()
    finally:
        with trio.move_on_after(_LAST_DISK_S, shield=True):
            await _update_disk(journal, spool)


async def _store_across_connections(
    journal: Journal, open_sink: OpenJournalSink
) -> None:
    backoff = Backoff()
    last_reason: str | None = None
    while await journal.wait_entry() is not None:
        try:
            async with open_sink() as sink:
                await _store_entries(journal, sink, backoff)
        except* StoreUnavailable as group:
            reason = plain_reason(group)
            logger.log(
                # The writer logs the failures of the same database.
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


async def _keep_on_disk(journal: Journal, spool: Spool, after_s: float) -> None:
    """Put entries on disk that the database does not take in time, until cancelled."""
    backoff = Backoff()
    while True:
        await journal.wait_disk_work()
        # A healthy database stores the entry in this time.
        await trio.sleep(after_s)
        while not await _update_disk(journal, spool):
            await backoff.wait()
        backoff.reset()


async def _update_disk(journal: Journal, spool: Spool) -> bool:
    """Bring the disk up to date.  Return whether the disk did it."""
    waiting, released = journal.not_on_disk(), journal.released()
    try:
        if released:
            await spool.release_journal(released)
            journal.gone_from_disk(released)
        if waiting:
            ids = await spool.append_journal([each.entry for each in waiting])
            for each, disk_id in zip(waiting, ids, strict=True):
                journal.is_on_disk(each, disk_id)
    except SpoolUnavailable as exc:
        logger.debug("journal.not_on_disk notes=%d reason=%s", len(waiting), exc)
        return False
    return True
