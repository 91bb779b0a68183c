"""``check``: tests the database, the spool and the logins, each once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Final, TypeAlias

import click
import trio

from greeks_trio.brokers.registry import FEEDS
from greeks_trio.commands.outcome import FAILED, OK
from greeks_trio.config.settings import Config, DatabaseConfig
from greeks_trio.errors import GreeksError, plain_reason
from greeks_trio.feeds.feed import brokers_of, enabled_kinds
from greeks_trio.postgres.connect import open_connection
from greeks_trio.postgres.failures import translated
from greeks_trio.postgres.schema.migrate import missing_migrations
from greeks_trio.spool.location import spool_directory
from greeks_trio.spool.lock import look_at

Attempt: TypeAlias = Callable[[], Awaitable[str]]

# A gateway that has just started answers the first read of the positions after about ten
# seconds, and a login over a slow line takes a few more.
LIMIT_S: Final = 30.0


async def run_check(config: Config, *, limit_s: float = LIMIT_S) -> int:
    """Print one line for each part of the configuration: whether it works.

    Changes nothing, neither in the database nor at the brokers.

    Returns:
        `OK` or `FAILED`.
    """
    click.echo("configuration: fine")
    results = [
        await _try(name, attempt, limit_s) for name, attempt in _attempts(config)
    ]
    for broker in brokers_of(FEEDS):
        if broker not in enabled_kinds(FEEDS, config):
            click.echo(f"{broker}: not enabled")
    return OK if all(results) else FAILED


def _attempts(config: Config) -> Iterator[tuple[str, Attempt]]:
    yield "database", partial(check_database, config.database)
    yield "spool", partial(check_spool, config)
    for broker, kind in enabled_kinds(FEEDS, config).items():
        yield broker, partial(kind.check_login, kind.section(config))


async def _try(name: str, attempt: Attempt, limit_s: float) -> bool:
    """Print the result of the attempt, and return whether it succeeded."""
    sentence, succeeded = f"no answer within {limit_s:g} seconds", False
    with trio.move_on_after(limit_s):
        try:
            sentence, succeeded = await attempt(), True
        except* GreeksError as group:
            sentence = plain_reason(group)
    click.echo(f"{name}: {sentence}")
    return succeeded


async def check_database(config: DatabaseConfig) -> str:
    """Return one sentence about the server and the schema.

    Raises:
        StoreError: the server cannot be used.
    """
    async with open_connection(config) as connection:
        with translated():
            lacking = await missing_migrations(connection)
        server = connection.info.parameter_status("server_version")
    schema = f"it lacks {', '.join(lacking)}, which serve applies" if lacking else ""
    return f"PostgreSQL {server}, {schema or 'the schema is in place'}"


async def check_spool(config: Config) -> str:
    """Return the directory of the spool, and the process that uses it.

    Raises:
        ConfigError: the directory cannot be used.
    """
    return await trio.to_thread.run_sync(lambda: look_at(spool_directory(config)))
