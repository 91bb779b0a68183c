"""Sums of scenarios over groups of positions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from greeks_trio.risk.normal import Floats
from greeks_trio.risk.scenario_inputs import Inputs, LeftOut
from greeks_trio.risk.scenario_records import Holding
from greeks_trio.risk.valuation import Flags, Valuation

# In units of the underlying, so they are known for one underlying only.
_IN_UNITS: Final = ("delta", "gamma")
# A model price that differs more from the mark, in money and as a part of it, is counted.
_FAR: Final = 0.05
_FAR_PART: Final = 0.1


def group_columns(by: str) -> Sequence[str]:
    """Return the columns of groups, beside the currency."""
    if by in ("book", "currency"):
        return ()
    # Two brokers can have the same account id.
    return ("broker", "account_id") if by == "account_id" else (by,)


def _in_order(by: str, holdings: Iterable[Holding]) -> Sequence[Holding]:
    """Return the holdings in the order of their groups, those without a value last."""
    columns = ("expiration",) if by == "expiration_bucket" else group_columns(by)

    def place(holding: Holding) -> list[tuple[bool, str]]:
        values = (getattr(holding, name) for name in ("currency", *columns))
        return [(value is None, str(value)) for value in values]

    return sorted(holdings, key=place)


@dataclass(slots=True)
class Groups:
    """Sums by currency and one more key.

    Attributes:
        member: For each group and position whether it belongs there, as 0 or 1.
        is_mixed: The group has several underlyings, whose units do not add up.
        entries: The groups of the answer.
    """

    member: Floats
    is_mixed: Flags
    entries: list[dict[str, Any]]

    @classmethod
    def make(
        cls, by: str, holdings: Sequence[Holding], left_out: Sequence[LeftOut]
    ) -> Groups:
        """Return the groups of the positions, also those that have left out ones only."""
        columns = "currency", *group_columns(by)

        def key_of(holding: Holding) -> tuple[Any, ...]:
            return tuple(getattr(holding, name) for name in columns)

        lost = Counter(key_of(each.holding) for each in left_out)
        every = _in_order(by, [*holdings, *(each.holding for each in left_out)])
        row = {key: n for n, key in enumerate(dict.fromkeys(map(key_of, every)))}
        member = np.zeros((len(row), len(holdings)))
        underlyings: list[set[str]] = [set() for _ in row]
        for number, holding in enumerate(holdings):
            member[row[key_of(holding)], number] = 1.0
            underlyings[row[key_of(holding)]].add(holding.underlying)
        entries = [
            dict(zip(columns, key, strict=True))
            | {"left_out": lost[key], "underlyings": len(underlyings[number])}
            for key, number in row.items()
        ]
        is_mixed = np.array([len(each) > 1 for each in underlyings], dtype=bool)
        return cls(member, is_mixed, entries)

    def describe(self, inputs: Inputs, base: Valuation) -> None:
        """Add the counts, and the values before any change."""
        option = inputs.is_option
        equity = np.array(
            [each.kind == "equity" for each in inputs.holdings], dtype=bool
        )
        shares = np.where(equity, inputs.money * inputs.spot, 0.0)
        has_mark = option & ~np.isnan(inputs.mark)
        mark = np.where(has_mark, inputs.mark, 0.0)
        model = np.where(option, base.price, 0.0)
        away = np.abs(model - mark)
        is_far = has_mark & (away > _FAR) & (away > _FAR_PART * mark)
        columns: dict[str, NDArray[Any]] = {
            "contracts": option,
            "shares_futures": ~option,
            "estimated": inputs.is_estimated,
            "stale": np.array(
                [_is_stale(each) for each in inputs.holdings], dtype=bool
            ),
            "unnamed_currency": np.array(
                [not each.is_currency_named for each in inputs.holdings], dtype=bool
            ),
            "without_mark": option & ~has_mark,
            "far_from_mark": is_far,
            "model_value": inputs.premium * model + shares,
            # Of the positions with a mark.
            "market_value": inputs.premium * mark + shares,
        }
        for name, column in columns.items():
            sums = self.member @ column.astype(float)
            is_count = column.dtype == bool
            if not is_count:
                sums[~self.member.any(axis=1)] = np.nan
            for entry, value in zip(self.entries, sums, strict=True):
                entry[name] = int(value) if is_count else float(value)
        for entry in self.entries:
            entry["grids"] = []

    def add_grid(
        self, days: float, figures: Mapping[str, Floats], expired: NDArray[np.bool_]
    ) -> None:
        """Add the sums of one day."""
        gone = self.member @ expired.astype(float)
        # The sum of nothing is not known, which is not 0.
        is_empty = ~self.member.any(axis=1)
        sums = {}
        for name, values in figures.items():
            cells = np.tensordot(self.member, values, axes=1).transpose(0, 2, 1)
            cells[is_empty] = np.nan
            if name in _IN_UNITS:
                cells[self.is_mixed] = np.nan
            sums[name] = cells.tolist()
        for number, entry in enumerate(self.entries):
            grid = {name: values[number] for name, values in sums.items()}
            entry["grids"].append({"days": days, "expired": int(gone[number]), **grid})


def _is_stale(holding: Holding) -> bool:
    if holding.kind in ("equity", "future"):
        return holding.is_underlying_price_stale is not False
    return holding.stale_reason is not None or bool(holding.is_underlying_price_stale)
