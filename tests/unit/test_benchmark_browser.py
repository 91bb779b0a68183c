"""`bin/bench browser`: its tables and bars, and a machine without a browser."""

from __future__ import annotations

import argparse

import pytest

from tests.benchmarks import browser
from tests.benchmarks.browser import Found, make_report
from tests.benchmarks.browser.visit import Cost, Frames, Opening


@pytest.fixture
def found():
    return Found(
        openings=[Opening(400, 900), Opening(300, 1200), Opening(200, 1100)],
        costs={"book": Cost(2, 4), "contracts": Cost(5, 9)},
        files=(109, 250_000),
        latencies={"no page": [0.3, 0.8]},
        frames={("2000:1000", "scrolled"): (36, Frames(17, 33, 50, 80, Cost(9, 20)))},
    )


def test_the_tables_have_the_medians_and_all_that_was_measured(found):
    openings, costs, latencies, frames = make_report(found).tables

    assert openings.rows == [
        ["first paint", 3, 300, 200, 400],
        ["all data of the book", 3, 1100, 900, 1200],
    ]
    assert costs.rows == [["book", 2, 4], ["contracts", 5, 9]]
    assert latencies.rows == [["no page", 0.3, 0.8]]
    assert frames.rows == [["2000:1000", "scrolled", 36, 17, 33, 50, 80, 9, 20]]


def test_each_bar_compares_with_what_was_measured(found):
    assert [(bar.measured, bar.met) for bar in make_report(found).bars] == [
        ("300 ms", True),
        ("1,100 ms", False),
        ("9 % of a core", True),
        ("250,000 bytes", True),
    ]


def test_without_a_chromium_nothing_is_measured_and_the_run_fails(monkeypatch):
    monkeypatch.setattr("tests.benchmarks.browser.visit.CHROMIUM", None)
    options = argparse.Namespace(visits=1, seconds=1, lists=[])

    report = browser.run(options)

    assert "hromium" in report.failures[0]
    assert [bar.met for bar in report.bars] == [None] * 4
