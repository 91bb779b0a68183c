from __future__ import annotations

import json

import pytest
import trio

from greeks_trio.brokers.tastytrade.account_stream import (
    HEARTBEAT_INTERVAL_S,
    AccountWatch,
)
from greeks_trio.brokers.tastytrade.session import open_session
from greeks_trio.brokers.tastytrade.subscriber import SUBSCRIBE_PAUSE_S
from tests.concurrency.tastytrade_fakes import (
    ACCOUNT,
    STREAMER_URL,
    FakeAccountStreamer,
    FakeApi,
    Tastytrade,
    journalled,
    make_config,
    make_health,
    make_item,
)
from tests.factories import SPY_CALL, SPY_PUT

POSITION = {"type": "CurrentPosition", "data": {"symbol": SPY_PUT}}


class Watcher:
    """An account stream under test, and how often it said that positions changed."""

    def __init__(self, nursery):
        self.api = FakeApi()
        self.streamer = FakeAccountStreamer(nursery)
        self.health = make_health()
        self.changes = []

    async def run(self):
        async with open_session(make_config(), self.api) as session:
            watch = AccountWatch(
                STREAMER_URL,
                session,
                self.health,
                changed=lambda: self.changes.append(trio.current_time()),
                open_socket=self.streamer.open_socket,
            )
            watch.follow([ACCOUNT])
            await watch.run()


@pytest.fixture
async def watcher(nursery):
    watcher = Watcher(nursery)
    nursery.start_soon(watcher.run)
    await watcher.streamer.wait_connected()
    return watcher


async def test_it_connects_and_sends_heartbeats(autojump_clock, watcher):
    await trio.sleep(65)

    actions = [(at, each["action"]) for at, each in watcher.streamer.received]
    assert actions == [
        (0.0, "connect"),
        (HEARTBEAT_INTERVAL_S, "heartbeat"),
        (2 * HEARTBEAT_INTERVAL_S, "heartbeat"),
        (3 * HEARTBEAT_INTERVAL_S, "heartbeat"),
    ]
    assert watcher.streamer.received[0][1]["value"] == [ACCOUNT]
    assert watcher.changes == [0.0]  # the catch-up after the connect


async def test_every_request_carries_a_token_that_is_valid(autojump_clock, nursery):
    watcher = Watcher(nursery)
    watcher.api.expires_in = 30  # so that it is always about to expire
    nursery.start_soon(watcher.run)

    await trio.sleep(45)

    tokens = [each["auth-token"] for _, each in watcher.streamer.received]
    assert tokens == ["Bearer access-1", "Bearer access-2", "Bearer access-3"]


async def test_a_changed_position_is_told_alone_or_in_a_batch(autojump_clock, watcher):
    await trio.sleep(5)
    await watcher.streamer.send(**POSITION)
    await trio.sleep(5)
    await watcher.streamer.send(results=[{"type": "Order"}, POSITION])
    await trio.sleep(5)
    await watcher.streamer.send(type="AccountBalance", data={})
    await watcher.streamer.send_text("nonsense")
    await trio.sleep(5)

    assert watcher.changes == [0.0, 5.0, 10.0]


async def test_a_lost_connection_comes_back_and_is_caught_up(autojump_clock, watcher):
    await trio.sleep(5)

    await watcher.streamer.close()
    await watcher.streamer.wait_connected()
    await trio.sleep(5)

    assert watcher.streamer.connections == 2
    assert len(watcher.changes) == 2
    assert 5.5 <= watcher.changes[1] <= 6.0
    assert watcher.health.statistics().counts == {"account-stream.lost": 1}


async def test_losses_that_are_far_apart_are_each_made_good_at_once(
    autojump_clock, watcher
):
    for _ in range(8):
        await trio.sleep(3600)
        lost_at = trio.current_time()
        await watcher.streamer.close()
        await watcher.streamer.wait_connected()

        assert trio.current_time() - lost_at <= 1.0


async def test_a_silent_streamer_is_left(autojump_clock, watcher):
    watcher.streamer.silent = True

    await trio.sleep(70)

    assert watcher.streamer.connections == 2


async def test_a_streamer_that_refuses_is_asked_ever_more_slowly(
    autojump_clock, watcher
):
    watcher.streamer.error = "failed"
    await watcher.streamer.close()

    await trio.sleep(3600)

    assert 60 <= watcher.streamer.connections <= 130
    assert watcher.changes == [0.0]


async def test_a_loss_that_repeats_itself_is_logged_once(
    autojump_clock, watcher, caplog
):
    watcher.streamer.error = "failed"
    await watcher.streamer.close()

    await trio.sleep(3600)

    warned = [each for each in caplog.records if each.levelname == "WARNING"]
    assert len(warned) == 2  # the close and the refusal
    assert watcher.health.statistics().counts["account-stream.lost"] > 50


async def test_other_accounts_need_another_connection(autojump_clock, nursery):
    tasty = Tastytrade(nursery, make_item(SPY_CALL), streamer_url=STREAMER_URL)
    nursery.start_soon(tasty.feed.run_connection)
    first = await tasty.streamer.wait_connected()
    await trio.sleep(5)
    tasty.api.positions["5WT00002"] = []

    tasty.feed.reload(tasty.config)
    second = await tasty.streamer.wait_connected()

    assert (first["value"], second["value"]) == ([ACCOUNT], [ACCOUNT, "5WT00002"])
    assert (tasty.streamer.connections, tasty.dxlink.connections) == (2, 1)
    assert "account-stream.lost" not in tasty.health.statistics().counts


async def test_the_same_accounts_keep_their_connection(autojump_clock, nursery):
    tasty = Tastytrade(nursery, make_item(SPY_CALL), streamer_url=STREAMER_URL)
    nursery.start_soon(tasty.feed.run_connection)
    await tasty.streamer.wait_connected()

    await trio.sleep(600)

    assert tasty.streamer.connections == 1


async def test_an_account_that_cannot_be_read_is_watched_all_the_same(
    autojump_clock, nursery
):
    tasty = Tastytrade(nursery, make_item(SPY_CALL), streamer_url=STREAMER_URL)
    tasty.api.answers[f"/accounts/{ACCOUNT}/positions"] = (403, {}, b"")
    nursery.start_soon(tasty.feed.run_connection)

    connect = await tasty.streamer.wait_connected()

    assert connect["value"] == [ACCOUNT]


async def test_without_accounts_there_is_nothing_to_connect_for(
    autojump_clock, nursery
):
    tasty = Tastytrade(nursery, streamer_url=STREAMER_URL)
    accounts, tasty.api.positions = tasty.api.positions, {}
    nursery.start_soon(tasty.feed.run_connection)
    await trio.sleep(200)
    before = tasty.streamer.connections
    status = tasty.health.session().status

    tasty.api.positions = accounts
    await tasty.streamer.wait_connected()

    assert (before, status) == (0, "degraded")


async def test_a_streamer_that_never_confirms_is_left(autojump_clock, nursery):
    watcher = Watcher(nursery)
    watcher.streamer.silent = True
    nursery.start_soon(watcher.run)

    await trio.sleep(70)

    assert watcher.streamer.connections == 2
    assert watcher.changes == []


async def test_a_changed_position_is_read_and_subscribed(autojump_clock, nursery):
    tasty = Tastytrade(nursery, make_item(SPY_CALL), streamer_url=STREAMER_URL)
    nursery.start_soon(tasty.feed.run_connection)
    await tasty.dxlink.wait_subscribed()
    await tasty.streamer.wait_connected()
    await trio.sleep(10)

    tasty.api.positions[ACCOUNT].append(make_item(SPY_PUT))
    await tasty.streamer.send(**POSITION)
    added = await tasty.dxlink.wait_subscribed()

    assert json.dumps(added).count("symbol") == 1
    assert added["add"] == [{"type": "Greeks", "symbol": ".SPY261218P600"}]
    assert trio.current_time() == SUBSCRIBE_PAUSE_S + 10.0


async def test_a_closed_position_is_unsubscribed(autojump_clock, nursery):
    tasty = Tastytrade(
        nursery, make_item(SPY_CALL), make_item(SPY_PUT), streamer_url=STREAMER_URL
    )
    nursery.start_soon(tasty.feed.run_connection)
    await tasty.dxlink.wait_subscribed()
    await tasty.streamer.wait_connected()
    await trio.sleep(10)

    tasty.api.positions[ACCOUNT][1] = make_item(SPY_PUT, 0, "Zero")
    await tasty.streamer.send(**POSITION)
    change = await tasty.dxlink.wait_subscribed()

    assert change["remove"] == [{"type": "Greeks", "symbol": ".SPY261218P600"}]
    assert tasty.health.streamed().keys() == {SPY_CALL}


async def test_positions_of_other_kinds_are_not_subscribed(autojump_clock, nursery):
    tasty = Tastytrade(
        nursery,
        make_item("AAPL", kind="Equity"),
        make_item("/ESZ6", kind="Future"),
        make_item("BTC/USD", kind="Cryptocurrency"),
        streamer_url=STREAMER_URL,
    )
    nursery.start_soon(tasty.feed.run_connection)

    await tasty.streamer.wait_connected()
    await trio.testing.wait_all_tasks_blocked()

    assert "FEED_SUBSCRIPTION" not in tasty.dxlink.types()
    assert tasty.health.session().status == "connected"
    [snapshot] = await journalled(tasty.journal)
    assert [each.kind for each in snapshot.positions] == ["equity", "future", "other"]


@pytest.mark.parametrize(
    "text",
    [
        '{"type":"CurrentPosition"}',
        '{"type":"CurrentPosition","data":7}',
        '{"results":[7,null,{"type":"CurrentPosition","data":[]}]}',
    ],
)
async def test_a_message_need_not_be_understood_to_be_followed(
    autojump_clock, watcher, text
):
    await trio.sleep(5)

    await watcher.streamer.send_text(text)
    await trio.sleep(5)

    assert watcher.changes == [0.0, 5.0]
    assert watcher.streamer.connections == 1


async def test_a_burst_of_messages_costs_few_reads(autojump_clock, nursery):
    tasty = Tastytrade(nursery, make_item(SPY_CALL), streamer_url=STREAMER_URL)
    nursery.start_soon(tasty.feed.run_connection)
    await tasty.dxlink.wait_subscribed()
    await trio.sleep(10)
    before = len(tasty.api.requests)

    for _ in range(500):
        await tasty.streamer.send(**POSITION)
    await trio.sleep(5)

    assert len(tasty.api.requests) - before <= 4
