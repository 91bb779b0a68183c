"""Turn a broker's Greeks into ticks, one for each account that holds the contract.

The values come in canonical units: the `wire` package of each broker parses the
broker's text into them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

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
    part of the event was replaced.  With ``kept_payloads`` ``changed`` only a tick with such
    a value keeps the broker's message, with ``off`` none does.

    Raises:
        BadQuote: there is neither delta, gamma, theta, vega nor rho; implied
            volatility alone is not a tick.
    """
    is_changed = not is_possible(event)
    if is_changed:
        event = _only_possible(event, count)
    greeks = event.greeks
    if not _has_greek(greeks):
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
    key = fingerprint(greeks)
    price, price_at = None, None
    if underlying_price is not None:
        price, price_at = underlying_price.value, underlying_price.at
    return [
        Tick(
            UnifiedPositionRecord(
                broker=broker,
                account_id=holder.account_id,
                underlying=contract.underlying,
                contract_key=contract.contract_key,
                event_time=event_time,
                received_at=received_at,
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
                underlying_price=price,
                underlying_price_at=price_at,
                price=event.price,
                bid=event.bid,
                ask=event.ask,
                in_rotation=in_rotation,
                availability=availability,
                source_payload=payload,
            ),
            key,
            read_at,
        )
        for holder in holders
    ]


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
