from __future__ import annotations

import dataclasses
import json
from decimal import Decimal

import pytest
import trio

from greeks_trio.brokers.tastytrade.connection import SILENCE_LIMIT_S
from greeks_trio.brokers.tastytrade.dxlink_requests import MAX_REQUEST_BYTES
from greeks_trio.config import Secret
from greeks_trio.errors import CredentialsRejected, FeedInterrupted
from tests.concurrency.tastytrade_fakes import (
    ACCOUNT,
    COLUMNS,
    STREAMER_URL,
    TIME_MS,
    Tastytrade,
    greeks_row,
    make_item,
)
from tests.factories import SPY_CALL, SPY_PUT, START

CALL, PUT = ".SPY261218C600", ".SPY261218P600"


@pytest.fixture
async def tasty(nursery):
    return Tastytrade(nursery, make_item(SPY_CALL), make_item(SPY_PUT))


def interrupted(match):
    return pytest.RaisesGroup(
        pytest.RaisesExc(FeedInterrupted, match=match),
        flatten_subgroups=True,
        allow_unwrapped=True,
    )


def entries(subscription, key="add"):
    return [(each["type"], each["symbol"]) for each in subscription.get(key, [])]


async def started(nursery, tasty):
    """Run one connection in the background; return its first subscription."""
    nursery.start_soon(tasty.feed.run_connection)
    return await tasty.dxlink.wait_subscribed()


async def test_the_handshake_waits_for_each_answer(autojump_clock, nursery, tasty):
    subscription = await started(nursery, tasty)

    assert tasty.dxlink.types() == [
        "SETUP",
        "AUTH",
        "CHANNEL_REQUEST",
        "FEED_SETUP",
        "FEED_SUBSCRIPTION",
    ]
    assert tasty.dxlink.all("AUTH") == [
        {"type": "AUTH", "channel": 0, "token": "quote-1"}
    ]
    assert entries(subscription) == [
        ("Trade", "SPY"),
        ("Quote", "SPY"),
        ("Greeks", CALL),
        ("Greeks", PUT),
    ]
    assert trio.current_time() == 0.0


async def test_a_server_that_wants_no_token_gets_none(autojump_clock, nursery, tasty):
    tasty.dxlink.silent = True
    nursery.start_soon(tasty.feed.run_connection)
    await trio.testing.wait_all_tasks_blocked()

    tasty.dxlink.silent = False
    await tasty.dxlink.send(type="AUTH_STATE", channel=0, state="AUTHORIZED")
    await tasty.dxlink.wait_subscribed()

    assert "AUTH" not in tasty.dxlink.types()


async def test_answers_that_come_twice_or_early_do_no_harm(
    autojump_clock, nursery, tasty
):
    tasty.dxlink.silent = True
    nursery.start_soon(tasty.feed.run_connection)
    await trio.testing.wait_all_tasks_blocked()

    await tasty.dxlink.send(type="KEEPALIVE", channel=0)
    await tasty.dxlink.announce(**COLUMNS)
    tasty.dxlink.silent = False
    for _ in range(2):
        await tasty.dxlink.send(type="AUTH_STATE", channel=0, state="AUTHORIZED")
        await tasty.dxlink.send(type="CHANNEL_OPENED", channel=1)
    await tasty.dxlink.wait_subscribed()
    await tasty.dxlink.send(type="AUTH_STATE", channel=0, state="AUTHORIZED")
    await tasty.dxlink.send_rows(("Greeks", [greeks_row(CALL)]))

    assert len(await tasty.receive()) == 1


async def test_a_refused_quote_token_ends_the_connection_only(autojump_clock, tasty):
    tasty.dxlink.accept_auth = False

    with interrupted("refused the token"):
        await tasty.feed.run_connection()


async def test_a_server_that_does_not_answer_costs_ten_seconds(autojump_clock, tasty):
    tasty.dxlink.silent = True

    with interrupted("does not answer"):
        await tasty.feed.run_connection()

    assert trio.current_time() == 10.0


async def test_a_greeks_event_becomes_a_tick(autojump_clock, nursery, tasty):
    await started(nursery, tasty)

    await tasty.dxlink.send_rows(("Trade", [["SPY", 668.25]]))
    await tasty.dxlink.send_rows(("Greeks", [greeks_row(CALL, 0.51)]))
    [tick] = await tasty.receive()

    assert (tick.broker, tick.account_id, tick.contract_key) == (
        "tastytrade",
        ACCOUNT,
        SPY_CALL,
    )
    assert (tick.delta, tick.gamma, tick.theta) == (0.51, 0.01, -0.2)
    assert (tick.vega, tick.rho, tick.implied_volatility) == (0.6, 0.03, 0.183)
    assert (tick.event_time, tick.received_at) == (START, START)
    assert tick.quantity == Decimal(2)
    assert tick.underlying_price == 668.25
    assert tick.availability == "realtime"
    assert json.loads(tick.source_payload) == dict(
        zip(COLUMNS["Greeks"], greeks_row(CALL, 0.51), strict=True)
    )


async def test_the_middle_of_the_market_stands_in_until_there_is_a_trade(
    autojump_clock, nursery, tasty
):
    await started(nursery, tasty)

    await tasty.dxlink.send_rows(
        ("Greeks", [greeks_row(CALL)]),
        ("Quote", [["SPY", 668.0, 668.5]]),
        ("Greeks", [greeks_row(CALL)]),
        ("Trade", [["SPY", 668.1]]),
        ("Trade", [["SPY", "NaN"]]),
        ("Greeks", [greeks_row(CALL)]),
    )

    prices = [tick.underlying_price for tick in await tasty.receive()]
    assert prices == [None, 668.25, 668.1]


async def test_a_missing_greek_is_null_and_the_others_are_kept(
    autojump_clock, nursery, tasty
):
    await started(nursery, tasty)

    await tasty.dxlink.send_rows(
        ("Greeks", [greeks_row(CALL, "NaN", rho=None, vega="Infinity")])
    )
    [tick] = await tasty.receive()

    assert (tick.delta, tick.rho, tick.vega, tick.gamma) == (None, None, None, 0.01)
    assert json.loads(tick.source_payload)["delta"] == "NaN"


async def test_columns_may_be_announced_anew_at_any_time(
    autojump_clock, nursery, tasty
):
    await started(nursery, tasty)

    await tasty.dxlink.announce(Greeks=["vega", "eventSymbol", "time", "delta"])
    await tasty.dxlink.send(
        type="FEED_DATA", channel=1, data=["Greeks", [0.7, CALL, TIME_MS, 0.4]]
    )
    [tick] = await tasty.receive()

    assert (tick.vega, tick.delta, tick.gamma) == (0.7, 0.4, None)


async def test_a_switch_to_the_full_format_is_followed(autojump_clock, nursery, tasty):
    await started(nursery, tasty)
    event = {"eventType": "Greeks", "eventSymbol": CALL, "time": TIME_MS, "delta": 0.3}

    await tasty.dxlink.send_rows(("Greeks", [greeks_row(CALL, 0.2)]))
    await tasty.dxlink.send(type="FEED_DATA", channel=1, data=[event])
    await tasty.dxlink.send_rows(("Greeks", [greeks_row(CALL, 0.4)]))
    ticks = [tick for _ in range(3) for tick in await tasty.receive()]

    assert [tick.delta for tick in ticks] == [0.2, 0.3, 0.4]
    assert [tick.gamma for tick in ticks] == [0.01, None, 0.01]


async def test_each_account_that_holds_the_contract_gets_a_tick(
    autojump_clock, nursery, tasty
):
    tasty.api.positions["5WT00002"] = [make_item(SPY_CALL, 7, "Short")]
    await started(nursery, tasty)

    await tasty.dxlink.send_rows(("Greeks", [greeks_row(CALL)]))

    holders = [(tick.account_id, tick.quantity) for tick in await tasty.receive()]
    assert holders == [(ACCOUNT, 2), ("5WT00002", -7)]


async def test_odd_frames_are_counted_and_reading_goes_on(
    autojump_clock, nursery, tasty
):
    await started(nursery, tasty)

    await tasty.dxlink.send_text("no json, quote-1")
    await tasty.dxlink.send(type="NEWS", channel=1)
    await tasty.dxlink.send(
        type="FEED_DATA",
        channel=1,
        data=["Greeks", [CALL], "Candle", [1], "Greeks", greeks_row(PUT)],
    )
    await tasty.dxlink.send_rows(
        ("Greeks", [greeks_row(".NOBODY1C1"), greeks_row(CALL, flags=2)])
    )
    await tasty.dxlink.send_rows(("Greeks", [greeks_row(CALL)]))

    assert [tick.contract_key for tick in await tasty.receive()] == [SPY_PUT]
    assert [tick.contract_key for tick in await tasty.receive()] == [SPY_CALL]
    counts = tasty.health.statistics().counts
    assert counts == {
        "odd.not-json": 1,
        "dxlink.unknown-message": 1,
        "odd.incomplete-row": 1,
        "odd.unannounced-type": 1,
        "quote.unknown-symbol": 1,
        "dxlink.marker": 1,
    }
    assert tasty.health.odd_frames[0] == ("not-json", "no json, ***")


async def test_an_error_is_information(autojump_clock, nursery, tasty):
    await started(nursery, tasty)

    await tasty.dxlink.send(type="ERROR", channel=0, error="UNKNOWN", message="hm")
    await tasty.dxlink.send_rows(("Greeks", [greeks_row(CALL)]))

    assert len(await tasty.receive()) == 1
    assert tasty.health.statistics().counts["dxlink.error"] == 1


async def test_refused_subscriptions_are_asked_for_again(
    autojump_clock, nursery, tasty
):
    first = await started(nursery, tasty)

    await tasty.dxlink.send(
        type="ERROR", channel=1, error="BAD_ACTION", message="rate is too high"
    )
    again = await tasty.dxlink.wait_subscribed()

    assert again["add"] == first["add"]
    assert 1.0 <= trio.current_time() <= 2.0


async def test_a_frame_of_several_mib_is_one_item(autojump_clock, nursery, tasty):
    await started(nursery, tasty)
    rows = [greeks_row(CALL, number / 50_000) for number in range(40_000)]

    await tasty.dxlink.send_rows(("Greeks", rows))
    ticks = await tasty.receive()

    assert len(json.dumps(rows)) > 2 * 1024 * 1024
    assert [tick.delta for tick in ticks] == [row[4] for row in rows]


async def test_a_keepalive_goes_out_every_thirty_seconds(
    autojump_clock, nursery, tasty
):
    await started(nursery, tasty)

    await trio.sleep(100)

    times = [
        time for time, each in tasty.dxlink.received if each["type"] == "KEEPALIVE"
    ]
    assert times == [30.0, 60.0, 90.0]
    assert tasty.health.session().last_heartbeat_at == START


async def test_a_server_with_less_patience_gets_keepalives_more_often(
    autojump_clock, nursery, tasty
):
    tasty.dxlink.server_keepalive_s = 20
    await started(nursery, tasty)

    await trio.sleep(25)

    times = [
        time for time, each in tasty.dxlink.received if each["type"] == "KEEPALIVE"
    ]
    assert times == [10.0, 20.0]


async def test_silence_of_every_kind_of_frame_ends_the_connection(
    autojump_clock, tasty
):
    tasty.dxlink.keepalives = False

    with interrupted("silent"):
        await tasty.feed.run_connection()

    assert trio.current_time() == SILENCE_LIMIT_S


async def test_a_quiet_market_with_keepalives_is_no_silence(
    autojump_clock, nursery, tasty
):
    await started(nursery, tasty)

    await trio.sleep(3600)

    assert tasty.health.session().status == "connected"


@pytest.mark.parametrize("code", [1000, 1012])
async def test_whatever_the_close_code_the_next_connection_starts_afresh(
    autojump_clock, nursery, tasty, code
):
    async def close():
        await tasty.dxlink.wait_subscribed()
        await tasty.dxlink.close(code)

    nursery.start_soon(close)
    with interrupted(f"closed the connection: {code}"):
        await tasty.feed.run_connection()
    again = await started(nursery, tasty)
    await tasty.dxlink.send_rows(("Greeks", [greeks_row(CALL)]))

    assert len(again["add"]) == 4
    assert [each["token"] for each in tasty.dxlink.all("AUTH")] == [
        "quote-1",
        "quote-2",
    ]
    assert len(await tasty.receive()) == 1
    assert tasty.health.statistics().reconnects == 1


async def test_a_new_connection_does_not_know_the_old_prices(
    autojump_clock, nursery, tasty
):
    async def close():
        await tasty.dxlink.wait_subscribed()
        await tasty.dxlink.send_rows(
            ("Trade", [["SPY", 600.0]]), ("Greeks", [greeks_row(CALL)])
        )
        await tasty.dxlink.close()

    nursery.start_soon(close)
    with interrupted("closed"):
        await tasty.feed.run_connection()
    await started(nursery, tasty)
    await tasty.dxlink.send_rows(("Greeks", [greeks_row(CALL)]))

    prices = [(await tasty.receive())[0].underlying_price for _ in range(2)]
    assert prices == [600.0, None]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"type": "CHANNEL_CLOSED", "channel": 1}, "closed the channel"),
        ({"type": "AUTH_STATE", "channel": 0, "state": "UNAUTHORIZED"}, "the login"),
    ],
)
async def test_the_server_may_end_it_in_a_frame(
    autojump_clock, nursery, tasty, message, reason
):
    async def end():
        await tasty.dxlink.wait_subscribed()
        await tasty.dxlink.send(**message)

    nursery.start_soon(end)
    with interrupted(reason):
        await tasty.feed.run_connection()


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
    assert len(symbols) == len(set(symbols)) + 1 == 1002  # SPY has two
    sizes = [len(json.dumps(each, separators=(",", ":"))) for _, each in chunks]
    assert max(sizes) <= MAX_REQUEST_BYTES
    assert [time for time, _ in chunks] == [0.25 * n for n in range(len(chunks))]
    assert tasty.health.statistics().live == 1000


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

    assert entries(removed, "remove") == [("Greeks", PUT)]
    assert entries(added) == [
        ("Trade", "AAPL"),
        ("Quote", "AAPL"),
        ("Greeks", ".AAPL261218C250"),
    ]
    assert [tick.quantity for tick in await tasty.receive()] == [-9]
    assert tasty.dxlink.connections == 1


async def test_the_positions_are_read_again_on_their_interval(
    autojump_clock, nursery, tasty
):
    await started(nursery, tasty)
    tasty.api.positions[ACCOUNT].pop()

    removed = await tasty.dxlink.wait_subscribed()

    assert entries(removed, "remove") == [("Greeks", PUT)]
    assert trio.current_time() == 61.0


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
    with interrupted("another login"):
        await tasty.feed.run_connection()


async def test_positions_that_cannot_be_read_leave_the_data_running(
    autojump_clock, nursery, tasty
):
    await started(nursery, tasty)
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


async def test_no_positions_at_all_is_a_healthy_connection(autojump_clock, nursery):
    tasty = Tastytrade(nursery)
    nursery.start_soon(tasty.feed.run_connection)

    await trio.sleep(300)

    assert tasty.health.session().status == "connected"
    assert "FEED_SUBSCRIPTION" not in tasty.dxlink.types()


async def test_refused_credentials_are_told_apart(autojump_clock, tasty):
    tasty.api.answers["/oauth/token"] = (401, {}, b'{"error":"invalid_grant"}')

    with pytest.raises(CredentialsRejected, match="invalid_grant"):
        await tasty.feed.run_connection()


async def test_a_futures_option_uses_tastytrades_own_streamer_symbols(
    autojump_clock, nursery
):
    symbol = "./CLJ6 LOJ6  260317P56"
    item = make_item(symbol, kind="Future Option", **{"underlying-symbol": "/CLJ6"})
    tasty = Tastytrade(nursery, item)
    tasty.api.instruments = {symbol: "./LOJ26P56:XNYM", "CLJ6": "/CLJ26:XNYM"}
    subscription = await started(nursery, tasty)

    await tasty.dxlink.send_rows(
        ("Trade", [["/CLJ26:XNYM", 57.5]]), ("Greeks", [greeks_row("./LOJ26P56:XNYM")])
    )
    [tick] = await tasty.receive()

    assert entries(subscription)[-1] == ("Greeks", "./LOJ26P56:XNYM")
    assert (tick.contract_key, tick.underlying_price) == ("./LO  260317P56", 57.5)


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


async def stop_after(checkpoints, nursery, rows):
    """Stop a feed so many checkpoints after a frame was sent; nobody takes its ticks.

    Returns whether it had read the frame, and the ticks that it handed over.
    """
    tasty = Tastytrade(nursery, make_item(SPY_CALL), room=0)
    scope = trio.CancelScope()

    async def run():
        with scope:
            await tasty.feed.run_connection()

    nursery.start_soon(run)
    await tasty.dxlink.wait_subscribed()
    await trio.testing.wait_all_tasks_blocked()
    before = tasty.health.statistics().frames
    await tasty.dxlink.send_rows(("Greeks", rows))
    for _ in range(checkpoints):
        await trio.lowlevel.checkpoint()
    scope.cancel()
    ticks = []
    with trio.move_on_after(5):
        ticks = await tasty.receive()
    return tasty.health.statistics().frames > before, ticks


async def test_a_feed_stopped_at_any_checkpoint_hands_over_what_it_read(
    autojump_clock, nursery
):
    rows = [greeks_row(CALL, number / 1000) for number in range(300)]

    outcomes = [await stop_after(each, nursery, rows) for each in range(25)]

    assert {was_read for was_read, _ in outcomes} == {True, False}
    for was_read, ticks in outcomes:
        assert [tick.delta for tick in ticks] == (
            [row[4] for row in rows] if was_read else []
        )


async def test_a_slow_pipeline_loses_nothing(autojump_clock, nursery):
    tasty = Tastytrade(nursery, make_item(SPY_CALL), room=0)
    await started(nursery, tasty)

    for delta in (0.1, 0.2, 0.3):
        await tasty.dxlink.send_rows(("Greeks", [greeks_row(CALL, delta)]))
    await trio.sleep(10)
    ticks = [tick for _ in range(3) for tick in await tasty.receive()]

    assert [tick.delta for tick in ticks] == [0.1, 0.2, 0.3]


async def test_a_stop_waits_a_second_for_the_pipeline_and_then_is_loud(
    autojump_clock, nursery, caplog
):
    tasty = Tastytrade(nursery, make_item(SPY_CALL), room=0)

    async def send():
        await tasty.dxlink.wait_subscribed()
        row = greeks_row(CALL)
        await tasty.dxlink.send_rows(("Greeks", [row, row]))

    nursery.start_soon(send)
    with trio.move_on_after(5):
        await tasty.feed.run_connection()

    assert trio.current_time() == 6.0
    assert tasty.health.statistics().counts["ticks.lost"] == 2
    assert "feed.ticks_lost ticks=2" in caplog.text


async def test_losing_the_account_stream_never_ends_market_data(
    autojump_clock, nursery
):
    tasty = Tastytrade(nursery, make_item(SPY_CALL), streamer_url=STREAMER_URL)
    await started(nursery, tasty)
    await tasty.streamer.wait_connected()

    await tasty.streamer.close()
    await tasty.streamer.wait_connected()
    tasty.streamer.error = "failed"
    await tasty.streamer.close()
    await trio.sleep(600)
    await tasty.dxlink.send_rows(("Greeks", [greeks_row(CALL)]))

    assert len(await tasty.receive()) == 1
    assert tasty.dxlink.connections == 1
    assert tasty.health.statistics().counts["account-stream.lost"] > 5
    assert tasty.health.session().status == "connected"
