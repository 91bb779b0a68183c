"""The unit of quotation of every kind of instrument: known, or not known."""

from __future__ import annotations

from decimal import Decimal

import pytest

from greeks_trio.brokers.ibkr.positions.known import KnownContracts
from greeks_trio.brokers.ibkr.positions.positions import GivenRow, read_positions
from tests.factories import run_at_once

ONE, CENT = Decimal(1), Decimal("0.01")
FUTURE_OPTION = {
    "assetClass": "FOP",
    "expiry": "20271126",
    "putOrCall": "C",
    "strike": "450",
    "undConid": 31,
}
OPTION = {
    "assetClass": "OPT",
    "expiry": "20271217",
    "putOrCall": "P",
    "strike": "72",
    "undConid": 31,
}


def factor(known=None, **given):
    """Return the price factor of one row."""
    base = {"conid": 7, "position": -2.0, "currency": "USD", "contractDesc": "X"}
    known = KnownContracts() if known is None else known
    reading = run_at_once(read_positions([GivenRow("U1", base | given)], known))
    known.take(reading.rows, reading.instruments)
    [position] = reading.positions
    return position.price_factor


@pytest.mark.parametrize(
    ("product", "multiplier", "expected"),
    [
        ("ZC", 5000, CENT),
        ("ZW", 5000.0, CENT),
        ("ZS", "5000", CENT),
        ("KE", 5000, CENT),
        ("ZL", 60000, CENT),
        ("LE", 40000, CENT),
        ("GF", 50000, CENT),
        ("SB", 112000, CENT),
        ("OJ", 15000, CENT),
        # The multiplier may count cents already: 50 dollars a cent.
        ("ZC", 50, ONE),
        ("LE", 400, ONE),
        # Half of a contract is no contract of this product.
        ("ZC", 2500, None),
        ("ZC", None, None),
        ("ES", 50, ONE),
        ("ZN", 1000, ONE),
        ("CL", 1000, ONE),
        ("EUR", 125000, ONE),
        ("VIX", 1000, ONE),
        ("ZM", 100, ONE),
        ("NEW", 1000, None),
    ],
)
@pytest.mark.parametrize("kind", ["FUT", "FOP"])
def test_an_american_product_is_quoted_as_its_exchange_does(
    kind, product, multiplier, expected
):
    terms = FUTURE_OPTION if kind == "FOP" else {"assetClass": "FUT"}
    found = factor(
        **terms | {"contractDesc": f"{product} DEC2027 450 C", "ticker": product},
        multiplier=multiplier,
    )

    assert found == expected


def test_a_table_beats_a_row_that_is_valued_in_dollars():
    row = FUTURE_OPTION | {"ticker": "ZC", "contractDesc": "ZC DEC2027 450 C"}
    valued = {"mktPrice": 0.125, "mktValue": -1250.0, "multiplier": 5000}

    assert factor(**row | valued) == CENT


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({}, None),
        ({"displayRule": {"magnification": 0}}, None),
        ({"displayRule": {"magnification": 2}}, CENT),
        ({"displayRule": None}, None),
        ({"mktPrice": 7.25, "mktValue": -145.0}, CENT),
        ({"mktPrice": "7.25", "mktValue": "-145.004"}, CENT),
        ({"mktPrice": 0.0725, "mktValue": -145.0}, ONE),
        ({"mktPrice": 7.25, "mktValue": -1450.0}, None),
        ({"mktPrice": 0, "mktValue": 0}, None),
        (
            {"mktPrice": 0.0725, "mktValue": -145.0}
            | {"displayRule": {"magnification": 2}},
            None,
        ),
    ],
)
def test_in_london_only_the_row_tells_pounds_from_pence(told, expected):
    row = OPTION | {"currency": "GBP", "ticker": "VOD", "multiplier": 1000}

    assert factor(**row | told) == expected


@pytest.mark.parametrize("currency", ["GBP", "ZAR", "ILS"])
def test_a_share_of_a_market_with_cents_is_unknown(currency):
    share = {"assetClass": "STK", "ticker": "ABC", "currency": currency}

    assert factor(**share) is None
    assert factor(**share, mktPrice=72.5, mktValue=-1.45) == CENT
    assert factor(**share, mktPrice=72.5, mktValue=-145.0) == ONE


@pytest.mark.parametrize("currency", ["USD", "EUR", "CAD", "JPY"])
def test_a_share_of_a_market_without_cents_is_quoted_in_its_currency(currency):
    assert factor(assetClass="STK", ticker="ABC", currency=currency) == ONE


def test_an_american_option_is_quoted_in_dollars():
    assert factor(**OPTION | {"ticker": "ABC"}) == ONE


def test_a_bond_is_quoted_as_its_row_tells():
    bond = {"assetClass": "BOND", "contractDesc": "T 4 1/2 2033", "position": 5000}

    assert factor(**bond) is None
    assert factor(**bond, mktPrice=98.5, mktValue=4925.0) == CENT


def test_a_unit_that_was_told_once_stays_known():
    known = KnownContracts()
    share = {"assetClass": "STK", "ticker": "ABC", "currency": "GBP"}

    assert factor(known, **share, mktPrice=72.5, mktValue=-1.45) == CENT
    assert factor(known, **share, mktPrice=0) == CENT
    assert factor(known, **share | {"ticker": "XYZ"}, mktPrice=0) is None
