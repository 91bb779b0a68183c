"""Figures of the ticks: their number and their latencies."""

from __future__ import annotations

from greeks_trio.monitoring.figures.figure import (
    BY_BROKER,
    counter,
    fact,
    gauge,
    histogram,
    tick_counter,
)
from greeks_trio.monitoring.readings import Readings


class TickFigures:
    """Ticks, latencies and the latency SLO."""

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
