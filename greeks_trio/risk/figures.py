"""The figures that a limit can be about: one table.  Pure.

A new figure is a new entry of `FIGURES`.  Its columns are those of ``portfolio_greeks``,
``beta_weighted`` or ``latest_account_values``, so that a value is the same in an alert and in a query.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

# The scope in which values add up: one underlying, one currency, that of the benchmark, or
# any.
FigureKind: TypeAlias = Literal["units", "money", "benchmark", "count"]
# The rows that are added: sums of positions, those with betas, or accounts.
FigureSource: TypeAlias = Literal["positions", "beta_weighted", "accounts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """The positions that a figure is about; `None` stands for all.

    Attributes:
        broker: One broker.
        account_id: One account.
        underlying: The contract_key of one underlying.
        currency: One currency.
        strategy_tag: One strategy.
    """

    broker: str | None = None
    account_id: str | None = None
    underlying: str | None = None
    currency: str | None = None
    strategy_tag: str | None = None

    def __str__(self) -> str:
        """Return it in words, such as ``ibkr, SPY, strategy wheel``."""
        strategy = self.strategy_tag and f"strategy {self.strategy_tag}"
        parts = (
            *(self.broker, self.account_id, self.underlying, self.currency),
            strategy,
        )
        return ", ".join(filter(None, parts)) or "whole book"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure.

    Attributes:
        name: Its name in rules and in answers.
        kind: The scope in which its values add up.
        unit: The unit of the value in words; ``{currency}`` stands for the currency.
        columns: The columns whose values are added.
        missing: The columns that count the positions which the value lacks; of accounts,
            the columns that each account needs.  Without any, the value is known also if
            positions are missing or stale.
        source: The rows that are added.
        is_greatest: Whether the greatest value counts, and not the sum.
        about: For the documents.
    """

    name: str
    kind: FigureKind
    unit: str
    columns: Sequence[str]
    missing: Sequence[str] = ()
    source: FigureSource = "positions"
    is_greatest: bool = False
    about: str

    @property
    def of(self) -> str:
        """The word for the counted things."""
        return "accounts" if self.source == "accounts" else "positions"


_ALL: Final = (
    Figure(
        name="delta",
        kind="units",
        unit="units of the underlying",
        columns=("option_delta", "share_future_delta"),
        missing=("missing_net_delta",),
        about="quantity x multiplier x delta of options, shares and futures",
    ),
    Figure(
        name="gamma",
        kind="units",
        unit="units of the underlying per 1.00",
        columns=("gamma",),
        missing=("missing_gamma",),
        about="change of the delta of the options for a move of 1.00",
    ),
    Figure(
        name="dollar_delta",
        kind="money",
        unit="{currency} for a move of 100 %",
        columns=("dollar_delta",),
        missing=("missing_dollar_delta",),
        about="delta in money, of options, shares and futures",
    ),
    Figure(
        name="dollar_gamma",
        kind="money",
        unit="{currency} for a move of 1 %",
        columns=("dollar_gamma",),
        missing=("missing_dollar_gamma",),
        about="change of dollar_delta for a move of 1 %",
    ),
    Figure(
        name="theta",
        kind="money",
        unit="{currency} per calendar day",
        columns=("theta",),
        missing=("missing_theta",),
        about="change of the value of the options in a calendar day",
    ),
    Figure(
        name="vega",
        kind="money",
        unit="{currency} per volatility point",
        columns=("vega",),
        missing=("missing_vega",),
        about="change of the value of the options for a volatility point (0.01)",
    ),
    Figure(
        name="rho",
        kind="money",
        unit="{currency} per rate point",
        columns=("rho",),
        missing=("missing_rho",),
        about="change of the value of the options for a rate point (0.01); IBKR sends no "
        "rho, so its options are missing",
    ),
    Figure(
        name="market_value",
        kind="money",
        unit="{currency}",
        columns=("market_value",),
        missing=("missing_value",),
        about="value of options and shares; a future counts with 0",
    ),
    *(
        Figure(
            name=name,
            kind="benchmark",
            unit=unit,
            columns=(name,),
            missing=("left_out",),
            source="beta_weighted",
            about=about,
        )
        for name, unit, about in (
            (
                "beta_weighted_delta",
                "shares of the benchmark",
                "dollar_delta x beta, in shares of the benchmark",
            ),
            (
                "beta_weighted_dollar_delta",
                "of the benchmark's currency for a move of 100 % of the benchmark",
                "dollar_delta x beta",
            ),
        )
    ),
    Figure(
        name="stale",
        kind="count",
        unit="positions",
        columns=("stale",),
        about="positions whose values are stale",
    ),
    Figure(
        name="missing_tick",
        kind="count",
        unit="positions",
        columns=("missing_tick",),
        about="contracts without any tick, and positions of an unknown kind",
    ),
    Figure(
        name="oldest_age_s",
        kind="count",
        unit="seconds",
        columns=("oldest_age_s",),
        is_greatest=True,
        about="age of the oldest of the newest ticks",
    ),
    *(
        Figure(
            name=name,
            kind="money",
            unit="{currency}",
            columns=(name,),
            missing=(name,),
            source="accounts",
            about=about,
        )
        for name, about in (
            ("net_liquidation", "value of the accounts if all were sold"),
            ("cash", "cash of the accounts; negative for a debt"),
            ("excess_liquidity", "money above the maintenance margin"),
        )
    ),
    Figure(
        name="margin_use",
        kind="count",
        unit="of the net liquidation",
        columns=("margin_use",),
        missing=("margin_use",),
        source="accounts",
        is_greatest=True,
        about="maintenance margin / net liquidation, the highest of the accounts",
    ),
)
FIGURES: Final[Mapping[str, Figure]] = MappingProxyType(
    {each.name: each for each in _ALL}
)
