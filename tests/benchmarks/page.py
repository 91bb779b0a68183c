"""The page about the speed, and its plots, from the reports of the commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.benchmarks.plot import draw
from tests.benchmarks.report import MARKS, Report, Table, is_number, text_of

ROOT = Path(__file__).parents[2]
PAGE = "docs/performance.md"
_NOTE = "<!-- Made by `bin/bench all --write-docs`. Run that instead of editing. -->"
_INTRODUCTION = """\
Each table comes from one run of `bin/bench` on one machine: client, service, PostgreSQL
and the generator share its cores. The ways in one table ran in turns, on the same server,
with the same rows and the same table with its indexes and partitions, and every commit
waits for the disk (`synchronous_commit` and `fsync` are on). Absolute times
belong to this machine; ratios travel better. A number that is worse than its bar stands
here like the others."""


def write(reports: Sequence[Report], root: Path = ROOT) -> None:
    """Write the page and its plots."""
    for report in reports:
        for plot in report.plots:
            (root / "docs" / f"{plot.name}.svg").write_text(draw(plot), "utf-8")
    (root / PAGE).write_text(make_page(reports), "utf-8")


def make_page(reports: Sequence[Report]) -> str:
    """Return the text of the page."""
    parts = ["# Performance", _NOTE, _INTRODUCTION]
    rows: list[list[object]] = [
        [bar.what, bar.bar, bar.measured, MARKS[bar.met]]
        for report in reports
        for bar in report.bars
    ]
    if rows:
        parts += [
            "## Bars",
            _markdown(Table("", ["what", "bar", "measured", ""], rows)),
        ]
    shared = {
        name: value
        for name, value in reports[0].machine.items()
        if len(reports) > 1
        and all(other.machine.get(name) == value for other in reports)
    }
    if shared:
        parts += ["## Machine", _facts(shared)]
    for report in reports:
        parts += _section(report, shared)
    return "\n\n".join(parts) + "\n"


def _facts(machine: Mapping[str, str]) -> str:
    return "\n".join(f"- {name}: {value}" for name, value in machine.items())


def _section(report: Report, shared: Mapping[str, str]) -> list[str]:
    arguments = "".join(
        f" --{name.replace('_', '-')} {value}".rstrip()
        for name, value in report.options.items()
    )
    parts = [f"## {report.command}", f"`bin/bench {report.command}{arguments}`"]
    parts += [f"![{plot.title}]({plot.name}.svg)" for plot in report.plots]
    for table in report.tables:
        parts += [f"**{table.title}**", _markdown(table)]
        if table.notes:
            parts.append("\n".join(f"- {note}" for note in table.notes))
    parts += [f"**Failed:** {failure}" for failure in report.failures]
    own = {k: v for k, v in report.machine.items() if k not in shared}
    if own:
        parts.append(_facts(own))
    return parts


def _markdown(table: Table) -> str:
    lines = [table.columns]
    lines.append(
        [
            "---:" if all(is_number(row[place]) for row in table.rows) else "---"
            for place in range(len(table.columns))
        ]
    )
    lines += [
        [text_of(value).replace("|", "\\|") for value in row] for row in table.rows
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
