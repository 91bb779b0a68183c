from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

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
    OptionContract,
    contract_from_occ,
    format_streamer_symbol,
    parse_occ,
)
from greeks_trio.model.positions import Holder
from greeks_trio.model.records import Greeks
from tests.factories import SPY_CALL, SPY_PUT, START, START_MS, records_of

CALL = ".SPY261218C600"
OIL_PUT = "./LOM27P62:XNYM"
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


def want_future_option():
    """Return an option on a future."""
    contract = OptionContract(
        contract_key="./LO  270514P62",
        underlying="/CLM27",
        expiration=date(2027, 5, 14),
        strike=Decimal(62),
        option_type="put",
        kind="future_option",
    )
    holders = (Holder("A", None),)
    wanted = WantedContract(contract, holders, OIL_PUT, "/CLM27:XNYM")
    return {contract.contract_key: wanted}


def event(symbol=CALL, price=None, **greeks):
    greeks = Greeks(**(greeks or {"delta": 0.5}))
    return GreeksEvent(greeks, 1, b"{}", price, symbol=symbol)


def take(contracts, update, at=START, count=lambda _: None):
    """Let the contracts take a price."""
    if isinstance(update, QuoteEvent):
        contracts.take_quote(update, at, count)
    else:
        contracts.take_trade(update, at, count)


def at_s(seconds):
    """Return so many seconds from `START`, as the server tells a time."""
    return START_MS + 1000 * seconds


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
        Subscription("TradeETH", "SPY"),
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


@pytest.mark.parametrize(
    ("updates", "expected"),
    [
        ([], None),
        ([QuoteEvent("SPY", 600.0, 602.0, at_s(0))], (601.0, 0)),
        ([QuoteEvent("SPY", None, 602.0, at_s(0))], None),
        ([QuoteEvent("SPY", 602.5, 602.0, at_s(0))], None),
        ([TradeEvent("SPY", 600.5, at_s(-9))], (600.5, -9)),
        # The newer one of trade and market, in whatever order they come.
        (
            [
                QuoteEvent("SPY", 700.0, 702.0, at_s(0)),
                TradeEvent("SPY", 600.5, at_s(-7200)),
            ],
            (701.0, 0),
        ),
        (
            [
                TradeEvent("SPY", 600.5, at_s(-7200)),
                QuoteEvent("SPY", 700.0, 702.0, at_s(0)),
            ],
            (701.0, 0),
        ),
        (
            [
                QuoteEvent("SPY", 600.0, 602.0, at_s(-60)),
                TradeEvent("SPY", 603.0, at_s(-1)),
            ],
            (603.0, -1),
        ),
        # Trades outside the session and those of the session, the newer one.
        (
            [
                TradeEvent("SPY", 605.0, at_s(-60)),
                TradeEvent("SPY", 600.0, at_s(-7200)),
            ],
            (605.0, -60),
        ),
        # Half a market takes the middle back; a trade without a price says nothing.
        (
            [
                TradeEvent("SPY", 600.0, at_s(-60)),
                QuoteEvent("SPY", 610.0, 612.0, at_s(-30)),
                QuoteEvent("SPY", None, 612.0, at_s(-10)),
                TradeEvent("SPY", None, at_s(-5)),
            ],
            (600.0, -60),
        ),
        # Without a time of the server it is the time when it was read.
        (
            [
                TradeEvent("SPY", 600.0, at_s(-10_800)),
                QuoteEvent("SPY", 610.0, 612.0),
            ],
            (611.0, 0),
        ),
        (
            [
                QuoteEvent("SPY", 610.0, 612.0, at_s(-10)),
                TradeEvent("SPY", 611.5, at_s(10**6)),
            ],
            (611.5, -10),
        ),
        # A trade without a time may be an old one.
        (
            [
                QuoteEvent("SPY", 610.0, 612.0, at_s(-10)),
                TradeEvent("SPY", 590.0),
            ],
            (611.0, -10),
        ),
        ([TradeEvent("SPY", 590.0)], (590.0, 0)),
        ([TradeEvent("SPY", -1.0, at_s(0))], None),
        ([TradeEvent("SPY", 2147483647.0, at_s(0))], None),
        ([QuoteEvent("SPY", 600.0, 1.7976931348623157e308, at_s(0))], None),
    ],
)
def test_the_price_of_a_share_is_its_newest_one(contracts, updates, expected):
    for update in updates:
        take(contracts, update)

    [record] = ticks_of(contracts)

    value, seconds = expected or (None, None)
    assert record.underlying_price == value
    assert record.underlying_price_at == (
        None if expected is None else START + timedelta(seconds=seconds)
    )


def test_a_quote_replaces_the_one_before(contracts):
    seen = []
    for bid, ask in ((600.0, 602.0), (None, 602.0), (602.0, 604.0)):
        take(contracts, QuoteEvent("SPY", bid, ask))
        seen.append(price(contracts))

    assert seen == [601.0, None, 603.0]


def test_an_option_on_a_future_has_the_price_of_its_future():
    contracts = WantedContracts("realtime")
    changes = contracts.replace(want_future_option())
    seen = []
    for update in (
        TradeEvent("/CLM27:XNYM", 48.1, at_s(-260_000)),
        QuoteEvent("/CLM27:XNYM", 62.0, 62.5, at_s(0)),
        QuoteEvent("/CLM27:XNYM", -37.7, -37.5, at_s(1)),
        QuoteEvent("/CLM27:XNYM", -1.0, -1.0, at_s(2)),
    ):
        take(contracts, update)
        [record] = ticks_of(contracts, event(OIL_PUT))
        seen.append(record.underlying_price)

    assert seen == [48.1, 62.25, -37.6, 48.1]
    # A future has no trades outside its session.
    assert [(each.type, each.symbol) for each in changes.add] == [
        ("Trade", "/CLM27:XNYM"),
        ("Quote", "/CLM27:XNYM"),
        ("Greeks", OIL_PUT),
    ]


def test_a_price_that_cannot_be_is_counted(contracts):
    counted = []
    take(contracts, TradeEvent("SPY", -1.0), count=counted.append)
    take(contracts, QuoteEvent("SPY", -1.0, 3e9), count=counted.append)
    take(contracts, QuoteEvent("SPY", None, 600.0), count=counted.append)
    take(contracts, TradeEvent("NVDA", -1.0), count=counted.append)

    assert counted == ["impossible.underlying-price"] * 3


def test_the_option_comes_with_its_own_price(contracts):
    [record] = ticks_of(contracts, event(price=12.75, delta=0.5))

    assert (record.price, record.bid, record.ask) == (12.75, None, None)


def test_a_price_is_forgotten_with_its_subscription(contracts):
    take(contracts, TradeEvent("SPY", 600.0))
    take(contracts, QuoteEvent("SPY", 600.0, 602.0))

    contracts.replace(want(AAPL_CALL))
    contracts.replace(want(SPY_CALL))

    assert price(contracts) is None


def test_a_price_stays_while_other_contracts_come_and_go(contracts):
    take(contracts, TradeEvent("SPY", 600.0))

    contracts.replace(want(SPY_CALL, AAPL_CALL))

    assert price(contracts) == 600.0


def test_a_price_that_comes_after_its_subscription_ended_is_not_kept(contracts):
    contracts.replace({})
    take(contracts, TradeEvent("SPY", 600.0))
    take(contracts, QuoteEvent("SPY", 600.0, 602.0))

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
