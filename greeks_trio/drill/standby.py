"""A standby of an embedded server, for drills: a copy that follows the first server."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import trio
from psycopg.conninfo import make_conninfo

from greeks_trio.config.directories import make_own_directory
from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.postgres.connect import open_connection
from greeks_trio.postgres.embedded.accounts import server_account
from greeks_trio.postgres.embedded.binaries import ServerVersion, find_programs
from greeks_trio.postgres.embedded.cluster import (
    cluster_directory,
    hand_over,
    password_file,
)
from greeks_trio.postgres.embedded.files import write_small
from greeks_trio.postgres.embedded.restarts import (
    RestartableServer,
    open_restartable_server,
)

_VERSION: Final[ServerVersion] = 18
_NAME: Final = "standby"
# The data of a drill is thrown away, and only this machine reaches the server.
_MAY_FOLLOW: Final = "host  replication  all  127.0.0.1/32  trust\n"


@asynccontextmanager
async def open_standby(
    primary: RestartableServer,
    primary_dir: Path,
    standby_dir: Path,
    *,
    port: int = 0,
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[RestartableServer]:
    """Copy the primary, and run the copy as its standby until the end of the block.

    Args:
        primary: A server that runs.
        primary_dir: Its data directory.
        standby_dir: The data directory of the standby.
        port: The port of the standby; 0 takes any.
        settings: Settings of PostgreSQL for the standby.

    Raises:
        StoreUnavailable: the copy failed, or the standby did not start.
    """
    await _allow_followers(primary.config, primary_dir)
    await trio.to_thread.run_sync(_copy, primary.config, standby_dir)
    async with open_restartable_server(
        standby_dir, port=port, settings=settings
    ) as standby:
        yield standby


async def wait_for_standby(primary: DatabaseConfig, *, is_synchronous: bool) -> None:
    """Let the primary wait at each commit for the standby, or not.

    Raises:
        StoreUnavailable: the primary does not answer.
    """
    names = _NAME if is_synchronous else ""
    async with open_connection(primary, autocommit=True) as connection:
        await connection.execute(
            f"alter system set synchronous_standby_names = '{names}'"
        )
        await connection.execute("select pg_reload_conf()")


async def _allow_followers(primary: DatabaseConfig, primary_dir: Path) -> None:
    path = trio.Path(cluster_directory(primary_dir, _VERSION) / "pg_hba.conf")
    text = await path.read_text()
    if _MAY_FOLLOW in text:
        return
    await path.write_text(text + _MAY_FOLLOW)
    async with open_connection(primary, autocommit=True) as connection:
        await connection.execute("select pg_reload_conf()")


def _copy(primary: DatabaseConfig, standby_dir: Path) -> None:
    """Copy the cluster under another name first: its own name means that it is whole."""
    make_own_directory(standby_dir)
    directory = cluster_directory(standby_dir, _VERSION)
    account = server_account(directory)
    programs = find_programs(_VERSION, account)
    fresh = Path(tempfile.mkdtemp(prefix=f"{directory.name}.", dir=standby_dir))
    if account is not None:
        os.chown(fresh, account.uid, account.gid)
    source = make_conninfo(
        host=primary.server.host,
        port=primary.server.port,
        user=primary.user,
        application_name=_NAME,
        sslmode="disable",
    )
    with hand_over(fresh, programs, account) as cluster:
        cluster.runner.run(
            "pg_basebackup",
            f"--pgdata={cluster.server_path}",
            f"--dbname={source}",
            "--write-recovery-conf",
            "--checkpoint=fast",
            "--no-sync",
            needs_name=True,
        )
    fresh.rename(directory)
    write_small(password_file(directory), primary.password.reveal())
