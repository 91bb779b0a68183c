"""Which option a row of IBKR's portfolio is.  Pure.

The first read of a session is cold: rows lack names and multiplier, strikes are the
number 0.0 instead of a text, ``expiry`` is null.  What identifies an option best is the
bracket in ``contractDesc``, which holds its OCC symbol and is there from the start::

    SPY    JAN2025 440 C [SPY   250117C00440000 100]

Source: https://ibkrcampus.com/campus/ibkr-api-page/cpapi-v1/#positions
"""

from __future__ import annotations

import html
import re
from datetime import datetime
from decimal import Decimal
from typing import Final

import msgspec

from greeks_trio.model.contracts import (
    Conid,
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

# "[SPY   250117C00440000 100]"; a root with a space in it is written without ("BRKB").
_OCC_BRACKET: Final = re.compile(
    r"\[\s*([A-Z0-9./ ]{1,8}?)\s*(\d{6}[CP]\d{8})(?:\s+([\d.]+))?\s*\]"
)
# What names have and OCC roots have not: the root of "BRK B" or "BRK.B" is "BRKB".
_NO_ROOT: Final = re.compile(r"[ ./]")
# "[LOJ6 P5600 1000]": a futures option's own symbol, its root with month and year.
_FUTURE_BRACKET: Final = re.compile(r"\[\s*([A-Z0-9]{2,6})\s")
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


class Row(msgspec.Struct, rename="camel"):
    """The fields of a position row that are used."""

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


def convert_row(content: object) -> Row:
    """Return the fields of the row.

    Raises:
        Unidentified: it is none, or its numbers cannot be true.
    """
    try:
        row = msgspec.convert(content, Row, strict=False)
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


def _convert_leniently(content: object) -> Row:
    """Convert field by field: types drift, and one that has is as good as absent."""
    given = content if isinstance(content, dict) else {}
    values = {}
    for field in msgspec.structs.fields(Row):
        raw = given.get(field.encode_name)
        if type(raw) is int and field.type == str | None:
            raw = str(raw)
        try:
            values[field.name] = msgspec.convert(raw, field.type, strict=False)
        except (msgspec.ValidationError, ArithmeticError) as exc:
            if field.required:
                raise Unidentified("malformed") from exc
            values[field.name] = None
    return Row(**values)


def identify(row: Row, known: dict[Conid, Listing]) -> Listing:
    """Return which option the row is, and remember it in ``known``.

    Raises:
        Unidentified: the row does not say it.
    """
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


def _option_contract(row: Row) -> OptionContract:
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


def _future_option_contract(row: Row) -> OptionContract:
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


def _terms(row: Row, root: str) -> OptionTerms:
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


def _decimal(text: str | None) -> Decimal | None:
    try:
        return Decimal(text) if text else None
    except ArithmeticError:
        return None
