"""The implied volatilities of a simulated underlying, as a smile of strikes and terms.

Equity options have a skew: the volatility is higher for low strikes than for high ones, and
it rises at both ends.
"""

from __future__ import annotations

import math
from typing import Final

# For each distance of one standard deviation from the money.
_SLOPE: Final = -0.05
_CURVATURE: Final = 0.025
_MOST_DEVIATIONS: Final = 4.0
# The volatility of a year is this part higher than that of a day.
_TERM: Final = 0.1


def smile_volatility(level: float, price: float, strike: float, days: int) -> float:
    """Return the implied volatility of an option, a fraction per year.

    Args:
        level: The volatility at the money of a short term.
        price: Of the underlying.
        strike: Of the option; a strike or price of zero and less has no distance.
        days: Until the expiration.
    """
    years = max(days, 1) / 365.0
    deviations = 0.0
    if price > 0.0 and strike > 0.0:
        deviations = math.log(strike / price) / (level * math.sqrt(years))
    deviations = max(-_MOST_DEVIATIONS, min(deviations, _MOST_DEVIATIONS))
    shape = 1.0 + _SLOPE * deviations + _CURVATURE * deviations**2
    return level * shape * (1.0 + _TERM * math.sqrt(min(years, 1.0)))
