"""What the service knows, in Prometheus' conventions.

Nothing is counted here: each scrape reads the counters that the parts keep anyway, so a
tick costs the same whether anybody scrapes or not.  Labels are ``broker``, ``state``,
``market`` and ``event``, whose values are written in the source; never a contract or an
account, of which there may be any number.

Base units: seconds and bytes.  What describes the process has the names without our prefix
that every Prometheus client gives it.

Source: https://prometheus.io/docs/practices/naming/
"""

from __future__ import annotations

import math
import platform
from collections.abc import Iterator

import psutil
from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from greeks_trio.monitoring.metric_kinds import by_broker, counter, gauge, histogram
from greeks_trio.monitoring.metrics_feeds import contracts, sessions
from greeks_trio.monitoring.metrics_ticks import latencies, ticks
from greeks_trio.monitoring.slo import SloStatistics
from greeks_trio.monitoring.status import ServiceStatus
from greeks_trio.version import program_version
from greeks_trio.waiting import utc_now


def make_registry(status: ServiceStatus) -> CollectorRegistry:
    """Return a registry of its own, which reads the service at each scrape."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(ServiceCollector(status))
    return registry


class ServiceCollector(Collector):
    """Reads one service."""

    def __init__(self, status: ServiceStatus) -> None:
        self._overview = status
        self._process = psutil.Process()
        self._build = {
            "version": program_version(),
            "python": platform.python_version(),
        }

    def collect(self) -> Iterator[Metric]:
        """Yield every metric, as it is at this moment."""
        build = InfoMetricFamily("greeks_build", "Which program this is.")
        build.add_metric([], self._build)
        yield build
        yield from ticks(self._overview)
        yield from latencies(self._overview)
        yield from _slo(self._overview.slo.statistics())
        yield from _slo_ticks(self._overview)
        yield from _buffers(self._overview)
        yield from _spool(self._overview)
        yield from sessions(self._overview.feeds)
        yield from contracts(self._overview)
        yield from _loop_lag(self._overview)
        yield from _process(self._process)


def _slo(slo: SloStatistics) -> Iterator[Metric]:
    yield gauge(
        "greeks_slo_target_seconds", "The bar for receipt to durable.", slo.slo_s
    )
    yield gauge(
        "greeks_slo_p95_seconds",
        "What 95 % of the last minute's ticks stayed below; NaN without a tick.",
        math.nan if slo.p95_s is None else slo.p95_s,
    )
    yield gauge(
        "greeks_slo_breached",
        "Whether the p95 is above the bar, or a tick waits far too long.",
        slo.breached_s is not None,
    )
    yield counter(
        "greeks_slo_breaches", "How often the bar has been breached.", slo.breaches
    )
    yield gauge(
        "greeks_slo_overdue_ticks",
        "Ticks that are not durable and older than the bar.",
        slo.overdue,
    )
    yield gauge(
        "greeks_oldest_undurable_age_seconds",
        "Age of the oldest tick that is not durable, 0 without one.",
        slo.oldest_waiting_s,
    )


def _slo_ticks(status: ServiceStatus) -> Iterator[Metric]:
    slo_s = status.slo.statistics().slo_s
    durable = status.tick_counts.to_durable.by_broker
    brokers = list(status.feeds)
    yield by_broker(
        CounterMetricFamily,
        "greeks_slo_ticks",
        "Ticks that became durable.",
        ((broker, durable[broker].count) for broker in brokers),
    )
    yield by_broker(
        CounterMetricFamily,
        "greeks_slo_slow_ticks",
        "Ticks that became durable later than the bar.",
        ((broker, durable[broker].above(slo_s)) for broker in brokers),
    )


def _buffers(status: ServiceStatus) -> Iterator[Metric]:
    backlog, writer = status.backlog, status.writer.statistics()
    for name, about, value in (
        ("database_up", "Whether the writer has a connection.", writer.is_connected),
        (
            "intake_frames",
            "Frames that were read and wait for the processor.",
            len(status.intake),
        ),
        ("backlog_rows", "Ticks in memory that are not stored.", len(backlog)),
        ("backlog_bytes", "Memory that these take, about.", backlog.bytes),
        (
            "backlog_max_bytes",
            "Where the backlog leaves ticks to the disk, or loses them.",
            backlog.max_bytes,
        ),
        (
            "buffers_max_bytes",
            "Memory that all buffers take at the worst.",
            status.buffers_max_bytes,
        ),
        (
            "journal_entries",
            "Gaps and positions that are not stored.",
            len(status.journal),
        ),
        (
            "quarantine_rows",
            "Refused rows that wait for a person.",
            status.quarantine.waiting(),
        ),
    ):
        yield gauge(f"greeks_{name}", about, value)
    yield counter(
        "greeks_writer_retries", "Flushes and connections that failed.", writer.retries
    )


def _spool(status: ServiceStatus) -> Iterator[Metric]:
    size = status.spool.size()
    for name, about, value in (
        (
            "up",
            "Whether the disk takes and gives ticks.",
            status.spooler.last_error is None,
        ),
        ("rows", "Ticks on disk that may not be stored.", size.rows),
        ("bytes", "What the spool takes on disk.", size.bytes),
        (
            "max_bytes",
            "Where the oldest spooled ticks are dropped.",
            status.spool_max_bytes,
        ),
        (
            "oldest_age_seconds",
            "Age of the oldest tick on disk, 0 without one.",
            0.0
            if size.oldest_at is None
            else (utc_now() - size.oldest_at).total_seconds(),
        ),
    ):
        yield gauge(f"greeks_spool_{name}", about, value)


def _loop_lag(status: ServiceStatus) -> Iterator[Metric]:
    yield histogram(
        "greeks_loop_lag_seconds",
        "How much later than asked for the event loop woke a task.",
        status.loop_lag.buckets,
    )
    window = status.loop_lag.window()
    yield gauge(
        "greeks_loop_lag_max_seconds", "The most of the last minute.", window.max or 0.0
    )


def _process(process: psutil.Process) -> Iterator[Metric]:
    with process.oneshot():
        times = process.cpu_times()
        yield counter(
            "process_cpu_seconds",
            "User and system CPU time spent.",
            times.user + times.system,
        )
        yield gauge(
            "process_resident_memory_bytes",
            "Resident memory size.",
            process.memory_info().rss,
        )
        yield gauge("process_open_fds", "Open file descriptors.", process.num_fds())
        yield gauge(
            "process_start_time_seconds",
            "Start of the process, Unix time.",
            process.create_time(),
        )
