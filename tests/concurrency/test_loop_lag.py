from __future__ import annotations

import pytest
import trio

from greeks_trio.monitoring.loop_lag import INTERVAL_S, LoopLag, run_loop_lag


async def test_a_free_loop_is_in_time(nursery, autojump_clock):
    lag = LoopLag()
    nursery.start_soon(run_loop_lag, lag)

    await trio.sleep(60)

    assert lag.since_start().count == pytest.approx(60 / INTERVAL_S, abs=2)
    assert lag.since_start().max == pytest.approx(0.0, abs=1e-9)


async def test_the_time_that_the_loop_was_blocked_is_measured(nursery, autojump_clock):
    lag = LoopLag()
    nursery.start_soon(run_loop_lag, lag)
    await trio.sleep(10 * INTERVAL_S + INTERVAL_S / 2)

    autojump_clock.jump(0.35)  # a computation without a checkpoint
    await trio.sleep(INTERVAL_S)

    # Due half an interval after it began.
    assert lag.window().max == pytest.approx(0.35 - INTERVAL_S / 2)
    assert lag.buckets.above(0.25) == 1
    assert lag.buckets.above(0.5) == 0


async def test_the_window_forgets_and_the_start_does_not(nursery, autojump_clock):
    lag = LoopLag()
    nursery.start_soon(run_loop_lag, lag)
    await trio.sleep(INTERVAL_S / 2)
    autojump_clock.jump(2.0)

    await trio.sleep(70)

    assert lag.window().max < 0.001
    assert lag.since_start().max > 1.9


async def test_it_ends_when_it_is_cancelled(autojump_clock):
    lag = LoopLag()

    with trio.move_on_after(1.0) as scope:
        await run_loop_lag(lag)

    assert scope.cancelled_caught
    assert trio.current_time() == 1.0
    assert lag.since_start().count == pytest.approx(10, abs=1)
