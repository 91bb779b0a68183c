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
from tests.concurrency.ibkr_gateway import CONFIG, FakeGateway, Scene, make_row
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


def held(scene):
    """Return the quantities of the last journaled snapshot by contract."""
    snapshots = [e for e in scene.journal.recorded if isinstance(e, PositionsSnapshot)]
    return {each.contract_key: each.quantity for each in snapshots[-1].positions}


def incomplete(scene):
    """Return the accounts of which the last journaled snapshot is incomplete."""
    snapshots = [e for e in scene.journal.recorded if isinstance(e, PositionsSnapshot)]
    return snapshots[-1].incomplete_account_ids


async def read_again(scene, rows):
    scene.gateway.positions["U1"] = rows
    scene.feed.reload(CONFIG)
    await trio.sleep(5)


@pytest.mark.parametrize(
    "damaged", [DAMAGED, DAMAGED | {"conid": "?"}, "text", None, {}]
)
async def test_a_row_that_cannot_be_read_closes_nothing(autojump_clock, scene, damaged):
    await scene.start_streaming(3)

    await read_again(scene, [make_row(7, position=-4), damaged])

    assert held(scene) == {SPY_600: Decimal(-4), SPY_610: Decimal(-3)}
    assert scene.gateway.sent("umd+") == []
    assert "1 position rows that could not be read" in scene.last_error
    assert scene.counts["position.kept"] == 1

    await read_again(scene, [make_row(7)])
    assert held(scene) == {SPY_600: Decimal(-3)}
    assert scene.gateway.sent("umd+") == ["umd+8+{}"]


@pytest.mark.parametrize("damaged", [DAMAGED, "text", None, {}])
async def test_a_row_that_cannot_be_read_from_the_start_closes_nothing(
    autojump_clock, scene, damaged
):
    """It may be a position that an earlier run has recorded as open."""
    scene.gateway.positions |= {"U1": [make_row(7), damaged], "U2": [make_row(7)]}
    await scene.start_streaming(2)
    assert held(scene) == {SPY_600: Decimal(-3)}
    assert incomplete(scene) == ("U1",)

    await read_again(scene, [make_row(7), make_row(8, 610)])
    assert held(scene)[SPY_610] == Decimal(-3)
    assert incomplete(scene) == ()


async def test_what_is_closed_beside_such_a_row_is_said_to_be(autojump_clock, scene):
    scene.gateway.positions["U1"] = [make_row(7), make_row(9, 620), DAMAGED]
    await scene.start_streaming(3)

    for _ in range(2):
        await read_again(scene, [make_row(9, 620, position=-1), DAMAGED])
        assert held(scene) == {SPY_600: 0, SPY_620: -1}
        assert incomplete(scene) == ("U1",)
    assert scene.gateway.sent("umd+") == ["umd+7+{}"]

    await read_again(scene, [make_row(9, 620)])
    assert held(scene) == {SPY_620: -3}


async def test_a_row_of_a_known_contract_leaves_no_doubt(autojump_clock, scene):
    await scene.start_streaming(3)

    await read_again(scene, [make_row(7, position=-4), DAMAGED])

    assert incomplete(scene) == ()


async def test_a_contract_known_from_another_account_leaves_a_doubt(
    autojump_clock, scene
):
    await scene.start_streaming(3)
    scene.gateway.positions["U2"] = [DAMAGED]

    await read_again(scene, [make_row(7), make_row(8, 610)])

    assert incomplete(scene) == ("U2",)


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


async def test_a_damaged_row_keeps_no_other_position_open(autojump_clock, scene):
    await scene.start_streaming(3)

    await read_again(scene, [DAMAGED])

    assert held(scene) == {SPY_610: Decimal(-3)}
    assert scene.gateway.sent("umd+") == ["umd+7+{}"]


async def test_a_damaged_row_of_another_account_keeps_nothing_open(
    autojump_clock, scene
):
    await scene.start_streaming(3)
    scene.gateway.positions["U2"] = ["text"]

    await read_again(scene, [make_row(7)])

    assert held(scene) == {SPY_600: Decimal(-3)}


async def test_a_position_that_is_missing_once_among_several_pages_stays_open(
    autojump_clock, scene
):
    many = [make_row(n, n) for n in range(101, 201)]
    scene.gateway.positions["U1"] = [*many, make_row(8, 610)]
    await scene.start_streaming(100)
    scene.gateway.received.clear()

    await read_again(scene, [*many, make_row(9, 620)])
    assert SPY_610 in held(scene)
    await read_again(scene, [*many, make_row(9, 620)])
    assert SPY_610 not in held(scene)

    await read_again(scene, [*many, make_row(9, 620), make_row(8, 610)])
    assert SPY_610 in held(scene)
    await read_again(scene, [*many, make_row(9, 620)])
    assert SPY_610 in held(scene)


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
