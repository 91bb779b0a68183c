"""The request for scenarios and the positions that they reprice.  Needs no numpy."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Final, Literal, TypeAlias

import msgspec

MoveUnit: TypeAlias = Literal["percent", "sigma"]
VolUnit: TypeAlias = Literal["points", "percent"]
VolScaling: TypeAlias = Literal["parallel", "square_root"]
GroupBy: TypeAlias = Literal[
    "book",
    "currency",
    "underlying",
    "account_id",
    "broker",
    "expiration",
    "expiration_bucket",
    "strategy_tag",
]

# A grid of 101 x 21 cells takes a second with two hundred contracts.
MAX_MOVES: Final = 101
MAX_VOLS: Final = 41
MAX_DAYS: Final = 10
MAX_CELLS: Final = 2_500
# All groups together; an answer has eight numbers for each cell.
MAX_GROUP_CELLS: Final = 40_000

# The shifts of volatility by the root of time are those of this many days.
TENOR_DAYS: Final = 30.0


class Beta(msgspec.Struct, frozen=True):
    """The move of an underlying when the benchmark moves by 1.

    Attributes:
        day: The day of the value; `None` if it is not known.
    """

    beta: float
    day: date | None = None


class ScenarioRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A grid of moves, shifts of volatility and days.

    Attributes:
        moves: Of the underlyings, or of the benchmark: per cent, or standard deviations of
            one day.
        vols: Shifts of the implied volatility: points (0.01), or per cent of it.
        vol_scaling: ``parallel`` shifts every expiration alike.  ``square_root`` multiplies
            the shift by the root of 30 days / days to the expiration, at least one day.
        days: Calendar days to go forward.
        benchmark: The underlying with the moves; each other one moves by its beta.  Without
            it every underlying makes the moves itself.
        betas: By the key of the underlying, or by the root of futures.
        known_betas: The same from the database; `betas` come before them.
        rate: Of interest, a fraction per year.
        dividend_yields: By the key of the underlying, a fraction per year.  Others have 0.
        group_by: The groups of positions that get a grid of their own, beside the currencies.
            ``book`` and ``currency`` have no further groups.
    """

    moves: tuple[float, ...]
    vols: tuple[float, ...]
    days: tuple[float, ...]
    rate: float
    move_unit: MoveUnit = "percent"
    vol_unit: VolUnit = "points"
    vol_scaling: VolScaling = "parallel"
    benchmark: str | None = None
    betas: Mapping[str, Beta] = {}
    known_betas: Mapping[str, Beta] = {}
    dividend_yields: Mapping[str, float] = {}
    group_by: GroupBy = "currency"

    @property
    def cells(self) -> int:
        """The number of cells of one grid."""
        return len(self.moves) * len(self.vols) * len(self.days)


class Holding(msgspec.Struct, frozen=True, kw_only=True):
    """One position as the database has it; the columns are those of ``holdings_asof``.

    Attributes:
        expiration_bucket: As in ``position_greeks``; `None` without an expiration.
        strategy_tag: As in ``position_greeks``; `None` without a strategy.
        currency: USD if the broker names none.
        is_currency_named: Whether the broker names the currency.
        units: quantity x multiplier, signed.
        money: units x price_factor: currency per 1.00 of the underlying and delta 1.
        premium: Currency per 1.00 of the option's own price.
        underlying_price: Of shares and futures: their own price.
        is_underlying_price_stale: `None` without a price.
        stale_reason: Why the tick of the option is stale; `None` if it is fresh.
    """

    broker: str
    account_id: str
    contract_key: str
    kind: str
    underlying: str
    expiration: date | None = None
    expiration_bucket: str | None = None
    strike: float | None = None
    option_type: str | None = None
    quantity: float | None = None
    strategy_tag: str | None = None
    currency: str | None = None
    is_currency_named: bool = True
    units: float | None = None
    money: float | None = None
    premium: float | None = None
    implied_volatility: float | None = None
    price: float | None = None
    underlying_price: float | None = None
    is_underlying_price_stale: bool | None = None
    stale_reason: str | None = None


class Holdings(msgspec.Struct, frozen=True):
    """The positions of one snapshot of the database.

    Attributes:
        as_of: The clock of the database.
    """

    as_of: datetime
    holdings: tuple[Holding, ...]


class RefusedScenario(Exception):
    """The scenario cannot be computed; the message says why."""
