from __future__ import annotations

import dataclasses
import json

import pytest
import trio

from greeks_trio.brokers.tastytrade.position_watch import CONFIRM_AFTER_S
from greeks_trio.brokers.tastytrade.subscriber import (
    SUBSCRIBE_PAUSE_S,
)
from greeks_trio.brokers.tastytrade.wire.requests import MAX_REQUEST_BYTES
from greeks_trio.config.settings import Secret
from tests.concurrency.tastytrade_fakes import (
    ACCOUNT,
    CALL,
    PUT,
    Tastytrade,
    entries,
    greeks_row,
    interrupted,
    make_item,
    quoted,
    started,
)
from tests.factories import SPY_CALL, SPY_PUT


@pytest.fixture
async def tasty(nursery):
    return Tastytrade(nursery, make_item(SPY_CALL), make_item(SPY_PUT))


async def test_each_account_that_holds_the_contract_gets_a_tick(
    autojump_clock, nursery, tasty
):
    tasty.api.positions["5WT00002"] = [make_item(SPY_CALL, 7, "Short")]
    await started(nursery, tasty)

    await tasty.dxlink.send_rows(("Greeks", [greeks_row(CALL)]))

    holders = [(tick.account_id, tick.quantity) for tick in await tasty.receive()]
    assert holders == [(ACCOUNT, 2), ("5WT00002", -7)]


@pytest.mark.parametrize("channel", [0, 1])
async def test_refused_subscriptions_are_asked_for_again(
    autojump_clock, nursery, tasty, channel
):
    first = await started(nursery, tasty)

    await tasty.dxlink.send(
        type="ERROR", channel=channel, error="BAD_ACTION", message="rate is too high"
    )
    again = await tasty.dxlink.wait_subscribed()

    pauses_s = SUBSCRIBE_PAUSE_S + 2 * SUBSCRIBE_PAUSE_S
    assert again["add"] == first["add"]
    assert 1.0 <= trio.current_time() - pauses_s <= 2.0


async def test_each_refusal_doubles_the_distance_up_to_two_seconds(
    autojump_clock, nursery
):
    items = [make_item(f"SPY   261218C{n:05}000") for n in range(1, 251)]
    tasty = Tastytrade(nursery, *items)
    await started(nursery, tasty)
    await tasty.dxlink.wait_subscribed()
    pauses = []

    for _ in range(5):
        await tasty.dxlink.send(type="ERROR", channel=1, error="BAD_ACTION")
        await tasty.dxlink.wait_subscribed()
        first_at = trio.current_time()
        await tasty.dxlink.wait_subscribed()
        pauses.append(trio.current_time() - first_at)

    assert pauses == pytest.approx([0.5, 1.0, 2.0, 2.0, 2.0])


async def test_many_contracts_are_subscribed_in_chunks_with_pauses(
    autojump_clock, nursery
):
    items = [make_item(f"SPY   261218C{n:05}000") for n in range(1, 1001)]
    tasty = Tastytrade(nursery, *items)
    await started(nursery, tasty)
    await trio.sleep(20)

    chunks = [
        (time, each)
        for time, each in tasty.dxlink.received
        if each["type"] == "FEED_SUBSCRIPTION"
    ]
    symbols = [symbol for _, each in chunks for _, symbol in entries(each)]
    assert len(symbols) == len(set(symbols)) + 2 == 1003  # SPY has three
    sizes = [len(json.dumps(each, separators=(",", ":"))) for _, each in chunks]
    assert max(sizes) <= MAX_REQUEST_BYTES
    assert [time for time, _ in chunks] == [0.25 * n for n in range(len(chunks))]
    assert tasty.health.statistics().subscription_count == 1000


async def test_a_reload_applies_only_the_difference(autojump_clock, nursery, tasty):
    await started(nursery, tasty)
    await trio.sleep(5)
    tasty.api.positions[ACCOUNT] = [
        make_item(SPY_CALL, 9, "Short"),
        make_item("AAPL  261218C00250000"),
    ]

    tasty.feed.reload(tasty.config)
    removed = await tasty.dxlink.wait_subscribed()
    added = await tasty.dxlink.wait_subscribed()
    await tasty.dxlink.send_rows(("Greeks", [greeks_row(CALL)]))

    prices = tasty.dxlink.all("FEED_SUBSCRIPTION")[-2]
    assert entries(removed, "remove") == [("Greeks", PUT)]
    assert entries(prices) == [
        (kind, "AAPL") for kind in ("Trade", "TradeETH", "Quote")
    ]
    assert entries(added) == [("Greeks", ".AAPL261218C250")]
    assert [tick.quantity for tick in await tasty.receive()] == [-9]
    assert tasty.dxlink.connections == 1


async def test_the_positions_are_read_again_on_their_interval(
    autojump_clock, nursery, tasty
):
    await started(nursery, tasty)
    await trio.sleep(10)
    tasty.api.positions[ACCOUNT].pop()

    removed = await tasty.dxlink.wait_subscribed()

    assert entries(removed, "remove") == [("Greeks", PUT)]
    assert trio.current_time() == SUBSCRIBE_PAUSE_S + CONFIRM_AFTER_S + 61.0


async def test_a_watched_contract_needs_no_holder(autojump_clock, nursery):
    tasty = Tastytrade(nursery, watchlist=(SPY_CALL,))
    await started(nursery, tasty)

    await tasty.dxlink.send_rows(("Greeks", [greeks_row(CALL)]))
    [tick] = await tasty.receive()

    assert (tick.account_id, tick.quantity) == ("watchlist", None)


async def test_another_login_ends_the_connection(autojump_clock, nursery, tasty):
    other = dataclasses.replace(tasty.config, refresh=Secret("another"))

    async def reload():
        await tasty.dxlink.wait_subscribed()
        await trio.sleep(5)
        tasty.feed.reload(other)

    nursery.start_soon(reload)
    with interrupted("another Tastytrade login"):
        await tasty.feed.run_connection()


async def test_positions_that_cannot_be_read_leave_the_data_running(
    autojump_clock, nursery, tasty
):
    await started(nursery, tasty)
    await quoted(tasty, CALL, PUT)
    path = f"/accounts/{ACCOUNT}/positions"
    tasty.api.answers[path] = (503, {}, b"")
    await trio.sleep(70)

    degraded = tasty.health.session()
    await tasty.dxlink.send_rows(("Greeks", [greeks_row(CALL)]))
    ticks = await tasty.receive()
    tasty.api.answers.clear()
    await trio.sleep(70)

    assert (degraded.status, len(ticks)) == ("degraded", 1)
    assert tasty.health.session().status == "connected"
    assert tasty.dxlink.connections == 1


async def test_positions_are_not_asked_for_sooner_than_the_server_wants(
    autojump_clock, nursery, tasty
):
    path = f"/accounts/{ACCOUNT}/positions"
    await started(nursery, tasty)
    await trio.sleep(10)
    tasty.api.answers[path] = (429, {"Retry-After": "100"}, b"")
    await trio.sleep(62)
    before = tasty.api.paths().count(path)

    for _ in range(90):
        tasty.feed.reload(tasty.config)
        await trio.sleep(1)
    held_back = tasty.api.paths().count(path) - before
    await trio.sleep(20)

    assert held_back == 0
    assert tasty.api.paths().count(path) - before == 1


async def test_a_contract_without_streamer_symbol_is_told_of_once(
    autojump_clock, nursery, caplog
):
    item = make_item("./ZYXM7 OZYM7 270514P56", kind="Future Option")
    tasty = Tastytrade(nursery, item, make_item(SPY_CALL))
    await started(nursery, tasty)

    await trio.sleep(600)

    assert caplog.text.count("streamer_symbol_unknown") == 1


async def test_a_futures_option_uses_tastytrades_own_streamer_symbols(
    autojump_clock, nursery
):
    symbol = "./CLJ7 LOJ7  270317P56"
    item = make_item(symbol, kind="Future Option", **{"underlying-symbol": "/CLJ7"})
    tasty = Tastytrade(nursery, item)
    tasty.api.instruments = {symbol: "./LOJ27P56:XNYM", "CLJ7": "/CLJ27:XNYM"}
    subscription = await started(nursery, tasty)

    await tasty.dxlink.send_rows(
        ("Trade", [["/CLJ27:XNYM", 57.5]]), ("Greeks", [greeks_row("./LOJ27P56:XNYM")])
    )
    [tick] = await tasty.receive()

    assert entries(subscription)[-1] == ("Greeks", "./LOJ27P56:XNYM")
    assert (tick.contract_key, tick.underlying_price) == ("./LO  270317P56", 57.5)
    assert tasty.health.exchange_of(tick.contract_key) == "XNYM"


async def test_streamer_symbols_are_asked_for_once(autojump_clock, nursery):
    symbol = "./CLJ6 LOJ6  260317P56"
    item = make_item(symbol, kind="Future Option", **{"underlying-symbol": "/CLJ6"})
    tasty = Tastytrade(nursery, item)
    tasty.api.instruments = {symbol: "./LOJ26P56:XNYM", "CLJ6": "/CLJ26:XNYM"}
    await started(nursery, tasty)

    await trio.sleep(300)

    asked = [path for path in tasty.api.paths() if path.startswith("/instruments")]
    assert asked == [
        "/instruments/future-options/.%2FCLJ6%20LOJ6%20%20260317P56",
        "/instruments/futures/CLJ6",
    ]
