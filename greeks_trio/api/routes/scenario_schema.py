"""The answer of ``GET /v1/risk/scenarios`` in the OpenAPI description."""

from __future__ import annotations

from typing import Any, Final


def _number(about: str) -> dict[str, Any]:
    return {"type": ["number", "null"], "description": about}


def _count(about: str) -> dict[str, Any]:
    return {"type": "integer", "description": about}


_GRID_FIGURES: Final = {
    "profit_loss": "Profit or loss, in the currency, by full repricing",
    "taylor_profit_loss": "The same by delta, gamma, vega and theta of the base, for comparison",
    "delta": "Units of the underlying; null if there are several underlyings",
    "gamma": "Change of delta per 1.00 of the underlying; null like delta",
    "theta": "Currency per calendar day",
    "vega": "Currency per volatility point (0.01)",
    "rho": "Currency per rate point (0.01)",
    "dollar_delta": "Currency per 100 % move of the underlyings",
}
_CELLS: Final = {
    "type": "array",
    "items": {"type": "array", "items": {"type": ["number", "null"]}},
}
_GRID: Final = {
    "type": "object",
    "properties": {
        "days": _number("Calendar days forward"),
        "expired": _count(
            "Options that have expired by then: value at exercise, no Greeks"
        ),
        **{
            name: {**_CELLS, "description": f"{about}; a list by shift, then by move"}
            for name, about in _GRID_FIGURES.items()
        },
    },
}
_GROUP: Final = {
    "type": "object",
    "description": "A group has the key of `group_by` too, such as `underlying`",
    "properties": {
        "currency": {"type": ["string", "null"], "description": "Null: not known"},
        "left_out": _count("Positions that are in no sum"),
        "underlyings": _count("Different ones in the sums"),
        "contracts": _count("Options in the sums"),
        "shares_futures": _count("Positions in shares and futures in the sums"),
        "estimated": _count("Options whose volatility is implied from the price"),
        "stale": _count(
            "Positions with a stale tick or a stale price of the underlying"
        ),
        "unnamed_currency": _count(
            "Positions whose currency the broker does not name; they count as USD"
        ),
        "without_mark": _count("Options without a price from the broker"),
        "far_from_mark": _count(
            "Options whose model price differs from the broker's by more than 10 % and 0.05"
        ),
        "model_value": _number("Value before any change, by the model"),
        "market_value": _number(
            "The same by the broker's prices, where there are some"
        ),
        "grids": {"type": "array", "items": _GRID},
    },
}
_EXAMPLE: Final = {
    "as_of": "2026-11-20T15:30:04.512000Z",
    "values": "model",
    "models": ["american: exercise at any time, integral of Kim"],
    "moves": [-5.0, 0.0, 5.0],
    "move_unit": "percent",
    "vols": [0.0],
    "vol_unit": "points",
    "vol_scaling": "parallel",
    "days": [0.0],
    "benchmark": None,
    "betas": {},
    "rate": 0.04,
    "dividend_yields": {"SPY": 0.0},
    "group_by": "currency",
    "unused": [],
    "totals": [
        {
            "currency": "USD",
            "left_out": 0,
            "underlyings": 1,
            "contracts": 2,
            "shares_futures": 1,
            "estimated": 0,
            "stale": 0,
            "unnamed_currency": 0,
            "without_mark": 0,
            "far_from_mark": 0,
            "model_value": 18_250.5,
            "market_value": 18_262.0,
            "grids": [
                {
                    "days": 0.0,
                    "expired": 0,
                    "profit_loss": [[-1510.2, 0.0, 1890.8]],
                    "taylor_profit_loss": [[-1504.9, 0.0, 1899.1]],
                    "delta": [[45.1, 56.0, 67.8]],
                    "gamma": [[0.42, 0.39, 0.33]],
                    "theta": [[-31.5, -29.8, -26.0]],
                    "vega": [[88.0, 92.5, 85.1]],
                    "rho": [[20.4, 22.0, 24.1]],
                    "dollar_delta": [[25_707.0, 33_600.0, 42_714.0]],
                }
            ],
        }
    ],
    "groups": [],
    "left_out": {"count": 0, "reasons": {}, "positions": []},
}
_OBJECT: Final = {"type": "object"}
SCENARIOS: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "as_of": {
            "type": "string",
            "format": "date-time",
            "description": "The clock of the database when the positions were read",
        },
        "values": {"const": "model", "description": "No number is a market price"},
        "models": {"type": "array", "items": {"type": "string"}},
        **{
            name: {"type": "array", "items": {"type": "number"}}
            for name in ("moves", "vols", "days")
        },
        **{
            name: {"type": "string"}
            for name in ("move_unit", "vol_unit", "vol_scaling", "group_by")
        },
        "benchmark": {"type": ["string", "null"]},
        "betas": {
            **_OBJECT,
            "description": "The beta of each underlying, with its day",
        },
        "rate": {"type": "number"},
        "dividend_yields": {**_OBJECT, "description": "The yield of each underlying"},
        "unused": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Names in `betas` and `dividend_yields` that no position has",
        },
        "totals": {"type": "array", "items": _GROUP},
        "groups": {"type": "array", "items": _GROUP},
        "left_out": {
            **_OBJECT,
            "description": "The positions that are in no sum: `count`, `reasons` with "
            "their numbers, and the first 200 `positions`",
        },
    },
    "required": list(_EXAMPLE),
    "examples": [_EXAMPLE],
}
