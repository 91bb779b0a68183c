from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greeks_trio.pipeline.histograms import (
    WINDOW_S,
    BucketCounts,
    Histogram,
    RollingLatency,
)

recorded_values = st.lists(
    st.tuples(st.floats(0.0, 20.0), st.integers(1, 5)), max_size=50
)


@given(st.lists(st.floats(1e-5, 1000.0), min_size=1, max_size=200))
def test_percentiles_are_right_within_two_percent(values):
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    ordered = sorted(values)

    for fraction in (0.5, 0.95, 0.99):
        exact = ordered[max(0, -int(-fraction * len(values) // 1) - 1)]
        assert histogram.percentile(fraction) == pytest.approx(exact, rel=0.021)
    assert histogram.summary().max == ordered[-1]


def test_without_a_measurement_there_is_no_percentile():
    summary = Histogram().summary()

    assert (summary.p50, summary.p95, summary.p99, summary.max) == (None,) * 4


@pytest.mark.parametrize("value", [0.0, -1.0, 1e9])
def test_extreme_values_find_a_bucket(value):
    histogram = Histogram()

    histogram.record(value)

    assert histogram.count == sum(histogram.counts) == 1


def test_the_window_forgets_and_the_start_does_not():
    latency = RollingLatency()
    latency.record(5.0, now=100.0)
    latency.record(0.001, 3, now=100.0 + WINDOW_S)

    window = latency.window(now=100.0 + WINDOW_S)

    assert (window.count, window.max) == (3, 0.001)
    assert latency.since_start.count == 4
    assert latency.since_start.max == 5.0


def test_the_window_covers_its_length():
    latency = RollingLatency()
    latency.record(1.0, now=0.0)

    assert latency.window(now=WINDOW_S - 5.0).count == 1
    assert latency.window(now=WINDOW_S + 5.0).count == 0


def test_milliseconds_are_rounded_to_microseconds():
    histogram = Histogram()
    histogram.record(0.0012345678)

    assert histogram.summary().milliseconds()["max"] == 1.235


def test_the_caller_may_change_the_window():
    latency = RollingLatency()
    latency.record(0.001, now=0.0)
    latency.record(0.003, now=6.0)

    window = latency.window_histogram(now=6.0)
    window.record(9.0)

    assert (window.count, window.max) == (3, 9.0)
    assert latency.window(now=6.0).count == latency.since_start.count == 2
    assert latency.window(now=6.0).max == 0.003


@given(recorded_values, st.lists(st.floats(0.0, 20.0), min_size=1, max_size=8))
def test_each_bound_counts_the_values_up_to_it(recorded, bounds):
    counts = BucketCounts(bounds)
    for value, number in recorded:
        counts.record(value, number)

    expected = [
        (bound, sum(number for value, number in recorded if value <= bound))
        for bound in [*sorted(set(bounds)), math.inf]
    ]
    assert counts.cumulative() == expected
    assert counts.count == expected[-1][1]
    assert counts.sum == pytest.approx(
        sum(value * number for value, number in recorded)
    )


@given(recorded_values)
def test_the_values_above_a_bound_are_the_rest(recorded):
    counts = BucketCounts([0.5, 1.0, 10.0])
    for value, number in recorded:
        counts.record(value, number)

    for bound, up_to in counts.cumulative():
        assert counts.above(bound) == counts.count - up_to
