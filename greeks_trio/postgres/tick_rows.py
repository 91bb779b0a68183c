"""How a tick becomes a row of ``greek_snapshots``: columns, types and values.

Discussion of the format: binary COPY through psycopg's row formatter, which is written
in C.  Packing the bytes here was slower.  The payload is JSON text already, so it is
declared as bytes and gets jsonb's version number in front: wrapped in psycopg's
``Jsonb`` it took a quarter of the whole time.

Source: PostgreSQL documentation, "COPY", section "Binary Format"; ``jsonb_recv``.
"""

from __future__ import annotations

from typing import Final

from greeks_trio.model.records import Tick

# Column and type, in the order of `tick_row`.
_COLUMNS: Final = (
    ("event_time", "timestamptz"),
    ("received_at", "timestamptz"),
    ("broker", "text"),
    ("account_id", "text"),
    ("underlying", "text"),
    ("contract_key", "text"),
    ("expiration", "date"),
    ("strike", "numeric"),
    ("option_type", "text"),
    ("quantity", "numeric"),
    ("delta", "float8"),
    ("gamma", "float8"),
    ("theta", "float8"),
    ("vega", "float8"),
    ("rho", "float8"),
    ("implied_volatility", "float8"),
    ("underlying_price", "float8"),
    ("underlying_price_at", "timestamptz"),
    ("price", "float8"),
    ("bid", "float8"),
    ("ask", "float8"),
    ("in_rotation", "bool"),
    ("availability", "text"),
    ("source_payload", "bytea"),  # see above
    ("fingerprint", "int8"),
)
TYPES: Final = tuple(kind for _, kind in _COLUMNS)
_NAMES: Final = ", ".join(name for name, _ in _COLUMNS)

_JSONB_VERSION: Final = b"\x01"


def tick_row(tick: Tick) -> tuple[object, ...]:
    """Return the values of one row."""
    record = tick.record
    return (
        record.event_time,
        record.received_at,
        record.broker,
        record.account_id,
        record.underlying,
        record.contract_key,
        record.expiration,
        record.strike,
        record.option_type,
        record.quantity,
        record.delta,
        record.gamma,
        record.theta,
        record.vega,
        record.rho,
        record.implied_volatility,
        record.underlying_price,
        record.underlying_price_at,
        record.price,
        record.bid,
        record.ask,
        record.in_rotation,
        record.availability,
        _JSONB_VERSION + record.source_payload,
        tick.fingerprint,
    )


COPY_TICKS: Final = (
    f"copy greek_snapshots ({_NAMES}) from stdin (format binary)".encode()
)

# A temporary table with the same columns and none of the constraints.
CREATE_STAGING: Final = (
    "create temp table if not exists staged_snapshots on commit delete rows"  # noqa: S608
    f" as select {_NAMES} from greek_snapshots with no data"
).encode()
COPY_STAGING: Final = (
    f"copy pg_temp.staged_snapshots ({_NAMES}) from stdin (format binary)"
).encode()
# In one order of the keys everywhere, so that two that insert the same rows never wait
# for each other in a circle; of equal keys the one received first.  Which rows are new is asked by RETURNING: a distributed PostgreSQL
# does not say in its command tag.
INSERT_STAGED: Final = (
    f"insert into greek_snapshots ({_NAMES}) select {_NAMES}"  # noqa: S608
    " from pg_temp.staged_snapshots"
    " order by event_time, broker, account_id, contract_key, fingerprint, received_at"
    " on conflict do nothing returning 1"
).encode()
