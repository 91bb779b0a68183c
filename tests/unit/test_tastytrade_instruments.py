"""The facts that positions leave out, and the contracts to stream."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal

import msgspec
import pytest
from msgspec import Raw

from greeks_trio.brokers.tastytrade.positions.accounts import (
    AccountReading,
    read_positions,
)
from greeks_trio.brokers.tastytrade.positions.instruments import (
    Instrument,
    InstrumentAnswers,
    complete,
    delivered_shares,
    needed_pages,
)
from greeks_trio.brokers.tastytrade.positions.positions import wanted_contracts
from greeks_trio.model.positions import Holder
from tests.factories import SPY_CALL, SPY_PUT, run_at_once

ACCOUNT = "5WT00001"
TODAY = date(2026, 11, 20)
OIL, OIL_KEY = "./CLM7 LOM7  270514P-5", "./LO  270514P-5"
ADJUSTED = "ACME2 270115C00012500"
NOT_FOUND = "Tastytrade answered 404: not found"


def item(symbol, kind="Equity Option", quantity=2, direction="Long", **changes):
    fields = {
        "symbol": symbol,
        "instrument-type": kind,
        "quantity": quantity,
        "quantity-direction": direction,
        "multiplier": 100,
    }
    renamed = {name.replace("_", "-"): value for name, value in changes.items()}
    return Raw(json.dumps(fields | renamed).encode())


def oil(**changes):
    return item(OIL, "Future Option", underlying_symbol="/CLM7", **changes)


def read(*items):
    return run_at_once(read_positions([AccountReading(ACCOUNT, items)], today=TODAY))


def page(**fields):
    renamed = {name.replace("_", "-"): value for name, value in fields.items()}
    return msgspec.json.decode(json.dumps(renamed).encode(), type=Instrument)


def completed(*items, pages=None, refusals=None):
    return complete(read(*items), InstrumentAnswers(pages or {}, refusals or {}))


def only(found):
    [holding] = found.reading.holdings
    return holding


def streamed(found, watchlist=()):
    """Return the symbols to subscribe, and the contracts without one."""
    wanted, unknown = wanted_contracts(found, watchlist)
    return [(each.symbol, each.underlying_symbol) for each in wanted.values()], unknown


def test_pages_are_needed_only_for_facts_that_the_items_leave_out():
    found = read(
        item(SPY_CALL),
        item(ADJUSTED, underlying_symbol="ACME"),
        oil(),
        item(
            "./GCQ7 OGQ7  270728P3200",
            "Future Option",
            underlying_symbol="/GCQ7",
            streamer_symbol="./OGQ27P3200:XCEC",
        ),
        item(
            "./ESH7 ESH7  270319P6000",
            "Future Option",
            underlying_symbol="/ESH7",
            streamer_symbol="./ESH27P6000:XCME",
        ),
        item("/ESH7", "Future", streamer_symbol="/ESH27:XCME"),
        item("./NGF7 ONF7  261228C4", "Future Option", 0, "Zero"),
        item("ACME1 270115C00012500", quantity=0, direction="Zero"),
        item("AAPL", "Equity"),
    )

    assert needed_pages(found) == {ADJUSTED, OIL, "/CLM7", "/GCQ7"}


def test_the_positions_own_streamer_symbol_comes_first():
    found = completed(
        oil(streamer_symbol="./LOM27P-5:XNYM"),
        pages={
            OIL: page(streamer_symbol="./WRONG:XXXX"),
            "/CLM7": page(streamer_symbol="/CLM27:XNYM"),
        },
    )

    assert streamed(found) == ([("./LOM27P-5:XNYM", "/CLM27:XNYM")], [])
    assert (found.problems, found.by_rule) == ((), ())
    assert only(found).position.exchange == "XNYM"


def test_the_page_of_the_instrument_comes_second():
    found = completed(
        oil(),
        pages={
            OIL: page(streamer_symbol="./LOM27P-5:PAGE"),
            "/CLM7": page(streamer_symbol="/CLM27:PAGE"),
        },
    )

    assert streamed(found) == ([("./LOM27P-5:PAGE", "/CLM27:PAGE")], [])
    assert found.by_rule == ()
    assert only(found).position.exchange == "PAGE"


@pytest.mark.parametrize("silent", [{}, {"streamer_symbol": None}])
def test_the_rule_comes_last_and_is_told(silent):
    found = completed(oil(), pages={OIL: page(**silent)}, refusals={"/CLM7": NOT_FOUND})

    assert streamed(found) == ([("./LOM27P-5:XNYM", "/CLM27:XNYM")], [])
    assert found.problems == ()
    assert found.by_rule == (
        f"/CLM7 as /CLM27:XNYM ({NOT_FOUND})",
        f"{OIL} as ./LOM27P-5:XNYM (its page has none)",
    )


def test_a_sibling_names_the_exchange_of_an_unknown_root():
    sibling = item(
        "./ZYXM7 OZYM7 270514C60",
        "Future Option",
        underlying_symbol="/ZYXM7",
        streamer_symbol="./OZYM27C60:XABC",
    )
    found = completed(sibling, item("./ZYXU7 OZYU7 270813P56", "Future Option"))

    assert streamed(found) == (
        [
            ("./OZYM27C60:XABC", "/ZYXM27:XABC"),
            ("./OZYU27P56:XABC", "/ZYXU27:XABC"),
        ],
        [],
    )


def test_a_missing_page_of_a_future_is_told_with_its_effect():
    symbol = "./ZYXM7 OZYM7 270514P56"
    found = completed(
        item(symbol, "Future Option", streamer_symbol="./OZYM27P56"),
        refusals={"/ZYXM7": NOT_FOUND},
    )

    assert streamed(found) == ([("./OZYM27P56", None)], [])
    assert found.problems == (
        f"the streamer symbol of /ZYXM7 is not known ({NOT_FOUND}), so the price of "
        "/ZYXM27 is not known",
    )


def test_a_futures_option_without_any_symbol_is_known_but_not_streamed():
    symbol = "./ZYXM7 OZYM7 270514P56"
    found = completed(item(symbol, "Future Option"), item(SPY_CALL))

    assert streamed(found) == ([(".SPY261218C600", "SPY")], ["./OZY 270514P56"])
    assert any(symbol in problem for problem in found.problems)


def test_a_held_future_prices_its_options():
    found = completed(
        item(
            "/MYMH7",
            "Future",
            3,
            "Short",
            underlying_symbol="/MYM",
            streamer_symbol="/MYMH27:XCBT",
        ),
        item(
            "./MYMH7MYMH7 270319P44000",
            "Future Option",
            underlying_symbol="/MYMH7",
            streamer_symbol="./MYMH27P44000:XCBT",
        ),
    )

    assert {each.position.underlying for each in found.reading.holdings} == {"/MYMH27"}
    assert streamed(found) == ([("./MYMH27P44000:XCBT", "/MYMH27:XCBT")], [])
    assert found.by_rule == ()


def test_a_sibling_names_the_exchange_of_a_future():
    found = completed(
        item("/ZYXU7", "Future"),
        item("/ZYXM7", "Future", streamer_symbol="/ZYXM27:XABC"),
        item("/ABCM7", "Future"),
    )

    assert [each.position.exchange for each in found.reading.holdings] == [
        *("XABC", "XABC"),
        None,
    ]


def test_an_equity_option_streams_under_its_own_symbol_first():
    found = completed(
        item("XYZ1  261218C00250500", streamer_symbol=".XYZ1SPECIAL"),
        item("SPXW  261218C06700000", underlying_symbol="SPX"),
    )

    assert streamed(found)[0] == [
        (".XYZ1SPECIAL", "XYZ"),
        (".SPXW261218C6700", "SPX"),
    ]


def test_one_accounts_item_helps_that_of_another():
    reading = run_at_once(
        read_positions(
            [
                AccountReading("A", (oil(streamer_symbol="./LOM27P-5:XTTT"),)),
                AccountReading("B", (oil(streamer_symbol=None),)),
            ],
            today=TODAY,
        )
    )
    wanted, _ = wanted_contracts(complete(reading, InstrumentAnswers()), ())

    assert wanted[OIL_KEY].symbol == "./LOM27P-5:XTTT"
    assert [each.account_id for each in wanted[OIL_KEY].holders] == ["A", "B"]


def test_held_and_watched_contracts_are_wanted_and_closed_ones_not():
    found = completed(
        item(SPY_CALL),
        item(SPY_PUT, quantity=0, direction="Zero"),
        item("AAPL", "Equity"),
    )
    wanted, unknown = wanted_contracts(found, ("SPXW  261218C06700000", SPY_CALL))

    assert unknown == []
    assert [
        (each.symbol, each.underlying_symbol, each.holders) for each in wanted.values()
    ] == [
        (".SPY261218C600", "SPY", (Holder(ACCOUNT, Decimal(2)),)),
        (".SPXW261218C6700", "SPX", (Holder("watchlist", None),)),
    ]


def test_two_contracts_never_share_a_streamer_symbol():
    """Their ticks could not be told apart."""
    found = completed(
        item(SPY_CALL, streamer_symbol=".SAME"), item(SPY_PUT, streamer_symbol=".SAME")
    )

    assert streamed(found) == ([(".SAME", "SPY")], [SPY_PUT])


def shares(amount="100.0", symbol="ACME", **changes):
    kind = {"deliverable-type": "Shares", "amount": amount, "symbol": symbol}
    return kind | {name.replace("_", "-"): value for name, value in changes.items()}


CASH = {"deliverable-type": "Cash", "amount": "65.43", "symbol": None}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"shares_per_contract": 10}, 10),
        ({"shares_per_contract": "150.0"}, 150),
        ({"shares_per_contract": 100, "deliverables": [shares("25")]}, 25),
        ({"deliverables": [shares(200)]}, 200),
        ({"deliverables": [shares("100"), shares("33")]}, 133),
        ({"deliverables": [shares("100"), CASH | {"amount": "0.0"}]}, 100),
        ({"shares_per_contract": 100, "deliverables": []}, 100),
        ({"shares_per_contract": 100, "deliverables": None}, 100),
    ],
)
def test_the_deliverable_is_the_multiplier(fields, expected):
    found = completed(
        item(ADJUSTED, underlying_symbol="ACME"), pages={ADJUSTED: page(**fields)}
    )

    position = only(found).position
    assert position.multiplier == expected
    # The item's own 100 multiplies the premium.
    assert position.premium_multiplier == (None if expected == 100 else 100)
    assert found.problems == ()


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"shares_per_contract": 0},
        {"shares_per_contract": "many"},
        {"shares_per_contract": 100, "deliverables": [shares(), CASH]},
        {"shares_per_contract": 100, "deliverables": [shares(symbol="OTHER")]},
        {"shares_per_contract": 100, "deliverables": [shares(), shares("5", "SPIN")]},
        {"shares_per_contract": 100, "deliverables": [shares("-3")]},
        {"shares_per_contract": 100, "deliverables": [shares(symbol=None)]},
        {"shares_per_contract": 100, "deliverables": [7]},
        {"shares_per_contract": 100, "deliverables": [shares("NaN")]},
    ],
)
def test_a_deliverable_that_is_not_plain_is_never_a_hundred(fields):
    found = completed(
        item(ADJUSTED, underlying_symbol="ACME"), pages={ADJUSTED: page(**fields)}
    )

    assert only(found).position.multiplier is None
    [problem] = found.problems
    assert problem.startswith(
        f"the multiplier of the adjusted option {ADJUSTED} is not known: "
    )


@pytest.mark.parametrize(
    ("refusals", "reason"),
    [({ADJUSTED: NOT_FOUND}, NOT_FOUND), ({}, "Tastytrade could not be asked")],
)
def test_an_adjusted_option_without_a_page_has_no_multiplier(refusals, reason):
    found = completed(item(ADJUSTED, underlying_symbol="ACME"), refusals=refusals)

    assert only(found).position.multiplier is None
    assert found.problems == (
        f"the multiplier of the adjusted option {ADJUSTED} is not known: {reason}",
    )
    assert streamed(found) == ([(".ACME2270115C12.5", "ACME")], [])


@pytest.mark.parametrize(
    ("symbol", "underlying", "is_adjusted"),
    [
        ("LCID1 271217C00002500", "LCID", True),
        ("LCID1 271217C00002500", ..., True),
        ("SPXW  261218C06700000", "SPX", False),
        ("BRKB  261218C00500000", "BRK/B", False),
        ("MRUT  261218C00200000", "MRUT", False),
        ("NEW7  261218C00200000", "NEW7", True),
        ("4SPX  261218C06700000", "SPX", False),
    ],
)
def test_an_adjusted_root_ends_in_a_digit(symbol, underlying, is_adjusted):
    changes = {} if underlying is ... else {"underlying_symbol": underlying}

    assert (needed_pages(read(item(symbol, **changes))) == {symbol}) == is_adjusted


def test_delivered_shares_are_those_of_the_underlying_in_any_spelling():
    told = page(deliverables=[shares("10", "BRK.B")])

    assert delivered_shares(told, "BRK/B") == 10


@pytest.mark.parametrize("multiplier", [0, "0.0", None, "-50", "NaN"])
def test_a_contract_without_a_usable_multiplier_is_told(multiplier):
    found = completed(item(SPY_CALL, multiplier=multiplier))

    assert only(found).position.multiplier is None
    assert found.problems == (
        f"{SPY_CALL} has no usable multiplier, so its sums in dollars are missing",
    )


def test_a_closed_contract_lacks_nothing():
    found = completed(
        item(SPY_CALL, quantity=0, direction="Zero", multiplier=0),
        item(ADJUSTED, quantity=0, direction="Zero", underlying_symbol="ACME"),
        oil(quantity=0, direction="Zero"),
    )

    assert (found.problems, found.by_rule, streamed(found)) == ((), (), ([], []))


@pytest.mark.parametrize(
    ("symbol", "exchange"),
    [("/VXZ6", "XCBF"), ("/ZBH7", "XCBT"), ("/GCG7", "XCEC"), ("/ZYXH7", None)],
)
def test_a_future_alone_has_the_exchange_of_its_root(symbol, exchange):
    assert only(completed(item(symbol, "Future"))).position.exchange == exchange


def test_a_strike_of_minus_zero_is_zero():
    option = item("./CLM7 LOM7  270514P-0", "Future Option", underlying_symbol="/CLM7")

    assert only(completed(option)).position.contract_key == "./LO  270514P0"
