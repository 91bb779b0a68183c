from __future__ import annotations

import pytest

from greeks_trio.simulators.pacing import (
    BATCH_INTERVAL_S,
    MAX_DEBT_S,
    Allowance,
    Pacer,
)


@pytest.mark.parametrize("rate", [0.5, 7, 50, 3_333, 10_000])
def test_the_rate_does_not_drift(rate):
    pacer, now, taken = Pacer(rate, now=100.0), 100.0, 0

    while now < 160.0:
        now = pacer.next_at(now) + 0.0003  # no task wakes up exactly in time
        taken += pacer.take_due(now)

    assert abs(taken - rate * (now - 100.0)) <= 1 + rate * 0.001


def test_at_a_low_rate_each_tick_has_its_own_time():
    pacer = Pacer(10, now=0.0)

    times = [pacer.next_at(0.0)]
    pacer.take_due(0.1001)
    times.append(pacer.next_at(0.1001))

    assert times == [0.1, 0.2]


def test_at_a_high_rate_ticks_are_taken_together():
    pacer = Pacer(10_000, now=0.0)

    assert pacer.next_at(0.0) == BATCH_INTERVAL_S
    assert pacer.take_due(BATCH_INTERVAL_S) == 20


def test_ticks_missed_in_a_long_stall_are_not_made_up_for():
    pacer = Pacer(100, now=0.0)

    assert pacer.take_due(MAX_DEBT_S) == 50
    assert pacer.take_due(60.0) == 1
    assert pacer.take_due(60.1) == 10


def test_without_a_rate_nothing_is_ever_due():
    pacer = Pacer(0, now=0.0)

    assert pacer.next_at(5.0) == float("inf")
    assert pacer.take_due(5.0) == 0


def test_an_allowance_is_used_up_and_comes_back_with_time():
    allowance = Allowance(2, 0.5, now=0.0)

    answers = [allowance.take(now) for now in (0.0, 0.0, 1.0, 2.0, 2.0, 100.0, 100.0)]

    assert answers == [True, True, False, True, False, True, True]
