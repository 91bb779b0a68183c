"""The lists of alerts: the rules of ``alerts.toml`` with their states, and the messages."""

from __future__ import annotations

from typing import Final, Literal, get_args

from greeks_trio.api.lists import columns, parameters
from greeks_trio.api.lists.columns import EVENT_TIME, ListColumn
from greeks_trio.api.lists.resource import ListResource
from greeks_trio.model.alerts import AlertKind
from greeks_trio.postgres.reads.listing import Key
from greeks_trio.postgres.reads.sources import relation

_STATES: Final = ("new", "ok", "breached", "unknown")
_SEVERITIES: Final = ("info", "warning", "critical")
_RULE: Final = columns.text("rule", "SPY delta", "Its name.", is_null=False)
_FIGURE: Final = columns.text("figure", "delta", is_null=False)
_SCOPE: Final = columns.text(
    "scope", "ibkr, SPY", "Broker, account, underlying, currency.", is_null=False
)
_UNIT: Final = columns.text("unit", "units of the underlying", is_null=False)
_THRESHOLD: Final = columns.text("threshold", "above 500", is_null=False)
_SEVERITY: Final = columns.choice("severity", _SEVERITIES, "warning")
_COUNTS: Final = (
    columns.whole("positions", 12, "Of the scope."),
    columns.whole("missing", 0, "Positions that the sum lacks."),
    columns.whole("stale", 0, "Positions that are stale."),
)
_ABOUT_DELIVERY: Final = {
    "type": "object",
    "properties": {
        "channel": {"type": "string"},
        "outcome": {"enum": ["waiting", "sent", "failed"]},
        "attempts": {"type": "integer"},
        "reason": {"type": ["string", "null"]},
        "finished_at": {"type": ["string", "null"], "format": "date-time"},
    },
}

ALERTS: Final = ListResource(
    path="/v1/alerts",
    name="alerts",
    tag="alerts",
    about="Return the rules of `alerts.toml` with their states, by name.\n\n"
    "The values are those at `evaluated_at`.",
    file_name="alerts",
    source=relation("alerts"),
    parameters=(
        parameters.exactly("state", Literal["new", "ok", "breached", "unknown"]),
        parameters.exactly("severity", Literal["info", "warning", "critical"]),
    ),
    columns=(
        _RULE,
        columns.choice("state", _STATES, "ok"),
        columns.time("since", EVENT_TIME, "When the state began.", is_null=False),
        *(_FIGURE, _SCOPE),
        columns.number("value", 412.5, "The last one that told something."),
        *(_UNIT, _THRESHOLD, _SEVERITY),
        columns.text("market_hours", "equity", "Null: the rule always counts."),
        columns.time("value_at", EVENT_TIME, "The time of `value`."),
        *_COUNTS,
        columns.text(
            "reason",
            "1 of 12 positions are stale",
            "Why the last reading told nothing.",
        ),
        columns.choice("last_event", (*get_args(AlertKind), None), "recovery"),
        columns.time("last_event_at", EVENT_TIME, "Null where there was none."),
        columns.time("evaluated_at", EVENT_TIME, "The last look.", is_null=False),
    ),
    keys=(Key("rule", "text"),),
)

ALERT_EVENTS: Final = ListResource(
    path="/v1/alerts/events",
    name="alert_events",
    tag="alerts",
    about="Return the messages about the rules of `alerts.toml`, by `at` and `id`, each "
    "with its deliveries.",
    file_name="alert_events",
    source=relation("alert_history"),
    parameters=(
        *parameters.times_of("at"),
        parameters.exactly("kind", AlertKind),
        parameters.exactly("severity", Literal["info", "warning", "critical"]),
    ),
    columns=(
        columns.whole("id", 1, "In the order of the messages."),
        columns.time("at", EVENT_TIME, "The reading that is the cause.", is_null=False),
        columns.time(
            "recorded_at",
            EVENT_TIME,
            "The database's clock at the insert.",
            is_null=False,
        ),
        _RULE,
        columns.choice("kind", get_args(AlertKind), "breach"),
        columns.text("from_state", "ok", is_null=False),
        columns.text("to_state", "breached", is_null=False),
        *(_SEVERITY, _FIGURE, _SCOPE),
        columns.number("value", 612.25, "Null where it is not known."),
        *(_UNIT, _THRESHOLD, *_COUNTS),
        columns.text("message", "SPY delta: ...", "The text.", is_null=False),
        ListColumn(
            "deliveries",
            "json",
            {"type": "array", "items": _ABOUT_DELIVERY},
            [
                {
                    "channel": "desk",
                    "outcome": "sent",
                    "attempts": 1,
                    "reason": None,
                    "finished_at": EVENT_TIME,
                }
            ],
        ),
    ),
    keys=(Key("at", "timestamptz"), Key("id", "bigint")),
)
