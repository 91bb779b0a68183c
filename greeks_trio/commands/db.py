"""``db``: the bundled PostgreSQL without a service."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any

import click
import psycopg

from greeks_trio.commands.outcome import FAILED, OK
from greeks_trio.commands.target import target_options
from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.errors import ConfigError, StoreUnavailable
from greeks_trio.postgres.connect import connection_arguments
from greeks_trio.postgres.embedded.address import find_server, running_database
from greeks_trio.postgres.embedded.attach import embedded_database
from greeks_trio.postgres.embedded.clients import run_client
from greeks_trio.postgres.embedded.cluster import cluster_directory, pass_file
from greeks_trio.postgres.embedded.detached import (
    data_bytes,
    start_detached,
    stop_server,
)
from greeks_trio.postgres.embedded.upgrade import PRESENT, upgrade_data
from greeks_trio.postgres.uri import database_uri
from greeks_trio.program import program_name

_MIB = 1024**2


def start(data_dir: Path, port: int) -> int:
    """Start the server so that it stays, print its address, and return `OK`.

    Raises:
        StoreUnavailable: it does not start, or a service uses the directory.
        ConfigError: the directory is not safe.
    """
    try:
        database, is_new = start_detached(data_dir, port=port)
    except OSError as exc:
        raise StoreUnavailable(f"{data_dir} cannot be used: {exc}") from exc
    click.echo("started" if is_new else "it runs already")
    click.echo(_address(database, data_dir))
    return OK


def stop(data_dir: Path) -> int:
    """Shut down the server of `start`, and return `OK`.

    Raises:
        StoreUnavailable: a service uses it, or it does not end.
        ConfigError: the directory is not safe.
    """
    server = stop_server(data_dir)
    click.echo("not running" if server is None else f"stopped process {server.pid}")
    return OK


def show_status(data_dir: Path, *, as_json: bool) -> int:
    """Print facts about the server; return `OK` if it accepts connections.

    Raises:
        ConfigError: the directory is not safe.
    """
    database = running_database(data_dir)
    server = find_server(data_dir)
    facts: dict[str, Any] = {"running": database is not None, "data_dir": str(data_dir)}
    if data_dir.exists():
        facts["data_mib"] = round(data_bytes(data_dir) / _MIB, 1)
    if server is not None:
        facts |= {
            "pid": server.pid,
            "port": server.port,
            "started_by": "db start" if server.is_detached else "a service or command",
        }
    if database is not None:
        facts |= _facts_of(database)
        facts["address"] = _address(database, data_dir)
    if as_json:
        click.echo(json.dumps(facts))
    else:
        for name, value in facts.items():
            click.echo(f"{name.replace('_', ' '):12} {_plain(value)}")
    return OK if database is not None else FAILED


def _plain(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _facts_of(database: DatabaseConfig) -> dict[str, Any]:
    with _connect(database) as connection:
        row = connection.execute(
            "select current_setting('server_version'),"
            " round(pg_database_size(current_database()) / 1048576.0, 1)::float8"
        ).fetchone()
    return {} if row is None else {"version": row[0], "database_mib": row[1]}


def _address(database: DatabaseConfig, data_dir: Path) -> str:
    passfile = pass_file(cluster_directory(data_dir.absolute(), 18))
    return database_uri(database, passfile=str(passfile))


def dump(data_dir: Path, file: Path, port: int) -> int:
    """Write the database to a file for `restore`, and return `OK`.

    The file has its name only when it is complete.

    Raises:
        StoreUnavailable: there is no data, or ``pg_dump`` failed.
        ConfigError: the file exists, or a directory is not safe.
    """
    if file.exists():
        raise ConfigError([f"{file} exists: choose another file."])
    fresh = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        # The rows are as private as the database, so the file is made for its owner.
        os.close(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        with embedded_database(data_dir, port=port, must_exist=True) as database:
            status = run_client(
                "pg_dump", database, ["--format=custom", f"--file={fresh}"]
            )
        if status != OK:
            raise StoreUnavailable("pg_dump failed; its message is above")
        fresh.rename(file)
    except OSError as exc:
        raise ConfigError([f"{file} cannot be written: {exc.strerror}."]) from exc
    finally:
        fresh.unlink(missing_ok=True)
    click.echo(f"wrote {file}, {file.stat().st_size / _MIB:.1f} MiB")
    return OK


def restore(data_dir: Path, file: Path, port: int) -> int:
    """Read a file of `dump` into an empty database, all of it or nothing; return `OK`.

    Raises:
        StoreUnavailable: the file is not whole, the database has tables, or
            ``pg_restore`` failed.
        ConfigError: a directory is not safe.
    """
    # Reads the whole file before there is an empty database, which `serve` would use.
    if (
        run_client("pg_restore", DatabaseConfig(), ["--file=/dev/null", str(file)])
        != OK
    ):
        raise StoreUnavailable(
            f"{file} is damaged or no file of db dump, see the message above; nothing has"
            f" changed in {data_dir}"
        )
    with embedded_database(data_dir, port=port) as database:
        tables = _tables(database)
        if tables:
            raise StoreUnavailable(
                f"the database in {data_dir} has {tables} tables: choose an empty"
                " --data-dir"
            )
        arguments = ("--no-owner", "--exit-on-error", "--single-transaction")
        status = run_client(
            "pg_restore",
            database,
            [*arguments, f"--dbname={database.dbname}", str(file)],
        )
        if status != OK:
            raise StoreUnavailable(
                "pg_restore failed, see its message above: the database in"
                f" {data_dir} is there and has no tables; restore into it again, or"
                " delete the directory"
            )
        here = target_options(embedded=True, data_dir=data_dir)
        click.echo(
            f"restored {_tables(database)} tables; compare them with the ticks that the"
            f" service acknowledged: {program_name()} verify{here}"
        )
    return OK


def upgrade(data_dir: Path) -> int:
    """Bring older data to the present version of PostgreSQL, and return `OK`.

    Raises:
        StoreUnavailable: it failed; the old data is untouched.
        ConfigError: the directory is not safe.
    """
    try:
        done = upgrade_data(data_dir)
    except OSError as exc:
        raise StoreUnavailable(f"{data_dir} cannot be used: {exc}") from exc
    if done is None:
        click.echo(f"nothing to upgrade: PostgreSQL {PRESENT}")
        return OK
    click.echo(
        f"PostgreSQL {done.old} -> {PRESENT}: {done.tables} tables and {done.rows} rows"
        f" are equal.  The old data stays in {done.old_directory}; delete it when the"
        " service has run for a while."
    )
    return OK


def _tables(database: DatabaseConfig) -> int:
    with _connect(database) as connection:
        row = connection.execute(
            "select count(*) from pg_class join pg_namespace on pg_namespace.oid ="
            " relnamespace where relkind in ('r', 'p', 'v', 'm')"
            " and nspname !~ '^pg_' and nspname <> 'information_schema'"
        ).fetchone()
    return 0 if row is None else int(row[0])


def _connect(database: DatabaseConfig) -> psycopg.Connection[Any]:
    try:
        return psycopg.connect(**connection_arguments(database), autocommit=True)
    except psycopg.Error as exc:
        raise StoreUnavailable(str(exc), sqlstate=exc.sqlstate) from exc
