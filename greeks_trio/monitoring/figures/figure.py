"""One figure of the table, and the places where it appears.

A figure has one name.  Its name in Prometheus follows from that name and the unit, and its
path in the status and its key in the minute line end with the same words.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from greeks_trio.feeds.feed_statistics import FeedStatistics
from greeks_trio.monitoring.readings import Readings, of_feeds
from greeks_trio.pipeline.tick_counts import LatencyStatistics

Kind: TypeAlias = Literal["counter", "gauge", "histogram", "info", "fact"]
Read: TypeAlias = Callable[[Readings], Any]

BY_BROKER: Final = ("broker",)

# The endings that Prometheus adds to the name of a metric, by its kind.
_SAMPLES: Final[dict[Kind, tuple[str, ...]]] = {
    "counter": ("_total",),
    "gauge": ("",),
    "histogram": ("_bucket", "_sum", "_count"),
    "info": ("_info",),
    "fact": (),
}


@dataclass(slots=True, eq=False, kw_only=True)
class Figure:
    """One figure of the service.

    Attributes:
        about: Its meaning, one or more sentences.
        read: Returns its value.  With labels the value is a mapping from the first label's
            values; a second label makes a mapping of mappings.
        kind: ``fact`` is a figure that is no metric and appears in the status only.
        value: The type of one value.
        unit: In the plural.  Prometheus gets ``seconds`` and ``bytes``; a path of the
            status that ends with ``_ms`` gets milliseconds.
        labels: The names of the labels in Prometheus.
        status: Where it is in the status: keys with dots between them; ``*`` stands for
            each broker.
        is_sum_in_status: Whether the status has the sum over the brokers.
        minute: Its key in the minute line, which has the sum over the brokers.  Of a
            histogram a key for each percentile.
        percentiles: Returns the percentiles of a histogram for status and minute line.
        metric_name: The name in Prometheus where it does not follow from ``name``.
        name: The attribute of the table that has the figure.
    """

    about: str
    read: Read
    kind: Kind
    value: type = int
    unit: str = ""
    labels: tuple[str, ...] = ()
    status: str | None = None
    is_sum_in_status: bool = False
    minute: str | tuple[str, ...] | None = None
    percentiles: Callable[[Readings], LatencyStatistics] | None = None
    metric_name: str | None = None
    name: str = ""

    def __set_name__(self, _owner: type, name: str) -> None:
        """Take the name from the table."""
        self.name = name

    @property
    def metric(self) -> str:
        """Return the name of the metric, without the endings of its samples."""
        if self.metric_name is not None:
            return self.metric_name
        name, unit = self.name, self.unit
        if unit == "timestamp":
            name = f"{name.removesuffix('_at')}_timestamp_seconds"
        elif unit in ("seconds", "bytes") and not name.endswith(f"_{unit}"):
            name = f"{name}_{unit}"
        return name if name.startswith("process_") else f"greeks_{name}"

    @property
    def samples(self) -> tuple[str, ...]:
        """Return the names that a query may use; none for a figure that is no metric."""
        return tuple(f"{self.metric}{ending}" for ending in _SAMPLES[self.kind])


def counter(
    about: str,
    read: Read,
    *,
    unit: str = "",
    labels: tuple[str, ...] = (),
    status: str | None = None,
    is_sum_in_status: bool = False,
    minute: str | None = None,
) -> Figure:
    """Return a figure that only grows while the service runs."""
    return Figure(
        about=about,
        read=read,
        kind="counter",
        value=float if unit == "seconds" else int,
        unit=unit,
        labels=labels,
        status=status,
        is_sum_in_status=is_sum_in_status,
        minute=minute,
    )


def gauge(
    about: str,
    read: Read,
    *,
    unit: str = "",
    value: type | None = None,
    labels: tuple[str, ...] = (),
    status: str | None = None,
    minute: str | None = None,
    metric_name: str | None = None,
) -> Figure:
    """Return a figure that grows and shrinks; ``value`` is `float` for seconds."""
    return Figure(
        about=about,
        read=read,
        kind="gauge",
        value=value or (float if unit == "seconds" else int),
        unit=unit,
        labels=labels,
        status=status,
        minute=minute,
        metric_name=metric_name,
    )


def histogram(
    about: str,
    read: Read,
    *,
    unit: str,
    labels: tuple[str, ...] = (),
    percentiles: Callable[[Readings], LatencyStatistics] | None = None,
    status: str | None = None,
    minute: tuple[str, ...] | None = None,
) -> Figure:
    """Return a figure of which Prometheus gets buckets, and people get percentiles."""
    return Figure(
        about=about,
        read=read,
        kind="histogram",
        value=dict,
        unit=unit,
        labels=labels,
        percentiles=percentiles,
        status=status,
        minute=minute,
    )


def fact(
    about: str,
    read: Read,
    *,
    status: str,
    value: type = int,
    unit: str = "",
    minute: str | None = None,
) -> Figure:
    """Return a figure that is no metric."""
    return Figure(
        about=about,
        read=read,
        kind="fact",
        value=value,
        unit=unit,
        status=status,
        minute=minute,
    )


def tick_counter(
    about: str,
    read: Read,
    status: str | None = None,
    minute: str | None = None,
    *,
    is_sum_in_status: bool = False,
) -> Figure:
    """Return a counter of ticks by broker."""
    return counter(
        about,
        read,
        unit="ticks",
        labels=BY_BROKER,
        status=status,
        minute=minute,
        is_sum_in_status=is_sum_in_status,
    )


def contract_gauge(
    about: str,
    read: Callable[[FeedStatistics], int],
    status: str,
    metric_name: str | None = None,
) -> Figure:
    """Return a number of contracts of each feed."""
    return gauge(
        about,
        of_feeds(read),
        unit="contracts",
        labels=BY_BROKER,
        status=status,
        metric_name=metric_name,
    )
