"""The answers of the histories of Greeks in the OpenAPI description."""

from __future__ import annotations

from typing import Any, Final

from greeks_trio.postgres.reads.greek_history import MEASURES

_MOMENT: Final = {"type": "string", "format": "date-time"}
_NUMBERS: Final = {"type": "array", "items": {"type": ["number", "null"]}}


def _numbers(description: str) -> dict[str, Any]:
    return {**_NUMBERS, "description": description}


_DATA: Final = {
    "time": _numbers(
        "Seconds since 1970 (UTC): of the tick, or the beginning of the interval."
    ),
    "tick_time": _numbers("Of the last tick of the interval; not with `ticks`."),
    **{name: _numbers("Of the tick, or the last tick.") for name in MEASURES},
    "quantity": _numbers("Contracts held when the tick came."),
    "availability": {
        "type": "array",
        "items": {"enum": ["realtime", "delayed", "frozen", "unknown", None]},
        "description": "Of the tick, or the last tick.",
    },
    "ticks": {
        "type": "array",
        "items": {"type": "integer"},
        "description": "In each interval; only with `intervals`.",
    },
    **{
        f"{which}_{name}": _numbers("Over all ticks; only with `intervals`.")
        for which in ("min", "max")
        for name in MEASURES
    },
}
_EXAMPLE_SERIES: Final = {
    "broker": "ibkr",
    "account_id": "U1234567",
    "kind": "intervals",
    "interval_s": 15,
    "ticks": 700,
    "data": {
        "time": [1795188600, 1795188615],
        "tick_time": [1795188614.75, None],
        "delta": [0.512, None],
        "quantity": [-3, None],
        "availability": ["realtime", None],
        "ticks": [3, 0],
        "min_delta": [0.51, None],
        "max_delta": [0.513, None],
    },
    "gaps": [[1795188616.5, 1795188640.25, "disconnected"]],
    "gaps_left_out": 0,
}
ARCHIVED: Final = {
    "type": ["array", "null"],
    "items": {
        "type": "array",
        "items": {"type": "number"},
        "minItems": 2,
        "maxItems": 2,
    },
    "description": "Months whose ticks have left the database: beginning and end.  Null: the "
    "role of the service may not read `archived_months`.",
}
HISTORY: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "contract_key": {"type": "string"},
        "start": _MOMENT,
        "end": _MOMENT,
        "points": {"type": "integer"},
        "archived": ARCHIVED,
        "series": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "broker": {"type": "string"},
                    "account_id": {"type": "string"},
                    "kind": {"enum": ["ticks", "intervals", "samples"]},
                    "interval_s": {
                        "type": ["integer", "null"],
                        "description": "Seconds of each interval; null with `ticks`.",
                    },
                    "ticks": {
                        "type": ["integer", "null"],
                        "description": "From `start` until `end`; null with `samples`: "
                        "more than were counted.",
                    },
                    "data": {
                        "type": "object",
                        "properties": _DATA,
                        "required": ["time", "quantity", "availability"],
                        "description": "A list for each measure, all of one length.",
                    },
                    "gaps": {
                        "type": "array",
                        "items": {
                            "type": "array",
                            "minItems": 3,
                            "maxItems": 3,
                        },
                        "description": "Known intervals without data that concern the "
                        "contract: beginning, end (null: not ended) and reasons.  A "
                        "beginning before `start` is `start`.",
                    },
                    "gaps_left_out": {
                        "type": "integer",
                        "description": "Shorter gaps that are not in `gaps`.",
                    },
                },
                "required": list(_EXAMPLE_SERIES),
            },
        },
    },
    "required": ["contract_key", "start", "end", "points", "archived", "series"],
    "examples": [
        {
            "contract_key": "SPY   261218C00600000",
            "start": "2026-11-20T14:30:00Z",
            "end": "2026-11-20T14:30:30Z",
            "points": 10,
            "archived": [],
            "series": [_EXAMPLE_SERIES],
        }
    ],
}

_EXAMPLE_SPARKLINE: Final = {
    "broker": "ibkr",
    "account_id": "U1234567",
    "contract_key": "SPY   261218C00600000",
    "values": [12.3, None, 12.35],
}
SPARKLINES: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "measure": {"enum": list(MEASURES)},
        "start": {**_MOMENT, "description": "The beginning of the first interval."},
        "interval_s": {"type": "integer", "description": "Seconds of each interval."},
        "points": {"type": "integer"},
        "series": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "broker": {"type": "string"},
                    "account_id": {"type": "string"},
                    "contract_key": {"type": "string"},
                    "values": _numbers("One for each interval."),
                },
                "required": list(_EXAMPLE_SPARKLINE),
            },
            "description": "In the order of the request; of an unknown contract all values "
            "are null.",
        },
    },
    "required": ["measure", "start", "interval_s", "points", "series"],
    "examples": [
        {
            "measure": "price",
            "start": "2026-11-20T14:30:00Z",
            "interval_s": 120,
            "points": 3,
            "series": [_EXAMPLE_SPARKLINE],
        }
    ],
}
