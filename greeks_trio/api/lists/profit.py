"""The lists of profits and losses since a moment: of each position, and their sums."""

from __future__ import annotations

from typing import Final, get_args

from greeks_trio.api.lists import columns, groups, parameters, position_filters
from greeks_trio.api.lists.columns import EVENT_TIME
from greeks_trio.api.lists.parameters import Parameter
from greeks_trio.api.lists.resource import ListResource
from greeks_trio.model.records import PositionKind
from greeks_trio.postgres.reads.listing import Key
from greeks_trio.postgres.reads.sources import position_profit, profit_totals

_INTERVAL: Final = (
    Parameter(
        name="start",
        type=parameters.Moment,
        condition=None,
        about="The first moment (RFC 3339); default: midnight in New York.",
        example="2026-11-20T05:00:00Z",
    ),
    Parameter(
        name="end",
        type=parameters.Moment,
        condition=None,
        about="The last moment (RFC 3339); default: now.",
        example="2026-11-20T21:00:00Z",
    ),
)
_ABOUT: Final = (
    "`profit_loss` is `end_value` - `start_value` - `trades`.  A change of quantity has the "
    "price of recorded trades that add up to it, otherwise that of the next tick "
    "(`trades_at_mark`).  A position without a price before the start counts from its first "
    "price after it."
)
_AMOUNTS: Final = (
    columns.number("profit_loss", 640, "In the currency."),
    columns.number("start_value", 18250, "At the start; 0 for futures."),
    columns.number("end_value", 19410, "At the end; 0 for futures."),
    columns.number("trades", 520, "Value bought less value sold."),
)
_CHANGES: Final = (
    columns.whole("trades_at_price", 1, "Changes at the price of recorded trades."),
    columns.whole("trades_at_mark", 0, "Changes at the next price: no trades fit."),
    columns.whole("splits", 0, "Changes that are splits of shares: no money moves."),
    columns.whole("expired", 0, "Contracts that expired, at their last price."),
    columns.whole("unused_trades", 0, "Recorded trades that fit no change."),
)
_REASONS: Final = ("price", "quantity", "kind")

POSITION_PROFIT: Final = ListResource(
    path="/v1/risk/profit/positions",
    name="position_profit",
    tag="risk",
    about=f"Return the profit or loss of each position between two moments.\n\n{_ABOUT}",
    file_name="position_profit",
    source=position_profit,
    parameters=(
        *(parameters.BROKER, parameters.ACCOUNT_ID, parameters.CONTRACT_KEY),
        *(parameters.UNDERLYING, *position_filters.CHOICES, *_INTERVAL),
    ),
    columns=(
        *(columns.BROKER, columns.ACCOUNT_ID, columns.CONTRACT_KEY),
        columns.choice("kind", get_args(PositionKind), "option"),
        *(columns.UNDERLYING, columns.EXPIRATION, position_filters.BUCKET_COLUMN),
        *(position_filters.STRATEGY_TAG_COLUMN, columns.CURRENCY),
        columns.number("quantity", -3, "At the end; 0 if it is closed."),
        columns.number("start_price", 12.1, "Null if it was opened since."),
        columns.time("start_price_at", EVENT_TIME, "Its time."),
        columns.number("end_price", 12.35, "The last one up to the end."),
        columns.time("end_price_at", EVENT_TIME, "Its time."),
        *_AMOUNTS,
        columns.time(
            "first_price_at",
            EVENT_TIME,
            "The position counts from this price only; null: from the start.",
        ),
        *_CHANGES,
        columns.flag("is_stale", "The price at the end is old or not real-time."),
        columns.choice("left_out", (*_REASONS, None), "price"),
    ),
    keys=(
        Key("broker", "text"),
        Key("account_id", "text"),
        Key("contract_key", "text"),
    ),
)

PROFIT_TOTALS: Final = ListResource(
    path="/v1/risk/profit",
    name="profit_totals",
    tag="risk",
    about="Return the profit or loss between two moments by what `group_by` says, one "
    f"currency each.\n\n{_ABOUT}",
    file_name="profit",
    source=profit_totals,
    parameters=(groups.GROUP_BY, *groups.FILTERS, *_INTERVAL),
    columns=(
        *groups.GROUP_COLUMNS,
        columns.time("started_at", EVENT_TIME, "The start.", is_null=False),
        columns.time("ended_at", EVENT_TIME, "The end.", is_null=False),
        columns.whole("positions", 5, "Open at some time between the two."),
        columns.whole("unnamed_currency", 0, "Whose broker names no currency."),
        *_AMOUNTS,
        columns.whole("left_out", 0, "Positions that are in no sum."),
        columns.whole("missing_price", 0, "Left out: a price is not known."),
        columns.whole(
            "missing_quantity", 0, "Left out: quantity or multiplier is not known."
        ),
        columns.whole("other_positions", 0, "Left out: of other kinds."),
        columns.whole("from_first_price", 0, "Counted from their first price only."),
        columns.time("first_price_at", EVENT_TIME, "The latest of these prices."),
        *_CHANGES,
        columns.whole("stale", 0, "Positions with an old price at the end."),
        columns.time("oldest_start_price_at", EVENT_TIME, "Of a price at the start."),
        columns.time("oldest_end_price_at", EVENT_TIME, "Of a price at the end."),
    ),
    keys=groups.GROUP_KEYS,
)
