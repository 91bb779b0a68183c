"""Keeping the partitions of the coming months in place while the service runs."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Final

import trio

from greeks_trio.config import DatabaseConfig
from greeks_trio.errors import StoreError, plain_reason
from greeks_trio.postgres.dsn import open_connection
from greeks_trio.postgres.partitions import ensure_partitions_ahead
from greeks_trio.postgres.translate import translated

logger = logging.getLogger(__name__)

# Partitions are made two months ahead, and at every connection of the writer besides,
# so a day without the database costs nothing.
_INTERVAL_S: Final = 6 * 3600.0


async def run_partition_keeper(config: DatabaseConfig) -> None:
    """Make the partitions ahead every few hours, until cancelled."""
    while True:
        await trio.sleep(_INTERVAL_S)
        try:
            async with open_connection(config) as connection:
                with translated():
                    await ensure_partitions_ahead(connection, datetime.now(UTC).date())
        except* StoreError as group:
            logger.warning("partitions.not_made reason=%s", plain_reason(group))
