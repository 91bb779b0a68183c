"""A standstill of the process: where a gap starts, and when the sockets are read out."""

from __future__ import annotations

from datetime import timedelta

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from greeks_trio.feeds.hand_over import hand_over
from greeks_trio.feeds.health import FeedHealth
from greeks_trio.feeds.standstill import READ_OUT_LIMIT_S, StandstillWatch
from tests.concurrency.ibkr_gateway import KeptJournal
from tests.factories import START, clock_of_trio, make_tick

SECOND = timedelta(seconds=1)


class Feed:
    """A connected feed under a watch; frames and standstills are made by the test."""

    def __init__(self):
        self.journal = KeptJournal()
        self.health = FeedHealth("ibkr", self.journal, now=clock_of_trio(START))
        self.watch = StandstillWatch([self.health], clock=trio.current_time)

    def stand_still(self, clock, seconds):
        """Stand still after a time without a standstill."""
        self.watch._alive_at = trio.current_time()
        clock.jump(seconds)
        self.watch.look()

    def read(self, event_s):
        """Read a frame with an event of so many seconds after the start."""
        self.health.frames_read(1, self.health.now())
        self.health.last_read.ticks(START + event_s * SECOND)

    def gap_s(self):
        """Return when the gap of the end starts, in seconds after the start."""
        self.health.service_stopped()
        return (self.journal.recorded[-1].started_at - START) / SECOND


@pytest.fixture
async def feed(autojump_clock):
    feed = Feed()
    feed.health.connected()
    feed.health.now()  # its clock goes from here
    return feed


async def test_after_a_standstill_a_gap_starts_with_the_last_event(
    feed, autojump_clock
):
    await trio.sleep(10)
    feed.read(9.9)
    feed.stand_still(autojump_clock, 40)
    feed.read(20.5)

    assert feed.health.last_read.is_behind
    assert feed.gap_s() == 20.5


async def test_a_frame_that_is_read_late_does_not_move_it(feed, autojump_clock):
    await trio.sleep(10)
    feed.read(9.9)
    feed.stand_still(autojump_clock, 40)
    feed.health.frames_read(1, feed.health.now())

    assert feed.gap_s() == pytest.approx(10)


async def test_ticks_of_a_feed_that_is_not_connected_yet_count_too(
    feed, autojump_clock
):
    feed.health.disconnected("reset")
    feed.health.connecting()
    feed.read(0)
    feed.stand_still(autojump_clock, 40)

    assert feed.health.last_read.is_behind


async def test_delayed_data_do_not_move_it_before_the_standstill(feed, autojump_clock):
    await trio.sleep(1_000)
    feed.read(100)
    feed.stand_still(autojump_clock, 40)
    feed.read(120)

    assert feed.gap_s() == pytest.approx(1_000)


@pytest.mark.parametrize("how", ["an event of now", "an empty socket", "half a minute"])
async def test_once_the_socket_is_read_a_gap_starts_with_the_last_frame(
    feed, autojump_clock, nursery, how
):
    nursery.start_soon(feed.watch.run)
    await trio.sleep(10.05)
    autojump_clock.jump(40)
    await trio.sleep(0.1)
    assert feed.health.last_read.is_behind
    feed.read(20)
    if how == "an event of now":
        feed.read(50.1)
    elif how == "an empty socket":
        await trio.sleep(1)
    else:
        for number in range(400):
            await trio.sleep(0.1)
            feed.read(20 + number / 100)

    assert not feed.health.last_read.is_behind
    read_at = feed.health.session().last_message_at
    assert feed.gap_s() == (read_at - START) / SECOND


async def test_a_process_that_runs_late_has_not_seen_an_empty_socket(
    feed, autojump_clock, nursery
):
    """It has a small share of the processor, so each turn takes most of a second."""
    nursery.start_soon(feed.watch.run)
    await trio.sleep(10.05)
    feed.read(10)
    autojump_clock.jump(40)
    await trio.sleep(0.1)
    for _ in range(5):
        autojump_clock.jump(0.9)
        await wait_all_tasks_blocked()
        assert feed.health.last_read.is_behind
    assert feed.gap_s() == pytest.approx(10, abs=0.1)


async def test_a_feed_that_waits_for_the_pipeline_has_not_seen_an_empty_socket(
    feed, autojump_clock, nursery
):
    nursery.start_soon(feed.watch.run)
    send, receive = trio.open_memory_channel(0)
    await trio.sleep(10.05)
    autojump_clock.jump(40)
    await trio.sleep(0.1)
    feed.health.frames_read(1, feed.health.now())
    nursery.start_soon(hand_over, send, [make_tick(0)], feed.health)
    await trio.sleep(5)
    assert feed.health.last_read.is_behind

    await receive.receive()
    await trio.sleep(0.3)
    assert feed.health.last_read.is_behind
    await trio.sleep(1)
    assert not feed.health.last_read.is_behind
    send.close()
    receive.close()


async def test_a_stop_reads_the_socket_out_first(feed, autojump_clock, nursery):
    done = trio.Event()

    async def stop():
        await feed.watch.read_out()
        done.set()

    await trio.sleep(10)
    feed.watch.look()
    autojump_clock.jump(40)
    nursery.start_soon(stop)
    await wait_all_tasks_blocked()
    feed.read(20)
    await wait_all_tasks_blocked()
    assert not done.is_set()

    feed.read(50)
    await wait_all_tasks_blocked()

    assert done.is_set()


async def test_a_stop_does_not_wait_for_ever(feed, autojump_clock):
    feed.watch.look()
    autojump_clock.jump(40)
    began_at = trio.current_time()

    await feed.watch.read_out()

    waited_s = trio.current_time() - began_at
    assert waited_s == pytest.approx(READ_OUT_LIMIT_S, abs=0.1)


async def test_without_a_standstill_a_stop_does_not_wait(feed):
    feed.watch.look()
    with trio.fail_after(READ_OUT_LIMIT_S / 2):
        await feed.watch.read_out()


async def test_a_feed_without_a_connection_is_not_behind(feed, autojump_clock):
    feed.health.disconnected("gone")
    feed.stand_still(autojump_clock, 40)

    assert not feed.health.last_read.is_behind


async def test_it_ends_when_it_is_cancelled(feed):
    with trio.move_on_after(1.0) as scope:
        await feed.watch.run()

    assert scope.cancelled_caught
