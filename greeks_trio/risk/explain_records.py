"""The request to explain a profit or loss, its input and its answer.  Needs no numpy."""

from __future__ import annotations

from datetime import date, datetime
from typing import Final, Literal, TypeAlias

import msgspec

GroupBy: TypeAlias = Literal[
    "currency",
    "book",
    "broker",
    "account_id",
    "underlying",
    "expiration",
    "expiration_bucket",
    "strategy_tag",
    "contract_key",
]

# A contract that expired counts as open until its last day is over everywhere on Earth.
EXPIRED_AFTER_S: Final = 36 * 3600.0


class ExplainRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The two moments, and the groups.

    Attributes:
        start: The first moment.
        end: The last moment.
        group_by: The groups that get a row of their own, beside the currencies.
        underlying: Only the contracts on it; `None` for all, as for the others.
        without: Only the positions that have none of these: expiration, strategy_tag.
        rate: Of interest, a fraction per year; for vanna, vomma and charm.
    """

    start: datetime
    end: datetime
    rate: float
    group_by: GroupBy = "currency"
    underlying: str | None = None
    strategy_tag: str | None = None
    expiration: date | None = None
    expiration_bucket: str | None = None
    currency: str | None = None
    without: tuple[str, ...] = ()


class Quantity(msgspec.Struct, frozen=True, array_like=True):
    """The quantity of a position from a moment on.

    Attributes:
        at: Seconds since 1970.
        quantity: Signed; `None` if it could not be read.
        premium: Currency per contract and 1.00 of the option's price.
        trade_units: The currency per contract and 1.00 of the price of a trade.
    """

    at: float
    quantity: float | None
    premium: float | None = None
    trade_units: float | None = None


class Trade(msgspec.Struct, frozen=True, array_like=True):
    """A recorded trade in a contract.

    Attributes:
        at: Seconds since 1970.
        quantity: As it was recorded; the sign may be in the action only.
        price: In the contract's currency.
    """

    at: float
    action: str
    quantity: float
    price: float | None


class Ticks(msgspec.Struct, frozen=True, kw_only=True):
    """Ticks of one contract, the oldest first, as lists of one length.

    Every tick has a price.

    Attributes:
        at: Seconds since 1970.
    """

    at: list[float] = []
    price: list[float] = []
    underlying_price: list[float | None] = []
    implied_volatility: list[float | None] = []
    delta: list[float | None] = []
    gamma: list[float | None] = []
    theta: list[float | None] = []
    vega: list[float | None] = []


class ContractPath(msgspec.Struct, frozen=True, kw_only=True):
    """One contract of one account between the two moments.

    Attributes:
        quantities: The first one may be from before the start, all others are not.
        is_currency_unnamed: The broker names no currency, so it counts as USD.
        trades: The recorded ones, in the order of time.
        ticks: The first one may be from before the start, all others are not.
        seen_from: The first moment at which positions of the account are known, if it lies
            after the start.
    """

    broker: str
    account_id: str
    contract_key: str
    kind: str
    underlying: str | None = None
    expiration: date | None = None
    expiration_bucket: str | None = None
    strike: float | None = None
    option_type: str | None = None
    currency: str = "USD"
    is_currency_unnamed: bool = False
    strategy_tag: str | None = None
    quantities: list[Quantity] = []
    trades: list[Trade] = []
    ticks: Ticks = Ticks()
    seen_from: datetime | None = None


class Outage(msgspec.Struct, frozen=True):
    """An interval without data.

    Attributes:
        account_id: `None` for all accounts of the broker.
        contract_key: `None` for all contracts.
        ended_at: `None` while it lasts.
    """

    broker: str
    account_id: str | None
    contract_key: str | None
    started_at: datetime
    ended_at: datetime | None
    reasons: list[str]


class Paths(msgspec.Struct, frozen=True, kw_only=True):
    """One snapshot of the database.

    Attributes:
        step_s: The ticks are at least so far apart.
        outages_left_out: Outages beyond the limit of the list.
    """

    step_s: float
    contracts: list[ContractPath]
    outages: list[Outage]
    outages_left_out: int = 0


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """The change of value of a group, and its parts; amounts in the currency of the group.

    start_value + delta + gamma + theta + vega + vanna + vomma + charm + trades + trading
    + residual = end_value, where a null counts as 0.  The profit or loss is
    end_value - start_value - trades.

    Attributes:
        group: The values by which the rows are grouped.
        contracts: Number of positions in the row.
        unnamed_currency: Positions whose currency the broker does not name.
        steps: From one tick to the next, over all positions.
        trades: Value that was bought, less value that was sold.
        trading: From the price of the trades to the mark after them.
        residual: The change that no other part explains.
        missing_delta: Positions with a step without delta or the underlying's price; their
            part is in the residual.  The others are like it.
        missing_second_order: Positions with a step without vanna, vomma and charm.
        without_tick: Positions without a tick between the two moments.
        trades_at_price: Changes of quantity at a recorded price; the others are at the mark
            because no trade fits, splits of shares, and because the contract expired.
        from_first_price: Positions without a price before the start; they count from the
            first one after it.
        first_seen: Positions that the first reading of the account found, at the mark.
        gap_steps: Steps over an outage.
        gap_change: The profit or loss of these steps.
    """

    group: dict[str, str | None]
    currency: str
    contracts: int
    unnamed_currency: int
    steps: int
    start_value: float
    end_value: float
    trades: float
    profit_loss: float
    delta: float | None
    gamma: float | None
    theta: float | None
    vega: float | None
    rho: float | None
    vanna: float | None
    vomma: float | None
    charm: float | None
    trading: float
    residual: float
    missing_delta: int
    missing_gamma: int
    missing_theta: int
    missing_vega: int
    missing_second_order: int
    without_tick: int
    trades_at_price: int
    trades_at_mark: int
    splits: int
    expired: int
    from_first_price: int
    first_seen: int
    unused_trades: int
    gap_steps: int
    gap_change: float


class LeftOut(msgspec.Struct, frozen=True):
    """A position that is in no sum."""

    broker: str
    account_id: str
    contract_key: str
    underlying: str | None
    reason: str


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """The answer.

    Attributes:
        step_s: Ticks closer to each other than this are skipped.
        totals: One row for each currency.
        groups: One row for each group.
        left_out: The positions that are in no sum; at most `MAX_LEFT_OUT`.
        notes: Sentences.
    """

    start: datetime
    end: datetime
    step_s: float
    rate: float
    group_by: GroupBy
    totals: list[Explained]
    groups: list[Explained]
    left_out: list[LeftOut]
    left_out_count: int
    outages: list[Outage]
    notes: list[str]


MAX_LEFT_OUT: Final = 200


class NothingToExplain(Exception):
    """There is nothing to explain; the message says why."""
