"""The end of a run: reports what could not be stored."""

from __future__ import annotations

import logging
from typing import Final

from greeks_trio.errors import SpoolUnavailable
from greeks_trio.pipeline.backlog import Backlog
from greeks_trio.pipeline.journal import Journal
from greeks_trio.pipeline.stores import Spool

logger = logging.getLogger(__name__)

# The disk takes the last entries of the journal sooner, if it works at all.
LEFTOVERS_LIMIT_S: Final = 2.0


async def record_leftovers(backlog: Backlog, journal: Journal, spool: Spool) -> bool:
    """Log the lost ticks, and put on disk the journal entries that are only in memory.

    The next run stores them.  Return whether the disk took all.
    """
    if left := backlog.not_on_disk():
        logger.critical("service.ticks_lost reason=not-drained rows=%d", len(left))
        backlog.losses.add_ticks(left)
    if rows := spool.size().rows:
        logger.warning("service.left_in_spool rows=%d", rows)
    # These may also be losses since the journal was closed, for example for lack of room.
    entries = [each.entry for each in journal.not_on_disk()]
    entries += backlog.losses.pop_gaps()
    try:
        if entries:
            await spool.append_journal(entries)
    except SpoolUnavailable as exc:
        logger.error("service.journal_lost entries=%d reason=%s", len(entries), exc)
        return False
    return True
