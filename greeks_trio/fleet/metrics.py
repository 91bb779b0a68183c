"""The metrics of all services as one text, with the label ``service``.

The lines of a service are taken as they are, apart from the label.  So a figure that a
newer service has is there, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from greeks_trio.fleet.watch import ServiceWatch

_HELP: Final = "# HELP "
_TYPE: Final = "# TYPE "

# Of the fleet itself: (name, kind, meaning).
FLEET_METRICS: Final = (
    (
        "greeks_fleet_service_up",
        "gauge",
        "Whether the service of a fleet has answered this scrape.",
    ),
    (
        "greeks_fleet_service_ready",
        "gauge",
        "Whether the service of a fleet is ready.",
    ),
    (
        "greeks_fleet_service_restarts_total",
        "counter",
        "How often the fleet has started the service again.",
    ),
)


@dataclass(slots=True)
class _Family:
    name: str
    about: str = ""
    kind: str = "untyped"
    lines: list[str] = field(default_factory=list)


def join_metrics(texts: Mapping[str, str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the lines of all services, each family once.

    Args:
        texts: The answer of each service by its name.

    Returns:
        The lines, and (service, family) of each family that was left out, because an
        earlier service has it with another type.
    """
    families: dict[str, _Family] = {}
    left_out = []
    for service, text in texts.items():
        for found in _families(text, service):
            kept = families.setdefault(found.name, found)
            if kept is found:
                continue
            if kept.kind == found.kind:
                kept.lines += found.lines
            else:
                left_out.append((service, found.name))
    return [line for each in families.values() for line in _lines(each)], left_out


def fleet_lines(watches: list[ServiceWatch], answered: Mapping[str, str]) -> list[str]:
    """Return the lines of the metrics of the fleet itself."""
    values = {
        "greeks_fleet_service_up": [
            int(each.member.name in answered) for each in watches
        ],
        "greeks_fleet_service_ready": [int(each.is_ready) for each in watches],
        "greeks_fleet_service_restarts_total": [
            each.member.restarts for each in watches
        ],
    }
    lines = []
    for name, kind, about in FLEET_METRICS:
        lines += [f"{_HELP}{name} {about}", f"{_TYPE}{name} {kind}"]
        for watch, value in zip(watches, values[name], strict=True):
            lines.append(f'{name}{{service="{watch.member.name}"}} {value}')
    return lines


def _families(text: str, service: str) -> Iterator[_Family]:
    """Yield the families of a service's answer, their samples with its name."""
    family = _Family("")
    for line in text.splitlines():
        if line.startswith(_HELP):
            if family.name:
                yield family
            name, _, about = line.removeprefix(_HELP).partition(" ")
            family = _Family(name, about)
        elif line.startswith(_TYPE):
            family.kind = line.rpartition(" ")[2]
        elif line and not line.startswith("#") and family.name:
            family.lines.append(_named(line, service))
    if family.name:
        yield family


def _named(sample: str, service: str) -> str:
    """Return a sample with the name of its service as the first label."""
    head, brace, rest = sample.partition("{")
    # A value has no brace.
    if brace and " " not in head:
        return f'{head}{{service="{service}",{rest}'
    name, _, value = sample.partition(" ")
    return f'{name}{{service="{service}"}} {value}'


def _lines(family: _Family) -> Iterator[str]:
    yield f"{_HELP}{family.name} {family.about}"
    yield f"{_TYPE}{family.name} {family.kind}"
    yield from family.lines
