"""Accounts and positions that cannot be read while the data flow."""

from __future__ import annotations

import dataclasses

import pytest
import trio

from greeks_trio.brokers.tastytrade.position_watch import CONFIRM_AFTER_S
from greeks_trio.config.settings import Secret
from greeks_trio.errors import CredentialsRejected
from greeks_trio.model.records import PositionsSnapshot
from tests.concurrency.tastytrade_fakes import (
    ACCOUNT,
    CALL,
    PUT,
    STREAMER_URL,
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

OTHER = "5WT00002"
REFUSED = f"/accounts/{OTHER}/positions"


@pytest.fixture
async def tasty(nursery):
    tasty = Tastytrade(nursery, make_item(SPY_CALL))
    tasty.api.positions[OTHER] = [make_item(SPY_PUT)]
    return tasty


async def snapshots(tasty):
    found = await journalled(tasty.journal)
    return [each for each in found if isinstance(each, PositionsSnapshot)]


async def test_the_streamed_contracts_are_known_for_their_staleness(
    autojump_clock, nursery, tasty
):
    await started(nursery, tasty)
    first = dict(tasty.health.streamed())
    await trio.sleep(10)
    tasty.api.positions[OTHER] = []

    tasty.feed.reload(tasty.config)
    await tasty.dxlink.wait_subscribed()
    await trio.testing.wait_all_tasks_blocked()

    assert first.keys() == {SPY_CALL, SPY_PUT}
    assert tasty.health.streamed() == {SPY_CALL: first[SPY_CALL]}


@pytest.mark.parametrize("status", [403, 404])
async def test_an_account_that_refuses_us_does_not_hide_the_others(
    autojump_clock, nursery, tasty, status
):
    tasty.api.answers[REFUSED] = (status, {}, b'{"error":{"message":"not yours"}}')

    subscription = await started(nursery, tasty)
    await trio.testing.wait_all_tasks_blocked()
    session = tasty.health.session()
    [snapshot] = await snapshots(tasty)
    await trio.sleep(CONFIRM_AFTER_S + 1)
    [confirmed] = await snapshots(tasty)

    assert entries(subscription) == [("Greeks", CALL)]
    assert session.status == "degraded"
    assert session.last_error == (
        f"account {OTHER} cannot be read: Tastytrade answered {status}: not yours"
    )
    assert snapshot.account_ids == (ACCOUNT, OTHER)
    assert snapshot.incomplete_account_ids == (ACCOUNT, OTHER)
    assert confirmed.incomplete_account_ids == (OTHER,)
    assert tasty.health.statistics().counts["positions.refused"] == 2


async def test_an_account_that_begins_to_refuse_us_stays_subscribed(
    autojump_clock, nursery, tasty
):
    await started(nursery, tasty)
    await quoted(tasty, CALL, PUT)
    await snapshots(tasty)
    tasty.api.answers[REFUSED] = (403, {}, b"")
    await trio.sleep(70)
    degraded = tasty.health.session().status

    await tasty.dxlink.send_rows(("Greeks", [greeks_row(PUT)]))
    [tick] = await tasty.receive()
    taken = await snapshots(tasty)
    tasty.api.answers.clear()
    await trio.sleep(70)

    assert degraded == "degraded"
    assert tick.account_id == OTHER
    assert {each.incomplete_account_ids for each in taken} == {(OTHER,)}
    assert tasty.health.session().status == "connected"
    assert len(tasty.dxlink.all("FEED_SUBSCRIPTION")) == 2


async def test_a_position_that_becomes_malformed_is_neither_closed_nor_unsubscribed(
    autojump_clock, nursery, tasty
):
    await started(nursery, tasty)
    await trio.sleep(10)
    *_, first = await snapshots(tasty)
    tasty.api.positions[OTHER] = [make_item(SPY_PUT, "many")]
    await trio.sleep(70)

    await tasty.dxlink.send_rows(("Greeks", [greeks_row(PUT)]))

    assert [tick.quantity for tick in await tasty.receive()] == [2]
    assert await snapshots(tasty) == []
    session = tasty.health.session()
    assert session.status == "degraded"
    assert "position SPY   261218P00600000 of account 5WT00002" in session.last_error
    assert len(first.positions) == 2


async def test_a_position_that_was_never_readable_is_recorded_as_unknown(
    autojump_clock, nursery, tasty
):
    tasty.api.positions[OTHER] = [make_item(SPY_PUT, "many")]
    await started(nursery, tasty)
    await trio.sleep(10)
    *_, at_start = await snapshots(tasty)
    tasty.api.positions[OTHER] = [make_item(SPY_PUT, 3)]
    await trio.sleep(70)
    [at_last] = await snapshots(tasty)

    assert at_start.incomplete_account_ids == ()
    unknown = at_start.positions[1]
    assert (unknown.contract_key, unknown.kind) == (SPY_PUT, "unknown")
    assert (unknown.quantity, unknown.instrument_id) == (None, SPY_PUT)
    assert unknown.problem == "its quantity is not a number"
    assert (at_last.positions[1].kind, at_last.positions[1].problem) == ("option", None)


async def test_an_account_that_becomes_malformed_is_neither_closed_nor_unsubscribed(
    autojump_clock, nursery, tasty
):
    await started(nursery, tasty)
    await snapshots(tasty)
    listed = b'{"data":{"items":[{"account":{"account-number":"%s"}},{"account":7}]}}'
    tasty.api.answers["/customers/me/accounts"] = 200, {}, listed % ACCOUNT.encode()
    await trio.sleep(70)
    [snapshot] = await snapshots(tasty)
    degraded = tasty.health.session()

    tasty.api.closed_accounts.append(OTHER)
    del tasty.api.positions[OTHER]
    tasty.api.answers.clear()
    await trio.sleep(70)
    [closed] = await snapshots(tasty)

    assert (snapshot.incomplete_account_ids, len(snapshot.positions)) == ((OTHER,), 2)
    assert "an account is not understood" in degraded.last_error
    assert closed.account_ids == (ACCOUNT, OTHER)
    assert closed.incomplete_account_ids == ()
    assert {each.account_id for each in closed.positions} == {ACCOUNT}
    [removed] = filter(None, (entries(each, "remove") for each in subscribed(tasty)))
    assert removed == [("Greeks", PUT)]


def subscribed(tasty):
    return tasty.dxlink.all("FEED_SUBSCRIPTION")


async def lose_connection(nursery, tasty, *, answers):
    """Run one connection to its end, from when on the API gives these answers."""

    async def close():
        await tasty.dxlink.wait_subscribed()
        tasty.api.answers.update(answers)
        await tasty.dxlink.close()

    nursery.start_soon(close)
    with interrupted("closed the connection"):
        await tasty.feed.run_connection()


async def test_what_an_account_held_is_remembered_over_a_reconnect(
    autojump_clock, nursery, tasty
):
    await lose_connection(nursery, tasty, answers={REFUSED: (404, {}, b"")})

    again = await started(nursery, tasty)

    assert entries(again) == [("Greeks", CALL), ("Greeks", PUT)]


@pytest.mark.parametrize("path", ["/customers/me/accounts", REFUSED])
async def test_positions_that_cannot_be_read_at_a_reconnect_are_the_last_known(
    autojump_clock, nursery, tasty, path
):
    await lose_connection(nursery, tasty, answers={path: (503, {}, b"")})

    again = await started(nursery, tasty)
    await trio.testing.wait_all_tasks_blocked()
    degraded = tasty.health.session()
    tasty.api.answers.clear()
    await trio.sleep(70)

    assert entries(again) == [("Greeks", CALL), ("Greeks", PUT)]
    assert degraded.status == "degraded"
    assert degraded.last_error.startswith("positions cannot be read: Tastytrade answ")
    assert tasty.health.session().status == "connected"


async def test_a_server_that_wants_to_be_left_alone_is_left_alone(
    autojump_clock, nursery, tasty
):
    answers = {REFUSED: (429, {"Retry-After": "30"}, b"")}
    await lose_connection(nursery, tasty, answers=answers)

    with interrupted("429"):
        await tasty.feed.run_connection()

    assert tasty.api.tokens == 1


@pytest.mark.parametrize(
    "changes", [{"accounts": (ACCOUNT,)}, {"refresh": Secret("another")}]
)
async def test_positions_of_other_accounts_are_not_remembered(
    autojump_clock, nursery, tasty, changes
):
    await lose_connection(nursery, tasty, answers={REFUSED: (503, {}, b"")})
    tasty.api.answers["/customers/me/accounts"] = (503, {}, b"")
    tasty.feed.reload(dataclasses.replace(tasty.config, **changes))

    with interrupted("503"):
        await tasty.feed.run_connection()


async def test_an_account_that_is_named_but_not_there_is_said_to_be_missing(
    autojump_clock, nursery, caplog
):
    tasty = Tastytrade(nursery, make_item(SPY_CALL), accounts=(ACCOUNT, "5WT00009"))
    await started(nursery, tasty)
    await quoted(tasty, CALL)

    await trio.sleep(600)

    session = tasty.health.session()
    assert session.status == "degraded"
    assert session.last_error == "account 5WT00009 is not among the open accounts"
    assert caplog.text.count("position_unread") == 1
    assert caplog.text.count("feed.degraded") == 1


async def test_one_of_many_problems_is_shown_and_the_others_counted(
    autojump_clock, nursery
):
    odd = [7, {"symbol": "AAPL"}, {"quantity": 3}, make_item("WEIRD"), "text"]
    tasty = Tastytrade(nursery, make_item(SPY_CALL), *odd)
    await started(nursery, tasty)
    await trio.testing.wait_all_tasks_blocked()
    [snapshot] = await snapshots(tasty)

    assert tasty.health.session().last_error.endswith("(and 2 more)")
    assert tasty.health.session().last_error.count("is not understood") == 3
    assert [each.kind for each in snapshot.positions] == ["option", *["unknown"] * 5]
    assert len({each.contract_key for each in snapshot.positions}) == 6


async def test_an_account_that_is_listed_twice_is_read_once(autojump_clock, nursery):
    tasty = Tastytrade(nursery, make_item(SPY_CALL))
    account = f'{{"account":{{"account-number":"{ACCOUNT}"}}}}'
    answer = f'{{"data":{{"items":[{account},{account}]}}}}'
    tasty.api.answers["/customers/me/accounts"] = (200, {}, answer.encode())
    await started(nursery, tasty)

    await tasty.dxlink.send_rows(("Greeks", [greeks_row(CALL)]))

    assert [tick.quantity for tick in await tasty.receive()] == [2]


async def test_credentials_that_are_refused_later_leave_the_data_running(
    autojump_clock, nursery
):
    tasty = Tastytrade(nursery, make_item(SPY_CALL), streamer_url=STREAMER_URL)
    tasty.api.expires_in = 30  # so that each read logs in
    await started(nursery, tasty)
    await quoted(tasty, CALL)
    tasty.api.answers["/oauth/token"] = (400, {}, b'{"error":"invalid_grant"}')
    await trio.sleep(200)
    degraded = tasty.health.session()

    await tasty.dxlink.send_rows(("Greeks", [greeks_row(CALL)]))
    ticks = await tasty.receive()
    tasty.api.answers.clear()
    await trio.sleep(70)

    assert degraded.status == "degraded"
    assert degraded.last_error == (
        "positions cannot be read: "
        "Tastytrade refused TT_SECRET or TT_REFRESH: invalid_grant"
    )
    assert len(ticks) == 1
    assert tasty.health.session().status == "connected"
    assert tasty.dxlink.connections == 1


async def test_credentials_that_are_refused_at_the_connect_are_for_the_operator(
    autojump_clock, tasty
):
    tasty.api.answers["/oauth/token"] = (400, {}, b'{"error":"invalid_grant"}')

    with pytest.raises(CredentialsRejected):
        await tasty.feed.run_connection()


async def test_a_contract_without_streamer_symbol_shows_in_the_state(
    autojump_clock, nursery
):
    symbol = "./ZYXM7 OZYM7 270514P56"
    item = make_item(symbol, kind="Future Option")
    tasty = Tastytrade(nursery, item, make_item(SPY_CALL))
    await started(nursery, tasty)
    await trio.testing.wait_all_tasks_blocked()
    degraded = tasty.health.session()
    await quoted(tasty, CALL)

    tasty.api.instruments = {symbol: "./OZYM27P56:XNYM", "ZYXM7": "/ZYXM27:XNYM"}
    await tasty.dxlink.wait_subscribed()
    await trio.testing.wait_all_tasks_blocked()

    assert degraded.status == "degraded"
    assert degraded.last_error == (
        "1 contract without a streamer symbol (./OZY 270514P56); "
        "the streamer symbol of /ZYXM7 is not known (Tastytrade answered 404: not "
        "found), so the price of /ZYXM27 is not known; "
        f"the streamer symbol of {symbol} is not known (Tastytrade answered 404: not "
        "found), so it is not streamed"
    )
    assert degraded.subscription_count == 1
    assert tasty.health.session().status == "connected"
    assert tasty.health.session().subscription_count == 2
