"""In which unit a contract is quoted, relative to its currency.  Pure.

London quotes shares in pence, Chicago grain in cents.  A wrong unit makes every sum wrong by
a factor of 100, so the unit of a market with both is unknown until a row tells it.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from greeks_trio.brokers.ibkr.positions.products import (
    exchange_root,
    product_price_factor,
)
from greeks_trio.brokers.ibkr.positions.rows import Row

_ONE: Final = Decimal(1)
_CENT: Final = Decimal("0.01")
_TOLERANCE: Final = Decimal("0.01")
# Currencies in which no exchange quotes in a hundredth.  Pounds (pence), rand and shekels
# are not among them.
_WITHOUT_CENTS: Final = frozenset(
    """
    USD EUR CAD CHF JPY HKD AUD NZD SEK NOK DKK SGD PLN CZK HUF CNH CNY MXN INR KRW TWD BRL
    """.split()  # noqa: SIM905
)
# Money and futures markets of these quote in the currency or in index points.
_FUTURES_WITHOUT_CENTS: Final = frozenset(("EUR", "CHF", "JPY", "HKD"))


def share_price_factor(row: Row) -> Decimal | None:
    """Return the currency per quoted unit of a share, and of an option on one."""
    told = _told(row, row.multiplier or _ONE)
    if told is not None or _contradicts(row):
        return told
    return _ONE if row.currency in _WITHOUT_CENTS else None


def other_price_factor(row: Row) -> Decimal | None:
    """Return it for an instrument of another kind: only if the row tells it."""
    return _told(row, row.multiplier or _ONE)


def future_price_factor(
    row: Row, product: str, multiplier: Decimal | None
) -> Decimal | None:
    """Return it for a future, and for an option on one.

    The table comes first: IBKR values some positions in dollars and streams them in cents.
    """
    if row.currency in (None, "USD"):
        root = exchange_root(product, multiplier)
        known = product_price_factor(root, multiplier)
        if known is not None:
            return known
    told = None if multiplier is None else _told(row, multiplier)
    if told is not None or _contradicts(row):
        return told
    return _ONE if row.currency in _FUTURES_WITHOUT_CENTS else None


def _told(row: Row, multiplier: Decimal) -> Decimal | None:
    """Return the factor that the row gives; `None` without one, or with two."""
    factors = {_by_value(row, multiplier), _by_magnification(row)} - {None}
    return factors.pop() if len(factors) == 1 else None


def _contradicts(row: Row) -> bool:
    """Return whether the row says that it is not quoted in its currency."""
    return _by_magnification(row) is not None


def _by_value(row: Row, multiplier: Decimal) -> Decimal | None:
    quoted = (row.price or 0) * (row.quantity or 0) * multiplier
    if not quoted or not row.value:
        return None
    ratio = row.value / quoted
    for factor in (_ONE, _CENT):
        if abs(ratio / factor - 1) <= _TOLERANCE:
            return factor
    return None


def _by_magnification(row: Row) -> Decimal | None:
    return _CENT if row.magnification in (2, 100) else None
