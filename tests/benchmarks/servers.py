"""The PostgreSQL under a benchmark."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.postgres.embedded.server import embedded_server
from tests.fix_postgres import _server, connect, fresh_database


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `open_database`."""
    parser.epilog = (
        "It starts the bundled server, durable as in production.  A URL in"
        " TEST_DATABASE_URL names another one."
    )


@contextmanager
def open_database(options: argparse.Namespace) -> Iterator[DatabaseConfig]:
    """Yield an empty database on the server of the options."""
    url = os.environ.get("TEST_DATABASE_URL", "")
    with ExitStack() as stack:
        server = _server(url) if url else embedded_server(is_superuser=True)
        yield stack.enter_context(fresh_database(stack.enter_context(server)))


def describe_server(config: DatabaseConfig) -> dict[str, str]:
    """Return the facts of the server for a report."""
    with connect(config) as connection:
        [(version,)] = connection.execute("show server_version").fetchall()
    return {"PostgreSQL": str(version)}
