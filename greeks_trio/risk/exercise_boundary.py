"""The price of the underlying at which an American put is exercised early.

The boundary b is a function of the time to the expiration, in units of the strike.  It is
kept as the square of log(b / b at the expiration) at Chebyshev points of the root of time,
where it is smooth.  An integral equation gives b; its fixed point is found by iteration
from the approximation of Bjerksund and Stensland (1993).

The points of the integrals lie at the same parts of each contract's time, so one matrix
interpolates the boundaries of all contracts.

Source: Leif Andersen, Mark Lake, Dimitri Offengenden, "High Performance American Option
Pricing", Journal of Computational Finance 20(1), 2016; system B.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from greeks_trio.risk.normal import Floats, cumulative
from greeks_trio.risk.valuation import Flags

_DEGREE: Final = 7
_INTEGRAL_POINTS: Final = 9
_ITERATIONS: Final = 8
# Contracts at a time: so that the arrays stay in the cache of the processor.
_CHUNK: Final = 128


def can_be_exercised_early(rate: Floats, dividend_yield: Floats) -> Flags:
    """Return whether the early exercise of a put can pay."""
    return np.asarray((rate > 0.0) | ((rate == 0.0) & (dividend_yield < 0.0)))


def has_two_boundaries(rate: Floats, dividend_yield: Floats) -> Flags:
    """Return whether a put is exercised in the middle of a range only: not known here."""
    return (rate < 0.0) & (dividend_yield < rate)


def log_boundary_at_expiration(rate: Floats, dividend_yield: Floats) -> Floats:
    """Return the logarithm of the boundary just before the expiration."""
    pays_more = (dividend_yield > rate) & (rate > 0.0)
    safe = np.where(pays_more, dividend_yield, 1.0)
    return np.where(pays_more, np.log(np.where(pays_more, rate, 1.0) / safe), 0.0)


def boundaries(
    years: Floats, rate: Floats, dividend_yield: Floats, volatility: Floats
) -> Floats:
    """Return the boundaries of puts, of which each can be exercised early.

    Returns:
        For each contract the values at the Chebyshev points, for `at`.
    """
    found = np.empty((len(years), _DEGREE + 1))
    for start in range(0, len(years), _CHUNK):
        part = slice(start, start + _CHUNK)
        found[part] = _iterate(
            *(
                each[part, None].astype(np.float64)
                for each in (years, rate, dividend_yield, volatility)
            )
        )
    return found


def interpolation(parts: Floats) -> Floats:
    """Return the matrix that takes boundaries to these parts of the root of time."""
    points = _chebyshev()
    weights = (-1.0) ** np.arange(_DEGREE + 1)
    weights[[0, -1]] /= 2.0
    distance = (2.0 * parts - 1.0)[:, None] - points[None, :]
    is_point = np.abs(distance) < 1e-14
    matrix = weights / np.where(is_point, 1.0, distance)
    matrix /= matrix.sum(axis=1, keepdims=True)
    on_point = is_point.any(axis=1)
    matrix[on_point] = is_point[on_point]
    return np.asarray(matrix)


def at(values: Floats, matrix: Floats) -> Floats:
    """Return log(b / b at the expiration) at the points of an interpolation."""
    return -np.sqrt(np.maximum(values @ matrix.T, 0.0))


def _chebyshev() -> NDArray[np.float64]:
    return -np.cos(np.arange(_DEGREE + 1) * np.pi / _DEGREE)


_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(_INTEGRAL_POINTS)
# The root of a part of the time to the expiration, at the points of an integral over it.
_PARTS: Final = (1.0 + _NODES) / 2.0
# The same of the whole time, at the points of the boundary; the first one is no unknown.
_POINTS: Final = (1.0 + _chebyshev()[1:]) / 2.0
_REMAINING: Final = interpolation(
    (_POINTS[:, None] * np.sqrt(1.0 - _PARTS**2)[None, :]).ravel()
)


def _iterate(t: Floats, r: Floats, q: Floats, v: Floats) -> Floats:
    """Return the boundaries of a chunk; every argument has one column."""
    time = t * _POINTS**2
    deviation = v * np.sqrt(time)
    at_end = log_boundary_at_expiration(r, q)
    # Of the integrals: the deviations, the drift in units of them, and the discounts.
    step = deviation[:, :, None] * _PARTS
    passed = time[:, :, None] * _PARTS**2
    drift = (r - q - 0.5 * v * v)[:, :, None] * passed / step
    weight = time[:, :, None] * (_WEIGHTS * _PARTS)
    of_rate = weight * (r * np.exp(r * time))[:, :, None]
    of_rate *= np.exp(-r[:, :, None] * passed)
    of_yield = weight * (q * np.exp(q * time))[:, :, None]
    of_yield *= np.exp(-q[:, :, None] * passed)
    has_yield = bool(np.any(q))
    start = np.zeros_like(t)
    log = np.minimum(_first_guess(t, r, q, v) - at_end, 0.0)
    for _ in range(_ITERATIONS):
        earlier = at(np.concatenate([start, log * log], axis=1), _REMAINING)
        distance = (log[:, :, None] - earlier.reshape(step.shape)) / step + drift
        d2 = (log + at_end + (r - q - 0.5 * v * v) * time) / deviation
        upper = cumulative(d2) + np.sum(of_rate * cumulative(distance), axis=2)
        lower = cumulative(d2 + deviation)
        if has_yield:
            lower = lower + np.sum(of_yield * cumulative(distance + step), axis=2)
        log = np.minimum(np.log(upper / lower) - (r - q) * time - at_end, 0.0)
    return np.concatenate([start, log * log], axis=1)


def _first_guess(t: Floats, r: Floats, q: Floats, v: Floats) -> Floats:
    """Return the logarithm of the approximate boundary at the points.

    The approximation is for calls: the boundary of the put is 1 divided by that of the call
    with rate and yield exchanged.
    """
    time = t * _POINTS**2
    variance = v * v
    carry = (q - r) / variance
    root = np.sqrt(np.maximum((carry - 0.5) ** 2 + 2.0 * q / variance, 0.0))
    power = np.maximum(0.5 - carry + root, 1.0 + 1e-6)
    first = np.exp(-log_boundary_at_expiration(r, q))
    last = np.maximum(power / (power - 1.0), first * (1.0 + 1e-9))
    decay = -((q - r) * time + 2.0 * v * np.sqrt(time)) * first / (last - first)
    boundary = first + (last - first) * -np.expm1(np.minimum(decay, 0.0))
    return np.asarray(-np.log(boundary))
