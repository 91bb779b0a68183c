"""The values of one account: net liquidation, cash, buying power, margin.  Pure.

A broker sends amounts of money as numbers or as texts.  An amount that cannot be one, such
as NaN, is missing, and its row says so; it costs no other amount.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import msgspec

from greeks_trio.foreign_text import clean
from greeks_trio.model.records import Broker

# More than any account has, in any currency.
MOST: Final = Decimal(10**15)
# Brokers' programs keep these for "unset".
_UNSET: Final = frozenset(map(Decimal, (2**31 - 1, -(2**31), 2**63 - 1, -(2**63))))
# More digits than a float has; PostgreSQL refuses a row with tens of thousands.
_MOST_DECIMALS: Final = 400
_LONGEST_REASON: Final = 40
_LONGEST_PROBLEM: Final = 400
_CURRENCY_LENGTH: Final = 3
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class AccountValues(msgspec.Struct, frozen=True, kw_only=True):
    """The values of one account at one moment; `None` where the broker sends none.

    Attributes:
        observed_at: Our clock when the broker answered, UTC.
        event_time: The broker's own time of the values.
        currency: The currency of all amounts.
        net_liquidation: The value of the account if all were sold.
        cash: Negative for a debt.
        buying_power: The value of the shares that the account may buy.
        derivative_buying_power: The money for options and other derivatives.
        initial_margin: The money that opening the positions needs.
        maintenance_margin: The money that holding the positions needs.
        excess_liquidity: The money above the maintenance margin; negative in a margin call.
        problem: The amounts that were sent and could not be read, with the reasons.
    """

    broker: Broker
    account_id: str
    observed_at: datetime
    event_time: datetime | None = None
    currency: str | None = None
    net_liquidation: Decimal | None = None
    cash: Decimal | None = None
    buying_power: Decimal | None = None
    derivative_buying_power: Decimal | None = None
    initial_margin: Decimal | None = None
    maintenance_margin: Decimal | None = None
    excess_liquidity: Decimal | None = None
    problem: str | None = None


class AccountValuesSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The values of some accounts of one broker, each at its own moment."""

    broker: Broker
    rows: tuple[AccountValues, ...]


AMOUNTS: Final = (
    *("net_liquidation", "cash", "buying_power", "derivative_buying_power"),
    *("initial_margin", "maintenance_margin", "excess_liquidity"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SentValues:
    """The values in the answer of a broker about one account.

    Attributes:
        amounts: By the names of `AMOUNTS`, without the missing ones.
        odd: The reason for each amount that was sent and cannot be read.
    """

    amounts: Mapping[str, Decimal]
    odd: Mapping[str, str]
    currency: str | None = None
    event_time: datetime | None = None

    @property
    def is_empty(self) -> bool:
        """Whether the broker has sent none of the amounts."""
        return not self.amounts and not self.odd

    def row(
        self, broker: Broker, account_id: str, observed_at: datetime
    ) -> AccountValues:
        """Return the row of this answer."""
        amounts: dict[str, Any] = dict(self.amounts)
        odd = "; ".join(f"{name}: {reason}" for name, reason in self.odd.items())
        return AccountValues(
            broker=broker,
            account_id=account_id,
            observed_at=observed_at,
            event_time=self.event_time,
            currency=self.currency,
            problem=clean(odd, limit=_LONGEST_PROBLEM) or None,
            **amounts,
        )


def parse_amount(value: object) -> Decimal:
    """Return an amount of money.

    Raises:
        ValueError: The value is no amount; the message says why.
    """
    is_one = isinstance(value, int | float | str) and not isinstance(value, bool)
    try:
        amount = Decimal(str(value) if is_one else "")
    except (InvalidOperation, ValueError):  # ValueError: an int of thousands of digits
        raise ValueError(f"{_shown(value)} is no amount") from None
    if not amount.is_finite():
        raise ValueError(f"{amount} is no amount")
    if abs(amount) >= MOST or amount in _UNSET:
        raise ValueError(f"{amount:.6g} is not possible")
    if int(amount.as_tuple().exponent) < -_MOST_DECIMALS:
        raise ValueError(f"it has more than {_MOST_DECIMALS} decimals")
    return amount


def _shown(value: object) -> str:
    if not isinstance(value, str):
        return f"a {type(value).__name__}"
    return repr(clean(value[:_LONGEST_REASON], limit=_LONGEST_REASON))


def parse_currency(value: object) -> str | None:
    """Return the code of a currency, `None` if the value is none."""
    if not isinstance(value, str) or len(value) != _CURRENCY_LENGTH:
        return None
    return value if value.isascii() and value.isalpha() and value.isupper() else None


def moment_of_ms(value: object) -> datetime | None:
    """Return the moment of milliseconds since 1970, `None` if the value is none."""
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        return None
    try:
        return _EPOCH + timedelta(milliseconds=value)
    except OverflowError:
        return None


def moment_of_text(value: object) -> datetime | None:
    """Return the moment of a text in ISO 8601 with a zone, `None` if it is none."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        return moment.astimezone(UTC) if moment.tzinfo else None
    except (ValueError, OverflowError):
        return None
