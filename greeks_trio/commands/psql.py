"""``psql``: a shell on the database that ``serve`` would use; ``dsn``: its address."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from greeks_trio.commands.outcome import OK
from greeks_trio.commands.target import home_data_dir
from greeks_trio.config.settings import Config, DatabaseConfig, Secret
from greeks_trio.errors import StoreUnavailable
from greeks_trio.postgres.embedded.address import find_server, server_config
from greeks_trio.postgres.embedded.attach import embedded_database
from greeks_trio.postgres.embedded.clients import run_client
from greeks_trio.postgres.embedded.cluster import (
    cluster_directory,
    pass_file,
    password_file,
)
from greeks_trio.postgres.embedded.files import read_small
from greeks_trio.postgres.embedded.server import last_port
from greeks_trio.postgres.uri import database_uri


def run_psql(
    config: Config, data_dir: Path | None, arguments: Sequence[str], *, embedded: bool
) -> int:
    """Run ``psql`` and return its exit status.

    Raises:
        StoreUnavailable: there is no ``psql``, or the bundled server does not start.
        ConfigError: the directory of the data is not safe.
    """
    with _open_database(config, data_dir, embedded=embedded) as database:
        return run_client("psql", database, arguments)


@contextmanager
def _open_database(
    config: Config, data_dir: Path | None, *, embedded: bool
) -> Iterator[DatabaseConfig]:
    if not embedded:
        yield config.database
        return
    with embedded_database(
        data_dir or home_data_dir(), port=config.embedded_port, must_exist=True
    ) as database:
        yield database


def print_dsn(
    config: Config, data_dir: Path | None, *, embedded: bool, with_password: bool
) -> int:
    """Print the URI of the database and return `OK`.

    Raises:
        StoreUnavailable: the bundled server has no data, or its port is not known yet.
        ConfigError: the directory of the data is not safe.
    """
    if not embedded:
        click.echo(database_uri(config.database, with_password=with_password))
        return OK
    data_dir = (data_dir or home_data_dir()).absolute()
    server = find_server(data_dir)
    cluster = cluster_directory(data_dir, 18)
    password = read_small(password_file(cluster))
    port = server.port if server else config.embedded_port or last_port(cluster)
    if not password or not port:
        raise StoreUnavailable(
            f"{data_dir} has no data of the bundled PostgreSQL; `serve --embedded` or `db"
            " start` makes it at its first start"
        )
    if server is None:
        click.echo(
            "The bundled PostgreSQL is not running; start it: db start", err=True
        )
    passfile = "" if with_password else str(pass_file(cluster))
    database = server_config(port, Secret(password))
    click.echo(database_uri(database, with_password=with_password, passfile=passfile))
    return OK
