"""Stores the entries of the journal, on a connection of its own.

Entries are few, so they are stored one by one.  An entry that the database does not take
in time goes to disk as well.  So an outage has its gap even when the service is killed
before the database is back.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

import trio

from greeks_trio.errors import (
    GapUndecided,
    SpoolUnavailable,
    StoreError,
    StoreRejected,
    StoreUnavailable,
    plain_reason,
)
from greeks_trio.model.account_values import AccountValuesSnapshot
from greeks_trio.model.condition_kinds import ConditionKind
from greeks_trio.model.records import PositionsSnapshot
from greeks_trio.pipeline.conditions import Conditions
from greeks_trio.pipeline.journal import LAST_TRIES_S, Journal, Waiting
from greeks_trio.pipeline.stores import JournalEntry, Quarantine, Spool
from greeks_trio.waiting import Backoff

logger = logging.getLogger(__name__)

# An entry that has waited for so long is a fault of the database.
STUCK_AFTER_S: Final = 60.0

# How long the end of the service waits for the disk.
_LAST_DISK_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class RefusedPart:
    """A part of an entry that the database refuses, while it has stored the rest."""

    entry: JournalEntry
    failure: StoreError


class JournalSink(Protocol):
    """The destination; ``greeks_trio.postgres.journal_store`` in the product."""

    async def write(self, entry: JournalEntry) -> Sequence[RefusedPart]:
        """Store the entry, and return the parts that the database refuses.

        Storing an entry twice has the effect of storing it once.

        Raises:
            StoreUnavailable: the same entry may be offered again, to another sink.
            StoreRejected: the database refuses this entry.
            GapUndecided: the same entry may be offered again, to this sink.
        """


OpenJournalSink: TypeAlias = Callable[[], AbstractAsyncContextManager[JournalSink]]


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalDisk:
    """Where entries go that the database does not take.

    Attributes:
        after_s: Seconds after which an entry goes to the spool as well.
    """

    spool: Spool
    quarantine: Quarantine
    after_s: float


async def run_journal(
    journal: Journal,
    open_sink: OpenJournalSink,
    disk: JournalDisk,
    conditions: Conditions,
) -> None:
    """Store entries until the journal is closed and empty, then return.

    Without a database it returns `LAST_TRIES_S` after the journal was closed, because
    the end of the service must not wait for the journal.  Then, as when it is cancelled,
    the entries that are not stored are on disk and stay in the journal.
    """
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_keep_on_disk, journal, disk)
            nursery.start_soon(_watch, journal, conditions)
            await _store_across_connections(journal, open_sink)
            nursery.cancel_scope.cancel()
    finally:
        with trio.move_on_after(_LAST_DISK_S, shield=True):
            await _update_disk(journal, disk)


async def _store_across_connections(
    journal: Journal, open_sink: OpenJournalSink
) -> None:
    backoff = Backoff()
    # The failures in the log, by connection or lane, until it works again.
    said: dict[str, str] = {}
    while await journal.wait_due() is not None:
        try:
            async with open_sink() as sink:
                await _store_due(journal, sink, backoff, said)
        except* StoreUnavailable as group:
            # The writer logs the failures of the same database.
            _log_once(said, "", logging.WARNING, len(journal), plain_reason(group))
        else:
            continue
        if journal.closed_for_s() >= LAST_TRIES_S:
            return
        await journal.pause(backoff.next_delay())


async def _store_due(
    journal: Journal, sink: JournalSink, backoff: Backoff, said: dict[str, str]
) -> None:
    """Store the entries that are due, until the sink cannot be used any more.

    Raises:
        StoreUnavailable: the connection is lost, so no entry is at fault.
    """
    while (waiting := await journal.wait_due()) is not None:
        name = f"{_table(waiting)} of {waiting.entry.broker}: "
        try:
            refused = await sink.write(waiting.entry)
        except StoreRejected as exc:
            journal.failed(waiting, exc)
            _log_once(said, name, logging.ERROR, len(journal), str(exc))
            continue
        except GapUndecided as exc:
            journal.failed(waiting, exc)
            _log_once(said, name, logging.INFO, len(journal), str(exc))
            continue
        except StoreUnavailable as exc:
            if exc.sqlstate is None:
                raise
            # The server has answered.  Perhaps it takes the entries of other tables.
            journal.failed(waiting, exc)
            _log_once(said, name, logging.WARNING, len(journal), str(exc))
            return
        journal.stored(waiting)
        for part in refused:
            journal.set_aside.append(Waiting(part.entry, failure=part.failure))
        backoff.reset()
        said.pop("", None)
        said.pop(name, None)


def _table(waiting: Waiting) -> str:
    match waiting.entry:
        case PositionsSnapshot():
            return "positions"
        case AccountValuesSnapshot():
            return "account_values"
        case _:
            return "feed_gaps"


def _log_once(
    said: dict[str, str], name: str, level: int, waiting: int, reason: str
) -> None:
    if said.get(name) == reason:
        level = logging.DEBUG
    said[name] = reason
    logger.log(level, "journal.retrying waiting=%d reason=%s%s", waiting, name, reason)


async def _watch(journal: Journal, conditions: Conditions) -> None:
    """Tell when entries have waited for too long, until cancelled."""
    try:
        while True:
            oldest = journal.oldest()
            if oldest is None:
                conditions.end(ConditionKind.JOURNAL_STUCK)
                await journal.wait_change()
                continue
            if oldest.since is None:
                oldest.since = trio.current_time()
            stuck_at = oldest.since + STUCK_AFTER_S
            if trio.current_time() < stuck_at:
                conditions.end(ConditionKind.JOURNAL_STUCK)
            else:
                conditions.begin(ConditionKind.JOURNAL_STUCK, _stuck(journal, oldest))
                stuck_at = trio.current_time() + STUCK_AFTER_S
            with trio.move_on_at(stuck_at):
                await journal.wait_change()
    finally:
        conditions.end(ConditionKind.JOURNAL_STUCK)


def _stuck(journal: Journal, oldest: Waiting) -> str:
    reason = oldest.failure or "the database does not answer"
    return (
        f"journal: gaps, positions and account values wait ({len(journal)}), the oldest for "
        f"{_table(oldest)} of {oldest.entry.broker} for more than a minute: {reason}"
    )


async def _keep_on_disk(journal: Journal, disk: JournalDisk) -> None:
    """Put entries on disk that the database does not take in time, until cancelled."""
    backoff = Backoff()
    while True:
        await journal.wait_disk_work()
        # A healthy database stores the entry in this time.
        await trio.sleep(disk.after_s)
        while not await _update_disk(journal, disk):
            await backoff.wait()
        backoff.reset()


async def _update_disk(journal: Journal, disk: JournalDisk) -> bool:
    """Bring the disk up to date.  Return whether the disk did it."""
    try:
        await _quarantine(journal, disk.quarantine)
        waiting, released = journal.not_on_disk(), journal.released()
        if released:
            await disk.spool.release_journal(released)
            journal.gone_from_disk(released)
        if waiting:
            ids = await disk.spool.append_journal([each.entry for each in waiting])
            for each, disk_id in zip(waiting, ids, strict=True):
                journal.is_on_disk(each, disk_id)
    except SpoolUnavailable as exc:
        logger.debug("journal.not_on_disk entries=%d reason=%s", len(journal), exc)
        return False
    return True


async def _quarantine(journal: Journal, quarantine: Quarantine) -> None:
    for waiting in journal.set_aside[:]:
        failure = waiting.failure
        sqlstate = None if failure is None else failure.sqlstate
        reason = str(failure)
        await quarantine.add_entry(waiting.entry, sqlstate=sqlstate, reason=reason)
        journal.is_quarantined(waiting)
        logger.error(
            "journal.entry_refused kind=%s broker=%s sqlstate=%s reason=%s",
            type(waiting.entry).__name__,
            waiting.entry.broker,
            sqlstate,
            reason,
        )
