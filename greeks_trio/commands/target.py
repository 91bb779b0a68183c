"""The database and the spool that a command works on.

They are those of ``serve`` with the same options: the configured ones, or those of the
bundled PostgreSQL.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from greeks_trio.config.settings import Config, SpoolConfig
from greeks_trio.errors import ConfigError
from greeks_trio.postgres.embedded.guard import open_guarded_server

# Not in the current directory: a start in another directory finds the same data.
_DEFAULT_DATA_DIR: Final = Path("~/.local/share/greeks_trio/postgres")


def home_data_dir() -> Path:
    """Return the default directory for the data of the bundled PostgreSQL.

    Raises:
        ConfigError: this user has no home directory.
    """
    try:
        return _DEFAULT_DATA_DIR.expanduser()
    except RuntimeError:
        raise ConfigError(
            ["This user has no home directory: set --data-dir to a directory."]
        ) from None


def embedded_spool(spool: SpoolConfig, data_dir: Path) -> SpoolConfig:
    """Return the spool of a service with the bundled PostgreSQL of a data directory.

    The server may have another port at each start, so the port cannot name the spool.
    """
    beside = data_dir.with_name(f"{data_dir.name}-spool")
    return replace(spool, directory=spool.directory or beside)


@asynccontextmanager
async def open_target(
    config: Config, *, embedded: bool, data_dir: Path | None
) -> AsyncIterator[Config]:
    """Yield the configuration with the database and the spool that ``serve`` would use.

    The bundled PostgreSQL runs for as long as the block lasts.

    Raises:
        ConfigError: this user has no home directory for the default of ``data_dir``.
        StoreUnavailable: the bundled PostgreSQL does not start.
    """
    if not embedded:
        yield config
        return
    directory = data_dir or home_data_dir()
    async with open_guarded_server(directory) as database:
        spool = embedded_spool(config.spool, directory)
        yield replace(config, database=database, spool=spool)
