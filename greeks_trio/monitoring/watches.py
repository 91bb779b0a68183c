"""The tasks that watch the service and write to its log."""

from __future__ import annotations

import logging
from typing import Final, NoReturn

import trio

from greeks_trio.feeds.staleness import StalenessLog
from greeks_trio.monitoring.loop_lag import run_loop_lag
from greeks_trio.monitoring.status import ServiceStatus

logger = logging.getLogger(__name__)

_REPORT_INTERVAL_S: Final = 60.0
_STALENESS_INTERVAL_S: Final = 15.0
_SLO_INTERVAL_S: Final = 1.0


async def run_watches(status: ServiceStatus) -> NoReturn:
    """Run every watch until cancelled."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_reporter, status, name="reporter")
        nursery.start_soon(run_staleness_watch, status, name="staleness")
        nursery.start_soon(run_slo_watch, status, name="slo")
        nursery.start_soon(run_loop_lag, status.loop_lag, name="loop lag")
    raise AssertionError("the watches never end")


async def run_reporter(status: ServiceStatus) -> None:
    """Log one line a minute until cancelled."""
    while True:
        await trio.sleep(_REPORT_INTERVAL_S)
        if not len(status.journal):
            # Otherwise the database is away.  Then there is one gap for all of that
            # time; one for each minute would push the positions out of the journal.
            journal_losses(status)
        logger.info("service.minute %s", status.canonical_line())


async def run_staleness_watch(status: ServiceStatus) -> None:
    """Log when contracts become stale or every row is refused, until cancelled."""
    log = StalenessLog()
    while True:
        await trio.sleep(_STALENESS_INTERVAL_S)
        log.update(status.stale_contracts(), status.trades_now)
        status.watch_refusals()


async def run_slo_watch(status: ServiceStatus) -> None:
    """Log when the latency rises above the target and falls below it, until cancelled."""
    while True:
        await trio.sleep(_SLO_INTERVAL_S)
        status.watch_slo()


def journal_losses(status: ServiceStatus) -> None:
    """Record a gap for the ticks that were lost since the last call."""
    for gap in status.backlog.losses.pop_gaps():
        status.journal.record(gap)
