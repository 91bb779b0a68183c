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


def ticks_of(book, greeks=None):
    """Return the records that an event leads to."""
    return records_of(
        book.ticks(
            greeks or event(),
            received_at=START,
            read_at=7.5,
            count=lambda _: None,
        )
    )


def price(book):
    return ticks_of(book)[0].underlying_price


@pytest.fixture
def book():
    book = WantedContracts("realtime")
    book.replace(want(SPY_CALL))
    return book


def test_an_underlying_is_shared_and_goes_with_its_last_contract():
    book = WantedContracts("realtime")

    first = book.replace(want(SPY_CALL))
    second = book.replace(want(SPY_CALL, SPY_PUT))
    third = book.replace(want(SPY_PUT))
    fourth = book.replace({})

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
    assert book.subscriptions == ()


def test_other_holders_change_no_subscription(book):
    changes = book.replace(want(SPY_CALL, account="B"))

    assert (changes.add, changes.remove) == ((), ())
    assert [tick.account_id for tick in ticks_of(book)] == ["B"]


def test_the_last_trade_comes_before_the_middle(book):
    seen = [price(book)]
    for update in (
        QuoteEvent("SPY", 600.0, 602.0),
        QuoteEvent("SPY", None, 602.0),
        QuoteEvent("SPY", 602.0, 604.0),
        TradeEvent("SPY", 600.5),
        TradeEvent("SPY", None),
        QuoteEvent("SPY", 700.0, 702.0),
    ):
        if isinstance(update, QuoteEvent):
            book.take_quote(update)
        else:
            book.take_trade(update)
        seen.append(price(book))

    assert seen == [None, 601.0, None, 603.0, 600.5, 600.5, 600.5]


def test_a_price_is_forgotten_with_its_subscription(book):
    book.take_trade(TradeEvent("SPY", 600.0))
    book.take_quote(QuoteEvent("SPY", 600.0, 602.0))

    book.replace(want(AAPL_CALL))
    book.replace(want(SPY_CALL))

    assert price(book) is None


def test_a_price_that_comes_after_its_subscription_ended_is_not_kept(book):
    book.replace({})
    book.take_trade(TradeEvent("SPY", 600.0))
    book.take_quote(QuoteEvent("SPY", 600.0, 602.0))

    book.replace(want(SPY_CALL))

    assert price(book) is None


def test_a_contract_that_nobody_wants_is_a_bad_quote(book):
    with pytest.raises(BadQuote, match="unknown-symbol"):
        ticks_of(book, event(".SPY261218P600"))


def test_implied_volatility_alone_is_no_tick(book):
    with pytest.raises(BadQuote, match="no-greeks"):
        ticks_of(book, event(implied_volatility=0.2))


def test_delayed_data_says_so():
    book = WantedContracts("delayed")
    book.replace(want(SPY_CALL))

    assert ticks_of(book)[0].availability == "delayed"
