from __future__ import annotations

import itertools
import random
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from greeks_trio.brokers.ibkr.lines.plan import NOTHING, make_plan
from greeks_trio.brokers.ibkr.lines.renewals import ANSWER_LIMIT_S, LineSchedule
from greeks_trio.brokers.ibkr.positions.rows import Listing
from greeks_trio.model.contracts import contract_from_occ
from greeks_trio.model.positions import Holder

HELD = (Holder("U1", Decimal(1)),)


def make_listing(conid, underlying_conid=900):
    contract = contract_from_occ(f"SPY   261218C{conid:08d}")
    return Listing(contract, conid, underlying_conid)


def plan_of(*listings, max_lines=100, before=NOTHING):
    by_key = {listing.contract.contract_key: listing for listing in listings}
    holders = dict.fromkeys(by_key, HELD)
    return make_plan(holders, by_key, max_lines=max_lines, before=before)


def test_options_get_lines_first_and_share_one_for_each_underlying():
    plan = plan_of(make_listing(1), make_listing(2), make_listing(3, 901))

    assert plan.lines == (1, 2, 3, 900, 901)
    assert (len(plan.waiting), len(plan.underlyings_without_line)) == (0, 0)


def test_underlyings_get_what_the_options_leave():
    plan = plan_of(make_listing(1), make_listing(2, 901), max_lines=3)

    assert plan.lines == (1, 2, 900)
    assert (len(plan.waiting), len(plan.underlyings_without_line)) == (0, 1)


def test_options_beyond_the_limit_are_known_and_counted():
    plan = plan_of(make_listing(1), make_listing(2), make_listing(3), max_lines=2)

    assert plan.lines == (1, 2)
    assert set(plan.options) == {1, 2, 3}
    assert (len(plan.waiting), len(plan.underlyings_without_line)) == (1, 1)


def test_a_new_contract_takes_no_line_from_an_unchanged_one():
    before = plan_of(make_listing(2), make_listing(3), max_lines=2)

    after = plan_of(
        make_listing(1), make_listing(2), make_listing(3), max_lines=2, before=before
    )

    assert after.lines == (2, 3)
    assert after.waiting == (1,)


def test_an_underlying_that_ibkr_has_not_named_needs_no_line():
    assert plan_of(make_listing(1, None)).lines == (1,)


WATCHED = (Holder("watchlist", None),)


def plan_with_watched(held, watched, max_lines, before=NOTHING):
    listings = [make_listing(conid, None) for conid in (*watched, *held)]
    by_key = {listing.contract.contract_key: listing for listing in listings}
    holders = {
        key: HELD if listing.conid in held else WATCHED
        for key, listing in by_key.items()
    }
    return make_plan(holders, by_key, max_lines=max_lines, before=before)


def test_held_options_come_before_watched_ones():
    plan = plan_with_watched(held=[5, 6], watched=[1, 2], max_lines=3)

    assert (plan.lines, plan.waiting) == ((5, 6, 1), (2,))


def test_a_held_option_takes_the_line_of_a_watched_one():
    before = plan_with_watched(held=[5], watched=[1], max_lines=2)

    after = plan_with_watched(held=[5, 6], watched=[1], max_lines=2, before=before)

    assert (after.lines, after.waiting) == ((5, 6), (1,))


def test_a_line_is_passed_on_within_its_rank_or_upwards():
    plan = plan_with_watched(held=[5, 6], watched=[1, 2], max_lines=3)
    crowded = plan_with_watched(held=[5, 6], watched=[1], max_lines=1)

    assert plan.successor(5) is None
    assert plan.successor(1) == 2
    assert crowded.successor(5) == 6
    assert plan.successor(900) is None


def test_who_passes_a_line_on_queues_up_behind_the_others():
    plan = plan_with_watched(held=[1, 2, 3], watched=[], max_lines=1)

    once = plan.pass_on(1, 2)
    again = plan_with_watched(held=[1, 2, 3], watched=[], max_lines=1, before=once)

    assert (once.lines, once.waiting) == ((2,), (3, 1))
    assert (again.lines, again.waiting) == (once.lines, once.waiting)


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
