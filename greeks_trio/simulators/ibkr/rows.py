"""Contracts in the format of the gateway's REST interface.  Pure.

Source: IBKR Client Portal API, "Contract"; OpenAPI 2.28.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Any, Final

from greeks_trio.simulators.book.keys import number
from greeks_trio.simulators.ibkr.listing import listing_of
from greeks_trio.simulators.market import SimulatedOption, Underlying

Row = dict[str, Any]

_EXCHANGES: Final = "SMART,AMEX,CBOE,PHLX,PSE,BOX,ISE,IBUSOPT"


def security_row(instrument: SimulatedOption | Underlying) -> Row:
    """Return a contract as `/trsrv/secdef` and the rows of positions show it."""
    listing = listing_of(instrument)
    day = None if listing.expiry is None else f"{listing.expiry:%Y%m%d}"
    # Without a definition there is neither a multiplier nor a strike.
    multiplier = None if listing.multiplier is None else float(listing.multiplier)
    is_derivative = listing.underlying_ticker is not None
    row: Row = {
        "conid": instrument.conid,
        "currency": listing.currency,
        "time": 26,
        "chineseName": "&#x6A21;&#x62DF;",
        "allExchanges": _all_exchanges(listing.exchange, listing.country),
        "countryCode": listing.country,
        "isUS": listing.country == "US",
        "isEventContract": listing.is_event_contract,
        "listingExchange": listing.exchange,
        "name": f"{listing.ticker} Oil&amp;Gas",
        "assetClass": listing.asset_class,
        "expiry": day,
        "lastTradingDay": day,
        "putOrCall": listing.right,
        "multiplier": multiplier,
        "strike": number(listing.strike),
        "ticker": listing.ticker,
        "undConid": listing.underlying_conid,
        "type": "" if is_derivative else "COMMON",
        "hasOptions": not is_derivative,
        "fullName": listing.full_name or listing.description,
        "displayRule": {
            "magnification": listing.magnification,
            "displayRuleStep": [
                {
                    "decimalDigits": listing.decimals,
                    "lowerEdge": 0.0,
                    "wholeDigits": 4,
                }
            ],
        },
    }
    if is_derivative:
        row["undComp"] = f"{listing.underlying_ticker} Oil&amp;Gas"
        row["undSym"] = listing.underlying_ticker
    return row if listing.is_readable else row | _NO_DEFINITION


# A contract that IBKR has delisted, or that this login may not see.
_NO_DEFINITION: Final[Row] = {
    "expiry": None,
    "lastTradingDay": None,
    "putOrCall": None,
    "multiplier": None,
    "strike": 0.0,
    "undConid": 0,
    "name": None,
    "fullName": None,
}


def search_row(underlying: Underlying, options: Iterable[SimulatedOption]) -> Row:
    """Return an underlying as `/iserver/secdef/search` finds it."""
    months = dict.fromkeys(
        month_code(each.terms.expiration)
        for each in sorted(options, key=lambda each: each.terms.expiration)
        if each.underlying is underlying
    )
    listing = listing_of(underlying)
    symbol = listing.ticker
    return {
        "conid": str(underlying.conid),
        "companyHeader": f"{symbol} - {listing.exchange}",
        "companyName": symbol,
        "symbol": symbol,
        "description": listing.exchange,
        "restricted": None,
        "sections": [
            {"secType": listing.asset_class},
            {
                "secType": "FOP" if listing.asset_class == "FUT" else "OPT",
                "months": ";".join(months),
                "exchange": _EXCHANGES.replace(",", ";"),
            },
        ],
    }


def option_info_row(option: SimulatedOption) -> Row:
    """Return an option as `/iserver/secdef/info` lists it."""
    listing, day = listing_of(option), option.terms.expiration
    symbol = listing.underlying_ticker or listing.ticker
    word = "Call" if listing.right == "C" else "Put"
    return {
        "conid": option.conid,
        "symbol": symbol,
        "secType": listing.asset_class,
        "exchange": "SMART",
        "listingExchange": None,
        "right": listing.right,
        "strike": float(listing.strike),
        "currency": listing.currency,
        "cusip": None,
        "coupon": "No Coupon",
        "desc1": symbol,
        "desc2": f"{day:%b %d '%y} {number(listing.strike)} {word}",
        "maturityDate": f"{day:%Y%m%d}",
        "multiplier": _multiplier_text(option),
        "tradingClass": listing.root,
        "validExchanges": _all_exchanges(listing.exchange, listing.country),
    }


def underlying_info_row(underlying: Underlying) -> Row:
    """Return an underlying as `/iserver/secdef/info` lists it."""
    listing = listing_of(underlying)
    return {
        "conid": underlying.conid,
        "symbol": listing.ticker,
        "secType": listing.asset_class,
        "exchange": "SMART",
        "listingExchange": listing.exchange,
        "right": "?",
        "strike": 0.0,
        "currency": listing.currency,
        "maturityDate": None if listing.expiry is None else f"{listing.expiry:%Y%m%d}",
        "multiplier": _multiplier_text(underlying),
        "tradingClass": listing.root or listing.ticker,
        "validExchanges": _all_exchanges(listing.exchange, listing.country),
    }


def contract_info_row(instrument: SimulatedOption | Underlying) -> Row:
    """Return a contract as `/iserver/contract/{conid}/info` shows it."""
    listing = listing_of(instrument)
    is_option = isinstance(instrument, SimulatedOption)
    row: Row = {
        "con_id": instrument.conid,
        "currency": listing.currency,
        "valid_exchanges": _all_exchanges(listing.exchange, listing.country),
        "exchange": "SMART",
        "symbol": listing.underlying_ticker or listing.ticker,
        "instrument_type": listing.asset_class,
        "underlying_con_id": listing.underlying_conid,
        "maturity_date": None if listing.expiry is None else f"{listing.expiry:%Y%m%d}",
        "right": listing.right or "?",
        "strike": float(listing.strike),
        "multiplier": _multiplier_text(instrument) or None,
    }
    if is_option:
        row["local_symbol"] = _local_symbol(listing.description)
        row["trading_class"] = listing.root
    return row


def month_code(day: date) -> str:
    """Return ``JAN25``."""
    return f"{day:%b%y}".upper()


def right(option: SimulatedOption) -> str:
    """Return ``C`` or ``P``."""
    return "C" if option.terms.option_type == "call" else "P"


def _local_symbol(description: str) -> str:
    """Return the symbol in the brackets, without the size of the contract."""
    _, bracket, inner = description.partition("[")
    return inner.rstrip("]").rpartition(" ")[0] if bracket else description


def _multiplier_text(instrument: SimulatedOption | Underlying) -> str:
    multiplier = listing_of(instrument).multiplier
    return number(multiplier) if multiplier else ""


def _all_exchanges(exchange: str, country: str) -> str:
    return _EXCHANGES if country == "US" and exchange in ("AMEX", "NYSE") else exchange
