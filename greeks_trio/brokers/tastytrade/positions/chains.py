"""Tastytrade's lists of futures options -> the symbols of watched ones.  Pure.

A watched option has only our key.  The list of products says to which future its trading
class belongs, and the chain of that future has the symbols.

Source: https://developer.tastytrade.com, "Instruments"
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec
from msgspec import Raw

from greeks_trio.brokers.tastytrade.positions.fields import as_number, streamer_symbol
from greeks_trio.brokers.tastytrade.positions.symbols import exchange_of, future_by_rule
from greeks_trio.model.contracts import (
    ContractKey,
    OptionContract,
    StreamerSymbol,
    parse_future_option_key,
)
from greeks_trio.model.instruments import format_future_key, parse_future

_ODD: Final = (msgspec.DecodeError, UnicodeError, RecursionError)


class WatchedOption(msgspec.Struct, frozen=True):
    """A watched futures option and its symbols.

    ``underlying_symbol`` is that of its future, `None` if it is not known.
    """

    contract: OptionContract
    symbol: StreamerSymbol
    underlying_symbol: StreamerSymbol | None


class OptionChain(msgspec.Struct, rename="kebab"):
    """The page of the options on one product; each expiration is read on its own."""

    option_chains: list[_Subchain]


class _Subchain(msgspec.Struct):
    expirations: list[Raw]


class _Future(msgspec.Struct):
    code: str


class _Product(msgspec.Struct, rename="kebab"):
    root_symbol: str
    future_product: _Future


class _Expiration(msgspec.Struct, rename="kebab"):
    option_root_symbol: str
    expiration_date: str
    underlying_symbol: str
    strikes: list[_Strike]


class _Strike(msgspec.Struct, rename="kebab"):
    strike_price: object = None
    call_streamer_symbol: object = None
    put_streamer_symbol: object = None


def read_products(items: Iterable[Raw]) -> dict[str, str]:
    """Return the code of the future by the trading class, such as ``ES`` for ``EW3``."""
    products: dict[str, str] = {}
    for item in items:
        try:
            product = msgspec.json.decode(item, type=_Product)
        except _ODD:
            continue
        trading_class = product.root_symbol.strip("/ ")
        products.setdefault(trading_class, product.future_product.code)
    return products


def find_in_chain(key: ContractKey, chain: OptionChain) -> WatchedOption | None:
    """Return the option of this key, `None` if the chain does not have it."""
    terms = parse_future_option_key(key)
    for raw in (raw for each in chain.option_chains for raw in each.expirations):
        try:
            found = msgspec.json.decode(raw, type=_Expiration)
            future = parse_future(found.underlying_symbol, not_before=terms.expiration)
        except (*_ODD, ValueError):
            continue
        is_it = (found.option_root_symbol, found.expiration_date) == (
            terms.root,
            terms.expiration.isoformat(),
        )
        for strike in found.strikes if is_it else ():
            is_call = terms.option_type == "call"
            symbol = streamer_symbol(
                strike.call_streamer_symbol if is_call else strike.put_streamer_symbol
            )
            if as_number(strike.strike_price) == terms.strike and symbol is not None:
                contract = OptionContract(
                    contract_key=key,
                    underlying=format_future_key(future),
                    expiration=terms.expiration,
                    strike=terms.strike,
                    option_type=terms.option_type,
                    kind="future_option",
                    multiplier=None,
                    exchange=exchange_of(symbol),
                )
                underlying = future_by_rule(future, exchange_of(symbol))
                return WatchedOption(contract, symbol, underlying)
    return None
