"""The balances of an account in the shape of the REST interface.

Source: developer.tastytrade.com, "Balances".
"""

from __future__ import annotations

from datetime import UTC, datetime

from greeks_trio.simulators.account_values import Money
from greeks_trio.simulators.tastytrade.instruments import Shape


def balances_shape(account_id: str, money: Money, *, is_odd: bool = False) -> Shape:
    """Return the balances, amounts as text.

    ``is_odd`` puts values into them that no client can use.
    """
    now = datetime.now(UTC)
    shape: Shape = {
        "account-number": account_id,
        "cash-balance": f"{money.cash:.2f}",
        "margin-equity": f"{money.net_liquidation:.2f}",
        "equity-buying-power": f"{2 * money.available:.2f}",
        "derivative-buying-power": f"{money.available:.2f}",
        "day-trading-buying-power": "0.0",
        "available-trading-funds": "0.0",
        "maintenance-requirement": f"{money.maintenance_margin:.2f}",
        "maintenance-call-value": "0.0",
        "net-liquidating-value": f"{money.net_liquidation:.2f}",
        "pending-cash": "0.0",
        "pending-cash-effect": "None",
        "used-derivative-buying-power": f"{money.maintenance_margin:.2f}",
        "snapshot-date": f"{now:%Y-%m-%d}",
        "reg-t-margin-requirement": f"{money.initial_margin:.2f}",
        "maintenance-excess": f"{money.excess_liquidity:.2f}",
        "updated-at": now.isoformat(timespec="milliseconds"),
    }
    if is_odd:
        shape |= {"net-liquidating-value": "NaN", "cash-balance": ["several"]}
        del shape["maintenance-requirement"]
    return shape
