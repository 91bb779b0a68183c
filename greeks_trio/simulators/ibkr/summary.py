"""The summary of an account in the format of the gateway's REST interface.  Pure.

Source: IBKR Client Portal API, "Portfolio Summary".
"""

from __future__ import annotations

import json
import math
import sys
from typing import Any, Final

from greeks_trio.simulators.account_values import Money

# The largest double stands for "unset".
_UNSET: Final = sys.float_info.max


def summary_of(account_id: str, money: Money, at_ms: int) -> dict[str, Any]:
    """Return the summary; each value is an object of its own."""
    amounts = {
        "netliquidation": money.net_liquidation,
        "totalcashvalue": money.cash,
        "buyingpower": round(4 * money.available, 2),
        "availablefunds": money.available,
        "initmarginreq": money.initial_margin,
        "maintmarginreq": money.maintenance_margin,
        "excessliquidity": money.excess_liquidity,
    }
    summary: dict[str, Any] = {
        name: _value(amount, at_ms) for name, amount in amounts.items()
    }
    summary |= {f"{name}-s": _value(each, at_ms) for name, each in amounts.items()}
    summary["accountcode"] = _value(0.0, at_ms, currency=None, text=account_id)
    summary["accounttype"] = _value(0.0, at_ms, currency=None, text="INDIVIDUAL")
    summary["guarantee"] = _value(None, at_ms) | {"isNull": True}
    return summary


def with_odd_values(summary: dict[str, Any]) -> bytes:
    """Return the summary in JSON with values that no client can use."""
    odd = dict(summary)
    odd["netliquidation"] = summary["netliquidation"] | {"amount": _UNSET}
    odd["totalcashvalue"] = summary["totalcashvalue"] | {"amount": math.nan}
    odd["buyingpower"] = summary["buyingpower"] | {"currency": "EUR"}
    odd["excessliquidity"] = ["several"]
    del odd["maintmarginreq"]
    return json.dumps(odd).encode()


def _value(
    amount: float | None,
    at_ms: int,
    *,
    currency: str | None = "USD",
    text: str | None = None,
) -> dict[str, Any]:
    return {
        "amount": amount,
        "currency": currency,
        "isNull": False,
        "timestamp": at_ms,
        "value": text,
        "severity": 0,
    }
