"""Rows of IBKR's portfolio and of its contract definitions, field by field.  Pure.

Both kinds of rows have the same names for the same things.  The first read of a session is
cold: rows lack names and multiplier, strikes are the number 0.0 instead of a text,
``expiry`` is null.  Types drift at any time: a number comes as text, a missing value as
"None".  A field that cannot be read is as good as absent, so it hides no other field.

Source: https://ibkrcampus.com/campus/ibkr-api-page/cpapi-v1/#positions
"""

from __future__ import annotations

import html
import re
from decimal import Decimal, InvalidOperation
from typing import Final

import msgspec

from greeks_trio.brokers.ibkr.positions.descriptions import read_day
from greeks_trio.model.contracts import Conid, OptionContract, plain

# "649180695", "649180695.0" and "649180695@SMART" are the same conid.
_ID: Final = re.compile(r"(\d{1,18})(?:\.0+)?(?:@.*)?")
# The values that stand for "not set" in C and Java.
_UNSET_IDS: Final = frozenset((0, 2**31 - 1, 2**63 - 1))
_UNSET_NUMBERS: Final = frozenset((2**31 - 1, -(2**31), 2**32 - 1))
_NO_TEXT: Final = frozenset(("", "None", "null", "N/A", "?", "-"))
# Beyond these magnitudes no quantity, strike, price or value is real.
_SMALLEST, _LARGEST = -15, 15
_WORDS: Final = {"true": True, "false": False}


class Listing(msgspec.Struct, frozen=True):
    """An option and where IBKR streams it and its underlying.

    Attributes:
        underlying_conid: `None` while IBKR has not said.
    """

    contract: OptionContract
    conid: Conid
    underlying_conid: Conid | None


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """The fields that are used; `None` where the row does not say.

    Attributes:
        account_id: The account that the row names.
        quantity: The position, signed; 0 is a quantity.
        underlying_symbol, underlying_conid: Of an option or a future.
        trading_class: Only some definitions have it.
        right: ``C``, ``P``, ``CALL`` or ``PUT``.
        magnification: The number of places between the currency and the quoted unit.
    """

    conid: Conid | None = None
    account_id: str | None = None
    quantity: Decimal | None = None
    model: str | None = None
    asset_class: str | None = None
    description: str | None = None
    full_name: str | None = None
    ticker: str | None = None
    underlying_symbol: str | None = None
    trading_class: str | None = None
    underlying_conid: Conid | None = None
    expiry: str | None = None
    right: str | None = None
    strike: Decimal | None = None
    multiplier: Decimal | None = None
    currency: str | None = None
    exchange: str | None = None
    is_american: bool | None = None
    is_event_contract: bool | None = None
    price: Decimal | None = None
    value: Decimal | None = None
    magnification: Decimal | None = None

    @property
    def symbol(self) -> str | None:
        """The symbol of the underlying product."""
        return self.underlying_symbol or self.ticker


# The fields that identify the instrument.  A row without one may take it from an earlier
# row of the same conid or from the definition of the contract.
_IDENTITY: Final = (
    "asset_class",
    "description",
    "full_name",
    "ticker",
    "underlying_symbol",
    "trading_class",
    "underlying_conid",
    "expiry",
    "right",
    "strike",
    "multiplier",
    "currency",
    "exchange",
    "is_american",
    "is_event_contract",
    "magnification",
)


def read_row(content: object) -> Row:
    """Return the fields of the row; of something that is no row, none."""
    given = content if isinstance(content, dict) else {}
    rule = given.get("displayRule")
    return Row(
        conid=_id(given.get("conid")),
        account_id=_text(given.get("acctId")),
        quantity=_number(given.get("position")),
        model=_text(given.get("model")),
        asset_class=_capitals(given.get("assetClass"))
        or _capitals(given.get("secType")),
        description=_text(given.get("contractDesc")),
        full_name=_text(given.get("fullName")),
        ticker=_text(given.get("ticker")),
        underlying_symbol=_text(given.get("undSym")),
        trading_class=_capitals(given.get("tradingClass")),
        underlying_conid=_id(given.get("undConid")),
        expiry=_day(given.get("expiry")) or _day(given.get("lastTradingDay")),
        right=_text(given.get("putOrCall")),
        strike=_number(given.get("strike")) or None,
        multiplier=_positive(given.get("multiplier")),
        currency=_currency(given.get("currency")),
        exchange=_capitals(given.get("listingExchange")),
        is_american=_flag(given.get("isUS")),
        is_event_contract=_flag(given.get("isEventContract")),
        price=_number(given.get("mktPrice")),
        value=_number(given.get("mktValue")),
        magnification=_number(
            rule.get("magnification") if isinstance(rule, dict) else None
        ),
    )


def named_account(content: object) -> str | None:
    """Return the account that a row names, without reading the rest of the row."""
    return _text(content.get("acctId")) if isinstance(content, dict) else None


def completed(row: Row, *others: Row | None) -> Row:
    """Return the row, with the holes in its identity filled from the others."""
    missing = {}
    for name in _IDENTITY:
        if getattr(row, name) is None:
            given = (getattr(other, name) for other in others if other is not None)
            missing[name] = next((value for value in given if value is not None), None)
    return msgspec.structs.replace(row, **missing)


def shown_text(content: object) -> str:
    """Return the row's own words, for a person, on one line and not too long."""
    given = content if isinstance(content, dict) else {}
    words = _text(given.get("contractDesc")) or _text(given.get("ticker"))
    return " ".join((words or str(content)).split())[:80]


def _text(raw: object) -> str | None:
    if type(raw) is float and raw.is_integer():
        raw = int(raw)
    if type(raw) is int:
        raw = str(raw)
    if not isinstance(raw, str):
        return None
    text = html.unescape(raw).strip()
    return None if text in _NO_TEXT else text


def _capitals(raw: object) -> str | None:
    text = _text(raw)
    return None if text is None else text.upper()


def _day(raw: object) -> str | None:
    """Return the text if it names a day; any other text hides one elsewhere."""
    text = _text(raw)
    return None if read_day(text) is None else text


def _currency(raw: object) -> str | None:
    text = (_text(raw) or "").upper()
    return text if re.fullmatch("[A-Z]{3}", text) else None


def _number(raw: object) -> Decimal | None:
    if isinstance(raw, bool) or not isinstance(raw, int | float | str):
        return None
    try:
        number = Decimal(str(raw).replace(",", "").strip())
    except InvalidOperation:
        return None
    if not number.is_finite() or number in _UNSET_NUMBERS:
        return None
    if number and not _SMALLEST < number.adjusted() < _LARGEST:
        return None
    return plain(number)


def _positive(raw: object) -> Decimal | None:
    number = _number(raw)
    return number if number is not None and number > 0 else None


def _id(raw: object) -> Conid | None:
    if isinstance(raw, bool) or not isinstance(raw, int | float | str):
        return None
    found = _ID.fullmatch(str(raw).strip())
    if found is None or int(found[1]) in _UNSET_IDS:
        return None
    return Conid(int(found[1]))


def _flag(raw: object) -> bool | None:
    if isinstance(raw, str):
        return _WORDS.get(raw.lower())
    return raw if isinstance(raw, bool) else None
