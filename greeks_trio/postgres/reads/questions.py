"""What can be asked of the timeline, and what comes back, whoever asks.

A question is a record of filters, `None` where anything will do.  Strings are compared
exactly.  Times are aware; of two, the first is included and the second is not.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Literal, TypeAlias
from uuid import UUID

import msgspec

from greeks_trio.model.contracts import OptionType
from greeks_trio.model.records import Broker

ExportFormat = Literal["csv", "ndjson"]

# The values that order the list, of the last row that was seen: what comes after them
# is the next page.  Text, or whole numbers.
Place: TypeAlias = list[str | int]


class _Question(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The base of them; the tag tells their cursors apart."""


class _OfContracts(_Question, frozen=True, kw_only=True):
    """Filters that every list of contracts has.

    Attributes:
        expiration_from: The first expiration that is meant.
        expiration_to: The last one, included: these are days.
    """

    broker: Broker | None = None
    account_id: str | None = None
    contract_key: str | None = None
    underlying: str | None = None
    option_type: OptionType | None = None
    expiration_from: date | None = None
    expiration_to: date | None = None


class SnapshotsQuestion(_OfContracts, frozen=True, kw_only=True):
    """Ticks, by ``event_time`` from ``start`` until before ``end``."""

    start: datetime | None = None
    end: datetime | None = None


class LatestQuestion(_OfContracts, frozen=True, kw_only=True):
    """The newest Greeks of what is held or watched, as known ``at`` some moment."""

    at: datetime | None = None
    is_stale: bool | None = None


class PositionsQuestion(_OfContracts, frozen=True, kw_only=True):
    """What is held ``at`` some moment, of any kind."""

    at: datetime | None = None
    kind: str | None = None


class PortfolioQuestion(_Question, frozen=True, kw_only=True):
    """Sums over what is held ``at`` some moment."""

    broker: Broker | None = None
    account_id: str | None = None
    currency: str | None = None
    underlying: str | None = None
    expiration_from: date | None = None
    expiration_to: date | None = None
    at: datetime | None = None


class DivergenceQuestion(_Question, frozen=True, kw_only=True):
    """Contracts that both brokers have, side by side."""

    contract_key: str | None = None
    underlying: str | None = None
    option_type: OptionType | None = None
    expiration_from: date | None = None
    expiration_to: date | None = None


class GapsQuestion(_Question, frozen=True, kw_only=True):
    """Intervals without data that touch the time from ``start`` until ``end``."""

    broker: Broker | None = None
    account_id: str | None = None
    contract_key: str | None = None
    reason: str | None = None
    is_open: bool | None = None
    start: datetime | None = None
    end: datetime | None = None


class TradesQuestion(_Question, frozen=True, kw_only=True):
    """Recorded trades, by ``created_at`` from ``start`` until before ``end``."""

    id: UUID | None = None
    broker: Broker | None = None
    account_id: str | None = None
    symbol: str | None = None
    contract_key: str | None = None
    strategy_tag: str | None = None
    start: datetime | None = None
    end: datetime | None = None


Question: TypeAlias = (
    SnapshotsQuestion
    | LatestQuestion
    | PositionsQuestion
    | PortfolioQuestion
    | DivergenceQuestion
    | GapsQuestion
    | TradesQuestion
)


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a list.

    Attributes:
        items: A JSON array, as text that is ready to be sent.
        next_place: Where the next page begins, `None` when there is none.
    """

    items: bytes
    next_place: Place | None


class NewTrade(msgspec.Struct, frozen=True, kw_only=True):
    """A trade to be recorded.

    Attributes:
        created_at: `None` for the database's present moment.
        metadata: A JSON object, as text.
    """

    id: UUID
    broker: Broker
    account_id: str
    symbol: str
    action: str
    quantity: Decimal
    contract_key: str | None = None
    price: Decimal | None = None
    strategy_tag: str | None = None
    metadata: str | None = None
    created_at: datetime | None = None


class RecordedTrade(msgspec.Struct, frozen=True, kw_only=True):
    """What the table has under a trade's id.

    Attributes:
        item: The row as JSON.
        is_new: Whether it was not there before.
        is_same: Whether it says what the new one says.
    """

    item: bytes
    is_new: bool
    is_same: bool
