from __future__ import annotations

import pytest
import trio

from greeks_trio.simulators.conditions import Conditions
from greeks_trio.simulators.faults import (
    Fault,
    parse_fault,
    parse_present_fault,
    run_faults,
)
from greeks_trio.simulators.registry import SIMULATORS


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("ibkr:drop@30", Fault("ibkr", "drop", 30.0, 5.0)),
        ("tastytrade:drop@0.5:12", Fault("tastytrade", "drop", 0.5, 12.0)),
        ("ibkr:drop@1:0", Fault("ibkr", "drop", 1.0, 0.0)),
    ],
)
def test_a_fault_has_broker_name_time_and_argument(text, fault):
    assert parse_fault(text) == fault


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is not BROKER:NAME@SECONDS"),
        ("drop@3", "is not BROKER:NAME@SECONDS"),
        ("ibkr:drop", "is not BROKER:NAME@SECONDS"),
        ("schwab:drop@3", "unknown broker 'schwab'"),
        ("ibkr:explode@3", "unknown fault 'explode'.*ibkr knows: drop"),
        ("tastytrade:compete@3", "unknown fault 'compete'.*tastytrade knows: drop"),
        ("ibkr:drop@3:86401", "is above 86400"),
        ("ibkr:drop@soon", "the time 'soon'"),
        ("ibkr:drop@-1", "the time '-1'"),
        ("ibkr:drop@nan", "the time 'nan'"),
        ("ibkr:drop@3:", "the argument ''"),
        ("ibkr:drop@3:inf", "the argument 'inf'"),
    ],
)
def test_a_fault_that_cannot_be_is_refused_with_its_reason(text, complaint):
    with pytest.raises(ValueError, match=complaint):
        parse_fault(text)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("ibkr:drop", Fault("ibkr", "drop", 0.0, 5.0)),
        ("tastytrade:drop:12.5", Fault("tastytrade", "drop", 0.0, 12.5)),
    ],
)
def test_a_fault_without_a_time_is_one_at_once(text, fault):
    assert parse_present_fault(text) == fault


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("ibkr", "is not BROKER:NAME"),
        ("ibkr:", "is not BROKER:NAME"),
        ("ibkr:drop@3", "is not BROKER:NAME"),
        ("schwab:drop", "unknown broker 'schwab'"),
        ("ibkr:drop:", "the argument ''"),
    ],
)
def test_a_fault_at_once_that_cannot_be_is_refused_with_its_reason(text, complaint):
    with pytest.raises(ValueError, match=complaint):
        parse_present_fault(text)


@pytest.mark.parametrize("broker", SIMULATORS)
def test_every_fault_has_one_line_of_help_that_names_its_argument(broker):
    for name, kind in SIMULATORS[broker].faults.items():
        assert kind.help.count("\n") == 0
        assert ("ARG" in kind.help) == (kind.default is not None), name


async def test_faults_happen_at_their_times_and_a_long_one_delays_none(autojump_clock):
    happened: list[tuple[float, float]] = []

    async def drop(arg: float) -> None:
        happened.append((trio.current_time(), arg))
        await trio.sleep(10)

    faults = [Fault("ibkr", "drop", 7, 2), Fault("ibkr", "drop", 3, 1)]

    await run_faults(faults, {"drop": drop})

    assert happened == [(3.0, 1), (7.0, 2)]
    assert trio.current_time() == 17.0


async def test_a_cancellation_ends_a_fault_under_way(autojump_clock):
    with trio.move_on_after(5):
        await run_faults([Fault("ibkr", "drop", 1, 99)], {"drop": trio.sleep})

    assert trio.current_time() == 5.0


async def test_a_condition_holds_until_its_last_holder_is_done(autojump_clock):
    conditions = Conditions()
    changes: list[tuple[float, bool]] = []
    conditions.watchers.add(
        lambda: changes.append((trio.current_time(), conditions.holds("nan", "cold")))
    )

    async with trio.open_nursery() as nursery:
        nursery.start_soon(conditions.hold, "nan", 5)
        await trio.sleep(2)
        nursery.start_soon(conditions.hold, "nan", 2)
        await trio.sleep(1)
        left = conditions.seconds_left("nan")

    assert left == 2.0
    assert changes == [(0.0, True), (2.0, True), (4.0, True), (5.0, False)]
    assert not conditions.holds("nan")


async def test_a_condition_whose_holder_is_cancelled_is_over(autojump_clock):
    conditions = Conditions()

    with trio.move_on_after(1):
        await conditions.hold("nan", 99)

    assert not conditions.holds("nan")
    assert conditions.seconds_left("nan") == 0.0


async def test_all_conditions_can_be_ended_before_their_time(autojump_clock):
    conditions = Conditions()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(conditions.hold, "silent", 99)
        await trio.sleep(1)
        nursery.start_soon(conditions.wait_over, "silent")
        await trio.sleep(1)
        conditions.end_all()
        over = not conditions.holds("silent")
        await trio.testing.wait_all_tasks_blocked()
        waiting = len(conditions.watchers)
        nursery.cancel_scope.cancel()

    assert over
    assert waiting == 0
