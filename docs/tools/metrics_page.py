"""The page of the figures, from their table."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import yaml

import greeks_trio
from docs.tools.markdown import code, page, table
from greeks_trio.fleet.metrics import FLEET_METRICS
from greeks_trio.monitoring.figures.figure import Figure
from greeks_trio.monitoring.figures.table import FIGURES

_ALERTS: Final = Path(greeks_trio.__file__).parent / "monitoring" / "alerts.yml"

_ABOUT: Final = """\
Each figure has one name. The first table has the metrics of `GET /metrics`; the second one has
the figures that only the status has. "Status" is the path in the answer of
`GET /v1/streaming/status`, where `*` stands for each broker. "Minute line" is the key in the log
line `service.minute`, which has the sum over the brokers. "Alerts" are the rules of
`alerts.yml` that use the metric.

- A counter counts since the start of the service.
- A query adds `_bucket`, `_sum` or `_count` to the name of a histogram. The status and the minute line have its
  percentiles.
- A path that ends with `_ms` has milliseconds.
- The sessions of the status are not in these tables: see [HTTP](http.md).

[Grafana and Prometheus](grafana.md) explains the dashboard and the alerts.
"""


_OF_FLEET: Final = """\
`GET /metrics` of [a fleet](scale.md#many-logins) has the metrics above of all services, each with the label
`service`, and these:
"""


def metrics_page() -> str:
    """Return ``docs/metrics.md``."""
    alerts = _alerts()
    metrics = table(
        (
            "metric",
            "kind",
            "labels",
            "unit",
            "meaning",
            "status",
            "minute line",
            "alerts",
        ),
        (
            (
                code(_name(figure)),
                figure.kind,
                ", ".join(figure.labels),
                _unit(figure),
                figure.about,
                code(figure.status or ""),
                _minute(figure),
                ", ".join(sorted(alerts(figure))),
            )
            for figure in FIGURES
            if figure.samples
        ),
    )
    facts = table(
        ("status", "unit", "meaning", "minute line"),
        (
            (code(figure.status or ""), _unit(figure), figure.about, _minute(figure))
            for figure in FIGURES
            if not figure.samples
        ),
    )
    source = "greeks_trio/monitoring/figures/"
    fleet = table(
        ("metric", "kind", "labels", "meaning"),
        ((code(name), kind, "service", about) for name, kind, about in FLEET_METRICS),
    )
    return page(
        "Metrics",
        source,
        _ABOUT,
        metrics,
        "## Only in the status",
        facts,
        "## Of a fleet",
        _OF_FLEET,
        fleet,
    )


def _name(figure: Figure) -> str:
    """Return the name for a query; of a histogram without the endings."""
    return figure.samples[0] if len(figure.samples) == 1 else figure.metric


def _unit(figure: Figure) -> str:
    if figure.value is bool:
        return "1 or 0" if figure.samples else "true or false"
    return "Unix time" if figure.unit == "timestamp" else figure.unit


def _minute(figure: Figure) -> str:
    keys = (figure.minute,) if isinstance(figure.minute, str) else figure.minute or ()
    return ", ".join(map(code, keys))


def _alerts() -> Callable[[Figure], Iterator[str]]:
    """Return what gives the names of the alert rules that use a figure."""
    groups = yaml.safe_load(_ALERTS.read_text("utf-8"))["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    used = {rule["alert"]: _words(rule["expr"]) for rule in rules}

    def alerts_of(figure: Figure) -> Iterator[str]:
        for alert, words in used.items():
            if not words.isdisjoint(figure.samples):
                yield alert

    return alerts_of


def _words(expression: str) -> set[str]:
    return set(re.findall(r"\w+", expression))
