"""The rules for every tick, from any frame."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Final, NoReturn

from greeks_trio.model.records import UnifiedPositionRecord

EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
MAX_AHEAD: Final = timedelta(minutes=5)
GREEKS: Final = ("delta", "gamma", "theta", "vega", "rho")
# The smallest and the largest value of each field.
_LIMITS: Final = {
    "delta": (-1.05, 1.05),
    **dict.fromkeys(("gamma", "theta", "vega", "rho"), (-1e9, 1e9)),
    "implied_volatility": (5e-324, 100.0),
    # All underlyings of the campaign are shares.
    "underlying_price": (5e-324, 1e9),
    "price": (0.0, 1e9),
    "bid": (0.0, 1e9),
    "ask": (5e-324, 1e9),
}


class WrongTick(AssertionError):
    """A tick that the feed must not have made, or one that is missing."""


def check_tick(record: UnifiedPositionRecord, now: datetime) -> None:
    """Check the rules for each tick of either broker.

    Raises:
        WrongTick: it does not.
    """
    if all(getattr(record, name) is None for name in GREEKS):
        raise WrongTick(f"no Greek in {record}")
    for name, (low, high) in _LIMITS.items():
        value = getattr(record, name)
        # NaN is in no range.
        if value is not None and not (type(value) is float and low <= value <= high):
            raise WrongTick(f"{name} {value!r} in {record}")
    priced_at = record.underlying_price_at
    if priced_at is not None and (
        record.underlying_price is None or not EARLIEST <= priced_at <= now + MAX_AHEAD
    ):
        raise WrongTick(f"time of the underlying's price in {record}")
    if not EARLIEST <= record.event_time <= now + MAX_AHEAD:
        raise WrongTick(f"time of {record}")
    if record.received_at != now:
        raise WrongTick(f"receipt of {record}")
    check_payload(record.source_payload)


def check_payload(payload: bytes) -> None:
    """Check that the payload is an object of strict JSON without what jsonb refuses.

    Raises:
        WrongTick: it is not.
    """
    content = json.loads(
        payload.decode(), parse_constant=_refuse, parse_int=len, parse_float=len
    )
    if not isinstance(content, dict):
        raise WrongTick(f"payload {payload[:200]!r}")
    # Escapes are rare; only then is a look at each text worth its time.
    if b"\\u" in payload or len(payload) > 10_000:
        _check_texts(content)


def _check_texts(content: object) -> None:
    waiting = [content]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += [*value, *value.values()]
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str):
            value.encode()  # refuses a lone surrogate
            if "\x00" in value:
                raise WrongTick(f"a NUL in {value[:200]!r}")


def _refuse(constant: str) -> NoReturn:
    raise WrongTick(f"{constant} in a payload")
