"""The parameter and the columns of beta-weighted deltas."""

from __future__ import annotations

from typing import Final

from greeks_trio.api.lists import columns, parameters
from greeks_trio.api.lists.columns import EVENT_TIME
from greeks_trio.api.lists.parameters import Parameter

BENCHMARK: Final = Parameter(
    name="benchmark",
    type=parameters.UNDERLYING_TEXT,
    condition=None,
    about="The underlying in whose shares the deltas are expressed; default: "
    "GREEKS_BENCHMARK.",
    example="SPY",
)
PRICE: Final = (
    columns.number(
        "benchmark_price", 668.2, "From the options on it that are held or watched."
    ),
    columns.time("benchmark_price_at", EVENT_TIME, "The time of that price."),
)
WEIGHTED: Final = (
    columns.number("beta_weighted_delta", -23.1, "In shares of the benchmark."),
    columns.number("beta_weighted_dollar_delta", -15000, "In the currency."),
)
# Positions that the sums lack, with the reason.
REASONS: Final = (
    columns.whole("missing_beta", 1, "Positions without a known beta."),
    columns.whole("missing_currency", 1, "Positions in another currency."),
)
OF_BENCHMARK: Final = (
    columns.whole("missing_benchmark_beta", 0, "Its beta is not known."),
    columns.whole("missing_benchmark_price", 0, "Its price is not known."),
)
OLDEST: Final = (
    columns.texts("without_beta", ["NVDA"], "Underlyings without a known beta."),
    columns.day("oldest_beta_date", "2026-11-02"),
)
