"""The service's small tasks beside the stream: what it says, and what it writes down."""

from __future__ import annotations

import logging
from typing import Final

import trio

from greeks_trio.feeds.staleness import StalenessLog
from greeks_trio.monitoring.status import ServiceStatus

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


def journal_losses(status: ServiceStatus) -> None:
    """Write down when ticks were lost since the last call."""
    for gap in status.backlog.losses.pop_gaps():
        status.journal.record(gap)
