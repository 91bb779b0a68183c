from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from greeks_trio.brokers.ibkr.positions.positions import read_positions


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
    return read_positions([("U1", row) for row in rows], {} if known is None else known)


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


def test_an_index_option_without_a_bracket_is_not_guessed():
    reading = read(make_row(contractDesc="SPX DEC2026 6000 C", ticker="SPX"))

    assert reading.positions == ()
    assert reading.unidentified == ("ambiguous-root",)
    assert reading.is_cold


def test_a_futures_option_gets_our_key():
    row = make_row(
        assetClass="FOP",
        contractDesc="CL     MAR2026 56 P [LOJ6 P5600 1000]",
        expiry="20260317",
        putOrCall="P",
        strike="56",
        multiplier="1000",
        ticker="CL",
        undSym="CL",
        undConid=212921504,
    )

    position, listing = only(read(row))

    assert position.contract_key == "./LO  260317P56"
    assert (position.kind, position.underlying) == ("future_option", "CL")
    assert listing.contract.multiplier == 1000


@pytest.mark.parametrize(
    ("changes", "kind", "key", "underlying"),
    [
        ({"assetClass": "STK", "ticker": "BRK B"}, "equity", "BRK/B", "BRK/B"),
        ({"assetClass": "STK", "ticker": "VOW3"}, "equity", "VOW3", "VOW3"),
        ({"assetClass": "FUT", "ticker": "ES"}, "future", "ES", None),
        ({"assetClass": "BOND", "ticker": "T"}, "other", "T", None),
        ({"assetClass": None, "ticker": "X"}, "other", "X", None),
    ],
)
def test_what_is_no_option_is_recorded_and_never_listed(changes, kind, key, underlying):
    row = make_row(position=2.5, multiplier=0.0, strike="0", undConid=0, **changes)

    reading = read(row)

    [position] = reading.positions
    assert (position.kind, position.contract_key) == (kind, key)
    assert (position.quantity, position.multiplier) == (Decimal("2.5"), None)
    assert position.underlying == underlying
    assert reading.listings == {}


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
        make_row(conid=None),
        make_row(position=1e30),
        make_row(multiplier="1e30"),
        make_row(contractDesc="", strike="1e30"),
        make_row(assetClass="STK", position=1e-30),
        make_row(position="NaN"),
        make_row(contractDesc="SPY", expiry="2026-12-18"),
        make_row(contractDesc="SPY", putOrCall="X"),
        make_row(contractDesc="SPY [SPY   261399C00600000 100]"),
    ],
)
def test_a_malformed_row_hides_no_other(bad):
    reading = read(make_row(conid=1), bad, make_row(conid=2))

    assert len(reading.positions) == 2
    assert len(reading.unidentified) == 1


def test_a_row_that_cannot_be_read_says_whose_it_is_if_it_can():
    reading = read(make_row(conid=1, position="many"), "text", {"conid": "x"})

    assert reading.unread == (("U1", 1), ("U1", None), ("U1", None))


def test_what_was_identified_once_stays_identified():
    known = {}
    read(make_row(), known=known)

    reading = read(make_cold_row(contractDesc=""), known=known)

    assert only(reading)[1].underlying_conid == 756733
    assert not reading.is_cold


def test_numbers_as_text_are_numbers():
    row = make_row(conid="700000001", position="-3", strike=600, multiplier="100")

    position, listing = only(read(row))

    assert (position.quantity, listing.conid) == (Decimal(-3), 700000001)


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


def test_a_date_may_be_a_number():
    position, _ = only(read(make_row(contractDesc="SPY", expiry=20261218)))

    assert position.expiration == date(2026, 12, 18)


def test_the_name_of_an_underlying_replaces_what_the_root_suggested():
    known = {}
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
    reading = read(
        make_row(position=-3.0),
        make_row(position=1.0, model="Income"),
        make_row(conid=8),
    )

    assert [each.quantity for each in reading.positions] == [Decimal(-2), Decimal(-3)]


def test_a_row_on_two_pages_counts_once():
    reading = read(make_row(position=-3.0), make_row(position=-3.0))

    assert only(reading)[0].quantity == -3
