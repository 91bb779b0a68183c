"""Builds the parts of the service from the configuration."""

from __future__ import annotations

import logging
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from socket import gethostname
from typing import Any

import trio
from fastapi import APIRouter

from greeks_trio.alerts.limit_watch import ALERTS_LEASE_S, LimitWatch
from greeks_trio.api.lists.betas import with_benchmark
from greeks_trio.api.lists.resources import RESOURCES
from greeks_trio.api.routes import (
    explain,
    feeds,
    greek_history,
    lists,
    live,
    metrics,
    position_tags,
    risk_history,
    scenarios,
    status,
    trades,
)
from greeks_trio.config.settings import Config, HttpConfig
from greeks_trio.estimates.task import Estimator
from greeks_trio.feeds.earlier_run import times_without_feed
from greeks_trio.feeds.feed import FeedKind, brokers_of, enabled_kinds
from greeks_trio.feeds.health import FeedHealth
from greeks_trio.feeds.standstill import StandstillWatch
from greeks_trio.feeds.switches import FeedSwitches
from greeks_trio.leases.faults import SharingFaults
from greeks_trio.leases.feed_watch import FeedLeaseWatch
from greeks_trio.model.coverage import Interval
from greeks_trio.model.records import Broker
from greeks_trio.monitoring.betas import Betas
from greeks_trio.monitoring.buffers import buffers_max_bytes
from greeks_trio.monitoring.market_hours import MarketHours
from greeks_trio.monitoring.metrics import read_metrics
from greeks_trio.monitoring.slo import SloWatch
from greeks_trio.monitoring.status import ServiceStatus
from greeks_trio.monitoring.status_json import (
    latency_json,
    status_example,
    status_json,
    status_schema,
)
from greeks_trio.parts import Service
from greeks_trio.pipeline.backlog import Backlog
from greeks_trio.pipeline.conditions import Conditions
from greeks_trio.pipeline.journal import Journal
from greeks_trio.pipeline.market_metrics import MetricsBoard
from greeks_trio.pipeline.processor import Processor
from greeks_trio.pipeline.refused_rows import RefusedRows
from greeks_trio.pipeline.replayer import Replayer
from greeks_trio.pipeline.service_clock import ServiceClock
from greeks_trio.pipeline.spooler import Spooler
from greeks_trio.pipeline.supervised import PartOutages
from greeks_trio.pipeline.tick_counts import TickCounts, TickListeners
from greeks_trio.pipeline.writer import Writer
from greeks_trio.postgres.acknowledged_rows import AcknowledgedRows
from greeks_trio.postgres.database_watch import DatabaseWatch
from greeks_trio.postgres.estimates_store import EstimateCounts
from greeks_trio.postgres.feed_lease import FeedLease
from greeks_trio.postgres.journal_store import JournalStore
from greeks_trio.postgres.lease import Lease
from greeks_trio.postgres.reads.reader import Reader
from greeks_trio.postgres.reads.timeline import Timeline
from greeks_trio.postgres.schema.partition_keeper import PartitionKeeper
from greeks_trio.postgres.tick_store import TickStore
from greeks_trio.postgres.uri import database_uri
from greeks_trio.spool.directory import SpoolDirectory
from greeks_trio.spool.location import spool_directory
from greeks_trio.spool.offer_again import OfferAgain
from greeks_trio.worker.process import Worker

logger = logging.getLogger(__name__)


def build_service(
    config: Config,
    load: Callable[[], Config],
    kinds: Sequence[FeedKind[Any]],
    stop: trio.Event,
    disk: SpoolDirectory,
    *,
    listeners: TickListeners,
    now: Callable[[], datetime],
) -> Service:
    """Return the parts for a configuration; nothing runs yet."""
    enabled = enabled_kinds(kinds, config)
    conditions = Conditions()
    clock = ServiceClock(conditions, config.database.clock_limit_s, wall=now)
    keeper = PartitionKeeper(conditions, today=lambda: clock.now().date())
    status = _build_status(
        config,
        enabled,
        disk,
        listeners,
        clock,
        keeper,
        address=lambda: database_uri(service.config.database),
        estimates=lambda: service.estimator.counts,
    )
    metrics = MetricsBoard(config.benchmark)
    for health in status.feeds.values():
        health.market_metrics = metrics
    watch = DatabaseWatch(status.clock)
    status.clock.on_correction = status.tell_positions_again
    holder = f"{gethostname()}:{spool_directory(config)}"
    leases = {broker: FeedLease(broker, holder) for broker in enabled}
    make_reader = partial(
        Reader,
        limits=config.http or HttpConfig(),
        note_failure=status.outages.note,
    )
    rows = AcknowledgedRows(lambda: service.config.database)
    worker = Worker()
    service: Service = Service(
        config=config,
        started_with=config,
        load=load,
        brokers=brokers_of(kinds),
        kinds=enabled,
        status=status,
        switches=FeedSwitches(
            status.feeds, on_all_refused=lambda: service.all_refused()
        ),
        tick_store=TickStore(
            config.database,
            today=lambda: status.clock.now().date(),
            watch=watch,
            on_commit=disk.acknowledged.committed if disk.acknowledged.is_on else None,
        ),
        journal_store=JournalStore(config.database, watch=watch, leases=leases),
        database_watch=watch,
        partition_keeper=keeper,
        reader=make_reader(lambda: service.config.database.for_reads()),
        primary_reader=make_reader(lambda: service.config.database),
        standstills=StandstillWatch(status.feeds.values()),
        leases=_watch_leases(status, leases, enabled, disk),
        limits=_make_limits(status, config, holder),
        betas=Betas(metrics, conditions, status.clock.now),
        offer_again=OfferAgain(
            disk.acknowledged,
            disk.spool,
            status.backlog,
            status.journal,
            rows.missing,
            rows.newest_before,
        ),
        worker=worker,
        estimator=Estimator(
            lambda: service.config,
            worker,
            conditions,
            stale_after_s=status.stale_after_s,
        ),
        stop=stop,
    )
    return service


def _watch_leases(
    status: ServiceStatus,
    leases: Mapping[Broker, FeedLease],
    enabled: Mapping[Broker, FeedKind[Any]],
    disk: SpoolDirectory,
) -> dict[Broker, FeedLeaseWatch]:
    return {
        broker: FeedLeaseWatch(
            status.feeds[broker],
            leases[broker],
            status.journal,
            SharingFaults(status.conditions),
            is_exclusive=kind.is_exclusive,
            earlier_gaps=_gaps_of_earlier_runs(disk, broker),
        )
        for broker, kind in enabled.items()
    }


def _make_limits(status: ServiceStatus, config: Config, holder: str) -> LimitWatch:
    return LimitWatch(
        status.conditions,
        partial(_is_market_open, status.hours),
        partial(_unread_positions, status),
        status.clock.now,
        source=source_of_alerts(),
        stale_after_s=config.pipeline.stale_after_s,
        benchmark=config.benchmark,
        lease=Lease("alerts", holder, lasts_s=ALERTS_LEASE_S),
    )


def _gaps_of_earlier_runs(disk: SpoolDirectory, broker: Broker) -> list[Interval]:
    inherited = [entry for _, entry in disk.inherited_journal]
    heard_at = disk.heard_at.get(broker)
    return times_without_feed(broker, inherited, disk.killed_at, heard_at)


def source_of_alerts() -> str:
    """Return the name of this service in the titles of alerts."""
    return f"greeks_trio on {platform.node()}"


def _is_market_open(hours: MarketHours, market: str, moment: datetime) -> bool | None:
    """Return whether a market is open, `None` if its hours are not known."""
    return hours.is_open(moment, market) if hours.knows(market, moment) else None


def _unread_positions(status: ServiceStatus, broker: str | None) -> str:
    """Return why the table lacks the present positions of a broker, or of all.

    Empty if it has them.  Without this, the first sums of a run would be those of the
    broker that answers first.
    """
    wanted = [broker] if broker is not None else [*status.feeds]
    off = [each for each in wanted if each not in status.feeds]
    if off:
        return f"{off[0]} is not enabled"
    late = [each for each in wanted if not _are_positions_stored(status.feeds[each])]
    if late:
        return f"the positions of {' and '.join(late)} were not read since the start"
    return "changed positions wait to be stored" if len(status.journal) else ""


def _are_positions_stored(health: FeedHealth) -> bool:
    """Return whether this run has read them, or another service writes them."""
    return health.positions.is_read or health.sharing.holder is not None


def _build_status(
    config: Config,
    brokers: Iterable[Broker],
    disk: SpoolDirectory,
    listeners: TickListeners,
    clock: ServiceClock,
    keeper: PartitionKeeper,
    *,
    address: Callable[[], str],
    estimates: Callable[[], EstimateCounts],
) -> ServiceStatus:
    """Return the parts that report on themselves."""
    pipeline, slo_target_s = config.pipeline, config.pipeline.latency_slo_ms / 1e3
    journal = Journal(inherited=disk.inherited_journal)
    backlog = Backlog(pipeline.backlog_max_bytes)
    tick_counts = TickCounts(listeners, slo_target_s=slo_target_s)
    refused_rows = RefusedRows(disk.quarantine, keeper.conditions)
    spooler = Spooler(
        backlog,
        disk.spool,
        tick_counts,
        after_s=config.spool.after_ms / 1e3,
        inherited_to=lambda: disk.inherited_id,
    )
    return ServiceStatus(
        feeds={broker: _make_health(broker, journal, clock) for broker in brokers},
        clock=clock,
        conditions=keeper.conditions,
        partitions=keeper,
        processor=Processor(),
        backlog=backlog,
        writer=Writer(
            backlog,
            refused_rows,
            tick_counts,
            batch_rows=pipeline.batch_rows,
            has_more_to_replay=lambda: spooler.has_more_to_replay,
        ),
        spool=disk.spool,
        spooler=spooler,
        replayer=Replayer(backlog, spooler, refused_rows, tick_counts),
        quarantine=disk.quarantine,
        refused_rows=refused_rows,
        tick_counts=tick_counts,
        journal=journal,
        slo=SloWatch(slo_target_s),
        stale_after_s=pipeline.stale_after_s,
        spool_max_bytes=config.spool.max_bytes,
        buffers_max_bytes=buffers_max_bytes(pipeline),
        hours=MarketHours(),
        outages=PartOutages(keeper.conditions),
        database_address=address,
        estimates=estimates,
    )


def _make_health(broker: Broker, journal: Journal, clock: ServiceClock) -> FeedHealth:
    def compare(date: datetime, round_trip_s: float, is_here: bool) -> None:
        clock.compare(
            broker, date, round_trip_s=round_trip_s, resolution_s=1, is_here=is_here
        )

    return FeedHealth(broker, journal, now=clock.now, compare_clock=compare)


def make_routers(service: Service) -> list[APIRouter]:
    """Return the HTTP routers, each with the part of the service that it reads."""
    state, brokers = service.status, service.brokers
    timeline, of_primary = (
        Timeline(
            reader,
            stale_after_s=state.stale_after_s,
            export_timeout_s=(service.config.http or HttpConfig()).export_timeout_s,
        )
        for reader in (service.reader, service.primary_reader)
    )
    slo, latest = partial(latency_json, state), state.processor.latest
    events = live.EventSource(
        latest,
        state.sessions,
        slo,
        service.limits.recent.changes,
        now=state.clock.now,
    )
    figures = partial(status_json, state)
    source = status.StatusSource(
        state.sessions, state.readiness, state.warnings, state.notes, figures
    )
    return [
        status.make_router(
            source, brokers, status_schema(), status_example(brokers[0])
        ),
        metrics.make_router(partial(read_metrics, state)),
        feeds.make_router(service.switches, brokers),
        lists.make_router(
            timeline, brokers, with_benchmark(RESOURCES, service.started_with.benchmark)
        ),
        trades.make_router(of_primary, brokers),
        position_tags.make_router(of_primary, brokers),
        scenarios.make_router(
            timeline, service.worker, brokers, lambda: service.config.risk_free_rate
        ),
        explain.make_router(
            timeline,
            service.worker,
            brokers,
            lambda: service.config.risk_free_rate,
            state.clock.now,
        ),
        greek_history.make_router(timeline, brokers, state.clock.now),
        risk_history.make_router(timeline, brokers, state.clock.now),
        live.make_router(events, brokers),
    ]
