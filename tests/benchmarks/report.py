"""What a benchmark returns, as text for people and as JSON for `bin/bench docs`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import msgspec

MARKS = {True: "met", False: "MISSED", None: "not measured"}


@dataclass
class Table:
    """Rows of text and numbers.  A number is shown with what its size needs.

    The titles of the columns name the units.
    """

    title: str
    columns: list[str]
    rows: list[list[Any]]
    notes: list[str] = field(default_factory=list)


@dataclass
class Bar:
    """A value that we hold ourselves to; ``met`` is `None` if this run cannot tell."""

    what: str
    bar: str
    measured: str
    met: bool | None


@dataclass
class Plot:
    """Lines over logarithmic axes; becomes ``docs/NAME.svg``."""

    name: str
    title: str
    x_label: str
    y_label: str
    lines: dict[str, list[tuple[float, float]]]


@dataclass
class Report:
    """All that one run found.

    Attributes:
        tables: What was measured.
        bars: The comparison with our own bars.
        plots: Pictures for the page.
        failures: A sentence for each lost tick or wrong row; they make the status 1.
        machine: Facts that only the benchmark knows, such as the PostgreSQL that it used.
            The frame adds the processor, the memory, the versions and the load.
        command: The name of the command; the frame fills it in.
        options: The options of the run as text; the frame fills them in.
    """

    tables: list[Table]
    bars: list[Bar] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    machine: dict[str, str] = field(default_factory=dict)
    command: str = ""
    options: dict[str, str] = field(default_factory=dict)


def say(text: str) -> None:
    """Tell a person how far a run is; the result goes to standard output instead."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def to_json(reports: Report | Sequence[Report]) -> str:
    """Return a report, or several, as JSON."""
    found: Any = (
        asdict(reports) if isinstance(reports, Report) else [*map(asdict, reports)]
    )
    return msgspec.json.format(msgspec.json.encode(found), indent=2).decode() + "\n"


def from_json(path: Path) -> list[Report]:
    """Return the reports in a file that ``--json`` has made."""
    found = msgspec.json.decode(path.read_bytes(), type=Report | list[Report])
    return [found] if isinstance(found, Report) else found


def text_of(value: object) -> str:
    """Return a value of a table: numbers with three figures or as whole numbers."""
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def is_number(value: object) -> bool:
    """Return whether the value belongs to the right of its column."""
    return isinstance(value, int | float) or value is None


def render(report: Report) -> str:
    """Return the report as aligned text."""
    machine = "\n".join(f"{name}: {value}" for name, value in report.machine.items())
    parts = [machine, *map(_render_table, report.tables)]
    if report.bars:
        rows: list[list[object]] = [
            [bar.what, bar.bar, bar.measured, MARKS[bar.met]] for bar in report.bars
        ]
        parts.append(
            _render_table(Table("Bars", ["what", "bar", "measured", ""], rows))
        )
    return "\n\n".join(parts) + "\n"


def _render_table(table: Table) -> str:
    cells = [list(map(text_of, row)) for row in table.rows]
    widths = [
        max(map(len, column)) for column in zip(table.columns, *cells, strict=True)
    ]
    right = [
        any(isinstance(row[place], int | float) for row in table.rows)
        for place in range(len(table.columns))
    ]

    def line(row: Sequence[str]) -> str:
        return "  ".join(
            text.rjust(width) if is_right else text.ljust(width)
            for text, width, is_right in zip(row, widths, right, strict=True)
        ).rstrip()

    lines = [table.title, line(table.columns), *map(line, cells)]
    return "\n".join([*lines, *(f"  {note}" for note in table.notes)])
