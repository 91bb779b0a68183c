"""The volatility that gives an option its price.

European options: the price is brought to a function of one variable, the deviation
(volatility x root of years), and of the distance of strike and forward.  Below the point of
inflection Newton's method takes the reciprocal of the logarithm of the price, which is
nearly a straight line there, also for prices of 1e-200; above it, the logarithm of the
distance to the highest price.  Each step stays within bounds that close in.

American options: Chandrupatla's method between zero and the volatility of the European
option of this price, which is never lower, or 10 where there is none.

Sources: Peter Jäckel, "Let's Be Rational", Wilmott 2015(75).  Tirupathi Chandrupatla, "A new
hybrid quadratic/bisection algorithm", Advances in Engineering Software 28(3), 1997.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import IntEnum
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from greeks_trio.risk.american import price_american
from greeks_trio.risk.exercise_boundary import (
    can_be_exercised_early,
    has_two_boundaries,
)
from greeks_trio.risk.normal import Floats, cumulative, scaled_tail
from greeks_trio.risk.valuation import Flags

_ROOT_2_PI: Final = math.sqrt(2.0 * math.pi)
_STEPS: Final = 40
_AMERICAN_STEPS: Final = 40
# Relative to the volatility.
_TOLERANCE: Final = 1e-13
_AMERICAN_TOLERANCE: Final = 1e-9
_LOWEST: Final = 1e-4
_HIGHEST: Final = 10.0
# A time value below this part of the price is rounding.
_ROUNDING: Final = 4e-15


class Reason(IntEnum):
    """Why there is no implied volatility."""

    KNOWN = 0
    INPUT_MISSING = 1
    EXPIRED = 2
    NO_TIME_VALUE = 3
    PRICE_TOO_HIGH = 4
    NOT_MODELLED = 5


REASON_WORDS: Final = {
    Reason.INPUT_MISSING: "the price, the underlying's price or the strike is missing",
    Reason.EXPIRED: "the option has expired",
    Reason.NO_TIME_VALUE: "the price has no time value",
    Reason.PRICE_TOO_HIGH: "the price is higher than any volatility gives",
    Reason.NOT_MODELLED: "the model does not know this combination of rate and yield",
}


class ImpliedVolatility(NamedTuple):
    """Implied volatilities.

    Attributes:
        volatility: A fraction per year; NaN if there is none.
        reason: A `Reason` for each of them.
    """

    volatility: Floats
    reason: NDArray[np.int8]


class _Scaled(NamedTuple):
    """Prices of options without intrinsic value, in units of root(spot x strike).

    Attributes:
        distance: The size of log(forward / strike).
    """

    price: Floats
    distance: Floats


def implied_european(
    is_call: ArrayLike,
    price: ArrayLike,
    spot: ArrayLike,
    strike: ArrayLike,
    years: ArrayLike,
    rate: ArrayLike = 0.0,
    dividend_yield: ArrayLike = 0.0,
) -> ImpliedVolatility:
    """Return the volatilities that give European options these prices.

    For options on futures, take the rate as the yield too.
    """
    call, p, s, k, t, r, q = np.broadcast_arrays(
        np.asarray(is_call, dtype=bool),
        *(
            np.asarray(each, dtype=np.float64)
            for each in (price, spot, strike, years, rate, dividend_yield)
        ),
    )
    with np.errstate(all="ignore"):
        forward, discounted = s * np.exp(-q * t), k * np.exp(-r * t)
        intrinsic = np.maximum(np.where(call, 1.0, -1.0) * (forward - discounted), 0.0)
        unit = np.sqrt(forward * discounted)
        scaled = _Scaled((p - intrinsic) / unit, np.abs(np.log(forward / discounted)))
        highest = np.exp(-0.5 * scaled.distance)
        reason = _reasons(
            (Reason.PRICE_TOO_HIGH, scaled.price >= highest),
            (Reason.NO_TIME_VALUE, p - intrinsic <= _ROUNDING * np.abs(p)),
            (Reason.EXPIRED, t <= 0.0),
            (Reason.INPUT_MISSING, ~(np.isfinite(scaled.price) & (s > 0) & (k > 0))),
        )
        found = np.full(p.shape, np.nan)
        known = reason == Reason.KNOWN
        deviation = _deviations(_Scaled(*(each[known] for each in scaled)))
        found[known] = deviation / np.sqrt(t[known])
    return ImpliedVolatility(found, reason)


def implied_american(
    is_call: ArrayLike,
    price: ArrayLike,
    spot: ArrayLike,
    strike: ArrayLike,
    years: ArrayLike,
    rate: ArrayLike = 0.0,
    dividend_yield: ArrayLike = 0.0,
) -> ImpliedVolatility:
    """Return the volatilities that give American options these prices."""
    european = implied_european(
        is_call, price, spot, strike, years, rate, dividend_yield
    )
    shape = european.volatility.shape
    call, p, s, k, t, r, q = (
        np.broadcast_to(each, shape)
        for each in (is_call, price, spot, strike, years, rate, dividend_yield)
    )
    found, reason = european.volatility.copy(), european.reason.copy()
    with np.errstate(all="ignore"):
        exercised = np.where(call, s - k, k - s)
        # Early exercise can make the price higher than that of any European option.
        is_beyond = (reason == Reason.PRICE_TOO_HIGH) & (p < np.where(call, s, k))
        found[is_beyond] = _HIGHEST
        reason[is_beyond] = Reason.KNOWN
        no_value = (reason == Reason.KNOWN) & (p - exercised <= _ROUNDING * np.abs(p))
        reason[no_value] = Reason.NO_TIME_VALUE
        solved = np.flatnonzero((reason == Reason.KNOWN) & ~_is_never_early(call, r, q))
        terms = [each.ravel()[solved] for each in (call, s, k, t, r, q, p)]

        def excess(volatility: Floats, which: NDArray[np.intp]) -> Floats:
            call, s, k, t, r, q, p = (each[which] for each in terms)
            return np.asarray(price_american(call, s, k, t, volatility, r, q) - p)

        roots, reasons = _roots(excess, found.ravel()[solved])
        found.flat[solved], reason.flat[solved] = roots, reasons
    found[reason != Reason.KNOWN] = np.nan
    return ImpliedVolatility(found, reason)


def _is_never_early(call: Flags, r: Floats, q: Floats) -> Flags:
    """Return whether the American option has the price of the European one."""
    rate, dividend_yield = np.where(call, q, r), np.where(call, r, q)
    return ~(
        can_be_exercised_early(rate, dividend_yield)
        | has_two_boundaries(rate, dividend_yield)
    )


def _reasons(*each: tuple[Reason, Flags]) -> NDArray[np.int8]:
    """Return for each option the last reason that holds."""
    reasons = np.zeros(each[0][1].shape, dtype=np.int8)
    for reason, holds in each:
        reasons[holds] = reason
    return reasons


def _deviations(scaled: _Scaled) -> Floats:
    """Return the deviation of each price between zero and the highest."""
    price, y = scaled
    inflection = np.sqrt(2.0 * y)
    is_low = (y > 0.0) & (price < _low_price(inflection, y)[0])
    low, high = np.where(is_low, 0.0, inflection), np.where(is_low, inflection, 80.0)
    log_price = np.log(price)
    guess = np.where(
        is_low, y / np.sqrt(-2.0 * log_price), inflection + price * _ROOT_2_PI
    )
    w = np.where((guess > low) & (guess < high), guess, 0.5 * (low + high))
    open_ = np.arange(len(price))
    for _ in range(_STEPS):
        step, is_above = _step(w[open_], price[open_], y[open_], is_low[open_])
        here, upper = w[open_], np.where(is_above, w[open_], high[open_])
        lower = np.where(is_above, low[open_], here)
        new = here + step
        is_within = (new >= lower) & (new <= upper)
        new = np.where(is_within, new, 0.5 * (lower + upper))
        low[open_], high[open_], w[open_] = lower, upper, new
        open_ = open_[np.abs(new - here) > _TOLERANCE * new]
        if not open_.size:
            break
    return w


def _step(w: Floats, price: Floats, y: Floats, is_low: Flags) -> tuple[Floats, Flags]:
    """Return Newton's step, and whether the deviation is above the solution."""
    slope = np.exp(-0.5 * ((y / w) ** 2 + 0.25 * w * w)) / _ROOT_2_PI
    model, ratio = _low_price(w, y)
    log_model, log_price = np.log(model), np.log(price)
    low_step = log_model * (log_price - log_model) / log_price * ratio
    rest, rest_of_price = _rest(w, y), np.exp(-0.5 * y) - price
    excess = np.log(rest / rest_of_price)
    step = np.where(is_low, low_step, rest / slope * excess)
    return step, np.where(is_low, log_model > log_price, excess < 0.0)


def _low_price(w: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Return the price below the inflection, and price / slope."""
    h, half = y / w, 0.5 * w
    ratio = scaled_tail(np.maximum(h - half, 0.0)) - scaled_tail(h + half)
    bell = np.exp(-0.5 * (h * h + half * half))
    return bell * ratio, ratio * _ROOT_2_PI


def _rest(w: Floats, y: Floats) -> Floats:
    """Return the highest price minus the price."""
    h, half = y / w, 0.5 * w
    return np.asarray(
        np.exp(-0.5 * y) * cumulative(h - half)
        + np.exp(0.5 * y) * cumulative(-h - half)
    )


def _roots(
    excess: Callable[[Floats, NDArray[np.intp]], Floats], highest: Floats
) -> tuple[Floats, NDArray[np.int8]]:
    """Return where the excess, which rises with the volatility, is zero.

    Args:
        excess: Takes volatilities and the places of their options.
        highest: A bound for each root.

    Returns:
        The roots, and the reason where there is none.
    """
    every = np.arange(len(highest))
    a, b = highest * (1.0 + 1e-9), np.full_like(highest, _LOWEST)
    fa, fb = excess(a, every), excess(b, every)
    reason = _reasons(
        (Reason.PRICE_TOO_HIGH, fa < 0.0),
        # At the lowest volatility the price is that of immediate exercise.
        (Reason.NO_TIME_VALUE, fb >= 0.0),
        (Reason.NOT_MODELLED, np.isnan(fa + fb)),
    )
    c, fc, part = a.copy(), fa.copy(), np.full_like(a, 0.5)
    left = every[reason == Reason.KNOWN]
    for _ in range(_AMERICAN_STEPS):
        if not left.size:
            break
        x = a[left] + part[left] * (b[left] - a[left])
        fx = excess(x, left)
        is_same = np.sign(fx) == np.sign(fa[left])
        c[left] = np.where(is_same, a[left], b[left])
        fc[left] = np.where(is_same, fa[left], fb[left])
        b[left] = np.where(is_same, b[left], a[left])
        fb[left] = np.where(is_same, fb[left], fa[left])
        a[left], fa[left] = x, fx
        width, limit = np.abs(b[left] - a[left]), _AMERICAN_TOLERANCE * x
        is_open = (width > limit) & (fx != 0.0)
        left, width, limit = left[is_open], width[is_open], limit[is_open]
        next_part = _next_part(*(each[left] for each in (a, b, c, fa, fb, fc)))
        least = np.minimum(0.5, limit / width)
        part[left] = np.clip(next_part, least, 1.0 - least)
    return np.where(np.abs(fa) < np.abs(fb), a, b), reason


def _next_part(
    a: Floats, b: Floats, c: Floats, fa: Floats, fb: Floats, fc: Floats
) -> Floats:
    """Return the part of the way from a to b: interpolated where that is safe."""
    place, height = (a - b) / (c - b), (fa - fb) / (fc - fb)
    is_safe = (height**2 < place) & ((1.0 - height) ** 2 < 1.0 - place)
    inverse = fa / (fb - fa) * fc / (fb - fc)
    inverse += (c - a) / (b - a) * fa / (fc - fa) * fb / (fc - fb)
    return np.where(is_safe, inverse, 0.5)
