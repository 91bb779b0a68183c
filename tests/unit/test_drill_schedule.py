"""The schedule of a drill is its seed."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greeks_trio.commands.options import FaultKinds
from greeks_trio.drill.faults import ACTS
from greeks_trio.drill.schedule import KIND_SETS, KINDS, SILENCE_S, draw_schedule

ALL = tuple(KINDS)


def draw(seed=1, kinds=ALL, minutes=5.0, interval_s=8.0):
    return draw_schedule(seed=seed, kinds=kinds, minutes=minutes, interval_s=interval_s)


def test_every_kind_can_be_acted_and_no_other():
    assert set(ACTS) == set(KINDS)


@given(st.integers(), st.sets(st.sampled_from(ALL), min_size=1))
def test_the_same_seed_gives_the_same_faults_whatever_the_order_of_kinds(seed, kinds):
    names = sorted(kinds)

    assert draw(seed, names) == draw(seed, [*reversed(names), names[0]])


def test_another_seed_gives_other_faults():
    assert draw(1) != draw(2)


def test_a_seed_means_the_same_in_every_version():
    """A failed drill is repeated by its seed, so the numbers must not move."""
    faults = draw(7, ["kill-service", "cut-broker"], minutes=0.5)

    told = [
        (each.number, each.kind, each.at_s, each.broker, each.seconds)
        for each in faults
    ]
    assert told == [
        (1, "cut-broker", 1.803, "ibkr", 2.361),
        (2, "kill-service", 8.995, None, 0.0),
        (3, "cut-broker", 21.484, "tastytrade", 2.708),
        (4, "kill-service", 25.367, None, 0.0),
    ]


@given(
    st.integers(),
    st.sets(st.sampled_from(ALL), min_size=1),
    st.floats(0.05, 30.0),
    st.floats(0.5, 60.0),
)
def test_faults_come_in_order_within_the_time_and_within_their_bounds(
    seed, kinds, minutes, interval_s
):
    faults = draw(seed, sorted(kinds), minutes, interval_s)

    assert [each.number for each in faults] == list(range(1, len(faults) + 1))
    assert all(a.at_s <= b.at_s for a, b in pairwise(faults))
    assert all(each.at_s <= minutes * 60.0 for each in faults[1:])
    for each in faults:
        kind = KINDS[each.kind]
        extra = SILENCE_S[each.broker] if each.kind == "silent" else 0.0
        shortest_s, longest_s = (bound + extra for bound in kind.seconds)
        assert each.kind in kinds
        assert shortest_s - 0.001 <= each.seconds <= longest_s + 0.001
        assert kind.values[0] - 0.001 <= each.value <= kind.values[1] + 0.001
        assert (each.broker is not None) == kind.hits_broker


def test_a_very_short_drill_has_one_fault():
    assert len(draw(minutes=0.0001)) == 1


@pytest.mark.parametrize("seed", range(5))
def test_an_hour_of_the_usual_faults_has_two_hundred_kills(seed):
    faults = draw(seed, KIND_SETS["usual"], minutes=60.0)
    kinds = Counter(each.kind for each in faults)

    assert sum(KINDS[name].is_kill * number for name, number in kinds.items()) >= 200
    assert set(kinds) == set(KIND_SETS["usual"])


def test_mild_faults_end_no_process():
    mild = set(KIND_SETS["mild"])

    assert not mild & {name for name, kind in KINDS.items() if kind.is_kill}
    assert not mild & {"stop-service", "restart-postgres"}
    assert {"cut-database", "freeze-postgres", "clock-step", "drop"} <= mild


def test_a_set_of_kinds_stands_for_its_members():
    kinds = FaultKinds().convert("mild,kill-service,drop", None, None)

    assert kinds == (*KIND_SETS["mild"], "kill-service")
