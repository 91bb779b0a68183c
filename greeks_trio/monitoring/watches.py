"""The tasks that watch the service and write to its log."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Final, NoReturn

import trio

from greeks_trio.feeds.staleness import StalenessLog
from greeks_trio.model.condition_kinds import ConditionKind
from greeks_trio.monitoring.calendars import CalendarsUnavailable
from greeks_trio.monitoring.contract_hours import (
    UnknownHoursLog,
    prepare_hours,
    trading_at,
)
from greeks_trio.monitoring.contract_survey import survey_contracts
from greeks_trio.monitoring.garbage import run_garbage_watch
from greeks_trio.monitoring.loop_lag import run_loop_lag
from greeks_trio.monitoring.loops import loops_of
from greeks_trio.monitoring.minute_line import minute_line
from greeks_trio.monitoring.progress import ProgressWatch
from greeks_trio.monitoring.readings import Readings
from greeks_trio.monitoring.status import ServiceStatus
from greeks_trio.waiting import run_in_slices

logger = logging.getLogger(__name__)

_REPORT_INTERVAL_S: Final = 60.0
_STALENESS_INTERVAL_S: Final = 15.0
_FIRST_CALENDARS_S: Final = 10.0
_CALENDARS_AGAIN_S: Final = 600.0
_SLO_INTERVAL_S: Final = 1.0
_PROGRESS_INTERVAL_S: Final = 5.0


async def run_watches(status: ServiceStatus) -> NoReturn:
    """Run every watch until cancelled."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_minute_line, status, name="minute line")
        nursery.start_soon(run_hours_watch, status, name="hours")
        nursery.start_soon(run_staleness_watch, status, name="staleness")
        nursery.start_soon(run_slo_watch, status, name="slo")
        nursery.start_soon(run_loop_lag, status.loop_lag, name="loop lag")
        nursery.start_soon(run_progress_watch, status, name="progress")
        nursery.start_soon(
            run_garbage_watch, partial(_count_streamed, status), name="garbage"
        )
    raise AssertionError("the watches never end")


async def run_minute_line(status: ServiceStatus) -> None:
    """Log one line a minute until cancelled."""
    while True:
        await trio.sleep(_REPORT_INTERVAL_S)
        if not len(status.journal):
            # Otherwise the database is away.  Then there is one gap for all of that
            # time; one for each minute would push the positions out of the journal.
            journal_losses(status)
        now = Readings(status)
        await run_in_slices(now.prepare())
        logger.info("service.minute %s", minute_line(now))


async def run_staleness_watch(status: ServiceStatus) -> None:
    """Log when contracts become stale or every row is refused, until cancelled."""
    log, unknown_hours = StalenessLog(), UnknownHoursLog()
    while True:
        await trio.sleep(_STALENESS_INTERVAL_S)
        now = status.clock.now()
        survey = await run_in_slices(survey_contracts(status, now))
        unknown_hours.update(survey.without_hours)
        log.update(survey.stale, trading_at(status, now))
        status.refusals.update(
            persisted=status.tick_counts.persisted,
            quarantined=status.refused_rows.quarantined,
        )


async def run_hours_watch(status: ServiceStatus) -> None:
    """Keep the calendars of the markets in use, until cancelled."""
    # Nothing is stale so soon, and the start needs the processor itself.
    await trio.sleep(_FIRST_CALENDARS_S)
    while True:
        delay_s = _STALENESS_INTERVAL_S
        try:
            await prepare_hours(status, status.clock.now())
        except CalendarsUnavailable as exc:
            delay_s = _CALENDARS_AGAIN_S
            status.hours.are_readable = False
            logger.warning(
                "hours.not_read reason=%s: stale contracts give no warning; they are read "
                "again in %.0f s",
                exc,
                delay_s,
            )
        await trio.sleep(delay_s)


async def run_slo_watch(status: ServiceStatus) -> None:
    """Log when the latency rises above the target and falls below it, until cancelled."""
    while True:
        await trio.sleep(_SLO_INTERVAL_S)
        now = trio.current_time()
        window = status.tick_counts.to_durable.rolling.window_histogram(now=now)
        status.slo.update(window, _undurable_ages_s(status, now), now)


async def run_progress_watch(status: ServiceStatus) -> None:
    """Note each loop that has work and makes no step, until cancelled."""
    watch = ProgressWatch(loops_of(status))
    noted: set[str] = set()
    while True:
        stuck = watch.stuck(trio.current_time())
        for name in noted - stuck.keys():
            status.conditions.end(ConditionKind.LOOP_STUCK, subject=name)
        for name, sentence in stuck.items():
            status.conditions.begin(ConditionKind.LOOP_STUCK, sentence, subject=name)
        noted = set(stuck)
        await trio.sleep(_PROGRESS_INTERVAL_S)


def _count_streamed(status: ServiceStatus) -> int:
    return sum(len(health.streamed()) for health in status.feeds.values())


def _undurable_ages_s(status: ServiceStatus, now: float) -> Sequence[float]:
    """Return the ages in seconds of the ticks that are not durable.

    While no tick is older than the target, this is the age of the oldest tick only.  There
    may be a hundred thousand ticks, and this is called each second.
    """
    oldest_at = status.backlog.oldest_unspooled_at()
    age = 0.0 if oldest_at is None else now - oldest_at
    # When a write to the disk hangs, its ticks are not durable and no longer unspooled.
    if age <= status.slo.target_s and status.spooler.last_error is None:
        return [age]
    return [now - tick.read_at for tick in status.backlog.not_on_disk()]


def journal_losses(status: ServiceStatus) -> None:
    """Record a gap for the ticks that were lost since the last call."""
    for gap in status.backlog.losses.pop_gaps():
        status.journal.record(gap)
