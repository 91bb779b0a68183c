"""Offers acknowledged rows again when the database has lost them.

After each outage, and at the start, the newest acknowledged ticks are looked up.  A failover
or a restored backup loses the newest commits first, so if these are there, all are.  If
one is missing, everything in the log of acknowledged rows goes to the spool, from which the
replayer stores it: rows that are there are not stored twice.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Final, NoReturn, TypeAlias

from greeks_trio.errors import (
    SpoolUnavailable,
    StoreError,
    plain_reason,
)
from greeks_trio.model.gap_reasons import GapReason
from greeks_trio.model.records import Broker, FeedGap, LeftoverGaps, Tick
from greeks_trio.pipeline.backlog import Backlog
from greeks_trio.pipeline.journal import Journal
from greeks_trio.pipeline.stores import Spool
from greeks_trio.spool.acknowledged import Acknowledged, AcknowledgedLog
from greeks_trio.spool.format import encode_journal_entry
from greeks_trio.waiting import Backoff

logger = logging.getLogger(__name__)

# Ticks in one entry of the spool, and commits in one read of the log.
_ENTRY_TICKS: Final = 2_000
_COMMITS: Final = 500
# The oldest ticks of a broker that tell whether the loss begins before the log.
OLDEST: Final = 20

FindMissing: TypeAlias = Callable[[Sequence[Tick]], Awaitable[list[Tick]]]
NewestBefore: TypeAlias = Callable[[Broker, datetime], Awaitable[datetime | None]]


class OfferAgain:
    """Watches for lost rows; `run` is its task.

    Args:
        log: The acknowledged rows.
        spool: Takes the ticks that are offered again.
        backlog: Tells when the database comes and goes.
        journal: Takes the other rows, and the gaps of rows that are lost for good.
        find_missing: Returns the ticks that the database lacks.
        newest_before: Returns the time of a broker's newest row before a moment.
    """

    def __init__(
        self,
        log: AcknowledgedLog,
        spool: Spool,
        backlog: Backlog,
        journal: Journal,
        find_missing: FindMissing,
        newest_before: NewestBefore,
    ) -> None:
        self._log = log
        self._spool = spool
        self._backlog = backlog
        self._journal = journal
        self._find_missing = find_missing
        self._newest_before = newest_before
        self.offered = 0
        self._offered_probe: Sequence[Tick] | None = None

    async def run(self) -> NoReturn:
        """Look after each outage until cancelled."""
        probe = await self._log.newest_written()
        while True:
            await self._wait_database(is_up=True)
            # The probe that was missing is offered already, and no tick was committed since:
            # a server that lets us in and takes no row would get it at each attempt.
            if probe is not self._offered_probe:
                await self._look(probe)
            self._log.is_held = False
            await self._wait_database(is_up=False)
            self._log.is_held = True
            probe = self._log.newest

    async def _wait_database(self, *, is_up: bool) -> None:
        while self._backlog.is_database_up != is_up:
            await self._backlog.wait_change()

    async def _look(self, probe: Sequence[Tick]) -> None:
        """Offer everything again if one of these ticks is missing."""
        backoff = Backoff()
        while probe:
            try:
                if missing := await self._find_missing(probe):
                    logger.critical(
                        "acknowledged.rows_missing newest=%d missing=%d",
                        len(probe),
                        len(missing),
                    )
                    await self.offer()
                    self._offered_probe = probe
            except* (StoreError, SpoolUnavailable) as group:
                reason = plain_reason(group)
            else:
                return
            logger.warning("acknowledged.not_looked_up reason=%s", reason)
            await backoff.wait()

    async def offer(self) -> int:
        """Offer the whole log again, and return the number of its ticks.

        Raises:
            SpoolUnavailable: the disk refuses.
            StoreError: the database cannot be asked for its newest row.
        """
        read_some = await self._log.read()
        offered, waiting = 0, list[Tick]()
        oldest: dict[Broker, list[Tick]] = {}
        # An entry that is offered again is acknowledged again, so the log may repeat it.
        told = set[tuple[str, bytes]]()
        while commits := await read_some(_COMMITS):
            for each in commits:
                waiting += each.ticks
                self._tell(each, told)
                note_oldest(oldest, each.ticks)
            if len(waiting) >= _ENTRY_TICKS:
                offered += await self._append(waiting)
                waiting = []
        offered += await self._append(waiting)
        for gap in await lost_for_good(oldest, self._find_missing, self._newest_before):
            self._journal.record(gap)
        logger.warning("acknowledged.offered_again ticks=%d", offered)
        self.offered += offered
        return offered

    async def _append(self, ticks: Sequence[Tick]) -> int:
        for start in range(0, len(ticks), _ENTRY_TICKS):
            entry = await self._spool.append(ticks[start : start + _ENTRY_TICKS])
            self._backlog.leave_to_replayer(entry)
        return len(ticks)

    def _tell(self, commit: Acknowledged, told: set[tuple[str, bytes]]) -> None:
        entry = commit.entry
        # The end of all earlier gaps would also end one that is open now.
        if entry is None or isinstance(entry, LeftoverGaps):
            return
        encoded = encode_journal_entry(entry)
        if encoded not in told and not self._journal.has(entry):
            self._journal.record(entry)
        told.add(encoded)


def note_oldest(oldest: dict[Broker, list[Tick]], ticks: Sequence[Tick]) -> None:
    """Add the first ticks of each broker to its list."""
    for tick in ticks:
        known = oldest.setdefault(tick.record.broker, [])
        if len(known) < OLDEST:
            known.append(tick)


async def lost_for_good(
    oldest: dict[Broker, list[Tick]],
    find_missing: FindMissing,
    newest_before: NewestBefore,
) -> list[FeedGap]:
    """Return the intervals whose acknowledged rows neither table nor log has.

    If even the oldest rows of the log are missing, the loss begins before the log.
    """
    gaps = []
    for broker, ticks in oldest.items():
        if len(await find_missing(ticks)) < len(ticks):
            continue
        first_at = min(tick.record.received_at for tick in ticks)
        last_at = await newest_before(broker, first_at)
        if last_at is not None:
            gaps.append(
                FeedGap(
                    broker=broker,
                    started_at=last_at,
                    ended_at=first_at,
                    reason=GapReason.RESTORED_BACKUP,
                )
            )
    return gaps
