"""Output of a drill: a line for each fault, tables at the end, or one JSON object."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from greeks_trio.drill.explanations import ComparisonResult
from greeks_trio.drill.resources import RESOURCES, ResourceSample, slopes
from greeks_trio.drill.schedule import KINDS, PlannedFault
from greeks_trio.drill.two_services import TwoServices
from greeks_trio.model.records import Broker


@dataclass(slots=True)
class HappenedFault:
    """A fault of the schedule as it happened, in seconds of `time.monotonic`.

    Attributes:
        interrupted: Brokers whose feed it interrupted.
        recovery_s: Time from its end until all flowed again; `None` if it did not.
    """

    plan: PlannedFault
    began_at: float
    ended_at: float
    interrupted: tuple[Broker, ...] = ()
    recovery_s: float | None = None


class Recovery(msgspec.Struct, frozen=True):
    """Recovery times of one kind of fault, in seconds."""

    n: int
    p50: float | None
    p95: float | None
    max: float | None


def recoveries(faults: Iterable[HappenedFault]) -> dict[str, Recovery]:
    """Return the recovery times by kind, in alphabetical order."""
    by_kind: dict[str, list[float]] = {}
    for fault in faults:
        times = by_kind.setdefault(fault.plan.kind, [])
        if fault.recovery_s is not None:
            times.append(fault.recovery_s)
    return {kind: _recovery(sorted(by_kind[kind])) for kind in sorted(by_kind)}


def result(
    *,
    seed: int,
    minutes: float,
    faults: Sequence[HappenedFault],
    started_at: float,
    comparison: ComparisonResult,
    two: TwoServices | None,
    peak_memory_mb: float,
    resources: Sequence[ResourceSample],
    ok: bool,
) -> dict[str, Any]:
    """Return the object that ``--json`` prints."""
    found = msgspec.to_builtins(comparison)
    examples = found.pop("examples")
    found_of_two = None if two is None else msgspec.to_builtins(two)
    if found_of_two is not None:
        examples += found_of_two.pop("examples")
    return {
        "seed": seed,
        "minutes": minutes,
        "kills": sum(KINDS[fault.plan.kind].is_kill for fault in faults),
        "faults": [_fault(fault, started_at) for fault in faults],
        "recovery_s": msgspec.to_builtins(recoveries(faults)),
        **found,
        "two_services": found_of_two,
        "peak_memory_mb": round(peak_memory_mb, 1),
        "resources": msgspec.to_builtins(resources),
        "resources_an_hour": slopes(resources),
        "ok": ok,
        "examples": examples,
    }


def line(fault: HappenedFault, started_at: float) -> str:
    """Return the line about a fault that is over."""
    plan = fault.plan
    where = f" at {plan.broker}" if plan.broker else ""
    recovered = (
        "NOT RECOVERED"
        if fault.recovery_s is None
        else f"recovered after {fault.recovery_s:.2f} s"
    )
    return (
        f"{fault.began_at - started_at:8.1f} s  {plan.number:3d} {plan.kind}{where}"
        f" for {fault.ended_at - fault.began_at:.1f} s, {recovered}"
    )


def print_result(result: dict[str, Any], *, as_json: bool) -> None:
    """Print the tables, and the JSON object if wanted."""
    out = sys.stderr if as_json else sys.stdout
    # A file or a pipe has no width to which lines must be cut.
    width = None if out.isatty() else 120
    console = Console(file=out, highlight=False, markup=False, width=width)
    console.print(_recovery_table(result))
    console.print(_resources_table(result))
    console.print(_comparison_table(result))
    if result["two_services"] is not None:
        console.print(_two_services_table(result["two_services"]))
    for example in result["examples"]:
        console.print(example, soft_wrap=True)
    if as_json:
        print_json(result)


def print_json(value: dict[str, Any]) -> None:
    """Print one line of JSON on stdout."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def _fault(fault: HappenedFault, started_at: float) -> dict[str, Any]:
    return {
        "number": fault.plan.number,
        "kind": fault.plan.kind,
        "broker": fault.plan.broker,
        "at_s": round(fault.began_at - started_at, 3),
        "seconds": round(fault.ended_at - fault.began_at, 3),
        "interrupted": list(fault.interrupted),
        "recovery_s": fault.recovery_s and round(fault.recovery_s, 3),
    }


def _recovery(times: Sequence[float]) -> Recovery:
    def at(share: float) -> float | None:
        if not times:
            return None
        return round(times[max(0, math.ceil(share * len(times)) - 1)], 3)

    return Recovery(len(times), at(0.5), at(0.95), at(1.0))


def _recovery_table(result: dict[str, Any]) -> Table:
    table = Table(
        title="Faults, and seconds until recovery",
        title_justify="left",
        box=SIMPLE,
    )
    table.add_column("fault")
    for name in ("faults", "recovered", "p50", "p95", "max"):
        table.add_column(name, justify="right")
    for kind, times in result["recovery_s"].items():
        number = sum(fault["kind"] == kind for fault in result["faults"])
        shown = (_shown(times[name]) for name in ("p50", "p95", "max"))
        table.add_row(kind, str(number), str(times["n"]), *shown)
    return table


def _comparison_table(result: dict[str, Any]) -> Table:
    table = Table(
        title="Sent ticks compared with the table", title_justify="left", box=SIMPLE
    )
    names = [name for name in ComparisonResult.__struct_fields__ if name != "examples"]
    for name in names:
        table.add_column(name.replace("_", " "), justify="right")
    table.add_row(*(f"{result[name]:,}" for name in names))
    table.caption = (
        f"{result['kills']} kills; peak memory of the service "
        f"{result['peak_memory_mb']:.0f} MB; {'ok' if result['ok'] else 'FAILED'}"
    )
    table.caption_justify = "left"
    return table


def _two_services_table(found: dict[str, int]) -> Table:
    table = Table(
        title="Two services compared with the truth about their feeds and alerts",
        title_justify="left",
        box=SIMPLE,
    )
    for name in found:
        table.add_column(name.replace("_", " "), justify="right")
    table.add_row(*(f"{number:,}" for number in found.values()))
    return table


def _resources_table(result: dict[str, Any]) -> Table:
    table = Table(
        title="Resources of the service", title_justify="left", box=SIMPLE, min_width=60
    )
    for name in ("minute", *RESOURCES):
        table.add_column(name.replace("_", " "), justify="right")
    for sample in result["resources"]:
        values = (sample[name] for name in RESOURCES)
        table.add_row(f"{sample['at_s'] / 60:.1f}", *map(_number, values))
    growth = (result["resources_an_hour"][name] for name in RESOURCES)
    table.add_section()
    table.add_row("an hour", *map(_signed, growth))
    table.caption = "an hour: growth in the second half of the samples"
    table.caption_justify = "left"
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,}"


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+,}"


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
