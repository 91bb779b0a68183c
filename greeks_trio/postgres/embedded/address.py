"""The way to connect to a bundled server, and its database."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import psycopg
from psycopg import sql

from greeks_trio.config.directories import refuse_foreign_directory
from greeks_trio.config.settings import DatabaseConfig, Secret
from greeks_trio.errors import StoreUnavailable
from greeks_trio.postgres.embedded.accounts import server_account
from greeks_trio.postgres.embedded.binaries import ServerVersion
from greeks_trio.postgres.embedded.cluster import cluster_directory, password_file
from greeks_trio.postgres.embedded.files import read_small
from greeks_trio.postgres.embedded.roles import DATABASE, USER
from greeks_trio.postgres.embedded.running import RunningServer, find_running

_CONNECT_LIMIT_S: Final = 10


def server_config(port: int, password: Secret) -> DatabaseConfig:
    """Return the way to connect to a server of this machine.

    The password is proven by SCRAM in both directions, so a stranger on the port neither
    learns it nor passes for the server.
    """
    return DatabaseConfig(
        hosts=("127.0.0.1",),
        ports=(port,),
        user=USER,
        password=password,
        dbname=DATABASE,
        sslmode="disable",
        require_auth="scram-sha-256",
    )


def find_server(data_dir: Path, version: ServerVersion = 18) -> RunningServer | None:
    """Return the server of the data directory, `None` if none runs.

    Raises:
        ConfigError: another user owns or may write the directory.
        OSError: a file cannot be read.
    """
    refuse_foreign_directory(data_dir, setting="--data-dir")
    directory = cluster_directory(data_dir, version)
    if not directory.exists():
        return None
    return find_running(directory, server_account(directory))


def running_database(
    data_dir: Path, version: ServerVersion = 18
) -> DatabaseConfig | None:
    """Return the way to connect to the server of the data directory.

    `None` means that no server accepts connections.

    Raises:
        ConfigError: another user owns or may write the directory.
        OSError: a file cannot be read.
    """
    server = find_server(data_dir, version)
    password = read_small(password_file(cluster_directory(data_dir, version)))
    if server is None or not server.is_ready or not password:
        return None
    return server_config(server.port, Secret(password))


def make_database(config: DatabaseConfig) -> str:
    """Create the database if it is missing, and return the version of the server.

    Raises:
        StoreUnavailable: the server refuses, or it is not ours.
    """
    try:
        with psycopg.connect(
            host=config.server.host,
            port=config.server.port,
            user=config.user,
            password=config.password.reveal(),
            dbname="postgres",
            sslmode=config.sslmode,
            require_auth=config.require_auth,
            connect_timeout=_CONNECT_LIMIT_S,
            autocommit=True,
        ) as connection:
            found = connection.execute(
                "select from pg_database where datname = %s", [config.dbname]
            )
            if found.rowcount == 0:
                name = sql.Identifier(config.dbname)
                connection.execute(sql.SQL("create database {}").format(name))
            return connection.info.parameter_status("server_version") or ""
    except psycopg.Error as exc:
        raise StoreUnavailable(
            f"the bundled PostgreSQL refuses its database: {exc}",
            sqlstate=exc.sqlstate,
        ) from exc
