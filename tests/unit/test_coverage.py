"""A gap, less the times at which another service had the feed."""

from __future__ import annotations

from datetime import timedelta

from greeks_trio.model.coverage import OPEN, without
from tests.factories import START
from tests.for_each import for_each

# The gap, the other intervals, and the parts that remain; `None`: it has not ended.
CASES = [
    ((0, 10), [], [(0, 10)]),
    ((0, 10), [(0, 10)], []),
    ((0, 10), [(-5, 20)], []),
    ((0, 10), [(-5, 0), (10, 20)], [(0, 10)]),
    ((0, 10), [(3, 5)], [(0, 3), (5, 10)]),
    ((0, 10), [(6, 8), (2, 4)], [(0, 2), (4, 6), (8, 10)]),
    ((0, 10), [(2, 6), (3, 4), (5, 7)], [(0, 2), (7, 10)]),
    ((0, 10), [(2, 6), (2, 9)], [(0, 2), (9, 10)]),
    ((0, 10), [(-5, 4), (8, 12)], [(4, 8)]),
    ((0, None), [(-5, 4)], [(4, None)]),
    ((0, None), [(2, 4)], [(0, 2), (4, None)]),
    ((0, None), [(2, None)], [(0, 2)]),
    ((5, 5), [], []),
]


def interval(pair):
    start, end = pair
    return (
        START + timedelta(seconds=start),
        OPEN if end is None else START + timedelta(seconds=end),
    )


@for_each(CASES)
def test_the_parts_outside_all_other_intervals_remain(case):
    whole, others, parts = case
    found = without(interval(whole), map(interval, others))
    assert found == list(map(interval, parts))
