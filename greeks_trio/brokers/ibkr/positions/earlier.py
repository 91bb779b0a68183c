"""The holdings of the accounts, by the last reading and by those before it.  Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from decimal import Decimal
from typing import Final, Literal

import msgspec

from greeks_trio.brokers.ibkr.positions.instruments import Instrument
from greeks_trio.brokers.ibkr.positions.known import KnownContracts
from greeks_trio.brokers.ibkr.positions.positions import (
    AccountPositions,
    Unreadable,
    position_of,
)
from greeks_trio.brokers.ibkr.positions.rows import Listing
from greeks_trio.model.contracts import Conid, ContractKey
from greeks_trio.model.records import Position

# A fact that the sums in money want; "unit" is the unit of quotation.
Hole = Literal["deliverable", "multiplier", "unit"]

HOLES: Final[dict[Hole, str]] = {
    "deliverable": "adjusted contracts whose deliverable IBKR does not say",
    "multiplier": "contracts without a multiplier: their sums in money are missing",
    "unit": (
        "contracts that may be quoted in pence or cents: their sums in money are missing"
    ),
}
_VALUED: Final = ("option", "future_option", "future", "equity")


class Holdings:
    """The positions to record and to stream; outlives a connection.

    Attributes:
        positions: Those of the last reading, those that it may have lost, rows that
            could not be read, and positions that are certainly closed.
        incomplete: The accounts with a row that may be any position.
        listings: The options among them by contract.
    """

    def __init__(self, known: KnownContracts) -> None:
        self._known = known
        self.positions: tuple[Position, ...] = ()
        self.incomplete: frozenset[str] = frozenset()
        self.listings: dict[ContractKey, Listing] = {}

    def lacks(self, reading: AccountPositions, account_ids: Collection[str]) -> bool:
        """Return whether the reading has no row for a position that is open."""
        held = reading.held()
        return any(
            is_open(each)
            and each.account_id in account_ids
            and each.account_id not in reading.unread
            and (each.account_id, each.instrument_id) not in held
            for each in self.positions
        )

    def take(
        self,
        reading: AccountPositions,
        account_ids: Collection[str],
        incomplete: Collection[str] = (),
    ) -> int:
        """Take a reading; return how many earlier positions stay without a row.

        Args:
            reading: Its contracts are known already.
            account_ids: The accounts that were read.
            incomplete: Accounts of which nothing is closed for want of a row.
        """
        nameless = {x.account_id for x in reading.unreadable if x.conid is None}
        self.incomplete = frozenset(incomplete) | nameless | frozenset(reading.unread)
        kept = list(self._kept(reading, account_ids))
        unread = [each for each in self.positions if each.account_id in reading.unread]
        held = (*reading.positions, *kept, *unread)
        shown = (*held, *_unread(reading, held))
        closed = self._closed(shown, account_ids)
        self.positions = (*shown, *closed)
        self.listings = self._list()
        return len(kept)

    def holes(self) -> dict[Hole, tuple[ContractKey, ...]]:
        """Return the contracts without a figure in money, by the missing fact."""
        found: dict[Hole, dict[ContractKey, None]] = {}
        for each in self.positions:
            hole = self._hole(each) if is_open(each) else None
            if hole is not None:
                found.setdefault(hole, {})[each.contract_key] = None
        return {hole: tuple(keys) for hole, keys in found.items()}

    def _hole(self, position: Position) -> Hole | None:
        if position.kind not in _VALUED:
            return None
        instrument = self._instrument(position)
        if instrument is not None and instrument.is_adjusted:
            return "deliverable"
        if position.multiplier is None and position.kind != "equity":
            return "multiplier"
        return "unit" if position.price_factor is None else None

    def are_any_open(self) -> bool:
        """Return whether anything is held."""
        return any(map(is_open, self.positions))

    def _kept(
        self, reading: AccountPositions, account_ids: Collection[str]
    ) -> Iterator[Position]:
        """Yield the earlier positions that a row without a quantity may be."""
        named = {(each.account_id, each.instrument_id) for each in reading.positions}
        for each in self.positions:
            instrument = self._instrument(each)
            if (
                is_open(each)
                and instrument is not None
                and each.kind != "unknown"
                and each.account_id in account_ids
                and (each.account_id, each.instrument_id) not in named
                and any(_may_be(each, row) for row in reading.unreadable)
            ):
                yield position_of(instrument, each.account_id, each.quantity)

    def _closed(
        self, shown: Collection[Position], account_ids: Collection[str]
    ) -> list[Position]:
        """Return the positions that are gone from accounts that are incomplete."""
        names = {(each.account_id, each.contract_key) for each in shown}
        return [
            msgspec.structs.replace(each, quantity=Decimal(0))
            for each in self.positions
            if each.account_id in account_ids
            and each.account_id in self.incomplete
            and (each.account_id, each.contract_key) not in names
        ]

    def _list(self) -> dict[ContractKey, Listing]:
        found: dict[ContractKey, Listing] = {}
        for each in self.positions:
            instrument = self._instrument(each) if is_open(each) else None
            listing = None if instrument is None else instrument.listing
            if listing is not None:
                found.setdefault(listing.contract.contract_key, listing)
        return found

    def _instrument(self, position: Position) -> Instrument | None:
        if position.instrument_id is None:
            return None
        return self._known.instrument(Conid(int(position.instrument_id)))


def is_open(position: Position) -> bool:
    """Return whether something is held, or may be held."""
    return position.quantity != 0


def _unread(
    reading: AccountPositions, held: Collection[Position]
) -> Iterator[Position]:
    """Yield the positions to record for the rows that are no known position."""
    named = {(each.account_id, each.instrument_id) for each in held}
    for each in reading.unreadable:
        position = each.position
        if each.conid is None or (each.account_id, position.instrument_id) not in named:
            yield position


def _may_be(position: Position, row: Unreadable) -> bool:
    """Return whether a row that could not be read may be this position."""
    if row.account_id != position.account_id:
        return False
    if row.conid is not None:
        return str(row.conid) == position.instrument_id
    return row.is_nameless or _words(row.text) == _words(position.description or "")


def _words(text: str) -> str:
    return " ".join(text.split())[:80]
