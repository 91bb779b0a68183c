"""`bin/bench start`: its table and bar, and a command that fails."""

from __future__ import annotations

import pytest

from tests.benchmarks.start import Start, StartFailed, make_report, start_once


def test_the_table_has_a_line_for_each_kind_of_start():
    starts = {
        ("demo", "warm"): [Start(4.0, 2.0), Start(6.0, 3.0), Start(5.5, 2.5)],
        ("demo", "cold"): [Start(9.0, 7.0)],
    }

    report = make_report(starts, [])

    assert report.tables[0].rows == [
        ["demo", "cold", 1, 9.0, 9.0, 9.0, 7.0],
        ["demo", "warm", 3, 5.5, 4.0, 6.0, 2.5],
    ]
    assert [(bar.measured, bar.met) for bar in report.bars] == [("5.5 s", False)]


def test_without_a_warm_start_the_bar_is_not_measured():
    report = make_report({("demo", "cold"): [Start(9.0, 7.0)]}, ["it ended"])

    assert [bar.met for bar in report.bars] == [None]
    assert report.failures == ["it ended"]


def test_a_command_that_ends_is_shown_with_its_last_words(tmp_path):
    with pytest.raises(StartFailed, match=r"(?s)status 2.*no-such-command"):
        start_once(["no-such-command"], {}, tmp_path / "place")
