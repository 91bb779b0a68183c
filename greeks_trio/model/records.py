"""The records that travel through the program.

The units are the same for every broker: delta per 1.00 of the underlying; gamma per 1.00
squared; theta per calendar day; vega per volatility point (0.01); rho per rate point
(0.01); implied volatility as a fraction (0.183).  A missing value is `None`, never NaN, 0
or "".
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Final, Literal, TypeAlias

import msgspec

from greeks_trio.model.contracts import ContractKey, OptionType
from greeks_trio.model.gap_reasons import GapReason

# A lower-case word.  `greeks_trio.brokers.registry` has the feeds of every broker.
Broker: TypeAlias = Annotated[str, msgspec.Meta(pattern="^[a-z][a-z0-9_]*$")]
Availability = Literal["realtime", "delayed", "frozen", "unknown"]
SessionStatus = Literal["connecting", "connected", "degraded", "disconnected"]
# The ticks that keep the broker's message: all, those of which a value was replaced, or
# none.
KeptPayloads = Literal["full", "changed", "off"]
PositionKind = Literal[
    "option", "future_option", "equity", "future", "other", "unknown"
]

# The account of a tick whose contract is watched, and that no account holds.
WATCHLIST_ACCOUNT: Final = "watchlist"


class Greeks(msgspec.Struct, frozen=True, gc=False):
    """One broker's values for one contract at one moment, in canonical units."""

    delta: float | None = None
    gamma: float | None = None
    theta: float | None = None
    vega: float | None = None
    rho: float | None = None
    implied_volatility: float | None = None


class BrokerGreeks(msgspec.Struct, frozen=True, gc=False):
    """The Greeks of one instrument, as a broker's protocol reports them.

    Each protocol has an event that adds the instrument in the broker's own terms.

    Attributes:
        greeks: In canonical units; all may be missing.
        event_time_ms: The broker's time, milliseconds since 1970; `None` if it is
            absent or not a number.
        payload: The broker's message, as valid JSON text.
        price: The option's theoretical or mark price, in the units of its quotation.
        bid: The best bid for the option, in the same units.
        ask: The best offer, in the same units.
    """

    greeks: Greeks
    event_time_ms: int | None
    payload: bytes
    price: float | None = None
    bid: float | None = None
    ask: float | None = None


class UnifiedPositionRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One tick: the Greeks of one contract in one account at one moment.

    Attributes:
        underlying: The key of the underlying instrument, not the root of the option:
            SPX for SPXW, ``/ESM27`` for an option on that future.
        event_time: The broker's time of the event, UTC.
        received_at: Our wall clock when the frame was read, UTC.
        quantity: Signed, short negative; `None` if no account holds the contract.
        underlying_price: The last trade or the middle of bid and ask, in the units of
            its quotation.
        underlying_price_at: When that price was made, otherwise when it was read, UTC.
        price: The option's theoretical or mark price, in the units of its quotation.
        in_rotation: Whether the contract shares its market data line with others, so
            that its ticks come in turns.
        source_payload: The broker's message, as JSON text that jsonb accepts.
    """

    broker: Broker
    account_id: str
    underlying: str
    contract_key: ContractKey
    event_time: datetime
    received_at: datetime
    expiration: date | None
    strike: Decimal | None
    option_type: OptionType | None
    quantity: Decimal | None
    delta: float | None
    gamma: float | None
    theta: float | None
    vega: float | None
    rho: float | None
    implied_volatility: float | None
    underlying_price: float | None
    underlying_price_at: datetime | None = None
    price: float | None = None
    bid: float | None = None
    ask: float | None = None
    in_rotation: bool = False
    availability: Availability
    source_payload: bytes


class Tick(msgspec.Struct, gc=False):
    """A record on its way into the database.

    Attributes:
        fingerprint: Part of the primary key, see `greeks_trio.model.fingerprint`.
        read_at: The monotonic clock when its frame was read, in seconds.
        entry: The id of the spool's entry that also has this tick, 0 if there is none.
            Only `greeks_trio.pipeline.backlog` sets it and knows its other values.
    """

    record: UnifiedPositionRecord
    fingerprint: int
    read_at: float
    entry: int = 0


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """The position of one account in one instrument.

    Attributes:
        contract_key: See `greeks_trio.model.contracts`.
        quantity: Signed, short negative; 0 when closed.  `None` if it could not be read,
            which only the kind ``unknown`` allows.
        multiplier: Units of the underlying per contract; `None` if it is not known.
        underlying: The key of the underlying instrument.  Shares and futures are their
            own underlying.
        instrument_id: The broker's own id of the instrument.
        exchange: Where it is listed or traded, in the broker's words.
        underlying_id: The broker's own id of the underlying.
        price_factor: Currency per quoted unit: 0.01 for prices in cents; `None` if it is
            not known.
        description: The broker's words for the instrument.
        problem: The reason why the instrument is of the kind ``unknown``.
        premium_multiplier: Units of the option's own price per contract, if an adjusted
            option delivers another number of shares; otherwise `None`.
    """

    broker: Broker
    account_id: str
    contract_key: ContractKey
    kind: PositionKind
    quantity: Decimal | None
    multiplier: Decimal | None = None
    currency: str | None = None
    underlying: str | None = None
    expiration: date | None = None
    strike: Decimal | None = None
    option_type: OptionType | None = None
    instrument_id: str | None = None
    exchange: str | None = None
    underlying_id: str | None = None
    price_factor: Decimal | None = None
    description: str | None = None
    problem: str | None = None
    premium_multiplier: Decimal | None = None


class PositionsSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """All positions of some accounts at one moment.

    A position of these accounts that is in the table and not in this list is closed.

    Attributes:
        incomplete_account_ids: Accounts with a position that could not be read.  It may
            be any, so a position of these accounts is closed only if it is in the list
            with the quantity 0.
    """

    broker: Broker
    account_ids: tuple[str, ...]
    positions: tuple[Position, ...]
    observed_at: datetime
    incomplete_account_ids: tuple[str, ...] = ()


class FeedGap(msgspec.Struct, frozen=True, kw_only=True):
    """A known interval without data.

    Written when it starts, with ``ended_at`` `None`, and again when it ends.
    """

    broker: Broker
    started_at: datetime
    reason: GapReason
    ended_at: datetime | None = None
    account_id: str | None = None
    contract_key: ContractKey | None = None


class LeftoverGaps(msgspec.Struct, frozen=True, kw_only=True):
    """The end of the gaps of one broker that an earlier run left open.

    Attributes:
        own: The open gaps of this run, by contract and start; they do not end.
        ended_at: When the feed was connected again.
    """

    broker: Broker
    own: tuple[tuple[ContractKey | None, datetime], ...]
    ended_at: datetime


class StreamSession(msgspec.Struct, frozen=True, kw_only=True):
    """The state of one broker's feed, as `/v1/streaming/status` shows it.

    Attributes:
        last_heartbeat_at: When the last heartbeat of the broker came, UTC.
        last_message_at: When the last frame of any kind came, UTC.
        reconnect_attempt: Connections that failed since the last healthy one.
        subscription_count: Contracts that are subscribed on this connection.
        last_error: The reason why the last connection ended, or why the present one is
            degraded, for a person.
        notes: Facts for a person that are no faults, such as delayed data that were
            accepted.  They never make the session degraded.
    """

    broker: Broker
    status: SessionStatus
    last_heartbeat_at: datetime | None = None
    last_message_at: datetime | None = None
    reconnect_attempt: int = 0
    subscription_count: int = 0
    last_error: str | None = None
    notes: tuple[str, ...] = ()
