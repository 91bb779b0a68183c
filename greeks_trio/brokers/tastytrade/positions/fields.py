"""The fields of one item of Tastytrade's positions, each read on its own.  Pure.

A field may be absent or of another type than usual; that costs no other field.

Source: https://developer.tastytrade.com, "Account Positions"
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Final

import msgspec

from greeks_trio.model.contracts import StreamerSymbol

# More than any position or contract has, and less than any multiplier.
_MOST: Final = Decimal(10**12)
_LEAST: Final = Decimal("1e-9")
# More than any symbol has.
LONGEST_SYMBOL: Final = 60


class ItemFields(msgspec.Struct, frozen=True, kw_only=True):
    """The readable fields of an item.

    Attributes:
        symbol: Tastytrade's symbol of the instrument, empty if there is none.
        instrument_type: Such as ``Equity Option``, empty if there is none.
        underlying: Its symbol; `None` if the item names none.
        streamer_symbol: dxFeed's symbol; `None` if the item names none.
        expires_on: The day of the expiration, UTC.
        multiplier: `None` if it is missing or cannot be one, such as 0.
        quantity: Negative when short; `None` if it cannot be read.
        problem: The reason why ``quantity`` is `None`, or why there are no fields.
    """

    symbol: str = ""
    instrument_type: str = ""
    underlying: str | None = None
    streamer_symbol: StreamerSymbol | None = None
    expires_on: date | None = None
    multiplier: Decimal | None = None
    quantity: Decimal | None = None
    problem: str = ""


class _Item(msgspec.Struct, rename="kebab"):
    symbol: object = None
    instrument_type: object = None
    quantity: object = None
    quantity_direction: object = None
    underlying_symbol: object = None
    streamer_symbol: object = None
    expires_at: object = None
    multiplier: object = None


def read_fields(item: bytes | msgspec.Raw) -> ItemFields:
    """Return the readable fields of one object in JSON; none if it is no such object."""
    try:
        found = msgspec.json.decode(item, type=_Item)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as exc:
        return ItemFields(problem=f"it cannot be decoded: {exc}")
    quantity, problem = _quantity(found.quantity, found.quantity_direction)
    return ItemFields(
        symbol=_text(found.symbol) or "",
        instrument_type=_text(found.instrument_type) or "",
        underlying=_text(found.underlying_symbol),
        streamer_symbol=streamer_symbol(found.streamer_symbol),
        expires_on=day_of(found.expires_at),
        multiplier=positive(found.multiplier),
        quantity=quantity,
        problem=problem,
    )


def positive(value: object) -> Decimal | None:
    """Return a number in any form if it can be a multiplier, otherwise `None`."""
    number = as_number(value)
    return number if number is not None and _LEAST < number <= _MOST else None


def as_number(value: object) -> Decimal | None:
    """Return a finite number in any form, otherwise `None`."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    try:
        number = Decimal(str(value))
    except (InvalidOperation, ValueError):  # ValueError: an int of thousands of digits
        return None
    return number if number.is_finite() else None


def day_of(value: object) -> date | None:
    """Return the day of a time in ISO 8601, UTC; `None` if it is none."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        return (moment.astimezone(UTC) if moment.tzinfo else moment).date()
    except (ValueError, OverflowError):
        return None


def streamer_symbol(value: object) -> StreamerSymbol | None:
    """Return dxFeed's symbol, `None` if the value is no symbol."""
    text = _text(value)
    return None if text is None or " " in text else StreamerSymbol(text)


def _quantity(value: object, direction: object) -> tuple[Decimal | None, str]:
    """Return the quantity, negative when short, or `None` and the reason."""
    quantity = as_number(value)
    if quantity is None or abs(quantity) > _MOST:
        return None, "its quantity is not a number"
    if quantity == 0:
        return Decimal(0), ""
    match direction:
        case "Long":
            return abs(quantity), ""
        case "Short":
            return -abs(quantity), ""
        case "Zero":
            return Decimal(0), ""
    return None, "it does not say whether it is long or short"


def _text(value: object) -> str | None:
    """Return a short text of printable characters, otherwise `None`."""
    if not isinstance(value, str):
        return None
    text = value.strip()
    return text if text.isprintable() and 0 < len(text) <= LONGEST_SYMBOL else None
