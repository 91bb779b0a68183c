"""The directory of the spool."""

from __future__ import annotations

import re
from pathlib import Path

from greeks_trio.config.directories import data_home
from greeks_trio.config.settings import Config
from greeks_trio.errors import ConfigError


def spool_directory(config: Config) -> Path:
    """Return the configured directory, by default one for each database.

    The default is not in the current directory: a service that is started elsewhere finds
    the same ticks.

    Raises:
        ConfigError: there is no home directory for the default.
    """
    if config.spool.directory is not None:
        return config.spool.directory
    # A standby that is named later must not lead to another directory.
    first, dbname = config.database.server, config.database.dbname
    name = f"{first.host}-{first.port}-{dbname}"
    if schema := config.database.schema:
        name += f"-{schema}"
    try:
        return data_home("spool") / re.sub(r"[^A-Za-z0-9._-]+", "_", name)
    except RuntimeError:
        raise ConfigError(
            [
                "GREEKS_SPOOL_DIR is not set, and this user has no home directory; set it."
            ]
        ) from None
