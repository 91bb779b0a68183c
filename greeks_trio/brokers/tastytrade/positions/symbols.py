"""Tastytrade's symbols of futures options -> terms, and dxFeed's symbols by rule.  Pure.

::

    ./CLM7 LOM7  270514P-5
    ./MNQZ26D4AZ26 261218C24575

First comes the code of the future, then that of the option, each with a month and a year
of one digit or two.  The future's code is padded to five, so a longer one leaves no space.

Source: https://developer.tastytrade.com, "Symbology"; dxFeed symbol guide.
"""

from __future__ import annotations

import re
from datetime import date
from typing import Final

import msgspec

from greeks_trio.brokers.tastytrade.positions.exchanges import EXCHANGE_BY_ROOT
from greeks_trio.model.contracts import (
    OptionTerms,
    StreamerSymbol,
    parse_future_option_key,
    plain,
)
from greeks_trio.model.instruments import (
    MONTH_CODES,
    FutureTerms,
    format_future_key,
    parse_future,
)

_SYMBOL: Final = re.compile(r"\./([A-Z0-9 ]+?) *(\d{6}[CP])(-?\d+(?:\.\d+)?)", re.ASCII)
_FUTURE_CODE: Final = re.compile(r"[A-Z0-9]{1,4}?[FGHJKMNQUVXZ](\d{1,2})")
_OPTION_CODE: Final = re.compile(r"([A-Z0-9]{1,6}?)([FGHJKMNQUVXZ])(\d{1,2})")


class FutureOptionSymbol(msgspec.Struct, frozen=True):
    """The content of the symbol of a futures option.

    Attributes:
        future: The future that the option delivers.
        future_symbol: Its symbol at Tastytrade: ``/CLM7``.
        code: The option's own month and year; the root is the trading class.
        terms: The option's terms; the root is the trading class.
    """

    future: FutureTerms
    future_symbol: str
    code: FutureTerms
    terms: OptionTerms

    @property
    def identity(self) -> str:
        """The same text for each spelling of this instrument, and for no other one."""
        code = format_future_key(self.code)
        return f"{format_future_key(self.future)} {code} {self.terms}"


def parse_future_option(symbol: str, underlying: str | None) -> FutureOptionSymbol:
    """Return the content of the symbol of a futures option.

    Args:
        symbol: The position's symbol.
        underlying: The position's underlying, which is a future; `None` if it names none.

    Raises:
        ValueError: The symbol is no such symbol.
    """
    found = _SYMBOL.fullmatch(symbol.strip())
    if found is None:
        raise ValueError("the symbol is not that of a futures option")
    future_code, option_code = _split(found[1], (underlying or "").strip("/ "))
    option = _OPTION_CODE.fullmatch(option_code)
    if option is None:
        raise ValueError(f"the option's code {option_code} has no month and year")
    terms = parse_future_option_key(f"./{option[1]} {found[2]}{found[3]}")
    future_symbol = (underlying or "").strip()
    try:
        future = parse_future(future_symbol, not_before=terms.expiration)
    except ValueError:  # some items name only the product
        future_symbol = f"/{future_code}"
        future = parse_future(future_symbol, not_before=terms.expiration)
    month = parse_future(f"/X{option[2]}{option[3]}", not_before=terms.expiration)
    return FutureOptionSymbol(
        future, future_symbol, FutureTerms(option[1], month.month, month.year), terms
    )


def future_of(
    symbol: str, streamer_symbol: str | None, *, not_before: date
) -> FutureTerms:
    """Return the terms of a future; the year comes from the streamer symbol if it can.

    Raises:
        ValueError: The symbol is not that of a future.
    """
    terms = parse_future(symbol, not_before=not_before)
    try:
        named = parse_future(
            (streamer_symbol or "").partition(":")[0], not_before=not_before
        )
    except ValueError:
        return terms
    is_same = (named.root, named.month) == (terms.root, terms.month)
    return named if is_same and (named.year - terms.year) % 10 == 0 else terms


def exchange_of(streamer_symbol: str | None) -> str | None:
    """Return the exchange that the symbol names: ``XCME`` in ``/ESZ27:XCME``."""
    return (streamer_symbol or "").partition(":")[2] or None


def future_by_rule(
    future: FutureTerms, exchange: str | None = None
) -> StreamerSymbol | None:
    """Return dxFeed's symbol of a future, `None` if its exchange is not known."""
    exchange = exchange or EXCHANGE_BY_ROOT.get(future.root)
    if exchange is None:
        return None
    return StreamerSymbol(f"{format_future_key(future)}:{exchange}")


def option_by_rule(
    symbol: FutureOptionSymbol, exchange: str | None = None
) -> StreamerSymbol | None:
    """Return dxFeed's symbol of a futures option, `None` without an exchange."""
    exchange = exchange or EXCHANGE_BY_ROOT.get(symbol.future.root)
    if exchange is None:
        return None
    terms, code = symbol.terms, symbol.code
    month, year = MONTH_CODES[code.month - 1], code.year % 100
    right = "C" if terms.option_type == "call" else "P"
    strike = f"{plain(terms.strike):f}"
    return StreamerSymbol(f"./{terms.root}{month}{year:02d}{right}{strike}:{exchange}")


def _split(codes: str, future: str) -> tuple[str, str]:
    """Return the codes of the future and of the option.

    Without a space, the position's future says where the first one ends.  Otherwise both
    have the same number of digits for the year.
    """
    parts = codes.split()
    if len(parts) == 2:
        return parts[0], parts[1]
    if len(parts) == 1:
        if future and _FUTURE_CODE.fullmatch(future) and codes.startswith(future):
            return future, codes[len(future) :]
        cuts = [(codes[:at], codes[at:]) for at in range(2, len(codes))]
        if len(alike := [each for each in cuts if _have_like_years(*each)]) == 1:
            return alike[0]
    raise ValueError(f"the codes {codes} are not those of a future and of an option")


def _have_like_years(future_code: str, option_code: str) -> bool:
    future = _FUTURE_CODE.fullmatch(future_code)
    option = _OPTION_CODE.fullmatch(option_code)
    return (
        future is not None and option is not None and len(future[1]) == len(option[3])
    )
