"""One broker's Greeks -> ticks, one for each account that holds the contract.  Pure.

Values come in canonical units: `greeks_trio.brokers.ibkr.wire.fields` and
`greeks_trio.brokers.tastytrade.wire.protocol` parse their broker's text into them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from greeks_trio.errors import BadQuote
from greeks_trio.model.contracts import OptionContract
from greeks_trio.model.payload import jsonb_safe
from greeks_trio.model.positions import Holder
from greeks_trio.model.records import (
    Availability,
    Broker,
    Greeks,
    UnifiedPositionRecord,
)

# Before the listed options of today existed: a broker's clock that says so is wrong.
EARLIEST_MS: Final = 946_684_800_000  # 2000-01-01
# More than clocks that are set by NTP ever differ, so beyond it is an error too.
MAX_AHEAD: Final = timedelta(minutes=5)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Quote(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one frame says about one contract, joined with what is known besides.

    Attributes:
        event_time_ms: The broker's time, milliseconds since 1970, `None` if absent.
        received_at: Our wall clock when the frame was read, UTC.
        source_payload: Valid JSON text of what the broker sent.
    """

    broker: Broker
    contract: OptionContract
    greeks: Greeks
    event_time_ms: int | None
    received_at: datetime
    underlying_price: float | None
    availability: Availability
    source_payload: bytes


class Ticks(msgspec.Struct, frozen=True):
    """The ticks of one quote, one per holder, and what was mended on the way.

    ``mended`` holds the words to count: ``event-time``, ``payload``.
    """

    ticks: list[UnifiedPositionRecord]
    mended: tuple[str, ...] = ()


def normalise(quote: Quote, holders: Sequence[Holder]) -> Ticks:
    """Return one tick for each holder, in the order of the holders.

    Raises:
        BadQuote: there is neither delta, gamma, theta, vega nor rho; implied
            volatility alone is not a tick.
    """
    greeks = quote.greeks
    if (
        greeks.delta is None
        and greeks.gamma is None
        and greeks.theta is None
        and greeks.vega is None
        and greeks.rho is None
    ):
        raise BadQuote("no-greeks")
    event_time = event_time_of(quote.event_time_ms, quote.received_at)
    payload, payload_mended = jsonb_safe(quote.source_payload)
    mended: tuple[str, ...] = ()
    if event_time is None or payload_mended:
        mended = ("event-time",) * (event_time is None) + ("payload",) * payload_mended
    time = event_time or quote.received_at
    return Ticks([_tick(quote, holder, time, payload) for holder in holders], mended)


def event_time_of(event_time_ms: int | None, received_at: datetime) -> datetime | None:
    """Return the broker's time, or `None` when it is absent or cannot be true."""
    if event_time_ms is None or event_time_ms < EARLIEST_MS:
        return None
    try:
        event_time = _EPOCH + timedelta(milliseconds=event_time_ms)
    except OverflowError:
        return None
    return event_time if event_time <= received_at + MAX_AHEAD else None


def _tick(
    quote: Quote, holder: Holder, event_time: datetime, payload: bytes
) -> UnifiedPositionRecord:
    contract, greeks = quote.contract, quote.greeks
    return UnifiedPositionRecord(
        broker=quote.broker,
        account_id=holder.account_id,
        underlying=contract.underlying,
        contract_key=contract.contract_key,
        event_time=event_time,
        received_at=quote.received_at,
        expiration=contract.expiration,
        strike=contract.strike,
        option_type=contract.option_type,
        quantity=holder.quantity,
        delta=greeks.delta,
        gamma=greeks.gamma,
        theta=greeks.theta,
        vega=greeks.vega,
        rho=greeks.rho,
        implied_volatility=greeks.implied_volatility,
        underlying_price=quote.underlying_price,
        availability=quote.availability,
        source_payload=payload,
    )
