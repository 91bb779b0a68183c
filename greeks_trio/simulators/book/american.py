"""The American part of the real book: shares, indices, and options that the OCC clears."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final

from greeks_trio.simulators.book.book import Split
from greeks_trio.simulators.book.dates import (
    FRIDAY,
    coming_month,
    nth_weekday,
    third_friday,
)
from greeks_trio.simulators.book.listings import (
    Deliverable,
    IbkrListing,
    TastytradeListing,
)
from greeks_trio.simulators.book.makers import Maker
from greeks_trio.simulators.market import SimulatedOption, Underlying

SPLIT_AT_S: Final = 6.0
# Ten old shares become one new share.
_REVERSE_SPLIT: Final = 0.1
# The last trade of this share is three hours old; only its quote lives.
_QUIET_S: Final = 10_800.0


@dataclass(frozen=True, slots=True)
class American:
    """The instruments that `make_american` made.

    Attributes:
        apple: The share beside which there is a CFD.
        royal: The share that is listed in New York and in Toronto.
        sap: The receipt in New York of a share in Frankfurt.
        splitting: The share that is split.
        others: Positions at Tastytrade without options; one cannot be identified.
        both: Options that both brokers' accounts hold.
        tastytrade: Options that only Tastytrade's accounts hold.
    """

    apple: Underlying
    royal: Underlying
    sap: Underlying
    splitting: Underlying
    others: tuple[Underlying, ...]
    shares: tuple[Underlying, ...]
    both: tuple[SimulatedOption, ...]
    ibkr: tuple[SimulatedOption, ...]
    tastytrade: tuple[SimulatedOption, ...]
    split: Split


def make_american(maker: Maker, today: date) -> American:
    """Make the shares and the options that the OCC clears."""
    month = coming_month(today, FRIDAY, 3)
    standard, weekly = third_friday(month), nth_weekday(month, FRIDAY, 4)
    apple = maker.share("AAPL", 271.5, conid=265598)
    royal = maker.share("RY", 152.4, conid=4458964)
    sap = maker.share("SAP", 248.0, at_tastytrade=False)
    spy = maker.share("SPY", 668.0, conid=756733, listing=_fund("SPY"))
    berkshire = maker.share("BRK/B", 489.0, listing=_share("BRK B"))
    berkshire.root = "BRKB"
    quiet = maker.share("SNOW", 228.0, tastytrade=_quiet("SNOW"))
    alibaba = maker.share("BABA", 142.0)
    spx = _index(maker, "SPX", 6690.0, conid=416904)
    vix = _index(maker, "VIX", 17.4, conid=13455763)
    splitting = maker.share("LCID", 2.4)
    both = (
        maker.us_option(spy, standard, "C", Decimal(670)),
        maker.us_option(spy, weekly, "P", Decimal("660.5")),
        maker.us_option(berkshire, standard, "C", Decimal(490)),
        maker.us_option(spx, standard, "P", Decimal(6600), root="SPXW"),
    )
    listed_twice = maker.us_option(apple, standard, "P", Decimal("267.5"))
    at_ibkr = (
        listed_twice,
        maker.twin(listed_twice),
        maker.us_option(royal, standard, "C", Decimal(155)),
        maker.us_option(sap, standard, "C", Decimal(250)),
        maker.us_option(spx, standard, "C", Decimal(6800)),
        maker.us_option(vix, standard, "C", Decimal(20)),
        maker.us_option(vix, weekly, "P", Decimal(16), root="VIXW"),
    )
    cash = Deliverable(kind="Cash", amount=Decimal(250))
    at_tastytrade = (
        maker.us_option(quiet, standard, "C", Decimal(230)),
        maker.us_option(alibaba, standard, "C", Decimal(145)),
        # Adjusted: it delivers more than a hundred shares, and cash.
        maker.us_option(
            alibaba,
            standard,
            "C",
            Decimal(145),
            root="BABA2",
            deliverables=(_shares("BABA", 107), cash),
        ),
        maker.us_option(vix, standard, "P", Decimal(15)),
    )
    return American(
        apple,
        royal,
        sap,
        splitting,
        (_bitcoin(maker), _unreadable(maker)),
        (apple, royal, splitting),
        both,
        at_ibkr,
        at_tastytrade,
        _split(maker, splitting, standard),
    )


def _split(maker: Maker, shares: Underlying, expiration: date) -> Split:
    """Make the option that becomes another one, and the adjusted one."""
    before = maker.us_option(shares, expiration, "C", Decimal("2.5"))
    basket = maker.share("LCID1", shares.price, at_tastytrade=False)
    basket.symbol = "LCID1"
    after = maker.us_option(
        basket,
        expiration,
        "C",
        Decimal("2.5"),
        root="LCID1",
        conid=before.conid,
        deliverables=(_shares("LCID", 10),),
    )
    return Split(at_s=SPLIT_AT_S, before=before, after=after, ratio=_REVERSE_SPLIT)


def _shares(symbol: str, amount: int) -> Deliverable:
    return Deliverable(kind="Shares", amount=Decimal(amount), symbol=symbol)


def _share(ticker: str) -> IbkrListing:
    return IbkrListing(description=ticker, asset_class="STK", ticker=ticker)


def _fund(ticker: str) -> IbkrListing:
    return IbkrListing(
        description=ticker, asset_class="STK", ticker=ticker, exchange="ARCA"
    )


def _quiet(symbol: str) -> TastytradeListing:
    return TastytradeListing(
        symbol=symbol,
        instrument_type="Equity",
        underlying_symbol=symbol,
        streamer_symbol=symbol,
        multiplier=1,
        trade_age_s=_QUIET_S,
    )


def _bitcoin(maker: Maker) -> Underlying:
    coin = TastytradeListing(
        symbol="BTC/USD",
        instrument_type="Cryptocurrency",
        underlying_symbol="BTC/USD",
        streamer_symbol="BTC/USD:CXTALP",
        multiplier=1,
        position_streamer_symbol="named",
    )
    return maker.share("BTC/USD", 91_000.0, tastytrade=coin)


def _unreadable(maker: Maker) -> Underlying:
    symbol = "ZVZZT SPECIAL 17"
    odd = TastytradeListing(
        symbol=symbol,
        instrument_type="Equity Option",
        underlying_symbol="ZVZZT",
        streamer_symbol=symbol,
    )
    return maker.share(symbol, 1.25, tastytrade=odd)


def _index(maker: Maker, symbol: str, price: float, *, conid: int) -> Underlying:
    """Make an index: IBKR sends only its mark, and dxFeed sends nothing of the VIX."""
    is_silent = symbol == "VIX"
    return maker.share(
        symbol,
        price,
        conid=conid,
        listing=IbkrListing(
            description=symbol,
            asset_class="IND",
            ticker=symbol,
            exchange="CBOE",
            prices="mark" if is_silent else "all",
        ),
        tastytrade=TastytradeListing(
            symbol=symbol,
            instrument_type="Index",
            underlying_symbol=symbol,
            streamer_symbol=symbol,
            multiplier=1,
            prices="none" if is_silent else "all",
        ),
    )
