"""Instruments of a simulated Tastytrade: their symbols, and their shapes over REST.

An instrument with a listing has the symbols of its listing; the symbols of all others
follow from their terms.

Source: developer.tastytrade.com, instruments.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Final

from greeks_trio.model.contracts import format_streamer_symbol, plain
from greeks_trio.simulators.market import SimulatedOption, Underlying

_EXPIRES: Final = time(20, 0)

Shape = dict[str, object]


def tasty_symbol(option: SimulatedOption) -> str:
    """Return Tastytrade's symbol: OCC, or future and option code for a futures option."""
    if option.tastytrade is not None:
        return option.tastytrade.symbol
    if option.contract.kind == "option":
        return option.contract.contract_key
    terms = option.terms
    future = option.contract.underlying.removeprefix("/")
    right = "C" if terms.option_type == "call" else "P"
    code = terms.root + future[-2:]
    return (
        f"./{future:<5}{code:<6}{terms.expiration:%y%m%d}{right}{plain(terms.strike):f}"
    )


def streamer_symbol(option: SimulatedOption) -> str:
    """Return dxFeed's symbol, for futures options with two-digit year and exchange."""
    if option.tastytrade is not None:
        return option.tastytrade.streamer_symbol
    if option.contract.kind == "option":
        return format_streamer_symbol(option.terms)
    terms = option.terms
    month = option.contract.underlying[-2]
    right = "C" if terms.option_type == "call" else "P"
    year = terms.expiration.year % 100
    return f"./{terms.root}{month}{year:02d}{right}{plain(terms.strike):f}:XNYM"


def price_symbol(underlying: Underlying) -> str:
    """Return dxFeed's symbol of a share, an index or a future."""
    if underlying.tastytrade is not None:
        return underlying.tastytrade.streamer_symbol
    return underlying.symbol


def future_shape(future: Underlying) -> Shape | None:
    """Return the API's description of a future, `None` for another instrument."""
    listing = future.tastytrade
    if listing is None or listing.instrument_type != "Future":
        return None
    product = listing.underlying_symbol
    day = None if future.ibkr is None else future.ibkr.expiry
    shape: Shape = {
        "symbol": listing.symbol,
        "product-code": product.removeprefix("/"),
        "contract-size": "1.0",
        "tick-size": "0.25",
        "notional-multiplier": str(listing.multiplier),
        "main-fraction": "0.0",
        "sub-fraction": "0.0",
        "display-factor": "0.01",
        "last-trade-date": None if day is None else day.isoformat(),
        "expiration-date": None if day is None else day.isoformat(),
        "closing-only-date": None if day is None else day.isoformat(),
        "active": True,
        "active-month": True,
        "next-active-month": False,
        "is-closing-only": False,
        "exchange": listing.exchange,
        "product-group": product.removeprefix("/"),
        "exchange-symbol": listing.symbol,
        "streamer-exchange-code": listing.streamer_symbol.partition(":")[2],
        "streamer-symbol": listing.streamer_symbol,
        "back-month-first-calendar-symbol": False,
        "is-tradeable": True,
    }
    if listing.is_page_lean:
        del shape["streamer-symbol"]
    return shape


def equity_option_shape(symbol: str, option: SimulatedOption) -> Shape:
    """Return the API's description of an equity or index option."""
    terms = option.terms
    adjusted = option.tastytrade.deliverables if option.tastytrade else ()
    deliverables = [
        {
            "id": number,
            "root-symbol": terms.root,
            "deliverable-type": each.kind,
            "description": f"{each.amount} {each.kind.lower()} of {each.symbol or 'USD'}",
            "amount": f"{each.amount:.1f}",
            "symbol": each.symbol,
            "instrument-type": "Equity" if each.symbol else None,
            "percent": "100",
        }
        for number, each in enumerate(adjusted, start=1)
    ]
    return _option(symbol, option) | {
        **({"deliverables": deliverables} if adjusted else {}),
        "instrument-type": "Equity Option",
        "root-symbol": terms.root,
        "shares-per-contract": int(option.contract.multiplier or 100),
        "option-chain-type": "Non-standard" if adjusted else "Standard",
        "expiration-type": "Weekly",
        "settlement-type": "PM",
        "market-time-instrument-collection": "Equity Option",
    }


def future_option_shape(symbol: str, option: SimulatedOption) -> Shape:
    """Return the API's description of a futures option."""
    terms, future = option.terms, option.contract.underlying
    multiplier = str(Decimal(option.contract.multiplier or 100))
    listing = option.tastytrade
    if listing is not None:
        future, multiplier = listing.underlying_symbol, str(listing.multiplier)
    shape: Shape = _option(symbol, option) | {
        "instrument-type": "Future Option",
        "root-symbol": future[:-2],
        "option-root-symbol": terms.root,
        "product-code": future[1:-2],
        "exchange": "CME",
        "exchange-symbol": symbol.removeprefix("./"),
        "security-exchange": "2",
        "sx-id": "0",
        "is-vanilla": True,
        "is-primary-deliverable": True,
        "is-confirmed": True,
        "is-exercisable-weekly": False,
        "future-price-ratio": "1.0",
        "multiplier": multiplier,
        "underlying-count": "1.0",
        "notional-value": multiplier,
        "display-factor": "0.01",
        "settlement-type": "Future",
        "strike-factor": "1.0",
        "maturity-date": terms.expiration.isoformat(),
        "last-trade-time": "0",
    }
    if listing is not None:
        shape |= {"underlying-symbol": future, "exchange": listing.exchange}
        if listing.is_page_lean:
            del shape["streamer-symbol"]
    return shape


def _option(symbol: str, option: SimulatedOption) -> Shape:
    terms = option.terms
    expires_at = expiry_instant(terms.expiration)
    return {
        "symbol": symbol,
        "streamer-symbol": streamer_symbol(option),
        "underlying-symbol": option.contract.underlying,
        "strike-price": f"{terms.strike:.1f}"
        if terms.strike % 1 == 0
        else str(terms.strike),
        "option-type": "C" if terms.option_type == "call" else "P",
        "expiration-date": terms.expiration.isoformat(),
        "days-to-expiration": (terms.expiration - datetime.now(UTC).date()).days,
        "expires-at": expires_at,
        "stops-trading-at": expires_at,
        "exercise-style": "American",
        "active": True,
        "is-closing-only": False,
    }


def expiry_instant(day: date) -> str:
    """Return the time of expiry in the API's format."""
    instant = datetime.combine(day, _EXPIRES, tzinfo=UTC)
    return instant.isoformat(timespec="milliseconds")
