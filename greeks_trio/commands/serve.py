"""``serve``: the service, with the configured or with the bundled PostgreSQL."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from greeks_trio.commands.outcome import configured, run_trio
from greeks_trio.commands.target import embedded_spool, home_data_dir
from greeks_trio.config.load import Override, load_config
from greeks_trio.config.settings import Config
from greeks_trio.postgres.embedded.cluster import cluster_directory, pass_file
from greeks_trio.postgres.embedded.guard import open_guarded_server
from greeks_trio.postgres.uri import database_uri
from greeks_trio.service import run_service

logger = logging.getLogger(__name__)


def run_serve(
    overrides: Mapping[str, Override], *, embedded: bool, data_dir: Path | None
) -> int:
    """Run the service until it stops, and return its exit status.

    Args:
        overrides: Values that win over the environment and the file, by variable.
        embedded: Whether to use the bundled PostgreSQL.
        data_dir: The data of the bundled PostgreSQL; `None` for the default.

    Raises:
        ConfigError: the configuration has problems.
        SchemaRejected: the schema is newer than this program, or refused.
    """
    load = partial(load_config, overrides)
    config = configured(load)
    if embedded:
        directory = (data_dir or home_data_dir()).absolute()
        return run_trio(_serve_embedded, config, load, directory)
    return run_trio(partial(run_service, config, load=load))


async def _serve_embedded(
    config: Config, load: Callable[[], Config], data_dir: Path
) -> int:
    spool = embedded_spool(config.spool, data_dir)
    async with open_guarded_server(data_dir, port=config.embedded_port) as database:
        passfile = pass_file(cluster_directory(data_dir, 18))
        address = database_uri(database, passfile=str(passfile))
        logger.info("embedded.started data_dir=%s address=%s", data_dir, address)
        return await run_service(
            replace(config, database=database, spool=spool),
            load=lambda: replace(load(), database=database, spool=spool),
        )
