"""The sets of Greeks in the prepared frames.  A tick's set is part of its ledger line."""

from __future__ import annotations

from functools import cache

from tests.benchmarks.generator.ledger import VALUE_SETS

# The order in a set, and in the table that the rows are compared with.
NAMES = ("delta", "gamma", "theta", "vega", "rho", "implied_volatility")


@cache
def value_sets() -> tuple[tuple[float, ...], ...]:
    """Return the sets: each number has at most three decimals, as at IBKR."""
    return tuple(_values(number) for number in range(VALUE_SETS))


def _values(number: int) -> tuple[float, ...]:
    thousandths = (
        number % 991 + 3,
        number % 89 + 2,
        -(number % 613) - 1,
        number % 397 + 4,
        number % 53 + 5,
        number % 311 + 120,
    )
    return tuple(each / 1000 for each in thousandths)
