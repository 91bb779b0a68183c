"""Which instrument a row of IBKR's portfolio is.  Pure.

Only an option that the OCC clears gets an OCC symbol: the option of the same name, strike
and day at Eurex is another contract.  An instrument without a symbol
that is the same at every broker is known by its conid.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Final

import msgspec

from greeks_trio.brokers.ibkr.positions.descriptions import (
    Bracket,
    Description,
    day_in_name,
    month_in_name,
    read_day,
    read_description,
    read_future,
    read_right,
)
from greeks_trio.brokers.ibkr.positions.price_factors import (
    future_price_factor,
    other_price_factor,
    share_price_factor,
)
from greeks_trio.brokers.ibkr.positions.products import (
    contract_month,
    exchange_root,
)
from greeks_trio.brokers.ibkr.positions.rows import Listing, Row
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
)
from greeks_trio.model.instruments import (
    FutureTerms,
    broker_key,
    format_future_key,
    share_key,
)
from greeks_trio.model.records import PositionKind

# Indices that list further series, under another root, beside those of their own name.
# Without the bracket nothing in a row says which of the two it is.
_AMBIGUOUS_ROOTS: Final = frozenset(
    ("SPX", "NDX", "RUT", "VIX", "DJX", "OEX", "XEO", "MRUT")
)
_AMERICAN_EXCHANGES: Final = frozenset(
    """
    SMART NYSE NASDAQ NASDAQ.NMS NASDAQ.SCM NASDAQ.SMALL NMS SCM ISLAND AMEX ARCA ARCAEDGE
    PSE BATS BYX BZX EDGX EDGEA IEX CBOE CBOE2 CHX PHLX PSX BEX MEMX LTSE NYSENAT PEARL MIAX
    EMERALD SAPPHIRE ISE GEMINI MERCURY BOX NASDAQOM NASDAQBX IBUSOPT OPRA
    PINK PINKC OTC OTCBB OTCLNK OTCQX OTCQB OTCLNKECN ARCAEDGE VALUE CORPACT BULLETIN
    """.split()  # noqa: SIM905
)
_FOREIGN_OPTIONS: Final = frozenset(
    """
    EUREX DTB SOFFEX MONEP FTA BELFOX IDEM MEFFRV OMS ICEEU LIFFE CDE HKFE OSE OSE.JPN SGX
    ASX SNFE NSE KSE TSE TSEJ TAIFEX MEXDER
    """.split()  # noqa: SIM905
)
_EVENT_EXCHANGES: Final = frozenset(("FORECASTX", "CMEEVENT"))
_NO_ROOT: Final = str.maketrans("", "", " ./")
_USUAL_MULTIPLIER: Final = Decimal(100)
_MORE: Final = "the row does not say its "


class Unidentified(ValueError):
    """A row does not say which instrument it is.

    Attributes:
        reason: A short sentence for a person.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Instrument(msgspec.Struct, frozen=True, kw_only=True):
    """An instrument as the position and its stream need it.

    Attributes:
        underlying: The key of the underlying; `None` if the kind has none.
        is_complete: Whether another look at the row would tell nothing new.
        is_adjusted: Whether its multiplier is unknown because IBKR does not say the
            deliverable of the adjusted contract.
    """

    conid: Conid
    contract_key: ContractKey
    kind: PositionKind
    underlying: str | None = None
    underlying_conid: Conid | None = None
    multiplier: Decimal | None = None
    currency: str | None = None
    expiration: date | None = None
    strike: Decimal | None = None
    option_type: OptionType | None = None
    exchange: str | None = None
    price_factor: Decimal | None = None
    description: str | None = None
    is_complete: bool = True
    is_adjusted: bool = False

    @property
    def listing(self) -> Listing | None:
        """The option to stream; `None` for any other kind."""
        if (
            self.kind not in ("option", "future_option")
            or self.underlying is None
            or self.expiration is None
            or self.strike is None
            or self.option_type is None
        ):
            return None
        contract = OptionContract(
            contract_key=self.contract_key,
            underlying=self.underlying,
            expiration=self.expiration,
            strike=self.strike,
            option_type=self.option_type,
            kind="option" if self.kind == "option" else "future_option",
            multiplier=self.multiplier,
            exchange=self.exchange,
        )
        return Listing(contract, self.conid, self.underlying_conid)


# Returns the instrument with this conid, if it is known.
Find = Callable[[Conid], Instrument | None]


def identify(row: Row, find: Find) -> Instrument:
    """Return which instrument the row is.

    Args:
        row: As complete as possible.
        find: Returns the underlying with this conid, if it is known.

    Raises:
        Unidentified: the row does not say it.
    """
    if row.conid is None:
        raise Unidentified("the row has no conid")
    said = read_description(row.description)
    if row.is_event_contract or row.exchange in _EVENT_EXCHANGES:
        return _other(row, row.conid)
    match row.asset_class:
        case "OPT":
            return _option(row, row.conid, said, find)
        case "FOP":
            return _future_option(row, row.conid, said, find)
        case "FUT":
            return _future(row, row.conid, said)
        case "STK":
            return _share(row, row.conid, said)
        case "IND":
            return _index(row, row.conid, said)
        case None:
            raise Unidentified(_MORE + "kind")
    return _other(row, row.conid)


def _own_key(conid: Conid) -> ContractKey:
    return broker_key("ibkr", str(conid))


def _other(row: Row, conid: Conid) -> Instrument:
    return Instrument(
        conid=conid,
        contract_key=_own_key(conid),
        kind="other",
        multiplier=row.multiplier,
        currency=row.currency,
        exchange=row.exchange,
        price_factor=other_price_factor(row),
        description=row.description or row.full_name or row.ticker,
    )


def _share(row: Row, conid: Conid, said: Description) -> Instrument:
    symbol = row.ticker or said.symbol
    if symbol is None:
        raise Unidentified(_MORE + "symbol")
    key = share_key(symbol, market=_foreign_market(row))
    return Instrument(
        conid=conid,
        contract_key=key,
        kind="equity",
        underlying=key,
        underlying_conid=conid,
        multiplier=row.multiplier,
        currency=row.currency,
        exchange=row.exchange,
        price_factor=share_price_factor(row),
        description=row.description,
        is_complete=row.ticker is not None,
    )


def _index(row: Row, conid: Conid, said: Description) -> Instrument:
    """Return an index, which only is the underlying of others."""
    if row.currency in (None, "USD") and row.is_american is not False:
        row = msgspec.structs.replace(row, is_american=True)
    share = _share(row, conid, said)
    return msgspec.structs.replace(share, kind="other", price_factor=None)


def _foreign_market(row: Row) -> str | None:
    """Return market or currency of a share; `None` for the American market."""
    is_dollar = row.currency in (None, "USD")
    if is_dollar and (row.is_american or row.exchange in _AMERICAN_EXCHANGES):
        return None
    if is_dollar and row.exchange is None and row.is_american is None:
        return None
    if row.exchange is None or row.exchange in _AMERICAN_EXCHANGES:
        return row.currency or "USD"
    return row.exchange


def _future(row: Row, conid: Conid, said: Description) -> Instrument:
    terms = _future_terms(row, said)
    key = _own_key(conid) if terms is None else format_future_key(terms)
    multiplier = row.multiplier or (said.bracket.multiplier if said.bracket else None)
    product = _product(row, said) or (terms.root if terms is not None else "")
    return Instrument(
        conid=conid,
        contract_key=key,
        kind="future",
        underlying=key,
        underlying_conid=conid,
        multiplier=multiplier,
        currency=row.currency,
        expiration=read_day(row.expiry),
        exchange=row.exchange,
        price_factor=future_price_factor(row, product, multiplier),
        description=row.description,
        is_complete=terms is not None and multiplier is not None,
    )


def _future_terms(row: Row, said: Description) -> FutureTerms | None:
    """Return root, month and year; the month is that of the contract."""
    expiration = read_day(row.expiry)
    if said.bracket is not None and said.bracket.form == "future":
        terms = read_future(said.bracket.root, expiration or _month_of(said))
        if terms is not None:
            return terms
    product = _product(row, said)
    if product is None:
        return None
    if said.month is not None and said.year is not None:
        root = _root(row, said.symbol or product)
        return FutureTerms(root, said.month, said.year)
    for text in (said.symbol, row.ticker):
        terms = read_future(text, expiration)
        if terms is not None:
            return terms
    root = _root(row, product)
    named = month_in_name(row.full_name)
    if named is None and expiration is not None:
        named = contract_month(root, expiration)
    return None if named is None else FutureTerms(root, named[1], named[0])


def _month_of(said: Description) -> date | None:
    return date(said.year, said.month, 1) if said.year and said.month else None


def _root(row: Row, name: str) -> str:
    is_american = row.currency in (None, "USD")
    return exchange_root(name, row.multiplier) if is_american else name


def _product(row: Row, said: Description) -> str | None:
    return row.symbol or said.symbol


def _future_option(row: Row, conid: Conid, said: Description, find: Find) -> Instrument:
    bracket = said.bracket
    product = _product(row, said)
    # Without a class the class has the name of the product.
    root = said.trading_class or _class_in(bracket) or said.symbol or product
    if root is None:
        raise Unidentified(_MORE + "trading class")
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
        return _own_key(row.underlying_conid), False
    return found.underlying, True


def _option(row: Row, conid: Conid, said: Description, find: Find) -> Instrument:
    occ = None if _is_foreign(row) else _occ_symbol(row, said)
    if occ is None:
        return _foreign_option(row, conid, said, find)
    try:
        contract = contract_from_occ(occ, row.symbol)
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
    name = said.trading_class or row.ticker or row.underlying_symbol or said.symbol
    root = (name or "").translate(_NO_ROOT)
    if said.trading_class is None and root in _AMBIGUOUS_ROOTS:
        return None
    try:
        return format_occ(_terms(row, said, root))
    except Unidentified:
        raise
    except ValueError as exc:
        raise Unidentified("its terms do not fit an OCC symbol") from exc


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
        contract_key=_own_key(conid),
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
    strike = said.strike if strike is None else strike
    option_type = option_type or said.option_type
    if not root:
        raise Unidentified(_MORE + "symbol")
    if row.expiry is not None and expiration is None:
        raise Unidentified(f"its expiration {row.expiry[:20]!r} is no date")
    if expiration is None:
        raise Unidentified(_MORE + "expiration")
    if strike is None:
        raise Unidentified(_MORE + "strike")
    if option_type is None:
        raise Unidentified(_MORE + "right")
    return OptionTerms(root, expiration, option_type, plain(strike))
