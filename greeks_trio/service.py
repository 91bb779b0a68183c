"""The service: nests the nurseries and decides the order in which they stop.

A stop goes from the brokers to the database.  First the feeds are cancelled at their next
read.  Then the processor works off the frames that were read, and the writer stores the
rest of the ticks within the drain limit.  HTTP and the line of every minute end last, so
that the drain can be watched.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import trio

from greeks_trio.api.server import OpenSocket
from greeks_trio.archive.task import check_retention
from greeks_trio.assembly import build_service
from greeks_trio.background import start_background
from greeks_trio.brokers.registry import FEEDS
from greeks_trio.config.betas_file import load_betas
from greeks_trio.config.load import load_config
from greeks_trio.config.report import describe
from greeks_trio.config.settings import Config
from greeks_trio.errors import SchemaRejected, leaves
from greeks_trio.feeds.earlier_run import end_leftover_gaps, gaps_of_killed_run
from greeks_trio.feeds.feed import FeedKind, TickSender, enabled_kinds
from greeks_trio.model.records import Tick
from greeks_trio.monitoring.minute_line import minute_line
from greeks_trio.monitoring.readings import Readings
from greeks_trio.monitoring.status import ServiceStatus
from greeks_trio.monitoring.watches import journal_losses
from greeks_trio.parts import Service
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
from greeks_trio.signals import run_stop_on_signal
from greeks_trio.spool.acknowledged import AcknowledgedLog
from greeks_trio.spool.directory import SpoolDirectory, open_spool
from greeks_trio.spool.location import spool_directory
from greeks_trio.waiting import utc_now

logger = logging.getLogger(__name__)


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
        url = await start_background(service, disk, background, open_socket)
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
