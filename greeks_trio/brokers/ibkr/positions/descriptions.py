"""The parts of IBKR's description of a contract.  Pure.

====================================================  ================================
``SPY    JAN2025 440 C [SPY   250117C00440000 100]``  an OCC symbol and the multiplier
``SAP    DEC2027 250 C [C SAP 20271217 250 M 100]``   another exchange's symbol
``CL     MAR2026 56 P [LOJ6 P5600 1000]``             class and month of a futures option
``ES     JUN2027 6040 C (E2D)``                       the trading class
``MES    MAR2027 7000 C``                             the class is the product
``ES       DEC2027``, ``ESZ7``                        a future
====================================================  ================================
"""

from __future__ import annotations

import re
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Final, Literal

import msgspec

from greeks_trio.model.contracts import OptionType, strip_month_code
from greeks_trio.model.instruments import FutureTerms, parse_future

# "ES     JUN2027 6040 C": the product, the month, and an option's strike and right.
_HEAD: Final = re.compile(
    r"(?P<symbol>\S.*?)\s+(?P<month>[A-Z]{3})(?P<year>20\d\d)\b"
    r"(?:\s+(?P<strike>-?[\d,]*\.?\d+)\s+(?P<right>C|P|CALL|PUT)\b)?",
    re.IGNORECASE,
)
_BRACKET: Final = re.compile(r"\[([^\]]*)\]")
_CLASS: Final = re.compile(r"\(\s*([A-Z0-9]{1,6})\s*\)")
# "SPY Jan17'25 440 Call": the day, which the description leaves out.
_DAY: Final = re.compile(r"\b([A-Z][a-z]{2})(\d{1,2})'(\d\d)\b")
# "CL Apr'26", "CL APR2026": the month of a future.
_MONTH: Final = re.compile(r"\b([A-Z][A-Za-z]{2}) ?'?(20\d\d|\d\d)\b(?!')")
_MONTHS: Final = "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC".split()  # noqa: SIM905

# "SPY   250117C00440000 100"; a root with a space in it is written without ("BRKB").
_OCC: Final = re.compile(
    r"(?P<root>[A-Z0-9./ ]{1,8}?)\s*(?P<rest>\d{6}[CP]\d{8})(?:\s+(?P<multiplier>[\d.,]+))?"
)
# "C OESX 20271217 5800 M 10"; the letter is the kind of series, and both may be absent.
_OTHER: Final = re.compile(
    r"(?P<right>[CP])\s+(?P<root>\S+)\s+(?P<day>\d{8})\s+(?P<strike>-?[\d.]+)"
    r"(?:\s+[A-Z]+\d?)?(?:\s+(?P<multiplier>[\d.,]+)\b)?.*"
)
# "LOJ6 P5600 1000": the strike is without its decimal point.
_FUTURE_OPTION: Final = re.compile(
    r"(?P<root>[A-Z0-9]{2,7})\s+(?P<right>[CP])-?[\d.,]+(?:\s+(?P<multiplier>[\d.,]+))?"
)
_FUTURE: Final = re.compile(r"(?P<root>[A-Z0-9]{3,7})(?:\s+(?P<multiplier>[\d.,]+))?")
_NO_ROOT: Final = re.compile(r"[ ./]")

BracketForm = Literal["occ", "other", "future_option", "future", "unreadable"]


class Bracket(msgspec.Struct, frozen=True):
    """The contract's own symbol, which stands in brackets.

    Attributes:
        root: The OCC root, or the trading class, or a future's whole symbol.
        occ: The OCC symbol without padding.
    """

    form: BracketForm
    root: str | None = None
    occ: str | None = None
    expiration: date | None = None
    strike: Decimal | None = None
    option_type: OptionType | None = None
    multiplier: Decimal | None = None


class Description(msgspec.Struct, frozen=True):
    """The parts of a description.

    Attributes:
        symbol: The text before the month.
        month, year: Of a future the month of the contract, of an option that of its
            expiration.
        trading_class: The text in parentheses.
        bracket: `None` without brackets.
    """

    symbol: str | None = None
    month: int | None = None
    year: int | None = None
    strike: Decimal | None = None
    option_type: OptionType | None = None
    trading_class: str | None = None
    bracket: Bracket | None = None


def read_description(text: str | None) -> Description:
    """Return the parts of the text; those that it lacks are `None`."""
    text = (text or "").strip()
    bracket = _BRACKET.search(text)
    named = _CLASS.search(text)
    head = _HEAD.match(text)
    plain_text = text[: bracket.start()] if bracket else text
    year = int(head["year"]) if head else None
    return Description(
        symbol=(head["symbol"] if head else plain_text).strip() or None,
        month=_month(head["month"]) if head else None,
        year=year,
        strike=_decimal(head["strike"]) if head else None,
        option_type=read_right(head["right"]) if head else None,
        trading_class=named[1] if named else None,
        bracket=_read_bracket(bracket[1].strip(), year) if bracket else None,
    )


# The options of a portfolio share their days.
@lru_cache(maxsize=1024)
def read_day(text: str | None) -> date | None:
    """Return the day that ``20271217`` names."""
    try:
        return datetime.strptime(text or "", "%Y%m%d").date()  # noqa: DTZ007
    except ValueError:
        return None


def day_in_name(text: str | None) -> date | None:
    """Return the day that a full name like ``SPY Jan17'25 440 Call`` has."""
    found = _DAY.search(text or "")
    month = _month(found[1]) if found else None
    if found is None or month is None:
        return None
    try:
        return date(2000 + int(found[3]), month, int(found[2]))
    except ValueError:
        return None


def month_in_name(text: str | None) -> tuple[int, int] | None:
    """Return year and month that a full name like ``CL Apr'26`` has, without a day."""
    for found in _MONTH.finditer(text or ""):
        month = _month(found[1])
        if month is not None:
            return 2000 + int(found[2][-2:]), month
    return None


def read_right(text: str | None) -> OptionType | None:
    """Return the right that ``C``, ``P``, ``CALL`` or ``PUT`` names."""
    match (text or "").upper():
        case "C" | "CALL":
            return "call"
        case "P" | "PUT":
            return "put"
    return None


def read_future(text: str | None, expiration: date | None) -> FutureTerms | None:
    """Return the terms of ``ESZ27``, and of ``ESZ7`` if the expiration is known."""
    found = _FUTURE.fullmatch((text or "").strip())
    if found is None or (expiration is None and not found["root"][-2:].isdigit()):
        return None
    try:
        return parse_future(f"/{found['root']}", not_before=expiration or date.min)
    except ValueError:
        return None


def _read_bracket(text: str, year: int | None) -> Bracket:
    if found := _OCC.fullmatch(text):
        return _read_occ(found)
    if found := _OTHER.fullmatch(text):
        return Bracket(
            "other",
            found["root"],
            expiration=read_day(found["day"]),
            strike=_decimal(found["strike"]),
            option_type=read_right(found["right"]),
            multiplier=_decimal(found["multiplier"]),
        )
    if found := _FUTURE_OPTION.fullmatch(text):
        return Bracket(
            "future_option",
            _without_month(found["root"], year),
            option_type=read_right(found["right"]),
            multiplier=_decimal(found["multiplier"]),
        )
    if found := _FUTURE.fullmatch(text):
        multiplier = _decimal(found["multiplier"])
        return Bracket("future", found["root"], multiplier=multiplier)
    return Bracket("unreadable")


def _without_month(root: str, year: int | None) -> str:
    """Return the class in ``LOJ6``.

    The class EX3 ends like a code too, but not with the year of the expiration, or of the
    future that expires after it.
    """
    years = () if year is None else (year, year + 1)
    digits = root[-2:] if root[-2:].isdigit() else root[-1:]
    if years and int(digits) not in {each % 10 ** len(digits) for each in years}:
        return root
    return strip_month_code(root)


def _read_occ(found: re.Match[str]) -> Bracket:
    """Return the parts of an OCC symbol; other exchanges use its form, too."""
    root, rest = _NO_ROOT.sub("", found["root"]), found["rest"]
    return Bracket(
        "occ",
        root,
        f"{root:<6}{rest}",
        expiration=read_day(f"20{rest[:6]}"),
        strike=Decimal(rest[7:]).scaleb(-3),
        option_type=read_right(rest[6]),
        multiplier=_decimal(found["multiplier"]),
    )


def _month(text: str) -> int | None:
    name = text.upper()
    return _MONTHS.index(name) + 1 if name in _MONTHS else None


def _decimal(text: str | None) -> Decimal | None:
    try:
        return Decimal(text.replace(",", "")) if text else None
    except InvalidOperation:
        return None
