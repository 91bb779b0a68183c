"""The money of a simulated account, from its positions.  Pure.

Each account has the same cash.  The margin follows simple rules, and currencies are not
converted: the amounts are plausible and not those of a real account.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from greeks_trio.simulators.market import SimulatedOption, Underlying

CASH: Final = 25_000_000.0
# The maintenance margin as a part of the notional value, or of the value of shares.
_SHORT_OPTION: Final = 0.2
_SHARES: Final = 0.25
_FUTURE: Final = 0.1
_INITIAL: Final = 1.25


class Lot(msgspec.Struct, frozen=True):
    """A position.

    Attributes:
        units: Quantity x multiplier x currency per quoted unit, negative when short.
        price: Per unit.
        is_future: A future has no value, because its gain is paid out each day.
    """

    instrument: SimulatedOption | Underlying
    units: float
    price: float
    is_future: bool = False


class Money(msgspec.Struct, frozen=True):
    """The values of an account, in its currency, rounded to cents."""

    net_liquidation: float
    cash: float
    initial_margin: float
    maintenance_margin: float

    @property
    def excess_liquidity(self) -> float:
        """The money above the maintenance margin."""
        return round(self.net_liquidation - self.maintenance_margin, 2)

    @property
    def available(self) -> float:
        """The money above the initial margin."""
        return round(max(0.0, self.net_liquidation - self.initial_margin), 2)


def count_money(lots: Iterable[Lot]) -> Money:
    """Return the values of an account that holds these positions."""
    value = margin = 0.0
    for each in lots:
        worth = each.units * each.price
        if isinstance(each.instrument, SimulatedOption):
            value += worth
            notional = abs(each.units) * each.instrument.underlying.price
            margin += _SHORT_OPTION * notional if each.units < 0 else 0.0
        elif each.is_future:
            margin += _FUTURE * abs(worth)
        else:
            value += worth
            margin += _SHARES * abs(worth)
    return Money(
        net_liquidation=round(CASH + value, 2),
        cash=CASH,
        initial_margin=round(margin * _INITIAL, 2),
        maintenance_margin=round(margin, 2),
    )
