from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greeks_trio.brokers.tastytrade.wire.requests import (
    MAX_REQUEST_BYTES,
    MAX_REQUEST_ENTRIES,
    Subscription,
    encode_auth,
    encode_channel_request,
    encode_feed_setup,
    encode_keepalive,
    encode_setup,
    encode_subscription,
)


def test_the_handshake_says_what_the_specification_asks_for():
    setup = json.loads(
        encode_setup(keepalive_timeout_s=60, accept_keepalive_timeout_s=50)
    )

    assert setup["version"].startswith("0.1-")
    assert setup == {
        "type": "SETUP",
        "channel": 0,
        "version": setup["version"],
        "keepaliveTimeout": 60,
        "acceptKeepaliveTimeout": 50,
    }
    assert json.loads(encode_auth("t0ken")) == {
        "type": "AUTH",
        "channel": 0,
        "token": "t0ken",
    }
    assert json.loads(encode_keepalive()) == {"type": "KEEPALIVE", "channel": 0}
    assert json.loads(encode_channel_request(5)) == {
        "type": "CHANNEL_REQUEST",
        "channel": 5,
        "service": "FEED",
        "parameters": {"contract": "AUTO"},
    }


def test_an_even_channel_is_a_mistake_of_ours():
    with pytest.raises(ValueError, match="even"):
        encode_channel_request(2)


def test_the_feed_is_asked_for_compact_events_with_all_greeks():
    setup = json.loads(encode_feed_setup(1, aggregation_period_s=0.1))

    assert (setup["acceptDataFormat"], setup["acceptAggregationPeriod"]) == (
        "COMPACT",
        0.1,
    )
    assert set(setup["acceptEventFields"]) == {"Greeks", "Quote", "Trade", "TradeETH"}
    assert {
        "eventSymbol",
        "eventFlags",
        "time",
        "volatility",
        "delta",
        "gamma",
        "theta",
        "rho",
        "vega",
    } <= set(setup["acceptEventFields"]["Greeks"])


def test_a_reset_comes_first_and_additions_last():
    frames = encode_subscription(
        1,
        add=[Subscription("Greeks", ".A261218C1")],
        remove=[Subscription("Quote", "B")],
        reset=True,
    )

    assert [json.loads(frame) for frame in frames] == [
        {"type": "FEED_SUBSCRIPTION", "channel": 1, "reset": True},
        {
            "type": "FEED_SUBSCRIPTION",
            "channel": 1,
            "remove": [{"type": "Quote", "symbol": "B"}],
        },
        {
            "type": "FEED_SUBSCRIPTION",
            "channel": 1,
            "add": [{"type": "Greeks", "symbol": ".A261218C1"}],
        },
    ]


def test_nothing_to_change_is_nothing_to_send():
    assert encode_subscription(1) == []


@given(st.lists(st.text(min_size=1, max_size=60).filter(str.isprintable), max_size=700))
def test_chunks_are_small_and_add_up(symbols):
    entries = [Subscription("Greeks", symbol) for symbol in symbols]

    frames = encode_subscription(1, add=entries)

    chunks = [json.loads(frame)["add"] for frame in frames]
    assert [each["symbol"] for chunk in chunks for each in chunk] == symbols
    assert all(len(chunk) <= MAX_REQUEST_ENTRIES for chunk in chunks)
    assert all(len(frame.encode()) <= MAX_REQUEST_BYTES for frame in frames)


def test_the_number_of_entries_has_a_bound_of_its_own():
    entries = [Subscription("Trade", "F")] * 1_100

    frames = encode_subscription(1, add=entries, max_bytes=1_000_000)

    assert [len(json.loads(each)["add"]) for each in frames] == [500, 500, 100]
