"""The service's small tasks beside the stream: what it says, and what it writes down."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Final

import trio

from greeks_trio.feeds.health import FeedHealth
from greeks_trio.feeds.staleness import StalenessLog
from greeks_trio.model.records import FeedGap, LeftoverGaps
from greeks_trio.monitoring.status import ServiceStatus
from greeks_trio.pipeline.journal import Journal

logger = logging.getLogger(__name__)

_REPORT_INTERVAL_S: Final = 60.0
_STALENESS_INTERVAL_S: Final = 15.0
_SLO_INTERVAL_S: Final = 1.0


async def run_reporter(status: ServiceStatus) -> None:
    """Log one line a minute until cancelled."""
    while True:
        await trio.sleep(_REPORT_INTERVAL_S)
        if not len(status.journal):
            # Else the database is away: one gap then, not one for each minute, which
            # would push the positions out of the journal.
            journal_losses(status)
        logger.info("service.minute %s", status.canonical_line())


async def run_staleness_watch(status: ServiceStatus) -> None:
    """Say in the log when contracts become stale or all is refused, until cancelled."""
    log = StalenessLog()
    while True:
        await trio.sleep(_STALENESS_INTERVAL_S)
        log.update(status.stale_contracts(), status.trades_now)
        status.watch_refusals()


async def run_slo_watch(status: ServiceStatus) -> None:
    """Say in the log when ticks are late, and when no longer, until cancelled."""
    while True:
        await trio.sleep(_SLO_INTERVAL_S)
        status.watch_slo()


async def end_leftover_gaps(health: FeedHealth, journal: Journal) -> None:
    """Once connected, end the gaps that were open when an earlier run was stopped."""
    await health.wait_status("connected", "degraded")
    own = tuple((gap.contract_key, gap.started_at) for gap in health.open_gaps())
    journal.record(LeftoverGaps(broker=health.broker, own=own, ended_at=health.now()))


def note_killed_run(
    status: ServiceStatus, killed_at: datetime | None, heard_at: Mapping[str, datetime]
) -> None:
    """Begin a gap where an earlier run heard of a broker last, if it was killed."""
    if killed_at is None:
        return
    logger.warning("service.killed_before last_alive=%s", killed_at.isoformat())
    for broker in status.feeds:
        started_at = min(killed_at, heard_at.get(broker, killed_at))
        status.journal.record(
            FeedGap(broker=broker, started_at=started_at, reason="killed")
        )


def journal_losses(status: ServiceStatus) -> None:
    """Write down when ticks were lost since the last call."""
    for gap in status.backlog.losses.pop_gaps():
        status.journal.record(gap)
