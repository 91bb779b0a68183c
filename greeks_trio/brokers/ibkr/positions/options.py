"""Options: of the OCC, of other exchanges, and on futures.  Pure."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from greeks_trio.brokers.ibkr.positions.descriptions import (
    Bracket,
    Description,
    day_in_name,
    read_day,
    read_right,
)
from greeks_trio.brokers.ibkr.positions.futures import product_of
from greeks_trio.brokers.ibkr.positions.instruments import (
    NOT_SAID,
    Find,
    Instrument,
    Unidentified,
    own_key,
)
from greeks_trio.brokers.ibkr.positions.price_factors import (
    future_price_factor,
    share_price_factor,
)
from greeks_trio.brokers.ibkr.positions.rows import Row
from greeks_trio.model.contracts import (
    UNDERLYING_BY_ROOT,
    Conid,
    OptionTerms,
    contract_from_occ,
    format_future_option_key,
    format_occ,
    plain,
)
from greeks_trio.model.instruments import share_key

# Indices that list further series, under another root, beside those of their own name.
# Without the bracket nothing in a row says which of the two it is.
_AMBIGUOUS_ROOTS: Final = frozenset(
    ("SPX", "NDX", "RUT", "VIX", "DJX", "OEX", "XEO", "MRUT")
)
_FOREIGN_OPTIONS: Final = frozenset(
    """
    EUREX DTB SOFFEX MONEP FTA BELFOX IDEM MEFFRV OMS ICEEU LIFFE CDE HKFE OSE OSE.JPN SGX
    ASX SNFE NSE KSE TSE TSEJ TAIFEX MEXDER
    """.split()  # noqa: SIM905
)
_NO_ROOT: Final = str.maketrans("", "", " ./")
_USUAL_MULTIPLIER: Final = Decimal(100)


def option(row: Row, conid: Conid, said: Description, find: Find) -> Instrument:
    """Return the option of a row on a share or an index."""
    occ = None if _is_foreign(row) else _occ_symbol(row, said)
    if occ is None:
        return _foreign_option(row, conid, said, find)
    try:
        contract = contract_from_occ(occ, row.symbol or _symbol_said(said))
    except ValueError as exc:
        raise Unidentified("its symbol names no possible contract") from exc
    multiplier = row.multiplier or (said.bracket.multiplier if said.bracket else None)
    is_adjusted = _is_unclear(occ, row, multiplier)
    return Instrument(
        conid=conid,
        contract_key=contract.contract_key,
        kind="option",
        underlying=contract.underlying,
        underlying_conid=row.underlying_conid,
        multiplier=None if is_adjusted or multiplier is None else plain(multiplier),
        currency=row.currency,
        expiration=contract.expiration,
        strike=contract.strike,
        option_type=contract.option_type,
        exchange=row.exchange,
        price_factor=Decimal(1),
        description=row.description,
        is_complete=(
            row.underlying_conid is not None
            and row.symbol is not None
            and multiplier is not None
        ),
        is_adjusted=is_adjusted,
    )


def future_option(row: Row, conid: Conid, said: Description, find: Find) -> Instrument:
    """Return the option of a row on a future."""
    bracket = said.bracket
    product = product_of(row, said)
    root = said.trading_class or _class_in(bracket) or row.trading_class
    if root is None and said.month is not None:
        # A description without a class means the class with the product's name.
        root = said.symbol or product
    if root is None:
        raise Unidentified(NOT_SAID + "trading class")
    terms = _terms(row, said, root)
    multiplier = row.multiplier or (bracket.multiplier if bracket else None)
    underlying, is_found = _underlying(row, find, f"/{product or root}")
    return Instrument(
        conid=conid,
        contract_key=format_future_option_key(terms),
        kind="future_option",
        underlying=underlying,
        underlying_conid=row.underlying_conid,
        multiplier=multiplier,
        currency=row.currency,
        expiration=terms.expiration,
        strike=terms.strike,
        option_type=terms.option_type,
        exchange=row.exchange,
        price_factor=future_price_factor(row, product or root, multiplier),
        description=row.description,
        is_complete=is_found and multiplier is not None,
    )


def _class_in(bracket: Bracket | None) -> str | None:
    if bracket is None or bracket.form == "future":
        return None
    return bracket.root


def _underlying(row: Row, find: Find, unnamed: str) -> tuple[str, bool]:
    """Return the key of the underlying, and whether that is its final one."""
    if row.underlying_conid is None:
        return unnamed, False
    found = find(row.underlying_conid)
    if found is None or found.underlying is None:
        return own_key(row.underlying_conid), False
    return found.underlying, True


def _is_foreign(row: Row) -> bool:
    """Return whether anything says that the OCC does not clear the option."""
    return (
        row.currency not in (None, "USD")
        or row.is_american is False
        or row.exchange in _FOREIGN_OPTIONS
    )


def _occ_symbol(row: Row, said: Description) -> str | None:
    """Return the OCC symbol.

    Returns `None` if the bracket has another exchange's symbol, or if two series have
    the terms that are known.
    """
    if said.bracket is not None:
        return said.bracket.occ
    name = said.trading_class or row.trading_class
    if name is None:
        symbol, own = said.symbol, row.symbol
        name = symbol or own if said.month is not None else own or symbol
    root = (name or "").translate(_NO_ROOT)
    has_class = said.trading_class is not None or row.trading_class is not None
    if not has_class and root in _AMBIGUOUS_ROOTS:
        return None
    try:
        return format_occ(_terms(row, said, root))
    except Unidentified:
        raise
    except ValueError as exc:
        raise Unidentified("its terms do not fit an OCC symbol") from exc


def _symbol_said(said: Description) -> str | None:
    """Return the underlying's symbol in a description; some begin with the root."""
    if said.month is None or said.symbol is None:
        return None
    return UNDERLYING_BY_ROOT.get(said.symbol, said.symbol)


def _is_unclear(occ: str, row: Row, multiplier: Decimal | None) -> bool:
    """Return whether the deliverable of an adjusted contract is unknown.

    After a corporate action its root ends in a digit.  The usual multiplier is certain
    only if IBKR names an underlying that was adjusted too.
    """
    root = occ[:6].rstrip()
    if not root[-1:].isdigit() or multiplier not in (None, _USUAL_MULTIPLIER):
        return False
    return (row.symbol or "").translate(_NO_ROOT) != root


def _foreign_option(
    row: Row, conid: Conid, said: Description, find: Find
) -> Instrument:
    terms = _terms(row, said, row.symbol or said.symbol or str(conid))
    multiplier = row.multiplier or (said.bracket.multiplier if said.bracket else None)
    underlying, is_found = _underlying(row, find, _unknown_underlying(row, conid))
    return Instrument(
        conid=conid,
        contract_key=own_key(conid),
        kind="option",
        underlying=underlying,
        underlying_conid=row.underlying_conid,
        multiplier=multiplier,
        currency=row.currency,
        expiration=terms.expiration,
        strike=terms.strike,
        option_type=terms.option_type,
        exchange=row.exchange,
        price_factor=share_price_factor(row),
        description=row.description,
        is_complete=is_found and multiplier is not None,
    )


def _contradicts(strike: Decimal, said: Decimal | None) -> bool:
    """Return whether a strike of a row is none: -1 stands for "unset"."""
    return said is not None and strike < 0 <= said


def _unknown_underlying(row: Row, conid: Conid) -> str:
    """Return a key that no other instrument has."""
    return share_key(row.symbol or str(conid), market=row.currency or "IBKR")


def _terms(row: Row, said: Description, root: str) -> OptionTerms:
    """Return the terms of the option.

    Raises:
        Unidentified: the row does not say them.
    """
    bracket = said.bracket
    expiration = read_day(row.expiry) or day_in_name(row.full_name)
    strike, option_type = row.strike, read_right(row.right)
    if bracket is not None:
        expiration = bracket.expiration or expiration
        strike = strike if bracket.strike is None else bracket.strike
        option_type = bracket.option_type or option_type
    if strike is None or _contradicts(strike, said.strike):
        strike = said.strike
    option_type = option_type or said.option_type
    if not root:
        raise Unidentified(NOT_SAID + "symbol")
    if expiration is None:
        raise Unidentified(NOT_SAID + "expiration")
    if strike is None:
        raise Unidentified(NOT_SAID + "strike")
    if option_type is None:
        raise Unidentified(NOT_SAID + "right")
    return OptionTerms(root, expiration, option_type, plain(strike))
