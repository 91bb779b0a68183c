"""Futures: root, month and year.  Pure."""

from __future__ import annotations

from datetime import date

from greeks_trio.brokers.ibkr.positions.descriptions import (
    Description,
    month_in_name,
    read_day,
    read_future,
)
from greeks_trio.brokers.ibkr.positions.instruments import Instrument, own_key
from greeks_trio.brokers.ibkr.positions.price_factors import future_price_factor
from greeks_trio.brokers.ibkr.positions.products import (
    contract_month,
    european_root,
    exchange_root,
    is_of_month,
)
from greeks_trio.brokers.ibkr.positions.rows import Row
from greeks_trio.model.contracts import Conid
from greeks_trio.model.instruments import FutureTerms, format_future_key


def future(row: Row, conid: Conid, said: Description) -> Instrument:
    """Return the future of a row."""
    terms = _future_terms(row, said)
    expiration = read_day(row.expiry)
    of_month = None if terms is None else is_of_month(terms.root, expiration)
    if of_month is False:  # month and year name another contract
        terms = None
    key = own_key(conid) if terms is None else format_future_key(terms)
    multiplier = row.multiplier or (said.bracket.multiplier if said.bracket else None)
    product = product_of(row, said) or (terms.root if terms is not None else "")
    return Instrument(
        conid=conid,
        contract_key=key,
        kind="future",
        underlying=key,
        underlying_conid=conid,
        multiplier=multiplier,
        currency=row.currency,
        expiration=expiration,
        exchange=row.exchange,
        price_factor=future_price_factor(row, product, multiplier),
        description=row.description,
        # Without its day, it may be one of a week: the definition of the contract has it.
        is_complete=of_month is not None and multiplier is not None,
    )


def product_of(row: Row, said: Description) -> str | None:
    """Return the name of the product in IBKR's words."""
    return row.symbol or said.symbol


def _future_terms(row: Row, said: Description) -> FutureTerms | None:
    """Return root, month and year; the month is that of the contract."""
    expiration = read_day(row.expiry)
    if said.bracket is not None and said.bracket.form == "future":
        terms = read_future(said.bracket.root, expiration or _month_of(said))
        if terms is not None:
            return terms
    product = product_of(row, said)
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
    match row.currency:
        case None | "USD":
            return exchange_root(name, row.multiplier)
        case "EUR":
            return european_root(name, row.multiplier)
    return name
