"""Instruments of a simulated Tastytrade: their symbols, and their shapes over REST.

Source: developer.tastytrade.com, instruments.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Final

from greeks_trio.model.contracts import format_streamer_symbol, plain
from greeks_trio.simulators.market import SimulatedOption

_EXPIRES: Final = time(20, 0)

Shape = dict[str, object]


def tasty_symbol(option: SimulatedOption) -> str:
    """Return Tastytrade's symbol: OCC, or future and option code for a futures option."""
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
    if option.contract.kind == "option":
        return format_streamer_symbol(option.terms)
    terms = option.terms
    month = option.contract.underlying[-2]
    right = "C" if terms.option_type == "call" else "P"
    year = terms.expiration.year % 100
    return f"./{terms.root}{month}{year:02d}{right}{plain(terms.strike):f}:XNYM"


def equity_option_shape(symbol: str, option: SimulatedOption) -> Shape:
    """Return the API's description of an equity or index option."""
    terms = option.terms
    return _option(symbol, option) | {
        "instrument-type": "Equity Option",
        "root-symbol": terms.root,
        "shares-per-contract": int(option.contract.multiplier or 100),
        "option-chain-type": "Standard",
        "expiration-type": "Weekly",
        "settlement-type": "PM",
        "market-time-instrument-collection": "Equity Option",
    }


def future_option_shape(symbol: str, option: SimulatedOption) -> Shape:
    """Return the API's description of a futures option."""
    terms, future = option.terms, option.contract.underlying
    multiplier = str(Decimal(option.contract.multiplier or 100))
    return _option(symbol, option) | {
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
