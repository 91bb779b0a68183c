"""The minute line: one log line a minute with the figures of the service."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from greeks_trio.monitoring.figures.figure import Figure
from greeks_trio.monitoring.figures.table import FIGURES
from greeks_trio.monitoring.readings import Readings


def minute_line(now: Readings) -> str:
    """Return the figures as ``key=value``, and the status of each session at the end."""
    fields = [field for figure in FIGURES for field in _fields(figure, now)]
    fields += [
        f"{session.broker}={session.status}:{session.subscription_count}"
        for session in now.sessions.values()
    ]
    return " ".join(fields)


def _fields(figure: Figure, now: Readings) -> Iterator[str]:
    if isinstance(figure.minute, str):
        yield f"{figure.minute}={_total(figure.read(now))}"
    elif figure.minute is not None and figure.percentiles is not None:
        window = figure.percentiles(now).window.milliseconds()
        for key in figure.minute:
            percentile = key.removesuffix("_ms").rpartition("_")[2]
            yield f"{key}={window[percentile]}"


def _total(value: Any) -> Any:  # noqa: ANN401 - a number, or a table of numbers
    if isinstance(value, Mapping):
        return sum(_total(each) for each in value.values())
    return value
