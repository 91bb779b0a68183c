"""The rotation: every contract has its turn in time, whatever the weights are."""

from __future__ import annotations

import heapq
import math
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from greeks_trio.brokers.ibkr.lines.rotation import (
    GREEKS_WAIT_S,
    Rotation,
    longest_interval_s,
)


class World:
    """A gateway: each turn brings the first Greeks after a time of its own.

    ``answer_s`` returns that time for a contract, infinity for none.
    """

    def __init__(self, contracts, lines, *, answer_s, weigh=None):
        self.rotation = Rotation()
        self.rotation.assign(range(contracts), lines, 0.0, weigh=weigh)
        self.answer_s = answer_s
        self.lines = lines
        self.now = 0.0
        self.last_seen = {}
        self.longest_s = dict.fromkeys(range(contracts), 0.0)
        self.turns = dict.fromkeys(range(contracts), 0)
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
            self.now = min(coming, due, until)
            while self._coming and self._coming[0][0] <= self.now:
                self._frame(heapq.heappop(self._coming))

    def _begin(self, conids):
        for conid in conids:
            self.turns[conid] += 1
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


@settings(max_examples=60, deadline=None)
@given(
    contracts=st.integers(2, 60),
    lines=st.integers(1, 59),
    seed=st.integers(0, 10**6),
    is_even=st.booleans(),
    slow=st.booleans(),
    mute=st.integers(0, 10),
)
def test_no_contract_waits_longer_than_promised_whatever_the_weights(
    contracts, lines, seed, is_even, slow, mute
):
    lines = min(lines, contracts - 1)
    random = Random(seed)
    weights = {each: random.choice((0.0, 1e-9, 1.0, 1e9)) for each in range(contracts)}
    never = set(random.sample(range(contracts), min(mute, contracts - 1)))
    answer_s = random_answers(random, never)
    if slow:
        answer_s = lambda conid: math.inf if conid in never else GREEKS_WAIT_S - 0.01  # noqa: E731
    world = World(
        contracts, lines, answer_s=answer_s, weigh=None if is_even else lambda: weights
    )
    promised_s = longest_interval_s(contracts, lines, is_even=is_even)

    world.run(3 * promised_s)
    world.close()

    assert world.rotation.promised_s == promised_s
    seen = {each: s for each, s in world.longest_s.items() if each not in never}
    assert max(seen.values()) <= promised_s
