"""Rows of IBKR's portfolio -> positions in instruments.  Pure.

Source: https://ibkrcampus.com/campus/ibkr-api-page/cpapi-v1/#positions
"""

from __future__ import annotations

from collections.abc import Container, Generator, Iterable, Mapping
from decimal import Decimal

import msgspec

from greeks_trio.brokers.ibkr.positions.identities import Identities, SharedKey
from greeks_trio.brokers.ibkr.positions.instruments import Instrument
from greeks_trio.brokers.ibkr.positions.known import KnownContracts
from greeks_trio.brokers.ibkr.positions.rows import (
    Listing,
    Row,
    named_account,
    read_row,
    shown_text,
)
from greeks_trio.model.contracts import Conid, ContractKey, plain
from greeks_trio.model.instruments import broker_key
from greeks_trio.model.records import Position

_NO_QUANTITY = "its quantity cannot be read"


class GivenRow(msgspec.Struct, frozen=True):
    """A row as the gateway gave it, decoded from JSON."""

    account_id: str
    content: object
    page: int = 0

    def belongs_here(self, account_ids: Container[str]) -> bool:
        """Return whether no other of these accounts lists the row.

        An advisor's account may list the positions of its clients.
        """
        named = named_account(self.content)
        return named in (None, self.account_id) or named not in account_ids


class Unreadable(msgspec.Struct, frozen=True):
    """A row without a readable instrument or quantity.

    Attributes:
        conid: `None` if the row has none.
        text: The row's own words.
        reason: A short sentence for a person.
        position: The record of it if nothing better is known.
        is_nameless: Whether the row has no description either.
    """

    account_id: str
    conid: Conid | None
    text: str
    reason: str
    position: Position
    is_nameless: bool

    @property
    def name(self) -> str:
        """Account, conid and text, for a person."""
        conid = "without conid" if self.conid is None else self.conid
        return f"{self.account_id} {conid} {self.text}"


class AccountPositions(msgspec.Struct, frozen=True):
    """One reading of the positions of one or more accounts.

    Attributes:
        positions: The positions that were read, in the order of the rows, one for each
            account and conid.
        rows, instruments: The rows, completed, and their instruments, by conid.
        unreadable: The rows that could not be read.
        shared_keys: The instruments that would have one key.
        undefined: The contracts whose definition would tell more, with the
            descriptions of their rows.
        is_cold: Whether another read may give more.
        unread: The accounts that IBKR refuses to list, with the reasons for a person.
    """

    positions: tuple[Position, ...]
    rows: dict[Conid, Row]
    instruments: dict[Conid, Instrument]
    unreadable: tuple[Unreadable, ...]
    shared_keys: tuple[SharedKey, ...]
    undefined: dict[Conid, str | None]
    is_cold: bool
    unread: Mapping[str, str] = {}

    @property
    def is_empty(self) -> bool:
        """Whether the answer had no row at all."""
        return not self.positions and not self.unreadable

    @property
    def listings(self) -> dict[ContractKey, Listing]:
        """The options among the instruments by contract."""
        found = (each.listing for each in self.instruments.values())
        return {each.contract.contract_key: each for each in found if each is not None}

    def held(self) -> set[tuple[str, str | None]]:
        """Return account and conid of every row, readable or not."""
        return {(each.account_id, each.instrument_id) for each in self.positions} | {
            (each.account_id, None if each.conid is None else str(each.conid))
            for each in self.unreadable
        }


def read_positions(
    given: Iterable[GivenRow], known: KnownContracts
) -> Generator[None, None, AccountPositions]:
    """Read the rows; a bad row hides no other.

    It yields after each small step, because thousands of rows take a long time.

    Args:
        given: The rows of all accounts.
        known: The memory of earlier reads and definitions.  It is not changed.
    """
    rows: list[tuple[GivenRow, Row]] = []
    for each in given:
        rows.append((each, read_row(each.content)))
        yield
    identities = Identities(known)
    yield from identities.read(row for _, row in rows)
    # By account and conid, and then by model, which has a row of its own.
    lots: dict[tuple[str, Conid], dict[str, _Lot]] = {}
    unreadable: list[Unreadable] = []
    for each, row in rows:
        reason = identities.problem(row)
        instrument = None if row.conid is None else identities.instrument(row.conid)
        if row.quantity != 0 and (reason is not None or row.quantity is None):
            unreadable.append(_unreadable(each, row, reason or _NO_QUANTITY))
        if instrument is None or row.conid is None or row.quantity is None:
            continue
        lot = lots.setdefault((each.account_id, row.conid), {})
        _add(lot, row.model or "", each, row.quantity)
        yield
    positions: list[Position] = []
    for (account_id, conid), rows_of_lot in lots.items():
        total = _total(rows_of_lot)
        positions.append(position_of(identities.held[conid], account_id, total))
        yield
    return AccountPositions(
        tuple(positions),
        identities.rows,
        identities.held,
        _apart(unreadable),
        identities.shared_keys,
        identities.undefined,
        identities.is_cold or any(each.conid is not None for each in unreadable),
    )


def position_of(
    instrument: Instrument, account_id: str, quantity: Decimal | None
) -> Position:
    """Return the position of an account in the instrument."""
    underlying_conid = instrument.underlying_conid
    return Position(
        broker="ibkr",
        account_id=account_id,
        contract_key=instrument.contract_key,
        kind=instrument.kind,
        quantity=quantity,
        multiplier=instrument.multiplier,
        currency=instrument.currency,
        underlying=instrument.underlying,
        expiration=instrument.expiration,
        strike=instrument.strike,
        option_type=instrument.option_type,
        instrument_id=str(instrument.conid),
        exchange=instrument.exchange,
        underlying_id=None if underlying_conid is None else str(underlying_conid),
        price_factor=instrument.price_factor,
        description=instrument.description,
    )


class _Lot(msgspec.Struct):
    rows: list[GivenRow]
    quantity: Decimal


def _add(lots: dict[str, _Lot], model: str, row: GivenRow, quantity: Decimal) -> None:
    """Add a row's quantity.

    A row that comes again on a later page has moved there between two requests.  A row
    that is the same in every field, also in its cost, is no second lot.
    """
    lot = lots.get(model)
    if lot is None or lot.rows[0].page != row.page:
        lots[model] = _Lot([row], quantity)
    elif row not in lot.rows:
        lot.rows.append(row)
        lot.quantity += quantity


def _total(lots: Mapping[str, _Lot]) -> Decimal:
    return plain(sum((lot.quantity for lot in lots.values()), Decimal(0)))


def _unreadable(given: GivenRow, row: Row, reason: str) -> Unreadable:
    text = shown_text(given.content)
    # The text is all that a row without a conid has; it is the same in the next read.
    key = broker_key("ibkr", f"?{text[:60]}" if row.conid is None else str(row.conid))
    position = Position(
        broker="ibkr",
        account_id=given.account_id,
        contract_key=key,
        kind="unknown",
        quantity=row.quantity,
        multiplier=row.multiplier,
        currency=row.currency,
        instrument_id=None if row.conid is None else str(row.conid),
        exchange=row.exchange,
        underlying_id=None
        if row.underlying_conid is None
        else str(row.underlying_conid),
        description=text,
        problem=reason,
    )
    is_nameless = row.description is None
    return Unreadable(given.account_id, row.conid, text, reason, position, is_nameless)


def _apart(unreadable: Iterable[Unreadable]) -> tuple[Unreadable, ...]:
    """Give each row a key of its own; one with a conid counts once in an account."""
    apart: dict[tuple[str, str], Unreadable] = {}
    for each in unreadable:
        key, number = each.position.contract_key, 1
        while (each.account_id, key) in apart and each.conid is None:
            number += 1
            key = ContractKey(f"{each.position.contract_key} #{number}")
        position = msgspec.structs.replace(each.position, contract_key=key)
        named = msgspec.structs.replace(each, position=position)
        apart.setdefault((each.account_id, key), named)
    return tuple(apart.values())
