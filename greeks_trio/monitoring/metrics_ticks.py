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
from greeks_trio.monitoring.status import Overview

# Name, what it says, and the count of a broker, `None` before the first.
_Row: TypeAlias = tuple[str, str, Callable[[Broker], int | None]]


def ticks(overview: Overview) -> Iterator[Metric]:
    """Yield what has become of the ticks since the start."""
    for name, about, count_of in _counts(overview):
        yield by_broker(
            CounterMetricFamily,
            f"greeks_ticks_{name}",
            about,
            # From the start on, so that the first one is an increase.
            ((each, count_of(each) or 0) for each in overview.sessions_by_broker),
        )
    yield counter(
        "greeks_ticks_already_stored",
        "Ticks offered to the table that it had.",
        overview.tally.already_stored,
    )


def _counts(overview: Overview) -> Sequence[_Row]:
    processor = overview.processor.statistics()
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
            overview.tally.persisted.get,
        ),
        (
            "quarantined",
            "Ticks that PostgreSQL refused, put aside for a person.",
            overview.isolator.quarantined.get,
        ),
        ("spooled", "Ticks put on disk.", overview.spooler.spooled.get),
        (
            "replayed",
            "Ticks that came into the table by way of the disk, earlier runs' too.",
            overview.tally.replayed.get,
        ),
        (
            "lost",
            "Ticks that neither the database nor the disk took.",
            overview.lost().get,
        ),
    )


def latencies(overview: Overview) -> Iterator[Metric]:
    """Yield the histograms of what a tick has to wait for."""
    brokers, tally = overview.sessions_by_broker, overview.tally
    for name, about, counts in (
        (
            "receipt_to_durable",
            "From the reading of a frame to where its ticks are safe: the table or"
            " the disk, whichever was first.",
            tally.to_durable.by_broker,
        ),
        (
            "receipt_to_commit",
            "From the reading of a frame to the commit of its ticks.",
            tally.to_commit.by_broker,
        ),
        (
            "event_age_at_receipt",
            "From the broker's time of an event to its receipt.",
            tally.lag,
        ),
    ):
        family = HistogramMetricFamily(
            f"greeks_{name}_seconds", about, labels=["broker"]
        )
        for broker in brokers:
            add_buckets(family, [broker], counts[broker])
        yield family
    yield histogram(
        "greeks_flush_rows", "Ticks in a flush.", overview.writer.flush_rows
    )
    yield histogram(
        "greeks_flush_duration_seconds",
        "Time that a flush took, commit included.",
        overview.writer.flush_s,
    )
