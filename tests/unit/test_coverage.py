"""A gap, less the times at which another service had the feed."""

from __future__ import annotations

from datetime import timedelta

from greeks_trio.model.coverage import OPEN, between, without
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


def test_the_feed_was_there_between_two_gaps():
    gaps = [(7, 8), (0, 2), (10, None)]
    assert between(map(interval, gaps)) == [interval((2, 7)), interval((8, 10))]


def test_after_a_gap_without_an_end_nothing_is_known():
    assert between(map(interval, [(0, None), (10, 12), (20, None)])) == [
        interval((12, 20))
    ]


def test_the_start_of_a_gap_may_stand_beside_the_whole_gap():
    gaps = [(0, None), (0, 2), (10, None)]
    for each in (gaps, gaps[::-1]):
        assert between(map(interval, each)) == [interval((2, 10))]


def test_gaps_that_touch_have_no_time_between():
    assert between(map(interval, [(0, 5), (4, 9), (9, 12)])) == []
    assert between(map(interval, [(0, 20), (5, 6), (10, 11)])) == []
