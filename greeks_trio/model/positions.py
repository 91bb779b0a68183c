"""The holders of each contract, and the difference between two sets of contracts."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

import msgspec

from greeks_trio.model.contracts import ContractKey
from greeks_trio.model.records import WATCHLIST_ACCOUNT, Position


class Holder(msgspec.Struct, frozen=True):
    """One account that gets a row for each tick of a contract.

    ``quantity`` is signed; `None` for a contract that is only watched.
    """

    account_id: str
    quantity: Decimal | None


class Changes(msgspec.Struct, frozen=True):
    """The difference between two sets of contracts."""

    added: tuple[ContractKey, ...]
    removed: tuple[ContractKey, ...]


def open_options(positions: Iterable[Position]) -> list[Position]:
    """Return the positions whose Greeks are wanted, in their order."""
    return [
        position
        for position in positions
        if position.kind in ("option", "future_option") and position.quantity != 0
    ]


def holders_by_contract(
    positions: Iterable[Position], watchlist: Iterable[ContractKey] = ()
) -> dict[ContractKey, tuple[Holder, ...]]:
    """Return the accounts that get a row for each wanted contract, sorted by account.

    Held contracts come in the order of the positions, then the contracts that are only
    on the watch-list.
    """
    holders: dict[ContractKey, list[Holder]] = {}
    for position in open_options(positions):
        entry = holders.setdefault(position.contract_key, [])
        entry.append(Holder(position.account_id, position.quantity))
    for contract_key in watchlist:
        holders.setdefault(contract_key, [Holder(WATCHLIST_ACCOUNT, None)])
    return {
        key: tuple(sorted(entry, key=lambda holder: holder.account_id))
        for key, entry in holders.items()
    }


def difference(before: Iterable[ContractKey], after: Iterable[ContractKey]) -> Changes:
    """Return the contracts to subscribe and to unsubscribe, each in its order."""
    old, new = dict.fromkeys(before), dict.fromkeys(after)
    return Changes(
        tuple(key for key in new if key not in old),
        tuple(key for key in old if key not in new),
    )
