"""Make the partitions of the coming months while the service runs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import trio

from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.errors import StoreError, plain_reason
from greeks_trio.postgres.connect import open_connection
from greeks_trio.postgres.failures import translated
from greeks_trio.postgres.schema.partitions import ensure_partitions_ahead

logger = logging.getLogger(__name__)

# Partitions are made two months ahead, so a day without the database costs nothing.
_INTERVAL_S: Final = 6 * 3600.0
# The table may be busy.  Just after the start of the service it may not exist yet.
_AGAIN_AFTER_S: Final = 60.0
# Three partitions; each may wait for a lock for a bounded time.
_LIMIT_S: Final = 30.0
_NO_TABLE: Final = "42P01"


async def run_partition_keeper(
    config: DatabaseConfig | Callable[[], DatabaseConfig],
) -> None:
    """Make the partitions ahead, at once and every few hours, until cancelled.

    The writer makes the partition of the present month by itself.

    Args:
        config: The configuration of the database, or a function that returns it.
    """
    while True:
        is_done = await _keep(config() if callable(config) else config)
        await trio.sleep(_INTERVAL_S if is_done else _AGAIN_AFTER_S)


async def _keep(config: DatabaseConfig) -> bool:
    """Return whether all partitions exist now."""
    failures: list[BaseException] = []
    try:
        async with open_connection(config, autocommit=True) as connection:
            with translated(connection, may_refuse=False), trio.fail_after(_LIMIT_S):
                await ensure_partitions_ahead(connection, datetime.now(UTC).date())
    except* StoreError as group:
        failures += group.exceptions
    for failure in failures:
        is_unexpected = getattr(failure, "sqlstate", None) != _NO_TABLE
        logger.log(
            logging.WARNING if is_unexpected else logging.DEBUG,
            "partitions.not_made reason=%s",
            plain_reason(failure),
        )
    return not failures
