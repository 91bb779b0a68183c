from __future__ import annotations

from datetime import timedelta

import pytest

from greeks_trio.model.clock import DATABASE, OURS, in_words, judge, offset_s
from greeks_trio.model.condition_kinds import ConditionKind
from greeks_trio.pipeline.conditions import Conditions
from greeks_trio.pipeline.service_clock import ServiceClock
from tests.factories import START

YEAR_S = 365 * 86_400.0
DAY_S = 86_400.0


class Machine:
    """The two clocks of a machine, moved by hand."""

    def __init__(self):
        self.wall_at, self.monotonic_at = START, 1000.0
        self.conditions = Conditions()
        self.corrections = 0
        self.clock = ServiceClock(
            self.conditions,
            30,
            wall=lambda: self.wall_at,
            monotonic=lambda: self.monotonic_at,
        )
        self.clock.on_correction = self._count

    def _count(self):
        self.corrections += 1

    def pass_s(self, seconds):
        self.wall_at += timedelta(seconds=seconds)
        self.monotonic_at += seconds

    def step(self, seconds):
        self.wall_at += timedelta(seconds=seconds)

    def read(self, name, ahead_s, **options):
        at = self.wall_at + timedelta(seconds=ahead_s)
        self.clock.compare(name, at, round_trip_s=0.0, **options)

    def ahead_s(self):
        return (self.clock.now() - self.wall_at).total_seconds()

    def counts(self):
        return {kind: n for kind, n in self.conditions.counts().items() if n}


@pytest.fixture
def machine():
    return Machine()


@pytest.mark.parametrize(
    ("offsets", "correction", "wrong"),
    [
        ({}, 0, []),
        ({DATABASE: 29.0}, 0, []),
        ({DATABASE: YEAR_S}, YEAR_S, [OURS]),
        ({"ibkr": -YEAR_S}, -YEAR_S, [OURS]),
        ({DATABASE: YEAR_S, "ibkr": YEAR_S + 2}, YEAR_S, [OURS]),
        ({DATABASE: YEAR_S, "ibkr": 1.0}, 0, [DATABASE]),
        ({DATABASE: 0.0, "ibkr": 3600.0}, 0, ["ibkr"]),
        ({DATABASE: 3600.0, "ibkr": 7200.0}, 3600, ["ibkr", OURS]),
        ({DATABASE: 3600.0, "ibkr": 0.0, "tastytrade": 3599.0}, 3600, ["ibkr", OURS]),
    ],
)
def test_the_majority_is_right_and_then_the_database(offsets, correction, wrong):
    verdict = judge(offsets, 30)

    assert verdict.correction_s == correction
    assert sorted(verdict.wrong) == sorted(wrong)
    assert set(verdict.right) == {OURS, *offsets} - set(wrong)


def test_the_other_clock_was_read_in_the_middle_of_the_round_trip():
    assert offset_s(START + timedelta(seconds=3), START, 2.0) == -2.0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (31, "31 seconds ahead of"),
        (-600, "10 minutes behind"),
        (7300, "2 hours ahead of"),
        (-YEAR_S, "365 days behind"),
    ],
)
def test_a_difference_in_words(seconds, words):
    assert in_words(seconds) == words


async def test_a_clock_that_is_a_year_behind_is_corrected_and_named(machine, caplog):
    machine.read(DATABASE, YEAR_S)
    machine.read("ibkr", YEAR_S - 1, resolution_s=1)

    assert machine.ahead_s() == YEAR_S
    assert machine.counts() == {"clock differs": 1}
    assert machine.corrections == 1
    [sentence] = machine.conditions.sentences(ConditionKind.CLOCK_DIFFERS.severity)
    assert sentence.startswith(
        "the clock of this machine is 365 days behind that of the database and ibkr;"
    )
    critical = [each.message for each in caplog.records if each.levelname == "CRITICAL"]
    assert len(critical) == 2

    machine.step(YEAR_S)  # a person sets it
    assert machine.ahead_s() == 0
    machine.read(DATABASE, 0)
    assert machine.counts() == {}


async def test_a_step_of_our_clock_is_not_believed_until_the_database_confirms_it(
    machine,
):
    machine.read(DATABASE, 0.5)
    before = machine.clock.now()
    machine.pass_s(5)
    machine.step(-DAY_S)

    assert machine.clock.now() - before == timedelta(seconds=5)
    assert machine.counts() == {"clock differs": 1}

    # The machine had slept: the database has gone on, too.
    machine.read(DATABASE, 0)
    assert machine.ahead_s() == 0
    assert machine.counts() == {}


async def test_without_another_clock_ours_is_believed(machine):
    machine.step(YEAR_S)
    machine.pass_s(1)

    assert machine.ahead_s() == 0
    assert machine.counts() == {}


async def test_the_clock_of_the_database_is_named_if_the_brokers_agree_with_ours(
    machine,
):
    for name, ahead_s in ((DATABASE, -DAY_S), ("ibkr", 0.3)):
        machine.read(name, ahead_s)

    assert machine.ahead_s() == 0
    [sentence] = machine.conditions.sentences(ConditionKind.CLOCK_DIFFERS.severity)
    assert "the clock of the database is 24 hours behind" in sentence


async def test_a_brokers_clock_alone_is_a_degradation(machine):
    machine.read(DATABASE, 0)
    machine.read("ibkr", 3600)

    assert machine.ahead_s() == 0
    assert machine.counts() == {"broker clock differs": 1}


async def test_a_reading_on_this_machine_that_agrees_has_no_vote(machine):
    """A gateway and a server on this machine have our own clock."""
    machine.read(DATABASE, 0, is_here=True)
    machine.read("ibkr", 0, is_here=True)
    machine.read("tastytrade", YEAR_S)

    assert machine.ahead_s() == YEAR_S

    machine.read("ibkr", YEAR_S, is_here=True)  # it passes on the broker's own time
    assert machine.clock.differences_s() == {"tastytrade": YEAR_S, "ibkr": YEAR_S}


async def test_a_slow_answer_and_an_old_one_say_nothing(machine):
    machine.clock.compare(
        DATABASE, machine.wall_at + timedelta(days=1), round_trip_s=61.0
    )
    assert machine.counts() == {}

    machine.read("ibkr", YEAR_S)
    machine.pass_s(3601)
    machine.read(DATABASE, 0)
    assert machine.clock.differences_s() == {DATABASE: 0}


def test_a_standstill_between_the_two_readings_is_no_step(machine):
    machine.read("ibkr", 0.0)
    stands_still = [True]

    def wall():
        at = machine.wall_at
        if stands_still.pop() if stands_still else False:
            machine.pass_s(40)
        return at

    machine.clock._wall = wall

    assert machine.clock.now() == machine.wall_at
    assert machine.clock.correction_s() == 0
