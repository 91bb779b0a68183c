"""The identity of an option contract, the same from every broker.

For options that the OCC clears, ``contract_key`` is the 21-character OCC symbol::

    SPY   261218C00600000
    root  yymmdd R strike x 1000, eight digits
    (6)

The OCC does not clear futures options.  Their key is ``./``, the trading class padded to
four, the expiration, the right and the plain strike, which may be negative::

    ./LO  260317P56
    ./EW4 190927P2975

Brokers add a month and year code to the class (``LOJ6``).  The key leaves it out: it adds
nothing to the expiration, and its one-digit year repeats every decade.

`greeks_trio.model.instruments` has the keys of all other instruments.

Source: OCC Options Symbology Initiative; dxFeed symbol guide.
"""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from typing import Final, Literal, NewType

import msgspec

ContractKey = NewType("ContractKey", str)
Conid = NewType("Conid", int)
StreamerSymbol = NewType("StreamerSymbol", str)
OptionType = Literal["call", "put"]

_OCC: Final = re.compile(r"([A-Z0-9./]{1,6}) *(\d{6})([CP])(\d{8})")
_STREAMER: Final = re.compile(r"\.([A-Z0-9/]{1,6}?)(\d{6})([CP])(\d+(?:\.\d+)?)")
_FUTURE_KEY: Final = re.compile(r"\./([A-Z0-9]{1,6}) *(\d{6})([CP])(-?\d+(?:\.\d+)?)")
_MONTH_CODE: Final = re.compile(r"[FGHJKMNQUVXZ]\d{1,2}$")

# Roots whose underlying has another symbol.  Cboe and Nasdaq list the weekly and
# PM-settled series of these indices under a root of their own.
UNDERLYING_BY_ROOT: Final = {
    "SPXW": "SPX",
    "NDXP": "NDX",
    "RUTW": "RUT",
    "VIXW": "VIX",
    "DJXW": "DJX",
    "OEXW": "OEX",
    "XEOW": "XEO",
    "MRUTW": "MRUT",
    "BRKA": "BRK/A",
    "BRKB": "BRK/B",
    "BFA": "BF/A",
    "BFB": "BF/B",
}
_MAX_THOUSANDTHS: Final = 10**8


class OptionTerms(msgspec.Struct, frozen=True):
    """The terms of an option as its symbol gives them.

    ``strike`` is in units of the option's currency.
    """

    root: str
    expiration: date
    option_type: OptionType
    strike: Decimal


class OptionContract(msgspec.Struct, frozen=True, kw_only=True):
    """One option, in the same terms for every broker.

    Attributes:
        underlying: The key of the underlying, not the option root: SPX for SPXW,
            ``/ESM27`` for an option on that future.
        multiplier: Units of the underlying per contract; `None` if it is not known.
        price_factor: Currency per quoted unit, such as 0.01 for cents; `None` if it is
            not known.
        exchange: Where it trades, in the broker's words; `None` if that is not known.
    """

    contract_key: ContractKey
    underlying: str
    expiration: date
    strike: Decimal
    option_type: OptionType
    kind: Literal["option", "future_option"] = "option"
    multiplier: Decimal | None = None
    price_factor: Decimal | None = None
    exchange: str | None = None


def format_occ(terms: OptionTerms) -> ContractKey:
    """Return the OCC symbol.

    Raises:
        ValueError: the root or the strike does not fit the format.
    """
    thousandths = terms.strike * 1000
    if thousandths != int(thousandths) or not 0 <= thousandths < _MAX_THOUSANDTHS:
        raise ValueError(f"strike {terms.strike} does not fit an OCC symbol")
    if not 1 <= len(terms.root) <= 6:
        raise ValueError(f"root {terms.root!r} does not fit an OCC symbol")
    right = "C" if terms.option_type == "call" else "P"
    return ContractKey(
        f"{terms.root:<6}{terms.expiration:%y%m%d}{right}{int(thousandths):08d}"
    )


def parse_occ(text: str) -> OptionTerms:
    """Return the terms that an OCC symbol gives; the spaces inside are optional.

    Raises:
        ValueError: the text is not an OCC symbol.
    """
    found = _OCC.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is not an OCC symbol")
    root, day, right, thousandths = found.groups()
    return OptionTerms(
        _occ_root(root),
        _parse_day(day),
        _option_type(right),
        plain(Decimal(thousandths) / 1000),
    )


def contract_from_occ(text: str, underlying: str | None = None) -> OptionContract:
    """Return the contract of an OCC symbol.

    Without ``underlying`` the root gives the underlying.

    Raises:
        ValueError: the text is not an OCC symbol.
    """
    terms = parse_occ(text)
    return OptionContract(
        contract_key=format_occ(terms),
        underlying=underlying_symbol(underlying or underlying_of_root(terms.root)),
        expiration=terms.expiration,
        strike=terms.strike,
        option_type=terms.option_type,
    )


def format_streamer_symbol(terms: OptionTerms) -> StreamerSymbol:
    """Return dxFeed's symbol of an equity or index option: ``.SPY260116C600``."""
    right = "C" if terms.option_type == "call" else "P"
    return StreamerSymbol(
        f".{terms.root}{terms.expiration:%y%m%d}{right}{plain(terms.strike):f}"
    )


def parse_streamer_symbol(text: str) -> OptionTerms:
    """Return the terms that dxFeed's symbol of an equity or index option gives.

    Raises:
        ValueError: the text is no such symbol; a futures option (``./...:XCME``) is not.
    """
    found = _STREAMER.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a streamer symbol of an equity option")
    root, day, right, strike = found.groups()
    return OptionTerms(
        _occ_root(root), _parse_day(day), _option_type(right), plain(Decimal(strike))
    )


def format_future_option_key(terms: OptionTerms) -> ContractKey:
    """Return our key of a futures option; ``root`` is the trading class."""
    right = "C" if terms.option_type == "call" else "P"
    return ContractKey(
        f"./{terms.root:<4}{terms.expiration:%y%m%d}{right}{plain(terms.strike):f}"
    )


def parse_future_option_key(text: str) -> OptionTerms:
    """Return the terms that our key of a futures option gives.

    Raises:
        ValueError: the text is not such a key.
    """
    found = _FUTURE_KEY.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not the key of a futures option")
    root, day, right, strike = found.groups()
    return OptionTerms(
        root, _parse_day(day), _option_type(right), plain(Decimal(strike))
    )


def strip_month_code(root: str) -> str:
    """Return a futures symbol's product root: ``LOJ6`` gives ``LO``."""
    return _MONTH_CODE.sub("", root) or root


def underlying_of_root(root: str) -> str:
    """Return the underlying's symbol for an OCC root: SPX for SPXW, AAPL for AAPL1.

    After a corporate action, the root of the adjusted contracts ends in a digit.
    """
    name = root.rstrip("0123456789") or root
    return UNDERLYING_BY_ROOT.get(name) or underlying_symbol(name)


def underlying_symbol(text: str) -> str:
    """Return one spelling for both brokers: ``BRK B`` and ``BRK.B`` give ``BRK/B``.

    London's symbols of two letters end with a point, which is left out: ``BP.``.
    """
    return re.sub(r"[ .]+", "/", text.strip().rstrip(". "))


def plain(value: Decimal) -> Decimal:
    """Return the number without trailing zeros, an exponent, or the sign of minus zero."""
    normal = value.normalize() + 0
    return normal.quantize(Decimal(1)) if normal == normal.to_integral() else normal


def _occ_root(text: str) -> str:
    """Return the root without the point of a share class: ``BRKB``."""
    return re.sub(r"[./]", "", text)


def _option_type(right: str) -> OptionType:
    return "call" if right == "C" else "put"


def _parse_day(yymmdd: str) -> date:
    return date(2000 + int(yymmdd[:2]), int(yymmdd[2:4]), int(yymmdd[4:]))
