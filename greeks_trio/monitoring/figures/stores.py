"""Figures of the way to the table: the buffers, the database and the disk."""

from __future__ import annotations

from datetime import datetime

from greeks_trio.monitoring.figures.figure import counter, fact, gauge, histogram
from greeks_trio.monitoring.readings import Readings


class StoreFigures:
    """Buffers, database and disk."""

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
        "Gaps, positions and account values that are not stored yet.",
        lambda now: len(now.status.journal),
        unit="entries",
        status="writer.journal_waiting",
    )

    # Estimates.

    estimated_contracts = gauge(
        "Contracts with an estimate of a Greek after the last round; see GREEKS_ESTIMATES.",
        lambda now: now.status.estimates().estimated,
        unit="contracts",
        status="estimates.estimated_contracts",
    )
    not_estimated_contracts = gauge(
        "Contracts that lack a Greek and have no estimate after the last round. The column "
        "no_estimate_reason has the reasons.",
        lambda now: now.status.estimates().not_estimated,
        unit="contracts",
        status="estimates.not_estimated_contracts",
    )

    # Faults.

    conditions = gauge(
        "Faults of the database, the disk and this machine that there are now, by kind.",
        lambda now: now.status.conditions.counts(),
        labels=("kind",),
        status="conditions",
    )

    part_outages = counter(
        "Unexpected errors that ended a part of the service. The part starts again.",
        lambda now: now.status.outages.counts,
        unit="outages",
        labels=("part",),
    )
    clock_correction = gauge(
        "Seconds that are added to the clock of this machine, because it is wrong.",
        lambda now: now.status.clock.correction_s(),
        unit="seconds",
        value=float,
        status="clock.correction_s",
    )
    clock_difference = gauge(
        "Seconds by which the clock of the database or a broker is ahead of this machine.",
        lambda now: now.status.clock.differences_s(),
        labels=("clock",),
        unit="seconds",
        value=float,
        status="clock.difference_s",
    )

    # The database.

    partitions_ahead = gauge(
        "Months after the present one that have a partition, -1 if the present one has none.",
        lambda now: now.status.partitions and now.status.partitions.months_ahead,
        unit="months",
        status="database.partitions_ahead",
    )
    database_connected = gauge(
        "Whether the writer has a connection to the database.",
        lambda now: now.writer.is_connected,
        value=bool,
        status="database.connected",
    )
    read_lag = gauge(
        "Seconds by which the replica that answers the reads is behind, 0 for the primary.",
        lambda now: now.status.replica.lag_s,
        unit="seconds",
        value=float,
        status="database.read_lag_s",
    )
    database_address = fact(
        "The database of the service, as a URI without the password.",
        lambda now: now.status.database_address(),
        value=str,
        status="database.address",
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
        "Refused rows that wait for the command `quarantine`.",
        lambda now: now.status.quarantine.waiting(),
        unit="rows",
        status="quarantine.waiting",
    )
