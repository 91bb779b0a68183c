"""Turn a broker's Greeks into ticks, one for each account that holds the contract.

The values come in canonical units: the `wire` package of each broker parses the
broker's text into them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

import msgspec

from greeks_trio.errors import BadQuote
from greeks_trio.model.contracts import OptionContract
from greeks_trio.model.fingerprint import fingerprint
from greeks_trio.model.payload import NO_PAYLOAD, jsonb_safe
from greeks_trio.model.positions import Holder
from greeks_trio.model.possible import (
    impossible_fields,
    is_possible,
    without_fields,
)
from greeks_trio.model.records import (
    Availability,
    Broker,
    BrokerGreeks,
    Greeks,
    KeptPayloads,
    Tick,
    UnifiedPositionRecord,
)
from greeks_trio.model.underlying_price import UnderlyingPrice

# Before the listed options of today existed: a broker's clock that says so is wrong.
EARLIEST_MS: Final = 946_684_800_000  # 2000-01-01
# More than clocks that are set by NTP ever differ, so beyond it is an error too.
MAX_AHEAD: Final = timedelta(minutes=5)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def normalise(
    event: BrokerGreeks,
    contract: OptionContract,
    holders: Sequence[Holder],
    *,
    broker: Broker,
    availability: Availability,
    underlying_price: UnderlyingPrice | None,
    received_at: datetime,
    read_at: float,
    count: Callable[[str], object],
    in_rotation: bool = False,
    kept_payloads: KeptPayloads = "full",
) -> list[Tick]:
    """Return one tick for each holder, in the order of the holders.

    An impossible value becomes a missing one, see `greeks_trio.model.possible`.

    ``received_at`` is the wall clock (UTC) and ``read_at`` the monotonic clock (seconds)
    when the frame was read.  ``count`` is called with ``impossible.`` and the field for
    each impossible value, and with ``mended.event-time`` or ``mended.payload`` when that
    part of the event was replaced.  With ``kept_payloads`` ``changed`` only a tick keeps the
    broker's message of which an impossible value or the time was replaced, with ``off`` none
    does.

    Raises:
        BadQuote: there is neither delta, gamma, theta, vega nor rho; implied
            volatility alone is not a tick.
    """
    is_changed = not is_possible(event)
    if is_changed:
        event = _only_possible(event, count)
    if not _has_greek(event.greeks):
        raise BadQuote("no-greeks")
    event_time = event_time_of(event.event_time_ms, received_at)
    if event_time is None:
        event_time = received_at
        is_changed = True
        count("mended.event-time")
    payload = NO_PAYLOAD
    if kept_payloads == "full" or (kept_payloads == "changed" and is_changed):
        payload, is_mended = jsonb_safe(event.payload)
        if is_mended:
            count("mended.payload")
    shared = _Shared(
        broker,
        availability,
        underlying_price,
        event_time,
        received_at,
        payload,
        in_rotation,
    )
    key = fingerprint(event.greeks)
    return [
        Tick(_record(event, contract, holder, shared), key, read_at)
        for holder in holders
    ]


class _Shared(msgspec.Struct, frozen=True, gc=False):
    """The values that the records of one event share, besides those of the event."""

    broker: Broker
    availability: Availability
    underlying: UnderlyingPrice | None
    event_time: datetime
    received_at: datetime
    payload: bytes
    in_rotation: bool


def _record(
    event: BrokerGreeks, contract: OptionContract, holder: Holder, shared: _Shared
) -> UnifiedPositionRecord:
    greeks, underlying = event.greeks, shared.underlying
    return UnifiedPositionRecord(
        broker=shared.broker,
        account_id=holder.account_id,
        underlying=contract.underlying,
        contract_key=contract.contract_key,
        event_time=shared.event_time,
        received_at=shared.received_at,
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
        underlying_price=None if underlying is None else underlying.value,
        underlying_price_at=None if underlying is None else underlying.at,
        price=event.price,
        bid=event.bid,
        ask=event.ask,
        in_rotation=shared.in_rotation,
        availability=shared.availability,
        source_payload=shared.payload,
    )


def _only_possible(event: BrokerGreeks, count: Callable[[str], object]) -> BrokerGreeks:
    names = impossible_fields(event)
    for name in names:
        count(f"impossible.{name.replace('_', '-')}")
    return without_fields(event, names)


def _has_greek(greeks: Greeks) -> bool:
    return not (
        greeks.delta is None
        and greeks.gamma is None
        and greeks.theta is None
        and greeks.vega is None
        and greeks.rho is None
    )


def event_time_of(event_time_ms: int | None, received_at: datetime) -> datetime | None:
    """Return the broker's time, or `None` when it is absent or cannot be true."""
    if event_time_ms is None or event_time_ms < EARLIEST_MS:
        return None
    try:
        event_time = _moment(event_time_ms)
    except OverflowError:
        return None
    return event_time if event_time <= received_at + MAX_AHEAD else None


# Under load, many events have the same time.
@lru_cache(1024)
def _moment(milliseconds: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=milliseconds)
