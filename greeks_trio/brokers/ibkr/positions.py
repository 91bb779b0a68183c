"""Rows of IBKR's portfolio -> positions with a contract identity.  Pure.

The first read of a session is cold: rows lack names and multiplier, strikes are the
number 0.0 instead of a text, ``expiry`` is null.  What identifies an option best is the
bracket in ``contractDesc``, which holds its OCC symbol and is there from the start::

    SPY    JAN2025 440 C [SPY   250117C00440000 100]

Source: https://ibkrcampus.com/campus/ibkr-api-page/cpapi-v1/#positions
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final

import msgspec

from greeks_trio.model.contracts import (
    Conid,
    ContractKey,
    OptionContract,
    OptionTerms,
    OptionType,
    contract_from_occ,
    format_future_option_key,
    format_occ,
    plain,
    strip_month_code,
    underlying_symbol,
)
from greeks_trio.model.records import Position, PositionKind

# "[SPY   250117C00440000 100]"; a root with a space in it is written without ("BRKB").
_OCC_BRACKET: Final = re.compile(
    r"\[\s*([A-Z0-9./ ]{1,8}?)\s*(\d{6}[CP]\d{8})(?:\s+([\d.]+))?\s*\]"
)
# What names have and OCC roots have not: the root of "BRK B" or "BRK.B" is "BRKB".
_NO_ROOT: Final = re.compile(r"[ ./]")
# "[LOJ6 P5600 1000]": a futures option's own symbol, its root with month and year.
_FUTURE_BRACKET: Final = re.compile(r"\[\s*([A-Z0-9]{2,6})\s")
_KINDS: Final[dict[str, PositionKind]] = {
    "OPT": "option",
    "FOP": "future_option",
    "STK": "equity",
    "FUT": "future",
}
# Indices that list further series, under another root, beside those of their own name.
# Without the bracket nothing in a row says which of the two it is.
_AMBIGUOUS_ROOTS: Final = frozenset(
    ("SPX", "NDX", "RUT", "VIX", "DJX", "OEX", "XEO", "MRUT")
)


class Listing(msgspec.Struct, frozen=True):
    """An option and where IBKR streams it and its underlying.

    Attributes:
        underlying_conid: `None` while IBKR has not said.
        is_named: Whether IBKR has named the underlying; until then the contract has
            the one that its root suggests.
    """

    contract: OptionContract
    conid: Conid
    underlying_conid: Conid | None
    is_named: bool = True

    @property
    def is_complete(self) -> bool:
        """Whether another look at the row would tell nothing new."""
        return self.underlying_conid is not None and self.is_named


class Unidentified(ValueError):
    """A row does not say which instrument it is, or is none at all.

    Attributes:
        reason: A short stable word to count it by.
        cold: Whether another read may tell.
    """

    def __init__(self, reason: str, *, cold: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.cold = cold


class Holdings(msgspec.Struct, frozen=True):
    """What the rows of one or more accounts say.

    Attributes:
        positions: In the order of the rows, one for each account and conid.
        listings: The options among them by contract.
        unidentified: Why rows could not be read, one word a row.
        is_cold: Whether another read may say more.
    """

    positions: tuple[Position, ...]
    listings: dict[ContractKey, Listing]
    unidentified: tuple[str, ...]
    is_cold: bool


class _Row(msgspec.Struct, rename="camel"):
    """What we read of a position row."""

    conid: int
    position: Decimal
    asset_class: str | None = None
    contract_desc: str | None = None
    ticker: str | None = None
    und_sym: str | None = None
    und_conid: int | None = None
    expiry: str | None = None
    put_or_call: str | None = None
    strike: Decimal | None = None
    multiplier: Decimal | None = None
    currency: str | None = None
    model: str | None = None


def read_holdings(
    rows: Iterable[tuple[str, object]], known: dict[Conid, Listing]
) -> Holdings:
    """Return what ``(account_id, row)`` pairs say; a bad row hides no other.

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
    is_cold = False
    for account_id, content in rows:
        try:
            row = _convert_row(content)
            kind = _KINDS.get(row.asset_class or "", "other")
            if kind in ("option", "future_option"):
                listing = _identify(row, known)
                listings[listing.contract.contract_key] = listing
                is_cold |= not listing.is_complete
                position = _option_position(account_id, row, listing.contract)
            else:
                position = _other_position(account_id, row, kind)
                is_cold |= not row.ticker
            lots.setdefault((account_id, row.conid), {})[row.model or ""] = position
        except Unidentified as exc:
            unidentified.append(exc.reason)
            is_cold |= exc.cold
    positions = tuple(_sum(tuple(each.values())) for each in lots.values())
    return Holdings(positions, listings, tuple(unidentified), is_cold)


def _sum(lots: Sequence[Position]) -> Position:
    if len(lots) == 1:
        return lots[0]
    quantity = sum((lot.quantity for lot in lots), Decimal(0))
    return msgspec.structs.replace(lots[0], quantity=plain(quantity))


def _convert_row(content: object) -> _Row:
    try:
        row = msgspec.convert(content, _Row, strict=False)
    except (msgspec.ValidationError, ArithmeticError):
        row = _convert_leniently(content)
    for number in (row.position, row.strike, row.multiplier):
        if number and not (number.is_finite() and -15 < number.adjusted() < 15):
            raise Unidentified("malformed")
    for name in ("contract_desc", "ticker", "und_sym"):
        text = getattr(row, name)
        if text is not None:
            setattr(row, name, html.unescape(text).strip())
    return row


def _convert_leniently(content: object) -> _Row:
    """Convert field by field: types drift, and one that has is as good as absent."""
    given = content if isinstance(content, dict) else {}
    values = {}
    for field in msgspec.structs.fields(_Row):
        raw = given.get(field.encode_name)
        if type(raw) is int and field.type == str | None:
            raw = str(raw)
        try:
            values[field.name] = msgspec.convert(raw, field.type, strict=False)
        except (msgspec.ValidationError, ArithmeticError) as exc:
            if field.required:
                raise Unidentified("malformed") from exc
            values[field.name] = None
    return _Row(**values)


def _identify(row: _Row, known: dict[Conid, Listing]) -> Listing:
    conid = Conid(row.conid)
    before = known.get(conid)
    if before is not None and before.is_complete:
        return before
    contract = before.contract if before is not None else _option_contract(row)
    name = row.und_sym or row.ticker
    if name:
        contract = msgspec.structs.replace(contract, underlying=underlying_symbol(name))
    underlying = Conid(row.und_conid) if row.und_conid else None
    known[conid] = Listing(contract, conid, underlying, bool(name))
    return known[conid]


def _option_contract(row: _Row) -> OptionContract:
    if row.asset_class == "FOP":
        return _future_option_contract(row)
    found = _OCC_BRACKET.search(row.contract_desc or "")
    try:
        if found is not None:
            contract = contract_from_occ(
                f"{_NO_ROOT.sub('', found[1]):<6}{found[2]}",
                row.und_sym or row.ticker or None,
            )
        else:
            root = _NO_ROOT.sub("", row.ticker or row.und_sym or "")
            if root in _AMBIGUOUS_ROOTS:
                raise Unidentified("ambiguous-root", cold=True)
            contract = contract_from_occ(format_occ(_terms(row, root)), row.und_sym)
    except ValueError as exc:
        if isinstance(exc, Unidentified):
            raise
        raise Unidentified("contract", cold=True) from exc
    multiplier = row.multiplier or _decimal(found[3] if found else None)
    return msgspec.structs.replace(
        contract, multiplier=plain(multiplier or Decimal(100))
    )


def _future_option_contract(row: _Row) -> OptionContract:
    found = _FUTURE_BRACKET.search(row.contract_desc or "")
    if found is None or not row.multiplier:
        raise Unidentified("contract", cold=True)
    terms = _terms(row, strip_month_code(found[1]))
    return OptionContract(
        contract_key=format_future_option_key(terms),
        underlying=underlying_symbol(row.und_sym or row.ticker or terms.root),
        expiration=terms.expiration,
        strike=terms.strike,
        option_type=terms.option_type,
        kind="future_option",
        multiplier=plain(row.multiplier),
    )


def _terms(row: _Row, root: str) -> OptionTerms:
    if not root or not row.strike or not row.expiry:
        raise Unidentified("contract", cold=True)
    try:
        expiration = datetime.strptime(row.expiry, "%Y%m%d").date()  # noqa: DTZ007
    except ValueError as exc:
        raise Unidentified("expiry") from exc
    return OptionTerms(root, expiration, _right(row.put_or_call), plain(row.strike))


def _right(text: str | None) -> OptionType:
    match (text or "").upper():
        case "C" | "CALL":
            return "call"
        case "P" | "PUT":
            return "put"
    raise Unidentified("right", cold=True)


def _option_position(account_id: str, row: _Row, contract: OptionContract) -> Position:
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


def _other_position(account_id: str, row: _Row, kind: PositionKind) -> Position:
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


def _decimal(text: str | None) -> Decimal | None:
    try:
        return Decimal(text) if text else None
    except ArithmeticError:
        return None
