from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from greeks_trio.errors import (
    CredentialsRejected,
    FeedInterrupted,
    FeedSilent,
    ProtocolViolation,
)
from greeks_trio.feeds.health import FeedHealth
from greeks_trio.feeds.supervisor import RestartPolicy, Supervisor
from greeks_trio.pipeline.journal import Journal
from greeks_trio.waiting import Backoff, WakeUp

POLICY = RestartPolicy(min_delay_s=1, max_delay_s=4, healthy_after_s=100)


class Scene:
    """One supervised feed that the test controls."""

    def __init__(self, *script):
        self.script = list(script)
        self.attempts = []
        self.refusals = 0
        self.retry_now = WakeUp()
        self.journal = Journal()
        self.health = FeedHealth("ibkr", self.journal)
        self.supervisor = Supervisor(
            self.health,
            POLICY,
            self.retry_now,
            on_refused=self.refused,
            backoff=Backoff(min_delay_s=1, max_delay_s=4, jitter=lambda: 1.0),
        )

    def refused(self):
        self.refusals += 1

    async def connect(self):
        self.attempts.append(trio.current_time())
        action = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(action, BaseException):
            raise action
        await action()

    async def run(self):
        await self.supervisor.run(self.connect)


async def test_a_feed_that_keeps_failing_is_retried_ever_more_slowly(autojump_clock):
    scene = Scene(FeedInterrupted("connection reset"))

    with trio.move_on_after(12):
        await scene.run()

    assert scene.attempts == [0, 1, 3, 7, 11]
    assert scene.health.session().last_error is not None


async def test_a_healthy_run_resets_the_delay(autojump_clock):
    async def last_long():
        await trio.sleep(100)
        raise FeedInterrupted("nightly restart")

    scene = Scene(FeedInterrupted("a"), FeedInterrupted("b"), last_long)

    with trio.move_on_after(105):
        await scene.run()

    assert scene.attempts == [0, 1, 3, 104]


async def test_the_broker_may_ask_for_more_time(autojump_clock):
    scene = Scene(FeedInterrupted("slow down", retry_after=600))

    with trio.move_on_after(601):
        await scene.run()

    assert scene.attempts == [0, 600]


async def test_no_request_shortens_the_pause_that_the_broker_asked_for(
    autojump_clock, nursery
):
    scene = Scene(FeedInterrupted("too many requests", retry_after=600))
    nursery.start_soon(scene.run)
    for _ in range(20):
        await trio.sleep(10)
        scene.retry_now.wake()
    await trio.sleep(500)

    assert scene.attempts == [0, 600]


async def test_requests_do_not_exceed_the_limit_of_logins(autojump_clock, nursery):
    """Six within any minute, although a reload comes every second."""
    scene = Scene(FeedInterrupted("refused"))
    nursery.start_soon(scene.run)
    for _ in range(180):
        await trio.sleep(1)
        scene.retry_now.wake()

    assert len(scene.attempts) > 12
    for first, seventh in zip(scene.attempts, scene.attempts[6:], strict=False):
        assert seventh - first >= 60


async def run_again_and_again(scene, *, times, every_s):
    """Run the supervisor so many times, each cancelled after so many seconds."""
    for _ in range(times):
        with trio.move_on_after(every_s):
            await scene.run()


async def test_the_pause_that_the_broker_asked_for_holds_in_the_next_run(
    autojump_clock,
):
    scene = Scene(FeedInterrupted("too many requests", retry_after=600))

    await run_again_and_again(scene, times=70, every_s=10)

    assert scene.attempts == [0, 600]


async def test_the_limit_of_logins_holds_in_the_next_run(autojump_clock):
    scene = Scene(trio.sleep_forever)

    await run_again_and_again(scene, times=90, every_s=1)

    assert scene.attempts == [0, 1, 2, 3, 4, 5, 60, 61, 62, 63, 64, 65]


async def test_a_feed_that_is_asked_for_begins_with_the_shortest_delay_again(
    autojump_clock,
):
    scene = Scene(FeedInterrupted("connection reset"))
    await run_again_and_again(scene, times=1, every_s=8)
    assert scene.attempts == [0, 1, 3, 7]

    scene.supervisor.forgive()
    await run_again_and_again(scene, times=1, every_s=1.5)

    assert scene.attempts[4:] == [8, 9]


async def test_the_cause_of_the_end_is_the_reason_of_the_gap(autojump_clock):
    async def go_silent():
        scene.health.connected()
        await trio.sleep(5)
        raise FeedSilent("nothing for 30 s")

    scene = Scene(go_silent)

    with trio.move_on_after(5.5):
        await scene.run()

    assert (await scene.journal.wait_entry()).reason == "silence"


async def test_refused_credentials_wait_for_a_person(autojump_clock, nursery):
    scene = Scene(CredentialsRejected("invalid_grant"))
    nursery.start_soon(scene.run)
    await trio.sleep(86_400)
    assert scene.attempts == [0]
    assert scene.refusals == 1
    assert scene.health.session().status == "disconnected"
    assert scene.health.session().last_error == "invalid_grant"

    scene.retry_now.wake()
    await wait_all_tasks_blocked()

    assert scene.attempts == [0, 86_400]


def refused_later():
    return CredentialsRejected("invalid_grant", worked_before=True)


async def test_credentials_that_have_worked_get_a_few_spaced_tries(
    autojump_clock, nursery
):
    scene = Scene(refused_later())
    nursery.start_soon(scene.run)
    await trio.sleep(6)
    between = scene.health.session()
    await trio.sleep(86_400)

    assert scene.attempts == [0, 5, 20, 65]
    assert scene.refusals == 1
    assert between.status == "disconnected"
    assert between.last_error == (
        "invalid_grant; this login has worked before, so it is tried again (try 2 of 3)"
    )
    assert scene.health.session().last_error == "invalid_grant"


async def test_a_refusal_that_passes_is_forgotten(autojump_clock, nursery):
    async def last_a_second():
        await trio.sleep(1)
        raise FeedInterrupted("close 1000")

    passing = [refused_later(), refused_later(), refused_later(), last_a_second]
    scene = Scene(*passing, *passing, trio.sleep_forever)
    nursery.start_soon(scene.run)
    await trio.sleep(600)

    assert (len(scene.attempts), scene.refusals) == (9, 0)


async def test_a_reload_ends_the_wait_for_the_next_try(autojump_clock, nursery):
    scene = Scene(refused_later(), CredentialsRejected("another secret"))
    nursery.start_soon(scene.run)
    await trio.sleep(2)

    scene.retry_now.wake()
    await trio.sleep(600)

    assert (scene.attempts, scene.refusals) == ([0, 2], 1)


async def test_a_reload_during_a_login_that_is_refused_is_not_missed(
    autojump_clock, nursery
):
    async def be_refused_slowly():
        await trio.sleep(5)
        raise CredentialsRejected("invalid_grant")

    scene = Scene(be_refused_slowly)
    nursery.start_soon(scene.run)
    await trio.sleep(2)

    scene.retry_now.wake()
    await trio.sleep(60)

    assert scene.attempts == [0, 6]
    assert scene.refusals == 1  # the second attempt's


async def test_a_bug_ends_the_connection_only_and_waits_longest(autojump_clock, caplog):
    scene = Scene(KeyError("bug"))

    with trio.move_on_after(9):
        await scene.run()

    assert scene.attempts == [0, 4, 8]
    assert {r.levelname for r in caplog.records} == {"CRITICAL", "WARNING"}
    assert "KeyError" in caplog.text


async def test_the_sixth_bug_in_an_hour_waits_for_a_person(autojump_clock, nursery):
    scene = Scene(KeyError("bug"))
    nursery.start_soon(scene.run)
    await trio.sleep(3000)
    assert len(scene.attempts) == 6

    scene.retry_now.wake()
    await wait_all_tasks_blocked()

    assert len(scene.attempts) == 7


async def test_bugs_of_the_last_hour_only_count(autojump_clock):
    async def fail_slowly():
        await trio.sleep(1000)
        raise KeyError("bug")

    scene = Scene(fail_slowly)

    with trio.move_on_after(20_000):
        await scene.run()

    assert len(scene.attempts) == 20


async def test_a_bug_beside_a_disconnect_counts_as_the_bug(autojump_clock):
    async def raise_(exc):
        raise exc

    async def both():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(raise_, KeyError("bug"))
            nursery.start_soon(raise_, FeedInterrupted("net"))

    scene = Scene(both)

    with trio.move_on_after(5):
        await scene.run()

    assert scene.attempts == [0, 4]
    assert "bug" in scene.health.session().last_error


async def test_cancelling_ends_the_supervisor(autojump_clock):
    scene = Scene(trio.sleep_forever)

    with trio.move_on_after(5) as scope:
        await scene.run()

    assert scope.cancelled_caught
    assert trio.current_time() == 5


async def test_cancellation_beside_an_error_is_not_swallowed(autojump_clock):
    async def fail_on_cancel():
        try:
            await trio.sleep_forever()
        finally:
            raise FeedInterrupted("closing failed")

    scene = Scene(fail_on_cancel)

    with trio.move_on_after(5):
        await scene.run()

    assert trio.current_time() == 5
    assert scene.attempts == [0]


async def test_keyboard_interrupt_passes(autojump_clock):
    scene = Scene(KeyboardInterrupt())

    with pytest.raises(KeyboardInterrupt):
        await scene.run()


async def test_any_broker_error_is_retried(autojump_clock):
    scene = Scene(ProtocolViolation("not-json", frame="x"))

    with trio.move_on_after(1.5):
        await scene.run()

    assert scene.attempts == [0, 1]


async def test_a_feed_that_returns_is_run_again(autojump_clock):
    scene = Scene(trio.lowlevel.checkpoint)

    with trio.move_on_after(1.5):
        await scene.run()

    assert scene.attempts == [0, 1]
