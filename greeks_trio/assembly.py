"""The parts of the service, and what a signal may do with them."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

import trio

from greeks_trio.brokers.ibkr.feed import IbkrFeed
from greeks_trio.brokers.tastytrade.feed import TastytradeFeed
from greeks_trio.config.settings import (
    Config,
    DatabaseConfig,
    HttpConfig,
    PipelineConfig,
    needs_restart,
)
from greeks_trio.errors import ConfigError
from greeks_trio.feeds.hand_over import PIECE_TICKS
from greeks_trio.feeds.health import FeedHealth
from greeks_trio.feeds.switches import FeedSwitches
from greeks_trio.model.records import Broker
from greeks_trio.monitoring.market_hours import MarketHours
from greeks_trio.monitoring.slo import SloWatch
from greeks_trio.monitoring.status import ServiceStatus
from greeks_trio.pipeline.backlog import TICK_BYTES, Backlog
from greeks_trio.pipeline.journal import USUAL_MAX_BYTES, Journal
from greeks_trio.pipeline.processor import Processor
from greeks_trio.pipeline.refused_rows import RefusedRows
from greeks_trio.pipeline.replayer import BATCH_ROWS, Replayer
from greeks_trio.pipeline.spooler import ENTRY_ROWS, Spooler
from greeks_trio.pipeline.tick_counts import NO_LISTENERS, TickCounts, TickListeners
from greeks_trio.pipeline.writer import Writer
from greeks_trio.postgres.journal_store import JournalStore
from greeks_trio.postgres.reads.reader import Reader
from greeks_trio.postgres.tick_store import TickStore
from greeks_trio.spool.directory import SpoolDirectory
from greeks_trio.waiting import WakeUp, utc_now

logger = logging.getLogger(__name__)

# Not the current directory: who starts the service elsewhere must find the same ticks.
_SPOOLS: Final = Path("~/.local/share/greeks_trio/spool")

# A tick with a payload of the usual size, and as many as a piece of a frame may have.
_ROW_BYTES: Final = TICK_BYTES + 400
_PIECE_BYTES: Final = PIECE_TICKS * _ROW_BYTES

STOPPED: Final = 0
ALL_REFUSED: Final = 3


@dataclass(slots=True)
class Service:
    """The parts, and what a signal may do with them.

    Attributes:
        config: In force as far as SIGHUP applies it.
        started_with: In force as far as only a restart applies it.
    """

    config: Config
    started_with: Config
    load: Callable[[], Config]
    status: ServiceStatus
    switches: FeedSwitches
    replayer: Replayer
    tick_store: TickStore
    journal_store: JournalStore
    reader: Reader
    stop: trio.Event
    retry_now: WakeUp = field(default_factory=WakeUp)
    ibkr: IbkrFeed | None = None
    tastytrade: TastytradeFeed | None = None
    exit_status: int = STOPPED

    def reload(self) -> None:
        """Read the configuration again and apply what differs.

        A configuration with problems is refused and the old one stays in force.  A feed
        that was stopped by hand has the new one when it is started.
        """
        try:
            config = self.load()
        except ConfigError as exc:
            for problem in exc.problems:
                logger.error("config.rejected problem=%s", problem)
            return
        for name in needs_restart(self.started_with, config):
            logger.warning("config.needs_restart name=%s", name)
        if not self.tick_store.leads_to(config.database):
            self._say_where_ticks_go(config.database)
        self.config = config
        self.tick_store.reconfigure(config.database)
        self.journal_store.reconfigure(config.database)
        if self.ibkr is not None and config.ibkr is not None:
            self.ibkr.reload(config.ibkr)
        if self.tastytrade is not None and config.tastytrade is not None:
            self.tastytrade.reload(config.tastytrade)
        self.switches.retry()
        self.retry_now.wake()
        logger.info("config.reloaded")

    def all_refused(self) -> None:
        """Stop because no broker is left that may let us in."""
        self.exit_status = ALL_REFUSED
        self.stop.set()

    def _say_where_ticks_go(self, to: DatabaseConfig) -> None:
        """Log that what waits for one database will be stored in another.

        Nobody but the operator knows whether it is the same one at a new place.
        """
        before, disk = self.config.database, self.status.spool.size()
        logger.warning(
            "config.database_changed from=%s:%d/%s to=%s:%d/%s waiting_rows=%d "
            "what-waits=goes-to-the-new-one",
            *(before.host, before.port, before.dbname),
            *(to.host, to.port, to.dbname),
            len(self.status.backlog) + disk.rows,
        )


def build_service(
    config: Config,
    load: Callable[[], Config],
    stop: trio.Event,
    disk: SpoolDirectory,
    *,
    listeners: TickListeners = NO_LISTENERS,
    now: Callable[[], datetime] = utc_now,
) -> Service:
    """Return the parts for a configuration; nothing runs yet."""
    status = _build_status(config, disk, listeners, now)
    service = Service(
        config=config,
        started_with=config,
        load=load,
        status=status,
        switches=FeedSwitches(
            status.feeds, on_all_refused=lambda: service.all_refused()
        ),
        replayer=Replayer(
            status.backlog, status.spooler, status.refused_rows, status.tick_counts
        ),
        tick_store=TickStore(config.database),
        journal_store=JournalStore(config.database),
        reader=Reader(lambda: service.config.database, config.http or HttpConfig()),
        stop=stop,
    )
    return service


def _build_status(
    config: Config,
    disk: SpoolDirectory,
    listeners: TickListeners,
    now: Callable[[], datetime],
) -> ServiceStatus:
    """Return the parts that say how they are doing."""
    journal = Journal(inherited=disk.inherited_notes)
    backlog = Backlog(config.pipeline.backlog_max_bytes)
    slo_s = config.pipeline.latency_slo_ms / 1e3
    tick_counts, refused_rows = (
        TickCounts(listeners, slo_s=slo_s),
        RefusedRows(disk.quarantine),
    )
    spooler = Spooler(
        backlog,
        disk.spool,
        tick_counts,
        after_s=config.spool.after_ms / 1e3,
        inherited_to=lambda: disk.inherited_id,
    )
    return ServiceStatus(
        feeds={
            broker: FeedHealth(broker, journal, now=now)
            for broker in enabled_brokers(config)
        },
        processor=Processor(),
        backlog=backlog,
        writer=Writer(
            backlog, refused_rows, tick_counts, batch_rows=config.pipeline.batch_rows
        ),
        spool=disk.spool,
        spooler=spooler,
        quarantine=disk.quarantine,
        refused_rows=refused_rows,
        tick_counts=tick_counts,
        journal=journal,
        slo=SloWatch(slo_s),
        stale_after_s=config.pipeline.stale_after_s,
        spool_max_bytes=config.spool.max_bytes,
        buffers_max_bytes=buffers_max_bytes(config.pipeline),
        hours=MarketHours(now().date()),
    )


def buffers_max_bytes(pipeline: PipelineConfig) -> int:
    """Return what is held in memory between the sockets and the database at the worst.

    Exact for the backlog, which is nearly all of it; for the others with payloads of
    the usual size.
    """
    intake = pipeline.intake_frames * _PIECE_BYTES
    # What the writer has taken, as ticks and as the bytes of a COPY.
    writer = 2 * pipeline.batch_rows * _ROW_BYTES
    # What fell out of the backlog while the disk takes it, and the disk's bytes.
    spooler = 2 * ENTRY_ROWS * _ROW_BYTES
    # One batch as ticks and as the bytes of a COPY, the next one as ticks and as the
    # disk's bytes.
    replayer = 4 * max(BATCH_ROWS, ENTRY_ROWS) * _ROW_BYTES
    journal = USUAL_MAX_BYTES
    return pipeline.backlog_max_bytes + intake + writer + spooler + replayer + journal


def enabled_brokers(config: Config) -> list[Broker]:
    """Return the brokers that the configuration enables."""
    settings: dict[Broker, object] = {
        "ibkr": config.ibkr,
        "tastytrade": config.tastytrade,
    }
    return [broker for broker, each in settings.items() if each is not None]


def spool_directory(config: Config) -> Path:
    """Return where the spool is: as configured, else one for each database.

    Raises:
        ConfigError: there is no home directory to put it in.
    """
    if config.spool.directory is not None:
        return config.spool.directory
    database = config.database
    name = f"{database.host}-{database.port}-{database.dbname}"
    try:
        return _SPOOLS.expanduser() / re.sub(r"[^A-Za-z0-9._-]+", "_", name)
    except RuntimeError:
        raise ConfigError(
            ["GREEKS_SPOOL_DIR is needed, because this user has no home directory."]
        ) from None
