"""The answer of ``GET /v1/risk/history`` in the OpenAPI description."""

from __future__ import annotations

from typing import Any, Final

from greeks_trio.api.routes.greek_history_schema import ARCHIVED
from greeks_trio.postgres.reads.risk_history_sql import RISK_COUNTS, RISK_SUMS

_MOMENT: Final = {"type": "string", "format": "date-time"}
_ABOUT: Final = {
    "net_delta": "In units of the underlying.",
    "gamma": "In units of the underlying.",
    "dollar_delta": "For a move of 100 %, in the currency.",
    "dollar_gamma": "For a move of 1 %, in the currency.",
    "underlying_price": "The newest one of a tick, in the unit of its quotation.",
    "positions": "Of any kind.",
    "contracts": "Options that are held.",
    "shares_futures": "Positions in shares and futures.",
    "unnamed_currency": "Positions whose broker names no currency; they count as USD.",
    "stale": "Positions whose values were stale.",
    "not_realtime": "Positions with a value that was not real-time.",
    "carried": "Options with a value from an older tick than the newest.",
    "oldest_age_s": "Seconds.",
}
_LACKING: Final = "Positions that the sum lacks."


def _list(name: str) -> dict[str, Any]:
    kind = "integer" if name in RISK_COUNTS else "number"
    about = _LACKING if name.startswith("missing_") else _ABOUT.get(name)
    return {
        "type": "array",
        "items": {"type": [kind, "null"]},
        "description": about or "In the currency.",
    }


_NAMES: Final = (*RISK_SUMS, *RISK_COUNTS, "underlying_price", "oldest_age_s")
_EXAMPLE_CURRENCY: Final[dict[str, Any]] = {
    "currency": "USD",
    **{name: [0.0, 12.5] for name in RISK_SUMS},
    **{name: [0, 0] for name in RISK_COUNTS},
    "positions": [0, 1],
    "contracts": [0, 1],
    "underlying_price": [601.25, 601.5],
    "oldest_age_s": [None, 1.25],
}
_EXAMPLE: Final[dict[str, Any]] = {
    "underlying": "SPY",
    "start": "2026-11-20T14:30:00Z",
    "end": "2026-11-20T15:30:00Z",
    "stale_after_s": 300.0,
    "time": [1795185000.0, 1795188600.0],
    "archived": [],
    "accounts": [{"broker": "ibkr", "account_id": "U1234567", "known_from": None}],
    "currencies": [_EXAMPLE_CURRENCY],
}
RISK_HISTORY: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "underlying": {"type": "string"},
        "start": _MOMENT,
        "end": _MOMENT,
        "stale_after_s": {
            "type": "number",
            "description": "The age from which a value is stale.",
        },
        "time": {
            "type": "array",
            "items": {"type": "number"},
            "description": "The moments, in seconds since 1970 (UTC).",
        },
        "archived": ARCHIVED,
        "accounts": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "broker": {"type": "string"},
                    "account_id": {"type": "string"},
                    "known_from": {
                        "type": ["number", "null"],
                        "description": "The first reading of the positions, in seconds "
                        "since 1970, if it is later than `start`.  Before it the sums lack "
                        "the account.",
                    },
                },
                "required": ["broker", "account_id", "known_from"],
            },
            "description": "The accounts that held the underlying.",
        },
        "currencies": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "currency": {"type": "string"},
                    **{name: _list(name) for name in _NAMES},
                },
                "required": ["currency", *_NAMES],
            },
            "description": "Each list has one value for each moment.",
        },
    },
    "required": list(_EXAMPLE),
    "examples": [_EXAMPLE],
}
