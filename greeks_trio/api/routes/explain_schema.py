"""The answer of ``GET /v1/risk/explain`` in the OpenAPI description."""

from __future__ import annotations

from typing import Any, Final, get_args

from greeks_trio.risk.explain_records import GroupBy

_MONEY: Final = {
    "start_value": "Quantity x multiplier x price at the start; 0 for futures",
    "end_value": "The same at the end",
    "profit_loss": "end_value - start_value - trades",
    "trades": "Value bought less value sold; the gain of a future, which is paid out, counts "
    "as sold",
    "trading": "The gain of traded quantities from their price to the next mark",
    "residual": "The rest: profit_loss less all parts",
    "gap_change": "Profit or loss of the steps over an outage; it is in the parts too",
}
_PARTS: Final = {
    "delta": "By delta and the move of the underlying; all of it for shares and futures",
    "gamma": "By gamma and half of the squared move",
    "theta": "By theta and the time",
    "vega": "By vega and the change of the implied volatility",
    "rho": "Always null: the timeline has no rates of interest",
    "vanna": "By the model: move of the underlying x change of the volatility",
    "vomma": "By the model: half of the squared change of the volatility",
    "charm": "By the model: move of the underlying x time",
}
_COUNTS: Final = {
    "contracts": "Positions in the row",
    "unnamed_currency": "Positions that count as USD, because the broker names no currency",
    "steps": "Steps from one tick to the next, over all positions",
    "missing_delta": "Positions with a step without delta or price of the underlying",
    "missing_gamma": "Positions with a step without gamma or price of the underlying",
    "missing_theta": "Positions with a step without theta",
    "missing_vega": "Positions with a step without vega or implied volatility",
    "missing_second_order": "Positions with a step without vanna, vomma and charm",
    "without_tick": "Positions without a tick with a price after the start",
    "trades_at_price": "Changes of quantity at the price of recorded trades",
    "trades_at_mark": "Changes of quantity at the next mark, because no recorded trades fit",
    "splits": "Changes of quantity that are splits of shares; `trading` takes back the move of "
    "the price",
    "expired": "Positions that ended by expiration, at the last mark",
    "from_first_price": "Positions that count from their first price after the start, "
    "because they have none before",
    "first_seen": "Positions of the first reading of the account, opened at the next mark",
    "unused_trades": "Recorded trades that fit no change of quantity",
    "gap_steps": "Steps over an outage",
}
_GROUP: Final = (
    *(
        "broker",
        "account_id",
        "underlying",
        "expiration",
        "expiration_bucket",
        "strategy_tag",
        "contract_key",
    ),
)
_TEXT: Final = {"type": ["string", "null"]}


def _row() -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "group": {
                "type": "object",
                "description": "The values that the positions have in common",
                "properties": dict.fromkeys(_GROUP, _TEXT),
            },
            "currency": {"type": "string"},
            **{
                name: {"type": "number", "description": about}
                for name, about in _MONEY.items()
            },
            **{
                name: {"type": ["number", "null"], "description": about}
                for name, about in _PARTS.items()
            },
            **{
                name: {"type": "integer", "description": about}
                for name, about in _COUNTS.items()
            },
        },
        "required": ["group", "currency", *_MONEY, *_PARTS, *_COUNTS],
    }


def _list_of(**properties: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON schemas
    item = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
    }
    return {"type": "array", "items": item}


_MOMENT: Final = {"type": "string", "format": "date-time"}
_EXAMPLE_ROW: Final[dict[str, Any]] = {
    "group": {},
    "currency": "USD",
    **dict.fromkeys(_COUNTS, 0),
    "contracts": 2,
    "steps": 400,
    "start_value": 18_250.0,
    "end_value": 19_410.0,
    "profit_loss": 640.0,
    "trades": 520.0,
    "trades_at_price": 1,
    "delta": 702.5,
    "gamma": 31.25,
    "theta": -88.0,
    "vega": -14.5,
    "rho": None,
    "vanna": 1.5,
    "vomma": 0.25,
    "charm": -0.5,
    "trading": 8.0,
    "residual": -0.5,
    "gap_change": 0.0,
}
_EXAMPLE: Final[dict[str, Any]] = {
    "start": "2026-11-20T14:30:00Z",
    "end": "2026-11-20T21:00:00Z",
    "step_s": 117.0,
    "rate": 0.04,
    "group_by": "currency",
    "totals": [_EXAMPLE_ROW],
    "groups": [],
    "left_out": [],
    "left_out_count": 0,
    "outages": [],
    "notes": [],
}
EXPLANATION: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "start": _MOMENT,
        "end": _MOMENT,
        "step_s": {
            "type": "number",
            "description": "Seconds of a step: of the ticks within it the last one counts",
        },
        "rate": {"type": "number"},
        "group_by": {"enum": list(get_args(GroupBy))},
        "totals": {
            "type": "array",
            "items": _row(),
            "description": "A row for each currency",
        },
        "groups": {
            "type": "array",
            "items": _row(),
            "description": "A row for each group and currency, the largest profit or loss "
            "first; none for `currency` and `book`, whose rows are the totals",
        },
        "left_out": {
            **_list_of(
                broker={"type": "string"},
                account_id={"type": "string"},
                contract_key={"type": "string"},
                underlying=_TEXT,
                reason={"type": "string"},
            ),
            "description": "Positions that are in no sum, with the reason; the first 200",
        },
        "left_out_count": {"type": "integer"},
        "outages": {
            **_list_of(
                broker={"type": "string"},
                account_id=_TEXT,
                contract_key=_TEXT,
                started_at=_MOMENT,
                ended_at={"type": ["string", "null"], "format": "date-time"},
                reasons={"type": "array", "items": {"type": "string"}},
            ),
            "description": "Intervals without data between the two moments; the first 200",
        },
        "notes": {
            "type": "array",
            "items": {"type": "string"},
            "description": "A sentence for each fact that limits the answer",
        },
    },
    "required": list(_EXAMPLE),
    "examples": [_EXAMPLE],
}
