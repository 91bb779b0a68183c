"""Read the clock of the database."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.model.clock import DATABASE, in_words, judge, offset_s
from greeks_trio.model.findings import Finding
from greeks_trio.waiting import utc_now


async def read_clock(
    connection: psycopg.AsyncConnection[Any],
) -> tuple[datetime, float]:
    """Return the time of the database, and the seconds that the answer took.

    Raises:
        psycopg.Error: there is no answer.
    """
    asked_at = time.monotonic()
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute("select pg_catalog.clock_timestamp()")
        [(at,)] = await cursor.fetchall()
    return at, time.monotonic() - asked_at


async def inspect_clock(
    connection: psycopg.AsyncConnection[Any], config: DatabaseConfig
) -> list[Finding]:
    """Compare the clock of this machine with that of the database.

    Args:
        connection: Outside a transaction.
        config: Has the limit; beyond it the service is not ready.

    Raises:
        psycopg.Error: there is no answer.
    """
    at, round_trip_s = await read_clock(connection)
    difference_s = offset_s(utc_now(), at, round_trip_s)
    if not judge({DATABASE: difference_s}, config.clock_limit_s).wrong:
        return [
            Finding(
                subject="clock",
                verdict="fine",
                sentence=f"the database's clock differs by {abs(difference_s):.1f} seconds",
            )
        ]
    return [
        Finding(
            subject="clock",
            verdict="failed",
            sentence=f"the clock of this machine is {in_words(-difference_s)} the "
            "database's clock",
            remedy="set the wrong clock, and let it follow a time server",
        )
    ]
