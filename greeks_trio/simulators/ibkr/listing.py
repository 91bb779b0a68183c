"""The listing of every simulated instrument at IBKR."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from greeks_trio.simulators.book.keys import number
from greeks_trio.simulators.book.listings import IbkrListing
from greeks_trio.simulators.market import SimulatedOption, Underlying

_INDICES: Final = frozenset({"SPX", "VIX"})


def listing_of(instrument: SimulatedOption | Underlying) -> IbkrListing:
    """Return the instrument's own listing, or that of a US share or an option on one."""
    if instrument.ibkr is not None:
        return instrument.ibkr
    if isinstance(instrument, Underlying):
        return _share(instrument)
    return _option(instrument)


def ibkr_symbol(underlying: Underlying) -> str:
    """Return IBKR's spelling: ``BRK B`` for BRK/B."""
    if underlying.ibkr is not None:
        return underlying.ibkr.ticker
    return underlying.symbol.replace("/", " ")


def _share(share: Underlying) -> IbkrListing:
    symbol = ibkr_symbol(share)
    is_index = share.symbol in _INDICES
    return IbkrListing(
        description=symbol,
        asset_class="IND" if is_index else "STK",
        ticker=symbol,
        root=symbol,
        full_name=symbol,
    )


def _option(option: SimulatedOption) -> IbkrListing:
    terms, symbol = option.terms, ibkr_symbol(option.underlying)
    right: Final = "C" if terms.option_type == "call" else "P"
    word = "Call" if right == "C" else "Put"
    strike = number(terms.strike)
    return IbkrListing(
        description=_occ_description(option, right),
        asset_class="OPT",
        ticker=symbol,
        root=terms.root,
        exchange="AMEX",
        multiplier=Decimal(100),
        expiry=terms.expiration,
        right=right,
        strike=terms.strike,
        underlying_conid=option.underlying.conid,
        underlying_ticker=symbol,
        full_name=f"{symbol} {terms.expiration:%b%d'%y} {strike} {word}",
    )


def _occ_description(option: SimulatedOption, right: str) -> str:
    """Return ``SPY    JAN2025 440 C [SPY   250117C00440000 100]``.

    Some contracts have fewer spaces, as at the real gateway.
    """
    terms = option.terms
    month = f"{terms.expiration:%b%Y}".upper()
    key = str(option.contract.contract_key)
    root = f"{terms.root:<6}"
    if option.conid % 3 == 0:
        key, root = f"{terms.root:<5}{key[6:]}".replace("  ", " "), terms.root
    return f"{root} {month} {number(terms.strike)} {right} [{key} 100]"
