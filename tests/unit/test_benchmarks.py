"""`bin/bench`: its commands can be asked for help, and its reports become text and pages."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree

import psutil
import pytest

from tests.benchmarks import page
from tests.benchmarks.__main__ import COMMANDS, make_parser, module_of
from tests.benchmarks.report import (
    Bar,
    Plot,
    Report,
    Table,
    from_json,
    render,
    to_json,
)
from tests.benchmarks.servers import cpu_s


def make_report():
    """Return a report with one of everything."""
    return Report(
        [
            Table(
                "Ways", ["way", "rows/s"], [["a|b", 12_345.6], ["c", None]], ["a note"]
            )
        ],
        bars=[Bar("latency", "<= 3 ms", "4 ms", met=False)],
        plots=[
            Plot("line", "A line", "ticks/s", "ms", {"p99": [(50, 1.5), (1000, 9)]})
        ],
        failures=["1 tick lost"],
        machine={"PostgreSQL": "18.4"},
        command="write",
        options={"rows": "5", "data_dir": "x", "quiet": ""},
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_explains_itself(name, capsys):
    with pytest.raises(SystemExit) as ended:
        make_parser().parse_args([name, "--help"])

    assert ended.value.code == 0
    assert "--json" in capsys.readouterr().out


class Ending:
    """A server whose child ends between two looks, after one second of work."""

    has_ended = False

    def cpu_times(self):
        return (2.0, 0.5, 1.0 * self.has_ended, 0.0, 0.0)

    def children(self, *, recursive):
        return [Child(self)] * (not self.has_ended)


class Child:
    def __init__(self, parent):
        self.parent = parent

    def cpu_times(self):
        self.parent.has_ended = True
        raise psutil.NoSuchProcess(1)


def test_the_processor_time_of_a_child_that_ends_meanwhile_counts():
    assert cpu_s(Ending()) == 3.5


@pytest.mark.parametrize("name", COMMANDS)
def test_the_quick_options_of_each_command_exist(name):
    options = make_parser().parse_args([name, *module_of(name).QUICK])

    assert options.command == name


def test_a_report_is_aligned_text_with_marks():
    text = render(make_report())

    assert "way  rows/s\na|b  12,346\nc         -\n  a note" in text
    assert re.search(r"latency +<= 3 ms +4 ms +MISSED", text)


@pytest.mark.parametrize("reports", [make_report(), [make_report(), make_report()]])
def test_json_becomes_the_same_report_again(reports, tmp_path):
    path = tmp_path / "results.json"
    path.write_text(to_json(reports))

    assert from_json(path) == (reports if isinstance(reports, list) else [reports])
    assert json.loads(path.read_text())


def test_the_page_has_the_bars_the_tables_and_the_plots(tmp_path):
    (tmp_path / "docs").mkdir()
    page.write([make_report()], tmp_path)

    text = (tmp_path / "docs/performance.md").read_text()
    assert "| latency | <= 3 ms | 4 ms | MISSED |" in text
    assert "`bin/bench write --rows 5 --data-dir x --quiet`" in text
    assert "| a\\|b | 12,346 |" in text
    assert "**Failed:** 1 tick lost" in text
    assert "![A line](line.svg)" in text
    plot = ElementTree.parse(tmp_path / "docs/line.svg")  # noqa: S314 - our own
    names = {"p99", "A line", "ticks/s", "ms", "50", "1,000"}
    assert names <= {element.text for element in plot.iter()}


def test_the_page_names_what_all_runs_share_once(tmp_path):
    (tmp_path / "docs").mkdir()
    one, other = make_report(), make_report()
    one.machine |= {"date": "monday", "memory": "24 GiB"}
    other.machine |= {"date": "tuesday", "memory": "24 GiB"}
    page.write([one, other], tmp_path)

    text = (tmp_path / "docs/performance.md").read_text()
    assert text.count("- memory: 24 GiB") == text.count("- PostgreSQL: 18.4") == 1
    assert text.count("- date: monday") == text.count("- date: tuesday") == 1
