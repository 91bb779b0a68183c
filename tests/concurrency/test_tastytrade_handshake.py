from __future__ import annotations

import json
from contextlib import suppress
from datetime import timedelta
from functools import partial

import pytest
import trio
from trio.testing import wait_all_tasks_blocked
from trio_websocket import ConnectionClosed

from greeks_trio.brokers.tastytrade.feed import MIN_REQUEST_BYTES
from greeks_trio.brokers.tastytrade.handshake import (
    GREEKS_CHANNEL,
    HANDSHAKE_LIMIT_S,
    PRICES_CHANNEL,
    REFUSAL_LIMIT_S,
)
from greeks_trio.brokers.tastytrade.subscriber import SUBSCRIBE_PAUSE_S
from greeks_trio.config.settings import Secret
from greeks_trio.errors import CredentialsRejected, FeedSilent
from greeks_trio.feeds.supervisor import RestartPolicy, Supervisor
from greeks_trio.waiting import WakeUp
from tests.concurrency import tastytrade_fakes
from tests.concurrency.tastytrade_fakes import (
    CALL,
    COLUMNS,
    PUT,
    STREAMER_URL,
    Tastytrade,
    entries,
    greeks_row,
    interrupted,
    make_config,
    make_item,
    quoted,
    started,
)
from tests.factories import SPY_CALL, SPY_PUT, START

SILENCE_LIMIT_S = tastytrade_fakes.make_config().silence_limit_s


@pytest.fixture
async def tasty(nursery):
    return Tastytrade(nursery, make_item(SPY_CALL), make_item(SPY_PUT))


def length(message):
    return len(json.dumps(message, separators=(",", ":")))


async def test_the_handshake_waits_for_each_answer(autojump_clock, nursery, tasty):
    subscription = await started(nursery, tasty)

    assert tasty.dxlink.types() == [
        "SETUP",
        "AUTH",
        "CHANNEL_REQUEST",
        "CHANNEL_REQUEST",
        "FEED_SETUP",
        "FEED_SETUP",
        "FEED_SUBSCRIPTION",
        "FEED_SUBSCRIPTION",
    ]
    assert tasty.dxlink.all("AUTH") == [
        {"type": "AUTH", "channel": 0, "token": "quote-token-1"}
    ]
    prices, greeks = tasty.dxlink.all("FEED_SUBSCRIPTION")
    assert greeks == subscription
    assert (prices["channel"], entries(prices)) == (
        PRICES_CHANNEL,
        [("Trade", "SPY"), ("TradeETH", "SPY"), ("Quote", "SPY")],
    )
    assert (greeks["channel"], entries(greeks)) == (
        GREEKS_CHANNEL,
        [("Greeks", CALL), ("Greeks", PUT)],
    )
    assert trio.current_time() == SUBSCRIBE_PAUSE_S


async def test_every_tick_of_the_greeks_is_asked_for_and_not_of_the_prices(
    autojump_clock, nursery, tasty
):
    await started(nursery, tasty)

    periods = {
        each["channel"]: each["acceptAggregationPeriod"]
        for each in tasty.dxlink.all("FEED_SETUP")
    }
    assert periods == {GREEKS_CHANNEL: 0.0, PRICES_CHANNEL: 0.5}


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
        for channel in (GREEKS_CHANNEL, PRICES_CHANNEL):
            await tasty.dxlink.send(type="CHANNEL_OPENED", channel=channel)
    await tasty.dxlink.wait_subscribed()
    await tasty.dxlink.send(type="AUTH_STATE", channel=0, state="AUTHORIZED")
    await tasty.dxlink.send_rows(("Greeks", [greeks_row(CALL)]))

    assert len(await tasty.receive()) == 1


@pytest.mark.parametrize("times", [2, 3])
async def test_a_request_for_the_token_that_is_repeated_is_no_refusal(
    autojump_clock, nursery, tasty, times
):
    tasty.dxlink.silent = True
    nursery.start_soon(tasty.feed.run_connection)
    await trio.testing.wait_all_tasks_blocked()

    for _ in range(times):
        await tasty.dxlink.send(type="AUTH_STATE", channel=0, state="UNAUTHORIZED")
    await trio.sleep(REFUSAL_LIMIT_S / 2)
    tasty.dxlink.silent = False
    await tasty.dxlink.send(type="AUTH_STATE", channel=0, state="AUTHORIZED")
    await tasty.dxlink.wait_subscribed()

    assert len(tasty.dxlink.all("AUTH")) == 1


async def test_a_refused_quote_token_ends_the_connection_only(autojump_clock, tasty):
    tasty.dxlink.accept_auth = False

    with interrupted("refused the token"):
        await tasty.feed.run_connection()

    assert trio.current_time() == REFUSAL_LIMIT_S


async def test_a_server_that_hangs_up_on_the_token_has_refused_it(
    autojump_clock, nursery, tasty
):
    tasty.dxlink.accept_auth = False

    async def hang_up():
        while "AUTH" not in tasty.dxlink.types():
            await trio.testing.wait_all_tasks_blocked()
        await tasty.dxlink.close()

    nursery.start_soon(hang_up)
    with interrupted("refused the token: the quote server closed the connection .1000"):
        await tasty.feed.run_connection()

    assert trio.current_time() == 0.0


async def test_a_server_that_keeps_asking_for_the_token_is_left(
    autojump_clock, nursery, tasty
):
    tasty.dxlink.accept_auth = False

    async def ask():
        while True:
            await trio.sleep(0.5)
            await tasty.dxlink.send(type="AUTH_STATE", channel=0, state="UNAUTHORIZED")

    with interrupted("refused the token"):
        async with trio.open_nursery() as asking:
            asking.start_soon(ask)
            await tasty.feed.run_connection()

    assert trio.current_time() == REFUSAL_LIMIT_S
    assert len(tasty.dxlink.all("AUTH")) == 1


async def test_a_server_that_floods_us_with_requests_for_the_token_is_left(
    autojump_clock, nursery, tasty
):
    tasty.dxlink.accept_auth = False

    async def flood():
        while "AUTH" not in tasty.dxlink.types():
            await trio.testing.wait_all_tasks_blocked()
        with suppress(ConnectionClosed):
            for _ in range(1000):
                await tasty.dxlink.send(
                    type="AUTH_STATE", channel=0, state="UNAUTHORIZED"
                )

    nursery.start_soon(flood)
    with interrupted("refused the token|asks for the token again"):
        await tasty.feed.run_connection()

    assert len(tasty.dxlink.all("AUTH")) == 1


async def test_a_server_that_repeats_that_we_are_in_and_opens_nothing_is_left(
    autojump_clock, nursery, tasty
):
    tasty.dxlink.mute = {"CHANNEL_REQUEST"}

    async def repeat():
        while "CHANNEL_REQUEST" not in tasty.dxlink.types():
            await trio.testing.wait_all_tasks_blocked()
        for _ in range(20):
            await tasty.dxlink.send(type="AUTH_STATE", channel=0, state="AUTHORIZED")

    nursery.start_soon(repeat)
    with interrupted("asks for the token again"):
        await tasty.feed.run_connection()


async def test_a_state_of_the_login_that_nobody_knows_is_counted_only(
    autojump_clock, nursery, tasty
):
    tasty.dxlink.silent = True
    nursery.start_soon(tasty.feed.run_connection)
    await trio.testing.wait_all_tasks_blocked()
    await tasty.dxlink.send(type="AUTH_STATE", channel=0, state="PENDING")
    await trio.testing.wait_all_tasks_blocked()
    before = tasty.dxlink.types()

    tasty.dxlink.silent = False
    await tasty.dxlink.send(type="AUTH_STATE", channel=0, state="UNAUTHORIZED")
    await tasty.dxlink.wait_subscribed()
    await tasty.dxlink.send(type="AUTH_STATE", channel=0, state="RENEWING")
    await tasty.dxlink.send_rows(("Greeks", [greeks_row(CALL)]))

    assert before == ["SETUP"]
    assert len(await tasty.receive()) == 1
    assert tasty.health.statistics().counts == {"dxlink.unknown-state": 2}


async def test_a_channel_that_is_closed_instead_of_opened_ends_the_handshake(
    autojump_clock, nursery, tasty
):
    tasty.dxlink.mute = {"CHANNEL_REQUEST"}

    async def refuse():
        while "CHANNEL_REQUEST" not in tasty.dxlink.types():
            await trio.testing.wait_all_tasks_blocked()
        await tasty.dxlink.send(type="CHANNEL_CLOSED", channel=GREEKS_CHANNEL)

    nursery.start_soon(refuse)
    with interrupted("closed channel 1"):
        await tasty.feed.run_connection()

    assert trio.current_time() < HANDSHAKE_LIMIT_S


@pytest.mark.parametrize(
    ("unanswered", "step"),
    [
        ("SETUP", "the greeting"),
        ("AUTH", "the token"),
        ("CHANNEL_REQUEST", "the request for a channel"),
    ],
)
async def test_a_handshake_that_hangs_is_given_up_after_ten_seconds(
    autojump_clock, tasty, unanswered, step
):
    tasty.dxlink.mute = {unanswered}

    with interrupted(f"does not answer {step}$"):
        await tasty.feed.run_connection()

    assert trio.current_time() == HANDSHAKE_LIMIT_S


async def test_one_channel_of_two_is_not_enough(autojump_clock, nursery, tasty):
    tasty.dxlink.mute = {"CHANNEL_REQUEST"}

    async def open_one():
        while "CHANNEL_REQUEST" not in tasty.dxlink.types():
            await trio.testing.wait_all_tasks_blocked()
        await tasty.dxlink.send(type="CHANNEL_OPENED", channel=GREEKS_CHANNEL)

    nursery.start_soon(open_one)
    with interrupted("does not answer the request for a channel"):
        await tasty.feed.run_connection()


async def test_a_subscription_needs_no_answer(autojump_clock, nursery, tasty):
    """Columns may come with the first data, hours later."""
    tasty.dxlink.mute = {"FEED_SETUP", "FEED_SUBSCRIPTION"}
    nursery.start_soon(tasty.feed.run_connection)
    await trio.sleep(3600)

    await tasty.dxlink.announce(**COLUMNS)
    ticks = await quoted(tasty, CALL, PUT)
    await trio.sleep(1)

    assert len(ticks) == 2
    assert tasty.health.session().status == "connected"


async def test_a_keepalive_goes_out_every_thirty_seconds(
    autojump_clock, nursery, tasty
):
    await started(nursery, tasty)

    await trio.sleep(100)

    times = [
        time for time, each in tasty.dxlink.received if each["type"] == "KEEPALIVE"
    ]
    assert times == [30.0, 60.0, 90.0]
    assert tasty.health.session().last_heartbeat_at == START + timedelta(seconds=90)


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


@pytest.mark.parametrize(
    ("timeout_s", "expected"), [(0, 2), (-5, 2), (None, 2), ("soon", 2), (0.001, 60)]
)
async def test_no_patience_of_the_servers_makes_keepalives_a_flood(
    autojump_clock, nursery, tasty, timeout_s, expected
):
    tasty.dxlink.server_keepalive_s = timeout_s
    await started(nursery, tasty)

    await trio.sleep(60)

    assert abs(tasty.dxlink.types().count("KEEPALIVE") - expected) <= 1


async def test_silence_of_every_kind_of_frame_ends_the_connection(
    autojump_clock, tasty
):
    tasty.dxlink.keepalives = False

    with interrupted("silent"):
        await tasty.feed.run_connection()

    assert trio.current_time() == SUBSCRIBE_PAUSE_S + SILENCE_LIMIT_S


async def test_the_configuration_says_how_long_silence_may_last(autojump_clock, tasty):
    tasty.dxlink.keepalives = False
    tasty.feed.reload(tastytrade_fakes.make_config(silence_limit_s=40.0))

    with interrupted("silent"):
        await tasty.feed.run_connection()

    assert trio.current_time() == SUBSCRIBE_PAUSE_S + 40.0


async def test_silence_is_the_reason_of_the_gap(autojump_clock, tasty):
    tasty.dxlink.keepalives = False

    with pytest.RaisesGroup(
        pytest.RaisesExc(FeedSilent),
        flatten_subgroups=True,
    ):
        await tasty.feed.run_connection()


@pytest.mark.parametrize(
    "text",
    [
        '{"type":"KEEPALIVE","channel":0}',
        '{"type":"NEWS","channel":9}',
        "no json",
        '{"type":"FEED_DATA","channel":3,"data":[]}',
    ],
)
async def test_a_frame_of_any_kind_is_a_sign_of_life(
    autojump_clock, nursery, tasty, text
):
    tasty.dxlink.keepalives = False
    await started(nursery, tasty)
    await quoted(tasty, CALL, PUT)

    for _ in range(10):
        await trio.sleep(SILENCE_LIMIT_S - 5)
        await tasty.dxlink.send_text(text)

    assert tasty.health.session().status == "connected"
    assert tasty.dxlink.connections == 1


async def test_a_pipeline_that_stands_still_is_not_the_servers_silence(
    autojump_clock, nursery
):
    tasty = Tastytrade(nursery, make_item(SPY_CALL), room=0)
    await started(nursery, tasty)
    await tasty.dxlink.send_rows(
        ("Trade", [["SPY", 668.25]]), ("Greeks", [greeks_row(CALL)])
    )

    await trio.sleep(5 * SILENCE_LIMIT_S)
    ticks = await tasty.receive()
    await trio.sleep(1)

    assert len(ticks) == 1
    assert tasty.health.session().status == "connected"
    assert tasty.dxlink.connections == 1


async def test_silence_after_a_standstill_is_silence_again(autojump_clock, nursery):
    tasty = Tastytrade(nursery, make_item(SPY_CALL), room=0)
    tasty.dxlink.keepalives = False

    async def stand_still():
        await tasty.dxlink.wait_subscribed()
        await tasty.dxlink.send_rows(("Greeks", [greeks_row(CALL)]))
        await trio.sleep(300)
        await tasty.receive()

    nursery.start_soon(stand_still)
    with interrupted("silent"):
        await tasty.feed.run_connection()

    assert 300 + SILENCE_LIMIT_S <= trio.current_time() <= 300 + 2 * SILENCE_LIMIT_S


async def test_a_quiet_market_with_keepalives_is_no_silence(
    autojump_clock, nursery, tasty
):
    await started(nursery, tasty)
    await quoted(tasty, CALL, PUT)

    await trio.sleep(3600)

    assert tasty.health.session().status == "connected"


@pytest.mark.parametrize("code", [1000, 1001, 1009, 1012])
async def test_whatever_the_close_code_the_next_connection_starts_afresh(
    autojump_clock, nursery, tasty, code
):
    async def close():
        await tasty.dxlink.wait_subscribed()
        await tasty.dxlink.close(code)

    nursery.start_soon(close)
    with interrupted(f"closed the connection .{code}"):
        await tasty.feed.run_connection()
    again = await started(nursery, tasty)
    await tasty.dxlink.send_rows(("Greeks", [greeks_row(CALL)]))

    assert len(again["add"]) == 2
    assert [each["token"] for each in tasty.dxlink.all("AUTH")] == [
        "quote-token-1",
        "quote-token-2",
    ]
    assert len(await tasty.receive()) == 1
    assert tasty.health.statistics().reconnects == 1


async def test_a_server_that_finds_a_request_too_long_gets_shorter_ones(
    autojump_clock, nursery
):
    items = [make_item(f"SPY   261218C{n:05}000") for n in range(1, 101)]
    tasty = Tastytrade(nursery, *items)

    async def refuse(*, times):
        for _ in range(times):
            await tasty.dxlink.wait_subscribed()
            await tasty.dxlink.close(1009)

    longest = []
    nursery.start_soon(partial(refuse, times=6))
    for _ in range(6):
        tasty.dxlink.received.clear()
        with interrupted("1009"):
            await tasty.feed.run_connection()
        longest.append(max(map(length, tasty.dxlink.all("FEED_SUBSCRIPTION"))))

    assert longest == sorted(longest, reverse=True)
    assert longest[0] > 4_000
    assert longest[-1] <= MIN_REQUEST_BYTES


async def test_a_frame_of_theirs_that_is_too_long_does_not_shorten_ours(
    autojump_clock, nursery, tasty, monkeypatch, caplog
):
    monkeypatch.setattr(tastytrade_fakes, "MAX_FRAME_BYTES", 10_000)

    async def send_too_much():
        await tasty.dxlink.wait_subscribed()
        await tasty.dxlink.send_text("x" * 20_000)

    nursery.start_soon(send_too_much)
    with interrupted("1009 Exceeded maximum message size"):
        await tasty.feed.run_connection()

    assert "requests_shortened" not in caplog.text


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
        ({"type": "CHANNEL_CLOSED", "channel": 1}, "closed channel 1"),
        ({"type": "CHANNEL_CLOSED", "channel": 3}, "closed channel 3"),
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


NO_CUSTOMER = (
    400,
    {},
    b'{"error_code":"invalid_request","error_description":"No such customer"}',
)
REVOKED = (400, {}, b'{"error_code":"invalid_grant"}')


async def supervised(nursery, tasty):
    """Run the feed as the service does; return the list of its final refusals."""
    refusals = []
    supervisor = Supervisor(
        tasty.health,
        RestartPolicy(),
        WakeUp(),
        on_refused=lambda: refusals.append(trio.current_time()),
    )
    nursery.start_soon(supervisor.run, tasty.feed.run_connection)
    return refusals


async def test_a_refusal_at_the_start_that_passes_is_an_outage(
    autojump_clock, nursery, tasty
):
    tasty.api.answers["/oauth/token"] = NO_CUSTOMER
    refusals = await supervised(nursery, tasty)
    await trio.sleep(840)
    session = tasty.health.session()
    tasty.api.answers.clear()
    await tasty.dxlink.wait_subscribed()

    assert refusals == []
    assert session.status in ("disconnected", "connecting")
    assert session.last_error == (
        "Tastytrade answered to the login 400: No such customer (invalid_request)"
    )


@pytest.mark.parametrize("answer", [NO_CUSTOMER, REVOKED])
async def test_a_refusal_after_a_good_run_passes(
    autojump_clock, nursery, tasty, answer
):
    refusals = await supervised(nursery, tasty)
    await tasty.dxlink.wait_subscribed()
    tasty.api.answers["/oauth/token"] = answer
    await tasty.dxlink.close()
    await trio.sleep(20)
    tasty.api.answers.clear()
    await tasty.dxlink.wait_subscribed()
    await wait_all_tasks_blocked()

    assert refusals == []
    assert tasty.health.session().status == "connected"
    assert tasty.health.gaps.feed_gap() is None


async def test_a_login_that_stays_revoked_is_final_after_a_few_tries(
    autojump_clock, nursery, tasty
):
    refusals = await supervised(nursery, tasty)
    await tasty.dxlink.wait_subscribed()
    tasty.api.answers["/oauth/token"] = REVOKED
    await tasty.dxlink.close()
    await trio.sleep(300)

    assert len(refusals) == 1
    assert 60 < refusals[0] < 80
    assert tasty.api.paths().count("/oauth/token") == 1 + 4


@pytest.mark.parametrize(("secret", "worked"), [("s3cr3t", True), ("0ther", False)])
async def test_a_refusal_says_whether_the_same_login_has_worked(
    autojump_clock, nursery, tasty, secret, worked
):
    async def end():
        await tasty.dxlink.wait_subscribed()
        await tasty.dxlink.close()

    nursery.start_soon(end)
    with interrupted("1000"):
        await tasty.feed.run_connection()
    tasty.api.answers["/oauth/token"] = (401, {}, b'{"error":"invalid_grant"}')
    tasty.feed.reload(make_config(secret=Secret(secret)))

    with pytest.raises(CredentialsRejected) as found:
        await tasty.feed.run_connection()

    assert found.value.worked_before is worked


async def test_losing_the_account_stream_never_ends_market_data(
    autojump_clock, nursery
):
    tasty = Tastytrade(nursery, make_item(SPY_CALL), streamer_url=STREAMER_URL)
    await started(nursery, tasty)
    await quoted(tasty, CALL)
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
