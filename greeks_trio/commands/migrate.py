"""``migrate``: brings the schema of the database up to date."""

from __future__ import annotations

import click

from greeks_trio.commands.outcome import FAILED, OK
from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.postgres.connect import open_connection
from greeks_trio.postgres.failures import translated
from greeks_trio.postgres.schema.catalog import inspect_schema
from greeks_trio.postgres.schema.migrate import migrate
from greeks_trio.postgres.schema.repair import repair


async def run_migrate(config: DatabaseConfig, *, is_repair: bool = False) -> int:
    """Apply the migrations that are missing, and print their names.

    Args:
        config: The database.
        is_repair: Make missing tables, keys, indexes, views and functions again.

    Returns:
        `OK`, or `FAILED` if the schema is damaged.

    Raises:
        StoreUnavailable: the server cannot be reached.
        SchemaRejected: the schema is newer than this program, or the server refused it.
    """
    async with open_connection(config, autocommit=True) as connection:
        with translated():
            names = await migrate(connection)
            repaired = await repair(connection) if is_repair else []
            findings = await inspect_schema(connection, config)
    done = f"applied {', '.join(names)}" if names else "nothing to apply"
    click.echo(f"database: {done}")
    for name in repaired:
        click.echo(f"database: made the {name} again")
    if any(name.startswith(("table ", "view ", "function ")) for name in repaired):
        click.echo(
            "database: other roles than the owner have no rights on these objects; grant "
            "their rights again"
        )
    damages = [each for each in findings if each.verdict != "fine"]
    for damage in damages:
        click.echo(f"database: {damage.sentence}; {damage.remedy}")
    is_damaged = any(each.verdict == "failed" for each in damages)
    return FAILED if is_damaged else OK
