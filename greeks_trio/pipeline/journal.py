"""Facts besides ticks that belong into the database: positions and gaps.

They are few, so one task writes them one by one, in order, on a connection of its own.  What
the database does not take at once goes to disk as well, as a *note*, so that an outage is
told of even when the service is killed before the database is back.
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

# A server that answers at all does so much sooner.
LAST_TRIES_S: Final = 1.0

# For the last words to the disk when the service ends.
_LAST_NOTES_S: Final = 2.0


class JournalSink(Protocol):
    """Where notes go; ``greeks_trio.postgres.journal_store`` in the product."""

    async def write(self, entry: JournalEntry) -> None:
        """Store the note; storing it twice has the effect of storing it once.

        Raises:
            StoreUnavailable: the same note may be offered again.
            StoreRejected: the database refuses this note.
        """


OpenJournalSink: TypeAlias = Callable[[], AbstractAsyncContextManager[JournalSink]]


@dataclass(slots=True)
class Waiting:
    """A note on its way; ``note_id`` is the disk's, 0 while the disk has it not."""

    note: JournalEntry
    note_id: int = 0


class Journal:
    """The queue of notes that are not stored yet, oldest first.

    Args:
        inherited: Notes of an earlier run with their ids on disk.

    Attributes:
        dropped: Notes lost since the start.
    """

    def __init__(
        self,
        max_waiting: int = MAX_WAITING,
        *,
        inherited: Iterable[tuple[int, JournalEntry]] = (),
    ) -> None:
        self._waiting = deque(Waiting(note, id_) for id_, note in inherited)
        self._max_waiting = max_waiting
        self._changed = WakeUp()
        self._closed_at: float | None = None
        self._unneeded: list[int] = []
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def record(self, note: JournalEntry) -> None:
        """Queue the note.  When the queue is full the oldest one is lost, counted."""
        if len(self._waiting) >= self._max_waiting:
            self._let_go(self._waiting.popleft())
            self.dropped += 1
            logger.critical("journal.entry_lost dropped=%d", self.dropped)
        self._waiting.append(Waiting(note))
        self._changed.wake()

    def close(self) -> None:
        """Say that nothing more will be recorded."""
        self._closed_at = trio.current_time()
        self._changed.wake()

    # The database's side.

    async def wait_entry(self) -> JournalEntry | None:
        """Wait for a note and return it without removing it; `None` after the last."""
        while not self._waiting:
            if self._closed_at is not None:
                return None
            await self._changed.wait()
        return self._waiting[0].note

    def remove(self, note: JournalEntry) -> None:
        """Remove the oldest note if it still is this one."""
        if self._waiting and self._waiting[0].note is note:
            self._let_go(self._waiting.popleft())
            self._changed.wake()

    def closed_for_s(self) -> float:
        """Return the seconds since it was closed, 0 while it is open."""
        return 0.0 if self._closed_at is None else trio.current_time() - self._closed_at

    async def pause(self, delay_s: float) -> None:
        """Sleep so long, less when it is closed meanwhile, and little when it is."""
        if self._closed_at is not None:
            await trio.sleep(min(delay_s, LAST_TRIES_S))
            return
        with trio.move_on_after(delay_s):
            while self._closed_at is None:
                await self._changed.wait()

    # The disk's side.

    async def wait_disk_work(self) -> None:
        """Wait until the disk lacks a note, or has one that nobody needs."""
        while not (self._unneeded or self.not_on_disk()):
            await self._changed.wait()

    def not_on_disk(self) -> list[Waiting]:
        """Return the notes that would be lost with this process."""
        return [each for each in self._waiting if not each.note_id]

    def is_on_disk(self, waiting: Waiting, note_id: int) -> None:
        """Say that the disk has the note, which may be stored by now."""
        waiting.note_id = note_id
        if not any(each is waiting for each in self._waiting):
            self._unneeded.append(note_id)

    def unneeded(self) -> list[int]:
        """Return the disk's ids of notes that nobody needs any more."""
        return self._unneeded[:]

    def forgotten(self, note_ids: Collection[int]) -> None:
        """Say that the disk has forgotten them."""
        self._unneeded = [each for each in self._unneeded if each not in note_ids]

    def _let_go(self, waiting: Waiting) -> None:
        if waiting.note_id:
            self._unneeded.append(waiting.note_id)


async def run_journal(
    journal: Journal, open_sink: OpenJournalSink, spool: Spool, *, after_s: float
) -> None:
    """Store notes until the journal is closed and empty, then return.

    Without a database it returns `LAST_TRIES_S` after the journal was closed: nobody who
    stops a service wants to wait for a note.  It then, as when it is cancelled, leaves
    what is not stored to the disk, and in the journal.  What is not stored after
    ``after_s`` seconds goes to disk as well.
    """
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_keep_notes, journal, spool, after_s)
            await _store_across_connections(journal, open_sink)
            nursery.cancel_scope.cancel()
    finally:
        with trio.move_on_after(_LAST_NOTES_S, shield=True):
            await _tell_disk(journal, spool)


async def _store_across_connections(
    journal: Journal, open_sink: OpenJournalSink
) -> None:
    backoff = Backoff()
    last_reason: str | None = None
    while await journal.wait_entry() is not None:
        try:
            async with open_sink() as sink:
                await _store_notes(journal, sink, backoff)
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


async def _store_notes(journal: Journal, sink: JournalSink, backoff: Backoff) -> None:
    while (note := await journal.wait_entry()) is not None:
        try:
            await sink.write(note)
        except StoreRejected as exc:
            logger.error("journal.refused entry=%r reason=%s", note, exc)
        journal.remove(note)
        backoff.reset()


async def _keep_notes(journal: Journal, spool: Spool, after_s: float) -> None:
    """Have on disk what the database does not take in time, until cancelled."""
    backoff = Backoff()
    while True:
        await journal.wait_disk_work()
        # A healthy database has taken it by then.
        await trio.sleep(after_s)
        while not await _tell_disk(journal, spool):
            await backoff.wait()
        backoff.reset()


async def _tell_disk(journal: Journal, spool: Spool) -> bool:
    """Bring the notes on disk up to date; whether that went well."""
    waiting, unneeded = journal.not_on_disk(), journal.unneeded()
    try:
        if unneeded:
            await spool.forget_notes(unneeded)
            journal.forgotten(unneeded)
        if waiting:
            ids = await spool.note([each.note for each in waiting])
            for each, note_id in zip(waiting, ids, strict=True):
                journal.is_on_disk(each, note_id)
    except SpoolUnavailable as exc:
        logger.debug("journal.not_on_disk notes=%d reason=%s", len(waiting), exc)
        return False
    return True
