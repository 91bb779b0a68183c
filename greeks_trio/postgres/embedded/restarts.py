"""An embedded server that the drill can kill, freeze, stop and start again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.postgres.embedded.binaries import ServerVersion
from greeks_trio.postgres.embedded.process import STOP_LIMIT_S
from greeks_trio.postgres.embedded.server import EmbeddedServer, start_server


class RestartableServer:
    """A server that can be stopped and started; made by `open_restartable_server`.

    Every call except `thaw` takes a moment and must end before the next call.

    Attributes:
        config: The way to connect to it.  The port stays the same unless another
            process takes it while the server is down.
    """

    def __init__(self, server: EmbeddedServer) -> None:
        self._server = server
        self.config = DatabaseConfig()

    async def start(self) -> None:
        """Start it, and return when it accepts connections.

        Raises:
            StoreUnavailable: it did not start; with the end of its log.
        """
        await start_server(self._server)
        self.config = await trio.to_thread.run_sync(self._server.make_database)

    async def stop(self) -> None:
        """Shut it down cleanly."""
        with trio.move_on_after(STOP_LIMIT_S + 5, shield=True):
            await trio.to_thread.run_sync(self._server.stop)

    async def kill(self) -> None:
        """End all its processes with SIGKILL, and return when they have gone."""
        with trio.move_on_after(STOP_LIMIT_S, shield=True):
            await trio.to_thread.run_sync(self._server.kill)

    async def promote(self) -> None:
        """Make a standby the primary; see `greeks_trio.drill.standby`.

        Raises:
            StoreUnavailable: it did not become one.
        """
        await trio.to_thread.run_sync(self._server.promote)

    async def freeze(self) -> None:
        """Suspend all its processes (SIGSTOP)."""
        await trio.to_thread.run_sync(self._server.freeze)

    def thaw(self) -> None:
        """Let all its processes continue (SIGCONT); harmless when none is suspended."""
        self._server.thaw()


@asynccontextmanager
async def open_restartable_server(
    data_dir: Path,
    *,
    port: int = 0,
    version: ServerVersion = 18,
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[RestartableServer]:
    """Run a server as `open_embedded_server` does, and yield its controls.

    Its role is a superuser, because a drill makes roles and limits of its own.

    Raises:
        StoreUnavailable: the server did not start, or another process uses the
            directory.
    """
    server = EmbeddedServer(
        data_dir, version, settings or {}, port=port, is_superuser=True
    )
    restartable = RestartableServer(server)
    try:
        await trio.to_thread.run_sync(server.prepare)
        await restartable.start()
        yield restartable
    finally:
        server.thaw()
        with trio.move_on_after(STOP_LIMIT_S + 5, shield=True):
            await trio.to_thread.run_sync(server.close)
