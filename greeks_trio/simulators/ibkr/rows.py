"""Contracts in the format of the gateway's REST interface.  Pure.

Source: IBKR Client Portal API, "Contract"; OpenAPI 2.28.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from greeks_trio.model.contracts import OptionTerms, plain
from greeks_trio.simulators.market import SimulatedOption, Underlying

Row = dict[str, Any]

_EXCHANGES: Final = "SMART,AMEX,CBOE,PHLX,PSE,BOX,ISE,IBUSOPT"


def security_row(instrument: SimulatedOption | Underlying) -> Row:
    """Return a contract as `/trsrv/secdef` and the rows of positions show it."""
    row: Row = {
        "conid": instrument.conid,
        "currency": "USD",
        "time": 26,
        "chineseName": "&#x6A21;&#x62DF;",
        "allExchanges": _EXCHANGES,
        "countryCode": "US",
        "isUS": True,
        "isEventContract": False,
    }
    if isinstance(instrument, Underlying):
        return row | _share_terms(instrument)
    return row | _option_terms(instrument)


def search_row(underlying: Underlying, options: Iterable[SimulatedOption]) -> Row:
    """Return an underlying as `/iserver/secdef/search` finds it."""
    months = dict.fromkeys(
        month_code(each.terms)
        for each in sorted(options, key=lambda each: each.terms.expiration)
        if each.underlying is underlying
    )
    symbol = ibkr_symbol(underlying)
    return {
        "conid": str(underlying.conid),
        "companyHeader": f"{symbol} - NYSE",
        "companyName": symbol,
        "symbol": symbol,
        "description": "NYSE",
        "restricted": None,
        "sections": [
            {"secType": "IND" if underlying.symbol == "SPX" else "STK"},
            {
                "secType": "OPT",
                "months": ";".join(months),
                "exchange": _EXCHANGES.replace(",", ";"),
            },
        ],
    }


def option_info_row(option: SimulatedOption) -> Row:
    """Return an option as `/iserver/secdef/info` lists it."""
    terms = option.terms
    return {
        "conid": option.conid,
        "symbol": ibkr_symbol(option.underlying),
        "secType": "OPT",
        "exchange": "SMART",
        "listingExchange": None,
        "right": right(terms),
        "strike": float(terms.strike),
        "currency": "USD",
        "cusip": None,
        "coupon": "No Coupon",
        "desc1": ibkr_symbol(option.underlying),
        "desc2": f"{terms.expiration:%b %d '%y} {plain(terms.strike):f} "
        + ("Call" if right(terms) == "C" else "Put"),
        "maturityDate": f"{terms.expiration:%Y%m%d}",
        "multiplier": "100",
        "tradingClass": terms.root,
        "validExchanges": _EXCHANGES,
    }


def underlying_info_row(underlying: Underlying) -> Row:
    """Return an underlying as `/iserver/secdef/info` lists it."""
    return {
        "conid": underlying.conid,
        "symbol": ibkr_symbol(underlying),
        "secType": "IND" if underlying.symbol == "SPX" else "STK",
        "exchange": "SMART",
        "listingExchange": "NYSE",
        "right": "?",
        "strike": 0.0,
        "currency": "USD",
        "maturityDate": None,
        "multiplier": "",
        "tradingClass": ibkr_symbol(underlying),
        "validExchanges": _EXCHANGES,
    }


def contract_info_row(instrument: SimulatedOption | Underlying) -> Row:
    """Return a contract as `/iserver/contract/{conid}/info` shows it."""
    row: Row = {
        "con_id": instrument.conid,
        "currency": "USD",
        "valid_exchanges": _EXCHANGES,
        "exchange": "SMART",
    }
    if isinstance(instrument, Underlying):
        return row | {
            "symbol": ibkr_symbol(instrument),
            "instrument_type": "IND" if instrument.symbol == "SPX" else "STK",
            "underlying_con_id": 0,
            "maturity_date": None,
            "right": "?",
            "strike": 0.0,
            "multiplier": None,
        }
    terms = instrument.terms
    return row | {
        "symbol": ibkr_symbol(instrument.underlying),
        "local_symbol": instrument.contract.contract_key,
        "instrument_type": "OPT",
        "trading_class": terms.root,
        "underlying_con_id": instrument.underlying.conid,
        "maturity_date": f"{terms.expiration:%Y%m%d}",
        "right": right(terms),
        "strike": float(terms.strike),
        "multiplier": "100",
    }


def contract_description(instrument: SimulatedOption | Underlying) -> str:
    """Return ``SPY    JAN2025 440 C [SPY   250117C00440000 100]``.

    Some contracts have fewer spaces, as at the real gateway.
    """
    if isinstance(instrument, Underlying):
        return ibkr_symbol(instrument)
    terms = instrument.terms
    month = f"{terms.expiration:%b%Y}".upper()
    key = str(instrument.contract.contract_key)
    root = f"{terms.root:<6}"
    if instrument.conid % 3 == 0:
        key, root = f"{terms.root:<5}{key[6:]}".replace("  ", " "), terms.root
    return f"{root} {month} {plain(terms.strike):f} {right(terms)} [{key} 100]"


def month_code(terms: OptionTerms) -> str:
    """Return ``JAN25``."""
    return f"{terms.expiration:%b%y}".upper()


def right(terms: OptionTerms) -> str:
    """Return ``C`` or ``P``."""
    return "C" if terms.option_type == "call" else "P"


def ibkr_symbol(underlying: Underlying) -> str:
    """Return IBKR's spelling: ``BRK B`` for BRK/B."""
    return underlying.symbol.replace("/", " ")


def _share_terms(underlying: Underlying) -> Row:
    symbol = ibkr_symbol(underlying)
    return {
        "listingExchange": "NYSE",
        "name": f"{symbol} Oil&amp;Gas",
        "assetClass": "IND" if underlying.symbol == "SPX" else "STK",
        "expiry": None,
        "lastTradingDay": None,
        "putOrCall": None,
        "strike": "0",
        "multiplier": 0.0,
        "ticker": symbol,
        "undConid": 0,
        "type": "COMMON",
        "hasOptions": True,
        "fullName": symbol,
    }


def _option_terms(option: SimulatedOption) -> Row:
    terms, symbol = option.terms, ibkr_symbol(option.underlying)
    day = f"{terms.expiration:%Y%m%d}"
    return {
        "listingExchange": "AMEX",
        "name": f"{symbol} Oil&amp;Gas",
        "assetClass": "OPT",
        "expiry": day,
        "lastTradingDay": day,
        "putOrCall": right(terms),
        "multiplier": 100.0,
        "strike": f"{plain(terms.strike):f}",
        "ticker": symbol,
        "undConid": option.underlying.conid,
        "undComp": f"{symbol} Oil&amp;Gas",
        "undSym": symbol,
        "type": "",
        "hasOptions": False,
        "fullName": _full_name(option),
    }


def _full_name(option: SimulatedOption) -> str:
    terms = option.terms
    kind = "Call" if right(terms) == "C" else "Put"
    return (
        f"{ibkr_symbol(option.underlying)} {terms.expiration:%b%d'%y} "
        f"{plain(terms.strike):f} {kind}"
    )
