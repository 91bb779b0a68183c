from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from greeks_trio.errors import BadQuote
from greeks_trio.model.normalise import EARLIEST_MS, normalise
from greeks_trio.model.positions import Holder
from greeks_trio.model.records import Greeks
from tests.factories import SPY_CALL, START, make_quote

HOLDER = Holder("U1", Decimal(-3))
RECEIVED = START + timedelta(milliseconds=20)


def test_every_holder_gets_a_row():
    holders = [HOLDER, Holder("U2", Decimal(5)), Holder("watchlist", None)]

    result = normalise(make_quote(), holders)

    assert [(t.account_id, t.quantity) for t in result.ticks] == [
        ("U1", -3),
        ("U2", 5),
        ("watchlist", None),
    ]
    assert {t.contract_key for t in result.ticks} == {SPY_CALL}
    assert result.mended == ()


def test_a_missing_greek_stays_missing():
    [tick] = normalise(make_quote(greeks=Greeks(vega=0.0)), [HOLDER]).ticks

    assert tick.vega == 0.0
    assert (tick.delta, tick.gamma, tick.theta, tick.rho) == (None,) * 4
    assert tick.implied_volatility is None


@pytest.mark.parametrize("greeks", [Greeks(), Greeks(implied_volatility=0.2)])
def test_without_a_greek_there_is_no_tick(greeks):
    with pytest.raises(BadQuote) as caught:
        normalise(make_quote(greeks=greeks), [HOLDER])

    assert caught.value.reason == "no-greeks"


@pytest.mark.parametrize("name", ["delta", "gamma", "theta", "vega", "rho"])
def test_one_greek_is_enough(name):
    quote = make_quote(greeks=Greeks(**{name: 0.1}))

    assert len(normalise(quote, [HOLDER]).ticks) == 1


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
    result = normalise(make_quote(event_time_ms=event_time_ms), [HOLDER])

    assert result.ticks[0].event_time == RECEIVED
    assert result.mended == ("event-time",)


@pytest.mark.parametrize("ahead_s", [-86400, 0, 299])
def test_a_possible_event_time_is_kept(ahead_s):
    moment = RECEIVED + timedelta(seconds=ahead_s)
    quote = make_quote(event_time_ms=round(moment.timestamp() * 1000))

    result = normalise(quote, [HOLDER])

    assert result.ticks[0].event_time == moment
    assert result.mended == ()


def test_a_payload_that_jsonb_refuses_never_costs_its_tick():
    result = normalise(make_quote(source_payload=rb'{"a":"\u0000"}'), [HOLDER])

    assert b"u0000" not in result.ticks[0].source_payload
    assert result.mended == ("payload",)
