"""Errors of the quote server, refused subscriptions, and unreadable Greeks."""

from __future__ import annotations

import pytest
import trio

from greeks_trio.brokers.tastytrade import (
    server_errors,
    shortfalls,
    subscriber,
    unreadable,
)
from greeks_trio.brokers.tastytrade.handshake import GREEKS_CHANNEL
from greeks_trio.brokers.tastytrade.subscriber import SUBSCRIBE_PAUSE_S
from greeks_trio.brokers.tastytrade.unreadable import UNREADABLE_LIMIT_S
from greeks_trio.feeds.quiet import GREEKS_LIMIT_S
from greeks_trio.feeds.shortfalls import MAX_REASONS
from greeks_trio.model.records import FeedGap
from tests.concurrency.tastytrade_fakes import (
    ACCOUNT,
    CALL,
    COLUMNS,
    PUT,
    Tastytrade,
    entries,
    greeks_row,
    interrupted,
    journalled,
    make_item,
    quoted,
    started,
)
from tests.factories import SPY_CALL, SPY_PUT

TOO_BIG = "Your subscription size is too big"
TOO_FAST = "Your subscription rate is too high"
EVEN = "Protocol violation with an even channel usage."


@pytest.fixture
async def tasty(nursery):
    return Tastytrade(nursery, make_item(SPY_CALL), make_item(SPY_PUT))


async def refuse(tasty, message=TOO_FAST, *, error="BAD_ACTION", channel=0):
    await tasty.dxlink.send(type="ERROR", channel=channel, error=error, message=message)
    await trio.testing.wait_all_tasks_blocked()


@pytest.mark.parametrize(
    ("error", "channel", "message"),
    [
        ("BAD_ACTION", 0, TOO_BIG),
        ("BAD_ACTION", GREEKS_CHANNEL, TOO_FAST),
        ("BAD_ACTION", 0, EVEN),
        ("INVALID_MESSAGE", 0, "Unknown field."),
        ("UNAUTHORIZED", GREEKS_CHANNEL, "Not entitled."),
        ("UNKNOWN", GREEKS_CHANNEL, "hm"),
    ],
)
async def test_an_error_that_may_be_a_refusal_shows_until_a_quiet_minute(
    autojump_clock, nursery, tasty, error, channel, message
):
    await started(nursery, tasty)
    await refuse(tasty, message, error=error, channel=channel)
    refused = tasty.health.session()

    again = await tasty.dxlink.wait_subscribed()
    await trio.sleep(subscriber.QUIET_LIMIT_S - 1)
    still = tasty.health.session()
    await trio.sleep(2)
    healed = tasty.health.session()

    assert (refused.status, still.status) == ("degraded", "degraded")
    assert refused.last_error == (
        f"2 contracts that a refused request may include ({SPY_CALL}, {SPY_PUT});"
        f" subscriptions refused: {error}: {message}"
    )
    assert (refused.subscription_count, healed.subscription_count) == (0, 2)
    assert (healed.status, healed.last_error) == ("connected", None)
    assert len(again["add"]) == 2
    assert tasty.dxlink.connections == 1


async def test_only_contracts_that_were_heard_are_live_while_it_is_in_doubt(
    autojump_clock, nursery, tasty
):
    await started(nursery, tasty)
    await tasty.dxlink.send_rows(("Greeks", [greeks_row(CALL)]))
    await tasty.receive()
    await refuse(tasty)
    before = tasty.health.session().subscription_count

    await tasty.dxlink.send_rows(("Greeks", [greeks_row(PUT), greeks_row(".NO1C1")]))
    await tasty.receive()
    await trio.sleep(1)

    assert (before, tasty.health.session().subscription_count) == (1, 2)
    assert tasty.health.session().status == "degraded"


async def test_contracts_that_may_be_mute_have_a_gap_until_they_are_heard(
    autojump_clock, nursery, tasty
):
    await started(nursery, tasty)
    await refuse(tasty)
    begun = [each for each in await journalled(tasty.journal) if type(each) is FeedGap]
    await tasty.dxlink.send_rows(("Greeks", [greeks_row(CALL)]))
    await tasty.receive()
    heard = await journalled(tasty.journal)
    await trio.sleep(GREEKS_LIMIT_S + subscriber.CHECK_INTERVAL_S)
    later = [each for each in await journalled(tasty.journal) if type(each) is FeedGap]
    await quoted(tasty, PUT)
    [ended] = [
        each for each in await journalled(tasty.journal) if type(each) is FeedGap
    ]

    assert {each.contract_key for each in begun} == {SPY_CALL, SPY_PUT}
    assert {each.reason for each in begun} == {"subscription refused"}
    assert [each.contract_key for each in heard if each.ended_at] == [SPY_CALL]
    assert [(each.reason, each.ended_at is None) for each in later] == [
        ("subscription refused", False),
        ("no greeks", True),
    ]
    assert {each.contract_key for each in later} == {SPY_PUT}
    assert (ended.contract_key, ended.started_at) == (SPY_PUT, later[-1].started_at)


async def test_the_gap_of_a_mute_contract_outlives_its_connection(
    autojump_clock, nursery, tasty
):
    async def refuse_and_close():
        await tasty.dxlink.wait_subscribed()
        await refuse(tasty)
        await tasty.dxlink.close()

    nursery.start_soon(refuse_and_close)
    with interrupted("closed the connection"):
        await tasty.feed.run_connection()
    await started(nursery, tasty)
    await trio.sleep(30)
    first = [each for each in await journalled(tasty.journal) if type(each) is FeedGap]
    await quoted(tasty, CALL)
    [ended] = await journalled(tasty.journal)

    assert {each.contract_key for each in first} == {SPY_CALL, SPY_PUT}
    assert {each.ended_at for each in first} == {None}
    assert (ended.contract_key, ended.reason) == (SPY_CALL, "subscription refused")


async def test_the_gap_of_a_contract_that_is_no_longer_wanted_ends(
    autojump_clock, nursery, tasty
):
    await started(nursery, tasty)
    await trio.sleep(5)
    await refuse(tasty)
    await journalled(tasty.journal)
    tasty.api.positions[ACCOUNT].pop()

    tasty.feed.reload(tasty.config)
    while not entries(await tasty.dxlink.wait_subscribed(), "remove"):
        pass

    found = await journalled(tasty.journal)
    ended = [each.contract_key for each in found if type(each) is FeedGap]
    assert ended == [SPY_PUT]


async def test_a_large_refusal_does_not_flood_the_journal(
    autojump_clock, nursery, monkeypatch, tasty
):
    monkeypatch.setattr(shortfalls, "MAX_GAPS", 1)
    await started(nursery, tasty)
    await refuse(tasty)
    await refuse(tasty)

    gaps = [each for each in await journalled(tasty.journal) if type(each) is FeedGap]
    assert len(gaps) == 1


async def test_a_refusal_that_stays_is_asked_again_ever_more_slowly(
    autojump_clock, nursery, tasty
):
    await started(nursery, tasty)
    times, states = [], set()
    for _ in range(12):
        await refuse(tasty, TOO_BIG)
        refused_at = trio.current_time()
        await tasty.dxlink.wait_subscribed()
        times.append(trio.current_time() - refused_at)
        states.add(tasty.health.session().status)

    assert states == {"degraded"}
    assert times[0] <= 2.0 + 2 * SUBSCRIBE_PAUSE_S
    assert 150 <= times[-1] <= 302.0


async def test_after_a_quiet_minute_the_past_is_forgotten(
    autojump_clock, nursery, tasty
):
    await started(nursery, tasty)
    for _ in range(8):
        await refuse(tasty)
        await tasty.dxlink.wait_subscribed()
    await trio.sleep(100)

    await refuse(tasty)
    refused_at = trio.current_time()
    await tasty.dxlink.wait_subscribed()

    # One backoff of at most 2 s, and one pause that has been doubled once.
    assert trio.current_time() - refused_at <= 2.0 + 2 * SUBSCRIBE_PAUSE_S


@pytest.mark.parametrize(
    "error", ["UNKNOWN", "TIMEOUT", "UNAUTHORIZED", "UNSUPPORTED_PROTOCOL", "NEW", None]
)
async def test_any_other_error_is_information_that_shows_for_a_minute(
    autojump_clock, nursery, tasty, error
):
    await started(nursery, tasty)
    await refuse(tasty, "so  it\nis", error=error)
    told = tasty.health.session()

    await tasty.dxlink.send_rows(("Greeks", [greeks_row(CALL)]))
    ticks = await tasty.receive()
    await trio.sleep(server_errors.QUIET_LIMIT_S + 1)

    assert told.status == "degraded"
    assert told.last_error == f"the quote server says {error or 'ERROR'}: so it is"
    assert told.subscription_count == 2
    assert len(ticks) == 1
    assert tasty.health.session().status == "connected"
    assert (len(tasty.dxlink.all("FEED_SUBSCRIPTION")), tasty.dxlink.connections) == (
        2,
        1,
    )
    kind = "other" if error in ("NEW", None) else error.lower()
    counts = tasty.health.statistics().counts
    assert counts == {"dxlink.error": 1, f"dxlink.error.{kind}": 1}


@pytest.mark.parametrize("channel", [None, 0, 99])
@pytest.mark.parametrize("content", [{}, {"error": None, "message": ""}])
async def test_an_error_that_says_nothing_is_counted_and_changes_no_state(
    autojump_clock, nursery, tasty, channel, content
):
    await started(nursery, tasty)
    address = {} if channel is None else {"channel": channel}

    await tasty.dxlink.send(type="ERROR", **address, **content)
    await trio.testing.wait_all_tasks_blocked()

    assert tasty.health.session().status == "connected"
    counts = {"dxlink.error": 1, "dxlink.error.other": 1}
    assert tasty.health.statistics().counts == counts


async def test_an_error_that_says_nothing_on_our_channel_may_be_a_refusal(
    autojump_clock, nursery, tasty
):
    await started(nursery, tasty)
    await tasty.dxlink.send(type="ERROR", channel=GREEKS_CHANNEL)
    await tasty.dxlink.wait_subscribed()
    refused = tasty.health.session()

    await trio.sleep(subscriber.QUIET_LIMIT_S + 1)

    assert refused.status == "degraded"
    assert refused.last_error.endswith("; subscriptions refused: ERROR")
    assert tasty.health.session().status == "connected"


async def test_an_error_on_a_channel_that_is_not_ours_refuses_nothing(
    autojump_clock, nursery, tasty
):
    await started(nursery, tasty)

    await refuse(tasty, "hm", error="UNKNOWN", channel=99)
    told = tasty.health.session()
    await trio.sleep(server_errors.QUIET_LIMIT_S + 1)

    assert told.last_error == "the quote server says UNKNOWN: hm"
    assert told.subscription_count == 2
    assert len(tasty.dxlink.all("FEED_SUBSCRIPTION")) == 2
    assert tasty.health.session().status == "connected"


@pytest.mark.parametrize("error", ["UNKNOWN", "BAD_ACTION"])
async def test_a_server_that_never_says_the_same_twice_does_not_fill_the_log(
    autojump_clock, nursery, tasty, caplog, error
):
    await started(nursery, tasty)

    for number in range(300):
        await refuse(tasty, f"request {number}", error=error)
    await trio.sleep(1)

    # A refusal is told with the contracts that it may include.
    extra = 1 if error == "BAD_ACTION" else 0
    assert caplog.text.count("feed.degraded") == MAX_REASONS + extra
    assert caplog.text.count("tastytrade.server_error channel") == 100
    assert tasty.health.statistics().counts["dxlink.error"] == 300


async def test_reasons_are_told_again_after_it_was_mended(
    autojump_clock, nursery, tasty
):
    await started(nursery, tasty)
    for number in range(2 * MAX_REASONS):
        await refuse(tasty, f"request {number}", error="UNKNOWN")
    await trio.sleep(server_errors.QUIET_LIMIT_S + 1)

    await refuse(tasty, "the last", error="UNKNOWN")

    said = tasty.health.session().last_error
    assert said == "the quote server says UNKNOWN: the last"


async def test_an_error_that_repeats_itself_is_logged_once_and_counted(
    autojump_clock, nursery, tasty, caplog
):
    await started(nursery, tasty)

    for _ in range(50):
        await refuse(tasty, "quote-token-1 is bad", error="UNKNOWN")
    await trio.sleep(1)

    assert caplog.text.count("tastytrade.server_error channel=0") == 1
    assert "quote-token-1" not in caplog.text
    assert tasty.health.statistics().counts["dxlink.error"] == 50


async def test_a_close_soon_after_an_error_says_both(autojump_clock, nursery, tasty):
    async def close():
        await tasty.dxlink.wait_subscribed()
        await refuse(tasty, "no message", error="TIMEOUT")
        await trio.sleep(5)
        await tasty.dxlink.close(1000)

    nursery.start_soon(close)
    with interrupted("1000 NORMAL_CLOSURE., after it said TIMEOUT: no message"):
        await tasty.feed.run_connection()


async def test_a_close_long_after_an_error_does_not_blame_it(
    autojump_clock, nursery, tasty
):
    async def close():
        await tasty.dxlink.wait_subscribed()
        await refuse(tasty, "no message", error="TIMEOUT")
        await trio.sleep(server_errors.RECENT_S + 1)
        await tasty.dxlink.close(1012)

    nursery.start_soon(close)
    with interrupted("closed the connection .1012 [^,]*$"):
        await tasty.feed.run_connection()


async def test_errors_of_the_handshake_are_part_of_its_reason(
    autojump_clock, nursery, tasty
):
    tasty.dxlink.mute = {"AUTH"}

    async def complain():
        while "AUTH" not in tasty.dxlink.types():
            await trio.testing.wait_all_tasks_blocked()
        await trio.sleep(5)
        await refuse(tasty, "Session not found: api", error="UNAUTHORIZED")

    nursery.start_soon(complain)
    with interrupted(
        "does not answer the token, after it said UNAUTHORIZED: Session not found: api"
    ):
        await tasty.feed.run_connection()


async def test_columns_that_are_never_announced_show_in_the_state(
    autojump_clock, nursery, tasty
):
    tasty.dxlink.columns = {}
    await started(nursery, tasty)
    await tasty.dxlink.send_rows(("Greeks", [greeks_row(CALL)]))
    await trio.sleep(UNREADABLE_LIMIT_S - 1)
    patient = tasty.health.session().status
    await trio.sleep(2)
    degraded = tasty.health.session()
    asked = tasty.dxlink.all("FEED_SETUP")

    await tasty.dxlink.announce(**COLUMNS)
    await tasty.dxlink.send_rows(("Greeks", [greeks_row(CALL)]))
    await tasty.receive()
    await trio.testing.wait_all_tasks_blocked()

    assert (patient, degraded.status) == ("connected", "degraded")
    assert degraded.last_error == "Greeks come that cannot be read: unannounced-type"
    assert [each["channel"] for each in asked] == [1, 3, 1]
    assert tasty.health.session().status == "connected"


async def test_columns_that_come_a_little_late_are_no_trouble(
    autojump_clock, nursery, tasty
):
    tasty.dxlink.columns = {}
    await started(nursery, tasty)
    await tasty.dxlink.send_rows(("Greeks", [greeks_row(CALL)]))
    await tasty.dxlink.announce(**COLUMNS)
    await quoted(tasty, CALL, PUT)

    await trio.sleep(600)

    assert tasty.health.session().status == "connected"
    assert len(tasty.dxlink.all("FEED_SETUP")) == 2


@pytest.mark.parametrize(
    "columns",
    [["delta", "gamma"], [], 7, ["eventSymbol", None]],
    ids=["no-symbol", "none", "unreadable", "partly-unreadable"],
)
async def test_columns_that_are_spoilt_in_mid_stream_show_in_the_state(
    autojump_clock, nursery, tasty, columns
):
    await started(nursery, tasty)
    await tasty.dxlink.send_rows(("Greeks", [greeks_row(CALL)]))
    await tasty.receive()
    await tasty.dxlink.announce(Greeks=columns)
    for _ in range(3):
        await tasty.dxlink.send_rows(("Greeks", [[0.1, 0.2]]))
        await trio.sleep(5)

    assert tasty.health.session().status == "degraded"
    assert tasty.frames.statistics().current_buffer_used == 0


async def test_a_few_rows_that_cannot_be_read_are_forgotten_when_no_others_come(
    autojump_clock, nursery, tasty
):
    await started(nursery, tasty)
    await quoted(tasty, CALL, PUT)
    await tasty.dxlink.send_rows(("Greeks", [[CALL]]))
    await trio.sleep(UNREADABLE_LIMIT_S + 1)
    await tasty.dxlink.send_rows(("Greeks", [[CALL]]))
    await trio.sleep(unreadable.READABLE_AGAIN_S - 1)
    degraded = tasty.health.session()
    await trio.sleep(2)
    forgotten = tasty.health.session()

    await tasty.dxlink.send_rows(("Greeks", [[CALL]]))
    await trio.sleep(UNREADABLE_LIMIT_S + 1)

    assert degraded.last_error == "Greeks come that cannot be read: incomplete-row"
    assert (forgotten.status, forgotten.last_error) == ("connected", None)
    assert tasty.health.session().status == "degraded"
    assert len(tasty.dxlink.all("FEED_SETUP")) == 4


async def test_what_the_server_says_of_other_channels_is_counted_and_dropped(
    autojump_clock, nursery, tasty
):
    await started(nursery, tasty)
    await tasty.dxlink.announce(channel=99, Greeks=["delta"])
    for message_type in ("CHANNEL_OPENED", "CHANNEL_CLOSED"):
        await tasty.dxlink.send(type=message_type, channel=99)
    await tasty.dxlink.send(type="FEED_DATA", channel=77, data=["Greeks", [1]])
    await tasty.dxlink.send_rows(("Greeks", [greeks_row(CALL)]))

    assert len(await tasty.receive()) == 1
    assert tasty.health.statistics().counts == {"dxlink.other-channel": 4}
    await trio.sleep(60)
    assert tasty.health.session().status == "connected"


async def test_odd_prices_say_nothing_of_the_greeks(autojump_clock, nursery, tasty):
    await started(nursery, tasty)
    await tasty.dxlink.send_rows(("Quote", [["SPY"]]), ("Candle", [[1]]))

    await trio.sleep(60)

    assert tasty.health.session().status == "connected"
    assert tasty.health.statistics().counts["odd.incomplete-row"] == 1


async def test_a_server_that_keeps_events_back_is_counted(
    autojump_clock, nursery, tasty
):
    await started(nursery, tasty)
    for channel, period in ((1, 0.1), (1, 0), (3, 0.5)):
        await tasty.dxlink.send(
            type="FEED_CONFIG", channel=channel, aggregationPeriod=period
        )
    await trio.testing.wait_all_tasks_blocked()

    assert tasty.health.statistics().counts == {"dxlink.conflated": 1}
