"""The lists of single positions: each with its part of the sums, and the tags."""

from __future__ import annotations

from typing import Final, get_args

from greeks_trio.api.lists import columns, parameters, position_filters
from greeks_trio.api.lists.columns import EVENT_TIME, RECEIVED_AT
from greeks_trio.api.lists.resource import ListResource
from greeks_trio.model.records import PositionKind
from greeks_trio.postgres.reads.listing import Key
from greeks_trio.postgres.reads.sources import position_greeks_asof, relation

_STALE_REASONS: Final = (
    *("no tick", "old", "delayed", "frozen", "unknown", "underlying price", "no price"),
    None,
)
_OF_POSITION: Final = "Quantity x multiplier x price_factor x Greek, in the currency."

POSITION_GREEKS: Final = ListResource(
    path="/v1/risk/positions",
    name="position_greeks",
    tag="risk",
    about="Return each open position with its part of the sums.",
    file_name="position_greeks",
    source=position_greeks_asof,
    parameters=(
        *parameters.CONTRACTS,
        parameters.exactly("kind", PositionKind),
        *position_filters.CHOICES,
        parameters.exactly("is_stale", bool),
        parameters.AT,
    ),
    columns=(
        *(columns.BROKER, columns.ACCOUNT_ID, columns.CONTRACT_KEY),
        columns.choice("kind", get_args(PositionKind), "option"),
        *(columns.UNDERLYING, columns.EXPIRATION, position_filters.BUCKET_COLUMN),
        *(columns.STRIKE, columns.OPTION_TYPE, position_filters.STRATEGY_TAG_COLUMN),
        *(columns.CURRENCY, columns.QUANTITY),
        *(columns.MULTIPLIER, columns.PRICE_FACTOR),
        columns.number("price", 12.35, "Of the option, share or future."),
        columns.number("underlying_price", 601.25, "That `dollar_delta` uses."),
        columns.UNDERLYING_PRICE_AT,
        columns.time("event_time", EVENT_TIME, "Null where there is no tick."),
        columns.time("received_at", RECEIVED_AT, "When the frame was read."),
        columns.number("position_delta", -153.6, "Quantity x multiplier x delta."),
        columns.number("position_gamma", -4.47, "Quantity x multiplier x gamma."),
        columns.number("position_theta", 90.57, _OF_POSITION),
        columns.number("position_vega", -289.5, _OF_POSITION),
        columns.number("position_rho", -56.4, _OF_POSITION),
        columns.number("dollar_delta", -92352, "For a move of 100 %, in the currency."),
        columns.number("dollar_gamma", -16159.3, "For a move of 1 %, in the currency."),
        columns.number(
            "position_value", -3705, "Quantity x multiplier x price_factor x price."
        ),
        columns.number("age_s", 1.25, "Seconds since the tick was received."),
        columns.flag("is_stale", "`stale_reason` says why."),
        columns.choice("stale_reason", _STALE_REASONS, "old"),
        columns.flag("not_realtime", "A value or a price is not real-time."),
        columns.texts("missing", ["rho"], "The sums that lack this position."),
        columns.texts("carried", [], "Values from an older tick than the newest."),
        columns.number("carried_age_s", 2.5, "Seconds: the oldest of them."),
    ),
    keys=(
        Key("broker", "text"),
        Key("account_id", "text"),
        Key("contract_key", "text"),
    ),
)

POSITION_TAGS: Final = ListResource(
    path="/v1/position-tags",
    name="position_tags",
    tag="risk",
    about="Return the strategies that people have given to positions.",
    file_name="position_tags",
    source=relation("position_tags"),
    parameters=(
        *(parameters.BROKER, parameters.ACCOUNT_ID, parameters.CONTRACT_KEY),
        parameters.text("strategy_tag"),
    ),
    columns=(
        *(columns.BROKER, columns.ACCOUNT_ID, columns.CONTRACT_KEY),
        columns.text(
            "strategy_tag", "iron condor", "Null: none, also if a trade names one."
        ),
        columns.time("tagged_at", RECEIVED_AT, "When it was written.", is_null=False),
        columns.text("tagged_by", "Ada", "The person or program that wrote it."),
    ),
    keys=POSITION_GREEKS.keys,
)
