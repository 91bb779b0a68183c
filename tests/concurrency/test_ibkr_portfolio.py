"""Positions as IBKR gives them: in pages, in part, damaged, of several accounts."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
import trio

from greeks_trio.brokers.ibkr.accounts import Accounts
from greeks_trio.brokers.ibkr.rest import Pacer
from greeks_trio.model.contracts import ContractKey
from greeks_trio.model.records import PositionsSnapshot
from tests.concurrency.ibkr_gateway import CONFIG, FakeGateway, Scene, T, make_row
from tests.factories import records_of

SPY_600 = ContractKey("SPY   261218C00600000")
SPY_610 = ContractKey("SPY   261218C00610000")
SPY_620 = ContractKey("SPY   261218C00620000")
DAMAGED = make_row(8, 610) | {"position": "many"}


@pytest.fixture
def scene(nursery):
    scene = Scene(nursery)
    scene.gateway.positions["U1"] = [make_row(7), make_row(8, 610)]
    return scene


def snapshots(scene):
    return [e for e in scene.journal.recorded if isinstance(e, PositionsSnapshot)]


def held(scene):
    """Return the quantities of the last journaled snapshot by contract."""
    positions = snapshots(scene)[-1].positions
    assert len({(each.account_id, each.contract_key) for each in positions}) == len(
        positions
    )
    return {each.contract_key: each.quantity for each in positions}


def incomplete(scene):
    """Return the accounts of which the last journaled snapshot is incomplete."""
    return snapshots(scene)[-1].incomplete_account_ids


async def read_again(scene, rows):
    scene.gateway.positions["U1"] = rows
    scene.feed.reload(CONFIG)
    await trio.sleep(8)


NAMELESS = [
    (DAMAGED | {"conid": "?", "contractDesc": None, "ticker": None}, "ibkr:?{"),
    ("text", "ibkr:?text"),
    (None, "ibkr:?None"),
    ({}, "ibkr:?{}"),
]


async def test_a_row_without_a_quantity_keeps_its_position(autojump_clock, scene):
    await scene.start_streaming(3)

    await read_again(scene, [make_row(7, position=-4), DAMAGED])

    assert held(scene) == {SPY_600: Decimal(-4), SPY_610: Decimal(-3)}
    assert scene.gateway.sent("umd+") == []
    assert incomplete(scene) == ()
    assert "1 position row that could not be read (U1 8 SPY DEC2026 610 C" in (
        scene.last_error
    )
    assert scene.counts["position.kept"] == 1

    await read_again(scene, [make_row(7)])
    assert held(scene) == {SPY_600: Decimal(-3)}
    assert scene.gateway.sent("umd+") == ["umd+8+{}"]
    assert scene.status == "connected"


@pytest.mark.parametrize(("nameless", "key"), NAMELESS)
async def test_a_row_without_any_name_may_be_the_position_that_is_missing(
    autojump_clock, scene, nameless, key
):
    await scene.start_streaming(3)

    await read_again(scene, [make_row(7, position=-4), nameless])

    unknown = {each: n for each, n in held(scene).items() if each.startswith("ibkr:")}
    assert [each.startswith(key) for each in unknown] == [True]
    assert {SPY_600: Decimal(-4), SPY_610: Decimal(-3)} | unknown == held(scene)
    assert "1 position row that could not be read (U1 without conid" in scene.last_error
    assert incomplete(scene) == ("U1",)

    await read_again(scene, [make_row(7)])
    assert held(scene) == {SPY_600: Decimal(-3)}
    assert scene.gateway.sent("umd+") == ["umd+8+{}"]


@pytest.mark.parametrize(("nameless", "key"), NAMELESS)
async def test_a_row_without_any_name_closes_nothing_of_an_earlier_run(
    autojump_clock, scene, nameless, key
):
    scene.gateway.positions |= {"U1": [make_row(7), nameless], "U2": [make_row(9, 620)]}
    await scene.start_streaming(2)
    assert held(scene)[SPY_600] == Decimal(-3)
    assert incomplete(scene) == ("U1",)

    await read_again(scene, [make_row(7), make_row(8, 610)])
    assert set(held(scene)) == {SPY_600, SPY_610, SPY_620}
    assert incomplete(scene) == ()


async def test_a_row_with_another_name_keeps_no_position_open(autojump_clock, scene):
    await scene.start_streaming(3)

    await read_again(
        scene, [make_row(7), {"contractDesc": "ACME 5% 2031", "position": 2}]
    )

    assert held(scene) == {SPY_600: -3, SPY_610: 0, "ibkr:?ACME 5% 2031": 2}
    assert scene.gateway.sent("umd+") == ["umd+8+{}"]


async def test_a_row_that_cannot_be_read_keeps_no_other_position_open(
    autojump_clock, scene
):
    """It has a conid, so it is none of the positions that are gone."""
    riddle = make_row(55, contractDesc="ES     JUN2027 6100 C (E2B)", assetClass="FOP")
    riddle |= {"multiplier": 50.0, "undConid": 0}
    scene.gateway.positions["U1"] = [make_row(7), make_row(8, 610), riddle]
    await scene.start_streaming(3)
    assert incomplete(scene) == ("U1",)  # of the first reading, which may be cold

    await read_again(scene, [make_row(8, 610), riddle])

    assert held(scene) == {SPY_610: -3, "ibkr:55": -3}
    assert incomplete(scene) == ()
    [unknown] = [each for each in snapshots(scene)[-1].positions if each.problem]
    assert (unknown.kind, unknown.instrument_id) == ("unknown", "55")
    assert unknown.problem == "the row does not say its expiration"
    assert "(U1 55 ES JUN2027 6100 C (E2B))" in scene.last_error


async def test_a_row_that_nothing_identifies_holds_back_no_other(
    autojump_clock, nursery
):
    """The others stream as soon as a second read has told nothing new."""
    begun = []
    for riddles in ([], [make_row(55, assetClass=None)]):
        scene = Scene(nursery)
        scene.gateway.positions["U1"] = [make_row(7), make_row(8, 610), *riddles]
        before = trio.current_time()
        await scene.start_streaming(3)
        begun.append(trio.current_time() - before)

    without, with_riddle = begun
    assert 0 < with_riddle - without < 1.5


async def test_rows_that_cannot_be_read_are_named_once_in_the_log(
    autojump_clock, scene, caplog
):
    riddles = [make_row(n, assetClass=None) for n in range(51, 56)]
    scene.gateway.positions["U1"] = [make_row(7), *riddles]
    await scene.start_streaming(2)
    for _ in range(3):
        await read_again(scene, [make_row(7), *riddles])

    lines = [x for x in caplog.messages if "ibkr.position" in x and "unreadable" in x]
    assert len(lines) == 4
    assert "account=U1 conid=51" in lines[0]
    assert lines[-1] == "ibkr.positions_unreadable more=2"
    assert "and 2 more" in scene.last_error


async def test_the_log_has_the_number_of_stored_positions(
    autojump_clock, scene, caplog
):
    caplog.set_level("INFO")
    twins = [make_row(n, position=n) for n in (21, 22)]
    scene.gateway.positions["U1"] = [*twins, make_row(8, 610, position=0), {}]
    await scene.start_streaming(3)

    [line] = [x for x in caplog.messages if x.startswith("feed.positions")]
    assert line == "feed.positions broker=ibkr positions=3"
    assert len([x for x in snapshots(scene)[-1].positions if x.quantity != 0]) == 3


async def test_two_instruments_with_one_key_are_both_streamed(autojump_clock, scene):
    scene.gateway.positions["U1"] = [make_row(22, position=5), make_row(21, position=2)]
    await scene.start_streaming(3)
    for conid, delta in ((21, "0.1"), (22, "0.2")):
        await scene.gateway.send_fields(conid, f7308=delta)
    ticks = [records_of(await scene.frames.receive())[0] for _ in range(2)]

    assert {x.contract_key: (x.quantity, x.delta) for x in ticks} == {
        SPY_600: (2, 0.1),
        "ibkr:22": (5, 0.2),
    }
    assert held(scene) == {SPY_600: 2, "ibkr:22": 5}
    await trio.sleep(1)
    assert scene.status == "degraded"
    assert "1 contract key that several instruments share" in scene.last_error
    assert "conids 21, 22" in scene.last_error


async def test_a_contract_known_from_another_account_is_told_apart(
    autojump_clock, scene
):
    await scene.start_streaming(3)
    scene.gateway.positions["U2"] = [DAMAGED]

    await read_again(scene, [make_row(7), make_row(8, 610)])

    assert held(scene) == {SPY_600: -3, SPY_610: -3, "ibkr:8": None}
    assert incomplete(scene) == ()


# The first answer.


def answer_with(scene, *pages):
    """Answer the requests for U1 with one after the other; the last one stays."""
    answers = [(200, page) for page in pages]
    scene.gateway.answers["/portfolio/U1/positions/0"] = answers


@pytest.mark.parametrize("lean", [[], [make_row(8, 610)]])
async def test_a_lean_first_answer_is_confirmed(autojump_clock, scene, lean):
    full = [make_row(7), make_row(8, 610), make_row(9, 620)]
    answer_with(scene, lean, full)

    await scene.start_streaming(4)

    assert [{x.contract_key for x in each.positions} for each in snapshots(scene)] == [
        {SPY_600, SPY_610, SPY_620}
    ]


async def test_answers_are_read_until_two_agree(autojump_clock, scene):
    full = [make_row(7), make_row(8, 610), make_row(9, 620)]
    answer_with(scene, full[:1], full[1:], full)

    await scene.start_streaming(4)

    assert [set(held(scene)), len(snapshots(scene))] == [{SPY_600, SPY_610, SPY_620}, 1]


@pytest.mark.parametrize("lean", [[], [make_row(8, 610)]])
async def test_a_lean_later_answer_is_confirmed(autojump_clock, scene, lean):
    full = [make_row(7), make_row(8, 610), make_row(9, 620)]
    answer_with(scene, full)
    await scene.start_streaming(4)

    answer_with(scene, lean, full)
    scene.feed.reload(CONFIG)
    await trio.sleep(30)

    assert len(snapshots(scene)) == 1
    assert scene.gateway.sent("umd+") == []


async def test_an_empty_first_answer_needs_a_session(autojump_clock, scene):
    scene.gateway.positions["U1"] = []
    scene.gateway.answers["/iserver/auth/status"] = (
        200,
        {"authenticated": True, "established": False, "connected": True},
    )
    scene.start()
    await scene.wait_ended()

    assert snapshots(scene) == []


async def test_accounts_without_any_position_are_said_to_be_empty(
    autojump_clock, scene
):
    scene.gateway.positions["U1"] = []
    scene.start()
    await trio.sleep(30)

    assert scene.status == "connected"
    assert scene.notes == ("logged in, and IBKR lists no position in U1 and U2",)
    assert len(snapshots(scene)) == 1

    await read_again(scene, [make_row(7)])
    assert scene.notes == ()


# Contracts that change under their conid.


def adjusted(**changes):
    """Return the row of conid 7 after a reverse split."""
    after = {
        "contractDesc": "SPY1   DEC2026 600 C [SPY1  261218C00600000 100]",
        "ticker": "SPY1",
        "undSym": "SPY1",
        "undConid": 5757,
    }
    return make_row(7) | after | changes


async def test_a_contract_that_is_adjusted_is_another_one(
    autojump_clock, scene, caplog
):
    scene.gateway.positions["U1"] = [make_row(7, position=10)]
    await scene.start_streaming(2)
    await scene.gateway.send_fields(756733, f31="2.40")
    await scene.gateway.send_fields(7, f7308="0.61")
    [before] = records_of(await scene.frames.receive())

    await read_again(scene, [adjusted(position=10)])
    await scene.gateway.send_fields(756733, f31="25.00")
    await scene.gateway.send_fields(5757, f31="2.50")
    await scene.gateway.send_fields(7, f7308="0.63", at=T + 1000)
    [after] = records_of(await scene.frames.receive())

    assert (before.contract_key, before.underlying, before.underlying_price) == (
        SPY_600,
        "SPY",
        2.4,
    )
    assert (after.contract_key, after.underlying, after.underlying_price) == (
        "SPY1  261218C00600000",
        "SPY1",
        2.5,
    )
    assert held(scene) == {"SPY1  261218C00600000": 10}
    assert scene.gateway.sent("smd+5757") != []
    assert "umd+756733+{}" in scene.gateway.sent("umd+")
    [line] = [x for x in caplog.messages if x.startswith("ibkr.contract_changed")]
    assert "conid=7" in line
    assert "contract_key=SPY   261218C00600000->SPY1  261218C00600000" in line
    assert "underlying_conid=756733->5757" in line


async def test_greeks_of_the_contract_before_a_change_are_not_those_after(
    autojump_clock, scene
):
    scene.gateway.positions["U1"] = [make_row(7)]
    await scene.start_streaming(2)
    await scene.gateway.send_fields(7, f7308="0.61", f7309="0.07")
    await scene.frames.receive()

    await read_again(scene, [adjusted()])
    assert scene.gateway.sent("umd+7+") == ["umd+7+{}"]
    assert len(scene.gateway.sent("smd+7+")) == 2
    await scene.gateway.send_fields(7, f7308="0.63", at=T + 1000)
    [after] = records_of(await scene.frames.receive())

    assert (after.delta, after.gamma) == (0.63, None)


async def test_an_option_with_another_underlying_is_requested_anew(
    autojump_clock, scene
):
    scene.gateway.positions["U1"] = [make_row(7), make_row(8, 610)]
    await scene.start_streaming(3)

    await read_again(scene, [make_row(7, undConid=5757), make_row(8, 610)])

    assert scene.gateway.sent("umd+7+") == ["umd+7+{}"]
    assert len(scene.gateway.sent("smd+7+")) == 2
    assert len(scene.gateway.sent("smd+8+")) == 1


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"multiplier": 150.0}, "multiplier", Decimal(150)),
        ({"undSym": "SPYX", "ticker": "SPYX"}, "underlying", "SPYX"),
        ({"undConid": 5757}, "underlying_id", "5757"),
        ({"currency": None, "listingExchange": "CBOE"}, "exchange", "CBOE"),
    ],
)
async def test_the_same_key_follows_what_changes(
    autojump_clock, scene, changes, field, value
):
    scene.gateway.positions["U1"] = [make_row(7)]
    await scene.start_streaming(2)

    await read_again(scene, [make_row(7) | changes])

    [position] = snapshots(scene)[-1].positions
    assert (position.contract_key, getattr(position, field)) == (SPY_600, value)
    assert (field == "underlying_id") == (scene.gateway.sent("smd+5757") != [])


async def test_facts_that_ibkr_does_not_tell_are_named(autojump_clock, scene):
    pence = make_row(9, 72, contractDesc="VOD DEC2026 72 C", currency="GBP")
    pence |= {"expiry": "20261218", "putOrCall": "C", "multiplier": 1000}
    scene.gateway.positions["U1"] = [
        adjusted(undSym="SPY", ticker="SPY"),
        make_row(8, multiplier=None, contractDesc="SPY [SPY 261218C00610000]"),
        pence,
    ]
    await scene.start_streaming(3)
    await trio.sleep(1)

    assert scene.status == "degraded"
    assert (
        "1 adjusted contract whose deliverable IBKR does not say"
        " (SPY1  261218C00600000)" in scene.last_error
    )
    assert (
        "1 contract without a multiplier: their sums in money are missing"
        " (SPY   261218C00610000)" in scene.last_error
    )
    assert (
        "1 contract that may be quoted in pence or cents: their sums in money are"
        " missing (ibkr:9)"
    ) in scene.notes


async def test_a_watched_contract_that_has_become_another_one_is_unknown(
    nursery, autojump_clock
):
    config = replace(CONFIG, watchlist=(SPY_600,))
    scene = Scene(nursery, config)
    await scene.start_streaming(2)

    scene.gateway.positions["U1"] = [adjusted()]
    scene.feed.reload(config)
    await trio.sleep(8)

    assert "1 contract that IBKR does not know (SPY   261218C00600000)" in (
        scene.last_error
    )
    assert scene.health.statistics().subscription_count == 1


async def test_a_session_that_was_opened_anew_closes_nothing(autojump_clock, scene):
    """It answers with nothing until it has been asked for the accounts."""
    await scene.start_streaming(3)

    scene.gateway.wants_accounts_first = True
    await read_again(scene, scene.gateway.positions["U1"])
    await trio.sleep(20)  # IBKR wants five seconds between requests for accounts

    assert held(scene) == {SPY_600: Decimal(-3), SPY_610: Decimal(-3)}
    assert scene.gateway.sent("umd+") == []


async def test_positions_that_are_all_gone_are_closed(autojump_clock, scene):
    await scene.start_streaming(3)

    await read_again(scene, [])
    await trio.sleep(20)

    assert held(scene) == {}
    assert len(scene.gateway.sent("umd+")) == 3


async def test_a_position_that_is_missing_once_among_several_pages_stays_open(
    autojump_clock, scene
):
    many = [make_row(n, n) for n in range(101, 201)]
    scene.gateway.positions["U1"] = [*many, make_row(8, 610)]
    await scene.start_streaming(100)
    scene.gateway.received.clear()
    second = "/portfolio/U1/positions/1"

    scene.gateway.answers[second] = [
        (200, [make_row(9, 620)]),
        (200, [make_row(8, 610), make_row(9, 620)]),
    ]
    scene.feed.reload(CONFIG)
    await trio.sleep(30)
    assert {SPY_610, SPY_620} <= set(held(scene))

    scene.gateway.answers[second] = (200, [make_row(9, 620)])
    scene.feed.reload(CONFIG)
    await trio.sleep(30)
    assert SPY_610 not in held(scene)


async def test_a_position_that_is_missing_from_the_only_page_is_closed(
    autojump_clock, scene
):
    await scene.start_streaming(3)

    await read_again(scene, [make_row(7)])

    assert held(scene) == {SPY_600: Decimal(-3)}


async def test_a_position_of_quantity_zero_is_closed_at_once(autojump_clock, scene):
    await scene.start_streaming(3)

    await read_again(scene, [make_row(7), make_row(8, 610, position=0)])

    assert held(scene)[SPY_610] == 0
    assert scene.gateway.sent("umd+") == ["umd+8+{}"]


async def test_an_account_that_the_login_lacks_is_shown_beside_the_others(
    nursery, autojump_clock
):
    scene = Scene(nursery, replace(CONFIG, accounts=("U1", "U9")))
    await scene.start_streaming()
    await trio.sleep(1)

    assert scene.status == "degraded"
    assert "the IBKR login has no account U9 (IBKR_ACCOUNTS)" in scene.last_error


async def test_options_of_futures_are_streamed_and_other_kinds_recorded(
    nursery, autojump_clock
):
    scene = Scene(nursery)
    future_option = make_row(11) | {
        "assetClass": "FOP",
        "contractDesc": "CL     MAR2026 56 P [LOJ6 P5600 1000]",
        "expiry": "20260317",
        "putOrCall": "P",
        "strike": "56",
        "multiplier": "1000",
        "ticker": "CL",
        "undSym": "CL",
        "undConid": 212921504,
    }
    scene.gateway.positions["U1"] = [
        future_option,
        make_row(12, assetClass="STK", contractDesc="SPY", undConid=0),
    ]
    await scene.start_streaming(2)
    await scene.gateway.send_fields(11, f7308="-0.4")

    [tick] = records_of(await scene.frames.receive())

    assert tick.contract_key == "./LO  260317P56"
    assert set(held(scene)) == {"./LO  260317P56", "SPY"}
    assert tick.underlying == "ibkr:212921504"
    assert scene.gateway.sent("smd+12") == []


async def read_pages(nursery, *pages):
    """Return how many rows are found in these pages."""
    gateway = FakeGateway(nursery)
    for number, page in enumerate((*pages, [])):
        gateway.answers[f"/portfolio/U1/positions/{number}"] = (200, page)
    async with gateway.open_session(CONFIG, Pacer()) as session:
        return len(await Accounts(session)._read_account("U1"))


def make_page(number, rows, page_size):
    page = [make_row(1000 * number + n, n) for n in range(1, rows + 1)]
    for row in page:
        if page_size is None:
            del row["pageSize"]
        else:
            row["pageSize"] = page_size
    return page


@pytest.mark.parametrize(
    ("page_size", "sizes"),
    [
        (100, [100, 100, 7]),
        (100, [30, 30, 5]),
        (30, [30, 30, 5]),
        (30, [30, 30]),
        (None, [30, 30, 5]),
        (None, [30, 30]),
        (None, [100, 100, 7]),
        (None, [50, 50, 1]),
        (None, [7]),
        (None, []),
        ("many", [30, 1]),
    ],
)
async def test_all_pages_are_read_whatever_their_size(
    autojump_clock, nursery, page_size, sizes
):
    pages = [make_page(n, rows, page_size) for n, rows in enumerate(sizes)]

    assert await read_pages(nursery, *pages) == sum(sizes)
