from __future__ import annotations

import hashlib
import struct

import pytest

from greeks_trio.model.fingerprint import fingerprint
from tests.factories import make_record

ALL = {
    "delta": 0.945267732851094,
    "gamma": 0.0001239745502605713,
    "theta": -0.0836282191559167,
    "vega": 0.0886597706581432,
    "rho": 0.479468024985951,
    "implied_volatility": 0.987555718428321,
}
NONE = dict.fromkeys(ALL)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (ALL, -2093237565939772389),
        (NONE | {"delta": 0.5}, -4464926388308710530),
        (NONE | {"theta": -0.0, "vega": 1.0}, -3666029053994224527),
    ],
)
def test_the_fingerprint_of_known_values_never_changes(values, expected):
    assert fingerprint(make_record(**values)) == expected


def test_a_missing_value_counts_as_the_quiet_nan_of_ieee_754():
    packed = struct.pack(">d", 0.5) + bytes.fromhex("7ff8000000000000") * 5
    digest = hashlib.blake2b(packed).digest()

    expected = int.from_bytes(digest[:8], "big", signed=True)
    assert fingerprint(make_record(**(NONE | {"delta": 0.5}))) == expected


def test_minus_zero_is_zero():
    assert fingerprint(make_record(delta=-0.0)) == fingerprint(make_record(delta=0.0))


@pytest.mark.parametrize("name", list(ALL))
def test_every_value_counts(name):
    record = make_record(**ALL)

    assert fingerprint(record) != fingerprint(make_record(**(ALL | {name: None})))


def test_what_we_join_and_stamp_does_not_count():
    one = make_record(0, quantity=None, underlying_price=None, availability="frozen")

    assert fingerprint(one) == fingerprint(make_record(99))
