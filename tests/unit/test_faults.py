from __future__ import annotations

import pytest
import trio

from greeks_trio.simulators.faults import Fault, parse_fault, run_faults


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("ibkr:drop@30", Fault("ibkr", "drop", 30.0, 5.0)),
        ("tastytrade:drop@0.5:12", Fault("tastytrade", "drop", 0.5, 12.0)),
        ("ibkr:drop@1:0", Fault("ibkr", "drop", 1.0, 0.0)),
    ],
)
def test_a_fault_says_who_what_when_and_how_much(text, fault):
    assert parse_fault(text) == fault


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is not BROKER:NAME@SECONDS"),
        ("drop@3", "is not BROKER:NAME@SECONDS"),
        ("ibkr:drop", "is not BROKER:NAME@SECONDS"),
        ("schwab:drop@3", "unknown broker 'schwab'"),
        ("ibkr:explode@3", "unknown fault 'explode'"),
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
