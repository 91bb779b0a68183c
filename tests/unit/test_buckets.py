from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greeks_trio.pipeline.histograms import BucketCounts

values = st.lists(st.tuples(st.floats(0.0, 20.0), st.integers(1, 5)), max_size=50)


@given(values, st.lists(st.floats(0.0, 20.0), min_size=1, max_size=8))
def test_each_bound_counts_what_is_not_above_it(recorded, bounds):
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


@given(values)
def test_what_is_above_a_bound_is_the_rest(recorded):
    counts = BucketCounts([0.5, 1.0, 10.0])
    for value, number in recorded:
        counts.record(value, number)

    for bound, up_to in counts.cumulative():
        assert counts.above(bound) == counts.count - up_to
