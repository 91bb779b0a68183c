from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greeks_trio.brokers.tastytrade.account_stream import (
    AccountMessage,
    encode_action,
    parse_account_message,
)

POSITION = {"type": "CurrentPosition", "data": {"symbol": "AAPL", "quantity": "1"}}
NOTHING = AccountMessage()


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            {"status": "ok", "action": "connect", "value": ["5WT00001"]},
            AccountMessage(connected=True),
        ),
        ({"status": "ok", "action": "heartbeat", "request-id": 2}, NOTHING),
        (
            {"status": "error", "action": "connect", "message": "failed"},
            AccountMessage(error="failed"),
        ),
        ({"status": "error"}, AccountMessage(error="no reason")),
        (POSITION, AccountMessage(position_changed=True)),
        (
            {"results": [{"type": "Order"}, 7, {"type": 7}, POSITION]},
            AccountMessage(position_changed=True),
        ),
        ({"results": [{"type": "Order"}]}, NOTHING),
        ({"type": "AccountBalance", "data": {}, "timestamp": 1}, NOTHING),
        ([], NOTHING),
    ],
)
def test_only_acknowledgements_positions_and_errors_mean_something(message, expected):
    assert parse_account_message(json.dumps(message)) == expected


@given(st.text() | st.binary())
def test_any_text_means_something_or_nothing(frame):
    parse_account_message(frame)


def test_bytes_that_are_no_text_do_not_hide_the_rest_of_a_batch():
    frame = b'{"results":[{"type":"\xff"},{"type":"CurrentPosition"}]}'

    assert parse_account_message(frame) == AccountMessage(position_changed=True)


def test_text_that_is_nested_absurdly_means_nothing():
    assert parse_account_message('{"results":' + "[" * 100_000) == NOTHING


def test_a_request_carries_its_token():
    connect = encode_action("connect", access_token="t", request_id=1, accounts=["A"])
    heartbeat = encode_action("heartbeat", access_token="t", request_id=2)

    assert json.loads(connect) == {
        "action": "connect",
        "value": ["A"],
        "auth-token": "Bearer t",
        "request-id": 1,
    }
    assert json.loads(heartbeat) == {
        "action": "heartbeat",
        "auth-token": "Bearer t",
        "request-id": 2,
    }
