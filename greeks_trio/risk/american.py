"""American options on an asset with a continuous yield.

The price is that of the European option and the premium of early exercise: an integral over
the time in which the option would be exercised.  The derivatives by the price of the
underlying are taken under the integral, theta follows from the differential equation, and
the others are differences between two premiums.

A call is a put with spot and strike exchanged, and with rate and yield exchanged.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from greeks_trio.risk.european import price_european, value_european
from greeks_trio.risk.exercise_boundary import (
    at,
    boundaries,
    can_be_exercised_early,
    has_two_boundaries,
    interpolation,
    log_boundary_at_expiration,
)
from greeks_trio.risk.normal import Floats, cumulative, density
from greeks_trio.risk.valuation import DAYS_PER_YEAR, POINT, Flags, Valuation

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(20)
_PARTS: Final = (1.0 + _NODES) / 2.0
_REMAINING: Final = interpolation(np.sqrt(1.0 - _PARTS**2))
_CHUNK: Final = 1_024

# The steps of the differences, in units of volatility, rate and years.
_STEP: Final = 1e-6
_SECOND_STEP: Final = 2e-3
_PART_OF_TIME: Final = 1e-5


class _Premium(NamedTuple):
    """The premium of early exercise with its derivatives by the price of the underlying.

    Attributes:
        is_exercised: Whether the option should be exercised now.
    """

    price: Floats
    delta: Floats
    gamma: Floats
    is_exercised: Flags


class _Contracts(NamedTuple):
    """Contracts and their spots, flat.

    Attributes:
        place: For each spot the place of its contract in the other arrays.
    """

    spot: Floats
    place: NDArray[np.intp]
    sign: Floats
    strike: Floats
    years: Floats
    volatility: Floats
    rate: Floats
    dividend_yield: Floats


def value_american(
    is_call: ArrayLike,
    spot: ArrayLike,
    strike: ArrayLike,
    years: ArrayLike,
    volatility: ArrayLike,
    rate: ArrayLike = 0.0,
    dividend_yield: ArrayLike = 0.0,
    *,
    second_order: bool = False,
) -> Valuation:
    """Return prices and Greeks of options that can be exercised at any time.

    The arguments are those of `value_european`.  Many spots of one contract cost little, if
    the other arguments are not broadcast to them before.

    An option that should be exercised now has the intrinsic value as its price.  NaN stands
    for contracts with two boundaries: rate and yield below zero, and the put's yield below
    its rate, or the call's rate below its yield.

    Args:
        is_call: As all others, see `value_european`.
        spot: The price of the underlying.
        strike: The price at which the option is exercised.
        years: The time to the expiration.
        volatility: A fraction per year.
        rate: For money, until the expiration.
        dividend_yield: Of the underlying.
        second_order: Also vomma and charm; without it they are NaN.
    """
    arguments = is_call, spot, strike, years, volatility, rate, dividend_yield
    european = value_european(*arguments)
    contracts = _flatten(*arguments)
    base = _premium(contracts)
    with np.errstate(all="ignore"):
        added = _added(contracts, base, second_order=second_order)
    sign, strikes = contracts.sign[contracts.place], contracts.strike[contracts.place]
    exercised = {"price": sign * (contracts.spot - strikes), "delta": sign}
    shape = european.price.shape
    fields = {
        name: np.where(
            base.is_exercised,
            exercised.get(name, 0.0),
            getattr(european, name).ravel() + extra,
        ).reshape(shape)
        for name, extra in added.items()
    }
    return Valuation(**fields)


def price_american(
    is_call: ArrayLike,
    spot: ArrayLike,
    strike: ArrayLike,
    years: ArrayLike,
    volatility: ArrayLike,
    rate: ArrayLike = 0.0,
    dividend_yield: ArrayLike = 0.0,
) -> Floats:
    """Return the prices of `value_american` alone."""
    arguments = is_call, spot, strike, years, volatility, rate, dividend_yield
    european = price_european(*arguments)
    contracts = _flatten(*arguments)
    premium = _premium(contracts)
    sign, strikes = contracts.sign[contracts.place], contracts.strike[contracts.place]
    return np.where(
        premium.is_exercised,
        sign * (contracts.spot - strikes),
        european.ravel() + premium.price,
    ).reshape(european.shape)


def _flatten(is_call: ArrayLike, spot: ArrayLike, *terms: ArrayLike) -> _Contracts:
    sign = np.where(np.asarray(is_call, dtype=bool), 1.0, -1.0)
    of_contract = np.broadcast_arrays(
        sign, *(np.asarray(each, float) for each in terms)
    )
    count = of_contract[0].size
    place = np.arange(count).reshape(of_contract[0].shape)
    spots, places = np.broadcast_arrays(np.asarray(spot, dtype=np.float64), place)
    return _Contracts(
        spots.ravel(), places.ravel(), *(each.ravel() for each in of_contract)
    )


def _added(
    contracts: _Contracts, base: _Premium, *, second_order: bool
) -> dict[str, Floats]:
    """Return the difference between American and European for each value."""
    _, place, __, ___, years, volatility, rate, yields = contracts

    def at_volatility(moved: Floats) -> _Premium:
        return _premium(contracts._replace(volatility=moved))

    more_volatile = at_volatility(volatility + _STEP)
    dearer = _premium(contracts._replace(rate=rate + _STEP))
    r, drift, v = rate[place], (rate - yields)[place], volatility[place]
    theta = r * base.price - drift * contracts.spot * base.delta
    theta -= 0.5 * (v * contracts.spot) ** 2 * base.gamma
    vomma = charm = np.full_like(theta, np.nan)
    if second_order:
        step = np.minimum(_SECOND_STEP, volatility / 4.0)
        both = at_volatility(volatility + step).price
        both += at_volatility(volatility - step).price
        vomma = (both - 2.0 * base.price) / step[place] ** 2
        later = _premium(contracts._replace(years=years * (1.0 - _PART_OF_TIME)))
        charm = (later.delta - base.delta) / (years[place] * _PART_OF_TIME)
    return {
        "price": base.price,
        "delta": base.delta,
        "gamma": base.gamma,
        "theta": theta / DAYS_PER_YEAR,
        "vega": (more_volatile.price - base.price) / _STEP * POINT,
        "rho": (dearer.price - base.price) / _STEP * POINT,
        "vanna": (more_volatile.delta - base.delta) / _STEP * POINT,
        "vomma": vomma * POINT * POINT,
        "charm": charm / DAYS_PER_YEAR,
    }


def _premium(contracts: _Contracts) -> _Premium:
    """Return the premium of each spot."""
    spot, place, sign, strike, years, volatility, rate, yields = contracts
    is_call = sign > 0.0
    # In the terms of a put.
    r, q = np.where(is_call, yields, rate), np.where(is_call, rate, yields)
    has_time = (years > 0.0) & (volatility > 0.0)
    is_early = can_be_exercised_early(r, q) & has_time
    found = _Premium(
        np.zeros_like(spot),
        np.zeros_like(spot),
        np.zeros_like(spot),
        np.zeros(spot.shape, dtype=bool),
    )
    found.price[has_two_boundaries(r, q)[place]] = np.nan
    if not is_early.any():
        return found
    early = np.flatnonzero(is_early)
    terms = tuple(each[early] for each in (years, r, q, volatility))
    values = boundaries(*terms)
    order = np.zeros(len(sign), dtype=np.intp)
    order[early] = np.arange(len(early))
    chosen = np.flatnonzero(is_early[place] & (spot > 0.0) & (strike > 0.0)[place])
    at_end = log_boundary_at_expiration(terms[1], terms[2])
    later, now = (
        at(values, _REMAINING) + at_end[:, None],
        at_end - np.sqrt(values[:, -1]),
    )
    for start in range(0, len(chosen), _CHUNK):
        here = chosen[start : start + _CHUNK]
        contract = place[here]
        row = order[contract]
        strikes = np.where(is_call[contract], spot[here], strike[contract])
        spots = np.where(is_call[contract], strike[contract], spot[here])
        moneyness = spots / strikes
        p, p1, p2 = _integrals(
            moneyness[:, None], later[row], *(each[row][:, None] for each in terms)
        )
        calls = is_call[contract]
        found.price[here] = strikes * p
        found.delta[here] = np.where(calls, p - moneyness * p1, p1)
        found.gamma[here] = np.where(calls, moneyness**2, 1.0) * p2 / strikes
        found.is_exercised[here] = np.log(moneyness) <= now[row]
    return found


def _integrals(
    m: Floats, log_b: Floats, t: Floats, r: Floats, q: Floats, v: Floats
) -> tuple[Floats, Floats, Floats]:
    """Return the premium of puts and its two derivatives, in units of the strike.

    Args:
        m: The spot, in units of the strike.
        log_b: The logarithm of the boundary at the points of the integral.
        t: The years; these and the following have one column.
        r: The rate.
        q: The yield.
        v: The volatility.
    """
    passed = t * _PARTS**2
    deviation = v * np.sqrt(passed)
    d2 = (np.log(m) - log_b + (r - q - 0.5 * v * v) * passed) / deviation
    of_rate = t * (_WEIGHTS * _PARTS) * r * np.exp(-r * passed)
    bell = of_rate * density(d2) / deviation
    p = np.sum(of_rate * cumulative(-d2), axis=1)
    p1 = -np.sum(bell, axis=1) / m[:, 0]
    p2 = np.sum(bell * (1.0 + d2 / deviation), axis=1) / m[:, 0] ** 2
    if q.any():
        d1 = d2 + deviation
        of_yield = t * (_WEIGHTS * _PARTS) * q * np.exp(-q * passed)
        bell = of_yield * density(d1) / deviation
        hit = np.sum(of_yield * cumulative(-d1), axis=1)
        p -= m[:, 0] * hit
        p1 += np.sum(bell, axis=1) - hit
        p2 += np.sum(bell * (1.0 - d1 / deviation), axis=1) / m[:, 0]
    return p, p1, p2
