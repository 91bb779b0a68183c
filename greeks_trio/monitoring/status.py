"""The parts of the running service, for reading: by HTTP, the log and the demo's table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import trio

from greeks_trio.feeds.health import FeedHealth
from greeks_trio.feeds.switches import degraded_feeds, feed_notes, missing_feeds
from greeks_trio.model.condition_kinds import Severity
from greeks_trio.model.records import Broker, StreamSession, Tick
from greeks_trio.monitoring.loop_lag import LoopLag
from greeks_trio.monitoring.market_hours import MarketHours
from greeks_trio.monitoring.refusal_watch import RefusalWatch
from greeks_trio.monitoring.replica import Replica
from greeks_trio.monitoring.slo import SloWatch
from greeks_trio.monitoring.storage import Storage
from greeks_trio.pipeline.backlog import Backlog
from greeks_trio.pipeline.conditions import Conditions
from greeks_trio.pipeline.journal import Journal
from greeks_trio.pipeline.processor import Processor
from greeks_trio.pipeline.refused_rows import RefusedRows
from greeks_trio.pipeline.replayer import Replayer
from greeks_trio.pipeline.service_clock import ServiceClock
from greeks_trio.pipeline.spooler import Spooler
from greeks_trio.pipeline.stores import Quarantine, Spool
from greeks_trio.pipeline.supervised import PartOutages
from greeks_trio.pipeline.tick_counts import TickCounts
from greeks_trio.pipeline.writer import Writer
from greeks_trio.postgres.estimates_store import EstimateCounts


@dataclass(slots=True)
class Intake:
    """The channel to the processor; `None` before the processor runs."""

    channel: trio.MemoryReceiveChannel[list[Tick]] | None = None

    def __len__(self) -> int:
        if self.channel is None:
            return 0
        return self.channel.statistics().current_buffer_used


class PartitionCount(Protocol):
    """Knows for how many months after the present one there are partitions."""

    @property
    def months_ahead(self) -> int | None:
        """The number, -1 if the present month has none, `None` if it is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStatus:
    """The parts of a running service, for reading.

    `figures` has the table of the numbers that are read from here.

    Attributes:
        slo: The state of the latency SLO.
        stale_after_s: The age from which a contract without a tick is stale.
        buffers_max_bytes: Most memory that all buffers together can take.
        hours: The hours of the markets.
        http_connections: Connections of HTTP that were ``dropped`` or ``refused`` because
            all places were taken.
        clock: The agreed time.
        partitions: Knows for how many months there are partitions.
        conditions: The faults that are no fault of a feed.
        storage: The size of the database and the room on the disks.
        replica: The server that answers the reads.
        outages: The outages of single parts of the service.
        refusals: The brokers of which PostgreSQL refuses every row.
        intake: The channel between the feeds and the processor.
        database_address: Returns the URI of the database, without the password.
        estimates: Returns the numbers of contracts with and without an estimate.
    """

    feeds: Mapping[Broker, FeedHealth]
    processor: Processor
    backlog: Backlog
    writer: Writer
    spool: Spool
    spooler: Spooler
    replayer: Replayer
    quarantine: Quarantine
    refused_rows: RefusedRows
    tick_counts: TickCounts
    journal: Journal
    slo: SloWatch
    stale_after_s: float
    spool_max_bytes: int
    buffers_max_bytes: int
    hours: MarketHours
    http_connections: Counter[str] = field(default_factory=Counter)
    outages: PartOutages
    conditions: Conditions = field(default_factory=Conditions)
    storage: Storage = field(default_factory=Storage)
    replica: Replica = field(default_factory=Replica)
    clock: ServiceClock = field(
        default_factory=lambda: ServiceClock(Conditions(), limit_s=30)
    )
    partitions: PartitionCount | None = None
    refusals: RefusalWatch = field(default_factory=RefusalWatch)
    loop_lag: LoopLag = field(default_factory=LoopLag)
    intake: Intake = field(default_factory=Intake)
    database_address: Callable[[], str] = str
    estimates: Callable[[], EstimateCounts] = EstimateCounts

    def sessions(self) -> Sequence[StreamSession]:
        """Return the state of each enabled broker's feed."""
        return [health.session() for health in self.feeds.values()]

    def tell_positions_again(self) -> None:
        """Record the positions of every feed once more."""
        for health in self.feeds.values():
            health.positions.tell_again()

    def heard_at(self) -> dict[str, datetime]:
        """Return the time of each broker's last frame; a broker without one is left out."""
        return {
            session.broker: session.last_message_at
            for session in self.sessions()
            if session.last_message_at is not None
        }

    def readiness(self) -> Sequence[str]:
        """Return a sentence for each reason why the service is not ready."""
        problems = []
        writer = self.writer.statistics()
        if not writer.is_connected:
            problems.append(f"database: {writer.last_error or 'not connected yet'}")
        problems += self.conditions.sentences(Severity.NOT_READY)
        problems += self.refusals.problems()
        return problems + missing_feeds(self.feeds.values())

    def warnings(self) -> Sequence[str]:
        """Return a sentence for each fault that leaves the service ready.

        A latency above the target is a warning only.  No tick is lost, no other service
        could take over, and a restart would add a gap.
        """
        words = self.slo.statistics().in_words()
        latency = [] if words is None else [words]
        return [
            *latency,
            *self.conditions.sentences(Severity.DEGRADED),
            *degraded_feeds(self.feeds.values()),
        ]

    def notes(self) -> Sequence[str]:
        """Return a sentence for each note: a person should know it, and it is no fault.

        A problem of `readiness` is no note as well.
        """
        problems = self.readiness()
        feeds = feed_notes(self.feeds.values())
        return [
            *self.conditions.sentences(Severity.NOTE),
            *(note for note in feeds if note not in problems),
        ]

    def in_words(self) -> str:
        """Return the health in one line, the gravest fault first."""
        for name, sentences in (
            ("not ready", self.readiness()),
            ("degraded", self.warnings()),
        ):
            if sentences:
                return f"{name}: {'; '.join(sentences)}"
        return "healthy"
