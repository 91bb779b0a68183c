"""The embedded PostgreSQL: for the demo, ``--embedded`` and the tests.

The server listens on loopback only, on a free port, and asks for the password.  It ends
with `open_embedded_server`, and also when this process is killed.  The next start removes
the leftovers of a kill.
"""

from __future__ import annotations

import shutil
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import psycopg
import trio
from psycopg import sql

from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.errors import StoreUnavailable
from greeks_trio.postgres.embedded.binaries import ServerVersion
from greeks_trio.postgres.embedded.cluster import (
    USER,
    Cluster,
    end_orphan,
    open_cluster,
)
from greeks_trio.postgres.embedded.process import (
    READY_LIMIT_S,
    STOP_LIMIT_S,
    PortTaken,
    ServerProcess,
)

DATABASE: Final = "portfolio_engine"
# Another attempt is needed only when another process takes the port within milliseconds.
_PORT_ATTEMPTS: Final = 5
_SETTINGS: Final = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
}


@asynccontextmanager
async def open_embedded_server(
    data_dir: Path | None = None,
    *,
    version: ServerVersion = 18,
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[DatabaseConfig]:
    """Run a server for as long as the block lasts; only in the main thread.

    Args:
        data_dir: The directory that keeps the data; made if it is missing.  `None`
            takes a temporary directory and removes it at the end.
        version: The version of PostgreSQL; each has a cluster of its own.
        settings: Settings of PostgreSQL, such as ``{"fsync": "off"}``.

    Raises:
        StoreUnavailable: the server did not start, or another process uses the
            directory; the message contains the end of the server's log.
    """
    server = EmbeddedServer(data_dir, version, settings or {})
    try:
        await trio.to_thread.run_sync(server.prepare)
        await start_server(server)
        yield await trio.to_thread.run_sync(server.make_database)
    finally:
        with trio.move_on_after(STOP_LIMIT_S + 5, shield=True):
            await trio.to_thread.run_sync(server.close)


async def start_server(
    server: EmbeddedServer, *, limit_s: float | None = READY_LIMIT_S
) -> None:
    """Start the server and return when it accepts connections; in the main thread.

    It waits at most ``limit_s`` seconds; `None` means without a limit.  The caller stops
    the server in the end, also after an exception.

    Raises:
        StoreUnavailable: it did not start; with the end of its log.
        OSError: the system cannot start another process.
    """
    while not server.is_ready:
        server.spawn()
        # The thread ends with the server.
        await trio.to_thread.run_sync(
            server.wait_ready, limit_s, abandon_on_cancel=True
        )


@contextmanager
def embedded_server(
    data_dir: Path | None = None,
    *,
    version: ServerVersion = 18,
    settings: Mapping[str, str] | None = None,
) -> Iterator[DatabaseConfig]:
    """Do as `open_embedded_server` without an event loop."""
    server = EmbeddedServer(data_dir, version, settings or {})
    try:
        server.prepare()
        while not server.is_ready:
            server.spawn()
            server.wait_ready()
        yield server.make_database()
    finally:
        server.close()


class EmbeddedServer:
    """One cluster and its server.  All steps except `spawn` block.

    Attributes:
        is_ready: Whether the server was started and not stopped since.
        keeps_port: Whether to wait for the same port when another process has taken it,
            because clients know the port; otherwise another port is chosen.
    """

    def __init__(
        self,
        data_dir: Path | None,
        version: ServerVersion,
        settings: Mapping[str, str],
    ) -> None:
        self.is_ready = False
        self.keeps_port = False
        self._data_dir = data_dir
        self._version: ServerVersion = version
        self._settings = settings
        self._held = ExitStack()
        self._attempts = 0
        self._port = 0
        self._directory = Path()
        self._cluster: Cluster
        self._process: ServerProcess | None = None

    def prepare(self) -> None:
        """Lock the directory, end the server of a killed process, make the cluster."""
        try:
            self._directory = self._make_directory()
            durable = self._settings.get("fsync") != "off"
            self._cluster = self._held.enter_context(
                open_cluster(self._directory, self._version, durable=durable)
            )
        except OSError as exc:
            raise StoreUnavailable(
                f"the embedded PostgreSQL cannot use its directory (--data-dir): {exc}"
            ) from exc

    def spawn(self) -> None:
        """Start the server on a free port, or on its last one; in the main thread."""
        self._attempts += 1
        self._port = self._port or _free_port()
        settings = {**_SETTINGS, **self._settings, "port": str(self._port)}
        options = [f"--{name}={value}" for name, value in settings.items()]
        self._process = ServerProcess(
            self._cluster.runner,
            ["-D", self._cluster.server_path, *options],
            self._directory / "postgres.log",
        )

    def wait_ready(self, limit_s: float | None = READY_LIMIT_S) -> None:
        """Wait for the server; afterwards `is_ready`, or another `spawn` is due."""
        assert self._process is not None  # noqa: S101
        try:
            self._process.wait_ready(limit_s)
        except PortTaken:
            self._process.stop()
            if self.keeps_port:
                raise
            self._port = 0
            if self._attempts == _PORT_ATTEMPTS:
                raise
        else:
            self._attempts = 0
            self.is_ready = True

    def make_database(self) -> DatabaseConfig:
        """Create the database if it is missing, and return the way to connect to it."""
        config = DatabaseConfig(
            host="127.0.0.1",
            port=self._port,
            user=USER,
            password=self._cluster.password(),
            dbname=DATABASE,
            sslmode="disable",
        )
        try:
            _make_database(config)
        except psycopg.Error as exc:
            raise StoreUnavailable(
                f"the embedded PostgreSQL refuses its database: {exc}",
                sqlstate=exc.sqlstate,
            ) from exc
        return config

    def stop(self) -> None:
        """Shut the server down, if there is one; another `spawn` starts it again."""
        self.is_ready = False
        if self._process is not None:
            self._process.stop()
            self._process = None

    def wait_ended(self) -> int:
        """Wait without a limit until the server has ended.

        Returns its exit status, or minus the number of the signal that killed it.
        """
        assert self._process is not None  # noqa: S101
        return self._process.wait_ended()

    def clear_dead_server(self) -> None:
        """Remove the leftovers of a server that ended without `stop`.

        It waits for the server's processes as long as `stop` does.
        """
        process = self._process
        self.stop()
        if process is not None and not process.has_left_some:
            end_orphan(self._cluster)

    def kill(self) -> None:
        """Kill every process of the server (SIGKILL)."""
        self.is_ready = False
        if self._process is not None:
            self._process.kill()
            self._process = None

    def freeze(self) -> None:
        """Suspend every process of the server, if there is one."""
        if self._process is not None:
            self._process.signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let every process of the server continue, if there is one."""
        if self._process is not None:
            self._process.signal_all(signal.SIGCONT)

    def close(self) -> None:
        """Stop the server, if there is one, and unlock the directory."""
        with self._held:
            self.stop()

    def _make_directory(self) -> Path:
        if self._data_dir is not None:
            self._data_dir.mkdir(parents=True, exist_ok=True)
            return self._data_dir.resolve()
        directory = Path(tempfile.mkdtemp(prefix="greeks-trio-"))
        self._held.callback(shutil.rmtree, directory, ignore_errors=True)
        # The server may run as another user than root; the cluster itself stays private.
        directory.chmod(0o711)
        return directory


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _make_database(config: DatabaseConfig) -> None:
    with psycopg.connect(
        host=config.host,
        port=config.port,
        user=config.user,
        password=config.password.reveal(),
        dbname="postgres",
        sslmode=config.sslmode,
        connect_timeout=10,
        autocommit=True,
    ) as connection:
        found = connection.execute(
            "select from pg_database where datname = %s", [config.dbname]
        )
        if found.rowcount == 0:
            name = sql.Identifier(config.dbname)
            connection.execute(sql.SQL("create database {}").format(name))
