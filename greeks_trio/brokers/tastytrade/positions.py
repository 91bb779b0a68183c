"""Tastytrade's positions -> records, and what to subscribe for them.  Pure.

Source: https://developer.tastytrade.com, "Account Positions" and "Symbology"
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Final

import msgspec

from greeks_trio.model.contracts import (
    ContractKey,
    OptionContract,
    OptionTerms,
    StreamerSymbol,
    contract_from_occ,
    format_future_option_key,
    format_streamer_symbol,
    parse_occ,
    parse_tastytrade_future_option,
    underlying_symbol,
)
from greeks_trio.model.positions import Holder, holders_by_contract, open_options
from greeks_trio.model.records import Position, PositionKind

# Without the options: those are recognised by their symbols.
_KINDS: Final[dict[str, PositionKind]] = {
    "Equity": "equity",
    "Future": "future",
}


class Holding(msgspec.Struct, frozen=True):
    """A position and the symbol under which Tastytrade knows the instrument."""

    position: Position
    symbol: str


class Portfolio(msgspec.Struct, frozen=True):
    """What the accounts hold.

    Attributes:
        malformed: How many positions could not be understood and are left out.
    """

    account_ids: tuple[str, ...]
    holdings: tuple[Holding, ...]
    malformed: int = 0

    @property
    def positions(self) -> tuple[Position, ...]:
        """The positions alone."""
        return tuple(holding.position for holding in self.holdings)


class Wanted(msgspec.Struct, frozen=True):
    """A contract to stream, who holds it, and the symbols to subscribe.

    ``underlying_symbol`` is `None` when Tastytrade does not tell it.
    """

    contract: OptionContract
    holders: tuple[Holder, ...]
    symbol: StreamerSymbol
    underlying_symbol: StreamerSymbol | None


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
        ValueError: it does not say what is held, or how much of it.
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


def merge_holdings(holdings: Iterable[Holding]) -> tuple[Holding, ...]:
    """Return one holding per account and contract, in their order, quantities added."""
    merged: dict[tuple[str, ContractKey], Holding] = {}
    for holding in holdings:
        position = holding.position
        place = (position.account_id, position.contract_key)
        if place in merged:
            quantity = merged[place].position.quantity + position.quantity
            position = msgspec.structs.replace(position, quantity=quantity)
        merged[place] = Holding(position, holding.symbol)
    return tuple(merged.values())


def future_symbols(portfolio: Portfolio) -> set[str]:
    """Return the symbols whose streamer symbol only Tastytrade knows.

    Those of the open futures options (``./CLJ6 LOJ6  260317P56``) and of their futures
    (``/CLJ6``).
    """
    symbols: set[str] = set()
    for holding in portfolio.holdings:
        position = holding.position
        if position.kind == "future_option" and position.quantity != 0:
            symbols |= {holding.symbol, position.underlying or ""}
    return symbols - {""}


def wanted_contracts(
    portfolio: Portfolio,
    watchlist: Sequence[ContractKey],
    streamer_symbols: Mapping[str, StreamerSymbol],
) -> tuple[dict[ContractKey, Wanted], list[ContractKey]]:
    """Return what to stream, and the contracts whose streamer symbol is unknown.

    ``streamer_symbols``: those of `future_symbols`, by Tastytrade's symbol.
    """
    held = {
        holding.position.contract_key: holding
        for holding in portfolio.holdings
        if open_options([holding.position])
    }
    wanted: dict[ContractKey, Wanted] = {}
    unknown: list[ContractKey] = []
    for key, holders in holders_by_contract(portfolio.positions, watchlist).items():
        found = (
            _wanted_holding(held[key], holders, streamer_symbols)
            if key in held
            else _wanted_occ(key, holders)
        )
        if found is None:
            unknown.append(key)
        else:
            wanted[key] = found
    return wanted, unknown


def _wanted_holding(
    holding: Holding,
    holders: tuple[Holder, ...],
    streamer_symbols: Mapping[str, StreamerSymbol],
) -> Wanted | None:
    position = holding.position
    if position.kind == "option":
        return _wanted_occ(position.contract_key, holders, position.underlying)
    contract = _future_contract(holding.symbol, position.underlying)
    symbol = streamer_symbols.get(holding.symbol)
    if contract is None or symbol is None:
        return None
    underlying = streamer_symbols.get(contract.underlying)
    return Wanted(contract, holders, symbol, underlying)


def _wanted_occ(
    key: ContractKey, holders: tuple[Holder, ...], underlying: str | None = None
) -> Wanted | None:
    try:
        contract = contract_from_occ(key, underlying)
        symbol = format_streamer_symbol(parse_occ(key))
    except ValueError:
        return None
    return Wanted(contract, holders, symbol, StreamerSymbol(contract.underlying))


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
    """Return the contract of an option; `None` for the rest and what we cannot read."""
    if item.instrument_type == "Future Option":
        return _future_contract(item.symbol, item.underlying_symbol)
    if item.instrument_type != "Equity Option":
        return None
    try:
        return contract_from_occ(item.symbol, item.underlying_symbol)
    except ValueError:
        return None


def _future_contract(symbol: str, underlying: str | None) -> OptionContract | None:
    try:
        terms: OptionTerms = parse_tastytrade_future_option(symbol)
    except ValueError:
        return None
    return OptionContract(
        contract_key=format_future_option_key(terms),
        underlying=underlying or symbol.removeprefix(".").partition(" ")[0],
        expiration=terms.expiration,
        strike=terms.strike,
        option_type=terms.option_type,
        kind="future_option",
    )


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
