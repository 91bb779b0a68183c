"""The metrics of ticks: what has become of them, and how long it took."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric

from greeks_trio.model.records import Broker
from greeks_trio.monitoring.metric_kinds import (
    add_buckets,
    by_broker,
    counter,
    histogram,
)
from greeks_trio.monitoring.status import ServiceStatus

# Name, what it says, and the count of a broker, `None` before the first.
_Row: TypeAlias = tuple[str, str, Callable[[Broker], int | None]]


def ticks(status: ServiceStatus) -> Iterator[Metric]:
    """Yield what has become of the ticks since the start."""
    for name, about, count_of in _counts(status):
        yield by_broker(
            CounterMetricFamily,
            f"greeks_ticks_{name}",
            about,
            # From the start on, so that the first one is an increase.
            ((each, count_of(each) or 0) for each in status.feeds),
        )
    yield counter(
        "greeks_ticks_already_stored",
        "Ticks offered to the table that it had.",
        status.tick_counts.already_stored,
    )


def _counts(status: ServiceStatus) -> Sequence[_Row]:
    processor = status.processor.statistics()
    return (
        ("received", "Ticks that came from the feeds.", processor.received.get),
        (
            "duplicate",
            "Ticks received that had come before.",
            processor.duplicates.get,
        ),
        (
            "late",
            "Ticks received that were older than their contract's newest.",
            processor.late.get,
        ),
        (
            "persisted",
            "Ticks known to be in the table.",
            status.tick_counts.persisted.get,
        ),
        (
            "quarantined",
            "Ticks that PostgreSQL refused, put aside for a person.",
            status.refused_rows.quarantined.get,
        ),
        ("spooled", "Ticks put on disk.", status.spooler.spooled.get),
        (
            "replayed",
            "Ticks that came into the table by way of the disk, earlier runs' too.",
            status.tick_counts.replayed.get,
        ),
        (
            "lost",
            "Ticks that neither the database nor the disk took.",
            status.lost().get,
        ),
    )


def latencies(status: ServiceStatus) -> Iterator[Metric]:
    """Yield the histograms of what a tick has to wait for."""
    brokers, tick_counts = status.feeds, status.tick_counts
    for name, about, counts in (
        (
            "receipt_to_durable",
            "From the reading of a frame to where its ticks are safe: the table or"
            " the disk, whichever was first.",
            tick_counts.to_durable.by_broker,
        ),
        (
            "receipt_to_commit",
            "From the reading of a frame to the commit of its ticks.",
            tick_counts.to_commit.by_broker,
        ),
        (
            "event_age_at_receipt",
            "From the broker's time of an event to its receipt.",
            tick_counts.lag,
        ),
    ):
        family = HistogramMetricFamily(
            f"greeks_{name}_seconds", about, labels=["broker"]
        )
        for broker in brokers:
            add_buckets(family, [broker], counts[broker])
        yield family
    yield histogram("greeks_flush_rows", "Ticks in a flush.", status.writer.flush_rows)
    yield histogram(
        "greeks_flush_duration_seconds",
        "Time that a flush took, commit included.",
        status.writer.flush_s,
    )
