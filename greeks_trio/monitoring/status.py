"""One view of the running service for all who ask: HTTP, the log and the demo's table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from typing import Any, Final

import msgspec
import psutil
import trio

from greeks_trio.feeds.health import FeedHealth
from greeks_trio.feeds.staleness import StaleContract, stale_contracts
from greeks_trio.feeds.switches import missing_feeds, unusual_feeds
from greeks_trio.model.contracts import ContractKey
from greeks_trio.model.records import Broker, StreamSession, Tick
from greeks_trio.monitoring.loop_lag import LoopLag
from greeks_trio.monitoring.market_hours import MARKETS, MarketHours
from greeks_trio.monitoring.refusal_watch import RefusalWatch
from greeks_trio.monitoring.slo import SloWatch
from greeks_trio.monitoring.status_details import (
    feed_details,
    milliseconds,
    not_realtime_counts,
    slo_details,
)
from greeks_trio.pipeline.backlog import Backlog
from greeks_trio.pipeline.journal import Journal
from greeks_trio.pipeline.processor import Processor
from greeks_trio.pipeline.refused_rows import RefusedRows
from greeks_trio.pipeline.spooler import Spooler
from greeks_trio.pipeline.stores import Quarantine, Spool
from greeks_trio.pipeline.tick_counts import TickCounts
from greeks_trio.pipeline.writer import Writer
from greeks_trio.waiting import utc_now

# Stale contracts in the status: the longest silent ones.
_SHOWN: Final = 20


@dataclass(slots=True)
class Intake:
    """Where frames wait for the processor; there is no channel before it runs."""

    channel: trio.MemoryReceiveChannel[list[Tick]] | None = None

    def __len__(self) -> int:
        if self.channel is None:
            return 0
        return self.channel.statistics().current_buffer_used


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStatus:
    """The parts of a running service, for reading.

    Attributes:
        slo: Whether ticks are durable in time.
        stale_after_s: The age from which a contract without a tick is stale.
        buffers_max_bytes: What all buffers take together at the worst.
    """

    feeds: Mapping[Broker, FeedHealth]
    processor: Processor
    backlog: Backlog
    writer: Writer
    spool: Spool
    spooler: Spooler
    quarantine: Quarantine
    refused_rows: RefusedRows
    tick_counts: TickCounts
    journal: Journal
    slo: SloWatch
    stale_after_s: float
    spool_max_bytes: int
    buffers_max_bytes: int
    hours: MarketHours
    refusals: RefusalWatch = field(default_factory=RefusalWatch)
    loop_lag: LoopLag = field(default_factory=LoopLag)
    intake: Intake = field(default_factory=Intake)

    def sessions(self) -> Sequence[StreamSession]:
        """Return the state of each enabled broker's feed."""
        return [health.session() for health in self.feeds.values()]

    def heard_at(self) -> dict[str, datetime]:
        """Return when the last frame of each broker came, of those that sent one."""
        return {
            session.broker: session.last_message_at
            for session in self.sessions()
            if session.last_message_at is not None
        }

    def readiness(self) -> Sequence[str]:
        """Return what keeps the service from being ready, nothing when it is."""
        problems = []
        writer = self.writer.statistics()
        if not writer.is_connected:
            problems.append(f"database: {writer.last_error or 'not connected yet'}")
        problems += self.refusals.problems()
        return problems + missing_feeds(self.feeds.values())

    def warnings(self) -> Sequence[str]:
        """Return what is wrong or unusual although the service is ready.

        Nothing that is a problem already, as a stopped feed is when all of them are.

        A latency above the bar is no reason to take the service out of use: nothing is
        lost, there is no other one that would be faster, and starting it anew would add
        a gap to it.
        """
        words = self.slo.statistics().in_words()
        feeds = unusual_feeds(self.feeds.values())
        problems = self.readiness()
        warnings = [feed for feed in feeds if feed not in problems]
        return warnings if words is None else [words, *warnings]

    def watch_slo(self) -> None:
        """Look whether ticks have been durable in time for the last minute."""
        now = trio.current_time()
        window = self.tick_counts.to_durable.rolling.window_histogram(now=now)
        self.slo.update(window, self._ages_of_undurable(now), now)

    def _ages_of_undurable(self, now: float) -> Sequence[float]:
        """Return in seconds how old the ticks are that are not durable.

        Only the oldest one's while none waits for longer than the bar, because there
        may be a hundred thousand, and this is asked each second.
        """
        oldest_at = self.backlog.oldest_unspooled_at()
        age = 0.0 if oldest_at is None else now - oldest_at
        # What a disk that hangs is taking is not durable, and no longer unspooled.
        if age <= self.slo.statistics().slo_s and self.spooler.last_error is None:
            return [age]
        return [now - tick.read_at for tick in self.backlog.not_on_disk()]

    def watch_refusals(self) -> None:
        """Look whether PostgreSQL refuses all that came since the last call."""
        self.refusals.update(
            persisted=self.tick_counts.persisted,
            quarantined=self.refused_rows.quarantined,
        )

    def trades_now(self, contract_key: ContractKey) -> bool:
        """Return whether this contract without ticks is worth a warning."""
        return self.hours.trades(contract_key, utc_now())

    def stale_contracts(self) -> list[StaleContract]:
        """Return the subscribed contracts without recent ticks, oldest of all first."""
        now = trio.current_time()
        stale = chain.from_iterable(
            stale_contracts(
                broker,
                health.streamed(),
                self.processor.last_read_at,
                now=now,
                limit_s=self.stale_after_s,
            )
            for broker, health in self.feeds.items()
        )
        return sorted(stale, key=lambda each: each.age_s, reverse=True)

    def stale_counts(self) -> dict[Broker, int]:
        """Return how many contracts `stale_contracts` has of each broker."""
        stale = Counter(each.broker for each in self.stale_contracts())
        return {broker: stale[broker] for broker in self.feeds}

    def not_realtime_counts(self) -> dict[Broker, int]:
        """Return how many subscribed contracts of each broker have Greeks not in real time.

        The views call these stale too, however recent they are.  Reads the newest tick
        of every contract: for whoever asks, not for each tick.
        """
        _, newest = self.processor.latest.changes()
        streamed = {broker: health.streamed() for broker, health in self.feeds.items()}
        return not_realtime_counts(newest, streamed)

    def lost(self) -> Counter[Broker]:
        """Return the ticks that were read and that nobody will store."""
        lost = self.backlog.losses.rows.copy()
        for broker, health in self.feeds.items():
            lost[broker] += health.statistics().counts.get("ticks.lost", 0)
        return lost

    def details(self) -> dict[str, Any]:
        """Return the counters and latencies as the status page shows them."""
        writer = self.writer.statistics()
        return {
            "database": {
                "connected": writer.is_connected,
                "last_error": writer.last_error,
            },
            **self.latency_details(),
            "loop_lag_ms": {
                "last_minute": self.loop_lag.window().milliseconds(),
                "since_start": self.loop_lag.since_start().milliseconds(),
            },
            "ticks": self._ticks(),
            "spool": self._spool(is_database_up=writer.is_connected),
            "quarantine": {"waiting": self.quarantine.waiting()},
            "memory": self._memory(),
            "writer": {
                "flushes": writer.flushes,
                "retries": writer.retries,
                "largest_flush": writer.largest_flush,
                "backlog": len(self.backlog),
                "backlog_peak": self.backlog.peak,
                "journal_waiting": len(self.journal),
            },
            "contracts": self.processor.statistics().contracts,
            "staleness": self._staleness(),
            "feeds": {
                broker: feed_details(health) for broker, health in self.feeds.items()
            },
        }

    def latency_details(self) -> dict[str, Any]:
        """Return what `details` has of the latencies and the SLO."""
        return {
            "latency_ms": {
                **milliseconds(self.tick_counts.latency_to_durable()),
                "to_commit": milliseconds(self.tick_counts.latency_to_commit()),
            },
            "slo": slo_details(self.slo.statistics()),
        }

    def _ticks(self) -> dict[str, Any]:
        processor = self.processor.statistics()
        return {
            "received": processor.received,
            "duplicates": processor.duplicates,
            "late": processor.late,
            "persisted": self.tick_counts.persisted,
            "already_stored": self.tick_counts.already_stored,
            "quarantined": self.refused_rows.quarantined,
            "spooled": self.spooler.spooled,
            "replayed": self.tick_counts.replayed,
            "lost": self.lost().total(),
        }

    def _spool(self, *, is_database_up: bool) -> dict[str, Any]:
        size = self.spool.size()
        return {
            "entries": size.entries,
            "rows": size.rows,
            "bytes": size.bytes,
            "max_bytes": self.spool_max_bytes,
            "oldest_at": size.oldest_at,
            "replaying": is_database_up and self.spooler.has_more_to_replay,
            "last_error": self.spooler.last_error,
        }

    def _memory(self) -> dict[str, int]:
        return {
            "backlog_bytes": self.backlog.bytes,
            "backlog_max_bytes": self.backlog.max_bytes,
            "buffers_max_bytes": self.buffers_max_bytes,
            "resident_bytes": psutil.Process().memory_info().rss,
        }

    def _staleness(self) -> dict[str, Any]:
        stale, now = self.stale_contracts(), utc_now()
        return {
            "after_s": self.stale_after_s,
            "markets_open": {
                market: self.hours.is_open(now, market) for market in MARKETS
            },
            "contracts": Counter(each.broker for each in stale),
            "not_realtime": self.not_realtime_counts(),
            "oldest": [msgspec.to_builtins(each) for each in stale[:_SHOWN]],
        }

    def canonical_line(self) -> str:
        """Return the one line a minute that says how the service is doing."""
        processor = self.processor.statistics()
        window = self.tick_counts.latency_to_durable().window.milliseconds()
        loop = self.loop_lag.window().milliseconds()
        return (
            f"received={sum(processor.received.values())}"
            f" persisted={self.tick_counts.persisted.total()}"
            f" duplicates={sum(processor.duplicates.values())}"
            f" already_stored={self.tick_counts.already_stored}"
            f" quarantined={self.refused_rows.quarantined.total()}"
            f" spooled={self.spooler.spooled.total()}"
            f" replayed={self.tick_counts.replayed.total()}"
            f" spool_rows={self.spool.size().rows} lost={self.lost().total()}"
            f" p50_ms={window['p50']} p95_ms={window['p95']} p99_ms={window['p99']}"
            f" max_ms={window['max']} backlog={len(self.backlog)}"
            f" backlog_peak={self.backlog.peak} contracts={processor.contracts}"
            f" stale={len(self.stale_contracts())}"
            f" loop_p99_ms={loop['p99']} loop_max_ms={loop['max']} "
        ) + " ".join(
            f"{session.broker}={session.status}:{session.subscription_count}"
            for session in self.sessions()
        )
