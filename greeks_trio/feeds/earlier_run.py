"""The gaps that an earlier run of the service has left open."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import datetime

from greeks_trio.feeds.health import FeedHealth
from greeks_trio.model.gap_reasons import GapReason
from greeks_trio.model.records import Broker, FeedGap, LeftoverGaps
from greeks_trio.pipeline.journal import Journal

logger = logging.getLogger(__name__)


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
