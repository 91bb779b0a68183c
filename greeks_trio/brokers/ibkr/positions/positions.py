"""Rows of IBKR's portfolio -> positions with a contract identity.  Pure.

Source: https://ibkrcampus.com/campus/ibkr-api-page/cpapi-v1/#positions
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Final

import msgspec

from greeks_trio.brokers.ibkr.positions.rows import (
    Listing,
    Row,
    Unidentified,
    convert_row,
    identify,
)
from greeks_trio.model.contracts import (
    Conid,
    ContractKey,
    OptionContract,
    plain,
    underlying_symbol,
)
from greeks_trio.model.records import Position, PositionKind

_KINDS: Final[dict[str, PositionKind]] = {
    "OPT": "option",
    "FOP": "future_option",
    "STK": "equity",
    "FUT": "future",
}


class AccountPositions(msgspec.Struct, frozen=True):
    """One reading of the positions of one or more accounts.

    Attributes:
        positions: In the order of the rows, one for each account and conid.
        listings: The options among them by contract.
        unidentified: The reasons why rows could not be read, one word a row.
        unread: Account and conid of those rows; the conid is `None` if it is missing.
        is_cold: Whether another read may give more.
    """

    positions: tuple[Position, ...]
    listings: dict[ContractKey, Listing]
    unidentified: tuple[str, ...]
    unread: tuple[tuple[str, int | None], ...]
    is_cold: bool


def read_positions(
    rows: Iterable[tuple[str, object]], known: dict[Conid, Listing]
) -> AccountPositions:
    """Read ``(account_id, row)`` pairs; a bad row hides no other.

    Args:
        rows: Rows as decoded from JSON.
        known: Options that were identified before, by conid: a contract never
            changes, so a cold row needs no second look.  New ones are added.
    """
    # A model portfolio has a row of its own; a row that is there twice has moved from
    # one page to the next between two requests.
    lots: dict[tuple[str, int], dict[str, Position]] = {}
    listings: dict[ContractKey, Listing] = {}
    unidentified: list[str] = []
    unread: list[tuple[str, int | None]] = []
    is_cold = False
    for account_id, content in rows:
        try:
            row = convert_row(content)
            kind = _KINDS.get(row.asset_class or "", "other")
            if kind in ("option", "future_option"):
                listing = identify(row, known)
                listings[listing.contract.contract_key] = listing
                is_cold |= not listing.is_complete
                position = _option_position(account_id, row, listing.contract)
            else:
                position = _other_position(account_id, row, kind)
                is_cold |= not row.ticker
            lots.setdefault((account_id, row.conid), {})[row.model or ""] = position
        except Unidentified as exc:
            unidentified.append(exc.reason)
            unread.append((account_id, _conid(content)))
            is_cold |= exc.cold
    positions = tuple(_sum(tuple(each.values())) for each in lots.values())
    return AccountPositions(
        positions, listings, tuple(unidentified), tuple(unread), is_cold
    )


def _conid(content: object) -> int | None:
    conid = content.get("conid") if isinstance(content, dict) else None
    return conid if type(conid) is int else None


def _sum(lots: Sequence[Position]) -> Position:
    if len(lots) == 1:
        return lots[0]
    quantity = sum((lot.quantity or Decimal(0) for lot in lots), Decimal(0))
    return msgspec.structs.replace(lots[0], quantity=plain(quantity))


def _option_position(account_id: str, row: Row, contract: OptionContract) -> Position:
    return Position(
        broker="ibkr",
        account_id=account_id,
        contract_key=contract.contract_key,
        kind=contract.kind,
        quantity=plain(row.position),
        multiplier=contract.multiplier,
        currency=row.currency,
        underlying=contract.underlying,
        expiration=contract.expiration,
        strike=contract.strike,
        option_type=contract.option_type,
    )


def _other_position(account_id: str, row: Row, kind: PositionKind) -> Position:
    symbol = row.ticker or (row.contract_desc or "").split("[")[0].strip()
    if not symbol:
        raise Unidentified("symbol", cold=True)
    return Position(
        broker="ibkr",
        account_id=account_id,
        contract_key=ContractKey(underlying_symbol(symbol)),
        kind=kind,
        quantity=plain(row.position),
        multiplier=plain(row.multiplier) if row.multiplier else None,
        currency=row.currency,
        underlying=underlying_symbol(symbol) if kind == "equity" else None,
    )
