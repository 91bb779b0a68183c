from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greeks_trio.model.contracts import (
    OptionTerms,
    contract_from_occ,
    format_future_option_key,
    format_occ,
    format_streamer_symbol,
    parse_future_option_key,
    parse_occ,
    parse_streamer_symbol,
    plain,
    underlying_of_root,
    underlying_symbol,
)

ROOTS = st.from_regex(r"[A-Z]{1,5}[0-9]?", fullmatch=True)
DAYS = st.dates(date(2000, 1, 1), date(2099, 12, 31))
TYPES = st.sampled_from(["call", "put"])
STRIKES = st.integers(1, 10**8 - 1).map(lambda n: plain(Decimal(n) / 1000))
TERMS = st.builds(OptionTerms, ROOTS, DAYS, TYPES, STRIKES)


@given(TERMS)
def test_an_occ_symbol_says_what_it_was_made_from(terms):
    symbol = format_occ(terms)

    assert len(symbol) == 21
    assert parse_occ(symbol) == terms
    assert parse_occ(symbol.replace(" ", "")) == terms


@given(TERMS)
def test_a_streamer_symbol_says_what_it_was_made_from(terms):
    assert parse_streamer_symbol(format_streamer_symbol(terms)) == terms


@given(TERMS)
def test_a_future_option_key_says_what_it_was_made_from(terms):
    assert parse_future_option_key(format_future_option_key(terms)) == terms


@pytest.mark.parametrize(
    ("occ", "streamer"),
    [
        ("SPY   260116C00600000", ".SPY260116C600"),
        ("F     260116C00012250", ".F260116C12.25"),
        ("SPXW  261218P04000000", ".SPXW261218P4000"),
        ("AAPL1 261218P00150500", ".AAPL1261218P150.5"),
        ("XSP   261218C00600125", ".XSP261218C600.125"),
        ("SIRI  261218C00000500", ".SIRI261218C0.5"),
    ],
)
def test_both_symbols_of_a_contract_say_the_same(occ, streamer):
    assert parse_occ(occ) == parse_streamer_symbol(streamer)
    assert format_occ(parse_streamer_symbol(streamer)) == occ
    assert format_streamer_symbol(parse_occ(occ)) == streamer


@pytest.mark.parametrize(
    "text",
    ["", "SPY", "SPY 260116X00600000", "SPY 260116C0060000", "spy260116C00600000"],
)
def test_what_is_not_an_occ_symbol_is_refused(text):
    with pytest.raises(ValueError, match="OCC"):
        parse_occ(text)


@pytest.mark.parametrize("strike", ["0.0005", "100000", "-1"])
def test_a_strike_that_does_not_fit_is_refused(strike):
    terms = OptionTerms("SPY", date(2026, 1, 16), "call", Decimal(strike))

    with pytest.raises(ValueError, match="strike"):
        format_occ(terms)


def test_a_root_that_does_not_fit_is_refused():
    terms = OptionTerms("TOOLONG", date(2026, 1, 16), "call", Decimal(1))

    with pytest.raises(ValueError, match="root"):
        format_occ(terms)


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parse_streamer_symbol, "./ESU25P900:XCME"),
        (parse_streamer_symbol, "SPY"),
        (parse_future_option_key, "./"),
    ],
)
def test_a_symbol_of_another_kind_is_refused(parse, text):
    with pytest.raises(ValueError, match="is not"):
        parse(text)


@pytest.mark.parametrize(
    ("root", "underlying"),
    [
        ("SPXW", "SPX"),
        ("AAPL1", "AAPL"),
        ("BRKB", "BRK/B"),
        ("BRKB1", "BRK/B"),
        ("SPY", "SPY"),
    ],
)
def test_a_root_is_not_its_underlying(root, underlying):
    assert underlying_of_root(root) == underlying


@pytest.mark.parametrize("text", ["BRK B", "BRK.B", "BRK/B", " BRK  B"])
def test_an_underlying_has_one_spelling(text):
    assert underlying_symbol(text) == "BRK/B"


def test_a_watched_contract_knows_its_underlying():
    contract = contract_from_occ("SPXW261218P04000000")

    assert contract.contract_key == "SPXW  261218P04000000"
    assert contract.underlying == "SPX"
    assert contract.strike == 4000
    assert contract.option_type == "put"


@pytest.mark.parametrize("root", ["BRKB  ", "BRK/B ", "BRK.B"])
def test_a_share_class_has_one_root(root):
    contract = contract_from_occ(f"{root}270115C00500000")

    assert contract.contract_key == "BRKB  270115C00500000"
    assert contract.underlying == "BRK/B"
