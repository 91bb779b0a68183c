"""The service: nests the nurseries and decides the order in which they stop.

A stop goes from the brokers to the database.  First the feeds are cancelled at their next
read.  Then the processor works off the frames that were read, and the writer stores the
rest of the ticks within the drain limit.  HTTP and the line of every minute end last, so
that the drain can be watched.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, NoReturn, TypeAlias

import trio

from greeks_trio.alerts.channels import open_channels
from greeks_trio.alerts.rules_file import load_rules
from greeks_trio.alerts.service_alerts import ServiceAlerts
from greeks_trio.alerts.service_watch import run_service_alerts
from greeks_trio.alerts.task import run_alerts
from greeks_trio.api.server import OpenSocket, run_http
from greeks_trio.archive.task import check_retention, run_retention
from greeks_trio.assembly import (
    Service,
    build_service,
    make_routers,
    source_of_alerts,
)
from greeks_trio.brokers.registry import FEEDS
from greeks_trio.config.betas_file import load_betas
from greeks_trio.config.load import load_config
from greeks_trio.config.report import describe
from greeks_trio.config.settings import Config
from greeks_trio.errors import SchemaRejected, leaves
from greeks_trio.feeds.earlier_run import end_leftover_gaps, gaps_of_killed_run
from greeks_trio.feeds.feed import FeedKind, TickSender, enabled_kinds
from greeks_trio.leases.task import run_feed_leases
from greeks_trio.model.condition_kinds import ConditionKind
from greeks_trio.model.records import Tick
from greeks_trio.monitoring.minute_line import minute_line
from greeks_trio.monitoring.readings import Readings
from greeks_trio.monitoring.replica import run_replica_watch
from greeks_trio.monitoring.status import ServiceStatus
from greeks_trio.monitoring.storage import run_storage_watch
from greeks_trio.monitoring.systemd import Notifier, run_systemd_notify
from greeks_trio.monitoring.watches import journal_losses, run_watches
from greeks_trio.pipeline.journal_writer import (
    JournalDisk,
    JournalSink,
    RefusedPart,
    run_journal,
)
from greeks_trio.pipeline.leftovers import LEFTOVERS_LIMIT_S, record_leftovers
from greeks_trio.pipeline.processor import run_processor
from greeks_trio.pipeline.stores import JournalEntry
from greeks_trio.pipeline.tick_counts import NO_LISTENERS, TickListeners
from greeks_trio.postgres.database_watch import run_database_watch
from greeks_trio.postgres.latest_refresh import run_latest_refresh
from greeks_trio.postgres.latest_seed import run_latest_seed
from greeks_trio.postgres.market_metrics_store import run_market_metrics
from greeks_trio.postgres.schema.partition_keeper import run_partition_keeper
from greeks_trio.postgres.schema.schema_watch import run_schema_watch
from greeks_trio.signals import run_on_hangup, run_stop_on_signal
from greeks_trio.spool.acknowledged import AcknowledgedLog
from greeks_trio.spool.directory import SpoolDirectory, open_spool
from greeks_trio.spool.location import spool_directory
from greeks_trio.waiting import utc_now

logger = logging.getLogger(__name__)

RunPart: TypeAlias = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Running:
    """The report at the start of the service; ``http_url`` is `None` without HTTP."""

    status: ServiceStatus
    http_url: str | None


async def run_service(
    config: Config,
    *,
    load: Callable[[], Config] = load_config,
    kinds: Sequence[FeedKind[Any]] = FEEDS,
    stop: trio.Event | None = None,
    listeners: TickListeners = NO_LISTENERS,
    now: Callable[[], datetime] = utc_now,
    open_socket: OpenSocket | None = None,
    task_status: trio.TaskStatus[Running] = trio.TASK_STATUS_IGNORED,
) -> int:
    """Stream from the configured brokers into PostgreSQL until asked to stop.

    Args:
        config: The configuration to start with.
        load: Returns the present configuration; called at each SIGHUP.
        kinds: The feeds to choose from.
        stop: Stops the service when it is set.  Without it, SIGTERM and SIGINT do.
        listeners: Called when ticks are durable or committed.
        now: The wall clock.
        open_socket: Opens the socket of the HTTP interface; see `run_http`.
        task_status: Told when the service has started.

    Returns the exit status: 0 when stopped, 3 when every broker refused its login.

    Raises:
        ConfigError: the HTTP address or the directory of the spool cannot be used.
        SchemaRejected: the schema does not fit this program, or was refused.
    """
    check_retention(config.retention)
    betas = load_betas(config.betas_file)
    asked_to_stop = trio.Event() if stop is None else stop
    settings = (f"{name}={value}" for name, value in describe(config).items())
    logger.info("service.starting %s", " ".join(settings))
    async with (
        open_spool(
            spool_directory(config),
            max_bytes=config.spool.max_bytes,
            keep_s=config.spool.keep_s,
        ) as disk,
        trio.open_nursery() as background,
    ):
        enabled = enabled_kinds(kinds, config)
        await disk.inherit(gaps_of_killed_run(enabled, disk.killed_at, disk.heard_at))
        service = build_service(
            config, load, kinds, asked_to_stop, disk, listeners=listeners, now=now
        )
        service.betas.use(betas)
        status = service.status
        if stop is None:
            await background.start(run_stop_on_signal, asked_to_stop)
        url = await _start_background(service, disk, background, open_socket)
        task_status.started(Running(status, url))
        is_in_order = are_told = False
        try:
            await _run_pipeline(service, disk)
            is_in_order = True
        finally:
            with trio.move_on_after(LEFTOVERS_LIMIT_S, shield=True):
                are_told = await record_leftovers(
                    status.backlog, status.journal, status.spool
                )
            disk.is_clean = is_in_order and are_told
        background.cancel_scope.cancel()
    logger.info("service.stopped %s", minute_line(Readings(status)))
    if service.rejected is not None:
        raise service.rejected
    return service.exit_status


async def _start_background(
    service: Service,
    disk: SpoolDirectory,
    nursery: trio.Nursery,
    open_socket: OpenSocket | None,
) -> str | None:
    """Start the tasks beside the stream; return the address of the HTTP interface."""
    await nursery.start(run_on_hangup, service.reload)
    url = await _start_http(service, nursery, open_socket)
    # From here on the run has begun: only now its mark replaces that of an earlier run.
    _start_parts(service, nursery, _own_parts(service, disk))
    nursery.start_soon(
        run_systemd_notify,
        Notifier(),
        service.status.in_words,
        lambda: service.status.conditions.has(ConditionKind.LOOP_STUCK),
        service.stop,
        name="systemd",
    )
    _start_parts(service, nursery, _database_parts(service))
    _start_storage(service, nursery)
    await _start_alerts(service, nursery)
    return url


async def _start_http(
    service: Service, nursery: trio.Nursery, open_socket: OpenSocket | None
) -> str | None:
    """Start the HTTP interface and its reads; return its address, if it is on."""
    config, status = service.config.http, service.status
    if config is None:
        return None
    _start_parts(
        service,
        nursery,
        {"reader": service.reader.run, "primary reader": service.primary_reader.run},
    )
    http = partial(run_http, open_socket=open_socket, counts=status.http_connections)
    url: str = await nursery.start(http, config, make_routers(service))
    return url


def _start_parts(
    service: Service, nursery: trio.Nursery, parts: Mapping[str, RunPart]
) -> None:
    """Start parts of which each may fail and start again without the others."""
    for name, run in parts.items():
        nursery.start_soon(service.status.outages.run, name, run, name=name)


def _own_parts(service: Service, disk: SpoolDirectory) -> dict[str, RunPart]:
    """Return the parts that watch the service itself and its disk."""
    status = service.status
    parts: dict[str, RunPart] = {
        "alive mark": partial(disk.run_alive_mark, status.heard_at, status.conditions),
        "watches": partial(run_watches, status),
        "standstills": service.standstills.run,
        "worker": service.worker.run,
        "estimates": service.estimator.run,
    }
    if disk.acknowledged.is_on:
        parts["acknowledged"] = disk.acknowledged.run
        parts["offer again"] = service.offer_again.run
    return parts


def _database_parts(service: Service) -> dict[str, RunPart]:
    """Return the parts that keep the database in order, or look at it."""
    status, database = service.status, service.present_database
    watch = service.database_watch
    return {
        "partition keeper": partial(
            run_partition_keeper, database, service.partition_keeper, watch.changed
        ),
        "database watch": partial(run_database_watch, database, watch, service.confirm),
        "database changes": partial(_follow_database, service),
        "schema watch": partial(
            run_schema_watch, database, status.conditions, watch.changed
        ),
        "latest refresh": partial(
            run_latest_refresh,
            database,
            watch.changed,
            contracts=lambda: len(status.processor.latest),
        ),
        "market metrics": partial(
            run_market_metrics,
            database,
            service.betas.board,
            stale_after_s=status.stale_after_s,
        ),
        "latest seed": partial(
            run_latest_seed, database, status.backlog, status.processor.latest
        ),
        "leases": partial(
            run_feed_leases, database, [*service.leases.values()], watch.changed
        ),
    }


async def _start_alerts(service: Service, nursery: trio.Nursery) -> None:
    """Start the tasks that send alerts: about limits, and about the service itself.

    Raises:
        ConfigError: An address or a rule is wrong, or a package is missing.
    """
    status, limits, config = service.status, service.limits, service.started_with
    rules = load_rules(config.alerts_file, config.alert_urls)
    # The import of the package takes a second.
    channels = await trio.to_thread.run_sync(open_channels, config.alert_urls)
    limits.channels = channels
    limits.use(rules)
    tasks: list[RunPart] = [
        partial(
            limits.run,
            service.present_database,
            lambda: service.config.alerts_interval_s,
            service.database_watch.changed,
        )
    ]
    if channels:
        alerts = ServiceAlerts(channels, source=source_of_alerts())
        tasks.append(
            partial(
                run_service_alerts,
                alerts,
                status.conditions,
                lambda: "; ".join(status.readiness()),
            )
        )
    finish = partial(limits.finish, service.present_database)
    run = partial(run_alerts, channels, tasks, finish)
    nursery.start_soon(status.outages.run, "alerts", run, name="alerts")


def _start_storage(service: Service, nursery: trio.Nursery) -> None:
    """Start the tasks that watch the disks and take old months out of the database."""
    status = service.status
    disks = partial(
        run_storage_watch,
        status.storage,
        status.conditions,
        service.present_database,
        spool_directory(service.started_with),
    )
    retention = partial(
        run_retention,
        lambda: service.config,
        status.conditions,
        lambda: status.writer.statistics().is_connected,
    )
    replica = partial(
        run_replica_watch,
        status.replica,
        status.conditions,
        service.present_database,
        service.reader,
    )
    watches = (("storage", disks), ("retention", retention), ("replica", replica))
    for part, run in watches:
        nursery.start_soon(status.outages.run, part, run, name=part)


async def _follow_database(service: Service) -> NoReturn:
    """Tell everything again whenever the database is another one, until cancelled."""
    watch, status = service.database_watch, service.status
    seen = watch.changed.calls
    while True:
        await watch.changed.wait_beyond(seen)
        seen = watch.changed.calls
        service.tell_again()
        await run_latest_seed(
            lambda: service.config.database, status.backlog, status.processor.latest
        )


async def _run_pipeline(service: Service, disk: SpoolDirectory) -> None:
    """Run feeds, processor, writer and spooler until ``service.stop``, then drain."""
    config, status = service.config, service.status
    backlog = status.backlog
    async with trio.open_nursery() as sinks:
        _start_sinks(service, disk, sinks)
        async with trio.open_nursery() as processing:
            # The default bound is 100 frames, or pieces of 500 ticks of large frames:
            # usually some kB, at most about 50 MB.  The feeds wait when it is full.
            send, receive = trio.open_memory_channel[list[Tick]](
                config.pipeline.intake_frames
            )
            status.intake.channel = receive
            processing.start_soon(
                run_processor, receive, status.processor, backlog, name="processor"
            )
            async with trio.open_nursery() as feeds:
                with send:
                    _start_feeds(service, send, feeds)
                await service.stop.wait()
                await service.standstills.read_out()
                feeds.cancel_scope.cancel()
        journal_losses(status)
        status.journal.close()
        service.retry_now.wake()  # the drain limit is short: no more waiting
        sinks.cancel_scope.deadline = (
            trio.current_time() + config.pipeline.drain_timeout_s
        )


def _start_sinks(service: Service, disk: SpoolDirectory, nursery: trio.Nursery) -> None:
    """Start the tasks that end when the backlog and the journal are closed and empty."""
    config, status = service.config, service.status
    write, replay, store = (
        partial(status.writer.run, service.tick_store.open, service.retry_now),
        partial(status.replayer.run, service.tick_store.open),
        partial(
            run_journal,
            status.journal,
            partial(_open_journal_sink, service, disk.acknowledged),
            JournalDisk(
                spool=disk.spool,
                quarantine=disk.quarantine,
                after_s=config.spool.after_ms / 1e3,
            ),
            status.conditions,
        ),
    )
    for part, run in (
        ("writer", write),
        ("spooler", status.spooler.run),
        ("replayer", replay),
        ("journal", store),
    ):
        nursery.start_soon(_stop_if_rejected, service, part, run, name=part)


@asynccontextmanager
async def _open_journal_sink(
    service: Service, log: AcknowledgedLog
) -> AsyncIterator[JournalSink]:
    """Open the journal's table.  Stored entries are acknowledged."""
    async with service.journal_store.open() as sink:
        yield _AcknowledgedSink(sink, log)


@dataclass(frozen=True, slots=True)
class _AcknowledgedSink:
    """A journal sink that keeps each stored entry in the log of acknowledged rows."""

    sink: JournalSink
    log: AcknowledgedLog

    async def write(self, entry: JournalEntry) -> Sequence[RefusedPart]:
        """Store the entry; see `JournalSink.write`."""
        refused = await self.sink.write(entry)
        self.log.stored(entry)
        return refused


async def _stop_if_rejected(
    service: Service, part: str, run: Callable[[], Awaitable[None]]
) -> None:
    """Run a sink.  If the schema does not fit, stop the service in the usual order.

    Then ticks and journal entries go to the spool, for a program that fits the schema.
    """
    try:
        await service.status.outages.run(part, run)
    except* SchemaRejected as group:
        service.schema_rejected(next(leaves(group)))


def _start_feeds(service: Service, send: TickSender, nursery: trio.Nursery) -> None:
    """Start the feed of each enabled broker.

    Every run of the service starts all of them, also those that a person had stopped.
    """
    for broker, health in service.status.feeds.items():
        nursery.start_soon(end_leftover_gaps, health, service.status.journal)
        out = send.clone()
        feed = service.make_feed(broker, out)
        connect = partial(service.leases[broker].run_connection, feed.run_connection)
        nursery.start_soon(service.switches.run_feed, broker, connect, out, name=broker)
