"""The parts of the service, and what a signal may do with them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import trio

from greeks_trio.brokers.ibkr.stream import IbkrFeed
from greeks_trio.brokers.tastytrade.stream import TastytradeFeed
from greeks_trio.config import Config, needs_restart
from greeks_trio.errors import ConfigError
from greeks_trio.market_hours import MarketHours
from greeks_trio.model.records import Broker
from greeks_trio.overview import Overview
from greeks_trio.pipeline.backlog import Backlog
from greeks_trio.pipeline.health import SessionHealth, utc_now
from greeks_trio.pipeline.journal import Journal
from greeks_trio.pipeline.processor import Processor
from greeks_trio.pipeline.wakeup import WakeUp
from greeks_trio.pipeline.writer import CommitObserver, Writer

logger = logging.getLogger(__name__)

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
    overview: Overview
    stop: trio.Event
    retry_now: WakeUp = field(default_factory=WakeUp)
    ibkr: IbkrFeed | None = None
    tastytrade: TastytradeFeed | None = None
    refused: set[Broker] = field(default_factory=set)
    exit_status: int = STOPPED

    def reload(self) -> None:
        """Read the configuration again and apply what differs.

        A configuration with problems is refused and the old one stays in force.
        """
        try:
            config = self.load()
        except ConfigError as exc:
            for problem in exc.problems:
                logger.error("config.rejected problem=%s", problem)
            return
        for name in needs_restart(self.started_with, config):
            logger.warning("config.needs_restart name=%s", name)
        self.config = config
        if self.ibkr is not None and config.ibkr is not None:
            self.ibkr.reload(config.ibkr)
        if self.tastytrade is not None and config.tastytrade is not None:
            self.tastytrade.reload(config.tastytrade)
        self.refused.clear()
        self.retry_now.wake()
        logger.info("config.reloaded")

    def credentials_refused(self, broker: Broker) -> None:
        """Stop when no broker is left that may let us in."""
        self.refused.add(broker)
        if self.refused == set(self.overview.sessions_by_broker):
            self.exit_status = ALL_REFUSED
            self.stop.set()


def build_service(
    config: Config,
    load: Callable[[], Config],
    stop: trio.Event,
    on_commit: CommitObserver | None,
) -> Service:
    """Return the parts for a configuration; nothing runs yet."""
    journal = Journal()
    backlog = Backlog(config.pipeline.backlog_rows)
    enabled: dict[Broker, object] = {
        "ibkr": config.ibkr,
        "tastytrade": config.tastytrade,
    }
    overview = Overview(
        sessions_by_broker={
            broker: SessionHealth(broker, journal)
            for broker, settings in enabled.items()
            if settings is not None
        },
        processor=Processor(),
        backlog=backlog,
        writer=Writer(
            backlog, batch_rows=config.pipeline.batch_rows, on_commit=on_commit
        ),
        journal=journal,
        latency_slo_ms=config.pipeline.latency_slo_ms,
        stale_after_s=config.pipeline.stale_after_s,
        hours=MarketHours(utc_now().date()),
    )
    return Service(
        config=config, started_with=config, load=load, overview=overview, stop=stop
    )
