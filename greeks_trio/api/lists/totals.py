"""The lists of risk: each position with its part of the sums, the sums, and the tags."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Final, TypeAlias, get_args

from pydantic import AfterValidator, WithJsonSchema

from greeks_trio.api.lists import columns, parameters
from greeks_trio.api.lists.columns import EVENT_TIME, RECEIVED_AT
from greeks_trio.api.lists.parameters import Parameter
from greeks_trio.api.lists.resource import ListResource
from greeks_trio.model.records import PositionKind
from greeks_trio.postgres.reads.listing import Key
from greeks_trio.postgres.reads.sources import (
    position_greeks_asof,
    relation,
    risk_totals_asof,
)

BUCKETS: Final = (
    *("expired", "0DTE", "1-7", "8-30", "31-90", "91-365", "over 365"),
    None,
)
# The columns that a total can be grouped by.  Every total is of one currency.
_COLUMNS: Final = (
    *("broker", "account_id", "underlying", "expiration_bucket", "strategy_tag"),
    "currency",
)
BOOK: Final = "book"
GROUPS: Final = (*_COLUMNS, BOOK)
_STALE_REASONS: Final = (
    *("no tick", "old", "delayed", "frozen", "unknown", "underlying price", "no price"),
    None,
)


def _checked_groups(text: str) -> str:
    """Return the names of the columns, each once.

    Raises:
        ValueError: one of them is unknown, or the book is not alone.
    """
    names = tuple(dict.fromkeys(text.split(",")))
    if unknown := [name for name in names if name not in GROUPS]:
        raise ValueError(
            f"has {unknown[0][:40]!a}; it takes {', '.join(_COLUMNS)}, several with "
            f"commas between them, or {BOOK}"
        )
    if BOOK in names and len(names) > 1:
        raise ValueError(f"has {BOOK}, which goes with no other name")
    return ",".join(names)


_ONE: Final = "|".join(_COLUMNS)
GroupBy: TypeAlias = Annotated[
    str,
    AfterValidator(_checked_groups),
    WithJsonSchema({"type": "string", "pattern": f"^(book|({_ONE})(,({_ONE}))*)$"}),
]

_STRATEGY_TAG: Final = columns.text(
    "strategy_tag", "iron condor", "Of `/v1/position-tags`, else of the newest trade."
)
_BUCKET: Final = replace(
    columns.choice("expiration_bucket", BUCKETS, "31-90"),
    schema={"enum": list(BUCKETS), "description": "Days to the expiration."},
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
        parameters.text("strategy_tag"),
        parameters.text("currency", example="USD"),
        parameters.exactly("is_stale", bool),
        parameters.AT,
    ),
    columns=(
        *(columns.BROKER, columns.ACCOUNT_ID, columns.CONTRACT_KEY),
        columns.choice("kind", get_args(PositionKind), "option"),
        *(columns.UNDERLYING, columns.EXPIRATION, _BUCKET, columns.STRIKE),
        *(columns.OPTION_TYPE, _STRATEGY_TAG, columns.CURRENCY, columns.QUANTITY),
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

_SUM: Final = "In the currency."
_UNITS: Final = "In units of the underlying; null if there are several."
_LACKING: Final = "Positions that the sum lacks."
_WHY: Final = "Positions that lack it and are therefore not in the sums."
_CARRIED: Final = "Contracts whose value is from an older tick than the newest."


def _of_all(name: str) -> Parameter:
    """Return the filter that the source of the sums takes."""
    known = {
        each.name: each
        for each in (parameters.BROKER, parameters.ACCOUNT_ID, parameters.UNDERLYING)
    }
    filter_ = known.get(name) or parameters.text(name)
    return replace(filter_, condition=None)


RISK_TOTALS: Final = ListResource(
    path="/v1/risk/totals",
    name="risk_totals",
    tag="risk",
    about="Return sums of the positions by what `group_by` says, one currency each.\n\n"
    "Beside each sum is the count of the positions that it lacks.  A sum is null if none "
    "of its values is known.  Units of several underlyings do not add up: then "
    "`net_delta`, `option_delta`, `share_future_delta` and `gamma` are null, and "
    "`dollar_delta` says it in money.",
    file_name="risk_totals",
    source=risk_totals_asof,
    parameters=(
        Parameter(
            name="group_by",
            type=GroupBy,
            condition=None,
            about=f"One or more of {', '.join(_COLUMNS)}, with commas between them; or "
            f"{BOOK} for the whole.  Default: underlying.  `account_id` includes the "
            "broker.",
            example="underlying,strategy_tag",
        ),
        *(
            _of_all(name)
            for name in ("broker", "account_id", "underlying", "strategy_tag")
        ),
        parameters.text("currency", example="USD"),
        parameters.AT,
    ),
    columns=(
        replace(columns.BROKER, schema={"type": ["string", "null"]}, is_broker=False),
        columns.text("account_id", "5WX01234", "Null unless grouped by it."),
        columns.text("underlying", "SPY", "Null unless grouped by it."),
        *(_BUCKET, _STRATEGY_TAG),
        columns.text(
            "currency",
            "USD",
            "Positions whose broker names none count as USD.",
            is_null=False,
        ),
        columns.whole("place", 0, "Of an expiration bucket in their order."),
        columns.whole("positions", 3, "Of any kind."),
        columns.whole("contracts", 2, "Options that are held."),
        columns.whole("shares_futures", 1, "Positions in shares and futures."),
        columns.whole("other_positions", 0, "Positions that no sum includes."),
        columns.whole("unknown_positions", 0, "Of these, the unidentified ones."),
        columns.whole(
            "unnamed_currency", 0, "Positions whose broker names no currency."
        ),
        columns.whole("underlyings", 1, "Different ones."),
        *(
            columns.number(name, value, _UNITS)
            for name, value in (
                *(("net_delta", -53.6), ("option_delta", -153.6)),
                *(("share_future_delta", 100), ("gamma", -4.47)),
            )
        ),
        columns.number("dollar_delta", -32227, "For a move of 100 %, in the currency."),
        columns.number("dollar_gamma", -16159.3, "For a move of 1 %, in the currency."),
        *(
            columns.number(name, value, _SUM)
            for name, value in (
                *(("theta", 90.57), ("vega", -289.5), ("rho", -56.4)),
                ("market_value", 56420),
            )
        ),
        *(
            columns.whole(f"missing_{name}", 0, _WHY)
            for name in ("tick", "multiplier", "price", "price_factor")
        ),
        *(
            columns.whole(f"missing_{name}", 0, _LACKING)
            for name in (
                *("net_delta", "gamma", "dollar_delta", "dollar_gamma", "theta"),
                *("vega", "rho", "value"),
            )
        ),
        columns.whole("stale", 0, "Positions whose values are stale."),
        columns.whole(
            "not_realtime", 0, "Positions with a value that is not real-time."
        ),
        columns.number("oldest_age_s", 1.25, "Seconds."),
        *(
            columns.whole(f"carried_{name}", 0, _CARRIED)
            for name in ("delta", "gamma", "theta", "vega", "rho", "value")
        ),
        columns.number("oldest_carried_age_s", 2.5, "Seconds."),
    ),
    keys=(
        Key("place", "bigint"),
        Key("broker", "text", if_null=""),
        Key("account_id", "text", if_null=""),
        Key("underlying", "text", if_null=""),
        Key("strategy_tag", "text", if_null=""),
        Key("currency", "text"),
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
