from __future__ import annotations

import itertools
import random
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greeks_trio.brokers.ibkr.lines.plan import make_plan
from greeks_trio.brokers.ibkr.lines.renewals import ANSWER_LIMIT_S, LineSchedule
from greeks_trio.brokers.ibkr.positions.rows import Listing
from greeks_trio.model.contracts import contract_from_occ
from greeks_trio.model.positions import Holder

HELD = (Holder("U1", Decimal(1)),)
WATCHED = (Holder("watchlist", None),)


def make_listing(conid, underlying_conid=900):
    contract = contract_from_occ(f"SPY   261218C{conid:08d}")
    return Listing(contract, conid, underlying_conid)


def plan_of(*listings, max_lines=100):
    return plan_with_watched(listings, (), max_lines)


def plan_with_watched(held, watched, max_lines):
    by_key = {each.contract.contract_key: each for each in (*watched, *held)}
    watching = {each.contract.contract_key for each in watched}
    holders = {key: WATCHED if key in watching else HELD for key in by_key}
    return make_plan(holders, by_key, max_lines=max_lines)


def make_listings(number, first=1, underlying_conid=None):
    return [make_listing(first + each, underlying_conid) for each in range(number)]


def test_everything_has_a_line_if_there_are_enough():
    plan = plan_of(make_listing(1), make_listing(2), make_listing(3, 901), max_lines=5)

    assert set(plan.lines) == {1, 2, 3, 900, 901}
    assert (plan.rotating, plan.shared_lines, plan.underlyings_without_line) == (
        (),
        0,
        (),
    )


def test_underlyings_come_first_and_options_share_the_other_lines():
    plan = plan_of(make_listing(1), make_listing(2), make_listing(3), max_lines=3)

    assert plan.lines == (900,)
    assert (plan.rotating, plan.shared_lines) == ((1, 2, 3), 2)
    assert set(plan.options) == {1, 2, 3}


def test_underlyings_leave_a_quarter_of_the_lines_to_options():
    listings = [make_listing(each, 900 + each) for each in range(1, 9)]

    plan = plan_of(*listings, max_lines=8)

    assert plan.lines == (901, 902, 903, 904, 905, 906)
    assert plan.underlyings_without_line == (907, 908)
    assert (len(plan.rotating), plan.shared_lines) == (8, 2)


def test_single_options_of_many_underlyings_all_have_a_price():
    listings = [make_listing(each, 900 + each) for each in range(1, 71)]

    plan = plan_of(*listings, max_lines=100)

    assert plan.underlyings_without_line == ()
    assert (len(plan.rotating), plan.shared_lines) == (70, 30)


def test_underlyings_take_all_lines_that_options_do_not_need():
    listings = [make_listing(each, 900 + each) for each in range(1, 5)]

    plan = plan_of(*listings, max_lines=8)

    assert plan.lines == (901, 902, 903, 904, 1, 2, 3, 4)
    assert plan.underlyings_without_line == ()


def test_an_option_has_the_only_line():
    plan = plan_of(make_listing(1), max_lines=1)

    assert (plan.lines, plan.underlyings_without_line) == ((1,), (900,))


def test_underlyings_of_held_options_come_before_those_of_many_watched_ones():
    plan = plan_with_watched(
        [make_listing(1, 901)], make_listings(5, 2, underlying_conid=902), max_lines=2
    )

    assert plan.lines == (901,)
    assert plan.underlyings_without_line == (902,)


def test_the_order_of_the_positions_changes_no_line():
    listings = [make_listing(each, 900 + each) for each in range(1, 9)]
    plan, other = (plan_of(*each, max_lines=6) for each in (listings, listings[::-1]))

    assert plan.lines == other.lines


def test_an_underlying_that_ibkr_has_not_named_needs_no_line():
    assert plan_of(make_listing(1, None)).lines == (1,)


def test_held_options_keep_their_lines_and_watched_ones_share_the_rest():
    plan = plan_with_watched(make_listings(5), make_listings(8, 101), max_lines=7)

    assert plan.lines == (1, 2, 3, 4, 5)
    assert (plan.rotating, plan.shared_lines) == (tuple(range(101, 109)), 2)


@pytest.mark.parametrize(
    ("held", "watched", "shared"),
    [
        # A long watch-list needs a tenth of the lines.
        (90, 500, 10),
        (91, 500, 100),
        # A short one needs a line for four contracts.
        (98, 8, 2),
        (99, 8, 100),
        (99, 4, 1),
        (100, 1, 100),
    ],
)
def test_all_options_share_lines_if_too_few_are_left_for_the_watched_ones(
    held, watched, shared
):
    plan = plan_with_watched(
        make_listings(held), make_listings(watched, 1001), max_lines=100
    )

    assert plan.shared_lines == shared
    assert len(plan.lines) + plan.shared_lines == 100
    assert len(plan.rotating) == watched + (held if shared == 100 else 0)


@given(st.integers(1, 120), st.integers(0, 80), st.integers(0, 80), st.integers(1, 40))
def test_no_line_is_given_twice_or_wasted(max_lines, held, watched, underlyings):
    listings = [
        make_listing(each, 1000 + each % underlyings)
        for each in range(1, held + watched + 1)
    ]

    plan = plan_with_watched(listings[:held], listings[held:], max_lines)

    assert len(set(plan.lines)) == len(plan.lines)
    assert not set(plan.rotating) & set(plan.lines)
    assert len(plan.lines) + plan.shared_lines <= max_lines
    assert plan.options.keys() == {*plan.rotating, *plan.lines} & plan.options.keys()
    if plan.rotating:
        assert 0 < plan.shared_lines < len(plan.rotating)
    if plan.rotating or plan.underlyings_without_line:
        assert len(plan.lines) + plan.shared_lines == max_lines


def take_all(lines, now):
    taken = []
    while (conid := lines.take_due(now)) is not None:
        taken.append(conid)
    return taken


def test_what_is_wanted_is_due_at_once_and_only_once():
    lines = LineSchedule(jitter=random.random)

    assert lines.want([1, 2], 10.0) == []
    assert take_all(lines, 10.0) == [1, 2]
    assert take_all(lines, 10.0) == []
    assert lines.sent() == {1, 2}


def test_what_is_no_longer_wanted_is_dropped_and_the_rest_untouched():
    lines = LineSchedule(jitter=random.random)
    lines.want([1, 2], 0.0)
    take_all(lines, 0.0)

    assert lines.want([2, 3], 5.0) == [1]
    assert take_all(lines, 5.0) == [3]
    assert lines.sent() == {2, 3}


def test_a_request_without_an_answer_is_repeated_three_times():
    lines = LineSchedule(jitter=lambda: 0.0)
    lines.want([1], 0.0)
    sent = []
    now = 0.0
    while now < 600:
        now = lines.next_due()
        sent += [now for _ in take_all(lines, now)]

    assert sent[:5] == [
        0,
        ANSWER_LIMIT_S,
        2 * ANSWER_LIMIT_S,
        3 * ANSWER_LIMIT_S,
        590.0,
    ]
    assert lines.is_unanswered(1)


def test_only_the_first_frame_is_an_answer():
    lines = LineSchedule(jitter=random.random)
    lines.want([1], 0.0)

    assert not lines.answer(1)  # nothing was requested
    lines.take_due(0.0)
    assert not lines.answer(2)
    lines.take_due(ANSWER_LIMIT_S)
    assert lines.unanswered() == {1}
    assert lines.answer(1)
    assert not lines.answer(1)
    assert lines.unanswered() == set()


@given(st.lists(st.floats(0, 0.999), min_size=1, max_size=50))
def test_every_subscription_is_renewed_within_nine_minutes(jitters):
    numbers = iter(jitters * 200)
    lines = LineSchedule(jitter=lambda: next(numbers))
    lines.want(range(5), 0.0)
    sent = {conid: [0.0] for conid in take_all(lines, 0.0)}
    for conid in sent:
        lines.answer(conid)
    while (now := lines.next_due()) < 3600:
        for conid in take_all(lines, now):
            sent[conid].append(now)

    for moments in sent.values():
        pauses = [b - a for a, b in itertools.pairwise(moments)]
        assert max(pauses) <= 540
        assert min(pauses) >= 300


def test_renewals_of_one_burst_are_spread():
    lines = LineSchedule(jitter=random.random)
    lines.want(range(100), 0.0)
    for conid in take_all(lines, 0.0):
        lines.answer(conid)
    moments = []
    while len(moments) < 100:
        now = lines.next_due()
        moments += [now for _ in take_all(lines, now)]

    assert max(moments) - min(moments) > 100
    assert len(set(moments)) > 90


def test_nothing_is_due_when_nothing_is_wanted():
    lines = LineSchedule(jitter=random.random)
    lines.want([1], 0.0)
    lines.take_due(0.0)
    lines.want([], 1.0)

    assert lines.next_due() == float("inf")
