"""Which positions a scenario can reprice, and the numbers that it needs for them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from greeks_trio.risk.implied import REASON_WORDS, Reason
from greeks_trio.risk.normal import Floats
from greeks_trio.risk.pricing import implied_options, model_of, value_options, years_to
from greeks_trio.risk.scenario_records import Beta, Holding, RefusedScenario
from greeks_trio.risk.scenario_records import ScenarioRequest as Request
from greeks_trio.risk.valuation import DAYS_PER_YEAR, Flags, Valuation

_OPTIONS: Final = ("option", "future_option")
_LINEAR: Final = ("equity", "future")
_FUTURE: Final = re.compile(r"(/[A-Z0-9]{1,4}?)[FGHJKMNQUVXZ]\d{1,2}")


class LeftOut(NamedTuple):
    """A position that is in no sum."""

    holding: Holding
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """The positions that can be repriced, as arrays of one length.

    Attributes:
        is_option: The others are shares and futures; their fields of options are fillers.
        volatility: From the broker, or implied from the price.
        is_estimated: The volatility is implied from the price.
        units: quantity x multiplier.
        money: Currency per 1.00 of the underlying and delta 1.
        premium: Currency per 1.00 of the option's price.
        mark: The broker's price; NaN if it is not known.
        moves: Of the underlying in each move of the request, as fractions; one row for each
            position.
    """

    holdings: Sequence[Holding]
    models: NDArray[np.int8]
    is_option: Flags
    is_call: Flags
    spot: Floats
    strike: Floats
    years: Floats
    volatility: Floats
    dividend_yield: Floats
    is_estimated: Flags
    units: Floats
    money: Floats
    premium: Floats
    mark: Floats
    moves: Floats


@dataclass(slots=True)
class _Sorter:
    """Sorts positions into those that can be repriced and the others."""

    request: Request
    now: datetime
    kept: list[Holding] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)

    def sort(self, holdings: Sequence[Holding]) -> None:
        for holding in holdings:
            if (reason := self._reason(holding)) is None:
                self.kept.append(holding)
            else:
                self.left_out.append(LeftOut(holding, reason))

    def _reason(self, holding: Holding) -> str | None:
        """Return the reason why a position cannot be repriced; `None` without one."""
        if holding.kind not in (*_OPTIONS, *_LINEAR):
            return f"positions of the kind {holding.kind} have no model"
        if holding.units is None:
            return "the multiplier or the quantity is not known"
        if holding.money is None:
            return "the price factor is not known"
        if holding.underlying_price is None:
            return "no price of the underlying"
        if holding.kind in _OPTIONS:
            return self._reason_of_option(holding)
        return None

    def _reason_of_option(self, holding: Holding) -> str | None:
        if holding.premium is None:
            return "the multiplier of the premium is not known"
        if holding.expiration is None or holding.strike is None:
            return "the expiration or the strike is not known"
        if holding.option_type is None:
            return "call or put is not known"
        if holding.strike <= 0.0 or (holding.underlying_price or 0.0) <= 0.0:
            return "the model knows no strike and no price of the underlying below zero"
        if years_to(holding.expiration, self.now) <= 0.0:
            return "the option has expired"
        return None


def prepare(
    request: Request, now: datetime, holdings: Sequence[Holding]
) -> tuple[Inputs, list[LeftOut]]:
    """Return the positions that can be repriced, and the others with their reasons.

    Args:
        request: The scenarios.
        now: The moment of the positions.
        holdings: The positions.

    Raises:
        RefusedScenario: The benchmark moves by its standard deviation, and no option on it
            gives one.
    """
    sorter = _Sorter(request, now)
    sorter.sort(holdings)
    kept, left_out = sorter.kept, sorter.left_out
    inputs = _arrays(request, now, kept)
    for step in (_with_volatility, _with_model):
        inputs, unknown = step(request, inputs)
        left_out += unknown
    sigmas = _sigmas(inputs) if request.move_unit == "sigma" else {}
    is_sigma, benchmark = request.move_unit == "sigma", request.benchmark
    if is_sigma and benchmark is not None and benchmark not in sigmas:
        raise RefusedScenario(
            f"No option on {benchmark} with an implied volatility is among the positions,"
            " so its standard deviation is not known. Give the moves in per cent."
        )
    moves, unmoved = _moves(request, inputs, sigmas)
    left_out += unmoved
    return moves, left_out


def beta_of(request: Request, underlying: str) -> Beta | None:
    """Return the beta of an underlying; a future without one has that of its root."""
    names = names_of(underlying)
    if request.benchmark in names:
        return Beta(1.0)
    for betas in (request.betas, request.known_betas):
        for name in names:
            if name in betas:
                return betas[name]
    return None


def names_of(underlying: str) -> Sequence[str]:
    """Return the names under which an underlying can have a beta, its own one first."""
    future = _FUTURE.fullmatch(underlying)
    return [underlying] if future is None else [underlying, future[1]]


def _arrays(request: Request, now: datetime, kept: Sequence[Holding]) -> Inputs:
    """Return the arrays; volatilities may be missing, and the moves have no column."""

    def numbers(name: str, if_missing: float = math.nan) -> Floats:
        values = (getattr(each, name) for each in kept)
        return np.array([if_missing if v is None else v for v in values], dtype=float)

    is_option = np.array([each.kind in _OPTIONS for each in kept], dtype=bool)
    years = [
        years_to(each.expiration, now)
        if each.kind in _OPTIONS and each.expiration is not None
        else 1.0
        for each in kept
    ]
    yields = request.dividend_yields
    return Inputs(
        holdings=kept,
        models=np.array(
            [model_of(each.kind, each.contract_key) for each in kept], dtype=np.int8
        ),
        is_option=is_option,
        is_call=np.array([each.option_type == "call" for each in kept], dtype=bool),
        spot=numbers("underlying_price"),
        strike=numbers("strike", 1.0),
        years=np.array(years, dtype=float),
        volatility=numbers("implied_volatility"),
        dividend_yield=np.array([yields.get(each.underlying, 0.0) for each in kept]),
        is_estimated=np.zeros(len(kept), dtype=bool),
        units=numbers("units"),
        money=numbers("money"),
        premium=numbers("premium", 0.0),
        mark=numbers("price"),
        moves=np.zeros((len(kept), 0)),
    )


def _with_volatility(
    request: Request, inputs: Inputs
) -> tuple[Inputs, Sequence[LeftOut]]:
    """Imply missing volatilities from prices; leave out the options that have none."""
    volatility = inputs.volatility.copy()
    missing = np.flatnonzero(inputs.is_option & ~(volatility > 0.0))
    estimated = inputs.is_estimated.copy()
    reasons: dict[int, str] = {}
    if missing.size:
        models = inputs.models[missing]
        implied = implied_options(
            models,
            inputs.is_call[missing],
            inputs.mark[missing],
            inputs.spot[missing],
            inputs.strike[missing],
            inputs.years[missing],
            request.rate,
            inputs.dividend_yield[missing],
        )
        volatility[missing] = implied.volatility
        estimated[missing] = ~np.isnan(implied.volatility)
        for place, reason in zip(missing, implied.reason, strict=True):
            if reason != Reason.KNOWN:
                words = "there is no price"
                if not np.isnan(inputs.mark[place]):
                    words = REASON_WORDS[Reason(reason)]
                reasons[int(place)] = f"no implied volatility, and {words}"
    whole = _replaced(inputs, volatility=volatility, is_estimated=estimated)
    return _without(whole, reasons)


def _with_model(request: Request, inputs: Inputs) -> tuple[Inputs, Sequence[LeftOut]]:
    """Leave out the options that their model gives no price."""
    base = value_base(inputs, request.rate)
    unknown = np.flatnonzero(inputs.is_option & np.isnan(base.price))
    reason = REASON_WORDS[Reason.NOT_MODELLED]
    return _without(inputs, {int(place): reason for place in unknown})


def value_base(inputs: Inputs, rate: float) -> Valuation:
    """Return the values before any change; those of shares and futures mean nothing."""
    return value_options(
        inputs.models,
        inputs.is_call,
        inputs.spot,
        inputs.strike,
        inputs.years,
        np.where(inputs.is_option, inputs.volatility, 0.1),
        rate,
        inputs.dividend_yield,
    )


def _sigmas(inputs: Inputs) -> Mapping[str, float]:
    """Return the standard deviation of one day, as a fraction, of each underlying.

    The volatility is that of the option nearest to the money, in its own deviations.
    """
    best: dict[str, tuple[float, float]] = {}
    for place in np.flatnonzero(inputs.is_option).tolist():
        volatility = inputs.volatility[place]
        # On the last day the volatility says little about the next day.
        years = max(inputs.years[place], 1.0 / DAYS_PER_YEAR)
        distance = abs(math.log(inputs.spot[place] / inputs.strike[place]))
        distance /= volatility * math.sqrt(years)
        underlying = inputs.holdings[place].underlying
        if underlying not in best or distance < best[underlying][0]:
            best[underlying] = distance, volatility
    return {
        underlying: volatility / math.sqrt(DAYS_PER_YEAR)
        for underlying, (_, volatility) in best.items()
    }


def _moves(
    request: Request, inputs: Inputs, sigmas: Mapping[str, float]
) -> tuple[Inputs, Sequence[LeftOut]]:
    """Return the positions whose underlying moves by a known part, with their moves."""
    moves = np.array(request.moves)
    rows = np.zeros((len(inputs.holdings), len(moves)))
    reasons: dict[int, str] = {}
    for place, holding in enumerate(inputs.holdings):
        unit, factor = 0.01, 1.0
        mover = request.benchmark or holding.underlying
        if request.benchmark is not None:
            beta = beta_of(request, holding.underlying)
            if beta is None:
                reasons[place] = f"no beta to {request.benchmark}"
                continue
            factor = beta.beta
        if request.move_unit == "sigma":
            if mover not in sigmas:
                reasons[place] = "no volatility for the standard deviation"
                continue
            unit = sigmas[mover]
        rows[place] = moves * (unit * factor)
    return _without(_replaced(inputs, moves=rows), reasons)


def _without(
    inputs: Inputs, reasons: Mapping[int, str]
) -> tuple[Inputs, Sequence[LeftOut]]:
    """Return the inputs without these places, and the positions left out."""
    left_out = [LeftOut(inputs.holdings[place], why) for place, why in reasons.items()]
    stays = np.ones(len(inputs.holdings), dtype=bool)
    stays[list(reasons)] = False
    arrays = {
        name: getattr(inputs, name)[stays]
        for name in Inputs.__slots__
        if name != "holdings"
    }
    holdings = [each for each, stay in zip(inputs.holdings, stays, strict=True) if stay]
    return Inputs(holdings=holdings, **arrays), left_out


def _replaced(inputs: Inputs, **changes: NDArray[np.generic]) -> Inputs:
    fields = {name: getattr(inputs, name) for name in Inputs.__slots__}
    return Inputs(**(fields | changes))
