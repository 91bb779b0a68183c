"""Real books through the whole feed: their subscriptions, records and state."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from greeks_trio.brokers.tastytrade.login_check import check_login
from greeks_trio.brokers.tastytrade.position_watch import CONFIRM_AFTER_S
from greeks_trio.brokers.tastytrade.session import open_session
from greeks_trio.errors import FeedInterrupted
from greeks_trio.model.records import PositionsSnapshot
from tests.concurrency.tastytrade_fakes import (
    ACCOUNT,
    CALL,
    FakeApi,
    Tastytrade,
    entries,
    greeks_row,
    journalled,
    make_config,
    make_item,
    started,
)
from tests.factories import SPY_CALL, SPY_PUT

OTHER = "5WT00002"
POSITIONS = f"/accounts/{ACCOUNT}/positions"
ACCOUNTS = "/customers/me/accounts"
DOW = "./MYMH7MYMH7 270319P44000"
CORN = "./ZCN7 OZCN7 270625C475"


def future(symbol, quantity=2, direction="Short", **changes):
    product = {"underlying-symbol": symbol[:-2], "multiplier": "0.5"}
    return make_item(symbol, quantity, direction, "Future", **(product | changes))


def option(symbol, underlying, quantity=4, direction="Short", **changes):
    fields = {"underlying-symbol": underlying, "multiplier": "0.5"}
    return make_item(symbol, quantity, direction, "Future Option", **(fields | changes))


async def snapshots(tasty):
    found = await journalled(tasty.journal)
    return [each for each in found if isinstance(each, PositionsSnapshot)]


async def settled(nursery, tasty):
    """Run a connection until its first readings are confirmed; return the last snapshot."""
    nursery.start_soon(tasty.feed.run_connection)
    await trio.sleep(CONFIRM_AFTER_S + 2)
    return (await snapshots(tasty))[-1]


def instruments_asked(tasty):
    return [path for path in tasty.api.paths() if path.startswith("/instruments/")]


async def test_a_future_and_its_options_are_one_underlying_with_one_price(
    autojump_clock, nursery
):
    tasty = Tastytrade(
        nursery,
        future("/MYMH7", **{"streamer-symbol": "/MYMH27:XCBT"}),
        option(DOW, "/MYMH7", **{"streamer-symbol": "./MYMH27P44000:XCBT"}),
    )
    subscription = await started(nursery, tasty)
    await tasty.dxlink.send_rows(
        ("Trade", [["/MYMH27:XCBT", 46900.0]]),
        ("Greeks", [greeks_row("./MYMH27P44000:XCBT", -0.3)]),
    )
    [tick] = await tasty.receive()
    held, written = (await snapshots(tasty))[0].positions

    assert entries(subscription) == [("Greeks", "./MYMH27P44000:XCBT")]
    assert (tick.underlying, tick.underlying_price) == ("/MYMH27", 46900.0)
    assert held.underlying == written.underlying == "/MYMH27"
    assert (held.contract_key, written.contract_key) == (
        "/MYMH27",
        "./MYM 270319P44000",
    )
    assert (held.quantity, written.quantity) == (-2, -4)
    assert instruments_asked(tasty) == []
    assert tasty.health.session().status == "connected"


async def test_a_position_that_names_its_symbol_needs_no_page(autojump_clock, nursery):
    tasty = Tastytrade(
        nursery, option(CORN, "/ZCN7", **{"streamer-symbol": "./OZCN27C475:XCBT"})
    )
    tasty.api.instruments = {"ZCN7": "/ZCN27:XCBT"}
    subscription = await started(nursery, tasty)

    assert entries(subscription) == [("Greeks", "./OZCN27C475:XCBT")]
    assert instruments_asked(tasty) == ["/instruments/futures/ZCN7"]


async def test_a_missing_page_of_a_future_is_shown_and_logged(
    autojump_clock, nursery, caplog
):
    symbol = "./ZYXM7 OZYM7 270514P56"
    streamer_symbol = {"streamer-symbol": "./OZYM27P56"}
    tasty = Tastytrade(nursery, option(symbol, "/ZYXM7", **streamer_symbol))
    snapshot = await settled(nursery, tasty)

    assert snapshot.positions[0].exchange is None
    assert tasty.health.session().status == "degraded"
    words = (
        "the streamer symbol of /ZYXM7 is not known (Tastytrade answered 404: not "
        "found), so the price of /ZYXM27 is not known"
    )
    assert tasty.health.session().last_error == words
    assert caplog.text.count(f"problem={words}") == 1


async def test_a_symbol_that_only_a_rule_tells_is_a_note(
    autojump_clock, nursery, caplog
):
    caplog.set_level("INFO")
    tasty = Tastytrade(
        nursery, option(CORN, "/ZCN7", **{"streamer-symbol": "./OZCN27C475:XCBT"})
    )
    subscription = await started(nursery, tasty)
    await wait_all_tasks_blocked()
    session = tasty.health.session()
    prices = tasty.dxlink.all("FEED_SUBSCRIPTION")[0]

    assert entries(subscription) == [("Greeks", "./OZCN27C475:XCBT")]
    assert ("Quote", "/ZCN27:XCBT") in entries(prices)
    assert session.status == "connected"
    assert session.notes == (
        "streamer symbols by rule: /ZCN7 as /ZCN27:XCBT (Tastytrade answered 404: not "
        "found)",
    )
    assert "/ZCN7 as /ZCN27:XCBT" in caplog.text


async def test_a_symbol_that_changes_is_subscribed_instead_and_told(
    autojump_clock, nursery, caplog
):
    named = {"streamer-symbol": "./OZCN27C475:XCBT"}
    tasty = Tastytrade(
        nursery,
        option(CORN, "/ZCN7", **named),
        future("/ZCN7", **{"streamer-symbol": "/ZCN27:XCBT"}),
    )
    await started(nursery, tasty)
    await trio.sleep(10)
    changed = named | {"streamer-symbol": "./OZCN27C475:XNEW", "multiplier": 50}
    tasty.api.positions[ACCOUNT][0] = option(CORN, "/ZCN7", **changed)
    await tasty.dxlink.wait_subscribed()
    await trio.sleep(1)
    *_, last = await snapshots(tasty)
    greeks = [
        each
        for each in tasty.dxlink.all("FEED_SUBSCRIPTION")[2:]
        if "remove" in each or "add" in each
    ]
    before, after = "./OZCN27C475:XCBT", "./OZCN27C475:XNEW"

    assert [entries(each, "remove") for each in greeks if "remove" in each] == [
        [("Greeks", before)]
    ]
    assert any(("Greeks", after) in entries(each) for each in greeks)
    assert (last.positions[0].multiplier, last.positions[0].exchange) == (50, "XNEW")
    assert (
        f"contract_changed {CORN}: streamer symbol {before} -> {after}" in caplog.text
    )
    assert "multiplier 0.5 -> 50" in caplog.text


async def test_an_option_that_cannot_be_read_is_named_and_closes_nothing_else(
    autojump_clock, nursery, caplog
):
    weird = option("./CLM7LOM7270514P", "/CLM7")
    tasty = Tastytrade(nursery, make_item(SPY_CALL), make_item(SPY_PUT), weird)
    first = await settled(nursery, tasty)
    tasty.api.positions[ACCOUNT] = [make_item(SPY_CALL), weird]
    await trio.sleep(70)
    [closed] = await snapshots(tasty)
    session = tasty.health.session()

    assert [each.kind for each in first.positions] == ["option", "option", "unknown"]
    unknown = closed.positions[1]
    assert unknown.contract_key == "tastytrade:./CLM7LOM7270514P"
    assert (unknown.quantity, unknown.underlying) == (-4, "/CLM27")
    assert unknown.problem == "the symbol is not that of a futures option"
    assert [each.contract_key for each in closed.positions] == [
        SPY_CALL,
        "tastytrade:./CLM7LOM7270514P",
    ]
    assert closed.incomplete_account_ids == ()
    assert session.status == "degraded"
    assert "position ./CLM7LOM7270514P of account" in session.last_error
    assert caplog.text.count("position ./CLM7LOM7270514P") >= 1
    assert session.subscription_count == 1


@pytest.mark.parametrize(
    ("page", "multiplier", "words"),
    [
        ({"shares-per-contract": 10}, 10, None),
        ({"shares-per-contract": 0}, None, "does not say how many shares"),
        (None, None, "404: not found"),
    ],
)
async def test_an_adjusted_series_has_the_deliverable_of_its_page(
    autojump_clock, nursery, page, multiplier, words
):
    adjusted = "ACME1 261218C00012500"
    tasty = Tastytrade(nursery, make_item(adjusted, **{"underlying-symbol": "ACME"}))
    tasty.api.instruments = {} if page is None else {adjusted: page}
    snapshot = await settled(nursery, tasty)

    assert snapshot.positions[0].multiplier == multiplier
    assert (words or "") in (tasty.health.session().last_error or "")
    assert tasty.health.session().status == ("degraded" if words else "connected")
    assert instruments_asked(tasty) == [
        "/instruments/equity-options/ACME1%20261218C00012500"
    ]


async def test_two_instruments_with_one_key_are_both_stored_streamed_and_told(
    autojump_clock, nursery, caplog
):
    near, far = "./ESZ6 EW2Z6 261211P6000", "./ESH7 EW2Z6 261211P6000"
    tasty = Tastytrade(
        nursery,
        option(near, "/ESZ6", **{"streamer-symbol": "./EW2Z26P6000:XCME"}),
        option(far, "/ESH7", **{"streamer-symbol": "./EW2H27P6000:XCME"}),
    )
    tasty.api.instruments = {"ESZ6": "/ESZ26:XCME", "ESH7": "/ESH27:XCME"}
    snapshot = await settled(nursery, tasty)

    assert {each.contract_key for each in snapshot.positions} == {
        "./EW2 261211P6000",
        f"tastytrade:{near}",
    }
    assert tasty.health.session().subscription_count == 2
    assert "would have the same key" in tasty.health.session().last_error
    assert "would have the same key" in caplog.text


async def test_an_empty_answer_closes_nothing_before_a_second_one(
    autojump_clock, nursery
):
    tasty = Tastytrade(nursery, make_item(SPY_CALL))
    await settled(nursery, tasty)
    tasty.api.answer_once[POSITIONS] = (200, {}, b'{"data":{"items":[]}}')
    tasty.feed.reload(tasty.config)
    await trio.sleep(2)
    doubtful = tasty.health.session()
    await tasty.dxlink.send_rows(("Greeks", [greeks_row(CALL)]))
    [tick] = await tasty.receive()
    await trio.sleep(CONFIRM_AFTER_S + 1)
    kept = await snapshots(tasty)
    healthy = tasty.health.session().status

    tasty.api.positions[ACCOUNT] = []
    tasty.feed.reload(tasty.config)
    await trio.sleep(CONFIRM_AFTER_S + 3)
    *_, closed = await snapshots(tasty)

    assert "lists no position and held 1 before" in doubtful.last_error
    assert (tick.contract_key, healthy) == (SPY_CALL, "connected")
    assert {len(each.positions) for each in kept} == {1}
    assert (closed.positions, closed.incomplete_account_ids) == ((), ())
    assert tasty.health.session().subscription_count == 0


async def test_the_first_answer_of_a_run_is_confirmed_before_it_closes(
    autojump_clock, nursery
):
    tasty = Tastytrade(nursery, make_item(SPY_CALL))
    tasty.api.answer_once[POSITIONS] = (200, {}, b'{"data":{"items":[]}}')
    nursery.start_soon(tasty.feed.run_connection)
    await trio.sleep(CONFIRM_AFTER_S + 2)
    first, second = await snapshots(tasty)

    assert (first.positions, first.incomplete_account_ids) == ((), (ACCOUNT,))
    assert (len(second.positions), second.incomplete_account_ids) == (1, ())
    assert tasty.api.paths().count(POSITIONS) == 2
    assert tasty.health.session().status == "connected"


async def test_positions_that_cannot_be_confirmed_are_read_on_their_interval(
    autojump_clock, nursery
):
    tasty = Tastytrade(nursery, make_item(SPY_CALL))
    await started(nursery, tasty)
    tasty.api.answers[POSITIONS] = (500, {}, b"")
    await trio.sleep(300)

    assert tasty.api.paths().count(POSITIONS) <= 8


async def test_an_account_list_that_is_empty_once_drops_nothing(
    autojump_clock, nursery
):
    tasty = Tastytrade(nursery, make_item(SPY_CALL))
    tasty.api.positions[OTHER] = [make_item(SPY_PUT)]
    await settled(nursery, tasty)
    tasty.api.answer_once[ACCOUNTS] = (200, {}, b'{"data":{"items":[]}}')
    tasty.feed.reload(tasty.config)
    await trio.sleep(2)
    doubtful = tasty.health.session()
    await trio.sleep(CONFIRM_AFTER_S + 1)
    healthy = tasty.health.session()
    removed = [
        entries(each, "remove") for each in tasty.dxlink.all("FEED_SUBSCRIPTION")
    ]

    assert f"account {ACCOUNT} cannot be read: it is not listed" in doubtful.last_error
    assert (doubtful.subscription_count, healthy.status) == (2, "connected")
    assert not any(removed)


NO_ACCOUNT = "there is no account to stream: "


@pytest.mark.parametrize(
    ("open_accounts", "closed_accounts", "config", "words"),
    [
        ({}, [], {}, f"{NO_ACCOUNT}the login lists none"),
        ({}, ["5WT7", "5WT8"], {}, f"{NO_ACCOUNT}all 2 are closed (5WT7, 5WT8)"),
        (
            {ACCOUNT: []},
            ["5WT7"],
            {"accounts": ("5WT7",)},
            "account 5WT7 is not among the open accounts; "
            f"{NO_ACCOUNT}TASTYTRADE_ACCOUNTS names no open one",
        ),
    ],
)
async def test_a_login_without_an_open_account_is_degraded_and_fails_the_check(
    autojump_clock, nursery, open_accounts, closed_accounts, config, words
):
    tasty = Tastytrade(nursery, **config)
    tasty.api.positions = open_accounts
    tasty.api.closed_accounts = closed_accounts
    nursery.start_soon(tasty.feed.run_connection)
    await trio.sleep(200)

    assert tasty.health.session().status == "degraded"
    assert tasty.health.session().last_error == words
    with pytest.raises(FeedInterrupted) as found:
        await check_login(
            tasty.config, open_session=lambda each: open_session(each, tasty.api)
        )
    assert str(found.value) == f"logged in, but {words}"


async def test_a_closed_account_beside_an_open_one_is_no_problem(
    autojump_clock, nursery
):
    tasty = Tastytrade(nursery, make_item(SPY_CALL))
    tasty.api.closed_accounts = ["5WT7"]
    await settled(nursery, tasty)

    assert tasty.health.session().status == "connected"


async def test_an_empty_list_with_limited_rights_is_a_note(autojump_clock, nursery):
    tasty = Tastytrade(nursery)
    tasty.api.authority_level = "read-only"
    await settled(nursery, tasty)

    session = tasty.health.session()
    assert (session.status, session.last_error) == ("connected", None)
    assert session.notes == (
        f"account {ACCOUNT} lists no position (authority level read-only)",
    )


async def test_accounts_that_all_refuse_us_fail_the_check_with_our_rights():
    api = FakeApi(make_item(SPY_CALL))
    api.authority_level = "trade-only"
    api.answers[POSITIONS] = (403, {}, b'{"error":{"message":"not permitted"}}')

    with pytest.raises(FeedInterrupted) as found:
        await check_login(
            make_config(), open_session=lambda each: open_session(each, api)
        )

    assert str(found.value) == (
        f"logged in, but account {ACCOUNT} cannot be read: Tastytrade answered 403: not "
        "permitted (authority level trade-only)"
    )


async def test_the_check_names_the_holes_of_the_book():
    api = FakeApi(
        make_item(SPY_CALL, multiplier="0.0"),
        make_item(SPY_PUT),
        make_item("./WEIRD", kind="Future Option"),
        make_item("ACME1 261218C00012500", **{"underlying-symbol": "ACME"}),
        option("./ZYXM7 OZYM7 270514P56", "/ZYXM7"),
    )

    sentence = await check_login(
        make_config(), open_session=lambda each: open_session(each, api)
    )

    assert sentence.startswith(
        "logged in, 1 account, 4 option positions, 1 position not understood; position "
        f"./WEIRD of account {ACCOUNT} is not understood: the symbol is not that of a "
        "futures option; "
    )
    assert sentence.endswith("(and 2 more)")


async def test_the_check_names_watched_options_that_are_not_listed():
    api = FakeApi(make_item(SPY_CALL))
    config = make_config(watchlist=("./EX2 270212P6100", SPY_PUT))

    assert await check_login(
        config, open_session=lambda each: open_session(each, api)
    ) == (
        "logged in, 1 account, 1 option position; no streamer symbol for ./EX2 "
        "270212P6100: the list of products cannot be read: Tastytrade answered 404: not "
        "found"
    )


async def test_a_book_of_futures_options_connects_soon(autojump_clock, nursery):
    symbols = [f"./ESH7 EW{each % 4 + 1}F7 270108P{5000 + each}" for each in range(240)]
    items = [option(each, "/ESH7") for each in symbols]
    tasty = Tastytrade(nursery, *items)
    tasty.api.delay_s = 0.2
    tasty.api.instruments = {
        each: f"./EW{number}:XCME" for number, each in enumerate(symbols)
    } | {"ESH7": "/ESH27:XCME"}
    await started(nursery, tasty)

    assert trio.current_time() < 15
