"""Futures products, and the listings of options on futures.  Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Literal

from greeks_trio.simulators.book.dates import month_code, month_name
from greeks_trio.simulators.book.keys import Right, number
from greeks_trio.simulators.book.listings import IbkrListing, TastytradeListing
from greeks_trio.simulators.market import Underlying

# How IBKR writes a futures option: with its class in parentheses, with its own symbol in
# brackets, or with neither, for the class that has the name of the product.
Spelling = Literal["class", "bracket", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A product of a futures exchange.

    Attributes:
        root: The exchange's own name, which Tastytrade uses too: 6E.
        ibkr: IBKR's name: EUR.
        streamer_exchange: dxFeed's suffix: XCME.
        in_cents: Whether prices are in cents.
        index_conid: IBKR's conid of the index behind the future.
    """

    root: str
    ibkr: str
    exchange: str
    streamer_exchange: str
    multiplier: Decimal
    price: float
    decimals: int = 2
    in_cents: bool = False
    index_conid: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FutureOption:
    """A futures option: its terms, and the way in which IBKR writes it.

    Attributes:
        root: The trading class.
        month: The contract month; that of the expiration unless it is named.
        bracket: The text in IBKR's brackets, without the multiplier.
        long_years: Whether Tastytrade writes years with two digits.
    """

    future: Underlying
    product: Product
    root: str
    expiration: date
    right: Right
    strike: Decimal
    spelling: Spelling = "class"
    month: date | None = None
    bracket: str = ""
    long_years: bool = False
    is_always_cold: bool = False
    has_text_conid: bool = False
    is_page_lean: bool = False
    position_streamer_symbol: Literal["named", "null", "absent"] = "named"


def ibkr_future_option(wanted: FutureOption) -> IbkrListing:
    """Return IBKR's listing of a futures option."""
    product = wanted.product
    month, strike = month_name(wanted.month or wanted.expiration), number(wanted.strike)
    description = f"{product.ibkr:<6} {month} {strike} {wanted.right}"
    if wanted.spelling == "class":
        description += f" ({wanted.root})"
    elif wanted.spelling == "bracket":
        description += f" [{wanted.bracket} {number(product.multiplier)}]"
    return IbkrListing(
        description=description,
        asset_class="FOP",
        ticker=product.ibkr,
        root=wanted.root,
        exchange=product.exchange,
        multiplier=product.multiplier,
        magnification=2 if product.in_cents else 0,
        decimals=product.decimals,
        expiry=wanted.expiration,
        right=wanted.right,
        strike=wanted.strike,
        underlying_conid=wanted.future.conid,
        underlying_ticker=product.ibkr,
        is_always_cold=wanted.is_always_cold,
        has_text_conid=wanted.has_text_conid,
        knows_underlying_early=False,
    )


def tastytrade_future_option(wanted: FutureOption) -> TastytradeListing:
    """Return Tastytrade's listing of a futures option."""
    product, future = wanted.product, wanted.future
    month = wanted.month or wanted.expiration
    letter, strike = month_code(month), number(wanted.strike)
    year = f"{month.year % 100:02d}" if wanted.long_years else f"{month.year % 10}"
    short = future.symbol[1:-2]
    own = f"{short}{future.symbol[-2:] if wanted.long_years else future.symbol[-1]}"
    code = f"{wanted.root}{letter}{year}"
    day = f"{wanted.expiration:%y%m%d}"
    return TastytradeListing(
        symbol=f"./{own:<5}{code:<6}{day}{wanted.right}{strike}"
        if not wanted.long_years
        else f"./{own}{code} {day}{wanted.right}{strike}",
        instrument_type="Future Option",
        underlying_symbol=f"/{short}{future.symbol[-1]}",
        streamer_symbol=f"./{wanted.root}{letter}{month.year % 100:02d}{wanted.right}"
        f"{strike}:{product.streamer_exchange}",
        multiplier=number(product.multiplier),
        exchange=product.exchange,
        position_streamer_symbol=wanted.position_streamer_symbol,
        is_page_lean=wanted.is_page_lean,
    )
