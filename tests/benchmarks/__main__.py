"""``bin/bench``: measures the product beside what else a user could run."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from tests.benchmarks import page
from tests.benchmarks.machine import describe_machine
from tests.benchmarks.report import Report, from_json, render, to_json

# In the order of the page.  Each is a module or a package of this directory with
#   HELP: str                  one line
#   add_options(parser)        declares its options, with defaults for a full run
#   run(options) -> Report     measures; starts trio itself
#   QUICK: Sequence[str]       options that make a run short, for ``all --quick``
COMMANDS = (
    "write",
    "pipeline",
    "decode",
    "reads",
    "interface",
    "soak",
    "staging",
    "connection",
    "start",
    "outage",
    "browser",
)


def module_of(name: str) -> ModuleType:
    """Return the module of a command."""
    return importlib.import_module(f"tests.benchmarks.{name}")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(prog="bin/bench", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        module = module_of(name)
        command = commands.add_parser(
            name, help=module.HELP, description=module.__doc__, formatter_class=_Help
        )
        command.add_argument("--json", action="store_true", help="print one object")
        module.add_options(command)
    everything = commands.add_parser("all", help="run all, one after the other")
    everything.add_argument("--json", action="store_true", help="print one list")
    everything.add_argument(
        "--quick", action="store_true", help="short runs, for a first impression"
    )
    everything.add_argument(
        "--keep", type=Path, metavar="DIRECTORY", help="keep the results as JSON files"
    )
    everything.add_argument(
        "--write-docs", action="store_true", help=f"write {page.PAGE} and its plots"
    )
    pages = commands.add_parser(
        "docs", help=f"write {page.PAGE} and its plots from results of --json"
    )
    pages.add_argument("results", type=Path, nargs="+")
    return parser


class _Help(
    argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter
):
    """Keeps the paragraphs of a docstring, and names the defaults."""


def measure(name: str, options: argparse.Namespace) -> Report:
    """Run one command; its report says on which machine, and with which options."""
    machine = describe_machine()
    report: Report = module_of(name).run(options)
    report.command = name
    report.machine = machine | report.machine
    report.options = {
        key: _option_text(value)
        for key, value in vars(options).items()
        if key not in {"command", "json"} and value not in (None, False, [])
    }
    return report


def _option_text(value: object) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return "" if value is True else str(value)


def measure_all(options: argparse.Namespace) -> list[Report]:
    """Run every command in turn, and show or keep what it found."""
    reports = []
    for name in COMMANDS:
        module = module_of(name)
        parser = argparse.ArgumentParser()
        module.add_options(parser)
        report = measure(name, parser.parse_args(module.QUICK if options.quick else []))
        reports.append(report)
        if options.keep:
            options.keep.mkdir(parents=True, exist_ok=True)
            (options.keep / f"{name}.json").write_text(to_json(report))
        if not options.json:
            _write(f"# {name}\n\n{render(report)}\n")
    if options.json:
        _write(to_json(reports))
    if options.write_docs:
        page.write(reports)
    return reports


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return 1 if a tick was lost or a row was wrong."""
    options = make_parser().parse_args(arguments)
    if options.command == "docs":
        reports = [report for path in options.results for report in from_json(path)]
        page.write(sorted(reports, key=lambda each: COMMANDS.index(each.command)))
        return 0
    if options.command == "all":
        reports = measure_all(options)
    else:
        reports = [measure(options.command, options)]
        _write(to_json(reports[0]) if options.json else render(reports[0]))
    for report in reports:
        for failure in report.failures:
            sys.stderr.write(f"FAILED: {report.command}: {failure}\n")
    return int(any(report.failures for report in reports))


def _end(number: int, _: object) -> None:
    # As Ctrl-C does, so that everything that was started ends.
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(signal.SIGINT)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(128 + signal.SIGINT)
