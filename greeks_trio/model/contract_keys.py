"""Contract keys as people type them -> contract keys as they are stored.  Pure.

Spaces and small letters never matter.  These texts name the same contract:

=====================  ================================================================
stored                 also typed as
=====================  ================================================================
SPY   261211C00663000  ``SPY261211C00663000``, ``spy 261211 c 00663000``,
                       ``.SPY261211C663`` (dxFeed)
./EX3 270219C7100      ``./EX3270219C7100``, ``./ESM7 EX3M7 270219C7100`` (Tastytrade)
/ESZ27                 ``/esz27``, ``/ESZ27:XCME`` (dxFeed)
BRK/B                  ``BRK.B``, ``brk b``, ``BRK-B``, ``BRKB``
RY:CAD                 ``ry:cad``
ibkr:702               ``IBKR: 702``
tastytrade:BTC/USD     ``tastytrade:btc/usd``
=====================  ================================================================

A text with two meanings is refused, never guessed.

Source: OCC Options Symbology Initiative; dxFeed symbol guide; Tastytrade's "Symbology".
"""

from __future__ import annotations

import re
from collections.abc import Collection
from decimal import Decimal, InvalidOperation
from typing import Final

from greeks_trio.model.contracts import (
    UNDERLYING_BY_ROOT,
    ContractKey,
    OptionTerms,
    format_future_option_key,
    format_occ,
    parse_future_option_key,
    parse_occ,
    parse_streamer_symbol,
    underlying_symbol,
)
from greeks_trio.model.instruments import broker_key, share_key
from greeks_trio.model.records import Broker

KEY_EXAMPLES: Final = (
    "SPY261211C00663000 (option), ./EX3 270219C7100 (futures option), /ESZ27 (future), "
    "BRK/B or RY:CAD (share), ibkr:702 (anything else, by the broker's id)"
)
UNDERLYING_EXAMPLES: Final = (
    "SPY, BRK/B or RY:CAD (share), SPX (index), /ESZ27 (future), ibkr:702 (by the "
    "broker's id)"
)

_SHOWN: Final = 64
_MONTH: Final = "[FGHJKMNQUVXZ]"
_OCC: Final = re.compile(r"([A-Z0-9./]{1,8}?)(\d{6}[CP]\d{8})")
_LIKE_OPTION: Final = re.compile(r"[^:]{1,12}\d{6}[CP]\d")
_FUTURE_OPTION: Final = re.compile(
    r"\./(?P<codes>[A-Z0-9]+( [A-Z0-9]+)?) ?(?P<terms>\d{6} ?[CP] ?-?\d+(\.\d+)?)"
)
# Of a key that has one code, the trading class.
_LONGEST_CLASS: Final = 6
# Tastytrade's codes: those of the future and of the option, with month and year.
_FUTURE_CODE: Final = re.compile(rf"[A-Z0-9]{{1,4}}?{_MONTH}(?P<year>\d{{1,2}})")
_OPTION_CODE: Final = re.compile(
    rf"(?P<root>[A-Z0-9]{{1,6}}?){_MONTH}(?P<year>\d{{1,2}})"
)
_STREAMED_BY_MONTH: Final = re.compile(
    rf"\./[A-Z0-9]{{1,4}}{_MONTH}\d{{2}}[CP]-?\d+(\.\d+)?(:[A-Z]{{4}})?"
)
# With the month and year of the contract, which our key leaves out.
_CODED_ROOT: Final = re.compile(rf"([A-Z0-9]{{2,}}?){_MONTH}(\d{{1,2}})")
_FUTURE: Final = re.compile(
    rf"/(?P<root>[A-Z0-9]{{1,8}}?)(?P<month>{_MONTH})(?P<year>\d{{1,2}})(:[A-Z]{{4}})?"
)
_PRODUCT: Final = re.compile(r"/[A-Z0-9]{0,7}[A-Z]")
_SYMBOL: Final = re.compile(r"[A-Z0-9&]{1,12}(/[A-Z]{1,3}){0,2}")
# A share class after a hyphen, as some websites write it.
_HYPHEN: Final = re.compile(r"(?<=[A-Z])-(?=[A-Z]{1,2}$)")
_MARKET: Final = re.compile(r"(?=.*[A-Z])[A-Z0-9][A-Z0-9.]{1,11}")
# Their shares have no market in their keys.
_AMERICAN: Final = frozenset(
    (
        *("NYSE", "NASDAQ", "NASDAQ.NMS", "NMS", "ISLAND", "ARCA", "AMEX", "BATS"),
        *("IEX", "CBOE", "SMART", "PINK", "OTC"),
    )
)
# A future without its slash.
_BARE_FUTURE: Final = re.compile(rf"[A-Z0-9]{{1,3}}{_MONTH}[2-4]\d")
# Shares of other markets have such symbols too, with their market: PAH3:IBIS.  A 1, 2 or 3
# may end the root of an adjusted series, such as GM1.
_BARE_FUTURE_ONE_DIGIT: Final = re.compile(
    rf"(?P<product>[A-Z0-9]{{1,3}}{_MONTH})(?P<year>[04-9])"
)
_INDICES_LIKE_FUTURES: Final = frozenset(("OMXH25", "IBEX35"))


def parse_contract_key(text: str, brokers: Collection[Broker]) -> ContractKey:
    """Return the stored key of the contract that a text names.

    Args:
        text: In any of the spellings above.
        brokers: The names that may stand before a broker's own id.

    Raises:
        ValueError: The text names no contract, or more than one.  The message says why,
            and gives examples.
    """
    try:
        key = _key(text, brokers)
        _check_share(key)
    except _Odd as exc:
        raise ValueError(f"{_shown(text)} {exc}; use such as {KEY_EXAMPLES}") from None
    return key


def parse_underlying(text: str, brokers: Collection[Broker]) -> ContractKey:
    """Return the stored key of the share, index or future that a text names.

    Raises:
        ValueError: The text names an option, nothing, or more than one thing.
    """
    try:
        key = _key(text, brokers)
        _check_underlying(key)
    except _Odd as exc:
        raise ValueError(
            f"{_shown(text)} {exc}; use such as {UNDERLYING_EXAMPLES}"
        ) from None
    return key


def parse_option_key(text: str) -> ContractKey:
    """Return the stored key of the option or futures option that a symbol names.

    Raises:
        ValueError: The text is not the symbol of an option, or the symbol of several.
            The message does not repeat the text.
    """
    try:
        found = _option_key(_clean(text))
    except _Odd as exc:
        raise ValueError(str(exc)) from None
    if found is None:
        raise ValueError("names no option")
    return found


class _Odd(Exception):
    """The reason why a text names no contract, without the text itself."""


def _key(text: str, brokers: Collection[Broker]) -> ContractKey:
    prefix, colon, own_id = (part.strip() for part in text.partition(":"))
    if colon and prefix.lower() in brokers:
        return _own_key(prefix.lower(), own_id)
    typed = _clean(text)
    return _option_key(typed) or _other_key(typed, brokers)


def _clean(text: str) -> str:
    """Return the text in capitals, with single spaces."""
    return " ".join(text.split()).upper()


def _shown(text: str) -> str:
    return ascii(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")


def _option_key(typed: str) -> ContractKey | None:
    """Return the key of an option or futures option; `None` for other instruments."""
    # Python takes the digits of every alphabet, and some look like others.
    if not typed.isascii():
        raise _Odd("has characters that no symbol has")
    if typed.startswith("./"):
        return _future_option_key(typed)
    packed = typed.replace(" ", "")
    try:
        if packed.startswith("."):
            return format_occ(parse_streamer_symbol(packed))
        if _OCC.fullmatch(packed) is None:
            if _LIKE_OPTION.match(packed):
                raise _Odd(
                    "looks like an option, but an OCC symbol has eight digits of strike, "
                    "and a futures option begins with ./"
                )
            return None
        return format_occ(parse_occ(packed))
    except (ValueError, InvalidOperation):
        raise _Odd("is not the symbol of an option") from None


def _future_option_key(typed: str) -> ContractKey:
    if _STREAMED_BY_MONTH.fullmatch(typed) is not None:
        raise _Odd("has no day of expiration")
    found = _FUTURE_OPTION.fullmatch(typed)
    if found is None:
        raise _Odd("is not the symbol of a futures option")
    codes, terms = found["codes"], found["terms"]
    if " " in codes or len(codes) > _LONGEST_CLASS:
        _, option = _split(codes, terms)
        return _formatted(option["root"], terms)
    if (known := _without_code(codes, terms)) is not None:
        raise _Odd(
            f"can have the class {codes}, or the class {known} with a month and a year; "
            f"write ./{known} {terms} for the class {known}"
        )
    return _formatted(codes, terms)


def _split(codes: str, terms: str) -> tuple[str, re.Match[str]]:
    """Return the codes of the future and of the option.

    Tastytrade leaves a space between them only after a short code.
    """
    first, space, last = codes.partition(" ")
    places = range(1, len(codes))
    cuts = [(first, last)] if space else [(codes[:at], codes[at:]) for at in places]
    found = [
        (future[0], option)
        for first, last in cuts
        if (future := _FUTURE_CODE.fullmatch(first)) is not None
        and (option := _OPTION_CODE.fullmatch(last)) is not None
        and _is_year_of(terms, option["year"])
        and (space or len(future["year"]) == len(option["year"]))
    ]
    if not found:
        raise _Odd("is not the symbol of a futures option")
    if len(found) > 1:
        raise _Odd("can be read in two ways; write a space between future and option")
    return found[0]


def _without_code(root: str, terms: str) -> str | None:
    """Return the class in ``LOJ6``, `None` if the end is no month and year.

    A class such as ZN2 or EX3 ends like a code too, but with less before it, and seldom
    with the year of the expiration.
    """
    found = _CODED_ROOT.fullmatch(root)
    return found[1] if found and _is_year_of(terms, found[2]) else None


def _is_year_of(terms: str, digits: str) -> bool:
    """Return whether the last digits of a year are those of the expiration or the next.

    A code names the month of the future, which expires after the option.
    """
    year, some = int(terms[:2]), 10 ** len(digits)
    return int(digits) in (year % some, (year + 1) % some)


def _formatted(root: str, terms: str) -> ContractKey:
    try:
        found = parse_future_option_key(f"./{root} {terms.replace(' ', '')}")
    except (ValueError, InvalidOperation):
        raise _Odd("is not the symbol of a futures option") from None
    # Minus zero is zero.
    strike = found.strike or Decimal(0)
    return format_future_option_key(
        OptionTerms(root, found.expiration, found.option_type, strike)
    )


def _other_key(typed: str, brokers: Collection[Broker]) -> ContractKey:
    if typed.startswith("/"):
        return _future_key(typed.replace(" ", ""))
    first, colon, last = (part.strip() for part in typed.partition(":"))
    if not colon:
        return share_key(_share_symbol(first))
    if _MARKET.fullmatch(last) is None:
        raise _Odd(f"begins with {first!a}, which is no broker ({', '.join(brokers)})")
    return share_key(_symbol(first), market=None if last in _AMERICAN else last)


def _future_key(packed: str) -> ContractKey:
    found = _FUTURE.fullmatch(packed)
    if found is None:
        if _PRODUCT.fullmatch(packed) is not None:
            raise _Odd("names a product, not one of its futures")
        raise _Odd("is not the symbol of a future")
    root, month, year = found["root"], found["month"], found["year"]
    if len(year) == 1:
        raise _Odd(
            f"has no decade; write two digits of the year: /{root}{month}2{year}"
        )
    return ContractKey(f"/{root}{month}{year}")


def _own_key(broker: Broker, own_id: str) -> ContractKey:
    """Return the key with a broker's own id.

    An id without any capital letter is put in capitals, as both brokers write them.  The
    texts of unreadable rows, which begin with a question mark, stay as they are.
    """
    if not own_id:
        raise _Odd("has no id after the broker")
    if own_id.startswith("?"):
        return broker_key(broker, own_id)
    typed = _clean(own_id)
    if not typed.isascii():
        return broker_key(broker, own_id)
    found = _FUTURE_OPTION.fullmatch(typed)
    if found is not None and (
        " " in found["codes"] or len(found["codes"]) > _LONGEST_CLASS
    ):
        future, option = _split(found["codes"], found["terms"])
        terms = found["terms"].replace(" ", "")
        return broker_key(broker, f"./{future:<5}{option[0]:<6}{terms}")
    if _option_key(typed) is not None:
        raise _Odd("has a broker before a symbol; write the symbol alone")
    return broker_key(broker, typed if own_id == own_id.lower() else own_id)


def _share_symbol(typed: str) -> str:
    """Return the symbol of a share or index without a market, as it is stored."""
    symbol = _symbol(typed)
    if symbol.isdigit():
        raise _Odd(f"is only a number; write ibkr:{symbol} or {symbol}:SEHK")
    looks_like_future = _BARE_FUTURE.fullmatch(symbol) is not None
    if looks_like_future and symbol not in _INDICES_LIKE_FUTURES:
        raise _Odd(f"looks like a future; write /{symbol}")
    if (found := _BARE_FUTURE_ONE_DIGIT.fullmatch(symbol)) is not None:
        raise _Odd(f"looks like a future; write /{found['product']}2{found['year']}")
    if re.search(r"\d{5}", symbol) is not None:
        raise _Odd("has more digits than the symbol of a share")
    return UNDERLYING_BY_ROOT.get(symbol, symbol)


def _check_share(key: ContractKey) -> None:
    """Refuse a word that is too long for a share; some indices have long names."""
    if re.fullmatch(r"[A-Z0-9&]{7,}(/.*)?", key) is not None:
        raise _Odd("is no contract")


def _check_underlying(key: ContractKey) -> None:
    if key.startswith("./") or _OCC.fullmatch(key.replace(" ", "")) is not None:
        raise _Odd("names an option, not an underlying")


def _symbol(typed: str) -> str:
    symbol = underlying_symbol(_HYPHEN.sub("/", typed))
    if _SYMBOL.fullmatch(symbol) is None:
        raise _Odd("is no contract")
    return symbol
