"""Tastytrade's positions -> records.  Pure.

Source: https://developer.tastytrade.com, "Account Positions" and "Symbology"
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import Final

import msgspec

from greeks_trio.model.contracts import (
    ContractKey,
    OptionContract,
    contract_from_occ,
    format_future_option_key,
    parse_future_option_key,
    strip_month_code,
    underlying_symbol,
)
from greeks_trio.model.records import Position, PositionKind

# Without the options: those are recognised by their symbols.
_KINDS: Final[dict[str, PositionKind]] = {
    "Equity": "equity",
    "Future": "future",
}
# ``./CLJ6 LOJ6  260317P56``: the codes of the future and of the option, the terms.
_FUTURE_OPTION: Final = re.compile(
    # The future's code is padded to five, so a code of five leaves no space.
    r"\./([A-Z0-9]{2,5}) *([A-Z0-9]{3,6}) *(\d{6}[CP]\d+(?:\.\d+)?)"
)


class Holding(msgspec.Struct, frozen=True):
    """A position and the symbol under which Tastytrade knows the instrument."""

    position: Position
    symbol: str


class _Named(msgspec.Struct):
    symbol: str


class _Item(msgspec.Struct, rename="kebab"):
    symbol: str
    instrument_type: str
    quantity: Decimal
    quantity_direction: str | None = None
    underlying_symbol: str | None = None
    # int, "100" or "0.5"; anything else must not cost the position
    multiplier: object = None


def parse_position(account_id: str, item: bytes | msgspec.Raw) -> Holding:
    """Return one item of the positions endpoint.

    An option whose symbol we cannot read is of kind ``other``: known, not streamed.

    Raises:
        ValueError: The item has no symbol or no quantity.
    """
    try:
        found = msgspec.json.decode(item, type=_Item)
    except (msgspec.DecodeError, RecursionError) as exc:
        raise ValueError(str(exc)) from exc
    plain = _plain_position(account_id, found)
    contract = _contract(found)
    if contract is None:
        return Holding(plain, found.symbol)
    position = msgspec.structs.replace(
        plain,
        contract_key=contract.contract_key,
        kind=contract.kind,
        underlying=contract.underlying,
        expiration=contract.expiration,
        strike=contract.strike,
        option_type=contract.option_type,
    )
    return Holding(position, found.symbol)


def symbol_of(item: bytes | msgspec.Raw) -> str | None:
    """Return the symbol of an item that `parse_position` refuses, if it has one."""
    try:
        return msgspec.json.decode(item, type=_Named).symbol
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def future_contract(symbol: str, underlying: str | None) -> OptionContract | None:
    """Return the contract of a futures option, `None` if the symbol is none."""
    found = _FUTURE_OPTION.fullmatch(symbol.strip())
    if found is None:
        return None
    _, code, terms_text = found.groups()
    try:
        terms = parse_future_option_key(f"./{strip_month_code(code)} {terms_text}")
    except ValueError:  # such as an impossible date
        return None
    return OptionContract(
        contract_key=format_future_option_key(terms),
        underlying=underlying or symbol.removeprefix(".").partition(" ")[0],
        expiration=terms.expiration,
        strike=terms.strike,
        option_type=terms.option_type,
        kind="future_option",
    )


def _plain_position(account_id: str, item: _Item) -> Position:
    return Position(
        broker="tastytrade",
        account_id=account_id,
        contract_key=ContractKey(item.symbol.strip()),
        kind=_KINDS.get(item.instrument_type, "other"),
        quantity=_signed(item),
        multiplier=_multiplier(item.multiplier),
        underlying=underlying_symbol(item.underlying_symbol or item.symbol),
    )


def _contract(item: _Item) -> OptionContract | None:
    """Return the contract of an option; `None` for other kinds and for unreadable symbols."""
    if item.instrument_type == "Future Option":
        return future_contract(item.symbol, item.underlying_symbol)
    if item.instrument_type != "Equity Option":
        return None
    try:
        return contract_from_occ(item.symbol, item.underlying_symbol)
    except ValueError:
        return None


def _signed(item: _Item) -> Decimal:
    """Return the quantity, negative when short."""
    quantity = item.quantity
    if not quantity.is_finite():
        raise ValueError("the quantity is not a number")
    match item.quantity_direction:
        case "Long":
            return abs(quantity)
        case "Short":
            return -abs(quantity)
        case "Zero":
            return Decimal(0)
        case None if quantity == 0:
            return quantity
    raise ValueError("long or short is not known")


def _multiplier(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        multiplier = Decimal(str(value))
    except InvalidOperation:
        return None
    return multiplier if multiplier.is_finite() else None
