"""Prices and Greeks of many options, in the units of the product."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from greeks_trio.risk.normal import Floats

Flags: TypeAlias = NDArray[np.bool_]

DAYS_PER_YEAR: Final = 365.0
# One volatility point, or one rate point, as a fraction.
POINT: Final = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class Valuation:
    """Values per unit of the option, as arrays of one shape.

    A value that the model does not know is NaN.

    Attributes:
        price: In the unit of the underlying's price.
        delta: Change of the price per 1.00 of the underlying.
        gamma: Change of delta per 1.00 of the underlying.
        theta: Change of the price per calendar day, the derivative.
        vega: Change of the price per volatility point (0.01).
        rho: Change of the price per rate point (0.01).
        vanna: Change of delta per volatility point.
        vomma: Change of vega per volatility point; also called volga.
        charm: Change of delta per calendar day.
    """

    price: Floats
    delta: Floats
    gamma: Floats
    theta: Floats
    vega: Floats
    rho: Floats
    vanna: Floats
    vomma: Floats
    charm: Floats
