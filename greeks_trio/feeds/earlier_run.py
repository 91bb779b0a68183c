"""The gaps that an earlier run of the service has left open."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from greeks_trio.feeds.health import FeedHealth
from greeks_trio.model.coverage import OPEN, Interval
from greeks_trio.model.gap_reasons import OF_TICKS, GapReason
from greeks_trio.model.records import Broker, FeedGap, LeftoverGaps
from greeks_trio.pipeline.journal import Journal
from greeks_trio.pipeline.stores import JournalEntry

logger = logging.getLogger(__name__)

# The gateway of IBKR sends a heartbeat each 10 s.
_USUAL_SILENCE: Final = timedelta(seconds=15)


async def end_leftover_gaps(health: FeedHealth, journal: Journal) -> None:
    """Wait for the first connection, then end the gaps of earlier runs."""
    await health.wait_status("connected", "degraded")
    gaps = health.gaps.open_gaps()
    own = tuple((gap.contract_key, gap.started_at) for gap in gaps)
    ended_at = health.connection_changed_at
    journal.record(LeftoverGaps(broker=health.broker, own=own, ended_at=ended_at))


def gaps_of_killed_run(
    brokers: Iterable[Broker],
    killed_at: datetime | None,
    heard_at: Mapping[str, datetime],
) -> list[FeedGap]:
    """Return a gap of each broker if the earlier run ended without a clean shutdown.

    Args:
        brokers: The brokers that are enabled now.
        killed_at: When the earlier run was last alive; `None` after a clean shutdown.
        heard_at: When its last frame of each broker came.
    """
    if killed_at is None:
        return []
    logger.warning("service.killed_before last_alive=%s", killed_at.isoformat())
    return [
        FeedGap(
            broker=broker,
            started_at=min(killed_at, heard_at.get(broker, killed_at)),
            reason=GapReason.KILLED,
        )
        for broker in brokers
    ]


def times_without_feed(
    broker: Broker,
    inherited: Iterable[JournalEntry],
    killed_at: datetime | None,
    heard_at: datetime | None,
) -> list[Interval]:
    """Return the times without the feed that the database may lack.

    Gaps wait on disk if the database was away until the end of the run, or if the run after
    it was killed at once.

    Args:
        broker: The broker.
        inherited: The entries that wait on disk.
        killed_at: When the earlier run was last alive; `None` after a clean shutdown.
        heard_at: When its last frame came.

    Returns:
        From and to; `OPEN` if the end is not known.
    """
    times = [
        (gap.started_at, gap.ended_at or OPEN)
        for gap in inherited
        if isinstance(gap, FeedGap)
        and gap.broker == broker
        and gap.contract_key is None
        and gap.reason not in OF_TICKS
        # That of the last run begins with its last frame.
        and not (gap.reason is GapReason.KILLED and gap.started_at == heard_at)
    ]
    if killed_at is not None and heard_at is not None:
        # A feed without a frame for longer may have been lost unnoticed.
        times.append((min(killed_at, heard_at + _USUAL_SILENCE), OPEN))
    return times
