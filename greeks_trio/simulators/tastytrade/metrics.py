"""The market metrics of underlyings in the shape of the REST interface.

Each symbol always has the same numbers.  Some of them look as odd as the real ones do: an
index without a beta, ranks as texts.

Source: developer.tastytrade.com, "Market Metrics".
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final

from greeks_trio.simulators.tastytrade.instruments import Shape

_FUTURE: Final = re.compile("(/[A-Z0-9]+?)[FGHJKMNQUVXZ][0-9]{1,2}")
# Indices have no beta here.
WITHOUT_BETA: Final = frozenset({"SPX", "VIX"})


def product_of(symbol: str) -> str:
    """Return the product of a future; any other symbol as it is."""
    found = _FUTURE.fullmatch(symbol)
    return found[1] if found else symbol


def beta_of(symbol: str) -> float | None:
    """Return the beta of a symbol, `None` for an index."""
    if symbol in WITHOUT_BETA:
        return None
    return 1.0 if symbol == "SPY" else round(Random(symbol).uniform(0.3, 2.2), 6)


def iv_rank_of(symbol: str) -> float:
    """Return the IV rank of a symbol, 0 to 1."""
    return round(Random(f"rank {symbol}").random(), 9)


def metrics_shape(symbol: str, *, is_odd: bool = False) -> Shape:
    """Return the metrics, numbers as text.

    ``is_odd`` puts values into them that no client can use.
    """
    now = datetime.now(UTC)
    numbers = Random(f"metrics {symbol}")
    rank, beta = f"{iv_rank_of(symbol):.9f}", beta_of(symbol)
    at = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    shape: Shape = {
        "symbol": symbol,
        "implied-volatility-index": f"{numbers.uniform(0.1, 0.6):.9f}",
        "implied-volatility-index-5-day-change": f"{numbers.gauss(0, 0.02):.9f}",
        "implied-volatility-index-rank": rank,
        "tos-implied-volatility-index-rank": rank,
        "tw-implied-volatility-index-rank": rank,
        "tos-implied-volatility-index-rank-updated-at": at,
        "implied-volatility-index-rank-source": "tos",
        "implied-volatility-percentile": f"{numbers.random():.9f}",
        "implied-volatility-updated-at": at,
        "liquidity-rating": numbers.randint(1, 4),
        "updated-at": at,
        "market-cap": f"{numbers.uniform(1e9, 3e12):.0f}",
        "implied-volatility-30-day": f"{numbers.uniform(10, 60):.2f}",
        "created-at": "2025-04-10T16:15:19.000+00:00",
    }
    if beta is not None:
        shape["beta"] = f"{beta:.6f}"
        # Computed on the evening before.
        shape["beta-updated-at"] = (now - timedelta(days=1)).isoformat()
    if is_odd:
        shape |= {"beta": "NaN", "implied-volatility-index-rank": "1e308"}
    return shape
