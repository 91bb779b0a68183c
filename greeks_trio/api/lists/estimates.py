"""The lists with estimates: Greeks and sums, each with its source."""

from __future__ import annotations

from typing import Final

from greeks_trio.api.lists import columns, parameters
from greeks_trio.api.lists.columns import EVENT_TIME, RECEIVED_AT, ListColumn
from greeks_trio.api.lists.resource import ListResource
from greeks_trio.postgres.reads.listing import Key
from greeks_trio.postgres.reads.sources import (
    greeks_with_estimates,
    portfolio_with_estimates,
)

_SOURCES: Final = ("broker", "estimated", None)
_STALE_REASONS: Final = ("no tick", "old", "delayed", "frozen", "unknown", None)
_VOLATILITY_SOURCES: Final = ("implied_volatility", "price", None)
_MODELS: Final = ("american", "european", "black", None)
_GREEKS: Final = {
    "delta": 0.512,
    "gamma": 0.0149,
    "theta": -0.3019,
    "vega": 0.965,
    "rho": 0.188,
}


def _with_source(name: str, example: float) -> tuple[ListColumn, ListColumn]:
    return (
        columns.number(
            name, example, f"The broker's, or that of the model: `{name}_source`."
        ),
        columns.choice(f"{name}_source", _SOURCES, "estimated"),
    )


ESTIMATES: Final = ListResource(
    path="/v1/greeks/estimates",
    name="estimates",
    tag="greeks",
    about="Return the newest Greeks with estimates of those that are missing or stale.\n\n"
    "The source beside each Greek says whether it is the broker's or an estimate of the "
    "service. Estimates need GREEKS_ESTIMATES. The list `latest` has the broker's values "
    "only.",
    file_name="greeks_with_estimates",
    source=greeks_with_estimates,
    parameters=(
        *parameters.CONTRACTS,
        parameters.exactly("is_stale", bool),
    ),
    columns=(
        *columns.HELD,
        columns.time("event_time", EVENT_TIME, "Null where the contract has no tick."),
        columns.time("received_at", RECEIVED_AT, "When its frame was read."),
        columns.number("age_s", 1.25, "Seconds since the tick of the broker."),
        columns.flag("is_stale", "The tick of the broker, as in `latest`."),
        columns.choice("stale_reason", _STALE_REASONS, "old"),
        *(each for pair in _GREEKS.items() for each in _with_source(*pair)),
        columns.number("implied_volatility", 0.183, "The broker's: 0.183 is 18.3 %."),
        columns.number("underlying_price", 601.13, "As in `latest`."),
        columns.PRICE,
        columns.number("estimate_age_s", 6.5, "Seconds: the oldest input."),
        columns.number("estimate_volatility", 0.183, "In the model."),
        columns.choice(
            "estimate_volatility_source", _VOLATILITY_SOURCES, "implied_volatility"
        ),
        columns.text(
            "estimate_volatility_broker", "ibkr", "Whose tick gave it, or the price."
        ),
        columns.number("estimate_underlying_price", 601.13, "In the model."),
        columns.text(
            "estimate_underlying_price_broker", "tastytrade", "Whose tick gave it."
        ),
        columns.choice("estimate_model", _MODELS, "american"),
        columns.number("estimate_rate", 0.04, "GREEKS_RISK_FREE_RATE."),
        columns.number("estimate_dividend_yield", 0, "0: no broker sends dividends."),
        columns.text(
            "no_estimate_reason",
            "the inputs are old",
            "Why a Greek is still missing or stale.",
        ),
    ),
    keys=(
        Key("broker", "text"),
        Key("account_id", "text"),
        Key("contract_key", "text"),
    ),
)

_SUMS: Final = {
    "option_delta": (-153.6, "missing_delta"),
    "gamma": (-4.47, "missing_gamma"),
    "theta": (90.57, "missing_theta"),
    "vega": (-289.5, "missing_vega"),
    "rho": (-56.4, "missing_rho"),
    "dollar_delta": (-92352, "missing_dollar_delta"),
    "dollar_gamma": (-16159.3, "missing_dollar_gamma"),
}


def _sum_with_part(
    name: str, example_and_missing: tuple[float, str]
) -> tuple[ListColumn, ...]:
    example, missing = example_and_missing
    return (
        columns.number(name, example, "As in `portfolio`, with estimates."),
        columns.number(
            f"estimated_{name}", example, f"The estimated part of `{name}`."
        ),
        columns.whole(missing, 0, "Positions that are not in the sum."),
    )


PORTFOLIO_ESTIMATES: Final = ListResource(
    path="/v1/portfolio/estimates",
    name="portfolio_estimates",
    tag="greeks",
    about="Return the sums of `portfolio` with estimates.\n\n"
    "Beside each sum is the part of it that is estimated. The list `portfolio` has sums of "
    "the broker's values only.",
    file_name="portfolio_with_estimates",
    source=portfolio_with_estimates,
    parameters=(
        *parameters.EXPIRATIONS,
        *(parameters.BROKER, parameters.ACCOUNT_ID),
        parameters.text("currency", example="USD"),
        parameters.UNDERLYING,
    ),
    columns=(
        *(columns.BROKER, columns.ACCOUNT_ID, columns.CURRENCY),
        *(columns.UNDERLYING, columns.EXPIRATION),
        columns.whole("contracts", 1, "Options that are held."),
        columns.whole("shares_futures", 0, "Positions in shares and futures."),
        columns.whole("other_positions", 0, "Positions that no sum includes."),
        columns.whole("unknown_positions", 0, "Of these, those that are unidentified."),
        columns.whole("estimated_contracts", 1, "Contracts with an estimate in a sum."),
        columns.number("share_future_delta", 0, "Sum of quantity x multiplier."),
        *(each for pair in _SUMS.items() for each in _sum_with_part(*pair)),
        columns.number("market_value", -3705, "As in `portfolio`."),
        columns.whole("missing_value", 0, "Positions that are not in `market_value`."),
        columns.whole("stale", 0, "As in `portfolio`: estimates do not lower it."),
        columns.whole("not_realtime", 0, "As in `portfolio`."),
        columns.number("oldest_age_s", 1.25, "Seconds since the oldest tick."),
        columns.number("oldest_estimate_age_s", 6.5, "Seconds: the oldest input."),
    ),
    keys=(
        Key("broker", "text"),
        Key("account_id", "text"),
        Key("currency", "text", if_null=""),
        Key("underlying", "text", if_null=""),
        Key("expiration", "date", if_null="infinity"),
    ),
)
