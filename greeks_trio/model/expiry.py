"""The end of a contract's life.  Pure."""

from __future__ import annotations

from datetime import date, datetime
from typing import Final
from zoneinfo import ZoneInfo

from greeks_trio.model.contracts import (
    ContractKey,
    parse_future_option_key,
    parse_occ,
)

# The last of the exchanges to begin a new day.
_EXCHANGE: Final = ZoneInfo("America/Chicago")


def has_expired(expiration: date | None, today: date) -> bool:
    """Return whether the contract's last day is over; a contract without one lives on.

    On the last day itself it may still trade, so it counts as alive until midnight in
    Chicago.  ``today`` is an `exchange_day`.
    """
    return expiration is not None and today > expiration


def exchange_day(now: datetime) -> date:
    """Return the day in Chicago.  ``now`` is aware of its zone."""
    return now.astimezone(_EXCHANGE).date()


def expiration_of(key: ContractKey) -> date | None:
    """Return the expiration that the key names, `None` if it names none."""
    for parse in (parse_occ, parse_future_option_key):
        try:
            return parse(key).expiration
        except ValueError:
            continue
    return None
