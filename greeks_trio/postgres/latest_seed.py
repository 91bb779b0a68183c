"""Fill the latest ticks in memory from the table, once after the start.

Without it, a quiet contract would be missing until its next tick; at a weekend that takes
days.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import psycopg
import trio
from psycopg.rows import args_row

from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.errors import StoreError, plain_reason
from greeks_trio.model.records import UnifiedPositionRecord
from greeks_trio.pipeline.backlog import Backlog
from greeks_trio.pipeline.latest import Latest
from greeks_trio.postgres.connect import open_connection
from greeks_trio.postgres.failures import translated
from greeks_trio.waiting import Backoff

logger = logging.getLogger(__name__)

# Positions with millions of ticks each take some ten milliseconds.  A busy server takes
# some seconds.
_LIMIT_S: Final = 30.0
_CLOSE_LIMIT_S: Final = 1.0
# Live ticks fill the same entries, so more attempts are not worth it.
_ATTEMPTS: Final = 5
# Two milliseconds of work between two checkpoints.
_STEP_ROWS: Final = 200

# The record, without its last field: the payload is not used here.
_COLUMNS: Final = UnifiedPositionRecord.__struct_fields__[:-1]
_NO_PAYLOAD: Final = b"null"

# The ticks as they are stored: the risk views fill in values of other ticks.
_LATEST: Final = f"""
select {", ".join(_COLUMNS)} from series_asof('infinity') where event_time is not null
"""  # noqa: S608


async def run_latest_seed(
    config: Callable[[], DatabaseConfig],
    backlog: Backlog,
    latest: Latest,
    *,
    backoff: Backoff | None = None,
) -> None:
    """Fill in the newest stored tick of each contract that is held or watched.

    It waits for the writer's first connection, because the schema may be an older one
    before.  It delays no other task, and returns when it is done or has failed a few
    times.  A tick that came meanwhile stays if it is as new.

    Args:
        config: Returns the configuration of the database; called for each attempt.
        backlog: Tells whether the writer has a connection.
        latest: The ticks to fill in.
        backoff: The waits between attempts.
    """
    backoff = Backoff(min_delay_s=1.0, max_delay_s=30.0) if backoff is None else backoff
    while backoff.attempts < _ATTEMPTS:
        while not backlog.is_database_up:
            await backlog.wait_change()
        try:
            rows = await _seed(config(), latest)
        except* StoreError as group:
            logger.warning("latest.not_filled reason=%s", plain_reason(group))
        else:
            logger.info("latest.filled contracts=%d", rows)
            return
        await backoff.wait()


async def _seed(config: DatabaseConfig, latest: Latest) -> int:
    """Return the number of series that took a tick from the table."""
    taken = 0
    async with open_connection(config) as connection:
        with translated(connection, may_refuse=False), trio.fail_after(_LIMIT_S):
            cursor = connection.cursor("latest", row_factory=args_row(_record))
            try:
                await cursor.execute(_LATEST)
                while records := await cursor.fetchmany(_STEP_ROWS):
                    taken += latest.seed(records)
            finally:
                # On the server it ends with the transaction.  Its own way to close needs a
                # server that answers, and leaves it open otherwise.
                with trio.move_on_after(_CLOSE_LIMIT_S, shield=True):
                    await psycopg.AsyncCursor.close(cursor)
    return taken


def _record(*values: object) -> UnifiedPositionRecord:
    fields = dict(zip(_COLUMNS, values, strict=True))
    return UnifiedPositionRecord(**fields, source_payload=_NO_PAYLOAD)  # type: ignore[arg-type]
