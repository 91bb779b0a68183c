"""Reads the configuration again while the service runs."""

from __future__ import annotations

import logging
from collections.abc import Callable

from greeks_trio.config.report import needs_restart
from greeks_trio.config.settings import Config, DatabaseConfig
from greeks_trio.errors import ConfigError

logger = logging.getLogger(__name__)


def load_again(load: Callable[[], Config], started_with: Config) -> Config | None:
    """Return the present configuration, `None` if it has problems, which are logged.

    Also logs the settings that differ from the start and need a restart.
    """
    try:
        config = load()
    except ConfigError as exc:
        for problem in exc.problems:
            logger.error("config.rejected problem=%s", problem)
        return None
    for name in needs_restart(started_with, config):
        logger.warning("config.needs_restart name=%s", name)
    return config


def log_other_database(
    before: DatabaseConfig, after: DatabaseConfig, *, waiting_rows: int
) -> None:
    """Log that ticks which wait for one database will be stored in another.

    Only the operator knows whether it is the same database at a new address.
    """
    logger.warning(
        "config.database_changed from=%s/%s to=%s/%s waiting_rows=%d "
        "what-waits=goes-to-the-new-one",
        *(before.place, before.dbname),
        *(after.place, after.dbname),
        waiting_rows,
    )
