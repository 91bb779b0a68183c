"""Prometheus' kinds of metrics, made from numbers that somebody else keeps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.utils import floatToGoString

from greeks_trio.pipeline.histograms import BucketCounts

_Family: TypeAlias = type[CounterMetricFamily] | type[GaugeMetricFamily]


def gauge(name: str, about: str, value: float) -> Metric:
    """Return a gauge without labels."""
    return GaugeMetricFamily(name, about, value=value)


def counter(name: str, about: str, value: float) -> Metric:
    """Return a counter without labels; the exposition adds ``_total`` to its name."""
    return CounterMetricFamily(name, about, value=value)


def by_broker(
    family: _Family, name: str, about: str, values: Iterable[tuple[str, float]]
) -> Metric:
    """Return a metric with one value for each broker."""
    metric = family(name, about, labels=["broker"])
    for broker, value in values:
        metric.add_metric([broker], value)
    return metric


def histogram(name: str, about: str, counts: BucketCounts) -> Metric:
    """Return a histogram without labels."""
    family = HistogramMetricFamily(name, about, labels=[])
    add_buckets(family, [], counts)
    return family


def add_buckets(
    family: HistogramMetricFamily, labels: list[str], counts: BucketCounts
) -> None:
    """Add the buckets for these values of the family's labels."""
    buckets = [
        (str(floatToGoString(bound)), number)  # type: ignore[no-untyped-call]
        for bound, number in counts.cumulative()
    ]
    family.add_metric(labels, buckets, counts.sum)
