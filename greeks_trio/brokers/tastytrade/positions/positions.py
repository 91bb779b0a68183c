"""The positions of the accounts, and the contracts to stream for them.  Pure.

An unreadable position is not closed.  A refused account keeps all positions of the last
reading, and a position that makes no sense stays as it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Final

import msgspec
from msgspec import Raw

from greeks_trio.brokers.tastytrade.positions.items import (
    Holding,
    future_contract,
    parse_position,
    symbol_of,
)
from greeks_trio.model.contracts import (
    ContractKey,
    OptionContract,
    StreamerSymbol,
    contract_from_occ,
    format_streamer_symbol,
    parse_occ,
)
from greeks_trio.model.positions import Holder, holders_by_contract, open_options
from greeks_trio.model.records import Position

# More than any symbol has.
_LONGEST_SYMBOL: Final = 40


class AccountReading(msgspec.Struct, frozen=True):
    """Tastytrade's answer to the request for the positions of one account.

    ``refusal`` is the reason why there is no list; `None` if there is one.
    """

    account_id: str
    items: tuple[Raw, ...] = ()
    refusal: str | None = None


class AccountPositions(msgspec.Struct, frozen=True):
    """One reading of the positions of all accounts.

    Attributes:
        account_ids: The accounts that are to be streamed.
        holdings: Their positions.  A closed position of an incomplete account has the
            quantity 0.
        incomplete: The accounts that may have more positions, because the account, or
            a new position of it, could not be read.
        problems: The unreadable parts, for a person; each once.
        malformed: How many positions could not be understood.
        refused: How many accounts could not be read at all.
    """

    account_ids: tuple[str, ...]
    holdings: tuple[Holding, ...]
    incomplete: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    malformed: int = 0
    refused: int = 0

    @property
    def positions(self) -> tuple[Position, ...]:
        """The positions alone."""
        return tuple(holding.position for holding in self.holdings)


class WantedContract(msgspec.Struct, frozen=True):
    """A contract to stream, its holders, and the symbols to subscribe.

    ``underlying_symbol`` is `None` when Tastytrade does not tell it.
    """

    contract: OptionContract
    holders: tuple[Holder, ...]
    symbol: StreamerSymbol
    underlying_symbol: StreamerSymbol | None


class _Account(msgspec.Struct, frozen=True):
    """The readable part of one account."""

    holdings: tuple[Holding, ...]
    is_whole: bool = True
    problems: tuple[str, ...] = ()


def read_positions(
    readings: Sequence[AccountReading],
    previous: AccountPositions | None = None,
    problems: Iterable[str] = (),
) -> AccountPositions:
    """Join the readings; ``previous`` replaces their unreadable parts."""
    before: dict[str, list[Holding]] = {}
    for holding in previous.holdings if previous is not None else ():
        before.setdefault(holding.position.account_id, []).append(holding)
    accounts = {
        each.account_id: _read_account(each, before.get(each.account_id, []))
        for each in readings
    }
    found = [problem for each in accounts.values() for problem in each.problems]
    refused = sum(each.refusal is not None for each in readings)
    return AccountPositions(
        account_ids=tuple(accounts),
        holdings=tuple(hold for each in accounts.values() for hold in each.holdings),
        incomplete=tuple(key for key, each in accounts.items() if not each.is_whole),
        problems=tuple(dict.fromkeys([*problems, *found])),
        malformed=len(found) - refused,
        refused=refused,
    )


def merge_holdings(holdings: Iterable[Holding]) -> tuple[Holding, ...]:
    """Return one holding per account and contract, in their order, quantities added."""
    merged: dict[tuple[str, ContractKey], Holding] = {}
    for holding in holdings:
        position = holding.position
        place = (position.account_id, position.contract_key)
        if place in merged:
            lots = (merged[place].position.quantity, position.quantity)
            quantity = sum((each or Decimal(0) for each in lots), Decimal(0))
            position = msgspec.structs.replace(position, quantity=quantity)
        merged[place] = Holding(position, holding.symbol)
    return tuple(merged.values())


def future_symbols(found: AccountPositions) -> set[str]:
    """Return the symbols that only Tastytrade can translate to streamer symbols.

    Those of the open futures options (``./CLJ6 LOJ6  260317P56``) and of their futures
    (``/CLJ6``).
    """
    symbols: set[str] = set()
    for holding in found.holdings:
        position = holding.position
        if position.kind == "future_option" and position.quantity != 0:
            symbols |= {holding.symbol, position.underlying or ""}
    return symbols - {""}


def wanted_contracts(
    found: AccountPositions,
    watchlist: Sequence[ContractKey],
    streamer_symbols: Mapping[str, StreamerSymbol],
) -> tuple[dict[ContractKey, WantedContract], list[ContractKey]]:
    """Return the contracts to stream, and those with an unknown streamer symbol.

    ``streamer_symbols``: those of `future_symbols`, by Tastytrade's symbol.
    """
    held = {
        holding.position.contract_key: holding
        for holding in found.holdings
        if open_options([holding.position])
    }
    wanted: dict[ContractKey, WantedContract] = {}
    unknown: list[ContractKey] = []
    for key, holders in holders_by_contract(found.positions, watchlist).items():
        contract = (
            _wanted_holding(held[key], holders, streamer_symbols)
            if key in held
            else _wanted_occ(key, holders)
        )
        if contract is None:
            unknown.append(key)
        else:
            wanted[key] = contract
    return wanted, unknown


def _read_account(reading: AccountReading, before: Sequence[Holding]) -> _Account:
    account_id = reading.account_id
    if reading.refusal is not None:
        problem = f"account {account_id} cannot be read: {reading.refusal}"
        return _Account(tuple(before), is_whole=False, problems=(problem,))
    holdings, odd, problems = _parse_items(reading)
    read = {each.symbol for each in holdings}
    # One without a symbol may be any of those that are not listed.
    kept = [
        each
        for each in before
        if each.position.quantity
        and (each.symbol in odd or (None in odd and each.symbol not in read))
    ]
    is_whole = set(odd) <= {each.symbol for each in kept}
    merged = {each.symbol: each for each in merge_holdings(holdings)}
    merged.update((each.symbol, each) for each in kept)
    if not is_whole:
        # A missing item is not closed here, so each closed position is named.
        gone = [each for each in before if each.symbol not in {*merged, *odd}]
        merged.update((each.symbol, _closed(each)) for each in gone)
    return _Account(tuple(merged.values()), is_whole, tuple(problems))


def _parse_items(
    reading: AccountReading,
) -> tuple[list[Holding], list[str | None], list[str]]:
    """Return the positions, the symbols of unreadable items, and the problems."""
    holdings: list[Holding] = []
    odd: list[str | None] = []
    problems: list[str] = []
    for item in reading.items:
        try:
            holdings.append(parse_position(reading.account_id, item))
        except ValueError as exc:
            symbol = symbol_of(item)
            odd.append(symbol)
            name = "without a symbol" if symbol is None else symbol[:_LONGEST_SYMBOL]
            problems.append(
                f"position {name} of account {reading.account_id} is not understood: "
                f"{exc}"
            )
    return holdings, odd, problems


def _closed(holding: Holding) -> Holding:
    position = msgspec.structs.replace(holding.position, quantity=Decimal(0))
    return Holding(position, holding.symbol)


def _wanted_holding(
    holding: Holding,
    holders: tuple[Holder, ...],
    streamer_symbols: Mapping[str, StreamerSymbol],
) -> WantedContract | None:
    position = holding.position
    if position.kind == "option":
        return _wanted_occ(position.contract_key, holders, position.underlying)
    contract = future_contract(holding.symbol, position.underlying)
    symbol = streamer_symbols.get(holding.symbol)
    if contract is None or symbol is None:
        return None
    underlying = streamer_symbols.get(contract.underlying)
    return WantedContract(contract, holders, symbol, underlying)


def _wanted_occ(
    key: ContractKey, holders: tuple[Holder, ...], underlying: str | None = None
) -> WantedContract | None:
    try:
        contract = contract_from_occ(key, underlying)
        symbol = format_streamer_symbol(parse_occ(key))
    except ValueError:
        return None
    return WantedContract(
        contract, holders, symbol, StreamerSymbol(contract.underlying)
    )
