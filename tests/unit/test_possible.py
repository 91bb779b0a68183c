from __future__ import annotations

import math
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from greeks_trio.errors import BadQuote
from greeks_trio.model.fingerprint import fingerprint
from greeks_trio.model.positions import Holder
from greeks_trio.model.possible import (
    LARGEST,
    impossible_fields,
    is_possible,
    possible_price,
    price_range,
    without_fields,
)
from greeks_trio.model.records import BrokerGreeks, Greeks
from tests.factories import normalise_quote

GREEKS = ("delta", "gamma", "theta", "vega", "rho", "implied_volatility")
PRICES = ("price", "bid", "ask")
# Programs in C, C++ and Java keep these for "unset".
UNSET = [
    1.7976931348623157e308,
    -1.7976931348623157e308,
    3.4028234663852886e38,
    2147483647.0,
    -2147483648.0,
    4294967295.0,
    9223372036854775807.0,
    -9223372036854775808.0,
    math.nan,
    math.inf,
    -math.inf,
]
# The smallest doubles; a sensitivity may be as small as this.
TINY = [4.9e-324, 2.2250738585072014e-308, 1.1754943508222875e-38]
POSSIBLE = {
    "delta": [-1.0, -0.5, 0.0, 1.0, 1.04],
    "gamma": [0.0, 0.011, 6000.0, -0.0001],
    "theta": [-2.0, -1.0, 0.0, 0.3, -4000.0],
    "vega": [0.0, 0.6, 1500.0, -0.001],
    "rho": [-2.0, -1.0, 0.0, 25.0],
    "implied_volatility": [0.0001, 0.183, 12.0, 100.0],
    "price": [0.0, 0.01, 2500.0],
    "bid": [0.0, 0.05, 2500.0],
    "ask": [0.01, 2500.0],
}
IMPOSSIBLE = {
    "delta": [-2.0, 1.06, -1.06, 50.0],
    "gamma": [-1.0, -2.0],
    "theta": [],
    "vega": [-1.0, -2.0],
    "rho": [],
    "implied_volatility": [0.0, -1.0, -2.0, 100.1, *TINY],
    "price": [-0.01, -1.0, -2.0],
    "bid": [-1.0],
    "ask": [0.0, -1.0, *TINY],
}


def make_event(**values):
    greeks = {name: value for name, value in values.items() if name in GREEKS}
    prices = {name: value for name, value in values.items() if name in PRICES}
    return BrokerGreeks(Greeks(**greeks), 1, b"{}", **prices)


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name, values in POSSIBLE.items() for value in values],
)
def test_a_real_value_is_possible(name, value):
    event = make_event(**{name: value})

    assert is_possible(event)
    assert impossible_fields(event) == ()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (name, value)
        for name, values in IMPOSSIBLE.items()
        for value in [*values, *UNSET]
    ],
)
def test_a_value_that_cannot_be_is_found_and_only_that_one(name, value):
    event = make_event(**({"delta": 0.5, "rho": 0.1} | {name: value}))

    assert not is_possible(event)
    assert impossible_fields(event) == (name,)
    assert is_possible(without_fields(event, (name,)))


@pytest.mark.parametrize("unset", [-1.0, -2.0])
def test_minus_one_and_two_are_unset_everywhere_if_they_are_unset_somewhere(unset):
    alone = make_event(theta=unset, rho=unset, gamma=0.01)
    all_unset = make_event(**dict.fromkeys(GREEKS[:5], unset))
    some = make_event(delta=0.5, gamma=unset, theta=unset, vega=0.6, rho=0.1)

    mixed = make_event(delta=-3.0 - unset, gamma=0.01, theta=-3.0 - unset, vega=unset)
    rest = ("delta", "theta", "vega")

    assert impossible_fields(mixed) == rest
    assert impossible_fields(alone) == ()
    assert impossible_fields(all_unset) == GREEKS[:5]
    assert impossible_fields(some) == ("gamma", "theta")


def test_a_real_delta_beside_an_unset_volatility_and_price_stays():
    event = make_event(delta=-1.0, theta=-1.0, implied_volatility=-1.0, bid=-1.0)

    assert impossible_fields(event) == ("implied_volatility", "bid")


borders = [
    each
    for number in (0.0, 1e-9, 1.05, 1.0, 2.0, 100.0, LARGEST, 2.0**31 - 1, 1.8e308)
    for sign in (number, -number)
    for each in (sign, math.nextafter(sign, 1e300), math.nextafter(sign, -1e300))
]
numbers = st.sampled_from(borders) | st.floats() | st.none()


@given(st.fixed_dictionaries(dict.fromkeys((*GREEKS, *PRICES), numbers)))
@example(dict.fromkeys((*GREEKS, *PRICES)))
def test_the_quick_look_agrees_with_the_table(values):
    event = make_event(**values)

    names = impossible_fields(event)

    assert is_possible(event) == (names == ())
    kept = without_fields(event, names)
    assert impossible_fields(kept) == ()
    assert is_possible(kept)
    for name in values:
        owner = kept.greeks if name in GREEKS else kept
        if name not in names:
            assert getattr(owner, name) == values[name]


def test_an_impossible_value_is_missing_and_counted_and_costs_nothing_else():
    counted = []
    greeks = Greeks(0.5, 0.01, -0.2, 1.7976931348623157e308, None, -1.0)

    [tick] = normalise_quote(
        [Holder("U1", Decimal(1))],
        greeks=greeks,
        payload=b'{"7311":"1.7976931348623157E308"}',
        price=2.42,
        bid=-1.0,
        ask=2147483647.0,
        count=counted.append,
    )

    record = tick.record
    assert (record.delta, record.gamma, record.theta) == (0.5, 0.01, -0.2)
    assert (record.vega, record.implied_volatility) == (None, None)
    assert (record.price, record.bid, record.ask) == (2.42, None, None)
    assert record.source_payload == b'{"7311":"1.7976931348623157E308"}'
    assert tick.fingerprint == fingerprint(record)
    assert counted == [
        "impossible.vega",
        "impossible.implied-volatility",
        "impossible.bid",
        "impossible.ask",
    ]


def test_a_tick_without_any_possible_greek_is_none():
    counted = []
    greeks = Greeks(*[9223372036854775807.0] * 5, 0.2)

    with pytest.raises(BadQuote, match="no-greeks"):
        normalise_quote(
            [Holder("U1", None)], greeks=greeks, price=1.0, count=counted.append
        )

    assert counted == [f"impossible.{name}" for name in GREEKS[:5]]


@pytest.mark.parametrize("kind", ["option", "share", "index", "future"])
@pytest.mark.parametrize("value", UNSET)
def test_no_instrument_has_a_price_that_stands_for_unset(kind, value):
    assert possible_price(value, kind) is None
    assert not price_range(kind).has(value)


@pytest.mark.parametrize(
    ("kind", "value", "beside", "price"),
    [
        ("share", 225.5, None, 225.5),
        ("share", 0.0001, None, 0.0001),
        ("share", 745_000.0, None, 745_000.0),
        ("share", 0.0, 0.01, None),
        ("share", -1.0, -1.5, None),
        ("index", 0.0, None, None),
        ("index", -37.63, None, None),
        ("future", -37.63, None, -37.63),
        ("future", -2.5, None, -2.5),
        ("future", 0.0067, None, 0.0067),
        ("future", -1.0, None, None),
        ("future", -1.0, -1.0, None),
        ("future", -1.0, 6000.0, None),
        ("future", -1.0, -0.98, -1.0),
        ("future", 0.0, 6000.0, None),
        ("future", TINY[0], None, None),
        ("future", -0.5, -1.0, -0.5),
        ("share", TINY[0], None, None),
        ("index", TINY[2], None, None),
        ("option", TINY[1], None, TINY[1]),
        ("future", 0.0, 0.0, None),
        ("future", 0.0, -0.02, 0.0),
        ("option", 0.0, None, 0.0),
        ("option", -0.05, None, None),
        ("future", None, None, None),
    ],
)
def test_a_price_is_possible_by_the_kind_of_its_instrument(kind, value, beside, price):
    assert possible_price(value, kind, beside=beside) == price
