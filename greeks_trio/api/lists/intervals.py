"""The lists of intervals without data: each gap, and gaps merged to outages."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from greeks_trio.api.lists import columns, parameters
from greeks_trio.api.lists.columns import EVENT_TIME
from greeks_trio.api.lists.parameters import Parameter
from greeks_trio.api.lists.resource import ListResource
from greeks_trio.postgres.reads.conditions import (
    after_or_null,
    before,
    equal_or_null,
    is_null,
)
from greeks_trio.postgres.reads.listing import Key
from greeks_trio.postgres.reads.sources import relation

_TIMES: Final = parameters.times(after_or_null("ended_at"), before("started_at"))
_INTERVAL: Final = (
    columns.BROKER,
    columns.text("account_id", "5WX01234", "Null: every account of the broker."),
    columns.text(
        "contract_key",
        "SPY   261218C00600000",
        "Null: every contract of the account.",
    ),
    columns.time("started_at", EVENT_TIME, "The first moment without data."),
    columns.time("ended_at", "2026-11-20T15:30:04.000000Z", "Null while it is open."),
)
_INTERVAL_KEYS: Final = (
    Key("started_at", "timestamptz"),
    Key("broker", "text"),
    Key("account_id", "text", if_null=""),
    Key("contract_key", "text", if_null=""),
)

GAPS: Final = ListResource(
    path="/v1/gaps",
    name="gaps",
    tag="greeks",
    about="Return the known intervals without data that touch the time from `start` "
    "until `end`, by their beginning.",
    file_name="feed_gaps",
    source=relation("feed_gaps"),
    parameters=(
        *(*_TIMES, parameters.BROKER, parameters.ACCOUNT_ID, parameters.CONTRACT_KEY),
        parameters.text("reason", example="disconnected"),
        Parameter(
            name="is_open",
            type=bool,
            condition=is_null("ended_at"),
            about="Whether the gap has not ended yet.",
        ),
    ),
    columns=(
        *_INTERVAL,
        columns.text("reason", "subscription silent", is_null=False),
    ),
    keys=(*_INTERVAL_KEYS, Key("reason", "text")),
)

OUTAGES: Final = ListResource(
    path="/v1/outages",
    name="outages",
    tag="greeks",
    about="Return the intervals without data that touch the time from `start` until "
    "`end`, by their beginning.\n\n"
    "The gaps of one broker, account and contract that overlap or touch are one interval.  "
    "An interval that lies within one of the whole account or feed is left out; so the "
    "filters for an account or a contract give the wider intervals, too.",
    file_name="outages",
    source=relation("outages"),
    parameters=(
        *(*_TIMES, parameters.BROKER),
        *(
            replace(each, condition=equal_or_null(each.name))
            for each in (parameters.ACCOUNT_ID, parameters.CONTRACT_KEY)
        ),
        Parameter(
            name="is_open",
            type=bool,
            condition=is_null("ended_at"),
            about="Whether the outage has not ended yet.",
        ),
    ),
    columns=(
        *_INTERVAL,
        columns.texts(
            "reasons",
            ["disconnected", "subscription silent"],
            "The reasons of the gaps, each once.",
        ),
    ),
    keys=_INTERVAL_KEYS,
)
