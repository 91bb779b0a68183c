"""The servers of a drill: a primary, and its standby, which takes over when it dies."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import trio
from psycopg.conninfo import make_conninfo

from greeks_trio.config.directories import make_own_directory
from greeks_trio.config.settings import DatabaseConfig, Server
from greeks_trio.postgres.connect import open_connection
from greeks_trio.postgres.embedded.accounts import server_account
from greeks_trio.postgres.embedded.binaries import ServerVersion, find_programs
from greeks_trio.postgres.embedded.cluster import (
    cluster_directory,
    hand_over,
    password_file,
)
from greeks_trio.postgres.embedded.files import write_small
from greeks_trio.postgres.embedded.process import STOP_LIMIT_S
from greeks_trio.postgres.embedded.restarts import (
    RestartableServer,
    open_restartable_server,
)

_VERSION: Final[ServerVersion] = 18
_NAME: Final = "standby"
# Of both servers.
_CLOSE_LIMIT_S: Final = 2 * STOP_LIMIT_S
# The data of a drill is thrown away, and only this machine reaches the server.
_MAY_FOLLOW: Final = "host  replication  all  127.0.0.1/32  trust\n"
_FOLLOWS: Final = """
do $wait$
begin
    for attempt in 1 .. 300 loop
        if exists (select from pg_stat_replication where state = 'streaming') then
            return;
        end if;
        perform pg_sleep(0.1);
        perform pg_stat_clear_snapshot();
    end loop;
    raise exception 'the standby does not follow';
end $wait$
"""


class ServerPlace:
    """A data directory with a server, whose port stays the same.

    Attributes:
        server: The server, once it was opened.
    """

    def __init__(self, directory: Path, settings: Mapping[str, str]) -> None:
        self.directory = directory
        self.server: RestartableServer | None = None
        self._settings = settings
        self._stack = AsyncExitStack()
        self._port = 0

    @property
    def address(self) -> Server:
        """Host and port for clients."""
        return Server("127.0.0.1", self._port)

    async def open(self, primary: DatabaseConfig | None = None) -> RestartableServer:
        """Start a server in an empty directory: a new one, or a standby of the primary.

        Raises:
            StoreUnavailable: it did not start, or the primary could not be copied.
        """
        if primary is not None:
            await trio.to_thread.run_sync(_copy, primary, self.directory)
        server = await self._stack.enter_async_context(
            open_restartable_server(
                self.directory, port=self._port, settings=self._settings
            )
        )
        self.server, self._port = server, server.config.server.port
        return server

    async def clear(self) -> None:
        """Stop the server, if there is one, and remove its data."""
        stack, self._stack = self._stack, AsyncExitStack()
        await stack.aclose()
        self.server = None
        remove = partial(shutil.rmtree, self.directory, ignore_errors=True)
        await trio.to_thread.run_sync(remove)

    async def close(self) -> None:
        """Stop the server, if there is one."""
        await self._stack.aclose()


class Servers:
    """A primary, and a standby if the drill has one.

    Attributes:
        places: The place of the first primary, and that of the first standby.
    """

    def __init__(self, places: tuple[ServerPlace, ...]) -> None:
        self.places = places
        self._primary = 0

    @property
    def number(self) -> int:
        """The place of the primary."""
        return self._primary

    @property
    def primary(self) -> RestartableServer:
        """The server that accepts rows."""
        server = self.places[self._primary].server
        assert server is not None  # noqa: S101
        return server

    @property
    def standby(self) -> RestartableServer:
        """The other server; only after `follow`."""
        server = self.places[1 - self._primary].server
        assert server is not None  # noqa: S101
        return server

    async def follow(self, *, is_synchronous: bool) -> None:
        """Let the standby follow the primary; make it anew after a failover.

        Raises:
            StoreUnavailable: the standby does not follow.
        """
        place = self.places[1 - self._primary]
        if place.server is None:
            await _allow_followers(self.primary.config, self.places[self._primary])
            await place.open(self.primary.config)
        names = _NAME if is_synchronous else ""
        async with open_connection(self.primary.config, autocommit=True) as connection:
            await connection.execute(_FOLLOWS)
            await connection.execute(
                f"alter system set synchronous_standby_names = '{names}'"
            )
            await connection.execute("select pg_reload_conf()")

    async def fail_over(self) -> None:
        """Promote the standby; the old primary is gone, with its data.

        Raises:
            StoreUnavailable: the standby did not become the primary.
        """
        await self.standby.promote()
        old, self._primary = self._primary, 1 - self._primary
        await self.places[old].clear()


@asynccontextmanager
async def open_servers(
    directory: Path, *, settings: Mapping[str, str] | None = None
) -> AsyncIterator[Servers]:
    """Run a primary until the end of the block; `Servers.follow` starts the standby.

    Raises:
        StoreUnavailable: the primary did not start.
    """
    places = tuple(
        ServerPlace(directory / name, settings or {}) for name in ("first", "second")
    )
    await trio.Path(directory).mkdir(parents=True, exist_ok=True)
    try:
        await places[0].open()
        yield Servers(places)
    finally:
        with trio.move_on_after(_CLOSE_LIMIT_S, shield=True):
            for place in reversed(places):
                await place.close()


async def _allow_followers(primary: DatabaseConfig, place: ServerPlace) -> None:
    path = trio.Path(cluster_directory(place.directory, _VERSION) / "pg_hba.conf")
    text = await path.read_text()
    if _MAY_FOLLOW not in text:
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
