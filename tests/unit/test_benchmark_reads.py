"""Which sizes ``bin/bench reads`` measures, and when its bars are met."""

from __future__ import annotations

import argparse

import pytest

from tests.benchmarks import reads
from tests.benchmarks.reads.queries import QUERIES, Read, percentiles_ms


def options_of(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    reads.add_options(parser)
    return parser.parse_args(arguments)


def test_all_contracts_are_measured_with_the_fewest_rows_and_all_rows_with_the_most():
    assert reads.sizes(options_of()) == [
        (1_000_000, 200),
        (1_000_000, 2_000),
        (1_000_000, 10_000),
        (10_000_000, 10_000),
        (50_000_000, 10_000),
    ]
    pairs = options_of("--rows", "1,2", "--contracts", "3,4", "--every-pair")
    assert reads.sizes(pairs) == [(1, 3), (1, 4), (2, 3), (2, 4)]


def test_a_directory_keeps_one_size_only(tmp_path):
    with pytest.raises(SystemExit, match="one size"):
        reads.run(options_of("--data-dir", str(tmp_path)))


def test_the_bars_are_those_of_the_two_views():
    slow, fast = (
        Read("latest_greeks", [0.06, 0.06]),
        Read("portfolio_greeks", [0.01] * 2),
    )

    bars = reads.bars_of([slow, fast, Read("outages", [1.0])], 5, 10_000)

    assert [(bar.measured, bar.met) for bar in bars] == [
        ("60 ms", False),
        ("10 ms", True),
    ]


def test_each_present_view_has_a_query_and_one_time_has_percentiles():
    assert {"latest_greeks", "portfolio_greeks", "broker_divergence", "outages"} <= set(
        QUERIES
    )
    assert percentiles_ms([0.002]) == [2.0] * 4
