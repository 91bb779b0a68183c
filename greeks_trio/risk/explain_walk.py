"""From tick to tick of one contract: the parts of the change that its own Greeks explain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from greeks_trio.risk.explain_quantities import Change, Unknown, Valued, changes_of
from greeks_trio.risk.explain_records import ContractPath

FIRST_ORDER: Final = ("delta", "gamma", "theta", "vega")
SECOND_ORDER: Final = ("vanna", "vomma", "charm")
LINEAR: Final = ("equity", "future")
_SECONDS_PER_DAY: Final = 86_400.0
_POINTS: Final = 100.0
# Logarithms of factors, as in is_split of the database.
_LEAST_SPLIT: Final = 0.4
_MOVE_BESIDE_SPLIT: Final = 0.15


class ModelStep(NamedTuple):
    """A step whose second-order parts the model gives.

    Attributes:
        at: The tick before, in seconds since 1970.
        d_volatility: In points.
    """

    at: float
    spot: float
    volatility: float
    d_spot: float
    d_volatility: float
    days: float
    units: float


class Step(NamedTuple):
    """From one tick to the next; times in seconds since 1970."""

    start: float
    end: float
    gain: float


@dataclass(slots=True)
class Walk:
    """The change of one position, and its parts.

    Attributes:
        amounts: Of each part, the amount of each step that has one.
        missing: The parts that a step lacks.
        first_price_at: When the position counts from its first price after the start,
            because it has none before: the time of that, in seconds since 1970.
    """

    path: ContractPath
    start_value: float = 0.0
    end_value: float = 0.0
    amounts: dict[str, list[float]] = field(
        default_factory=lambda: {name: [] for name in (*FIRST_ORDER, *SECOND_ORDER)}
    )
    missing: set[str] = field(default_factory=set)
    steps: list[Step] = field(default_factory=list)
    model_steps: list[ModelStep] = field(default_factory=list)
    trades: list[float] = field(default_factory=list)
    trading: list[float] = field(default_factory=list)
    valued: list[Valued] = field(default_factory=list)
    unused_trades: int = 0
    has_tick: bool = False
    first_price_at: float | None = None

    @property
    def profit_loss(self) -> float:
        """The change of value that is no trade."""
        return math.fsum(
            (self.end_value, -self.start_value, *(-each for each in self.trades))
        )

    @property
    def residual(self) -> float:
        """The profit or loss that no part explains."""
        parts = [amount for part in self.amounts.values() for amount in part]
        return math.fsum(
            (
                self.profit_loss,
                *(-each for each in parts),
                *(-each for each in self.trading),
            )
        )


class _Tick(NamedTuple):
    """A tick; a value that it lacks is the last known one."""

    at: float
    price: float
    spot: float | None
    volatility: float | None
    delta: float | None
    gamma: float | None
    theta: float | None
    vega: float | None


def walk(path: ContractPath, start: float, end: float) -> Walk | None:
    """Return the parts of the change; `None` if nothing was held.

    Raises:
        Unknown: The position cannot be valued.
    """
    held = changes_of(path, start, end)
    if not held.units and not held.changes:
        return None
    result = Walk(path, unused_trades=held.unused_trades)
    ticks = _filled(path)
    last = None
    if ticks and ticks[0].at <= start:
        last = ticks.pop(0)
    units, rest = held.units, list(held.changes)
    before = None if last is None else last.price
    if last is not None:
        result.start_value = units * last.price
    elif units and ticks:
        result.start_value = units * ticks[0].price
        result.first_price_at = ticks[0].at
        before = ticks[0].price
    result.has_tick = bool(ticks)
    for tick in ticks:
        if units and last is not None:
            _add_step(result, last, tick, units)
        while rest and rest[0].at <= tick.at:
            change = _as_split(path, rest.pop(0), units, before, tick.price)
            before = tick.price if change.cash is None else before
            units += _add_trade(result, change, tick.price)
        last = tick
    if last is None:
        raise Unknown("no price while it was held")
    for change in rest:
        units += _add_trade(result, change, last.price)
    # Sums of changes leave a trace of rounding where nothing is held.
    result.end_value = 0.0 if abs(units) < _NOTHING else units * last.price
    if path.kind == "future":
        _pay_out(result)
    return result


_NOTHING: Final = 1e-9


def _filled(path: ContractPath) -> list[_Tick]:
    ticks: list[_Tick] = []
    known: Sequence[float | None] = (None,) * 6
    each = path.ticks
    for at, price, *values in zip(
        each.at,
        each.price,
        each.underlying_price,
        each.implied_volatility,
        each.delta,
        each.gamma,
        each.theta,
        each.vega,
        strict=True,
    ):
        known = [
            old if new is None else new for old, new in zip(known, values, strict=True)
        ]
        ticks.append(_Tick(at, price, *known))
    return ticks


def _add_step(result: Walk, last: _Tick, tick: _Tick, units: float) -> None:
    """Add the amounts of one step, by the Greeks at its start."""
    gain = units * (tick.price - last.price)
    result.steps.append(Step(last.at, tick.at, gain))
    if result.path.kind in LINEAR:
        result.amounts["delta"].append(gain)
        return
    days = (tick.at - last.at) / _SECONDS_PER_DAY
    d_spot = _difference(tick.spot, last.spot)
    d_volatility = _difference(tick.volatility, last.volatility, _POINTS)
    half_square = None if d_spot is None else 0.5 * d_spot * d_spot
    for name, greek, change in (
        ("delta", last.delta, d_spot),
        ("gamma", last.gamma, half_square),
        ("theta", last.theta, days),
        ("vega", last.vega, d_volatility),
    ):
        if greek is None or change is None:
            result.missing.add(name)
        else:
            result.amounts[name].append(units * greek * change)
    path = result.path
    if (
        last.spot is None
        or last.volatility is None
        or d_spot is None
        or d_volatility is None
        or path.strike is None
        or path.expiration is None
    ):
        result.missing.add("second_order")
    else:
        result.model_steps.append(
            ModelStep(
                last.at, last.spot, last.volatility, d_spot, d_volatility, days, units
            )
        )


def _difference(
    new: float | None, old: float | None, factor: float = 1.0
) -> float | None:
    return None if new is None or old is None else (new - old) * factor


def _as_split(
    path: ContractPath, change: Change, units: float, before: float | None, mark: float
) -> Change:
    """Return the change without money, if it is a split of the shares.

    The price has changed by the same factor as the quantity, 1.5 or more, but for a move of
    up to 15 %.

    Args:
        path: The position.
        change: Of the quantity, with the units that it adds.
        units: Those before it.
        before: The price at which the position was valued before.
        mark: The price after it.
    """
    after = units + change.units
    if path.kind != "equity" or change.valued != "mark" or units * after <= 0.0:
        return change
    if before is None or before <= 0.0 or mark <= 0.0:
        return change
    factor = math.log(after / units)
    is_split = (
        abs(factor) > _LEAST_SPLIT
        and abs(factor - math.log(before / mark)) < _MOVE_BESIDE_SPLIT
    )
    return replace(change, valued="split", cash=0.0) if is_split else change


def _add_trade(result: Walk, change: Change, mark: float) -> float:
    """Add a change of quantity, and return its units."""
    at_mark = change.units * mark
    cash = at_mark if change.cash is None else change.cash
    result.trades.append(cash)
    result.trading.append(at_mark - cash)
    result.valued.append(change.valued)
    return change.units


def _pay_out(result: Walk) -> None:
    """A future has no value: its gain is paid out each day."""
    gains = [*result.amounts["delta"], *result.trading]
    result.start_value = result.end_value = 0.0
    result.trades = [-each for each in gains]
