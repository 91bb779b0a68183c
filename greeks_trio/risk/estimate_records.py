"""The contracts that need an estimate, and the estimates.  Needs no numpy."""

from __future__ import annotations

from datetime import date, datetime

import msgspec


class Terms(msgspec.Struct, frozen=True):
    """What all estimates of a request share.

    Attributes:
        as_of: The clock of the database.
        rate: Of interest, a fraction per year.
    """

    as_of: datetime
    rate: float


class Quote(msgspec.Struct, frozen=True):
    """The values of a tick of the contract.

    Attributes:
        at: The time of the oldest of these values.
        price: Of the option.
        underlying_price_at: `None` without a price of the underlying.
        underlying_price_broker: `None` if it is the broker of the tick.
    """

    broker: str
    at: datetime
    implied_volatility: float | None = None
    price: float | None = None
    underlying_price: float | None = None
    underlying_price_at: datetime | None = None
    underlying_price_broker: str | None = None
    is_underlying_price_stale: bool | None = None


class UnderlyingPrice(msgspec.Struct, frozen=True):
    """A price of the underlying, from a tick of any contract on it."""

    broker: str
    price: float
    at: datetime


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A contract in an account that has no, or no fresh, value of a Greek.

    Attributes:
        stale_reason: As in ``latest_greeks``.
        delta: The broker's value; so are the other Greeks.
        own: The newest tick of the broker.
        other: The newest fresh tick of the same contract, of any broker and account.
        underlying: The newest fresh price of the underlying.
    """

    broker: str
    account_id: str
    contract_key: str
    kind: str
    expiration: date | None = None
    strike: float | None = None
    option_type: str | None = None
    price_factor: float | None = None
    stale_reason: str | None = None
    delta: float | None = None
    gamma: float | None = None
    theta: float | None = None
    vega: float | None = None
    rho: float | None = None
    own: Quote | None = None
    other: Quote | None = None
    underlying: UnderlyingPrice | None = None


class Estimate(msgspec.Struct, kw_only=True):
    """A row of ``estimated_greeks``."""

    broker: str
    account_id: str
    contract_key: str
    computed_at: datetime
    inputs_at: datetime | None = None
    delta: float | None = None
    gamma: float | None = None
    theta: float | None = None
    vega: float | None = None
    rho: float | None = None
    volatility: float | None = None
    volatility_source: str | None = None
    volatility_broker: str | None = None
    underlying_price: float | None = None
    underlying_price_broker: str | None = None
    model: str | None = None
    rate: float | None = None
    dividend_yield: float | None = None
    no_estimate_reason: str | None = None
