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

from greeks_trio.market_hours import MARKETS, MarketHours
from greeks_trio.model.contracts import ContractKey
from greeks_trio.model.records import Broker, StreamSession
from greeks_trio.pipeline.backlog import Backlog
from greeks_trio.pipeline.health import SessionHealth, utc_now
from greeks_trio.pipeline.isolation import Isolator
from greeks_trio.pipeline.journal import Journal
from greeks_trio.pipeline.processor import Processor
from greeks_trio.pipeline.spool_store import Quarantine, Spool
from greeks_trio.pipeline.spooler import Spooler
from greeks_trio.pipeline.staleness import StaleContract, stale_contracts
from greeks_trio.pipeline.tally import LatencyStatistics, Tally
from greeks_trio.pipeline.writer import Writer
from greeks_trio.refusals import RefusalWatch

# Stale contracts in the status: the longest silent ones.
_SHOWN: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The parts of a running service, for reading.

    Attributes:
        latency_slo_ms: What the p95 of the last minute should stay below.
        stale_after_s: The age from which a contract without a tick is stale.
        buffers_max_bytes: What all buffers take together at the worst.
    """

    sessions_by_broker: Mapping[Broker, SessionHealth]
    processor: Processor
    backlog: Backlog
    writer: Writer
    spool: Spool
    spooler: Spooler
    quarantine: Quarantine
    isolator: Isolator
    tally: Tally
    journal: Journal
    latency_slo_ms: float
    stale_after_s: float
    spool_max_bytes: int
    buffers_max_bytes: int
    hours: MarketHours
    refusals: RefusalWatch = field(default_factory=RefusalWatch)

    def sessions(self) -> Sequence[StreamSession]:
        """Return the state of each enabled broker's feed."""
        return [health.session() for health in self.sessions_by_broker.values()]

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
        problems += [
            f"{session.broker}: {session.last_error or session.status}"
            for session in self.sessions()
            if session.status not in ("connected", "degraded")
        ]
        return problems

    def watch_refusals(self) -> None:
        """Look whether PostgreSQL refuses all that came since the last call."""
        self.refusals.update(
            persisted=self.tally.persisted, quarantined=self.isolator.quarantined
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
            for broker, health in self.sessions_by_broker.items()
        )
        return sorted(stale, key=lambda each: each.age_s, reverse=True)

    def details(self) -> dict[str, Any]:
        """Return the counters and latencies as the status page shows them."""
        writer = self.writer.statistics()
        return {
            "database": {
                "connected": writer.is_connected,
                "last_error": writer.last_error,
            },
            "latency_ms": {
                "slo_p95": self.latency_slo_ms,
                **_milliseconds(self.tally.latency_to_durable()),
                "to_commit": _milliseconds(self.tally.latency_to_commit()),
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
                broker: _feed_details(health)
                for broker, health in self.sessions_by_broker.items()
            },
        }

    def _ticks(self) -> dict[str, Any]:
        processor = self.processor.statistics()
        return {
            "received": processor.received,
            "duplicates": processor.duplicates,
            "late": processor.late,
            "persisted": self.tally.persisted,
            "already_stored": self.tally.already_stored,
            "quarantined": self.isolator.quarantined,
            "spooled": self.spooler.spooled,
            "replayed": self.tally.replayed,
            "lost": self.backlog.losses.total,
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
            "oldest": [msgspec.to_builtins(each) for each in stale[:_SHOWN]],
        }

    def canonical_line(self) -> str:
        """Return the one line a minute that says how the service is doing."""
        processor = self.processor.statistics()
        window = self.tally.latency_to_durable().window.milliseconds()
        return (
            f"received={sum(processor.received.values())}"
            f" persisted={self.tally.persisted.total()}"
            f" duplicates={sum(processor.duplicates.values())}"
            f" already_stored={self.tally.already_stored}"
            f" quarantined={self.isolator.quarantined.total()}"
            f" spooled={self.spooler.spooled} replayed={self.tally.replayed}"
            f" spool_rows={self.spool.size().rows} lost={self.backlog.losses.total}"
            f" p50_ms={window['p50']} p95_ms={window['p95']} p99_ms={window['p99']}"
            f" max_ms={window['max']} backlog={len(self.backlog)}"
            f" backlog_peak={self.backlog.peak} contracts={processor.contracts}"
            f" stale={len(self.stale_contracts())} "
        ) + " ".join(
            f"{session.broker}={session.status}:{session.subscription_count}"
            for session in self.sessions()
        )


def _milliseconds(latency: LatencyStatistics) -> dict[str, Any]:
    return {
        "last_minute": latency.window.milliseconds(),
        "since_start": latency.since_start.milliseconds(),
    }


def _feed_details(health: SessionHealth) -> dict[str, Any]:
    statistics = health.statistics()
    return {
        "frames": statistics.frames,
        "wanted": statistics.wanted,
        "live": statistics.live,
        "without_line": statistics.without_line,
        "warming": statistics.warming,
        "without_greeks": statistics.without_greeks,
        "reconnects": statistics.reconnects,
        "counts": statistics.counts,
    }
