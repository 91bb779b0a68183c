"""The lists of the account values: the newest ones, and their history."""

from __future__ import annotations

from typing import Final

from greeks_trio.api.lists import columns, parameters
from greeks_trio.api.lists.columns import EVENT_TIME, RECEIVED_AT
from greeks_trio.api.lists.resource import ListResource
from greeks_trio.postgres.reads.listing import Key
from greeks_trio.postgres.reads.sources import account_values_asof, relation

_ACCOUNT: Final = (parameters.BROKER, parameters.ACCOUNT_ID)
_USES: Final = (
    *("no net liquidation", "no maintenance margin", "net liquidation not positive"),
    None,
)
_READING: Final = (
    *(columns.BROKER, columns.ACCOUNT_ID),
    columns.time(
        "observed_at", RECEIVED_AT, "When the broker reported it.", is_null=False
    ),
    columns.time("event_time", EVENT_TIME, "The broker's own time of the values."),
    columns.text("currency", "USD", "Of all amounts of the row."),
    columns.number("net_liquidation", 1052340.5, "If all were sold."),
    columns.number("cash", 804210.25, "Negative for a debt."),
    columns.number("buying_power", 2104681, "The value of the shares it may buy."),
    columns.number(
        "derivative_buying_power", 1052340.5, "For options; IBKR sends none."
    ),
    columns.number("initial_margin", 182500, "Tastytrade sends none."),
    columns.number("maintenance_margin", 146000, "That holding the positions needs."),
    columns.number("excess_liquidity", 906340.5, "Negative in a margin call."),
)
_PROBLEM: Final = columns.text(
    "problem", "cash: NaN is no amount", "The amounts that could not be read."
)

LATEST_VALUES: Final = ListResource(
    path="/v1/accounts/values",
    name="account_values",
    tag="greeks",
    about="Return the newest values of each account, or those of a moment.\n\n"
    "An account without values for seven days is not in the list.",
    file_name="account_values",
    source=account_values_asof,
    parameters=(
        *_ACCOUNT,
        parameters.exactly("is_stale", bool),
        parameters.AT,
    ),
    columns=(
        *_READING,
        columns.number(
            "margin_use", 0.139, "`maintenance_margin` / `net_liquidation`, a fraction."
        ),
        columns.choice("margin_use_missing", _USES, "no maintenance margin"),
        columns.number("age_s", 21.5, "Seconds from `observed_at` to the moment."),
        columns.flag("is_stale", "Older than GREEKS_STALE_AFTER_S."),
        _PROBLEM,
    ),
    keys=(Key("broker", "text"), Key("account_id", "text")),
)

VALUE_HISTORY: Final = ListResource(
    path="/v1/accounts/values/history",
    name="account_value_history",
    tag="greeks",
    about="Return the values of the accounts, one row for each reading, by "
    "`observed_at`.",
    file_name="account_value_history",
    source=relation("account_values"),
    parameters=(*parameters.times_of("observed_at"), *_ACCOUNT),
    columns=(*_READING, _PROBLEM),
    keys=(
        Key("observed_at", "timestamptz"),
        Key("broker", "text"),
        Key("account_id", "text"),
    ),
)
