"""The table of figures: every number that the service shows of itself, declared once.

The status in JSON, the metrics of Prometheus, the minute line and the table of the `status`
command are made from it; the dashboard, the alert rules and the documents are compared with
it.  To add a figure, add an attribute here.

- The name of a figure is the name of its attribute.  The path in the status and the key in
  the minute line end with the same words.
- A counter counts since the start of the service.
- Labels have few values, which are written in the source.  A contract or an account is
  never a label, because there may be any number of them.
- Figures of the process have the names that every Prometheus client gives them.

Source of the rules for names: https://prometheus.io/docs/practices/naming/
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final, get_args

import msgspec

from greeks_trio.model.records import SessionStatus
from greeks_trio.monitoring.figure import (
    BY_BROKER,
    Figure,
    contract_gauge,
    counter,
    fact,
    gauge,
    histogram,
    tick_counter,
)
from greeks_trio.monitoring.readings import Readings, of_feeds, of_healths, of_sessions

# The status lists the contracts without ticks for the longest time.
_LISTED: Final = 20


def _one_of(status: SessionStatus) -> Mapping[str, bool]:
    return {each: each == status for each in get_args(SessionStatus)}


class Figures:
    """The table."""

    build = Figure(
        about="The versions of the program and of Python.",
        read=Readings.build,
        kind="info",
        labels=("version", "python"),
    )

    # Ticks.

    ticks_received = tick_counter(
        "Ticks received from the feeds.",
        lambda now: now.processor.received,
        status="ticks.received",
        minute="received",
    )
    ticks_duplicates = tick_counter(
        "Ticks received a second time; they are not stored again.",
        lambda now: now.processor.duplicates,
        status="ticks.duplicates",
        minute="duplicates",
    )
    ticks_late = tick_counter(
        "Ticks received after a newer tick of their contract.",
        lambda now: now.processor.late,
        status="ticks.late",
    )
    ticks_persisted = tick_counter(
        "Ticks that are in the table.",
        lambda now: now.status.tick_counts.persisted,
        status="ticks.persisted",
        minute="persisted",
    )
    ticks_already_stored = counter(
        "Ticks offered to the table that the table had.",
        lambda now: now.status.tick_counts.already_stored,
        unit="ticks",
        status="ticks.already_stored",
        minute="already_stored",
    )
    ticks_quarantined = tick_counter(
        "Ticks that PostgreSQL refused and that went to the quarantine.",
        lambda now: now.status.refused_rows.quarantined,
        status="ticks.quarantined",
        minute="quarantined",
    )
    ticks_spooled = tick_counter(
        "Ticks written to the spool on disk.",
        lambda now: now.status.spooler.spooled,
        status="ticks.spooled",
        minute="spooled",
    )
    ticks_replayed = tick_counter(
        "Ticks stored in the table from the spool, ticks of earlier runs too.",
        lambda now: now.status.tick_counts.replayed,
        status="ticks.replayed",
        minute="replayed",
    )
    ticks_lost = tick_counter(
        "Ticks that neither the database nor the disk took.",
        lambda now: now.lost,
        status="ticks.lost",
        is_sum_in_status=True,
        minute="lost",
    )
    ticks_durable = tick_counter(
        "Ticks that became durable: in the table or on disk.",
        lambda now: now.durable(lambda buckets: buckets.count),
    )
    ticks_slow = tick_counter(
        "Ticks that became durable later than the target of the latency SLO.",
        lambda now: now.durable(lambda buckets: buckets.above(now.slo.target_s)),
    )

    # Latencies.

    latency_to_durable = histogram(
        "Time from the reading of a frame until its ticks are durable: in the table or on"
        " disk, whichever is first.",
        lambda now: now.status.tick_counts.to_durable.by_broker,
        unit="seconds",
        labels=BY_BROKER,
        percentiles=lambda now: now.status.tick_counts.latency_to_durable(),
        status="latency_ms",
        minute=("p50_ms", "p95_ms", "p99_ms", "max_ms"),
    )
    latency_to_commit = histogram(
        "Time from the reading of a frame until its ticks are committed to the table,"
        " without ticks that were replayed.",
        lambda now: now.status.tick_counts.to_commit.by_broker,
        unit="seconds",
        labels=BY_BROKER,
        percentiles=lambda now: now.status.tick_counts.latency_to_commit(),
        status="latency_ms.to_commit",
    )
    event_age = histogram(
        "Time from the broker's time of an event until its receipt.",
        lambda now: now.status.tick_counts.event_age,
        unit="seconds",
        labels=BY_BROKER,
    )
    loop_lag = histogram(
        "Delay with which the event loop wakes a task.",
        lambda now: now.status.loop_lag.buckets,
        unit="seconds",
        percentiles=Readings.loop_lag,
        status="loop_lag_ms",
        minute=("loop_p99_ms", "loop_max_ms"),
    )
    loop_lag_max = gauge(
        "Longest delay of the event loop in the last minute.",
        lambda now: now.status.loop_lag.window().max or 0.0,
        unit="seconds",
    )

    # The latency SLO: `GREEKS_LATENCY_SLO_MS`.

    slo_target = gauge(
        "Target of the latency SLO: the p95 of the latency to durable stays below it.",
        lambda now: now.slo.target_s,
        unit="seconds",
        status="slo.target_ms",
    )
    slo_p95 = gauge(
        "p95 of the latency to durable in the last minute, with the ticks that are overdue."
        " Without a tick NaN, in the status null.",
        lambda now: now.slo.p95_s,
        unit="seconds",
        status="slo.p95_ms",
    )
    slo_ticks = fact(
        "Number of ticks in the p95.",
        lambda now: now.slo.ticks,
        unit="ticks",
        status="slo.ticks",
    )
    slo_overdue = gauge(
        "Ticks that are not durable and older than the target of the latency SLO.",
        lambda now: now.slo.overdue,
        unit="ticks",
        status="slo.overdue",
    )
    slo_oldest_undurable_age = gauge(
        "Age of the oldest tick that is not durable, 0 without one.",
        lambda now: now.slo.oldest_undurable_age_s,
        unit="seconds",
        status="slo.oldest_undurable_age_ms",
    )
    slo_is_breached = gauge(
        "Whether the latency SLO is breached: the p95 is above the target, or a tick is more"
        " than 5 s overdue.",
        lambda now: now.slo.is_breached,
        value=bool,
        status="slo.is_breached",
    )
    slo_breached = fact(
        "Time since the breach of the latency SLO began, null without a breach.",
        lambda now: now.slo.breached_s,
        value=float,
        unit="seconds",
        status="slo.breached_s",
    )
    slo_breaches = counter(
        "Breaches of the latency SLO.",
        lambda now: now.slo.breaches,
        unit="breaches",
        status="slo.breaches",
    )

    # On the way to the table.

    intake_waiting = gauge(
        "Frames that were read and wait for the processor.",
        lambda now: len(now.status.intake),
        unit="frames",
    )
    backlog = gauge(
        "Ticks in memory that are not stored yet.",
        lambda now: len(now.status.backlog),
        unit="ticks",
        status="writer.backlog",
        minute="backlog",
    )
    backlog_peak = fact(
        "Most ticks that the backlog has had.",
        lambda now: now.status.backlog.peak,
        unit="ticks",
        status="writer.backlog_peak",
        minute="backlog_peak",
    )
    backlog_bytes = gauge(
        "Memory of the ticks in the backlog, an estimate.",
        lambda now: now.status.backlog.bytes,
        unit="bytes",
        status="memory.backlog_bytes",
    )
    backlog_max_bytes = gauge(
        "Bound of the backlog. Ticks beyond it go to the disk, or are lost.",
        lambda now: now.status.backlog.max_bytes,
        unit="bytes",
        status="memory.backlog_max_bytes",
    )
    buffers_max_bytes = gauge(
        "Most memory that all buffers together can take.",
        lambda now: now.status.buffers_max_bytes,
        unit="bytes",
        status="memory.buffers_max_bytes",
    )
    journal_waiting = gauge(
        "Gaps and positions that are not stored yet.",
        lambda now: len(now.status.journal),
        unit="entries",
        status="writer.journal_waiting",
    )

    # The database.

    database_connected = gauge(
        "Whether the writer has a connection to the database.",
        lambda now: now.writer.is_connected,
        value=bool,
        status="database.connected",
    )
    database_last_error = fact(
        "Why the writer's last attempt failed.",
        lambda now: now.writer.last_error,
        value=str,
        status="database.last_error",
    )
    flush_rows = histogram(
        "Ticks in one flush.", lambda now: now.status.writer.flush_rows, unit="ticks"
    )
    flush_duration = histogram(
        "Duration of a flush with its commit.",
        lambda now: now.status.writer.flush_s,
        unit="seconds",
    )
    writer_flushes = fact(
        "Flushes that were committed.",
        lambda now: now.writer.flushes,
        unit="flushes",
        status="writer.flushes",
    )
    writer_retries = counter(
        "Flushes and connections that failed.",
        lambda now: now.writer.retries,
        unit="retries",
        status="writer.retries",
    )
    writer_largest_flush = fact(
        "Most ticks in one flush.",
        lambda now: now.writer.largest_flush,
        unit="ticks",
        status="writer.largest_flush",
    )

    # The disk.

    spool_up = gauge(
        "Whether the disk takes and gives ticks.",
        lambda now: now.status.spooler.last_error is None,
        value=bool,
    )
    spool_last_error = fact(
        "Why the last access to the spool failed, null after a success.",
        lambda now: now.status.spooler.last_error,
        value=str,
        status="spool.last_error",
    )
    spool_entries = fact(
        "Entries of the spool: ticks that were written together.",
        lambda now: now.spool.entries,
        unit="entries",
        status="spool.entries",
    )
    spool_rows = gauge(
        "Ticks in the spool. They may be in the table already.",
        lambda now: now.spool.rows,
        unit="ticks",
        status="spool.rows",
        minute="spool_rows",
    )
    spool_bytes = gauge(
        "Size of the spool on disk.",
        lambda now: now.spool.bytes,
        unit="bytes",
        status="spool.bytes",
    )
    spool_max_bytes = gauge(
        "Bound of the spool. Beyond it the oldest ticks are dropped.",
        lambda now: now.status.spool_max_bytes,
        unit="bytes",
        status="spool.max_bytes",
    )
    spool_oldest = fact(
        "When the oldest tick in the spool was received, null without one.",
        lambda now: now.spool.oldest_at,
        value=datetime,
        status="spool.oldest_at",
    )
    spool_oldest_age = gauge(
        "Age of the oldest tick in the spool, 0 without one.",
        Readings.spool_oldest_age_s,
        unit="seconds",
    )
    spool_replaying = fact(
        "Whether ticks of the spool are being stored in the table.",
        lambda now: now.writer.is_connected and now.status.spooler.has_more_to_replay,
        value=bool,
        status="spool.replaying",
    )
    quarantine_waiting = gauge(
        "Refused rows that wait for `bin/run-ingest quarantine`.",
        lambda now: now.status.quarantine.waiting(),
        unit="rows",
        status="quarantine.waiting",
    )

    # Contracts.

    contracts = fact(
        "Contracts with a tick so far, once for each account.",
        lambda now: now.processor.contracts,
        unit="contracts",
        status="contracts",
        minute="contracts",
    )
    contracts_stale = gauge(
        "Subscribed contracts without a tick for longer than the limit.",
        Readings.stale_counts,
        unit="contracts",
        labels=BY_BROKER,
        status="staleness.stale",
        minute="stale",
    )
    contracts_not_realtime = gauge(
        "Subscribed contracts whose newest tick is delayed, frozen or of unknown"
        " availability. The SQL views call them stale, however recent they are.",
        Readings.not_realtime,
        unit="contracts",
        labels=BY_BROKER,
        status="staleness.not_realtime",
    )
    contracts_stale_after = gauge(
        "The age from which a contract without a tick is stale.",
        lambda now: now.status.stale_after_s,
        unit="seconds",
        status="staleness.after_s",
    )
    contracts_oldest = fact(
        f"The {_LISTED} contracts without a tick for the longest time.",
        lambda now: [msgspec.to_builtins(each) for each in now.stale[:_LISTED]],
        value=list,
        unit="contracts",
        status="staleness.oldest",
    )
    markets_open = gauge(
        "Whether a market trades now.",
        Readings.markets_open,
        value=bool,
        labels=("market",),
        status="staleness.markets_open",
    )

    # Feeds.  The status has the sessions too: see `StreamSession`.

    session_status = gauge(
        "1 for the status of a broker's session, 0 for every other status.",
        of_sessions(lambda session: _one_of(session.status)),
        value=bool,
        labels=("broker", "status"),
    )
    session_last_message_at = gauge(
        "Time of the last frame of any kind, absent before the first one.",
        of_sessions(lambda session: session.last_message_at),
        unit="timestamp",
        labels=BY_BROKER,
    )
    feed_stopped_by_request = gauge(
        "Whether the feed was stopped by a request.",
        of_healths(lambda health: health.is_stopped),
        value=bool,
        labels=BY_BROKER,
    )
    feed_frames = counter(
        "Frames read, of every kind.",
        of_feeds(lambda feed: feed.frames),
        unit="frames",
        labels=BY_BROKER,
        status="feeds.*.frames",
    )
    feed_reconnects = counter(
        "Connections after the first one.",
        of_feeds(lambda feed: feed.reconnects),
        unit="connections",
        labels=BY_BROKER,
        status="feeds.*.reconnects",
    )
    feed_counts = counter(
        "How often each named event happened in a feed, for example odd.not-json.",
        of_feeds(lambda feed: dict(sorted(feed.counts.items()))),
        unit="events",
        labels=("broker", "event"),
        status="feeds.*.counts",
    )
    subscriptions_wanted = contract_gauge(
        "Contracts that should be subscribed.",
        lambda feed: feed.wanted,
        status="feeds.*.wanted",
    )
    # Prometheus keeps the ending `_count` for histograms.
    subscription_count = contract_gauge(
        "Contracts that are subscribed on this connection.",
        lambda feed: feed.subscription_count,
        status="feeds.*.subscription_count",
        metric_name="greeks_subscriptions",
    )
    subscriptions_without_line = contract_gauge(
        "Contracts without a subscription because of the broker's limit.",
        lambda feed: feed.without_line,
        status="feeds.*.without_line",
    )
    subscriptions_warming = contract_gauge(
        "Subscribed contracts without Greeks so far that may still bring some.",
        lambda feed: feed.warming,
        status="feeds.*.warming",
    )
    subscriptions_without_greeks = contract_gauge(
        "Subscribed contracts that should have brought Greeks and have not.",
        lambda feed: feed.without_greeks,
        status="feeds.*.without_greeks",
    )

    # The process.

    process_cpu = counter("User and system CPU time.", Readings.cpu_s, unit="seconds")
    process_resident_memory_bytes = gauge(
        "Resident memory.",
        lambda now: now.process.memory_info().rss,
        unit="bytes",
        status="memory.resident_bytes",
    )
    process_open_fds = gauge(
        "Open file descriptors.", lambda now: now.process.num_fds(), unit="files"
    )
    process_start_time = gauge(
        "Start of the process, Unix time.",
        lambda now: now.process.create_time(),
        unit="seconds",
    )


FIGURES: Final = [each for each in vars(Figures).values() if isinstance(each, Figure)]
METRICS: Final = [each for each in FIGURES if each.kind != "fact"]
