"""The summary of an account: its values, each with its own currency and time.  Pure.

Source: https://ibkrcampus.com/campus/ibkr-api-page/cpapi-v1/#portfolio-summary
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Final

from greeks_trio.model.account_values import (
    SentValues,
    moment_of_ms,
    parse_amount,
    parse_currency,
)

# IBKR's keys.  Those with an ending such as -s are of a part of the account.
_KEYS: Final = {
    "net_liquidation": "netliquidation",
    "cash": "totalcashvalue",
    "buying_power": "buyingpower",
    "initial_margin": "initmarginreq",
    "maintenance_margin": "maintmarginreq",
    "excess_liquidity": "excessliquidity",
}


def read_summary(content: object) -> SentValues | None:
    """Return the values of an answer, `None` if it is no object.

    The currency is that of most amounts.  An amount in another one cannot be read.  The
    time is that of the oldest amount.
    """
    if not isinstance(content, dict):
        return None
    sent = {
        name: content[key]
        if isinstance(content[key], dict)
        else {"amount": content[key]}
        for name, key in _KEYS.items()
        if content.get(key) is not None
    }
    sent = {name: each for name, each in sent.items() if not _is_unset(each)}
    currency = _currency_of(sent.values())
    amounts: dict[str, Decimal] = {}
    odd: dict[str, str] = {}
    for name, each in sent.items():
        try:
            amounts[name] = _amount(each, currency)
        except ValueError as exc:
            odd[name] = str(exc)
    times = (moment_of_ms(sent[name].get("timestamp")) for name in amounts)
    return SentValues(
        amounts=amounts,
        odd=odd,
        currency=currency if amounts else None,
        event_time=min((each for each in times if each is not None), default=None),
    )


def _is_unset(sent: Mapping[str, Any]) -> bool:
    return sent.get("isNull") is True or sent.get("amount") is None


def _currency_of(sent: Iterable[Mapping[str, Any]]) -> str | None:
    named = Counter(parse_currency(each.get("currency")) for each in sent)
    del named[None]
    return max(named, key=named.__getitem__, default=None)


def _amount(sent: Mapping[str, Any], currency: str | None) -> Decimal:
    """Return the amount.

    Raises:
        ValueError: It is no amount of money in this currency.
    """
    named = sent.get("currency")
    if named is not None and parse_currency(named) is None:
        raise ValueError("its currency cannot be read")
    if named not in (None, currency):
        raise ValueError(f"it is in {named}, not in {currency}")
    return parse_amount(sent["amount"])
