"""Parts of the status page, in types that JSON has; times in milliseconds."""

from __future__ import annotations

from typing import Any

from greeks_trio.pipeline.health import SessionHealth
from greeks_trio.pipeline.slo import SloStatistics
from greeks_trio.pipeline.tally import LatencyStatistics


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
        "overdue": slo.waiting,
        "oldest_waiting_ms": round(slo.oldest_waiting_s * 1e3, 3),
        "is_breached": slo.breached_s is not None,
        "breached_s": slo.breached_s,
        "breaches": slo.breaches,
    }


def feed_details(health: SessionHealth) -> dict[str, Any]:
    """Return what one broker's feed has counted."""
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
