"""The rotation: every contract has its turn in time, whatever the weights are."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greeks_trio.brokers.ibkr.lines.rotation import (
    CHANGE_S,
    GREEKS_WAIT_S,
    SETTLE_S,
    TURN_S,
    Rotation,
    longest_interval_s,
)


class World:
    """A gateway: each turn brings the first Greeks after a time of its own.

    ``answer_s`` returns that time for a contract, infinity for none.  More Greeks follow
    every ``tick_s``.
    """

    def __init__(self, contracts, lines, *, answer_s, weigh=None, tick_s=math.inf):
        self.rotation = Rotation()
        self.rotation.assign(range(contracts), lines, 0.0, weigh=weigh)
        self.answer_s = answer_s
        self.tick_s = tick_s
        self.lines = lines
        self.now = 0.0
        self.last_seen = {}
        self.longest_s = dict.fromkeys(range(contracts), 0.0)
        self.is_held_counted = False
        self.held_s = dict.fromkeys(range(contracts), 0.0)
        self.changes = []
        self._coming = []
        self._number = dict.fromkeys(range(contracts), 0)

    def run(self, until, step_s=0.0):
        """Run to a time; ``step_s`` is the delay of each wake-up."""
        while self.now < until:
            self._begin(self.rotation.advance(self.now))
            assert len(self.rotation.in_turn) <= self.lines
            coming = self._coming[0][0] if self._coming else math.inf
            due = max(self.rotation.next_at(), self.now) + step_s
            before, self.now = self.now, min(coming, due, until)
            if self.is_held_counted:
                for conid in self.rotation.in_turn:
                    self.held_s[conid] += self.now - before
            while self._coming and self._coming[0][0] <= self.now:
                self._frame(heapq.heappop(self._coming))

    def _begin(self, conids):
        for conid in conids:
            self._number[conid] += 1
            self.changes.append(self.now)
            at = self.now + self.answer_s(conid)
            if at < math.inf:
                heapq.heappush(self._coming, (at, conid, self._number[conid]))

    def _frame(self, coming):
        at, conid, number = coming
        if conid in self.rotation.in_turn and number == self._number[conid]:
            self.rotation.frame(conid, at, has_greeks=True)
            pause_s = at - self.last_seen.get(conid, 0.0)
            self.longest_s[conid] = max(self.longest_s[conid], pause_s)
            self.last_seen[conid] = at
            if self.tick_s < math.inf:
                heapq.heappush(self._coming, (at + self.tick_s, conid, number))

    def close(self):
        """Count the time since the last Greeks of each contract too."""
        for conid in self.longest_s:
            pause_s = self.now - self.last_seen.get(conid, 0.0)
            self.longest_s[conid] = max(self.longest_s[conid], pause_s)


def random_answers(random, never=()):
    def answer_s(conid):
        if conid in never:
            return math.inf
        return random.choice((0.2, 1.0, 5.0, 30.0, GREEKS_WAIT_S - 0.01))

    return answer_s


def check_promise(contracts, lines, *, never, weights, step_s=0.0, **options):
    """Run for twice the promise; no contract that answers is seen later."""
    is_even = weights is None
    world = World(
        contracts,
        lines,
        weigh=None if is_even else lambda: weights,
        **options,
    )
    promised_s = longest_interval_s(contracts, lines, is_even=is_even)

    world.run(2 * promised_s, step_s)
    world.close()

    assert world.rotation.promised_s == promised_s
    seen = [s for each, s in world.longest_s.items() if each not in never]
    assert max(seen) <= promised_s
    return world


@settings(max_examples=60, deadline=None)
@given(
    contracts=st.integers(2, 60),
    lines=st.integers(1, 59),
    seed=st.integers(0, 10**6),
    is_even=st.booleans(),
    is_slow=st.booleans(),
    mute=st.integers(0, 10),
    tick_s=st.sampled_from([2.0, 9.0, 25.0, math.inf]),
)
def test_no_contract_waits_longer_than_promised_whatever_the_weights(
    contracts, lines, seed, is_even, is_slow, mute, tick_s
):
    lines = min(lines, contracts - 1)
    random = Random(seed)
    weights = {each: random.choice((0.0, 1e-9, 1.0, 1e9)) for each in range(contracts)}
    never = set(random.sample(range(contracts), min(mute, contracts - 1)))

    def answer_slowly(conid):
        return math.inf if conid in never else GREEKS_WAIT_S - 0.01

    check_promise(
        contracts,
        lines,
        answer_s=answer_slowly if is_slow else random_answers(random, never),
        tick_s=tick_s,
        never=never,
        weights=None if is_even else weights,
    )


@pytest.mark.parametrize("contracts", [99, 236, 500])
@pytest.mark.parametrize("latest_s", [2.0, GREEKS_WAIT_S - 0.01])
@pytest.mark.parametrize("is_even", [True, False])
def test_the_usual_number_of_lines_keeps_the_promise(contracts, latest_s, is_even):
    random = Random(contracts)
    weights = {each: random.paretovariate(1) for each in range(contracts)}

    world = check_promise(
        contracts,
        98,
        answer_s=lambda _: random.uniform(0.3, latest_s),
        never=(),
        weights=None if is_even else weights,
        step_s=0.05,
    )

    assert len(world.changes) / world.now <= 1 / CHANGE_S + 1


def test_greeks_that_come_within_seconds_make_short_intervals():
    """Of 236 contracts on 98 lines each is seen about every minute."""
    random = Random(1)
    weights = {each: random.paretovariate(1) for each in range(236)}
    world = World(
        236, 98, answer_s=lambda _: random.uniform(0.3, 2.0), weigh=lambda: weights
    )

    world.run(900.0)
    world.close()

    assert max(world.longest_s.values()) < 90


def test_messages_come_at_a_humane_pace():
    """A change is two messages; those at the first moment are the usual burst."""
    world = World(50, 40, answer_s=lambda _: 0.5)

    world.run(600.0)

    swaps = Counter(int(at) for at in world.changes if at > 0)
    assert max(swaps.values()) <= 7
    assert sum(swaps.values()) <= 5 * 600


def test_heavy_contracts_have_the_most_turns_and_the_others_their_share():
    weights = dict.fromkeys(range(20), 0.01) | {7: 1.0}
    world = World(20, 4, answer_s=lambda _: 1.0, weigh=lambda: weights, tick_s=2.0)
    world.is_held_counted = True

    world.run(7200.0)

    heavy_s = world.held_s.pop(7)
    assert heavy_s > 3 * max(world.held_s.values())
    assert max(world.held_s.values()) < 1.2 * min(world.held_s.values())


def test_a_heavy_contract_that_ticks_keeps_its_line_and_costs_no_message():
    rotation = Rotation()
    rotation.assign(range(3), 1, 0.0, weigh=lambda: {0: 1.0})
    assert rotation.advance(0.0) == [0]
    rotation.frame(0, 1.0, has_greeks=True)
    rotation.frame(0, TURN_S - 1, has_greeks=True)

    assert rotation.advance(TURN_S) == []

    assert rotation.in_turn == (0,)
    assert rotation.advance(2 * TURN_S) == [1]


def test_a_heavy_contract_that_has_gone_silent_gives_its_line_back():
    """Its stream may have ended; the next turn begins with a request."""
    rotation = Rotation()
    rotation.assign(range(3), 1, 0.0, weigh=lambda: {0: 1.0})
    rotation.advance(0.0)
    rotation.frame(0, 1.0, has_greeks=True)

    assert rotation.advance(TURN_S + 2.0) == [1]


def test_a_turn_ends_after_its_time_and_after_greeks():
    rotation = Rotation()
    rotation.assign(range(2), 1, 0.0)
    rotation.advance(0.0)
    assert rotation.next_at() == GREEKS_WAIT_S

    assert rotation.frame(0, TURN_S, has_greeks=False) == (False, False)
    assert rotation.next_at() == GREEKS_WAIT_S
    assert rotation.frame(0, TURN_S + 1, has_greeks=True) == (True, False)
    assert rotation.next_at() == TURN_S + 1 + SETTLE_S
    assert rotation.advance(TURN_S + SETTLE_S) == []
    assert rotation.advance(TURN_S + 1 + SETTLE_S) == [1]


def test_only_late_frames_of_a_turn_are_ticks_of_the_market():
    rotation = Rotation()
    rotation.assign(range(2), 1, 0.0)
    rotation.advance(0.0)

    assert rotation.frame(0, 40.0, has_greeks=True) == (True, False)
    assert rotation.frame(0, 41.0, has_greeks=True) == (False, False)
    assert rotation.frame(0, 46.0, has_greeks=True) == (False, True)


@pytest.mark.parametrize(
    ("answers", "outcome"),
    [((), "no answer"), ((False, False), "no greeks")],
)
def test_a_contract_is_missing_after_twice_the_promise(answers, outcome):
    rotation = Rotation()
    rotation.assign(range(2), 1, 0.0)
    limit_s = 2 * rotation.promised_s
    now, latest = 0.0, {}
    while now <= limit_s + 1:
        for conid in rotation.advance(now):
            for has_greeks in (True,) if conid == 0 else answers:
                rotation.frame(conid, now, has_greeks=has_greeks)
        latest[now] = rotation.overdue(now)
        now += 1.0

    assert latest[math.floor(limit_s)] == {}
    assert latest[math.floor(limit_s) + 1] == {1: (outcome, math.floor(limit_s) + 1)}
    assert rotation.warming(now) == 0


def test_the_interval_is_measured_from_turn_to_turn():
    rotation = Rotation()
    rotation.assign(range(2), 1, 0.0)
    rotation.advance(0.0)
    rotation.frame(0, 1.0, has_greeks=True)
    rotation.frame(0, 9.0, has_greeks=True)
    assert rotation.measured_s == 0
    assert rotation.advance(10.0) == [1]
    rotation.frame(1, 12.0, has_greeks=True)
    assert rotation.advance(20.0) == [0]
    rotation.frame(0, 25.0, has_greeks=True)

    assert rotation.measured_s == 25.0 - 9.0


def test_a_frame_that_comes_after_its_turn_is_seen_and_no_interval():
    rotation = Rotation()
    rotation.assign(range(2), 1, 0.0)
    rotation.advance(0.0)
    rotation.frame(0, 1.0, has_greeks=True)
    rotation.advance(10.0)
    rotation.frame(1, 11.0, has_greeks=True)
    assert rotation.frame(0, 10.1, has_greeks=True) == (False, False)
    rotation.advance(20.0)
    rotation.frame(0, 21.0, has_greeks=True)
    rotation.advance(30.0)

    assert rotation.frame(0, 30.1, has_greeks=True) == (False, False)

    assert rotation.measured_s == 21.0 - 10.1


def test_a_new_contract_comes_before_those_that_wait():
    rotation = Rotation()
    rotation.assign([1, 2, 3], 1, 0.0)
    rotation.advance(0.0)
    rotation.frame(1, 1.0, has_greeks=True)
    rotation.assign([1, 2, 3, 4], 1, 5.0)

    assert rotation.advance(10.0) == [4]


def test_fewer_lines_end_the_turns_that_would_end_first():
    rotation = Rotation()
    rotation.assign(range(4), 3, 0.0)
    rotation.advance(0.0)
    rotation.frame(1, 1.0, has_greeks=True)

    rotation.assign(range(4), 2, 2.0)

    assert set(rotation.in_turn) == {0, 2}
    assert rotation.advance(2.0) == []


def test_a_new_connection_begins_with_the_turns_that_were_cut_off():
    rotation = Rotation()
    rotation.assign(range(4), 2, 0.0)
    rotation.advance(0.0)
    rotation.frame(1, 1.0, has_greeks=True)

    rotation.connected(5.0)

    assert rotation.in_turn == ()
    assert rotation.advance(5.0) == [0, 2]
    assert rotation.measured_s == 0


def test_nothing_is_due_without_contracts():
    rotation = Rotation()

    assert (rotation.next_at(), rotation.advance(1.0)) == (math.inf, [])
    assert (rotation.promised_s, rotation.measured_s) == (0, 0)
