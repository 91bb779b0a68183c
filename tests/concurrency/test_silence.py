from __future__ import annotations

import pytest
import trio

from greeks_trio.errors import FeedSilent
from greeks_trio.feeds.silence import SilenceWatch

LIMIT_S = 30.0


@pytest.fixture
async def watch():
    return SilenceWatch(lambda: LIMIT_S)


async def silence(watch):
    """Return when the watch calls the peer silent."""
    with pytest.raises(FeedSilent, match="silent for 30"):
        await watch.run(lambda limit_s: f"silent for {limit_s:.0f} s")
    return trio.current_time()


async def frames_at(watch, *times):
    for at in times:
        await trio.sleep_until(at)
        watch.heard()
        watch.reading()


async def test_silence_costs_exactly_its_limit(autojump_clock, watch):
    assert await silence(watch) == LIMIT_S


@pytest.mark.parametrize("times", [[0.25], [28.9], [29.5], [10, 29.5, 58.9, 85]])
async def test_silence_counts_from_the_last_frame(
    autojump_clock, nursery, watch, times
):
    nursery.start_soon(frames_at, watch, *times)

    assert await silence(watch) == times[-1] + LIMIT_S


async def test_a_frame_that_waits_for_the_pipeline_is_no_silence(
    autojump_clock, nursery, watch
):
    async def hand_over_slowly():
        watch.heard()
        await trio.sleep(1000)
        watch.reading()

    nursery.start_soon(hand_over_slowly)

    assert 1000 + LIMIT_S <= await silence(watch) <= 1000 + 2 * LIMIT_S


@pytest.mark.parametrize("standstill_at", [1.0, 28.0, 29.5])
async def test_a_standstill_of_this_process_leaves_time_to_read(
    autojump_clock, nursery, watch, standstill_at
):
    """As after SIGSTOP and SIGCONT; the reader needs half a second for the waiting frames."""

    async def stand_still():
        await trio.sleep_until(standstill_at)
        autojump_clock.jump(100)
        await trio.sleep(0.5)
        watch.heard()
        watch.reading()

    nursery.start_soon(stand_still)

    assert await silence(watch) == standstill_at + 100.5 + LIMIT_S


async def test_a_peer_that_stays_silent_after_a_standstill_is_silent(
    autojump_clock, nursery, watch
):
    async def stand_still():
        await trio.sleep(20)
        autojump_clock.jump(100)

    nursery.start_soon(stand_still)

    assert await silence(watch) <= 120 + 2


async def test_the_limit_may_change_with_the_configuration(autojump_clock):
    limits = iter([30.0, 30.0, 12.0, 12.0])
    watch = SilenceWatch(lambda: next(limits))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(frames_at, watch, 20, 45)

        with pytest.raises(FeedSilent):
            await watch.run(lambda limit_s: f"{limit_s}")

    assert trio.current_time() == 57
