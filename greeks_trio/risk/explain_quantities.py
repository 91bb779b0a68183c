"""How the quantity of a position changed, and the money of each change."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time
from typing import Final, Literal

from greeks_trio.risk.explain_records import (
    EXPIRED_AFTER_S,
    ContractPath,
    Quantity,
    Trade,
)
from greeks_trio.risk.pricing import years_to
from greeks_trio.risk.valuation import DAYS_PER_YEAR

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECONDS_PER_YEAR: Final = DAYS_PER_YEAR * 86_400.0
# Quantities are at most this far from each other when they are the same.
_SAME: Final = 1e-9

Valued = Literal["price", "mark", "split", "expired", "first_seen"]


class Unknown(Exception):
    """A position cannot be valued; the message says why."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change of quantity.

    Attributes:
        at: Seconds since 1970.
        units: The change of the currency per 1.00 of the price.
        cash: Value bought less value sold; `None` if the mark values it.
    """

    at: float
    units: float
    valued: Valued
    cash: float | None = None


@dataclass(frozen=True, slots=True)
class Changes:
    """The quantity at the start, and its changes.

    Attributes:
        units: At the start: currency per 1.00 of the price.
        unused_trades: Recorded trades between the two moments that fit no change.
    """

    units: float
    changes: Sequence[Change]
    unused_trades: int


def changes_of(path: ContractPath, start: float, end: float) -> Changes:
    """Return how the quantity changed between the two moments.

    Raises:
        Unknown: A quantity, a multiplier or a price factor is not known.
    """
    before = Quantity(-math.inf, 0.0)
    units = 0.0
    changes: list[Change] = []
    used: set[int] = set()
    for row in path.quantities:
        new = _units(row)
        if row.at <= start:
            units = new
        elif new != _units(before):
            changes.append(_change(path, before, row, used))
        elif row.quantity == before.quantity:
            continue  # trades before this row may still belong to the next change
        before = row
    if (expired := _expiry(path, before, end)) is not None:
        changes.append(expired)
    unused = sum(
        start < trade.at <= end
        for place, trade in enumerate(path.trades)
        if place not in used
    )
    return Changes(units, changes, unused)


def expires_at(path: ContractPath) -> float:
    """Return when the contract stops trading, in seconds since 1970."""
    if path.expiration is None:
        return math.inf
    return years_to(path.expiration, _EPOCH) * _SECONDS_PER_YEAR


def _units(row: Quantity) -> float:
    if row.quantity is None:
        raise Unknown("the quantity could not be read")
    if row.quantity == 0.0:
        return 0.0
    if row.premium is None:
        raise Unknown("the multiplier or the price factor is not known")
    return row.quantity * row.premium


def _change(
    path: ContractPath, before: Quantity, row: Quantity, used: set[int]
) -> Change:
    """Return the change to this row; note the trades that it takes."""
    units = _units(row) - _units(before)
    fitting = [
        place
        for place, trade in enumerate(path.trades)
        if before.at < trade.at <= row.at
    ]
    trades = [path.trades[place] for place in fitting]
    trade_units = row.trade_units or before.trade_units
    quantity = (row.quantity or 0.0) - (before.quantity or 0.0)
    cash = _cash(trades, quantity)
    if cash is not None and trade_units is not None:
        used.update(fitting)
        return Change(row.at, units, "price", cash * trade_units)
    if before.at == -math.inf and _is_first_read(path, row):
        return Change(row.at, units, "first_seen")
    is_over = row.quantity == 0.0 and row.at >= expires_at(path)
    return Change(row.at, units, "expired" if is_over else "mark")


def _is_first_read(path: ContractPath, row: Quantity) -> bool:
    """Tell whether the row is from the first time that the account was read."""
    return path.seen_from is not None and row.at <= path.seen_from.timestamp()


def _cash(trades: Sequence[Trade], quantity: float) -> float | None:
    """Return quantity x price of the trades, if all of them make up the change."""
    if not trades or abs(math.fsum(map(_signed, trades)) - quantity) > _SAME:
        return None
    amounts = [
        _signed(trade) * trade.price for trade in trades if trade.price is not None
    ]
    return math.fsum(amounts) if len(amounts) == len(trades) else None


def _signed(trade: Trade) -> float:
    """Return the quantity with the sign that the action gives, otherwise its own."""
    action = trade.action.strip().lower()
    if action.startswith("sell"):
        return -abs(trade.quantity)
    return abs(trade.quantity) if action.startswith("buy") else trade.quantity


def _expiry(path: ContractPath, last: Quantity, end: float) -> Change | None:
    """Return the change to zero of a contract that the broker did not close itself."""
    if path.expiration is None or not _units(last):
        return None
    midnight = datetime.combine(path.expiration, time(), UTC).timestamp()
    at = midnight + EXPIRED_AFTER_S
    return Change(at, -_units(last), "expired") if at <= end else None
