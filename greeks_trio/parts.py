"""The parts of the service, and the acts that concern several of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import trio

from greeks_trio.alerts.limit_watch import LimitWatch
from greeks_trio.config.reload import load_again, log_other_database
from greeks_trio.config.settings import Config, DatabaseConfig
from greeks_trio.estimates.task import Estimator
from greeks_trio.feeds.feed import Feed, FeedKind, TickSender
from greeks_trio.feeds.standstill import StandstillWatch
from greeks_trio.feeds.switches import FeedSwitches
from greeks_trio.leases.feed_watch import FeedLeaseWatch
from greeks_trio.model.condition_kinds import ConditionKind
from greeks_trio.model.records import Broker
from greeks_trio.monitoring.betas import Betas
from greeks_trio.monitoring.status import ServiceStatus
from greeks_trio.postgres.database_watch import DatabaseWatch
from greeks_trio.postgres.journal_store import JournalStore
from greeks_trio.postgres.reads.reader import Reader
from greeks_trio.postgres.schema.partition_keeper import PartitionKeeper
from greeks_trio.postgres.tick_store import TickStore
from greeks_trio.spool.offer_again import OfferAgain
from greeks_trio.waiting import WakeUp
from greeks_trio.worker.process import Worker

logger = logging.getLogger(__name__)

STOPPED: Final = 0
ALL_REFUSED: Final = 3


@dataclass(slots=True)
class Service:
    """The parts of the service.

    Attributes:
        config: The present configuration, for every setting that SIGHUP applies.
        started_with: The configuration at the start, for all other settings.
        brokers: Every broker that a feed exists for, enabled or not.
        kinds: The kind of feed of each enabled broker.
        feeds: The feeds that run.
        reader: For the reads of the HTTP interface; maybe at a replica.
        primary_reader: For the writes of the HTTP interface, and reads of the same rows.
        rejected: The reason why the schema does not fit, if it does not.
    """

    config: Config
    started_with: Config
    load: Callable[[], Config]
    brokers: Sequence[Broker]
    kinds: Mapping[Broker, FeedKind[Any]]
    status: ServiceStatus
    switches: FeedSwitches
    tick_store: TickStore
    journal_store: JournalStore
    database_watch: DatabaseWatch
    partition_keeper: PartitionKeeper
    reader: Reader
    primary_reader: Reader
    standstills: StandstillWatch
    offer_again: OfferAgain
    leases: Mapping[Broker, FeedLeaseWatch]
    limits: LimitWatch
    worker: Worker
    estimator: Estimator
    betas: Betas
    stop: trio.Event
    retry_now: WakeUp = field(default_factory=WakeUp)
    feeds: dict[Broker, Feed[Any]] = field(default_factory=dict)
    exit_status: int = STOPPED
    rejected: BaseException | None = None

    def make_feed(self, broker: Broker, ticks: TickSender) -> Feed[Any]:
        """Make the feed of an enabled broker; it writes its ticks into the channel."""
        health, kind = self.status.feeds[broker], self.kinds[broker]
        self.feeds[broker] = kind.make_feed(self.started_with, health, ticks)
        return self.feeds[broker]

    def present_database(self) -> DatabaseConfig:
        """Return the configuration of the database, which SIGHUP may change."""
        return self.config.database

    def reload(self) -> None:
        """Read the configuration again and apply the differences.

        A configuration with problems is refused, and the old one stays in force.  A feed
        that a person has stopped takes the new settings for its next start.
        """
        if (config := load_again(self.load, self.started_with)) is None:
            return
        if not self.tick_store.leads_to(config.database):
            rows = len(self.status.backlog) + self.status.spool.size().rows
            log_other_database(self.config.database, config.database, waiting_rows=rows)
        self.config = config
        self.limits.reload(config.alerts_file, self.started_with.alert_urls)
        self.betas.reload(config.betas_file)
        self.tick_store.reconfigure(config.database)
        self.journal_store.reconfigure(config.database)
        for broker, feed in self.feeds.items():
            if (section := self.kinds[broker].section(config)) is not None:
                feed.reload(section)
        self.switches.retry()
        self.retry_now.wake()
        self.estimator.changed.wake()
        logger.info("config.reloaded")

    def schema_rejected(self, reason: BaseException) -> None:
        """Stop the service, because the schema of the database does not fit."""
        self.rejected = self.rejected or reason
        self.status.backlog.is_database_up = False
        self.stop.set()

    def tell_again(self) -> None:
        """Tell the database what only an earlier one was told."""
        if (words := self.database_watch.last_change) is not None:
            self.status.conditions.begin(ConditionKind.DATABASE_CHANGED, words)
        for health in self.status.feeds.values():
            health.tell_again()
        self.betas.tell_again()

    def confirm(self) -> None:
        """Compare the positions in the database with the last readings, once a minute.

        A deleted row leaves no other trace.
        """
        if len(self.status.journal):
            return  # it is behind; nothing more is told
        self.status.conditions.end(ConditionKind.DATABASE_CHANGED)
        self.database_watch.last_change = None
        self.status.tell_positions_again()

    def all_refused(self) -> None:
        """Stop the service, because every broker has refused its login."""
        self.exit_status = ALL_REFUSED
        self.stop.set()
