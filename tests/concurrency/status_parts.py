"""The parts of a service that report their state; none of them runs."""

from __future__ import annotations

from datetime import date
from typing import Any

from greeks_trio.feeds.health import FeedHealth
from greeks_trio.monitoring import minute_line, status_json
from greeks_trio.monitoring.contract_survey import ContractSurvey, survey_contracts
from greeks_trio.monitoring.readings import Readings
from greeks_trio.monitoring.slo import SloWatch
from greeks_trio.monitoring.status import ServiceStatus
from greeks_trio.pipeline.backlog import Backlog
from greeks_trio.pipeline.conditions import Conditions
from greeks_trio.pipeline.journal import Journal
from greeks_trio.pipeline.processor import Processor
from greeks_trio.pipeline.refused_rows import RefusedRows
from greeks_trio.pipeline.replayer import Replayer
from greeks_trio.pipeline.spooler import Spooler
from greeks_trio.pipeline.supervised import PartOutages
from greeks_trio.pipeline.tick_counts import TickCounts
from greeks_trio.pipeline.writer import Writer
from greeks_trio.waiting import run_at_once
from tests.concurrency.fakes import MemoryQuarantine, MemorySpool
from tests.factories import tick_bytes
from tests.market_calendars import hours_of


def make_status(slo_target_s=0.5):
    """Return the status of a service with both brokers and a disk in memory."""
    journal, backlog = Journal(), Backlog(tick_bytes(10))
    spool, quarantine = MemorySpool(), MemoryQuarantine()
    tick_counts, refused_rows = (
        TickCounts(slo_target_s=slo_target_s),
        RefusedRows(quarantine),
    )
    spooler = Spooler(backlog, spool, tick_counts, after_s=0.05)
    return ServiceStatus(
        feeds={
            broker: FeedHealth(broker, journal) for broker in ("ibkr", "tastytrade")
        },
        processor=Processor(),
        backlog=backlog,
        writer=Writer(backlog, refused_rows, tick_counts, batch_rows=10),
        spool=spool,
        spooler=spooler,
        replayer=Replayer(backlog, spooler, refused_rows, tick_counts),
        quarantine=quarantine,
        refused_rows=refused_rows,
        tick_counts=tick_counts,
        journal=journal,
        slo=SloWatch(slo_target_s),
        stale_after_s=60.0,
        spool_max_bytes=spool.max_bytes,
        buffers_max_bytes=10**6,
        hours=hours_of(date(2026, 11, 20)),
        conditions=(conditions := Conditions()),
        outages=PartOutages(conditions),
    )


def status_of(status: ServiceStatus) -> dict[str, Any]:
    """Return the figures of the status."""
    return run_at_once(status_json.status_json(status))


def minute_line_of(status: ServiceStatus) -> str:
    """Return the minute line."""
    return minute_line.minute_line(Readings(status))


def survey_of(status: ServiceStatus, moment=None) -> ContractSurvey:
    """Return the state of every subscribed contract, now or at a moment."""
    steps = survey_contracts(status, moment or status.clock.now())
    return run_at_once(steps)
