from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greeks_trio.brokers.ibkr.wire.fields import (
    FIELDS,
    Price,
    Unreadable,
    availability_of,
    parse_letter,
    parse_number,
    parse_percent,
    parse_price,
)


@pytest.mark.parametrize(
    ("raw", "number"),
    [
        ("0.518", 0.518),
        ("-0.622", -0.622),
        (".5", 0.5),
        ("+0.84", 0.84),
        ("3,500", 3500.0),
        ("1,234,567.5", 1234567.5),
        ("24.2M", 24.2e6),
        ("21.7K", 21700.0),
        ("1.1B", 1.1e9),
        ("31.4%", 31.4),
        ("1.22E7", 1.22e7),
        (" 7 ", 7.0),
        ("C4735.10", 4735.1),
        ("H0.5", 0.5),
        (0.56, 0.56),
        (12, 12.0),
        (1.22e7, 1.22e7),
    ],
)
def test_a_number_is_read_however_it_is_written(raw, number):
    assert parse_number(raw) == pytest.approx(number, rel=1e-12)


@pytest.mark.parametrize(
    "raw",
    [
        "",
        " ",
        "N/A",
        "n/a",
        "-",
        "--",
        None,
        "NaN",
        "Infinity",
        "-inf",
        math.nan,
        math.inf,
        10**400,
        "1e999",
    ],
)
def test_what_says_no_value_is_none(raw):
    assert parse_number(raw) is None


@pytest.mark.parametrize("raw", ["abc", "1_000", "1.2.3", "0x10", "12Q", [], {}, True])
def test_what_is_no_number_is_unreadable(raw):
    with pytest.raises(Unreadable):
        parse_number(raw)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("31.4%", (0.314, True)),
        ("0.0%", (0.0, True)),
        ("14.7", (0.147, False)),
        ("0.25", (0.0025, False)),  # the field is in percent, also without the sign
        (32.5, (0.325, False)),
        ("1,204.5%", (12.045, True)),
        ("", (None, True)),
        ("N/A", (None, True)),
    ],
)
def test_a_percentage_becomes_a_fraction(raw, expected):
    fraction, signed = parse_percent(raw)

    assert (fraction and round(fraction, 12), signed) == expected


@pytest.mark.parametrize(
    ("raw", "price"),
    [
        ("271.55", Price(271.55)),
        ("C4735.10", Price(4735.1, "close")),
        ("H271.67", Price(271.67, "halted")),
        ("C1,234.5", Price(1234.5, "close")),
        (420.49, Price(420.49)),
        ("N/A", None),
        ("C", None),
        ("", None),
    ],
)
def test_the_letter_before_a_price_is_its_kind(raw, price):
    assert parse_price(raw) == price


@pytest.mark.parametrize(
    ("raw", "availability"),
    [
        ("RpB", "realtime"),
        ("R", "realtime"),
        ("DPB", "delayed"),
        ("ZBd", "frozen"),
        ("Y", "frozen"),
        ("NpB", "unknown"),
        ("O", "unknown"),
        ("", "unknown"),
        (None, "unknown"),
    ],
)
def test_availability_is_the_first_letter(raw, availability):
    assert availability_of(parse_letter(raw)) == availability


def test_no_field_is_listed_twice():
    assert len({field.number for field in FIELDS}) == len(FIELDS)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_finite_number_survives_its_text(number):
    assert parse_number(repr(number)) == number


@given(st.text())
def test_any_text_is_a_finite_number_or_none_or_unreadable(text):
    try:
        number = parse_number(text)
    except Unreadable:
        return

    assert number is None or math.isfinite(number)
