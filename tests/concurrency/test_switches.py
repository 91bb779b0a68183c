"""The switch of each broker's feed, on feeds that the test controls."""

from __future__ import annotations

from datetime import timedelta

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from greeks_trio.errors import CredentialsRejected, FeedInterrupted
from greeks_trio.feeds.hand_over import hand_over
from greeks_trio.feeds.health import STOPPING_BY_REQUEST, FeedHealth
from greeks_trio.feeds.switch import STOP_LIMIT_S
from greeks_trio.feeds.switches import FeedSwitches, missing_feeds
from greeks_trio.model.gap_reasons import GapReason
from greeks_trio.model.records import FeedGap
from tests.concurrency.ibkr_gateway import KeptJournal
from tests.factories import START, make_frame, make_record


def now():
    return START + timedelta(seconds=trio.current_time())


class FakeFeed:
    """One broker's feed: it connects at once, and ends when it is cancelled.

    Attributes:
        attempts: When each connection began.
        open: Connections that have not ended.
        fails: The error that the next connections raise instead of connecting.
        ends_in_s: The seconds that the end of a connection takes in any case.
        refuses_at_its_end: Whether a cancelled connection raises a refused login.
    """

    def __init__(self, broker, journal):
        self.health = FeedHealth(broker, journal, now=now)
        self.attempts = []
        self.open = 0
        self.fails = None
        self.ends_in_s = 0.0
        self.refuses_at_its_end = False

    async def run_connection(self):
        self.attempts.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        if self.fails is not None:
            raise self.fails
        self.open += 1
        try:
            self.health.connected()
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(self.ends_in_s)
            self.open -= 1
            if self.refuses_at_its_end:
                raise CredentialsRejected("invalid_grant")

    @property
    def status(self):
        return self.health.session().status

    @property
    def last_error(self):
        return self.health.session().last_error


class Scene:
    """Both brokers' feeds, as the service runs them."""

    def __init__(self):
        self.journal = KeptJournal()
        self.ibkr = FakeFeed("ibkr", self.journal)
        self.tastytrade = FakeFeed("tastytrade", self.journal)
        self.feeds = {"ibkr": self.ibkr, "tastytrade": self.tastytrade}
        self.all_refused = trio.Event()
        self.switches = FeedSwitches(
            {broker: feed.health for broker, feed in self.feeds.items()},
            on_all_refused=self.all_refused.set,
        )
        self.scope = trio.CancelScope()

    async def run(self, *, task_status=trio.TASK_STATUS_IGNORED):
        """Run the feeds until `scope` is cancelled; started when they have connected."""
        with self.scope:
            async with trio.open_nursery() as nursery:
                for broker, feed in self.feeds.items():
                    run_connection = feed.run_connection
                    nursery.start_soon(self.switches.run, broker, run_connection)
                await wait_all_tasks_blocked()
                task_status.started()

    async def stop(self, *brokers):
        return await self.switches.stop(brokers)

    async def start(self, *brokers):
        await self.switches.start(brokers)
        await wait_all_tasks_blocked()

    def gaps(self):
        """Return (reason, start, end) of each gap, in seconds, `None` if it is open."""
        ends = {}
        for gap in self.journal.recorded:
            assert isinstance(gap, FeedGap)
            ends[gap.reason, gap.started_at] = gap.ended_at
        return [
            (reason, since_start(began), ended and since_start(ended))
            for (reason, began), ended in ends.items()
        ]


def since_start(moment):
    return (moment - START).total_seconds()


@pytest.fixture
async def scene(nursery):
    """A scene that runs and has connected at time 0."""
    scene = Scene()
    await nursery.start(scene.run)
    return scene


async def test_a_stop_ends_the_connection_and_leaves_the_other_alone(
    autojump_clock, scene, caplog
):
    caplog.set_level("INFO")
    await trio.sleep(10)

    late = await scene.stop("ibkr")

    assert list(late) == []
    assert scene.ibkr.open == 0
    assert (scene.ibkr.status, scene.ibkr.last_error) == (
        "disconnected",
        GapReason.STOPPED_BY_REQUEST,
    )
    assert scene.tastytrade.attempts == [0]
    assert (scene.tastytrade.open, scene.tastytrade.status) == (1, "connected")
    assert "streaming.stopped broker=ibkr" in caplog.messages
    assert trio.current_time() == 10


async def test_a_stop_returns_when_the_connection_has_really_ended(
    autojump_clock, scene, nursery
):
    scene.ibkr.ends_in_s = 2.5
    nursery.start_soon(scene.stop, "ibkr")
    await trio.sleep(1)
    assert (scene.ibkr.open, scene.ibkr.last_error) == (1, STOPPING_BY_REQUEST)

    await scene.stop("ibkr")

    assert scene.ibkr.open == 0
    assert scene.ibkr.last_error == GapReason.STOPPED_BY_REQUEST
    assert trio.current_time() == 2.5


async def test_a_connection_that_does_not_end_in_time_is_reported(
    autojump_clock, scene, caplog
):
    scene.ibkr.ends_in_s = 60

    late = await scene.stop("ibkr", "tastytrade")

    assert list(late) == ["ibkr"]
    assert trio.current_time() == STOP_LIMIT_S
    assert scene.ibkr.last_error == STOPPING_BY_REQUEST
    assert scene.tastytrade.last_error == GapReason.STOPPED_BY_REQUEST
    assert "streaming.stop_takes_long broker=ibkr" in caplog.messages

    await trio.sleep(60)
    assert scene.ibkr.last_error == GapReason.STOPPED_BY_REQUEST


async def test_a_stopped_feed_stays_stopped_until_a_start_connects_it_again(
    autojump_clock, scene, caplog
):
    caplog.set_level("INFO")
    await trio.sleep(10)
    await scene.stop("ibkr")
    await trio.sleep(86_400)
    assert scene.ibkr.attempts == [0]

    await scene.start("ibkr")

    assert scene.ibkr.attempts == [0, 86_410]
    assert (scene.ibkr.status, scene.ibkr.last_error) == ("connected", None)
    assert scene.ibkr.open == 1
    assert caplog.messages.count("streaming.started broker=ibkr") == 1


async def test_a_start_is_visible_before_it_has_connected(autojump_clock, scene):
    await scene.stop("ibkr")

    await scene.switches.start(["ibkr"])

    assert (scene.ibkr.status, scene.ibkr.last_error) == ("connecting", None)


async def test_both_may_be_repeated(autojump_clock, scene, caplog):
    caplog.set_level("INFO")
    await scene.start("ibkr", "ibkr", "tastytrade")
    await scene.stop("ibkr", "ibkr")
    await trio.sleep(5)
    await scene.stop("ibkr")
    await scene.start("ibkr")
    await trio.sleep(5)
    await scene.start("ibkr")

    assert scene.ibkr.attempts == [0, 5]
    assert scene.gaps() == [(GapReason.STOPPED_BY_REQUEST, 0, 5)]
    said = [text for text in caplog.messages if text.startswith("streaming.")]
    assert said == [
        "streaming.stopped broker=ibkr",
        "streaming.started broker=ibkr",
    ]


async def test_all_can_be_stopped_at_once(autojump_clock, scene):
    for feed in scene.feeds.values():
        feed.ends_in_s = 3

    await scene.stop("ibkr", "tastytrade")

    assert trio.current_time() == 3
    assert [feed.open for feed in scene.feeds.values()] == [0, 0]


async def test_calls_for_one_broker_take_their_turns(autojump_clock, scene, nursery):
    """No call waits for longer than the one connection needs; the last call wins."""
    scene.ibkr.ends_in_s = 1
    finished = {}

    async def call(name, function):
        await function(["ibkr"])
        finished[name] = trio.current_time()

    for name, function in [
        ("stop", scene.switches.stop),
        ("start", scene.switches.start),
        ("stop again", scene.switches.stop),
        ("start again", scene.switches.start),
    ]:
        nursery.start_soon(call, name, function)
        await wait_all_tasks_blocked()
    await trio.sleep(10)

    assert finished == {"stop": 1, "start": 1, "stop again": 1, "start again": 1}
    assert scene.ibkr.attempts == [0, 1]
    assert (scene.ibkr.open, scene.ibkr.status) == (1, "connected")


async def test_a_start_while_the_old_connection_ends_waits_for_its_end(
    autojump_clock, scene, nursery
):
    scene.ibkr.ends_in_s = 60
    await scene.stop("ibkr")

    await scene.start("ibkr")
    assert scene.ibkr.attempts == [0]
    assert (scene.ibkr.status, scene.ibkr.last_error) == (
        "connected",
        STOPPING_BY_REQUEST,
    )
    await trio.sleep(60)

    assert scene.ibkr.attempts == [0, 60]
    assert scene.ibkr.open == 1
    assert scene.gaps() == [(GapReason.STOPPED_BY_REQUEST, 0, 60)]
    scene.ibkr.health.disconnected("reset")
    healths = [feed.health for feed in scene.feeds.values()]
    assert missing_feeds(healths) == ["ibkr: reset"]


async def test_a_stop_whose_caller_is_cancelled_still_happens(autojump_clock, scene):
    scene.ibkr.ends_in_s = 3
    with trio.move_on_after(1):
        await scene.stop("ibkr")
    assert scene.ibkr.open == 1
    await trio.sleep(3)

    assert scene.ibkr.open == 0
    assert scene.ibkr.last_error == GapReason.STOPPED_BY_REQUEST


async def test_a_stop_before_the_feeds_run_keeps_them_from_running(
    autojump_clock, nursery
):
    scene = Scene()

    await scene.stop("ibkr")
    await nursery.start(scene.run)

    assert scene.ibkr.attempts == []
    assert scene.ibkr.last_error == GapReason.STOPPED_BY_REQUEST
    await scene.start("ibkr")
    assert scene.ibkr.attempts == [0]


# The last frame is stored, and the time without data is a gap.


async def test_a_stop_hands_over_the_last_frame(autojump_clock, nursery):
    out, frames = trio.open_memory_channel(0)
    scene = Scene()
    frame = make_frame(make_record())

    async def read_one_frame():
        scene.ibkr.health.connected()
        await hand_over(out, frame, scene.ibkr.health)
        await trio.sleep_forever()

    scene.ibkr.run_connection = read_one_frame
    await nursery.start(scene.run)
    with out, frames:
        nursery.start_soon(scene.stop, "ibkr")
        await wait_all_tasks_blocked()

        assert await frames.receive() == frame
        await wait_all_tasks_blocked()

    assert scene.ibkr.last_error == GapReason.STOPPED_BY_REQUEST


async def test_the_time_until_the_next_connection_is_a_gap_by_request(
    autojump_clock, scene
):
    scene.ibkr.ends_in_s = 2
    scene.ibkr.health.frames_read(1, now())
    await trio.sleep(10)
    await scene.stop("ibkr")
    await trio.sleep(28)
    assert scene.gaps() == [(GapReason.STOPPED_BY_REQUEST, 10, None)]

    await scene.start("ibkr")

    assert scene.gaps() == [(GapReason.STOPPED_BY_REQUEST, 10, 40)]


async def test_an_outage_and_a_stop_have_gaps_of_their_own(autojump_clock, scene):
    """The gap by request is only the time between a stop and a start."""
    await scene.stop("ibkr")
    scene.ibkr.fails = FeedInterrupted("no route to host")
    await trio.sleep(10)
    await scene.start("ibkr")
    await trio.sleep(0.2)
    await scene.stop("ibkr")
    scene.ibkr.fails = None
    await trio.sleep(9.8)
    await scene.start("ibkr")

    assert scene.gaps() == [
        (GapReason.STOPPED_BY_REQUEST, 0, 10),
        ("disconnected", 10, 10.2),
        (GapReason.STOPPED_BY_REQUEST, 10.2, 20),
    ]


# Feeds that pause between connections.


async def test_a_start_cuts_a_backoff_short(autojump_clock, scene, nursery):
    scene.ibkr.fails = FeedInterrupted("no route to host")
    await scene.stop("ibkr")
    await scene.start("ibkr")
    await trio.sleep(3)  # 0.5 to 1 s, then 1 to 2, then 2 to 4
    before = len(scene.ibkr.attempts)

    await scene.start("ibkr")

    assert len(scene.ibkr.attempts) == before + 1
    assert scene.ibkr.attempts[-1] == 3


async def test_a_feed_that_was_stopped_begins_with_the_shortest_delay(
    autojump_clock, scene
):
    scene.ibkr.fails = FeedInterrupted("no route to host")
    await scene.stop("ibkr")
    await scene.start("ibkr")
    await trio.sleep(300)
    await scene.stop("ibkr")
    await trio.sleep(60)
    before = len(scene.ibkr.attempts)

    await scene.start("ibkr")
    await trio.sleep(1)

    assert len(scene.ibkr.attempts) == before + 2


@pytest.mark.parametrize("reason", [CredentialsRejected("invalid_grant"), KeyError()])
async def test_a_start_tries_a_feed_that_waits_for_an_operator_at_once(
    autojump_clock, scene, reason
):
    scene.ibkr.fails = reason
    await scene.stop("ibkr")
    await scene.start("ibkr")
    await trio.sleep(86_400)  # the sixth bug within an hour waits for a person too
    scene.ibkr.fails = None

    await scene.start("ibkr")

    assert scene.ibkr.attempts[-1] == 86_400
    assert scene.ibkr.status == "connected"


async def test_a_feed_that_waits_can_be_stopped(autojump_clock, scene):
    scene.ibkr.fails = CredentialsRejected("invalid_grant")
    await scene.stop("ibkr")
    await scene.start("ibkr")
    assert scene.ibkr.last_error == "invalid_grant"

    await scene.stop("ibkr")

    assert scene.ibkr.last_error == GapReason.STOPPED_BY_REQUEST
    await trio.sleep(86_400)
    assert len(scene.ibkr.attempts) == 2


# Reloads, refusals, readiness.


async def test_a_reload_starts_nothing_and_says_so(autojump_clock, scene, caplog):
    caplog.set_level("INFO")
    await scene.stop("ibkr")

    scene.switches.retry()
    await trio.sleep(3600)

    assert scene.ibkr.attempts == scene.tastytrade.attempts == [0]
    assert scene.ibkr.last_error == GapReason.STOPPED_BY_REQUEST
    assert "streaming.stays_stopped broker=ibkr" in caplog.messages
    assert "streaming.stays_stopped broker=tastytrade" not in caplog.messages


async def refuse(scene, *brokers):
    """Let these brokers refuse the login of a feed that is started."""
    await scene.stop(*brokers)
    for broker in brokers:
        scene.feeds[broker].fails = CredentialsRejected("invalid_grant")
    await scene.start(*brokers)


async def test_the_service_is_told_when_every_broker_refuses(autojump_clock, scene):
    await refuse(scene, "ibkr")
    assert not scene.all_refused.is_set()

    await refuse(scene, "tastytrade")

    assert scene.all_refused.is_set()


@pytest.mark.parametrize("is_refused_first", [False, True])
async def test_a_feed_that_is_stopped_has_not_been_refused(
    autojump_clock, scene, is_refused_first
):
    if is_refused_first:
        await refuse(scene, "ibkr")
    await scene.stop("ibkr")

    await refuse(scene, "tastytrade")

    assert not scene.all_refused.is_set()


async def test_a_refusal_while_it_is_asked_to_stop_ends_nothing(autojump_clock, scene):
    """The answer to a login comes with the cancellation, which it does not notice."""
    await refuse(scene, "tastytrade")
    await scene.stop("ibkr")

    scene.ibkr.refuses_at_its_end = True
    await scene.start("ibkr")

    await scene.stop("ibkr")

    assert scene.ibkr.attempts == [0, 0]
    assert scene.ibkr.last_error == GapReason.STOPPED_BY_REQUEST
    assert not scene.all_refused.is_set()


@pytest.mark.parametrize("is_reload", [True, False])
async def test_a_refusal_does_not_count_after_a_reload_or_a_start(
    autojump_clock, scene, is_reload
):
    await refuse(scene, "ibkr")
    scene.ibkr.fails = None
    if is_reload:
        scene.switches.retry()
    else:
        await scene.start("ibkr")
    await wait_all_tasks_blocked()

    await refuse(scene, "tastytrade")

    assert not scene.all_refused.is_set()
    assert scene.ibkr.status == "connected"


async def test_a_stopped_feed_is_no_alarm_unless_all_are_stopped(autojump_clock, scene):
    healths = [feed.health for feed in scene.feeds.values()]
    assert missing_feeds(healths) == []

    await scene.stop("ibkr")
    assert missing_feeds(healths) == []

    await scene.stop("tastytrade")
    assert missing_feeds(healths) == [
        "ibkr: stopped by request",
        "tastytrade: stopped by request",
    ]


async def test_an_outage_beside_a_stop_is_an_alarm(autojump_clock, scene):
    healths = [feed.health for feed in scene.feeds.values()]
    await scene.stop("ibkr")

    scene.tastytrade.health.disconnected("no route to host")

    assert missing_feeds(healths) == ["tastytrade: no route to host"]


# The end of the service.


@pytest.mark.parametrize("are_stopped", [False, True])
async def test_the_end_of_the_service_ends_the_switches(
    autojump_clock, scene, are_stopped
):
    if are_stopped:
        await scene.stop("ibkr", "tastytrade")

    scene.scope.cancel()
    await wait_all_tasks_blocked()
    await scene.start("ibkr")
    late = await scene.stop("tastytrade")

    assert [feed.open for feed in scene.feeds.values()] == [0, 0]
    assert scene.ibkr.attempts == [0]
    assert scene.ibkr.status != "connecting"
    assert list(late) == []
    # The request came too late to have an effect.
    assert (scene.tastytrade.last_error == GapReason.STOPPED_BY_REQUEST) is are_stopped


async def test_the_end_of_the_service_ends_a_stop_that_is_under_way(
    autojump_clock, scene, nursery
):
    scene.ibkr.ends_in_s = 2
    nursery.start_soon(scene.stop, "ibkr")
    await trio.sleep(1)

    scene.scope.cancel()
    await trio.sleep(10)

    assert scene.ibkr.open == 0
    assert scene.ibkr.attempts == [0]
