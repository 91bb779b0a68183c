"""``migrate``: brings the schema of the database up to date."""

from __future__ import annotations

import click

from greeks_trio.commands.outcome import OK
from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.postgres.connect import open_connection
from greeks_trio.postgres.failures import translated
from greeks_trio.postgres.schema.migrate import migrate


async def run_migrate(config: DatabaseConfig) -> int:
    """Apply the migrations that are missing, print their names, and return `OK`.

    Raises:
        StoreUnavailable: the server cannot be reached.
        SchemaRejected: the schema is newer than this program, or the server refused it.
    """
    async with open_connection(config, autocommit=True) as connection:
        with translated():
            names = await migrate(connection)
    done = f"applied {', '.join(names)}" if names else "nothing to apply"
    click.echo(f"database: {done}")
    return OK
