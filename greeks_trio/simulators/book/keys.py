"""The key of each simulated instrument, made without the product's own code.

The ledger has these keys.  A mistake in the product's keys therefore shows as a difference
between the ledger and the table.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Literal

Right = Literal["C", "P"]


def occ_key(root: str, day: date, right: Right, strike: Decimal) -> str:
    """Return the key of an option that the OCC clears: ``SPY   261218C00600000``."""
    thousandths = str(int(strike * 1000)).zfill(8)
    return root.ljust(6) + day.strftime("%y%m%d") + right + thousandths


def future_option_key(root: str, day: date, right: Right, strike: Decimal) -> str:
    """Return the key of a futures option: ``./EX3 261218C7100``, ``./LO  270514P-5``."""
    return "./" + root.ljust(4) + day.strftime("%y%m%d") + right + number(strike)


def broker_key(broker: str, own_id: object) -> str:
    """Return the key of an instrument that has no name outside its broker."""
    return f"{broker}:{own_id}"


def number(value: Decimal) -> str:
    """Return a number without an exponent and without trailing zeros."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
