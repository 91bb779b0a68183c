from __future__ import annotations

from datetime import timedelta

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from greeks_trio.errors import ProtocolViolation
from greeks_trio.feeds.health import KEPT_ODD_FRAMES, FeedHealth
from greeks_trio.foreign_text import register_secret
from greeks_trio.model.gap_reasons import GapReason
from greeks_trio.model.records import FeedGap
from tests.concurrency.ibkr_gateway import KeptJournal
from tests.factories import SPY_CALL, SPY_PUT, START


class Clock:
    def __init__(self):
        self.time = START

    def __call__(self):
        return self.time

    def pass_(self, seconds):
        self.time += timedelta(seconds=seconds)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def journal():
    return KeptJournal()


@pytest.fixture
def health(journal, clock):
    return FeedHealth("ibkr", journal, now=clock)


def entries(journal):
    taken = journal.recorded[:]
    journal.recorded.clear()
    return taken


async def test_a_feed_goes_through_its_states(health):
    states = [health.session().status]
    for step in (
        health.connecting,
        health.connected,
        lambda: health.degraded("5 contracts without a line"),
        lambda: health.disconnected("reset", attempt=1),
    ):
        step()
        states.append(health.session().status)

    assert states == [
        "disconnected",
        "connecting",
        "connected",
        "degraded",
        "disconnected",
    ]
    assert health.session().last_error == "reset"
    assert health.session().reconnect_attempt == 1


async def test_a_feed_says_since_when_it_has_its_connection_or_lacks_it(health, clock):
    since = [health.connection_changed_at]
    for step in (
        health.connecting,
        health.connected,
        lambda: health.degraded("5 contracts without a line"),
        lambda: health.disconnected("reset", attempt=1),
        health.connecting,
    ):
        clock.pass_(1)
        step()
        since.append(health.connection_changed_at)

    seconds = [(each - START).total_seconds() for each in since]
    assert seconds == [0, 0, 2, 2, 4, 4]


async def test_a_lost_connection_is_a_gap_until_the_next_one(health, journal, clock):
    health.connecting()
    health.connected()
    health.disconnected("reset", attempt=1)
    clock.pass_(7)
    health.connecting()
    health.disconnected("refused", attempt=2)
    health.connecting()
    health.connected()

    start, end = entries(journal)
    assert start == FeedGap(broker="ibkr", started_at=START, reason="disconnected")
    assert end.started_at == START
    assert end.ended_at == START + timedelta(seconds=7)
    assert health.statistics().reconnects == 1
    assert health.session().last_error is None


async def test_a_feed_that_has_not_connected_yet_has_a_gap(health, journal, clock):
    health.connecting()
    health.disconnected("refused", attempt=1)
    clock.pass_(5)
    health.connected()

    assert [gap.ended_at is None for gap in entries(journal)] == [True, False]


async def test_a_degraded_connection_ends_the_gap_too(health, journal):
    health.connected()
    health.disconnected("reset")
    health.connecting()
    health.degraded("no lines left")

    assert [gap.ended_at is None for gap in entries(journal)] == [True, False]
    assert health.statistics().reconnects == 1


async def test_a_gap_began_with_the_last_frame(health, journal, clock):
    health.connected()
    health.frames_read(1, START)
    clock.pass_(30)
    health.disconnected("silent", gap_reason=GapReason.SILENCE)

    [gap] = entries(journal)
    assert (gap.started_at, gap.reason) == (START, "silence")


@pytest.mark.parametrize(
    ("event_s", "began_s"), [(-0.4, -0.4), (-59, -59), (-61, 0), (-900, 0), (0.2, 0)]
)
async def test_a_gap_began_with_the_last_event_unless_the_data_are_delayed(
    health, journal, event_s, began_s
):
    health.connected()
    health.frames_read(1, START)
    health.last_read.ticks(START + timedelta(seconds=event_s))
    health.disconnected("reset")

    [gap] = entries(journal)
    assert gap.started_at == START + timedelta(seconds=began_s)


async def test_a_contract_that_stays_subscribed_keeps_its_time(health, autojump_clock):
    health.contracts_streamed([SPY_CALL])
    await trio.sleep(10)
    health.contracts_streamed([SPY_CALL, SPY_PUT])

    assert health.streamed() == {SPY_CALL: 0.0, SPY_PUT: 10.0}
    health.disconnected("reset")
    assert health.streamed() == {}


async def test_a_subscribed_contract_has_the_exchange_that_the_broker_names(health):
    health.contracts_streamed([SPY_CALL, SPY_PUT], {SPY_CALL: "AMEX"})

    assert health.exchange_of(SPY_CALL) == "AMEX"
    assert health.exchange_of(SPY_PUT) is None
    health.contracts_streamed([SPY_CALL])
    assert health.exchange_of(SPY_CALL) is None


async def test_contracts_without_greeks_are_counted_until_the_connection_ends(health):
    health.greeks_awaited(warming=3, without_greeks=2)
    statistics = health.statistics()
    assert (statistics.warming, statistics.without_greeks) == (3, 2)

    health.disconnected("reset")

    statistics = health.statistics()
    assert (statistics.warming, statistics.without_greeks) == (0, 0)


async def test_odd_frames_are_counted_and_the_last_are_kept(health):
    for number in range(KEPT_ODD_FRAMES + 1):
        health.odd_frame(ProtocolViolation("not-json", frame=f"x{number}"))

    assert health.statistics().counts == {"odd.not-json": KEPT_ODD_FRAMES + 1}
    assert len(health.odd_frames) == KEPT_ODD_FRAMES
    assert health.odd_frames[-1] == ("not-json", f"x{KEPT_ODD_FRAMES}")


async def test_secrets_are_removed_from_a_kept_frame(health):
    violation = ProtocolViolation("odd", frame=b'{"token":"s3cret-word"\xff}')

    register_secret("s3cret-word")
    health.odd_frame(violation)

    assert health.odd_frames[0] == ("odd", '{"token":"***"\N{REPLACEMENT CHARACTER}}')


async def test_signs_of_life_have_their_times(health, clock):
    health.frames_read(1, START)
    clock.pass_(3)
    health.heartbeat()
    health.count("quote.no-greeks", 2)
    health.subscriptions(wanted=5, subscription_count=3)

    session, statistics = health.session(), health.statistics()
    assert session.last_message_at == START
    assert session.last_heartbeat_at == START + timedelta(seconds=3)
    assert session.subscription_count == 3
    assert (statistics.frames, statistics.wanted) == (1, 5)
    assert statistics.counts == {"quote.no-greeks": 2}


async def test_a_task_can_wait_for_a_state(health, nursery, autojump_clock):
    seen = []

    async def wait():
        await health.wait_status("connected", "degraded")
        seen.append(health.session().status)

    nursery.start_soon(wait)
    health.connecting()
    await wait_all_tasks_blocked()
    assert seen == []

    health.connected()
    with trio.fail_after(1):
        await wait_all_tasks_blocked()
    assert seen == ["connected"]


@pytest.mark.parametrize("set_at", ["before it is noticed", "before it ends"])
@pytest.mark.parametrize(
    ("set_by_s", "told"),
    [
        (-60, [(0, 30), (-60, -30)]),
        (-1, [(0, 30)]),
        (0, [(0, 30)]),
        (60, [(0, 90)]),
    ],
)
async def test_a_gap_has_the_times_of_both_clocks_if_one_was_set_meanwhile(
    autojump_clock, health, journal, clock, set_at, set_by_s, told
):
    health.connecting()
    health.connected()
    health.frames_read(1, clock())
    await pass_(clock, 10)
    if set_at == "before it is noticed":
        clock.pass_(set_by_s)
    health.disconnected("reset")
    await pass_(clock, 20)
    if set_at == "before it ends":
        clock.pass_(set_by_s)
    health.connected()

    ended = [each for each in entries(journal) if each.ended_at is not None]
    assert [
        (
            (each.started_at - START).total_seconds(),
            (each.ended_at - START).total_seconds(),
        )
        for each in ended[-len(told) :]
    ] == told
    assert {each.reason for each in ended[-len(told) :]} == {"disconnected"}


async def pass_(clock, seconds):
    """Let time pass by both clocks."""
    clock.pass_(seconds)
    await trio.sleep(seconds)
