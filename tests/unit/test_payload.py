from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greeks_trio.model.payload import jsonb_safe

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("payload", "safe"),
    [
        (rb'{"a":"x\u0000y"}', '{"a":"x\N{REPLACEMENT CHARACTER}y"}'),
        (rb'{"\u0000":1}', '{"\N{REPLACEMENT CHARACTER}":1}'),
        (rb'["\ud800"]', '["\N{REPLACEMENT CHARACTER}"]'),
        (rb'["\udc00 \u0041"]', '["\N{REPLACEMENT CHARACTER} A"]'),
        (rb'{"a":1e99999}', '{"a":"1e99999"}'),
        (rb'{"a":-1E+200000,"b":1e999}', '{"a":"-1E+200000","b":1e999}'),
        (rb'{"a":1e-99999}', '{"a":"1e-99999"}'),
        (
            rb'{"a\\\u0000":"\"\u0000"}',
            '{"a\\\\\N{REPLACEMENT CHARACTER}":"\\"\N{REPLACEMENT CHARACTER}"}',
        ),
        (rb'["\uD83D\ud83d\ude00"]', '["\N{REPLACEMENT CHARACTER}\N{GRINNING FACE}"]'),
        (b"[0." + b"0" * 17_000 + b"1]", '["0.' + "0" * 17_000 + '1"]'),
        (b"[" + b"9" * 140_000 + b"]", '["' + "9" * 140_000 + '"]'),
    ],
)
def test_what_jsonb_refuses_is_replaced(payload, safe):
    mended, was_replaced = jsonb_safe(payload)

    assert was_replaced
    assert json.loads(mended) == json.loads(safe)


@pytest.mark.parametrize(
    "payload",
    [
        rb'{"7308":"0.5","87_raw":1.22E7,"_updated":1777552110061}',
        rb'["\\u0000"]',
        rb'["\ud83d\ude00"]',
        rb'["1e99999"]',
        rb'{"a":1e100,"b":1e999}',
    ],
)
def test_what_jsonb_takes_stays_as_it_was_sent(payload):
    assert jsonb_safe(payload) == (payload, False)


@given(JSON)
def test_any_json_becomes_safe_and_stays_so(value):
    mended, _ = jsonb_safe(json.dumps(value).encode())

    assert jsonb_safe(mended) == (mended, False)


def test_no_nesting_is_too_deep():
    payload = rb'{"a":"\u0000","b":' + b"[" * 50_000 + b"]" * 50_000 + b"}"

    mended, was_replaced = jsonb_safe(payload)

    assert was_replaced
    assert len(mended) == len(payload)


def test_a_text_of_several_mib_is_mended_at_once():
    text = rb"x\n" * 1_000_000

    mended, _ = jsonb_safe(b'["' + text + rb'\u0000", 1]')

    assert mended == b'["' + text + rb'\ufffd", 1]'
