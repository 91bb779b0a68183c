"""Parts of the status page, in types that JSON has; times in milliseconds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from greeks_trio.feeds.health import FeedHealth
from greeks_trio.model.contracts import ContractKey
from greeks_trio.model.records import Broker, UnifiedPositionRecord
from greeks_trio.monitoring.slo import SloStatistics
from greeks_trio.pipeline.tick_counts import LatencyStatistics


def milliseconds(latency: LatencyStatistics) -> dict[str, Any]:
    """Return both windows' percentiles."""
    return {
        "last_minute": latency.window.milliseconds(),
        "since_start": latency.since_start.milliseconds(),
    }


def slo_details(slo: SloStatistics) -> dict[str, Any]:
    """Return how the latency compares with its bar."""
    return {
        "p95_ms": None if slo.p95_s is None else round(slo.p95_s * 1e3, 3),
        "target_ms": slo.slo_s * 1e3,
        "ticks": slo.ticks,
        "overdue": slo.overdue,
        "oldest_waiting_ms": round(slo.oldest_waiting_s * 1e3, 3),
        "is_breached": slo.breached_s is not None,
        "breached_s": slo.breached_s,
        "breaches": slo.breaches,
    }


def feed_details(health: FeedHealth) -> dict[str, Any]:
    """Return what one broker's feed has counted."""
    statistics = health.statistics()
    return {
        "frames": statistics.frames,
        "wanted": statistics.wanted,
        "subscription_count": statistics.subscription_count,
        "without_line": statistics.without_line,
        "warming": statistics.warming,
        "without_greeks": statistics.without_greeks,
        "reconnects": statistics.reconnects,
        "counts": statistics.counts,
    }


def not_realtime_counts(
    newest: Iterable[UnifiedPositionRecord],
    streamed: Mapping[Broker, Collection[ContractKey]],
) -> dict[Broker, int]:
    """Return how many of each broker's contracts have newest Greeks that are not realtime.

    Args:
        newest: The newest tick of each contract in each account.
        streamed: The contracts that are subscribed; no other one counts.
    """
    by_contract: dict[tuple[Broker, ContractKey], UnifiedPositionRecord] = {}
    for record in newest:
        key = (record.broker, record.contract_key)
        kept = by_contract.setdefault(key, record)
        if (kept.event_time, kept.received_at) < (
            record.event_time,
            record.received_at,
        ):
            by_contract[key] = record
    numbers = Counter(
        broker
        for (broker, contract_key), record in by_contract.items()
        if record.availability != "realtime"
        and contract_key in streamed.get(broker, ())
    )
    return {broker: numbers[broker] for broker in streamed}
