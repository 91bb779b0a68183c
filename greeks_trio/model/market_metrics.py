"""The betas and implied volatilities of underlyings.  Pure.

A source has them as numbers or as texts.  A value that cannot be one, such as NaN, is
missing, and its row says so; it costs no other value.
"""

from __future__ import annotations

import math
from datetime import date, datetime
from typing import Final

import msgspec

from greeks_trio.foreign_text import clean
from greeks_trio.model.possible import Range

# The source of the rows of the file of betas.
FILE: Final = "file"
_LONGEST_SHOWN: Final = 40
LIMITS: Final = {
    "beta": Range(-20.0, 20.0, "no underlying moves twenty times as much as the index"),
    "iv_index": Range(1e-9, 100.0, "a fraction; 0 and -1 stand for unset"),
    "iv_rank": Range(-1.0, 2.0, "0 to 1, and beyond on a day with a new extreme"),
    "iv_percentile": Range(0.0, 1.0, "a part of the days"),
}


class MarketMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """The metrics of one underlying from one source; `None` where it has none.

    Attributes:
        symbol: The key of the underlying.
        source: The broker, or `FILE`.
        observed_at: Our clock when they were read, UTC.
        beta: To the S&P 500.
        beta_date: The day of the beta, by its source.
        iv_index: The implied volatility of the underlying, a fraction per year.
        iv_rank: 0 to 1.
        iv_percentile: 0 to 1.
        iv_updated_at: The broker's own time of the implied volatilities.
        problem: The values that cannot be read, with the reasons.
    """

    symbol: str
    source: str
    observed_at: datetime
    beta: float | None = None
    beta_date: date | None = None
    iv_index: float | None = None
    iv_rank: float | None = None
    iv_percentile: float | None = None
    iv_updated_at: datetime | None = None
    problem: str | None = None


def parse_metric(name: str, value: object) -> float:
    """Return the value of a metric in `LIMITS`.

    Raises:
        ValueError: The value is none; the message says why.
    """
    is_one = isinstance(value, int | float | str) and not isinstance(value, bool)
    try:
        number = float(value) if is_one else math.nan  # type: ignore[arg-type]
    except (ValueError, OverflowError):
        number = math.nan
    if math.isnan(number):
        raise ValueError(f"{_shown(value)} is no number")
    if not LIMITS[name].has(number):
        raise ValueError(f"{number:.6g} is not possible")
    return number


def _shown(value: object) -> str:
    if not isinstance(value, str):
        return "NaN" if isinstance(value, float) else f"a {type(value).__name__}"
    return repr(clean(value[:_LONGEST_SHOWN], limit=_LONGEST_SHOWN))
