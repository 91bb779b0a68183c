"""The lists of the interface."""

from __future__ import annotations

from typing import Final, get_args

from greeks_trio.api.lists import columns, parameters
from greeks_trio.api.lists.accounts import LATEST_VALUES, VALUE_HISTORY
from greeks_trio.api.lists.alerts import ALERT_EVENTS, ALERTS
from greeks_trio.api.lists.betas import BETAS
from greeks_trio.api.lists.columns import EVENT_TIME, RECEIVED_AT
from greeks_trio.api.lists.estimates import ESTIMATES, PORTFOLIO_ESTIMATES
from greeks_trio.api.lists.intervals import GAPS, OUTAGES
from greeks_trio.api.lists.parameters import Parameter
from greeks_trio.api.lists.position_risk import POSITION_GREEKS, POSITION_TAGS
from greeks_trio.api.lists.profit import POSITION_PROFIT, PROFIT_TOTALS
from greeks_trio.api.lists.resource import ListResource
from greeks_trio.api.lists.totals import RISK_TOTALS
from greeks_trio.model.records import PositionKind
from greeks_trio.postgres.reads.listing import Key
from greeks_trio.postgres.reads.sources import (
    greeks_asof,
    portfolio_asof,
    positions_asof,
    relation,
    ticks,
)

_CONTRACT_KEYS: Final = (
    Key("broker", "text"),
    Key("account_id", "text"),
    Key("contract_key", "text"),
)

SNAPSHOTS: Final = ListResource(
    path="/v1/greeks/snapshots",
    name="snapshots",
    tag="greeks",
    about="Return ticks by `event_time`, `received_at`, `id`.\n\n"
    "Pages that follow each other by their cursors have each row exactly once that was "
    "committed before the first of them; rows that are committed later may be among "
    "them, and no row comes twice.  An export (`csv` or `ndjson`) is the whole range as "
    "of one moment, however long it takes to read.  When it cannot be finished, the "
    "stream is broken off, and HTTP clients report an error.",
    file_name="greek_snapshots",
    source=ticks,
    parameters=(*parameters.CONTRACTS, *parameters.times_of("event_time")),
    columns=(
        columns.whole("id", 1, "In the order of the inserts."),
        columns.time("event_time", EVENT_TIME, "The broker's time."),
        columns.time("received_at", RECEIVED_AT, "When the frame was read."),
        columns.time(
            "persisted_at",
            "2026-11-20T15:30:00.014321Z",
            "The database's clock at the insert.",
        ),
        columns.BROKER,
        columns.text(
            "account_id",
            "5WX01234",
            "`watchlist` for a watched contract that no account holds.",
            is_null=False,
        ),
        *(columns.UNDERLYING, columns.CONTRACT_KEY, columns.EXPIRATION),
        *(columns.STRIKE, columns.OPTION_TYPE, columns.QUANTITY),
        *columns.MEASURES,
        columns.AVAILABILITY,
        columns.UNDERLYING_PRICE_AT,
        *columns.QUOTES,
        columns.flag("in_rotation", columns.IN_ROTATION_ABOUT),
    ),
    # The identity column gives each id once, so these are unique.  Rows that somebody
    # else inserts with ids of their own may break that.
    keys=(
        Key("event_time", "timestamptz"),
        Key("received_at", "timestamptz"),
        Key("id", "bigint"),
    ),
    extras={
        "payload": columns.json_object(
            "source_payload",
            {},
            "The broker's own message, with `include=payload` only.",
            is_null=False,
        )
    },
)

_GREEKS: Final = ("delta", "gamma", "theta", "vega", "rho")
_STALE_REASONS: Final = ("no tick", "old", "delayed", "frozen", "unknown")
_OPTION_KINDS: Final = ("option", "future_option")

_LATEST: Final = (
    *columns.HELD,
    columns.time("event_time", EVENT_TIME, "Null where the contract has no tick."),
    columns.time("received_at", RECEIVED_AT, "When its frame was read."),
    *columns.MEASURES,
    columns.choice(
        "availability", (*columns.AVAILABILITY.schema["enum"], None), "realtime"
    ),
    columns.number(
        "age_s", 1.25, "Seconds from `received_at` to the moment of the list."
    ),
    columns.flag(
        "is_stale", "Older than GREEKS_STALE_AFTER_S, not real-time, or no tick."
    ),
    columns.choice("stale_reason", (*_STALE_REASONS, None), "old"),
    columns.choice("kind", _OPTION_KINDS, "option"),
    *(columns.INSTRUMENT_ID, columns.EXCHANGE, columns.PRICE_FACTOR),
    *columns.QUOTES,
    columns.number(
        "position_value", -3705, "Quantity x multiplier x price_factor x price."
    ),
    columns.UNDERLYING_PRICE_AT,
    columns.text(
        "underlying_price_source",
        "tastytrade",
        "The broker whose tick of another contract gave `underlying_price`; null if it "
        "is from this contract's own tick.",
    ),
    *(
        columns.flag(f"carried_{name}", "From an older tick than the newest.")
        for name in (*_GREEKS, "implied_volatility")
    ),
    columns.number("carried_age_s", 2.5, "Seconds: the oldest of the carried values."),
    columns.flag("in_rotation", columns.IN_ROTATION_ABOUT, is_null=True),
    columns.flag("carried_price", "`price` is from an older tick than the newest."),
)
_IS_STALE: Final = parameters.exactly("is_stale", bool)

LATEST: Final = ListResource(
    path="/v1/greeks/latest",
    name="latest",
    tag="greeks",
    about="Return the newest Greeks of each contract that is held or watched.\n\n"
    "A contract without any tick is in the list too, with nulls.",
    file_name="latest_greeks",
    source=greeks_asof,
    parameters=(*parameters.CONTRACTS, _IS_STALE),
    columns=_LATEST,
    keys=_CONTRACT_KEYS,
)

AS_OF: Final = ListResource(
    path="/v1/greeks/asof",
    name="asof",
    tag="greeks",
    about="Return the list of `latest` as it was at a moment.",
    file_name="greeks_asof",
    source=greeks_asof,
    parameters=(
        *parameters.CONTRACTS,
        _IS_STALE,
        Parameter(
            name="at",
            type=parameters.Moment,
            condition=None,
            about="The list as it was known at this moment (RFC 3339).",
            example="2026-11-20T15:30:00Z",
            is_required=True,
        ),
    ),
    columns=_LATEST,
    keys=_CONTRACT_KEYS,
)

# The view has these two brokers in the names of its columns.
_SIDES: Final = ("ibkr", "tastytrade")

DIVERGENCE: Final = ListResource(
    path="/v1/divergence",
    name="divergence",
    tag="greeks",
    about="Return the contracts that both brokers have, side by side.",
    file_name="broker_divergence",
    source=relation("broker_divergence"),
    parameters=(
        *parameters.EXPIRATIONS,
        *(parameters.CONTRACT_KEY, parameters.UNDERLYING, parameters.OPTION_TYPE),
    ),
    columns=(
        *(columns.CONTRACT_KEY, columns.UNDERLYING, columns.EXPIRATION),
        *(columns.STRIKE, columns.OPTION_TYPE),
        *(
            columns.time(f"{side}_event_time", EVENT_TIME, "The broker's time.")
            for side in _SIDES
        ),
        *(
            column
            for each in columns.MEASURES
            for column in (
                *(each.called(f"{side}_{each.name}") for side in _SIDES),
                columns.number(
                    f"{each.name}_difference", 0.0, "IBKR minus Tastytrade."
                ),
            )
        ),
        *(columns.number(f"{side}_age_s", 1.25, "Seconds.") for side in _SIDES),
        *(columns.flag(f"{side}_is_stale") for side in _SIDES),
        *(columns.PRICE.called(f"{side}_price") for side in _SIDES),
        columns.number("price_difference", 0.0, "IBKR minus Tastytrade."),
    ),
    keys=(Key("contract_key", "text"),),
)

_SUM: Final = "Sum of quantity x multiplier x Greek over the contracts that have one."
_MONEY: Final = "Sum of quantity x multiplier x price_factor x Greek, in the currency."
_MISSING: Final = "Positions that are not in the sums because this is missing."
_CARRIED: Final = "Contracts whose value is from an older tick than the newest."

PORTFOLIO: Final = ListResource(
    path="/v1/portfolio",
    name="portfolio",
    tag="greeks",
    about="Return sums for each account, currency, underlying and expiration.\n\n"
    "Each sum comes with the count of the contracts that it lacks; a sum of nothing is "
    "null.",
    file_name="portfolio",
    source=portfolio_asof,
    parameters=(
        *parameters.EXPIRATIONS,
        *(parameters.BROKER, parameters.ACCOUNT_ID),
        parameters.text("currency", example="USD"),
        *(parameters.UNDERLYING, parameters.AT),
    ),
    columns=(
        *(columns.BROKER, columns.ACCOUNT_ID, columns.CURRENCY),
        *(columns.UNDERLYING, columns.EXPIRATION),
        columns.whole("contracts", 1, "Options that are held."),
        columns.whole("shares_futures", 0, "Positions in shares and futures."),
        columns.whole("other_positions", 0, "Positions that no sum includes."),
        columns.number("option_delta", -153.6, _SUM),
        columns.number("share_future_delta", 0, "Sum of quantity x multiplier."),
        columns.number("gamma", -4.47, _SUM),
        columns.number("theta", 90.57, _MONEY),
        columns.number("vega", -289.5, _MONEY),
        columns.number("rho", -56.4, _MONEY),
        columns.number(
            "dollar_delta", -92352, "Sum of q m f delta S, in the currency."
        ),
        columns.number(
            "dollar_gamma",
            -16159.3,
            "Sum of q m f gamma S^2 / 100, for a move of 1 %.",
        ),
        *(
            columns.whole(f"missing_{name}", 0, _MISSING)
            for name in (
                *("tick", "multiplier", "price", "delta", "share_future_delta"),
                *("gamma", "theta", "vega", "rho", "dollar_delta", "dollar_gamma"),
            )
        ),
        columns.whole("stale", 0, "Positions whose values are stale."),
        columns.whole(
            "not_realtime", 0, "Of these, those that the broker calls not real-time."
        ),
        columns.number("oldest_age_s", 1.25, "Seconds."),
        columns.whole(
            "unknown_positions",
            0,
            "Of the other positions, those that are unidentified.",
        ),
        columns.number(
            "market_value", -3705, "Sum of q m f price of options and shares."
        ),
        columns.whole("missing_value", 0, "Positions that are not in `market_value`."),
        columns.whole("missing_price_factor", 0, _MISSING),
        *(columns.whole(f"carried_{name}", 0, _CARRIED) for name in _GREEKS),
        columns.number("oldest_carried_age_s", 2.5, "Seconds."),
        columns.whole("carried_value", 0, _CARRIED),
    ),
    keys=(
        Key("broker", "text"),
        Key("account_id", "text"),
        Key("currency", "text", if_null=""),
        Key("underlying", "text", if_null=""),
        Key("expiration", "date", if_null="infinity"),
    ),
)

POSITIONS: Final = ListResource(
    path="/v1/positions",
    name="positions",
    tag="greeks",
    about="Return the positions that are held, or were held at a moment.",
    file_name="positions",
    source=positions_asof,
    parameters=(
        *parameters.CONTRACTS,
        parameters.exactly("kind", PositionKind),
        parameters.AT,
    ),
    columns=(
        *columns.HELD,
        columns.choice("kind", get_args(PositionKind), "option"),
        columns.time(
            "observed_at", RECEIVED_AT, "When the broker last reported a change."
        ),
        *(columns.INSTRUMENT_ID, columns.EXCHANGE),
        columns.text(
            "underlying_id", "756733", "The broker's own id of the underlying."
        ),
        columns.PRICE_FACTOR,
        columns.text(
            "description", "SPY DEC2026 600 C", "The broker's words for the instrument."
        ),
        columns.text(
            "problem",
            "the row names no contract",
            "The reason why the kind is `unknown`.",
        ),
    ),
    keys=_CONTRACT_KEYS,
)

TRADES: Final = ListResource(
    path="/v1/trades",
    name="trades",
    tag="trades",
    about="Return the recorded trades by `created_at` and `id`.",
    file_name="trades",
    source=relation("trades"),
    parameters=(
        *parameters.times_of("created_at"),
        *(parameters.ID, parameters.BROKER, parameters.ACCOUNT_ID),
        parameters.text("symbol"),
        parameters.WRITTEN_CONTRACT_KEY,
        parameters.text("strategy_tag"),
    ),
    columns=(
        columns.uuid("id", "0b8d1f0e-7c1f-4f0e-9d55-3f5a5d3a7a11"),
        columns.time(
            "created_at",
            RECEIVED_AT,
            "When it was traded, as it was sent; else when it was recorded.",
            is_null=False,
        ),
        columns.text("broker", "tastytrade", is_null=False),
        columns.text("account_id", "5WX01234", is_null=False),
        columns.text("symbol", "SPY", is_null=False),
        columns.text(
            "contract_key",
            "SPY   261218C00600000",
            "Null when the trade is not one of an option.",
        ),
        columns.text("action", "sell_to_open", is_null=False),
        columns.number("quantity", -3, "Never 0."),
        columns.number(
            "price", 12.35, "Per unit of the underlying, in the contract's currency."
        ),
        columns.text(
            "strategy_tag",
            "covered call",
            "A word by which trades can be found.",
        ),
        columns.json_object("metadata", {"order": 4711}),
    ),
    keys=(Key("created_at", "timestamptz"), Key("id", "uuid")),
)

RESOURCES: Final = (
    *(SNAPSHOTS, LATEST, AS_OF, DIVERGENCE),
    *(POSITION_GREEKS, RISK_TOTALS, POSITION_TAGS),
    *(PROFIT_TOTALS, POSITION_PROFIT),
    *(ESTIMATES, PORTFOLIO_ESTIMATES),
    *(PORTFOLIO, POSITIONS, LATEST_VALUES, VALUE_HISTORY, GAPS, OUTAGES, TRADES),
    *BETAS,
    *(ALERTS, ALERT_EVENTS),
)
