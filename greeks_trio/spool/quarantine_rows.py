"""The table of the quarantine's file, and what goes into it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from greeks_trio.model.records import Tick
from greeks_trio.spool.format import encode_ticks, to_microseconds

# Of the text that PostgreSQL gave.
_MAX_REASON: Final = 2_000

# Times are microseconds since 1970.  The unique columns are the primary key of the table
# that refused the row, so a row that is refused again is not kept again.
SCHEMA: Final = """CREATE TABLE IF NOT EXISTS rows (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    broker TEXT NOT NULL,
    account_id BLOB NOT NULL,
    contract_key BLOB NOT NULL,
    event_time INTEGER NOT NULL,
    fingerprint INTEGER NOT NULL,
    added_at INTEGER NOT NULL,
    sqlstate TEXT,
    reason TEXT NOT NULL,
    blob BLOB NOT NULL,
    UNIQUE (broker, account_id, contract_key, event_time, fingerprint)
)"""

INSERT: Final = """INSERT INTO rows (
    broker, account_id, contract_key, event_time, fingerprint, added_at, sqlstate,
    reason, blob
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"""


def to_row(tick: Tick, sqlstate: str | None, reason: str) -> tuple[object, ...]:
    """Return the values for `INSERT`."""
    record = tick.record
    return (
        record.broker,
        # As bytes, because PostgreSQL may have refused the row for its text.
        record.account_id.encode("utf-8", "surrogatepass"),
        record.contract_key.encode("utf-8", "surrogatepass"),
        to_microseconds(record.event_time),
        tick.fingerprint,
        to_microseconds(datetime.now(UTC)),
        sqlstate,
        reason[:_MAX_REASON].encode("utf-8", "replace").decode(),
        encode_ticks([tick]),
    )
