from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greeks_trio.model.contracts import parse_future_option_key
from greeks_trio.model.instruments import (
    FutureTerms,
    broker_key,
    format_future_key,
    parse_future,
    share_key,
)

TODAY = date(2026, 11, 20)
FUTURES = st.builds(
    FutureTerms,
    st.from_regex(r"[A-Z0-9]{1,2}[A-Z]", fullmatch=True),
    st.integers(1, 12),
    st.integers(2010, 2099),
)


@given(FUTURES)
def test_a_future_key_gives_its_terms_back(terms):
    assert parse_future(format_future_key(terms), not_before=TODAY) == terms


@pytest.mark.parametrize(
    ("text", "not_before", "key"),
    [
        ("/ESZ7", date(2026, 11, 20), "/ESZ27"),
        ("/ESZ27", date(2026, 11, 20), "/ESZ27"),
        ("/MYMZ6", date(2026, 12, 18), "/MYMZ26"),
        ("/CLF0", date(2029, 12, 17), "/CLF30"),
        ("/M2KH7", date(2027, 3, 19), "/M2KH27"),
        ("/6EM9", date(2028, 1, 3), "/6EM29"),
    ],
)
def test_a_one_digit_year_is_the_next_such_year(text, not_before, key):
    assert format_future_key(parse_future(text, not_before=not_before)) == key


@pytest.mark.parametrize("text", ["", "/", "/ES", "ESZ7", "/ESA7", "./ESZ7", "SPY"])
def test_other_texts_are_no_futures(text):
    with pytest.raises(ValueError, match="not the symbol of a future"):
        parse_future(text, not_before=TODAY)


def test_a_strike_may_be_negative():
    assert parse_future_option_key("./LO  270514P-5").strike == -5


def test_keys_of_different_kinds_differ():
    keys = {
        share_key("RY"),
        share_key("RY", market="CAD"),
        share_key("BRK B"),
        broker_key("ibkr", "702"),
        broker_key("tastytrade", "BTC/USD"),
    }

    assert keys == {"RY", "RY:CAD", "BRK/B", "ibkr:702", "tastytrade:BTC/USD"}
