"""The figures of ``/v1/streaming/status``: their values, and their description."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from copy import deepcopy
from datetime import datetime
from typing import Any, Final

from greeks_trio.monitoring.figures.figure import Figure
from greeks_trio.monitoring.figures.table import FIGURES
from greeks_trio.monitoring.readings import Readings
from greeks_trio.monitoring.status import ServiceStatus
from greeks_trio.waiting import run_at_once

IN_STATUS: Final = [each for each in FIGURES if each.status is not None]

# The event `slo` of the stream has these.
_OF_LATENCY: Final = [
    each
    for each in IN_STATUS
    if each.status and each.status.split(".")[0] in ("latency_ms", "slo")
]

_TYPES: Final[Mapping[type, str]] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    datetime: "string",
    list: "array",
    dict: "object",
}
_PERCENTILES: Final = {"p50": 1.9, "p95": 2.6, "p99": 4.1, "max": 9.8}
_EXAMPLES: Final[Mapping[type, object]] = {
    bool: False,
    int: 0,
    float: 0.0,
    str: None,
    datetime: None,
    list: [],
    dict: {"last_minute": _PERCENTILES, "since_start": _PERCENTILES},
}
_LABEL_VALUES: Final[Mapping[str, str]] = {
    "disk": "spool",
    "clock": "the database",
    "event": "odd.not-json",
    "exchange": "MEXDER",
    "kind": "journal stuck",
    "market": "equity",
    "stale_reason": "old",
}


def status_json(status: ServiceStatus) -> Generator[None, None, dict[str, Any]]:
    """Return all figures of the status, in types that JSON has; yield after small steps."""
    now = Readings(status)
    yield from now.prepare()
    return (yield from _values(IN_STATUS, now))


def latency_json(status: ServiceStatus) -> dict[str, Any]:
    """Return the latencies and the state of the SLO, in types that JSON has."""
    return run_at_once(_values(_OF_LATENCY, Readings(status)))


def status_example(broker: str) -> dict[str, Any]:
    """Return the figures of an idle service with one broker."""
    label_values = {**_LABEL_VALUES, "broker": broker}
    document: dict[str, Any] = {}
    for figure in IN_STATUS:
        value = deepcopy(_EXAMPLES[figure.value])
        if not (figure.is_sum_in_status or figure.percentiles):
            for label in reversed(figure.labels):
                value = {label_values[label]: value}
        put(document, figure, value)
    return document


def status_schema() -> dict[str, Any]:
    """Return the JSON schema of every key of the status, with each figure's meaning."""
    schema: dict[str, Any] = {}
    for figure in IN_STATUS:
        described: dict[str, Any] = {"description": figure.about}
        # The first label of a path with a star is the key above.
        labels = figure.labels["*" in _path(figure) :]
        is_object = labels and not figure.is_sum_in_status
        described["type"] = ["object" if is_object else _TYPES[figure.value], "null"]
        _describe(schema, _path(figure), described)
    return schema


def put(document: dict[str, Any], figure: Figure, value: object) -> None:
    """Put a figure's value where the status has it."""
    _put(document, _path(figure), value)


def find(document: object, figure: Figure) -> object:
    """Return a figure's value in a status, `None` where the status does not have it.

    Where the path has a ``*``, a mapping from the brokers to their values.
    """
    return _find(document, _path(figure))


def _path(figure: Figure) -> list[str]:
    return (figure.status or "").split(".")


def _values(
    figures: Iterable[Figure], now: Readings
) -> Generator[None, None, dict[str, Any]]:
    document: dict[str, Any] = {}
    for figure in figures:
        put(document, figure, _value(figure, now))
        yield
    return document


def _value(figure: Figure, now: Readings) -> object:
    if figure.percentiles is not None:
        latency = figure.percentiles(now)
        return {
            "last_minute": latency.window.milliseconds(),
            "since_start": latency.since_start.milliseconds(),
        }
    value = figure.read(now)
    if figure.is_sum_in_status and isinstance(value, Mapping):
        return sum(value.values())
    if isinstance(value, float) and _path(figure)[-1].endswith("_ms"):
        return round(value * 1e3, 3)
    return value


def _put(node: dict[str, Any], path: list[str], value: object) -> None:
    """Put a value into nested objects; a ``*`` takes one part of it for each broker."""
    key, *rest = path
    if key == "*" and isinstance(value, Mapping):
        for broker, each in value.items():
            _put(node.setdefault(broker, {}), rest, each)
    elif rest:
        _put(node.setdefault(key, {}), rest, value)
    elif isinstance(value, dict) and isinstance(node.get(key), dict):
        node[key].update(value)
    else:
        node[key] = value


def _find(node: object, path: list[str]) -> object:
    if not path or not isinstance(node, Mapping):
        return node if not path else None
    key, *rest = path
    if key == "*":
        return {broker: _find(each, rest) for broker, each in node.items()}
    return _find(node.get(key), rest)


def _describe(
    properties: dict[str, Any], path: list[str], described: dict[str, Any]
) -> None:
    key, *rest = path
    if not rest:
        properties.setdefault(key, {}).update(described)
        return
    node = properties.setdefault(key, {"type": "object"})
    if rest[0] == "*":
        node = node.setdefault("additionalProperties", {"type": "object"})
        rest = rest[1:]
    _describe(node.setdefault("properties", {}), rest, described)
