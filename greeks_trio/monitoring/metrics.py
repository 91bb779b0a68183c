"""The figures in Prometheus' conventions.

Nothing is counted here: each scrape reads the counters that the parts keep anyway.  So a
tick costs the same with and without a scraper.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.utils import floatToGoString

from greeks_trio.model.records import Broker
from greeks_trio.monitoring.figures.figure import BY_BROKER, Figure
from greeks_trio.monitoring.figures.table import METRICS
from greeks_trio.monitoring.readings import Readings
from greeks_trio.monitoring.status import ServiceStatus
from greeks_trio.pipeline.histograms import BucketCounts

_Family: TypeAlias = CounterMetricFamily | GaugeMetricFamily
# A number, or for labels a mapping from the values of the first label.
_Number: TypeAlias = float | datetime | None
_Numbers: TypeAlias = _Number | Mapping[str, Any]
_Histograms: TypeAlias = BucketCounts | Mapping[str, BucketCounts]


def read_metrics(status: ServiceStatus) -> Iterator[Metric | None]:
    """Yield every metric with its present values, and `None` after each other small step."""
    now = Readings(status)
    yield from now.prepare()
    brokers = list(status.feeds)
    with now.process.oneshot():
        for figure in METRICS:
            yield _metric(figure, now, brokers)


def _metric(figure: Figure, now: Readings, brokers: Sequence[Broker]) -> Metric:
    value = figure.read(now)
    match figure.kind:
        case "histogram":
            return _histogram(figure, value, brokers)
        case "info":
            info = InfoMetricFamily(figure.metric, figure.about)
            info.add_metric([], value)
            return info
        case "counter":
            if figure.labels == BY_BROKER:
                # From 0 on, so that the first tick is an increase.
                value = {broker: value.get(broker, 0) for broker in brokers}
            return _numbers(CounterMetricFamily, figure, value)
        case _:
            return _numbers(GaugeMetricFamily, figure, value)


def _numbers(family: type[_Family], figure: Figure, value: _Numbers) -> Metric:
    metric = family(figure.metric, figure.about, labels=figure.labels)
    for labels, number in _samples(value):
        if number is not None:
            if isinstance(number, datetime):
                number = number.timestamp()
            metric.add_metric(labels, number)
        elif not labels:
            metric.add_metric([], math.nan)
    return metric


def _samples(value: _Numbers, *labels: str) -> Iterator[tuple[list[str], _Number]]:
    """Yield each number of nested mappings with the values of its labels."""
    if isinstance(value, Mapping):
        for label, each in value.items():
            yield from _samples(each, *labels, label)
    else:
        yield list(labels), value


def _histogram(figure: Figure, value: _Histograms, brokers: Sequence[Broker]) -> Metric:
    family = HistogramMetricFamily(figure.metric, figure.about, labels=figure.labels)
    if isinstance(value, BucketCounts):
        _add_buckets(family, [], value)
    else:
        for broker in brokers:
            _add_buckets(family, [broker], value[broker])
    return family


def _add_buckets(
    family: HistogramMetricFamily, labels: list[str], counts: BucketCounts
) -> None:
    buckets = [
        (str(floatToGoString(bound)), number)  # type: ignore[no-untyped-call]
        for bound, number in counts.cumulative()
    ]
    family.add_metric(labels, buckets, counts.sum)
