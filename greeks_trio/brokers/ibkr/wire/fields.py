"""IBKR's market-data fields: their numbers, our names, and the format of texts.  Pure.

Each number may come as JSON text or as a JSON number, against the documentation:
``"271.55"``, ``0.56``, ``"3,500"``, ``"24.2M"``, ``"31.4%"``, ``1.22E7``.  Absent
means unchanged; an empty text, ``N/A`` and ``-`` mean that there is no value.

Source: https://ibkrcampus.com/campus/ibkr-api-page/cpapi-v1/#market-data-fields
"""

from __future__ import annotations

from math import isfinite
from typing import Final, Literal, NamedTuple, TypeAlias

import msgspec

from greeks_trio.model.records import Availability

# The types of a field after msgspec has decoded it.
Scalar: TypeAlias = str | float | int | None


class Field(NamedTuple):
    """One row of IBKR's list of market-data fields."""

    number: str
    name: str
    unit: str


# In the order in which the protocol keeps them.  7633 is the volatility of this
# strike; 7283, which we do not ask for, is the 30-day one of the underlying.  88 is the
# size of the bid and 85 that of the ask; both are easily taken for a price.
FIELDS: Final = (
    Field("7308", "delta", "per 1.00 of the underlying"),
    Field("7309", "gamma", "per 1.00 of the underlying, squared"),
    Field("7310", "theta", "per calendar day"),
    Field("7311", "vega", "per volatility point"),
    Field("7633", "implied_volatility", "percent; a fraction after `parse_percent`"),
    Field("6509", "availability", "letters, of which the first one counts"),
    Field("31", "last", "currency; C in front: previous close, H: halted"),
    Field("84", "bid", "currency"),
    Field("86", "ask", "currency"),
    Field("7635", "mark", "currency; the only price of some indices, such as VIX"),
)

_PRICES: Final = ("31", "84", "86", "7635")
OPTION_FIELDS: Final = ("7308", "7309", "7310", "7311", "7633", "6509", *_PRICES)
UNDERLYING_FIELDS: Final = (*_PRICES, "6509")

_AVAILABILITY: Final[dict[str, Availability]] = {
    "R": "realtime",
    "D": "delayed",
    "Z": "frozen",
    "Y": "frozen",
}
# The same letters, and those that bring no data, as words to count and to show.
LETTER_WORDS: Final = {
    "R": "realtime",
    "D": "delayed",
    "Z": "frozen",
    "Y": "frozen-delayed",
    "N": "not-subscribed",
    "O": "not-acknowledged",
}
_NO_VALUE: Final = frozenset(("", "N/A", "n/a", "-", "--"))
_SUFFIXES: Final = {"K": 1e3, "M": 1e6, "B": 1e9}

PriceKind = Literal["trade", "close", "halted"]


class Price(msgspec.Struct, frozen=True, gc=False):
    """A price, and the meaning of the letter in front of it."""

    value: float
    kind: PriceKind = "trade"


class Unreadable(ValueError):
    """The text is none of the formats that IBKR uses."""


def parse_number(raw: object) -> float | None:
    """Return the number, `None` when IBKR says that there is none.

    NaN and the infinities, which no field can mean, are `None` too.

    Raises:
        Unreadable: it is neither a number nor a text that reads as one.
    """
    if isinstance(raw, str):
        return _parse_text(raw)
    if raw is None:
        return None
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        raise Unreadable(type(raw).__name__)
    return _finite(raw)


def parse_percent(raw: object) -> tuple[float | None, bool]:
    """Return the fraction that a percentage stands for, and whether it had its sign.

    The field is documented in percent, so a number without the sign is one too;
    callers count it.

    Raises:
        Unreadable: as `parse_number`.
    """
    signed = isinstance(raw, str) and raw.rstrip().endswith("%")
    percent = parse_number(raw)
    if percent is None:
        return None, True
    return percent / 100, signed


def parse_price(raw: object) -> Price | None:
    """Return a price with the meaning of its prefix, `None` when there is none.

    Raises:
        Unreadable: as `parse_number`.
    """
    kind: PriceKind = "trade"
    if isinstance(raw, str):
        raw = raw.strip()
        if raw[:1] in ("C", "H"):
            kind = "close" if raw[0] == "C" else "halted"
            raw = raw[1:]
    value = parse_number(raw)
    return None if value is None else Price(value, kind)


def parse_letter(raw: object) -> str | None:
    """Return the first letter of field 6509, `None` for an empty text."""
    if not isinstance(raw, str) or raw.strip() in _NO_VALUE:
        return None
    return raw.strip()[0]


def availability_of(letter: str | None) -> Availability:
    """Return the availability that the first letter of field 6509 stands for."""
    return _AVAILABILITY.get(letter or "", "unknown")


def _parse_text(text: str) -> float | None:
    try:
        # Nearly every value; float() also takes "1_000", which is no number here.
        number = float(text) if "_" not in text else _parse_decorated(text)
    except ValueError:
        return _parse_decorated(text)
    return number if number is None or isfinite(number) else None


def _parse_decorated(text: str) -> float | None:
    text = text.strip()
    if text in _NO_VALUE:
        return None
    bare = text.removesuffix("%").strip().replace(",", "")
    if bare[:1] in ("C", "H"):
        bare = bare[1:]
    factor = _SUFFIXES.get(bare[-1:].upper(), 1.0)
    if factor != 1.0:
        bare = bare[:-1]
    if "_" in bare:
        raise Unreadable(text)
    try:
        return _finite(float(bare) * factor)
    except ValueError as exc:
        raise Unreadable(text) from exc


def _finite(number: float) -> float | None:
    try:
        number = float(number)
    except OverflowError:  # an integer beyond the range of a double
        return None
    return number if isfinite(number) else None
