"""What database tests look at in ``greek_snapshots``, and do to its sessions."""

from __future__ import annotations

import msgspec
import trio
from psycopg import sql

from greeks_trio.model.records import UnifiedPositionRecord


def rows(observer):
    """Return all rows as the records that they were, in the readers' order.

    Payloads are compact again, as they were; jsonb is not text.
    """
    names = UnifiedPositionRecord.__struct_fields__
    query = sql.SQL(
        "select {} from greek_snapshots order by event_time, received_at, id"
    ).format(sql.SQL(", ").join(map(sql.Identifier, names)))
    return [
        UnifiedPositionRecord(
            **dict(zip(names, (*values, msgspec.json.encode(payload)), strict=True))
        )
        for *values, payload in observer.execute(query)
    ]


def count(observer):
    """Return how many rows there are."""
    return observer.execute("select count(*) from greek_snapshots").fetchone()[0]


def sessions(observer):
    """Return the pids of our other sessions in this database."""
    cursor = observer.execute(
        "select pid from pg_stat_activity where application_name like 'greeks_trio/%'"
        " and datname = current_database()"
    )
    return {pid for (pid,) in cursor}


async def wait_blocked(observer):
    """Wait until one of our sessions waits for a lock."""
    while True:
        if observer.execute(
            "select 1 from pg_stat_activity where wait_event_type = 'Lock'"
            " and application_name like 'greeks_trio/%' and datname = current_database()"
        ).fetchone():
            return
        await trio.lowlevel.checkpoint()


def insert_key_of(observer, tick, table="greek_snapshots"):
    """Insert a row with the key of the tick."""
    record = tick.record
    query = sql.SQL(
        "insert into {} (id, event_time, received_at, broker, account_id, underlying,"
        " contract_key, delta, availability, source_payload, fingerprint)"
        " overriding system value"
        " values (0, %s, %s, %s, %s, 'x', %s, 0, 'unknown', '{{}}', %s)"
    )
    observer.execute(
        query.format(sql.Identifier(table)),
        [
            record.event_time,
            record.received_at,
            record.broker,
            record.account_id,
            record.contract_key,
            tick.fingerprint,
        ],
    )
