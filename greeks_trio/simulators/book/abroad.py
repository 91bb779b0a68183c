"""The part of the real book that only IBKR has: other countries and other instruments."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from greeks_trio.simulators.book.american import American
from greeks_trio.simulators.book.dates import (
    FRIDAY,
    coming_month,
    month_name,
    nth_weekday,
    third_friday,
)
from greeks_trio.simulators.book.keys import Right, number, occ_key
from greeks_trio.simulators.book.listings import IbkrListing
from greeks_trio.simulators.book.makers import Maker
from greeks_trio.simulators.market import SimulatedOption, Underlying


@dataclass(frozen=True, slots=True)
class Abroad:
    """The instruments that `make_abroad` made.

    Attributes:
        shares: Shares of other markets.
        options: Options of other exchanges.
        others: A CFD, bonds, an event contract: nothing to stream.
        unreadable: A row that no answer of IBKR identifies.
    """

    shares: tuple[Underlying, ...]
    options: tuple[SimulatedOption, ...]
    others: tuple[Underlying, ...]
    unreadable: Underlying


def make_abroad(maker: Maker, today: date, american: American) -> Abroad:
    """Make everything that is neither American nor a future."""
    day = third_friday(coming_month(today, FRIDAY, 3))
    toronto = _share(maker, "RY", 209.6, exchange="TSE", currency="CAD", country="CA")
    frankfurt = _share(
        maker, "SAP", 214.0, exchange="IBIS", currency="EUR", country="DE"
    )
    london = maker.share(
        "VOD",
        72.5,
        at_tastytrade=False,
        listing=_pence("VOD"),
    )
    stoxx = _index(maker, "ESTX50", 5790.0)
    dax = _index(maker, "DAX", 23_400.0)
    options = (
        # A Canadian option has a symbol as if the OCC cleared it.
        _canadian(maker, toronto, day, "C", Decimal(210)),
        # On the day of an American option, on a share of the same name.
        _eurex(maker, frankfurt, day, "C", Decimal(250), code="SAP", size=Decimal(100)),
        _eurex(maker, stoxx, day, "P", Decimal(5700), code="OESX", size=Decimal(10)),
        # Its row never names a multiplier; only the bracket does.
        _eurex(maker, stoxx, day, "C", Decimal(5800), code="OESX", size=None),
        _dax_weekly(maker, dax, nth_weekday(day, FRIDAY, 4)),
        _london(maker, london, day, "C", Decimal(72)),
    )
    return Abroad(
        (toronto, frankfurt, london),
        options,
        _others(maker, american, today),
        _unreadable(maker),
    )


def _share(
    maker: Maker,
    ticker: str,
    price: float,
    *,
    exchange: str,
    currency: str,
    country: str,
) -> Underlying:
    listing = IbkrListing(
        description=ticker,
        asset_class="STK",
        ticker=ticker,
        currency=currency,
        exchange=exchange,
        country=country,
    )
    return maker.share(ticker, price, at_tastytrade=False, listing=listing)


def _pence(ticker: str) -> IbkrListing:
    return IbkrListing(
        description=ticker,
        asset_class="STK",
        ticker=ticker,
        currency="GBP",
        exchange="LSE",
        country="GB",
        magnification=2,
    )


def _index(maker: Maker, ticker: str, price: float) -> Underlying:
    listing = IbkrListing(
        description=ticker,
        asset_class="IND",
        ticker=ticker,
        currency="EUR",
        exchange="EUREX",
        country="DE",
    )
    return maker.share(ticker, price, at_tastytrade=False, listing=listing)


def _listing(
    underlying: Underlying,
    day: date,
    right: Right,
    strike: Decimal,
    *,
    bracket: str,
    root: str,
    exchange: str,
    size: Decimal | None,
) -> IbkrListing:
    """Return the listing of an option on a share or index of the same country."""
    home = underlying.ibkr
    assert home is not None  # noqa: S101  every underlying of this book has one
    head = f"{home.ticker:<6} {month_name(day)} {number(strike)} {right}"
    return IbkrListing(
        description=f"{head} [{bracket}]",
        asset_class="OPT",
        ticker=home.ticker,
        root=root,
        currency=home.currency,
        exchange=exchange,
        country=home.country,
        multiplier=size,
        magnification=home.magnification,
        expiry=day,
        right=right,
        strike=strike,
        underlying_conid=underlying.conid,
        underlying_ticker=home.ticker,
    )


def _canadian(
    maker: Maker, share: Underlying, day: date, right: Right, strike: Decimal
) -> SimulatedOption:
    bracket = f"{occ_key(share.symbol, day, right, strike)} 100"
    listing = _listing(
        share,
        day,
        right,
        strike,
        bracket=bracket,
        root=share.symbol,
        exchange="CDE",
        size=Decimal(100),
    )
    return maker.foreign_option(share, listing)


def _eurex(
    maker: Maker,
    underlying: Underlying,
    day: date,
    right: Right,
    strike: Decimal,
    *,
    code: str,
    size: Decimal | None,
) -> SimulatedOption:
    bracket = (
        f"{right} {code} {day:%Y%m%d} {number(strike)} M {number(size or Decimal(10))}"
    )
    listing = _listing(
        underlying,
        day,
        right,
        strike,
        bracket=bracket,
        root=code,
        exchange="EUREX",
        size=size,
    )
    return maker.foreign_option(underlying, listing)


def _dax_weekly(maker: Maker, dax: Underlying, day: date) -> SimulatedOption:
    """Make an option whose description is only its symbol, without brackets."""
    strike = Decimal(23_000)
    listing = IbkrListing(
        description=f"P ODX4 {day:%Y%m%d} {number(strike)} W",
        asset_class="OPT",
        ticker="DAX",
        root="ODX4",
        currency="EUR",
        exchange="EUREX",
        country="DE",
        multiplier=Decimal(5),
        expiry=day,
        right="P",
        strike=strike,
        underlying_conid=dax.conid,
        underlying_ticker="DAX",
    )
    return maker.foreign_option(dax, listing)


def _london(
    maker: Maker, share: Underlying, day: date, right: Right, strike: Decimal
) -> SimulatedOption:
    """Make an option that is quoted in pence, on a thousand shares."""
    bracket = f"{right} VOD {day:%Y%m%d} {number(strike)} M 1000"
    listing = _listing(
        share,
        day,
        right,
        strike,
        bracket=bracket,
        root="VOD",
        exchange="ICEEU",
        size=Decimal(1000),
    )
    return maker.foreign_option(share, listing)


def _others(maker: Maker, american: American, today: date) -> tuple[Underlying, ...]:
    apple = american.apple
    cfd = IbkrListing(
        description="AAPL",
        asset_class="CFD",
        ticker="AAPL",
        exchange="SMART",
        underlying_conid=apple.conid,
    )
    treasury = IbkrListing(
        description=f"T 4 1/8 02/15/{today.year + 9}",
        asset_class="BOND",
        ticker="T",
        exchange="SMART",
        multiplier=Decimal(10),
        decimals=4,
    )
    corporate = IbkrListing(
        description=f"AAPL 3.85 05/04/{today.year + 16}",
        asset_class="BOND",
        ticker="AAPL",
        exchange="SMART",
        multiplier=Decimal(10),
        decimals=4,
    )
    day = nth_weekday(coming_month(today, FRIDAY, 2), FRIDAY, 2)
    event = IbkrListing(
        description=f"EVNT   {month_name(day)} 3.5 C [EVNT  {day:%y%m%d}C00003500 1]",
        asset_class="OPT",
        ticker="EVNT",
        root="EVNT",
        exchange="FORECASTX",
        multiplier=Decimal(1),
        expiry=day,
        right="C",
        strike=Decimal("3.5"),
        underlying_ticker="EVNT",
        is_event_contract=True,
    )
    return tuple(
        maker.only_at_ibkr(price, listing)
        for price, listing in (
            (apple.price, cfd),
            (98.25, treasury),
            (91.5, corporate),
            (0.43, event),
        )
    )


def _unreadable(maker: Maker) -> Underlying:
    listing = IbkrListing(
        description="ZVZZT  SPECIAL 17",
        asset_class="OPT",
        ticker="ZVZZT",
        exchange="VALUE",
        is_readable=False,
    )
    return maker.only_at_ibkr(1.25, listing)
