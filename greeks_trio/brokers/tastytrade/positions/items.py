"""Tastytrade's positions -> records.  Pure.

All prices of Tastytrade are in US dollars once they are multiplied by the position's
multiplier, which turns cents, points and index points into dollars.  So the price factor
is 1.  Bonds are quoted in percent of their face value, and their factor is not known.

Source: https://developer.tastytrade.com, "Account Positions" and "Symbology"
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import Final

import msgspec
from msgspec.structs import replace

from greeks_trio.brokers.tastytrade.positions.fields import ItemFields, read_fields
from greeks_trio.brokers.tastytrade.positions.symbols import (
    exchange_of,
    future_of,
    parse_future_option,
)
from greeks_trio.model.contracts import (
    ContractKey,
    OptionContract,
    StreamerSymbol,
    contract_from_occ,
    format_future_option_key,
    parse_occ,
    underlying_symbol,
)
from greeks_trio.model.instruments import (
    broker_key,
    format_future_key,
    parse_future,
    share_key,
)
from greeks_trio.model.records import Position, PositionKind

_BROKER: Final = "tastytrade"
_OTHER_TYPES: Final = (
    *("Bond", "Cryptocurrency", "Currency Pair", "Equity Offering", "Event Contract"),
    *("Fixed Income Security", "Index", "Liquidity Pool", "Warrant"),
)
_KINDS: Final[Mapping[str, PositionKind]] = {
    "Equity": "equity",
    "Equity Option": "option",
    "Future": "future",
    "Future Option": "future_option",
    **dict.fromkeys(_OTHER_TYPES, "other"),
}
_QUOTED_IN_PERCENT: Final = ("Bond", "Fixed Income Security")
_DOLLAR: Final = "USD"
# The symbol of a share, in any of the usual spellings of its class.
_SHARE: Final = re.compile(r"[A-Za-z0-9]{1,10}([./ -][A-Za-z0-9]{1,6}){0,2}", re.ASCII)
# An expired future may be listed for some days more.
_LISTED_AFTER_EXPIRY: Final = timedelta(days=14)


class Holding(msgspec.Struct, frozen=True):
    """A position and the symbols under which Tastytrade knows the instrument.

    Attributes:
        position: Of the kind ``unknown`` if the item could not be read.
        symbol: Tastytrade's symbol, empty if the item has none.
        streamer_symbol: dxFeed's symbol if the item names it.
        identity: The same text for each spelling of the instrument, and for no other.
    """

    position: Position
    symbol: str
    streamer_symbol: StreamerSymbol | None = None
    identity: str = ""


def parse_position(
    account_id: str, item: bytes | msgspec.Raw, *, today: date
) -> Holding:
    """Return one item of the positions endpoint.

    An item that cannot be read is of the kind ``unknown`` and says why.  If only its
    quantity cannot be read, it has the key of its instrument all the same.

    Args:
        account_id: The account of the position.
        item: One object in JSON.
        today: Helps with years of one digit.
    """
    fields = read_fields(item)
    try:
        holding = _READERS[_kind_of(fields, today)](account_id, fields, today)
    except ValueError as exc:
        return _unreadable(account_id, fields, str(exc), today)
    if fields.quantity is not None:
        return holding
    position = replace(
        holding.position,
        kind="unknown",
        description=_description(fields),
        problem=fields.problem,
    )
    return replace(holding, position=position)


def with_quantity(holding: Holding, quantity: Decimal) -> Holding:
    """Return the same holding in another quantity."""
    position = replace(holding.position, quantity=quantity)
    return replace(holding, position=position)


def with_key(holding: Holding, contract_key: ContractKey) -> Holding:
    """Return the same holding under another key."""
    position = replace(holding.position, contract_key=contract_key)
    return replace(holding, position=position)


def own_key(symbol: str) -> ContractKey:
    """Return the key of an instrument that only Tastytrade's symbol identifies."""
    return broker_key(_BROKER, symbol)


def contract_of(position: Position) -> OptionContract:
    """Return the contract of an option.

    Raises:
        ValueError: The position is not that of an option.
    """
    if (
        position.kind not in ("option", "future_option")
        or position.underlying is None
        or position.expiration is None
        or position.strike is None
        or position.option_type is None
    ):
        raise ValueError(f"{position.contract_key} is not an option")
    return OptionContract(
        contract_key=position.contract_key,
        underlying=position.underlying,
        expiration=position.expiration,
        strike=position.strike,
        option_type=position.option_type,
        kind="option" if position.kind == "option" else "future_option",
        multiplier=position.multiplier,
        price_factor=position.price_factor,
        exchange=position.exchange,
    )


def _kind_of(fields: ItemFields, today: date) -> PositionKind:
    """Return the kind by the type of the instrument, otherwise by the symbol's form.

    Raises:
        ValueError: Neither of them tells it.
    """
    if not fields.symbol:
        raise ValueError(fields.problem or "it has no symbol")
    if fields.instrument_type in _KINDS:
        return _KINDS[fields.instrument_type]
    parsers: Mapping[PositionKind, Callable[[], object]] = {
        "option": lambda: parse_occ(fields.symbol),
        "future": lambda: parse_future(fields.symbol, not_before=today),
        "future_option": lambda: parse_future_option(fields.symbol, fields.underlying),
    }
    for kind, parse in parsers.items():
        try:
            parse()
        except ValueError:
            continue
        return kind
    name = fields.instrument_type or "none is given"
    raise ValueError(f"its type of instrument is not known: {name}")


def _read_share(account_id: str, fields: ItemFields, today: date) -> Holding:
    if _SHARE.fullmatch(fields.symbol) is None:
        raise ValueError("the symbol is not that of a share")
    key = share_key(fields.symbol)
    position = replace(
        _plain_position(account_id, fields),
        contract_key=key,
        kind="equity",
        # A share is one unit.
        multiplier=fields.multiplier or Decimal(1),
        underlying=key,
        # One spelling, so that the options on a share class find its share: BRK/B.
        underlying_id=key,
    )
    return Holding(position, fields.symbol, fields.streamer_symbol, key)


def _read_option(account_id: str, fields: ItemFields, today: date) -> Holding:
    contract = contract_from_occ(fields.symbol, fields.underlying)
    key = contract.contract_key
    position = replace(
        _plain_position(account_id, fields),
        contract_key=key,
        kind="option",
        underlying=contract.underlying,
        underlying_id=contract.underlying,
        expiration=contract.expiration,
        strike=contract.strike,
        option_type=contract.option_type,
    )
    return Holding(position, fields.symbol, fields.streamer_symbol, key)


def _read_future(account_id: str, fields: ItemFields, today: date) -> Holding:
    terms = future_of(
        fields.symbol,
        fields.streamer_symbol,
        not_before=fields.expires_on or today - _LISTED_AFTER_EXPIRY,
    )
    key = format_future_key(terms)
    position = replace(
        _plain_position(account_id, fields),
        contract_key=key,
        kind="future",
        # The item names the product as the underlying; the instrument is the future.
        underlying=key,
        underlying_id=fields.symbol,
        expiration=fields.expires_on,
        exchange=exchange_of(fields.streamer_symbol),
    )
    return Holding(position, fields.symbol, fields.streamer_symbol, key)


def _read_future_option(account_id: str, fields: ItemFields, today: date) -> Holding:
    found = parse_future_option(fields.symbol, fields.underlying)
    position = replace(
        _plain_position(account_id, fields),
        contract_key=format_future_option_key(found.terms),
        kind="future_option",
        underlying=format_future_key(found.future),
        underlying_id=found.future_symbol,
        expiration=found.terms.expiration,
        strike=found.terms.strike,
        option_type=found.terms.option_type,
        exchange=exchange_of(fields.streamer_symbol),
    )
    return Holding(position, fields.symbol, fields.streamer_symbol, found.identity)


def _read_other(account_id: str, fields: ItemFields, today: date) -> Holding:
    _, _, quoted_in = fields.symbol.partition("/")
    is_crypto = fields.instrument_type == "Cryptocurrency"
    is_in_percent = fields.instrument_type in _QUOTED_IN_PERCENT
    position = replace(
        _plain_position(account_id, fields),
        currency=quoted_in if is_crypto and quoted_in else _DOLLAR,
        price_factor=None if is_in_percent else Decimal(1),
        description=_description(fields),
    )
    return Holding(position, fields.symbol, fields.streamer_symbol, fields.symbol)


_READERS: Final[Mapping[PositionKind, Callable[[str, ItemFields, date], Holding]]] = {
    "equity": _read_share,
    "option": _read_option,
    "future": _read_future,
    "future_option": _read_future_option,
    "other": _read_other,
}


def _plain_position(account_id: str, fields: ItemFields) -> Position:
    """Return the part of a position that every kind of instrument has."""
    return Position(
        broker=_BROKER,
        account_id=account_id,
        contract_key=own_key(fields.symbol),
        kind="other",
        quantity=fields.quantity,
        multiplier=fields.multiplier,
        currency=_DOLLAR,
        instrument_id=fields.symbol or None,
        price_factor=Decimal(1),
    )


def _unreadable(
    account_id: str, fields: ItemFields, problem: str, today: date
) -> Holding:
    position = replace(
        _plain_position(account_id, fields),
        kind="unknown",
        underlying=_underlying_of_unreadable(fields, today),
        underlying_id=fields.underlying,
        price_factor=None,
        description=_description(fields),
        problem=problem,
    )
    return Holding(position, fields.symbol, fields.streamer_symbol, fields.symbol)


def _underlying_of_unreadable(fields: ItemFields, today: date) -> str | None:
    """Return the key of the underlying if the item names it, so that it is counted there."""
    if fields.underlying is None:
        return None
    if not fields.underlying.startswith("/"):
        return underlying_symbol(fields.underlying)
    try:
        terms = parse_future(fields.underlying, not_before=fields.expires_on or today)
    except ValueError:
        return None
    return format_future_key(terms)


def _description(fields: ItemFields) -> str:
    """Return Tastytrade's words for the instrument."""
    name = fields.symbol or fields.streamer_symbol or fields.underlying
    words = [
        name or "no symbol",
        fields.instrument_type and f"({fields.instrument_type})",
    ]
    return " ".join(filter(None, words))
