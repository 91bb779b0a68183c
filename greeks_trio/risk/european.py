"""European options by the closed form of Black, Scholes and Merton, and of Black.

Every argument is an array or a number; they are broadcast against each other.  Rates, yields
and volatilities are fractions per year, and rates are compounded continuously.

Source: Espen Gaarder Haug, "The Complete Guide to Option Pricing Formulas", 2nd edition,
chapters 1 and 2.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from greeks_trio.risk.normal import Floats, cumulative, density
from greeks_trio.risk.valuation import DAYS_PER_YEAR, POINT, Valuation

# So many deviations from the mean the probability is 0 or 1, and the density 0.
_CERTAIN: Final = 50.0


def value_european(
    is_call: ArrayLike,
    spot: ArrayLike,
    strike: ArrayLike,
    years: ArrayLike,
    volatility: ArrayLike,
    rate: ArrayLike = 0.0,
    dividend_yield: ArrayLike = 0.0,
) -> Valuation:
    """Return prices and Greeks of options on an asset with a continuous yield.

    At the expiration, and with a volatility of zero, the future is certain: then gamma, vega,
    vanna and vomma are zero.  A spot or a strike that is
    not above zero gives NaN.

    Args:
        is_call: Calls, otherwise puts.
        spot: The price of the underlying.
        strike: The price at which the option is exercised.
        years: The time to the expiration; less than zero counts as zero.
        volatility: Less than zero counts as zero.
        rate: For money, until the expiration.
        dividend_yield: Of the underlying.  The rate of a foreign currency is one.
    """
    sign, s, k, t, v, r, q = _arrays(
        is_call, spot, strike, years, volatility, rate, dividend_yield
    )
    return _value(sign, s, k, t, v, r, q, rate_moves_forward=True)


def value_black(
    is_call: ArrayLike,
    future: ArrayLike,
    strike: ArrayLike,
    years: ArrayLike,
    volatility: ArrayLike,
    rate: ArrayLike = 0.0,
) -> Valuation:
    """Return prices and Greeks of options on futures (Black, 1976).

    The premium is paid at once.  Rho is that of the discount alone, because the price of
    the future stays.  The arguments are those of `value_european`, with the future's price
    instead of the spot.
    """
    sign, f, k, t, v, r, q = _arrays(
        is_call, future, strike, years, volatility, rate, rate
    )
    return _value(sign, f, k, t, v, r, q, rate_moves_forward=False)


def price_european(
    is_call: ArrayLike,
    spot: ArrayLike,
    strike: ArrayLike,
    years: ArrayLike,
    volatility: ArrayLike,
    rate: ArrayLike = 0.0,
    dividend_yield: ArrayLike = 0.0,
) -> Floats:
    """Return the prices of `value_european` alone, in a third of its time."""
    sign, s, k, t, v, r, q = _arrays(
        is_call, spot, strike, years, volatility, rate, dividend_yield
    )
    with np.errstate(all="ignore"):
        forward, discounted = s * np.exp(-q * t), k * np.exp(-r * t)
        d1, d2, _ = _distances(forward, discounted, v * np.sqrt(t))
        return np.asarray(
            sign
            * (forward * cumulative(sign * d1) - discounted * cumulative(sign * d2))
        )


def _arrays(is_call: ArrayLike, *numbers: ArrayLike) -> tuple[Floats, ...]:
    """Return the sign, spot, strike, years, volatility, rate and yield."""
    sign = np.where(np.asarray(is_call, dtype=bool), 1.0, -1.0)
    s, k, t, v, r, q = (np.asarray(each, dtype=np.float64) for each in numbers)
    s, k = (np.where(each > 0.0, each, np.nan) for each in (s, k))
    return sign, s, k, np.maximum(t, 0.0), np.maximum(v, 0.0), r, q


def _distances(
    forward: Floats, discounted: Floats, deviation: Floats
) -> tuple[Floats, Floats, Floats]:
    """Return d1, d2 and the deviation; 1 and `_CERTAIN` stand for a deviation of zero."""
    distance = np.log(forward / discounted)
    has_deviation = deviation > 0.0
    safe = np.where(has_deviation, deviation, 1.0)
    certain = np.where(distance >= 0.0, _CERTAIN, -_CERTAIN)
    middle = np.where(has_deviation, distance / safe, certain)
    d1 = middle + 0.5 * safe
    return d1, d1 - safe, safe


def _value(
    sign: Floats,
    s: Floats,
    k: Floats,
    t: Floats,
    v: Floats,
    r: Floats,
    q: Floats,
    *,
    rate_moves_forward: bool,
) -> Valuation:
    with np.errstate(all="ignore"):
        growth = np.exp(-q * t)
        forward, discounted = s * growth, k * np.exp(-r * t)
        root = np.sqrt(t)
        d1, d2, deviation = _distances(forward, discounted, v * root)
        is_certain = ~(v * root > 0.0)
        root = np.where(is_certain, 1.0, root)
        v = np.where(is_certain, 1.0, v)
        hit, exercised = cumulative(sign * d1), cumulative(sign * d2)
        bell = density(d1)
        price = sign * (forward * hit - discounted * exercised)
        vega = forward * bell * root
        gamma = growth * bell / (s * deviation)
        carry = sign * (q * forward * hit - r * discounted * exercised)
        theta = carry - vega * v / (2.0 * root * root)
        rho = sign * t * discounted * exercised if rate_moves_forward else -t * price
        vanna = -growth * bell * d2 / v
        # By time, with the spot as it is: d1 moves by the drift and by the root of time.
        drift = (r - q) / deviation - d2 / (2.0 * root * root)
        charm = q * sign * growth * hit - growth * bell * drift
    shape = np.broadcast_shapes(price.shape, theta.shape, rho.shape)
    is_over = np.broadcast_to(t <= 0.0, shape)
    theta, charm = (np.where(is_over, 0.0, each) for each in (theta, charm))
    columns = (
        price,
        sign * growth * hit,
        gamma,
        theta / DAYS_PER_YEAR,
        vega * POINT,
        rho * POINT,
        vanna * POINT,
        vega * d1 * d2 / v * POINT * POINT,
        charm / DAYS_PER_YEAR,
    )
    return Valuation(*(np.array(np.broadcast_to(each, shape)) for each in columns))
