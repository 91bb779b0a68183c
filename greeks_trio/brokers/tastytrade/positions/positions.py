"""The contracts to stream for the positions and the watch-list.  Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from greeks_trio.brokers.tastytrade.positions.chains import WatchedOption
from greeks_trio.brokers.tastytrade.positions.instruments import Completed
from greeks_trio.brokers.tastytrade.positions.items import Holding, contract_of
from greeks_trio.model.contracts import (
    ContractKey,
    OptionContract,
    StreamerSymbol,
    contract_from_occ,
    format_streamer_symbol,
    parse_occ,
)
from greeks_trio.model.positions import Holder, holders_by_contract, open_options


class WantedContract(msgspec.Struct, frozen=True):
    """A contract to stream, its holders, and the symbols to subscribe.

    ``underlying_symbol`` is `None` when Tastytrade does not tell it.
    """

    contract: OptionContract
    holders: tuple[Holder, ...]
    symbol: StreamerSymbol
    underlying_symbol: StreamerSymbol | None


def wanted_contracts(
    found: Completed,
    watchlist: Sequence[ContractKey],
    watched: Mapping[ContractKey, WatchedOption] = {},
) -> tuple[dict[ContractKey, WantedContract], list[ContractKey]]:
    """Return the contracts to stream, and those with an unknown streamer symbol.

    ``watched``: the futures options of the watch-list that Tastytrade lists.
    """
    held: dict[ContractKey, Holding] = {}
    for holding in found.reading.holdings:
        key = holding.position.contract_key
        # One account's item may name a streamer symbol that another's leaves out.
        is_better = key not in held or held[key].streamer_symbol is None
        if is_better and open_options([holding.position]):
            held[key] = holding
    wanted: dict[ContractKey, WantedContract] = {}
    unknown: list[ContractKey] = []
    taken: set[StreamerSymbol] = set()
    holders_of = holders_by_contract(found.reading.positions, watchlist)
    for key, holders in holders_of.items():
        contract = (
            _held(held[key], holders, found.futures)
            if key in held
            else _watched(key, holders, watched.get(key))
        )
        # Two contracts under one symbol could not be told apart.
        if contract is None or contract.symbol in taken:
            unknown.append(key)
        else:
            wanted[key] = contract
            taken.add(contract.symbol)
    return wanted, unknown


def _held(
    holding: Holding,
    holders: tuple[Holder, ...],
    futures: Mapping[str, StreamerSymbol],
) -> WantedContract | None:
    contract, symbol = contract_of(holding.position), holding.streamer_symbol
    if contract.kind == "option":
        symbol = symbol or format_streamer_symbol(parse_occ(holding.identity))
        underlying = StreamerSymbol(contract.underlying)
        return WantedContract(contract, holders, symbol, underlying)
    if symbol is None:
        return None
    return WantedContract(contract, holders, symbol, futures.get(contract.underlying))


def _watched(
    key: ContractKey, holders: tuple[Holder, ...], listed: WatchedOption | None
) -> WantedContract | None:
    if listed is not None:
        return WantedContract(
            listed.contract, holders, listed.symbol, listed.underlying_symbol
        )
    try:
        contract = contract_from_occ(key)
        symbol = format_streamer_symbol(parse_occ(key))
    except ValueError:
        return None
    underlying = StreamerSymbol(contract.underlying)
    return WantedContract(contract, holders, symbol, underlying)
