"""Keep the table ``latest_ticks`` a moment behind the ticks, for the present risk views.

The views are right without it: they add the ticks that it does not have, and look
everything up if it is old.  Only their time depends on it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final, NoReturn

import psycopg
import trio

from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.errors import StoreError, plain_reason
from greeks_trio.postgres.connect import open_connection
from greeks_trio.postgres.failures import translated
from greeks_trio.waiting import Backoff, WakeUp

logger = logging.getLogger(__name__)

# The views add the ticks of this time each time, about 7 microseconds each; a refresh takes
# about 2 ms and 12 microseconds a tick.
_INTERVAL_S: Final = 0.1
# With nothing new; the views stop to use the table after 10 s.
_IDLE_INTERVAL_S: Final = 2.0
# Ten thousand contracts with long histories take some seconds on a busy server.
_LIMIT_S: Final = 60.0
# Below, looking everything up takes less time than the table and the ticks since.
FEW_CONTRACTS: Final = 500
_REFRESH: Final = b"select refresh_latest()"


async def run_latest_refresh(
    config: Callable[[], DatabaseConfig],
    again: WakeUp,
    *,
    contracts: Callable[[], int] = lambda: FEW_CONTRACTS,
    backoff: Backoff | None = None,
) -> NoReturn:
    """Bring ``latest_ticks`` up to date ten times a second, until cancelled.

    It has a connection of its own, which it opens again after a failure.  A role that may
    not execute ``refresh_latest`` is told once in the log.

    Args:
        config: Returns the present configuration of the database.
        again: The database is another one.
        contracts: Returns the number of contracts; with few there is nothing to do.
        backoff: The waits between attempts.
    """
    backoff = Backoff(min_delay_s=1.0, max_delay_s=30.0) if backoff is None else backoff
    told = ""
    while True:
        if contracts() < FEW_CONTRACTS:
            await trio.sleep(_IDLE_INTERVAL_S)
            continue
        seen = again.calls
        try:
            async with open_connection(config(), autocommit=True) as connection:
                await _refresh_until_changed(connection, again, seen, backoff)
        except* StoreError as group:
            reason = plain_reason(group)
            if reason != told:
                told = reason
                logger.info("latest.not_kept reason=%s", reason)
            await backoff.wait()


async def _refresh_until_changed(
    connection: psycopg.AsyncConnection[Any],
    again: WakeUp,
    seen: int,
    backoff: Backoff,
) -> None:
    while again.calls == seen:
        with translated(connection, may_refuse=False), trio.fail_after(_LIMIT_S):
            cursor = await connection.execute(_REFRESH)
            [(done,)] = await cursor.fetchall()
        backoff.reset()
        if done in ("rebuilt", "waiting"):
            logger.debug("latest.%s", done)
        with trio.move_on_after(_IDLE_INTERVAL_S if done == "idle" else _INTERVAL_S):
            await again.wait_beyond(seen)
