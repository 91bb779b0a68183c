"""Ledgers and tick logs for tests of the comparison."""

from __future__ import annotations

import msgspec

from greeks_trio.drill.tick_log import TickLog, tick_identity
from greeks_trio.simulators.ledger import LedgerTick


def ledger_tick_of(record, sent=100.0, **changes):
    """Return the ledger's line for a record."""
    names = set(LedgerTick.__struct_fields__) - {"event_time_ms", "sent_monotonic"}
    values = {name: getattr(record, name) for name in names}
    return LedgerTick(
        event_time_ms=round(record.event_time.timestamp() * 1000),
        sent_monotonic=sent,
        **(values | changes),
    )


def write_ledger(path, ticks):
    """Write the ledger's file."""
    path.write_bytes(msgspec.json.Encoder().encode_lines(ticks))


def write_durable(path, ticks):
    """Write the file of the ticks that were reported durable."""
    log = TickLog(path)
    for tick in ticks:
        log.write(tick_identity(tick), 100.5)
    log.close()
