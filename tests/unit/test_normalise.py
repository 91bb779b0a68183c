from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from greeks_trio.errors import BadQuote
from greeks_trio.model.fingerprint import fingerprint
from greeks_trio.model.normalise import EARLIEST_MS
from greeks_trio.model.positions import Holder
from greeks_trio.model.records import Greeks
from tests.factories import SPY_CALL, START, normalise_quote, records_of

HOLDER = Holder("U1", Decimal(-3))
RECEIVED = START + timedelta(milliseconds=20)


def unexpected(name):
    raise AssertionError(f"{name} was counted")


def test_every_holder_gets_a_row():
    holders = [HOLDER, Holder("U2", Decimal(5)), Holder("watchlist", None)]

    ticks = normalise_quote(holders, count=unexpected)

    assert [(tick.record.account_id, tick.record.quantity) for tick in ticks] == [
        ("U1", -3),
        ("U2", 5),
        ("watchlist", None),
    ]
    assert {record.contract_key for record in records_of(ticks)} == {SPY_CALL}
    assert {tick.read_at for tick in ticks} == {7.5}
    assert {tick.fingerprint for tick in ticks} == {fingerprint(ticks[0].record)}


def test_a_missing_greek_stays_missing():
    [record] = records_of(normalise_quote([HOLDER], greeks=Greeks(vega=0.0)))

    assert record.vega == 0.0
    assert (record.delta, record.gamma, record.theta, record.rho) == (None,) * 4
    assert record.implied_volatility is None


@pytest.mark.parametrize("greeks", [Greeks(), Greeks(implied_volatility=0.2)])
def test_without_a_greek_there_is_no_tick(greeks):
    with pytest.raises(BadQuote) as caught:
        normalise_quote([HOLDER], greeks=greeks)

    assert caught.value.reason == "no-greeks"


@pytest.mark.parametrize("name", ["delta", "gamma", "theta", "vega", "rho"])
def test_one_greek_is_enough(name):
    assert len(normalise_quote([HOLDER], greeks=Greeks(**{name: 0.1}))) == 1


@pytest.mark.parametrize(
    "event_time_ms",
    [
        None,
        0,
        EARLIEST_MS - 1,
        int((RECEIVED + timedelta(minutes=5, seconds=1)).timestamp() * 1000),
        10**18,
        10**30,
        -(10**30),
    ],
)
def test_an_impossible_event_time_becomes_the_time_of_receipt(event_time_ms):
    counted = []

    [tick] = normalise_quote(
        [HOLDER], event_time_ms=event_time_ms, count=counted.append
    )

    assert tick.record.event_time == RECEIVED
    assert counted == ["mended.event-time"]


@pytest.mark.parametrize("ahead_s", [-86400, 0, 299])
def test_a_possible_event_time_is_kept(ahead_s):
    moment = RECEIVED + timedelta(seconds=ahead_s)

    [tick] = normalise_quote(
        [HOLDER],
        event_time_ms=round(moment.timestamp() * 1000),
        count=unexpected,
    )

    assert tick.record.event_time == moment


def test_a_payload_that_jsonb_refuses_never_costs_its_tick():
    counted = []

    [tick] = normalise_quote([HOLDER], payload=rb'{"a":"\u0000"}', count=counted.append)

    assert b"u0000" not in tick.record.source_payload
    assert counted == ["mended.payload"]


@pytest.mark.parametrize(
    ("kept", "with_payload"),
    [("full", ["usual", "changed"]), ("changed", ["changed"]), ("off", [])],
)
def test_the_setting_says_which_ticks_keep_the_message(kept, with_payload):
    counted = []
    events = {
        "usual": {},
        "changed": {"greeks": Greeks(delta=0.5, gamma=-1.0)},
    }
    found = []
    for name, changes in events.items():
        [record] = records_of(
            normalise_quote(
                [HOLDER],
                payload=b'{"a":1}',
                count=counted.append,
                kept_payloads=kept,
                **changes,
            )
        )
        if record.source_payload == b'{"a":1}':
            found.append(name)
        else:
            assert record.source_payload == b"{}"

    assert found == with_payload
    assert counted == ["impossible.gamma"]


def test_a_tick_has_the_prices_of_the_option_and_of_its_underlying():
    [tick] = normalise_quote(
        [HOLDER], price=12.75, bid=12.5, ask=13.0, in_rotation=True, count=unexpected
    )

    record = tick.record
    assert (record.price, record.bid, record.ask) == (12.75, 12.5, 13.0)
    assert (record.underlying_price, record.underlying_price_at) == (668.25, START)
    assert record.in_rotation


def test_prices_are_no_part_of_the_fingerprint():
    [without] = normalise_quote([HOLDER])
    [priced] = normalise_quote([HOLDER], price=12.75, bid=12.5, ask=13.0)

    assert priced.fingerprint == without.fingerprint
