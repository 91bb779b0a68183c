"""One row of each list, for OpenAPI.

Without any null: FastAPI leaves out what is null in an example.
"""

from __future__ import annotations

from typing import Any, Final

from greeks_trio.api.lists.schemas import PORTFOLIO

_CONTRACT: Final[dict[str, Any]] = {
    "underlying": "SPY",
    "contract_key": "SPY   261218C00600000",
    "expiration": "2026-12-18",
    "strike": 600,
    "option_type": "call",
}
_MEASURES: Final[dict[str, Any]] = {
    "delta": 0.512,
    "gamma": 0.0149,
    "theta": -0.3019,
    "vega": 0.965,
    "rho": 0.188,
    "implied_volatility": 0.183,
    "underlying_price": 601.25,
}
_HELD: Final[dict[str, Any]] = {
    "broker": "tastytrade",
    "account_id": "5WX01234",
    **_CONTRACT,
    "quantity": -3,
    "multiplier": 100,
    "currency": "USD",
}
_EVENT_TIME: Final = "2026-11-20T15:30:00.000000Z"
_RECEIVED_AT: Final = "2026-11-20T15:30:00.012345Z"

SNAPSHOT: Final[dict[str, Any]] = {
    "id": 1,
    "event_time": _EVENT_TIME,
    "received_at": _RECEIVED_AT,
    "persisted_at": "2026-11-20T15:30:00.014321Z",
    "broker": "tastytrade",
    "account_id": "5WX01234",
    **_CONTRACT,
    "quantity": -3,
    **_MEASURES,
    "availability": "realtime",
}
LATEST: Final[dict[str, Any]] = {
    **_HELD,
    "event_time": _EVENT_TIME,
    "received_at": _RECEIVED_AT,
    **_MEASURES,
    "availability": "realtime",
    "age_s": 1.25,
    "is_stale": False,
}
POSITION: Final[dict[str, Any]] = {
    **_HELD,
    "kind": "option",
    "observed_at": _RECEIVED_AT,
}
PORTFOLIO_ROW: Final[dict[str, Any]] = {
    **dict.fromkeys(PORTFOLIO, 0),
    "broker": "tastytrade",
    "account_id": "5WX01234",
    "currency": "USD",
    "underlying": "SPY",
    "expiration": "2026-12-18",
    "contracts": 1,
    "option_delta": -153.6,
    "gamma": -4.47,
    "theta": 90.57,
    "vega": -289.5,
    "rho": -56.4,
    "dollar_delta": -92352,
    "dollar_gamma": -16159.3,
    "oldest_age_s": 1.25,
}
DIVERGENCE: Final[dict[str, Any]] = {
    **_CONTRACT,
    **{
        f"{broker}_{name}": value
        for broker in ("ibkr", "tastytrade")
        for name, value in (
            ("event_time", _EVENT_TIME),
            ("age_s", 1.25),
            ("is_stale", False),
            *_MEASURES.items(),
        )
    },
    **{f"{name}_difference": 0.0 for name in _MEASURES},
}
GAP: Final[dict[str, Any]] = {
    "broker": "tastytrade",
    "account_id": "5WX01234",
    "contract_key": "SPY   261218C00600000",
    "started_at": _EVENT_TIME,
    "ended_at": "2026-11-20T15:30:04.000000Z",
    "reason": "subscription silent",
}
NEW_TRADE: Final[dict[str, Any]] = {
    "id": "0b8d1f0e-7c1f-4f0e-9d55-3f5a5d3a7a11",
    "broker": "tastytrade",
    "account_id": "5WX01234",
    "symbol": "SPY",
    "contract_key": "SPY   261218C00600000",
    "action": "sell_to_open",
    "quantity": -3,
    "price": "12.35",
    "strategy_tag": "covered call",
    "metadata": {"order": 4711},
}
TRADE: Final[dict[str, Any]] = {
    **NEW_TRADE,
    "created_at": _RECEIVED_AT,
    "price": 12.35,
}
