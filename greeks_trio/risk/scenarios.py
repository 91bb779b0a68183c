"""Profit and loss and Greeks of positions after moves of prices, volatilities and time.

Every option is priced again in every cell.  The base is the model's own price at the present
volatility, so the cell without any change has a profit of exactly zero; the difference
between the model's value and the broker's mark is shown and stays the same in every cell.

An option that has expired in a cell has its value at exercise and no Greeks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from greeks_trio.risk.normal import Floats
from greeks_trio.risk.pricing import MODEL_WORDS, Model, value_options
from greeks_trio.risk.scenario_groups import Groups, group_columns
from greeks_trio.risk.scenario_inputs import (
    Inputs,
    LeftOut,
    beta_of,
    names_of,
    prepare,
    value_base,
)
from greeks_trio.risk.scenario_records import (
    MAX_GROUP_CELLS,
    TENOR_DAYS,
    Holding,
    Holdings,
    RefusedScenario,
    ScenarioRequest,
)
from greeks_trio.risk.valuation import DAYS_PER_YEAR, POINT, Valuation

FIGURES: Final = (
    "profit_loss",
    "taylor_profit_loss",
    "delta",
    "gamma",
    "theta",
    "vega",
    "rho",
    "dollar_delta",
)
# No shift makes a volatility lower than this, and no move a price.
_LOWEST_VOLATILITY: Final = 0.005
_LOWEST_PART_OF_SPOT: Final = 1e-4
_MOST_NAMES: Final = 200


def run_scenarios(request: ScenarioRequest, snapshot: Holdings) -> dict[str, Any]:
    """Return the answer: for each currency, and for each group, a grid for each day.

    Grids are lists by shift of volatility, and in each one a list by move.

    Raises:
        RefusedScenario: The request does not fit the positions.
    """
    inputs, left_out = prepare(request, snapshot.as_of, snapshot.holdings)
    currencies = Groups.make("currency", inputs.holdings, left_out)
    groups = Groups.make(request.group_by, inputs.holdings, left_out)
    has_groups = bool(group_columns(request.group_by))
    if has_groups and len(groups.entries) * request.cells > MAX_GROUP_CELLS:
        raise RefusedScenario(
            f"{len(groups.entries)} groups with {request.cells} cells each are more than"
            f" {MAX_GROUP_CELLS:,} cells. Ask for fewer cells, or for one underlying or"
            " account."
        )
    wanted = [currencies, groups] if has_groups else [currencies]
    base = value_base(inputs, request.rate)
    for each in wanted:
        each.describe(inputs, base)
    for days in request.days:
        figures = _reprice(request, inputs, base, days)
        expired = inputs.is_option & (inputs.years * DAYS_PER_YEAR <= days)
        for each in wanted:
            each.add_grid(days, figures, expired)
    return {
        "as_of": snapshot.as_of,
        "values": "model",
        "models": _models(inputs),
        **_terms(request, inputs),
        "unused": _unused(request, snapshot.holdings),
        "totals": currencies.entries,
        "groups": groups.entries if has_groups else [],
        "left_out": _named(left_out),
    }


def _reprice(
    request: ScenarioRequest, inputs: Inputs, base: Valuation, days: float
) -> dict[str, Floats]:
    """Return each figure for positions x moves x shifts."""
    options = np.flatnonzero(inputs.is_option)
    spot = inputs.spot[:, None] * np.maximum(1.0 + inputs.moves, _LOWEST_PART_OF_SPOT)
    # Prices of futures may be zero or negative; they move by a part of their size.
    linear = inputs.spot[:, None] + np.abs(inputs.spot)[:, None] * inputs.moves
    spot = np.where(inputs.spot[:, None] > 0.0, spot, linear)
    shift = _shifts(request, inputs)
    cells = (len(inputs.holdings), len(request.moves), len(request.vols))
    change = spot - inputs.spot[:, None]
    figures = {name: np.zeros(cells) for name in FIGURES}
    straight = ~inputs.is_option
    for name, value in (
        ("profit_loss", inputs.money[:, None] * change),
        ("taylor_profit_loss", inputs.money[:, None] * change),
        ("delta", inputs.units[:, None]),
        ("dollar_delta", inputs.money[:, None] * spot),
    ):
        figures[name][straight] = value[straight][:, :, None]
    if options.size:
        found = _option_figures(request, inputs, options, spot, shift, days)
        taylor = _taylor(base, options, change, shift, days)
        base_price, premium = base.price[options], _column(inputs.premium[options])
        figures["profit_loss"][options] = premium * (found.price - _column(base_price))
        figures["taylor_profit_loss"][options] = premium * taylor
        units, money = (_column(each[options]) for each in (inputs.units, inputs.money))
        figures["delta"][options] = units * found.delta
        figures["gamma"][options] = units * found.gamma
        for name in ("theta", "vega", "rho"):
            figures[name][options] = premium * getattr(found, name)
        figures["dollar_delta"][options] = (
            money * found.delta * spot[options][:, :, None]
        )
    return figures


def _option_figures(
    request: ScenarioRequest,
    inputs: Inputs,
    options: NDArray[np.intp],
    spot: Floats,
    shift: Floats,
    days: float,
) -> Valuation:
    """Return the values of the options in each cell, without Greeks after the end."""
    present = inputs.volatility[options][:, None]
    volatility = np.maximum(
        present + shift[options], np.minimum(present, _LOWEST_VOLATILITY)
    )
    years = inputs.years[options] - days / DAYS_PER_YEAR
    found = value_options(
        inputs.models[options],
        _column(inputs.is_call[options]),
        spot[options][:, :, None],
        _column(inputs.strike[options]),
        _column(years),
        volatility[:, None, :],
        request.rate,
        _column(inputs.dividend_yield[options]),
    )
    is_over = _column(years) <= 0.0
    greeks = {
        name: np.where(is_over, 0.0, getattr(found, name))
        for name in ("delta", "gamma", "theta", "vega", "rho")
    }
    return Valuation(
        price=found.price,
        vanna=found.vanna,
        vomma=found.vomma,
        charm=found.charm,
        **greeks,
    )


def _taylor(
    base: Valuation,
    options: NDArray[np.intp],
    change: Floats,
    shift: Floats,
    days: float,
) -> Floats:
    """Return the change of each price by delta, gamma, vega and theta of the base."""
    delta, gamma, vega, theta = (
        _column(each[options])
        for each in (base.delta, base.gamma, base.vega, base.theta)
    )
    by_spot = change[options][:, :, None]
    points = shift[options][:, None, :] / POINT
    taylor = by_spot * (delta + 0.5 * gamma * by_spot) + vega * points + theta * days
    return np.asarray(taylor)


def _shifts(request: ScenarioRequest, inputs: Inputs) -> Floats:
    """Return the change of each volatility in each shift, as a fraction per year."""
    shift = np.array(request.vols)[None, :] / 100.0
    if request.vol_unit == "percent":
        shift = inputs.volatility[:, None] * shift
    else:
        shift = np.broadcast_to(shift, (len(inputs.years), shift.shape[1]))
    if request.vol_scaling == "square_root":
        days = np.maximum(inputs.years * DAYS_PER_YEAR, 1.0)
        shift = shift * np.sqrt(TENOR_DAYS / days)[:, None]
    return shift


def _column(values: NDArray[Any]) -> NDArray[Any]:
    return values[:, None, None]


def _models(inputs: Inputs) -> list[str]:
    used = np.unique(inputs.models[inputs.is_option])
    return [MODEL_WORDS[Model(int(each))] for each in used]


def _terms(request: ScenarioRequest, inputs: Inputs) -> dict[str, Any]:
    """Return the meaning of the cells, and the assumptions."""
    underlyings = sorted({each.underlying for each in inputs.holdings})
    betas = {}
    if request.benchmark is not None:
        betas = {each: beta_of(request, each) for each in underlyings}
    return {
        "moves": request.moves,
        "move_unit": request.move_unit,
        "vols": request.vols,
        "vol_unit": request.vol_unit,
        "vol_scaling": request.vol_scaling,
        "days": request.days,
        "benchmark": request.benchmark,
        "betas": betas,
        "rate": request.rate,
        "dividend_yields": {
            each: request.dividend_yields.get(each, 0.0) for each in underlyings
        },
        "group_by": request.group_by,
    }


def _unused(request: ScenarioRequest, holdings: Sequence[Holding]) -> list[str]:
    """Return the names in the request that no position has."""
    held = {each.underlying for each in holdings}
    roots = {name for each in held for name in names_of(each)}
    return sorted(
        (request.betas.keys() - roots) | (request.dividend_yields.keys() - held)
    )


def _named(left_out: Sequence[LeftOut]) -> dict[str, Any]:
    """Return the positions that are in no sum: how many, why, and the first of them."""
    reasons = Counter(each.reason for each in left_out)
    return {
        "count": len(left_out),
        "reasons": dict(reasons.most_common()),
        "positions": [
            {
                "broker": each.holding.broker,
                "account_id": each.holding.account_id,
                "contract_key": each.holding.contract_key,
                "quantity": each.holding.quantity,
                "reason": each.reason,
            }
            for each in left_out[:_MOST_NAMES]
        ],
    }
