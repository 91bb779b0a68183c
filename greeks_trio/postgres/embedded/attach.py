"""The database of a data directory for a command: its running server, or one for a while.

A command works beside a running service and leaves its server alone.  Without a running
server it starts one that ends with the command.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import trio

from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.errors import StoreUnavailable
from greeks_trio.postgres.embedded.address import running_database
from greeks_trio.postgres.embedded.cluster import data_versions
from greeks_trio.postgres.embedded.server import embedded_server, open_embedded_server


@asynccontextmanager
async def open_embedded_database(
    data_dir: Path, *, port: int = 0, must_exist: bool = False
) -> AsyncIterator[DatabaseConfig]:
    """Yield the way to connect to the server of the directory, started if need be.

    Args:
        data_dir: The data of the bundled PostgreSQL.
        port: The port of a server that is started; see `open_embedded_server`.
        must_exist: Whether a directory without data is an error; otherwise a new
            database is made.

    Raises:
        StoreUnavailable: the server did not start, or there is no data.
        ConfigError: another user owns or may write the directory.
    """
    found = await trio.to_thread.run_sync(_find, data_dir, must_exist)
    if found is not None:
        yield found
        return
    async with open_embedded_server(data_dir, port=port) as database:
        yield database


@contextmanager
def embedded_database(
    data_dir: Path, *, port: int = 0, must_exist: bool = False
) -> Iterator[DatabaseConfig]:
    """Do as `open_embedded_database` without an event loop; only in the main thread."""
    found = _find(data_dir, must_exist)
    if found is not None:
        yield found
        return
    with embedded_server(data_dir, port=port) as database:
        yield database


def _find(data_dir: Path, must_exist: bool) -> DatabaseConfig | None:
    try:
        found = running_database(data_dir)
        if must_exist and not (data_dir.exists() and data_versions(data_dir)):
            raise StoreUnavailable(
                f"{data_dir} has no data of the bundled PostgreSQL; `serve --embedded`"
                " makes it at its first start"
            )
    except OSError as exc:
        raise StoreUnavailable(
            f"the files of the bundled PostgreSQL in {data_dir} cannot be read: {exc}"
        ) from exc
    return found
