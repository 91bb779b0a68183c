"""The balances of an account, in the currency that was asked for.  Pure.

Source: https://developer.tastytrade.com, "Balances"
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec

from greeks_trio.model.account_values import (
    SentValues,
    moment_of_text,
    parse_amount,
)

# All of Tastytrade's accounts have balances in this currency.
CURRENCY: Final = "USD"
# It sends no initial requirement but the one of Regulation T, which is another figure.
_KEYS: Final = {
    "net_liquidation": "net-liquidating-value",
    "cash": "cash-balance",
    "buying_power": "equity-buying-power",
    "derivative_buying_power": "derivative-buying-power",
    "maintenance_margin": "maintenance-requirement",
    "excess_liquidity": "maintenance-excess",
}


def read_balances(content: bytes | msgspec.Raw) -> SentValues | None:
    """Return the values of an answer in `CURRENCY`, `None` if it is no object."""
    try:
        sent = msgspec.json.decode(content, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    amounts: dict[str, Decimal] = {}
    odd: dict[str, str] = {}
    # The answer need not say it.  If it does, it must be the one that was asked for.
    is_ours = sent.get("currency") in (None, CURRENCY)
    for name, key in _KEYS.items():
        value = sent.get(key)
        if value is None or value == "":
            continue
        if not is_ours:
            odd[name] = f"it is in another currency than {CURRENCY}"
            continue
        try:
            amounts[name] = parse_amount(value)
        except ValueError as exc:
            odd[name] = str(exc)
    return SentValues(
        amounts=amounts,
        odd=odd,
        currency=CURRENCY if amounts else None,
        event_time=moment_of_text(sent.get("updated-at")),
    )
