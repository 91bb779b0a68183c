"""Ready-made records for tests; every argument has a sensible default."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import trio

from greeks_trio.model.contracts import ContractKey, contract_from_occ
from greeks_trio.model.fingerprint import fingerprint
from greeks_trio.model.normalise import normalise
from greeks_trio.model.records import (
    BrokerGreeks,
    Greeks,
    Position,
    Tick,
    UnifiedPositionRecord,
)
from greeks_trio.model.underlying_price import UnderlyingPrice
from greeks_trio.pipeline.backlog import Backlog

START = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)
SPY_CALL = ContractKey("SPY   261218C00600000")
SPY_PUT = ContractKey("SPY   261218P00600000")


def clock_of_trio(start=None):
    """Return a wall clock that goes as Trio's does, also when that jumps."""
    began = []

    def now():
        began or began.append((start or datetime.now(UTC), trio.current_time()))
        [(start_at, start_s)] = began
        return start_at + timedelta(seconds=trio.current_time() - start_s)

    return now


def make_record(number=0, **changes):
    """Return a tick; ``number`` moves its event time by so many seconds."""
    values = {
        "broker": "ibkr",
        "account_id": "U1234567",
        "underlying": "SPY",
        "contract_key": SPY_CALL,
        "event_time": START + timedelta(seconds=number),
        "received_at": START + timedelta(seconds=number, milliseconds=20),
        "expiration": date(2026, 12, 18),
        "strike": Decimal(600),
        "option_type": "call",
        "quantity": Decimal(-3),
        "delta": 0.5,
        "gamma": 0.01,
        "theta": -0.2,
        "vega": 0.6,
        "rho": None,
        "implied_volatility": 0.183,
        "underlying_price": 668.25,
        "availability": "realtime",
        "source_payload": b'{"7308":"0.5"}',
    }
    return UnifiedPositionRecord(**(values | changes))


def make_tick(number=0, *, read_at=0.0, **changes):
    """Return a tick as the writer gets it."""
    record = make_record(number, **changes)
    return Tick(record, fingerprint(record), read_at)


def tick_bytes(rows):
    """Return the bound of a backlog that holds so many of `make_tick`'s ticks."""
    backlog = Backlog(rows * 1_000_000)
    backlog.put([make_tick()] * rows)
    return backlog.bytes


def make_frame(*records, read_at=0.0):
    """Return the ticks of one frame."""
    return [Tick(record, fingerprint(record), read_at) for record in records]


def make_position(quantity=-3, *, contract_key=SPY_CALL, **changes):
    """Return an option position."""
    values = {
        "broker": "ibkr",
        "account_id": "U1234567",
        "contract_key": contract_key,
        "kind": "option",
        "quantity": Decimal(quantity),
        "multiplier": Decimal(100),
        "currency": "USD",
        "underlying": "SPY",
        "expiration": date(2026, 12, 18),
        "strike": Decimal(600),
        "option_type": "call",
    }
    return Position(**(values | changes))


GREEKS = Greeks(delta=0.5, implied_volatility=0.183)
START_MS = int(START.timestamp() * 1000)


def records_of(ticks):
    """Return the records of ticks."""
    return [tick.record for tick in ticks]


def normalise_quote(
    holders,
    *,
    greeks=GREEKS,
    event_time_ms=START_MS,
    payload=b"{}",
    count=lambda _: None,
    in_rotation=False,
    kept_payloads="full",
    **prices,
):
    """Return the ticks of an event about `SPY_CALL`, received 20 ms after `START`."""
    return normalise(
        BrokerGreeks(greeks, event_time_ms, payload, **prices),
        contract_from_occ(SPY_CALL),
        holders,
        broker="ibkr",
        availability="realtime",
        underlying_price=UnderlyingPrice(668.25, START),
        received_at=START + timedelta(milliseconds=20),
        read_at=7.5,
        count=count,
        in_rotation=in_rotation,
        kept_payloads=kept_payloads,
    )


def run_at_once(steps):
    """Return the result of a computation that yields after each small step."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value
