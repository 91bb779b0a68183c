"""The service: builds the parts, nests the nurseries, decides the stop order.

Drain order on a stop: the feeds are cancelled at their next read; the processor works off
the frames that were read; the writer flushes what is left within the drain limit; last go
HTTP and the minute's log line, so that the drain can be watched.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final

import trio

from greeks_trio.api.server import run_http
from greeks_trio.assembly import Service, build_service, spool_directory
from greeks_trio.brokers.ibkr.feed import IbkrFeed
from greeks_trio.brokers.tastytrade.feed import TastytradeFeed
from greeks_trio.config.load import load_config
from greeks_trio.config.settings import Config, describe
from greeks_trio.errors import SpoolUnavailable
from greeks_trio.feeds.earlier_run import end_leftover_gaps, note_killed_run
from greeks_trio.feeds.feed import FeedOutputs, TickSender
from greeks_trio.feeds.position_log import PositionLog
from greeks_trio.model.records import Broker, Tick
from greeks_trio.monitoring.loop_lag import run_loop_lag
from greeks_trio.monitoring.status import ServiceStatus
from greeks_trio.monitoring.watches import (
    journal_losses,
    run_reporter,
    run_slo_watch,
    run_staleness_watch,
)
from greeks_trio.pipeline.journal import run_journal
from greeks_trio.pipeline.processor import run_processor
from greeks_trio.pipeline.tick_counts import NO_LISTENERS, TickListeners
from greeks_trio.postgres.latest_seed import run_latest_seed
from greeks_trio.postgres.schema.partition_keeper import run_partition_keeper
from greeks_trio.routers import make_routers
from greeks_trio.signals import run_on_hangup, run_stop_on_signal
from greeks_trio.spool.directory import SpoolDirectory, open_spool
from greeks_trio.waiting import utc_now

logger = logging.getLogger(__name__)

# For the last note to the disk.
_LAST_NOTES_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Running:
    """What the service tells when it has started.

    Attributes:
        http_url: Where HTTP answers, `None` when it is off.
    """

    status: ServiceStatus
    http_url: str | None


async def run_service(
    config: Config,
    *,
    load: Callable[[], Config] = load_config,
    stop: trio.Event | None = None,
    listeners: TickListeners = NO_LISTENERS,
    now: Callable[[], datetime] = utc_now,
    task_status: trio.TaskStatus[Running] = trio.TASK_STATUS_IGNORED,
) -> int:
    """Stream from the configured brokers into PostgreSQL until asked to stop.

    Setting ``stop`` is asking; without it SIGTERM and SIGINT are.  ``load`` is called at
    each SIGHUP for the configuration that shall be in force; ``listeners`` are told of
    what is durable and what is committed; ``now`` is the wall clock.

    Returns the exit status: 0 when stopped, 3 when every broker refused us.

    Raises:
        ConfigError: the HTTP address or the spool's directory cannot be used.
        SchemaRejected: the schema is newer than this program, or refused.
    """
    asked_to_stop = trio.Event() if stop is None else stop
    settings = (f"{name}={value}" for name, value in describe(config).items())
    logger.info("service.starting %s", " ".join(settings))
    async with (
        open_spool(spool_directory(config), max_bytes=config.spool.max_bytes) as disk,
        trio.open_nursery() as background,
    ):
        service = build_service(
            config, load, asked_to_stop, disk, listeners=listeners, now=now
        )
        note_killed_run(
            service.status.feeds, service.status.journal, disk.killed_at, disk.heard_at
        )
        if stop is None:
            await background.start(run_stop_on_signal, asked_to_stop)
        url = await _start_background(service, disk, background)
        task_status.started(Running(service.status, url))
        try:
            await _run_pipeline(service, disk)
        finally:
            with trio.move_on_after(_LAST_NOTES_S, shield=True):
                await tell_what_is_left(service.status)
        background.cancel_scope.cancel()
    logger.info("service.stopped %s", service.status.canonical_line())
    return service.exit_status


async def _start_background(
    service: Service, disk: SpoolDirectory, nursery: trio.Nursery
) -> str | None:
    """Start what runs beside the stream in ``nursery``; return where HTTP answers."""
    status = service.status
    nursery.start_soon(disk.run_alive_mark, status.heard_at, name="alive mark")
    await nursery.start(run_on_hangup, service.reload)
    url: str | None = None
    if service.config.http is not None:
        nursery.start_soon(service.reader.run, name="reader")
        url = await nursery.start(run_http, service.config.http, make_routers(service))
    nursery.start_soon(run_reporter, status, name="reporter")
    nursery.start_soon(run_staleness_watch, status, name="staleness")
    nursery.start_soon(run_slo_watch, status, name="slo")
    nursery.start_soon(run_loop_lag, status.loop_lag, name="loop lag")
    nursery.start_soon(
        run_partition_keeper, lambda: service.config.database, name="partition keeper"
    )
    nursery.start_soon(
        run_latest_seed,
        lambda: service.config.database,
        status.backlog,
        status.processor.latest,
        name="latest seed",
    )
    return url


async def _run_pipeline(service: Service, disk: SpoolDirectory) -> None:
    """Run feeds, processor, writer and spooler until ``service.stop``, then drain."""
    config, status = service.config, service.status
    async with trio.open_nursery() as sinks:
        sinks.start_soon(
            status.writer.run, service.tick_store.open, service.retry_now, name="writer"
        )
        sinks.start_soon(status.spooler.run, name="spooler")
        sinks.start_soon(service.replayer.run, service.tick_store.open, name="replayer")
        sinks.start_soon(
            partial(run_journal, after_s=config.spool.after_ms / 1e3),
            status.journal,
            service.journal_store.open,
            disk.spool,
            name="journal",
        )
        async with trio.open_nursery() as processing:
            # At most 100 frames, or pieces of large ones with 500 ticks: some 50 MB at
            # the worst, some kB usually.  Feeds wait when it is full.
            send, receive = trio.open_memory_channel[list[Tick]](
                config.pipeline.intake_frames
            )
            status.intake.channel = receive
            processing.start_soon(
                run_processor,
                receive,
                status.processor,
                status.backlog,
                name="processor",
            )
            async with trio.open_nursery() as brokers:
                with send:
                    _start_feeds(service, send, brokers)
                await service.stop.wait()
                brokers.cancel_scope.cancel()
        journal_losses(status)
        status.journal.close()
        service.retry_now.wake()  # the drain limit is short: no more waiting
        sinks.cancel_scope.deadline = (
            trio.current_time() + config.pipeline.drain_timeout_s
        )


async def tell_what_is_left(status: ServiceStatus) -> None:
    """Log what nobody will store, and leave to the next run to tell of its gap."""
    backlog = status.backlog
    if left := backlog.not_on_disk():
        logger.critical("service.ticks_lost reason=not-drained rows=%d", len(left))
        backlog.losses.add_ticks(left)
    if notes := len(status.journal.not_on_disk()):
        logger.error("service.journal_lost entries=%d", notes)
    if rows := status.spool.size().rows:
        logger.warning("service.left_in_spool rows=%d", rows)
    # Also what was lost since the journal was closed: for want of room, for instance.
    gaps = backlog.losses.pop_gaps()
    try:
        if gaps:
            await status.spool.note(gaps)
    except SpoolUnavailable as exc:
        logger.error("service.journal_lost entries=%d reason=%s", len(gaps), exc)


def _start_feeds(service: Service, send: TickSender, nursery: trio.Nursery) -> None:
    """Start one supervised feed for each enabled broker in ``nursery``.

    Every run of the service starts all of them, whatever was stopped by hand before.
    """
    config, healths = service.config, service.status.feeds
    for health in healths.values():
        nursery.start_soon(end_leftover_gaps, health, service.status.journal)
    if config.ibkr is not None:
        out = send.clone()
        service.ibkr = IbkrFeed(config.ibkr, _outputs(service, "ibkr", out))
        connect = service.ibkr.run_connection
        nursery.start_soon(_run_feed, service, "ibkr", connect, out, name="ibkr")
    if config.tastytrade is not None:
        out = send.clone()
        service.tastytrade = TastytradeFeed(
            config.tastytrade, _outputs(service, "tastytrade", out)
        )
        connect = service.tastytrade.run_connection
        nursery.start_soon(
            _run_feed, service, "tastytrade", connect, out, name="tastytrade"
        )


def _outputs(service: Service, broker: Broker, out: TickSender) -> FeedOutputs:
    status = service.status
    health = status.feeds[broker]
    positions = PositionLog(broker, status.journal, now=health.now)
    return FeedOutputs(health, positions, out)


async def _run_feed(
    service: Service,
    broker: Broker,
    run_connection: Callable[[], Awaitable[object]],
    out: TickSender,
) -> None:
    """Keep one broker's feed as it is wanted until cancelled, then close its channel end.

    The end stays open while the feed is stopped by hand: only the service's end is the
    end of input.
    """
    health = service.status.feeds[broker]
    with out:
        try:
            await service.switches.run(broker, run_connection)
        finally:
            health.service_stopped()
