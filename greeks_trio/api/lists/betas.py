"""The lists of beta-weighted deltas, market metrics, skew and term structure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Final

from greeks_trio.api.lists import benchmark, columns, parameters
from greeks_trio.api.lists.columns import EVENT_TIME, RECEIVED_AT
from greeks_trio.api.lists.resource import ListResource
from greeks_trio.api.lists.totals import RISK_TOTALS
from greeks_trio.postgres.reads.listing import Key
from greeks_trio.postgres.reads.sources import (
    beta_weighted_asof,
    beta_weighted_totals_asof,
    market_metrics_asof,
    risk_totals_asof,
    volatility_skew_asof,
    volatility_term_structure_asof,
)

_ACCOUNT: Final = (parameters.BROKER, parameters.ACCOUNT_ID)
_MISSING: Final = "Why a value is null: " + ", ".join(
    ("dollar_delta", "currency", "beta", "benchmark_beta", "benchmark_price")
)
_OWN_MISSING: Final = (
    *("no implied volatility", "fewer than 60 days", "always the same"),
    None,
)

BETA_WEIGHTED: Final = ListResource(
    path="/v1/risk/beta-weighted",
    name="beta_weighted",
    tag="risk",
    about="Return the delta of each account, currency and underlying in shares of a "
    "benchmark.\n\nA beta that is not known is never assumed: `missing` names it.",
    file_name="beta_weighted",
    source=partial(beta_weighted_asof, "SPY"),
    parameters=(*_ACCOUNT, parameters.UNDERLYING, benchmark.BENCHMARK, parameters.AT),
    columns=(
        *(columns.BROKER, columns.ACCOUNT_ID),
        columns.text("currency", "USD", "As in `/v1/portfolio`."),
        columns.text("underlying", "AAPL", is_null=False),
        columns.text("benchmark", "SPY", is_null=False),
        *benchmark.WEIGHTED,
        columns.number("dollar_delta", -10000, "As in `/v1/portfolio`."),
        columns.number("beta", 1.24, "To the S&P 500."),
        columns.day("beta_date", "2026-11-02"),
        columns.text("beta_source", "file", "`file`, the broker, or `definition`."),
        columns.number("benchmark_beta", 1, "1 for SPY."),
        *benchmark.PRICE,
        columns.text("benchmark_currency", "USD", is_null=False),
        columns.whole("positions", 2, "Of any kind."),
        columns.whole("missing_dollar_delta", 0, "Positions without a dollar delta."),
        columns.texts("missing", ["beta"], _MISSING),
        columns.whole("stale", 0, "Positions whose values are stale."),
        columns.number("oldest_age_s", 1.25, "Seconds."),
    ),
    keys=(
        Key("broker", "text"),
        Key("account_id", "text"),
        Key("underlying", "text"),
        Key("currency", "text", if_null=""),
    ),
)

BETA_WEIGHTED_TOTALS: Final = ListResource(
    path="/v1/risk/beta-weighted/totals",
    name="beta_weighted_totals",
    tag="risk",
    about="Return the sums of `/v1/risk/beta-weighted`: one row for each account, and one "
    "without broker and account for all of them.\n\nBeside each sum are the counts of the "
    "positions that it lacks.",
    file_name="beta_weighted_totals",
    source=partial(beta_weighted_totals_asof, "SPY"),
    parameters=(*_ACCOUNT, benchmark.BENCHMARK, parameters.AT),
    columns=(
        replace(columns.BROKER, schema={"type": ["string", "null"]}, is_broker=False),
        columns.text("account_id", "U1234567", "Null in the row for all accounts."),
        columns.text("benchmark", "SPY", is_null=False),
        *benchmark.WEIGHTED,
        columns.text("currency", "USD", "That of the benchmark."),
        *benchmark.PRICE,
        columns.whole("positions", 5, "Of any kind."),
        columns.whole("left_out", 3, "Positions that the sum in dollars lacks."),
        *benchmark.REASONS,
        columns.whole("missing_dollar_delta", 1, "Positions without a dollar delta."),
        *(*benchmark.OF_BENCHMARK, *benchmark.OLDEST),
        columns.whole("stale", 0, "Positions whose values are stale."),
        columns.number("oldest_age_s", 1.25, "Seconds."),
    ),
    keys=(
        Key("broker", "text", if_null=""),
        Key("account_id", "text", if_null=""),
    ),
)

MARKET_METRICS: Final = ListResource(
    path="/v1/market-metrics",
    name="market_metrics",
    tag="risk",
    about="Return the newest beta, IV rank and IV percentile of each underlying.",
    file_name="market_metrics",
    source=market_metrics_asof,
    parameters=(parameters.text("symbol", example="AAPL"), parameters.AT),
    columns=(
        columns.text("symbol", "AAPL", is_null=False),
        columns.number("beta", 1.24, "To the S&P 500."),
        columns.day("beta_date", "2026-11-02"),
        columns.text("beta_source", "file", "`file` or the broker."),
        columns.number("iv_index", 0.284, "From the broker, a fraction per year."),
        columns.number("iv_rank", 0.31, "From the broker, 0 to 1."),
        columns.number("iv_percentile", 0.42, "From the broker, 0 to 1."),
        columns.time("iv_updated_at", EVENT_TIME, "The broker's own time."),
        columns.text("iv_source", "tastytrade"),
        columns.number("own_iv_index", 0.281, "At the money, from our own ticks."),
        columns.number("own_iv_index_days", 30, "Days to its expiration."),
        columns.number("own_iv_rank", 0.28, "From our own days, 0 to 1."),
        columns.number("own_iv_percentile", 0.4, "From our own days, 0 to 1."),
        columns.whole("own_iv_days", 251, "Days of ours in the last 365."),
        columns.choice("own_iv_missing", _OWN_MISSING, "fewer than 60 days"),
        columns.time("observed_at", RECEIVED_AT, "When the newest value was read."),
        columns.number("age_s", 1800, "Seconds since then."),
        columns.text(
            "problem", "beta: NaN is no number", "Values that are unreadable."
        ),
    ),
    keys=(Key("symbol", "text"),),
)

SKEW: Final = ListResource(
    path="/v1/risk/skew",
    name="volatility_skew",
    tag="risk",
    about="Return the volatility at the money and at 25 delta of each underlying and "
    "expiration, from the options that are held or watched.",
    file_name="volatility_skew",
    source=volatility_skew_asof,
    parameters=(parameters.UNDERLYING, *parameters.EXPIRATIONS, parameters.AT),
    columns=(
        columns.text("underlying", "SPY", is_null=False),
        columns.text("currency", "USD", is_null=False),
        columns.day("expiration", "2026-12-18"),
        columns.number("days", 27.2, "Days to 16:00 in New York."),
        columns.number("at_the_money", 0.18, "At a call's delta of 0.5."),
        columns.number("put_25_delta", 0.21, "At a put's delta of -0.25."),
        columns.number("call_25_delta", 0.16, "At a call's delta of 0.25."),
        columns.number("skew", 0.05, "`put_25_delta` minus `call_25_delta`."),
        columns.whole("options", 12, "Points of the smile."),
        columns.whole("not_used", 1, "Options that are no points."),
        columns.number("oldest_age_s", 1.25, "Seconds."),
    ),
    keys=(
        Key("underlying", "text"),
        Key("currency", "text"),
        Key("expiration", "date"),
    ),
)

TERM_STRUCTURE: Final = ListResource(
    path="/v1/risk/term-structure",
    name="volatility_term_structure",
    tag="risk",
    about="Return the volatility at the money of each underlying for 7, 30, 60, 90, 180 "
    "and 365 days.",
    file_name="volatility_term_structure",
    source=volatility_term_structure_asof,
    parameters=(parameters.UNDERLYING, parameters.AT),
    columns=(
        columns.text("underlying", "SPY", is_null=False),
        columns.text("currency", "USD", is_null=False),
        columns.whole("days", 30, "Days from now."),
        columns.number("implied_volatility", 0.18, "A fraction per year."),
        columns.day("expiration_before", "2026-12-18"),
        columns.day("expiration_after", "2027-01-15"),
        columns.number(
            "days_used", 30, "For 30 days, perhaps those of the nearest expiration."
        ),
    ),
    keys=(
        Key("underlying", "text"),
        Key("currency", "text"),
        Key("days", "bigint"),
    ),
)

BETAS: Final = (
    *(BETA_WEIGHTED, BETA_WEIGHTED_TOTALS, MARKET_METRICS),
    *(SKEW, TERM_STRUCTURE),
)
_SOURCES: Final = {
    BETA_WEIGHTED.name: beta_weighted_asof,
    BETA_WEIGHTED_TOTALS.name: beta_weighted_totals_asof,
    RISK_TOTALS.name: risk_totals_asof,
}


def with_benchmark(resources: Iterable[ListResource], name: str) -> list[ListResource]:
    """Return the lists, those of beta-weighted deltas with this benchmark by default."""
    return [
        replace(each, source=partial(_SOURCES[each.name], name))
        if each.name in _SOURCES
        else each
        for each in resources
    ]
