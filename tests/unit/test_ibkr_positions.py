from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from greeks_trio.brokers.ibkr.positions.known import KnownContracts
from greeks_trio.brokers.ibkr.positions.positions import GivenRow, read_positions
from greeks_trio.brokers.ibkr.positions.rows import read_row
from greeks_trio.model.contracts import Conid
from tests.factories import run_at_once


def make_row(**changes):
    """Return an enriched option row; `None` values stay, ``...`` drops a key."""
    row = {
        "acctId": "U1234567",
        "conid": 700000001,
        "contractDesc": "SPY    DEC2026 600 C [SPY   261218C00600000 100]",
        "position": -3.0,
        "currency": "USD",
        "expiry": "20261218",
        "putOrCall": "C",
        "multiplier": 100.0,
        "strike": "600",
        "assetClass": "OPT",
        "undConid": 756733,
        "ticker": "SPY",
        "undSym": "SPY",
        "name": "SPDR S&P 500 ETF TRUST",
        "pageSize": 100,
    } | changes
    return {key: value for key, value in row.items() if value is not ...}


def make_cold_row(**changes):
    """Return the row as the first read of a session has it."""
    cold = {"ticker": ..., "undSym": ..., "name": ..., "multiplier": None}
    return make_row(**(cold | {"strike": 0.0, "expiry": None, "undConid": 0} | changes))


def read(*rows, known=None):
    """Read the rows of one account; ``known`` remembers what they say."""
    known = KnownContracts() if known is None else known
    reading = run_at_once(read_positions([GivenRow("U1", row) for row in rows], known))
    known.take(reading.rows, reading.instruments)
    return reading


def only(reading):
    [position], [listing] = reading.positions, reading.listings.values()
    assert listing.contract.contract_key == position.contract_key
    return position, listing


def test_an_option_is_identified_by_the_bracket():
    position, listing = only(read(make_row()))

    assert position.contract_key == "SPY   261218C00600000"
    assert position.account_id == "U1"
    assert position.kind == "option"
    assert (position.quantity, position.multiplier) == (Decimal(-3), Decimal(100))
    assert position.expiration == date(2026, 12, 18)
    assert (position.strike, position.option_type) == (Decimal(600), "call")
    assert (listing.conid, listing.underlying_conid) == (700000001, 756733)


def test_a_cold_row_is_identified_but_worth_another_read():
    reading = read(make_cold_row())

    position, listing = only(reading)
    assert position.contract_key == "SPY   261218C00600000"
    assert position.multiplier == 100
    assert listing.underlying_conid is None
    assert reading.is_cold


@pytest.mark.parametrize(
    ("changes", "contract_key", "underlying"),
    [
        (
            {"contractDesc": "SPX DEC2026 6000 P [SPXW  261218P06000000 100]"}
            | {"ticker": "SPX", "undSym": "SPX", "strike": "6000", "putOrCall": "P"},
            "SPXW  261218P06000000",
            "SPX",
        ),
        (
            {"contractDesc": "SPX DEC2026 6000 P [SPX   261218P06000000 100]"}
            | {"ticker": "SPX", "undSym": "SPX"},
            "SPX   261218P06000000",
            "SPX",
        ),
        (
            {"contractDesc": "BRK B DEC2026 400 C [BRKB  261218C00400000 100]"}
            | {"ticker": "BRK B", "undSym": "BRK B"},
            "BRKB  261218C00400000",
            "BRK/B",
        ),
        (
            {"contractDesc": "BRK B DEC2026 400 C [BRK B 261218C00400000 100]"}
            | {"ticker": "BRK B", "undSym": "BRK B"},
            "BRKB  261218C00400000",
            "BRK/B",
        ),
        (
            {"contractDesc": "BRK B DEC2026 400 C [BRK.B 261218C00400000 100]"}
            | {"ticker": "BRK B", "undSym": "BRK B"},
            "BRKB  261218C00400000",
            "BRK/B",
        ),
        (
            {"contractDesc": "AAPL1 DEC2026 150 C [AAPL1 261218C00150000 28]"}
            | {"ticker": "AAPL", "undSym": "AAPL", "multiplier": None},
            "AAPL1 261218C00150000",
            "AAPL",
        ),
        (
            {"contractDesc": "F DEC2026 12.5 C [F     261218C00012500 100]"}
            | {"ticker": "F", "undSym": "F", "strike": 12.5},
            "F     261218C00012500",
            "F",
        ),
        (
            {"contractDesc": "T&amp;T OCT2026 5 C [TT    261016C00005000 100]"}
            | {"ticker": "T&amp;T", "undSym": ...},
            "TT    261016C00005000",
            "T&T",
        ),
        (
            {"contractDesc": "SPY DEC2026 600.5 C", "strike": "600.5"},
            "SPY   261218C00600500",
            "SPY",
        ),
        (
            {"contractDesc": "SPX DEC2026 6000 C (SPXW)", "strike": "6000"}
            | {"ticker": "SPX", "undSym": "SPX"},
            "SPXW  261218C06000000",
            "SPX",
        ),
        (
            {"contractDesc": "SPXW DEC2026 6000 C", "strike": "6000"}
            | {"ticker": "SPX", "undSym": "SPX"},
            "SPXW  261218C06000000",
            "SPX",
        ),
        (
            {"contractDesc": "BRK B DEC2026 400 P", "strike": 400, "putOrCall": "P"}
            | {"ticker": "BRK B", "undSym": "BRK B"},
            "BRKB  261218P00400000",
            "BRK/B",
        ),
    ],
)
def test_identity_of_an_option(changes, contract_key, underlying):
    position, _ = only(read(make_row(**changes)))

    assert (position.contract_key, position.underlying) == (contract_key, underlying)


def test_an_adjusted_contract_has_the_multiplier_of_its_bracket():
    row = make_row(
        contractDesc="AAPL1 DEC2026 150 C [AAPL1 261218C00150000 28]", multiplier=None
    )

    assert only(read(row))[0].multiplier == 28


def test_an_index_option_without_a_bracket_is_known_by_its_conid():
    row = make_row(contractDesc="SPX DEC2026 6000 C", ticker="SPX", undSym="SPX")

    position, _ = only(read(row))

    assert (position.contract_key, position.kind) == ("ibkr:700000001", "option")


@pytest.mark.parametrize(
    "bad",
    [
        "text",
        None,
        [],
        {},
        {"conid": "x", "position": 1},
        make_row(position="many"),
        make_row(position=None),
        make_row(position=True),
        make_row(conid=None),
        make_row(conid=2147483647),
        make_row(position=1e30),
        make_row(position=2**63 - 1),
        make_row(position=2**31 - 1),
        make_row(position="-2147483648"),
        make_row(contractDesc="", strike="1e30"),
        make_row(assetClass="STK", position=1e-30),
        make_row(position="NaN"),
        make_row(position="1.7976931348623157E308"),
        make_row(contractDesc="SPY", expiry="2026-12-18"),
        make_row(contractDesc="SPY", putOrCall="X"),
        make_row(contractDesc="SPY [SPY   261399C00600000 100]"),
        make_row(assetClass=None),
        make_row(assetClass="None"),
    ],
)
def test_a_row_that_cannot_be_read_hides_no_other(bad):
    other = make_row(
        conid=2, contractDesc="SPY DEC2026 610 C [SPY 261218C00610000 100]"
    )

    reading = read(make_row(conid=1), bad, other)

    assert [each.instrument_id for each in reading.positions] == ["1", "2"]
    [unreadable] = reading.unreadable
    assert unreadable.reason
    assert unreadable.position.kind == "unknown"
    assert unreadable.position.problem == unreadable.reason


def test_a_row_that_cannot_be_read_says_whose_it_is_if_it_can():
    reading = read(
        make_row(conid=1, position="many"), "text", {"conid": "x", "position": -2}
    )

    recorded = [each.position for each in reading.unreadable]
    assert [each.contract_key for each in recorded] == [
        "ibkr:1",
        "ibkr:?text",
        "ibkr:?{'conid': 'x', 'position': -2}",
    ]
    assert [each.quantity for each in recorded] == [None, None, Decimal(-2)]
    assert recorded[0].description == "SPY DEC2026 600 C [SPY 261218C00600000 100]"
    assert reading.unreadable[0].name.startswith("U1 1 SPY DEC2026 600 C")


def test_a_closed_row_that_cannot_be_read_is_nothing():
    reading = read(make_row(assetClass=None, position=0), {"position": "0.0"})

    assert (reading.positions, reading.unreadable) == ((), ())


def test_rows_without_a_conid_that_look_alike_are_both_there():
    reading = read({"contractDesc": "A BOND"}, {"contractDesc": "A BOND"})

    assert [each.position.contract_key for each in reading.unreadable] == [
        "ibkr:?A BOND",
        "ibkr:?A BOND #2",
    ]


def test_what_was_identified_once_stays_identified():
    known = KnownContracts()
    read(make_row(), known=known)

    reading = read(make_cold_row(contractDesc=""), known=known)

    assert only(reading)[1].underlying_conid == 756733
    assert not reading.is_cold


@pytest.mark.parametrize("conid", ["700000001", 700000001.0, "700000001.0"])
@pytest.mark.parametrize("position", ["-3", -3, -3.0, "-3.0"])
def test_numbers_as_text_are_numbers(conid, position):
    row = make_row(
        conid=conid, position=position, strike=600, multiplier="100", undConid="756733"
    )

    position, listing = only(read(row))

    assert (position.quantity, listing.conid) == (Decimal(-3), 700000001)
    assert (listing.underlying_conid, position.multiplier) == (756733, Decimal(100))
    assert (position.instrument_id, position.underlying_id) == ("700000001", "756733")


@pytest.mark.parametrize(
    "drifted",
    [
        {"multiplier": ""},
        {"strike": {}},
        {"undConid": ""},
        {"ticker": 123},
        {"currency": 5},
        {"expiry": 20261218},
    ],
)
def test_a_field_of_another_type_does_not_hide_an_option(drifted):
    position, _ = only(read(make_row(**drifted)))

    assert position.contract_key == "SPY   261218C00600000"
    assert position.multiplier == 100


@pytest.mark.parametrize("unset", [2**31 - 1, "2147483647", -1, -2, 2**63 - 1, "NaN"])
@pytest.mark.parametrize("name", ["multiplier", "strike", "expiry"])
def test_an_unset_number_is_none(unset, name):
    position, _ = only(read(make_row(**{name: unset})))

    assert position.contract_key == "SPY   261218C00600000"
    assert position.multiplier == 100


@pytest.mark.parametrize("unset", ["-1", "2147483647", "99999999", "20261399", "soon"])
def test_a_day_that_is_none_does_not_hide_the_definition(unset):
    known = KnownContracts()
    text = "SPY    DEC2026 600 C"
    known.define([read_row(make_row(contractDesc=None))], {Conid(700000001): text})

    position, _ = only(read(make_row(contractDesc=text, expiry=unset), known=known))

    assert position.expiration == date(2026, 12, 18)


def test_small_letters_are_capitals():
    position, _ = only(read(make_row(assetClass="Opt", listingExchange="Amex")))

    assert (position.kind, position.exchange) == ("option", "AMEX")


@pytest.mark.parametrize("expiry", [20261218, 20261218.0])
def test_a_date_may_be_a_number(expiry):
    position, _ = only(read(make_row(contractDesc="SPY", expiry=expiry)))

    assert position.expiration == date(2026, 12, 18)


def test_the_name_of_an_underlying_replaces_what_the_root_suggested():
    known = KnownContracts()
    description = "HEI A DEC2026 200 C [HEI A 261218C00200000 100]"
    cold = read(make_cold_row(contractDesc=description, undConid=4628), known=known)
    warm = read(
        make_row(
            contractDesc=description, undConid=4628, ticker="HEI A", undSym="HEI A"
        ),
        known=known,
    )

    assert (cold.is_cold, warm.is_cold) == (True, False)
    assert only(warm)[0].contract_key == only(cold)[0].contract_key
    assert only(warm)[0].underlying == "HEI/A"


def test_models_of_one_account_are_one_position():
    other = make_row(
        conid=8, contractDesc="SPY DEC2026 610 C [SPY 261218C00610000 100]"
    )

    reading = read(
        make_row(position=-3.0), make_row(position=1.0, model="Income"), other
    )

    assert [each.quantity for each in reading.positions] == [Decimal(-2), Decimal(-3)]


def test_a_row_on_two_pages_counts_once():
    rows = [
        GivenRow("U1", make_row(position=quantity), page)
        for page, quantity in enumerate((-3.0, -4.0))
    ]

    assert only(run_at_once(read_positions(rows, KnownContracts())))[0].quantity == -4


def test_two_rows_of_one_page_are_two_lots():
    assert (
        only(read(make_row(position=-3.0), make_row(position=-1.0)))[0].quantity == -4
    )


def test_a_row_that_comes_twice_on_a_page_counts_once():
    other = make_row(position=-1.0, avgCost=4.0)

    assert only(read(make_row(), make_row(), other, make_row()))[0].quantity == -4


def test_a_row_of_another_account_is_left_to_that_account():
    row = GivenRow("F1", make_row(acctId="U2"))

    assert not row.belongs_here(["F1", "U2"])
    assert row.belongs_here(["F1"])
    assert GivenRow("U2", make_row(acctId="U2")).belongs_here(["F1", "U2"])
