from __future__ import annotations

import pytest

from greeks_trio.brokers.tastytrade.positions.positions import WantedContract
from greeks_trio.brokers.tastytrade.positions.wanted import WantedContracts
from greeks_trio.brokers.tastytrade.wire.messages import (
    GreeksEvent,
    QuoteEvent,
    TradeEvent,
)
from greeks_trio.brokers.tastytrade.wire.requests import Subscription
from greeks_trio.errors import BadQuote
from greeks_trio.model.contracts import (
    contract_from_occ,
    format_streamer_symbol,
    parse_occ,
)
from greeks_trio.model.positions import Holder
from greeks_trio.model.records import Greeks
from tests.factories import SPY_CALL, SPY_PUT, START, records_of

CALL = ".SPY261218C600"
AAPL_CALL = "AAPL  261218C00250000"


def want(*keys, account="A"):
    holders = (Holder(account, None),)
    contracts = {key: contract_from_occ(key) for key in keys}
    return {
        key: WantedContract(
            each, holders, format_streamer_symbol(parse_occ(key)), each.underlying
        )
        for key, each in contracts.items()
    }


def event(symbol=CALL, **greeks):
    return GreeksEvent(Greeks(**(greeks or {"delta": 0.5})), 1, b"{}", symbol)


def ticks_of(contracts, greeks=None):
    """Return the records that an event leads to."""
    return records_of(
        contracts.ticks(
            greeks or event(),
            received_at=START,
            read_at=7.5,
            count=lambda _: None,
        )
    )


def price(contracts):
    return ticks_of(contracts)[0].underlying_price


@pytest.fixture
def contracts():
    contracts = WantedContracts("realtime")
    contracts.replace(want(SPY_CALL))
    return contracts


def test_an_underlying_is_shared_and_goes_with_its_last_contract():
    contracts = WantedContracts("realtime")

    first = contracts.replace(want(SPY_CALL))
    second = contracts.replace(want(SPY_CALL, SPY_PUT))
    third = contracts.replace(want(SPY_PUT))
    fourth = contracts.replace({})

    assert first.add == (
        Subscription("Trade", "SPY"),
        Subscription("Quote", "SPY"),
        Subscription("Greeks", CALL),
    )
    assert (second.add, second.remove) == (
        (Subscription("Greeks", ".SPY261218P600"),),
        (),
    )
    assert (third.add, third.remove) == ((), (Subscription("Greeks", CALL),))
    assert {each.symbol for each in fourth.remove} == {"SPY", ".SPY261218P600"}
    assert contracts.subscriptions == ()


def test_other_holders_change_no_subscription(contracts):
    changes = contracts.replace(want(SPY_CALL, account="B"))

    assert (changes.add, changes.remove) == ((), ())
    assert [tick.account_id for tick in ticks_of(contracts)] == ["B"]


def test_the_last_trade_comes_before_the_middle(contracts):
    seen = [price(contracts)]
    for update in (
        QuoteEvent("SPY", 600.0, 602.0),
        QuoteEvent("SPY", None, 602.0),
        QuoteEvent("SPY", 602.0, 604.0),
        TradeEvent("SPY", 600.5),
        TradeEvent("SPY", None),
        QuoteEvent("SPY", 700.0, 702.0),
    ):
        if isinstance(update, QuoteEvent):
            contracts.take_quote(update)
        else:
            contracts.take_trade(update)
        seen.append(price(contracts))

    assert seen == [None, 601.0, None, 603.0, 600.5, 600.5, 600.5]


def test_a_price_is_forgotten_with_its_subscription(contracts):
    contracts.take_trade(TradeEvent("SPY", 600.0))
    contracts.take_quote(QuoteEvent("SPY", 600.0, 602.0))

    contracts.replace(want(AAPL_CALL))
    contracts.replace(want(SPY_CALL))

    assert price(contracts) is None


def test_a_price_that_comes_after_its_subscription_ended_is_not_kept(contracts):
    contracts.replace({})
    contracts.take_trade(TradeEvent("SPY", 600.0))
    contracts.take_quote(QuoteEvent("SPY", 600.0, 602.0))

    contracts.replace(want(SPY_CALL))

    assert price(contracts) is None


def test_a_contract_that_nobody_wants_is_a_bad_quote(contracts):
    with pytest.raises(BadQuote, match="unknown-symbol"):
        ticks_of(contracts, event(".SPY261218P600"))


def test_implied_volatility_alone_is_no_tick(contracts):
    with pytest.raises(BadQuote, match="no-greeks"):
        ticks_of(contracts, event(implied_volatility=0.2))


def test_delayed_data_says_so():
    contracts = WantedContracts("delayed")
    contracts.replace(want(SPY_CALL))

    assert ticks_of(contracts)[0].availability == "delayed"
