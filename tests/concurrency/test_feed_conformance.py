"""The behaviour that all feeds have in common, over every feed in the registry.

Each feed runs against the fake of its broker, with real websockets over memory streams.
A new feed needs an adapter in `tests.concurrency.feed_adapters`.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from greeks_trio.brokers.registry import FEEDS
from greeks_trio.errors import FeedInterrupted, FeedSilent, leaves
from greeks_trio.feeds.earlier_run import end_leftover_gaps
from greeks_trio.model.records import LeftoverGaps
from tests.concurrency.feed_adapters import (
    ADAPTERS,
    NEW_CALL,
    WITHOUT_GREEKS_S,
    gaps_of,
)

NAMES = [kind.name for kind in FEEDS]


@pytest.fixture(params=NAMES)
async def broker(request, nursery):
    return ADAPTERS[request.param](nursery)


class Connection:
    """One connection in the background, and the errors with which it ends."""

    def __init__(self, broker):
        self._broker = broker
        self._ended = trio.Event()
        self.scope = trio.CancelScope()
        self.errors = []

    async def run(self):
        try:
            with self.scope:
                await self._broker.feed.run_connection()
        except* Exception as group:  # noqa: BLE001  the tests look at it
            self.errors += leaves(group)
        self._ended.set()

    async def wait_end(self):
        await self._ended.wait()
        return self.errors


async def stream(nursery, broker):
    """Run a connection in the background; return when it streams both contracts."""
    connection = Connection(broker)
    nursery.start_soon(connection.run)
    await broker.wait_streaming()
    await wait_all_tasks_blocked()
    return connection


async def receive(broker):
    """Return the ticks of the next frame."""
    return [tick.record for tick in await broker.frames.receive()]


async def receive_tick(broker):
    [tick] = await receive(broker)
    return tick


def test_every_feed_has_an_adapter():
    assert set(NAMES) <= ADAPTERS.keys()


async def test_a_connection_streams_all_contracts(autojump_clock, nursery, broker):
    await stream(nursery, broker)

    assert broker.health.session().status == "connected"
    assert broker.health.statistics().wanted == 2
    assert broker.health.session().subscription_count == 2
    assert set(broker.health.streamed()) == set(broker.contracts)
    assert gaps_of(broker) == []


async def test_a_tick_is_handed_over_with_its_contract_and_times(
    autojump_clock, nursery, broker
):
    await stream(nursery, broker)
    await trio.sleep(1)
    await broker.send_tick(broker.contracts[1], 0.25)

    [tick] = await broker.frames.receive()

    assert tick.record.broker == broker.health.broker
    assert tick.record.contract_key == broker.contracts[1]
    assert tick.record.delta == 0.25
    assert tick.record.received_at == broker.health.now()
    assert tick.read_at == trio.current_time()


async def test_ticks_keep_their_order(autojump_clock, nursery, broker):
    await stream(nursery, broker)
    deltas = [number / 100 for number in range(20)]
    for delta in deltas:
        await broker.send_tick(broker.contracts[0], delta)

    assert [(await receive_tick(broker)).delta for _ in deltas] == deltas


async def test_silence_ends_the_connection_after_its_limit(
    autojump_clock, nursery, broker
):
    connection = await stream(nursery, broker)
    broker.fall_silent()
    await broker.send_tick(broker.contracts[0], 0.5)
    await receive_tick(broker)
    heard_at = trio.current_time()

    [error] = await connection.wait_end()

    assert isinstance(error, FeedSilent)
    assert trio.current_time() - heard_at == pytest.approx(
        broker.config.silence_limit_s, abs=20
    )
    assert trio.current_time() - heard_at >= broker.config.silence_limit_s


async def test_a_standstill_of_our_own_process_is_no_silence(
    autojump_clock, nursery, broker
):
    """As after SIGSTOP and SIGCONT; the frames that came meanwhile are read."""
    connection = await stream(nursery, broker)
    for number in range(3):
        autojump_clock.jump(broker.config.silence_limit_s + 10)
        await broker.send_tick(broker.contracts[0], number / 10)
        assert (await receive_tick(broker)).delta == number / 10
        await trio.sleep(5)

    assert connection.errors == []


@pytest.mark.parametrize("name", NAMES)
async def test_a_pipeline_that_does_not_take_ticks_is_no_silence(
    autojump_clock, nursery, name
):
    broker = ADAPTERS[name](nursery, room=0)
    connection = await stream(nursery, broker)
    await broker.send_tick(broker.contracts[0], 0.5)
    await trio.sleep(5 * broker.config.silence_limit_s)

    assert (await receive_tick(broker)).delta == 0.5
    assert connection.errors == []


async def test_frames_before_a_close_by_the_peer_are_all_taken(
    autojump_clock, nursery, broker
):
    connection = await stream(nursery, broker)
    for number in range(5):
        await broker.send_tick(broker.contracts[0], number / 10)
    await broker.close()

    [error] = await connection.wait_end()

    assert type(error) is FeedInterrupted
    assert "closed the connection (1012" in str(error)
    deltas = [(await receive_tick(broker)).delta for _ in range(5)]
    assert deltas == [0.0, 0.1, 0.2, 0.3, 0.4]


async def test_the_next_connection_subscribes_everything_again(
    autojump_clock, nursery, broker
):
    connection = await stream(nursery, broker)
    before = [broker.requests(each) for each in broker.contracts]
    await broker.close()
    await connection.wait_end()

    nursery.start_soon(Connection(broker).run)
    for contract, number in zip(broker.contracts, before, strict=True):
        await broker.wait_requested(contract, number + 1)


async def test_a_stop_sends_a_close_frame(autojump_clock, nursery, broker):
    connection = await stream(nursery, broker)

    connection.scope.cancel()
    await connection.wait_end()
    await wait_all_tasks_blocked()

    assert connection.errors == []
    assert broker.close_codes == [1000]


async def stop_after(checkpoints, nursery, name):
    """Stop a feed so many checkpoints after a frame of 300 ticks was sent.

    Returns whether the feed has read the frame, and the number of its ticks.
    """
    broker = ADAPTERS[name](nursery, room=0)
    broker.hold_for_300()
    connection = await stream(nursery, broker)
    before = broker.health.statistics().frames
    await broker.send_300()
    for _ in range(checkpoints):
        await trio.lowlevel.checkpoint()
    connection.scope.cancel()
    await trio.sleep(0.5)  # the pipeline is busy, for less than the limit
    ticks = []
    with trio.move_on_after(5):
        ticks = await receive(broker)
    return broker.health.statistics().frames > before, len(ticks)


@pytest.mark.parametrize("name", NAMES)
async def test_a_stop_at_any_checkpoint_loses_no_tick_of_a_frame_that_was_read(
    autojump_clock, nursery, name
):
    outcomes = [await stop_after(each, nursery, name) for each in range(12)]

    assert {was_read for was_read, _ in outcomes} == {True, False}
    assert {ticks for was_read, ticks in outcomes if was_read} == {300}


async def test_a_reload_changes_nothing_for_an_unchanged_contract(
    autojump_clock, nursery, broker
):
    connection = await stream(nursery, broker)
    before = [broker.requests(each) for each in broker.contracts]
    broker.hold_one_more()

    broker.feed.reload(broker.config)
    await broker.wait_requested(NEW_CALL)
    await broker.send_tick(broker.contracts[0], 0.5)
    await broker.send_tick(NEW_CALL, 0.75)

    assert (await receive_tick(broker)).contract_key == broker.contracts[0]
    assert (await receive_tick(broker)).contract_key == NEW_CALL
    assert [broker.requests(each) for each in broker.contracts] == before
    assert connection.errors == []


async def test_a_reload_changes_which_ticks_keep_the_message(
    autojump_clock, nursery, broker
):
    await stream(nursery, broker)
    await broker.send_tick(broker.contracts[0], 0.5)
    before = await receive_tick(broker)
    broker.feed.reload(replace(broker.config, source_payload="off"))
    await broker.send_tick(broker.contracts[0], 0.6)

    assert before.source_payload != b"{}"
    assert (await receive_tick(broker)).source_payload == b"{}"


async def test_a_reload_without_a_connection_counts_for_the_next_one(
    autojump_clock, nursery, broker
):
    broker.hold_one_more()
    broker.feed.reload(broker.config)

    await stream(nursery, broker)

    assert broker.requests(NEW_CALL) == 1


async def test_a_refused_login_is_told_and_opens_no_websocket(
    autojump_clock, nursery, broker
):
    broker.refuse_login()
    connection = Connection(broker)
    nursery.start_soon(connection.run)

    [error] = await connection.wait_end()

    assert type(error) is broker.refusal
    assert str(error)
    assert broker.close_codes == []
    assert [broker.requests(each) for each in broker.contracts] == [0, 0]


async def test_a_lost_subscription_is_shown_requested_again_and_a_gap(
    autojump_clock, nursery, broker
):
    connection = await stream(nursery, broker)
    lost, _ = broker.contracts
    before = broker.requests(lost)

    await broker.lose_subscription(lost)
    await broker.health.wait_status("degraded")
    await broker.wait_requested(lost, before + 1)
    await trio.sleep(1)
    assert gaps_of(broker) == [(lost, False)]

    await broker.send_tick(lost, 0.5)
    await trio.sleep(1)

    assert gaps_of(broker) == [(lost, False), (lost, True)]
    assert connection.errors == []
    with trio.fail_after(600):
        await broker.health.wait_status("connected")


async def test_a_contract_without_greeks_makes_no_tick_and_disturbs_no_other(
    autojump_clock, nursery, broker
):
    connection = await stream(nursery, broker)
    empty, other = broker.contracts
    received = []

    async def collect():
        while True:
            received.append(await receive_tick(broker))

    nursery.start_soon(collect)
    for number in range(10):
        await broker.send_without_greeks(empty)
        await broker.send_tick(other, number / 10)
        await trio.sleep(WITHOUT_GREEKS_S / 10)

    assert {tick.contract_key for tick in received} == {other}
    assert [tick.delta for tick in received] == [n / 10 for n in range(10)]
    assert connection.errors == []


async def without_greeks(nursery, broker):
    """Stream; the first contract brings no Greeks, the second one ticks for minutes."""
    connection = await stream(nursery, broker)
    empty, other = broker.contracts
    await broker.send_price()
    nursery.start_soon(drain, broker)
    for number in range(10):
        await broker.send_without_greeks(empty)
        await broker.send_tick(other, number / 10)
        await trio.sleep(WITHOUT_GREEKS_S / 10)
    return connection


async def drain(broker):
    async for _ in broker.frames:
        pass


async def test_a_held_contract_without_greeks_degrades_and_opens_one_gap(
    autojump_clock, nursery, broker
):
    await without_greeks(nursery, broker)
    empty, _ = broker.contracts

    session, statistics = broker.health.session(), broker.health.statistics()
    assert session.status == "degraded"
    assert session.last_error == f"1 contract without Greeks so far ({empty})"
    assert (statistics.warming, statistics.without_greeks) == (0, 1)
    assert gaps_of(broker) == [(empty, False)]
    [gap] = broker.health.gaps.open_gaps()
    assert gap.reason == "no greeks"
    # It began with the request, which is older than the limit.
    assert (broker.health.now() - gap.started_at).total_seconds() >= WITHOUT_GREEKS_S

    await broker.send_tick(empty, 0.5)
    await trio.sleep(1)

    assert gaps_of(broker) == [(empty, False), (empty, True)]
    assert broker.health.session().status == "connected"
    assert broker.health.statistics().without_greeks == 0


async def test_a_contract_that_warms_up_is_counted_and_no_fault(
    autojump_clock, nursery, broker
):
    await stream(nursery, broker)
    nursery.start_soon(drain, broker)
    await broker.send_price()
    for contract in broker.contracts:
        await broker.send_without_greeks(contract)
    await trio.sleep(30)
    assert broker.health.statistics().warming == 2
    assert broker.health.session().status == "connected"

    await broker.send_tick(broker.contracts[0], 0.5)
    await trio.sleep(1)

    assert broker.health.statistics().warming == 1
    assert gaps_of(broker) == []


async def test_a_closed_position_ends_its_gap(autojump_clock, nursery, broker):
    await without_greeks(nursery, broker)

    broker.hold_nothing()
    broker.feed.reload(broker.config)
    await trio.sleep(30)

    empty, _ = broker.contracts
    assert gaps_of(broker) == [(empty, False), (empty, True)]
    assert broker.health.session().last_error is None


async def test_the_gap_of_a_contract_lasts_over_a_lost_connection(
    autojump_clock, nursery, broker
):
    """Its row ends with the first Greeks, on whichever connection they come."""
    connection = await without_greeks(nursery, broker)
    empty, _ = broker.contracts
    before = broker.requests(empty)
    await trio.sleep(1)  # no heartbeat is due
    await broker.close()
    await connection.wait_end()
    nursery.start_soon(Connection(broker).run)
    await broker.wait_requested(empty, before + 1)
    await broker.send_price()
    await trio.sleep(10)
    of_contract = [each for each in gaps_of(broker) if each[0] == empty]
    assert of_contract == [(empty, False)]

    await broker.send_tick(empty, 0.5)
    await trio.sleep(1)

    of_contract = [each for each in gaps_of(broker) if each[0] == empty]
    assert of_contract == [(empty, False), (empty, True)]


async def test_after_a_restart_the_gap_of_a_contract_touches_that_of_the_earlier_run(
    autojump_clock, nursery, broker
):
    """So both are one outage: the first connection ends the gaps of the earlier run."""
    nursery.start_soon(end_leftover_gaps, broker.health, broker.journal)

    await without_greeks(nursery, broker)

    recorded = broker.journal.recorded
    [leftover] = [each for each in recorded if isinstance(each, LeftoverGaps)]
    [gap] = broker.health.gaps.open_gaps()
    assert (gap.contract_key, gap.reason) == (broker.contracts[0], "no greeks")
    assert gap.started_at <= leftover.ended_at
    assert leftover.own == ()


async def test_a_contract_that_went_silent_while_others_tick_is_a_gap(
    autojump_clock, nursery, broker
):
    await stream(nursery, broker)
    silent, other = broker.contracts
    nursery.start_soon(drain, broker)
    requests = broker.requests(silent)
    await broker.send_price()
    for second in range(0, 60 + 240, 5):
        if second < 60:
            await broker.send_tick(silent, second / 1000)
        await broker.send_tick(other, second / 1000)
        await trio.sleep(5)

    words = f"1 subscription that has gone silent ({silent})"
    assert broker.health.session().last_error == words
    assert gaps_of(broker) == [(silent, False)]
    assert broker.health.gaps.open_gaps()[0].reason == "subscription silent"
    assert broker.health.statistics().counts["subscription.silent"] == 1
    assert broker.requests(silent) == requests + 1

    await broker.send_tick(silent, 0.5)
    await trio.sleep(1)

    assert gaps_of(broker) == [(silent, False), (silent, True)]
    assert broker.health.session().status == "connected"


async def test_an_underlying_without_a_price_is_named(autojump_clock, nursery, broker):
    await stream(nursery, broker)
    nursery.start_soon(drain, broker)
    for _ in range(2):
        for contract in broker.contracts:
            await broker.send_tick(contract, 0.5)
        await trio.sleep(WITHOUT_GREEKS_S / 2)

    assert broker.health.session().status == "degraded"
    assert broker.health.session().last_error == "1 underlying without a price (SPY)"
    assert gaps_of(broker) == []

    await broker.send_price()
    await trio.sleep(16)
    assert broker.health.session().status == "connected"


@pytest.mark.parametrize("is_accepted", [False, True])
async def test_delayed_data_are_a_fault_or_a_note(
    autojump_clock, nursery, broker, is_accepted
):
    broker.be_delayed()
    broker.config = replace(broker.config, accept_delayed=is_accepted)
    broker.feed.reload(broker.config)
    await stream(nursery, broker)
    await broker.send_delayed()
    await trio.sleep(1)

    session = broker.health.session()
    told = session.notes[0] if is_accepted else session.last_error
    assert session.status == ("connected" if is_accepted else "degraded")
    assert len(session.notes) == is_accepted
    assert " with delayed market data (" in told
    assert broker.contracts[0] in told
    assert ("GREEKS_ACCEPT_DELAYED" in told) is is_accepted
    assert gaps_of(broker) == []


async def test_a_contract_that_the_broker_does_not_know_is_a_gap(
    autojump_clock, nursery, broker
):
    key = broker.want_unknown()
    broker.feed.reload(broker.config)
    await stream(nursery, broker)
    nursery.start_soon(drain, broker)
    await broker.send_price()
    for contract in broker.contracts:
        await broker.send_tick(contract, 0.5)
    await trio.sleep(10)

    assert broker.health.session().status == "degraded"
    assert f"({key})" in broker.health.session().last_error
    assert gaps_of(broker) == [(key, False)]
    assert broker.health.gaps.open_gaps()[0].reason == "unknown contract"
    assert broker.health.statistics().wanted == 3
    assert broker.health.session().subscription_count == 2

    broker.forget_unknown()
    broker.feed.reload(broker.config)
    await trio.sleep(150)  # one of the fakes confirms what it does not list any more

    assert gaps_of(broker) == [(key, False), (key, True)]


async def test_an_expired_contract_is_a_note(autojump_clock, nursery, broker):
    """Brokers list an expired position for days, and it brings nothing."""
    key = broker.hold_expired()
    broker.feed.reload(broker.config)
    await stream(nursery, broker)
    nursery.start_soon(drain, broker)
    await broker.send_price()
    for _ in range(4):
        for contract in broker.contracts:
            await broker.send_tick(contract, 0.5)
        await trio.sleep(WITHOUT_GREEKS_S / 4)

    session = broker.health.session()
    assert (session.status, session.last_error) == ("connected", None)
    assert session.notes == (f"1 contract that has expired ({key})",)
    assert broker.health.statistics().without_greeks == 0
    assert gaps_of(broker) == []
