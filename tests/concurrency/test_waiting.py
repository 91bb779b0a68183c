from __future__ import annotations

import math

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from greeks_trio.waiting import Backoff, Pace, WakeUp, run_in_slices


def test_the_delay_doubles_up_to_its_ceiling():
    backoff = Backoff(min_delay_s=1, max_delay_s=5, jitter=lambda: 1.0)

    assert [backoff.next_delay() for _ in range(5)] == [1, 2, 4, 5, 5]


def test_after_a_reset_the_delay_is_the_shortest_again():
    backoff = Backoff(min_delay_s=1, max_delay_s=5, jitter=lambda: 1.0)
    backoff.next_delay()
    backoff.next_delay()

    backoff.reset()

    assert backoff.next_delay() == 1
    assert backoff.attempts == 1


@given(st.integers(0, 5_000), st.floats(0, 1))
def test_the_delay_stays_within_its_bounds_after_any_number_of_attempts(
    attempts, jitter
):
    backoff = Backoff(min_delay_s=1, max_delay_s=5, jitter=lambda: jitter)
    backoff.attempts = attempts

    assert 0.5 <= backoff.next_delay() <= 5


async def test_waiting_takes_the_delay(autojump_clock):
    await Backoff(min_delay_s=1, jitter=lambda: 1.0).wait()

    assert trio.current_time() == 1


async def test_a_wake_up_wakes_the_tasks_that_wait_and_no_later_ones(nursery):
    wake_up, woken = WakeUp(), []

    async def wait(name):
        await wake_up.wait()
        woken.append(name)

    nursery.start_soon(wait, "a")
    nursery.start_soon(wait, "b")
    await wait_all_tasks_blocked()
    wake_up.wake()
    await wait_all_tasks_blocked()
    nursery.start_soon(wait, "c")
    await wait_all_tasks_blocked()

    assert sorted(woken) == ["a", "b"]
    nursery.cancel_scope.cancel()


async def test_a_wait_beyond_a_number_of_calls_misses_none(autojump_clock):
    wake_up = WakeUp()
    seen = wake_up.calls
    wake_up.wake()

    await wake_up.wait_beyond(seen)

    with trio.move_on_after(1) as scope:
        await wake_up.wait_beyond(wake_up.calls)
    assert scope.cancelled_caught


async def test_a_long_computation_gives_other_tasks_turns_and_returns_its_result():
    turns = 0

    async def take_turns():
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    def compute():
        seen = set()
        while len(seen) < 4:  # it ends only if other tasks run meanwhile
            seen.add(turns)
            yield
        return sorted(seen)

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(take_turns)
            result = await run_in_slices(compute())
            nursery.cancel_scope.cancel()

    assert len(result) == 4


async def test_a_long_computation_can_be_cancelled():
    def compute():
        while True:
            yield

    with trio.move_on_after(0.01) as scope:
        await run_in_slices(compute())

    assert scope.cancelled_caught


async def test_an_error_of_a_long_computation_reaches_the_caller():
    def compute():
        yield
        raise ValueError("no row")

    with pytest.raises(ValueError, match="no row"):
        await run_in_slices(compute())


async def steps(due_every_s, number, **options):
    """Take so many steps; return for each when it was due and when it began, in ms."""
    pace, found = Pace(0.005, **options), []
    for step in range(number):
        await trio.sleep_until(step * due_every_s)
        await pace.wait()
        pace.note()
        found.append((1000 * step * due_every_s, 1000 * trio.current_time()))
    return found


async def test_steps_without_a_break_begin_one_in_each_interval(autojump_clock):
    found = await steps(0.0011, 30)

    assert all(began == pytest.approx(due) for due, began in found[:21])
    first = 5.0 * math.ceil(found[20][1] / 5.0)
    assert [began for _, began in found[21:]] == pytest.approx(
        [first + 5.0 * number for number in range(9)]
    )


async def test_the_intervals_of_some_begin_later(autojump_clock):
    found = await steps(0.0011, 30, offset_s=0.002)

    assert [began % 5.0 for _, began in found[21:]] == pytest.approx([2.0] * 9)


async def test_steps_with_breaks_are_never_delayed(autojump_clock):
    assert all(began == pytest.approx(due) for due, began in await steps(0.01, 50))


async def test_a_break_makes_the_next_steps_free_again(autojump_clock):
    pace = Pace(0.005)
    for _ in range(100):
        await pace.wait()
        pace.note()
    before = trio.current_time()

    await trio.sleep(0.01)
    for _ in range(20):
        await pace.wait()
        pace.note()

    assert trio.current_time() == pytest.approx(before + 0.01)
