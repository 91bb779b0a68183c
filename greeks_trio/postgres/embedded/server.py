"""The embedded PostgreSQL: for the demo, ``--embedded`` and the tests.

The server listens on loopback only and asks for the password.  It ends with
`open_embedded_server`, and also when this process is killed.  The next start removes the
leftovers of a kill.  A server that ``db start`` has started is used and left running.
"""

from __future__ import annotations

import logging
import shutil
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import trio

from greeks_trio.config.directories import make_own_directory
from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.errors import StoreUnavailable
from greeks_trio.postgres.embedded.address import make_database, server_config
from greeks_trio.postgres.embedded.binaries import ServerVersion
from greeks_trio.postgres.embedded.cluster import (
    Cluster,
    end_orphan,
    open_cluster,
    pass_file,
    port_file,
    version_file,
)
from greeks_trio.postgres.embedded.files import read_small, write_small
from greeks_trio.postgres.embedded.passfile import write_passfile
from greeks_trio.postgres.embedded.process import (
    READY_LIMIT_S,
    STOP_LIMIT_S,
    AttachedServer,
    PortTaken,
    ServerProcess,
)

logger = logging.getLogger(__name__)

# Another attempt is needed only when another process takes the port within milliseconds.
_PORT_ATTEMPTS: Final = 5
SETTINGS: Final = {
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
    port: int = 0,
    version: ServerVersion = 18,
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[DatabaseConfig]:
    """Run a server for as long as the block lasts; only in the main thread.

    Args:
        data_dir: The directory that keeps the data; made if it is missing.  `None`
            takes a temporary directory and removes it at the end.
        port: The TCP port.  0 takes the port of the last start if it is free, else any.
        version: The version of PostgreSQL; each has a cluster of its own.
        settings: Settings of PostgreSQL, such as ``{"fsync": "off"}``.

    Raises:
        StoreUnavailable: the server did not start, or another process uses the
            directory; the message contains the end of the server's log.
        ConfigError: another user owns or may write the directory.
    """
    server = EmbeddedServer(data_dir, version, settings or {}, port=port)
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
    port: int = 0,
    version: ServerVersion = 18,
    settings: Mapping[str, str] | None = None,
    is_superuser: bool = False,
) -> Iterator[DatabaseConfig]:
    """Do as `open_embedded_server` without an event loop.

    With ``is_superuser`` true the role of a new cluster is a superuser; for tests.
    """
    server = EmbeddedServer(
        data_dir, version, settings or {}, port=port, is_superuser=is_superuser
    )
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
        *,
        port: int = 0,
        is_superuser: bool = False,
    ) -> None:
        self.is_ready = False
        self.keeps_port = port != 0
        self._data_dir = data_dir
        self._version: ServerVersion = version
        self._settings = settings
        self._held = ExitStack()
        self._attempts = 0
        self._port = port
        self._is_superuser = is_superuser
        self._directory = Path()
        self._cluster: Cluster
        self._process: ServerProcess | AttachedServer | None = None

    def prepare(self) -> None:
        """Lock the directory, end the server of a killed process, make the cluster.

        It is ready already if ``db start`` has started a server on the cluster.

        Raises:
            StoreUnavailable: the directory cannot be used.
            ConfigError: another user owns or may write the directory.
        """
        try:
            self._directory = self._make_directory()
            durable = self._settings.get("fsync") != "off"
            self._cluster = self._held.enter_context(
                open_cluster(
                    self._directory,
                    self._version,
                    durable=durable,
                    is_superuser=self._is_superuser,
                )
            )
            if self._cluster.running is not None:
                self._process = AttachedServer(self._cluster.running.pid)
                self._port = self._cluster.running.port
                self.is_ready = True
            elif self._data_dir is not None:
                self._port = self._port or last_port(self._cluster.directory)
        except OSError as exc:
            raise StoreUnavailable(
                f"the embedded PostgreSQL cannot use its directory (--data-dir): {exc}"
            ) from exc

    def spawn(self) -> None:
        """Start the server on a free port, or on its last one; in the main thread."""
        self._attempts += 1
        self._port = self._port or _free_port()
        settings = {**SETTINGS, **self._settings, "port": str(self._port)}
        options = [f"--{name}={value}" for name, value in settings.items()]
        self._process = ServerProcess(
            self._cluster.runner,
            ["-D", self._cluster.server_path, *options],
            self._directory / "postgres.log",
        )

    def wait_ready(self, limit_s: float | None = READY_LIMIT_S) -> None:
        """Wait for the server; afterwards `is_ready`, or another `spawn` is due."""
        assert isinstance(self._process, ServerProcess)  # noqa: S101
        try:
            self._process.wait_ready(limit_s)
        except PortTaken as exc:
            self._process.stop()
            if self.keeps_port:
                raise PortTaken(port_taken(self._port)) from exc
            self._port = 0
            if self._attempts == _PORT_ATTEMPTS:
                raise
        else:
            self._attempts = 0
            self.is_ready = True

    def make_database(self) -> DatabaseConfig:
        """Create the database if it is missing, and return the way to connect to it."""
        config = server_config(self._port, self._cluster.password())
        version = make_database(config)
        if self._data_dir is not None:
            cluster = self._cluster.directory
            _note_version(version_file(cluster), version)
            if self._port != last_port(cluster):
                write_small(port_file(cluster), f"{self._port}\n")
            write_passfile(config, pass_file(cluster))
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

    def promote(self) -> None:
        """Make a standby the primary, and return when it accepts rows.

        Raises:
            StoreUnavailable: it did not become one.
        """
        path = f"--pgdata={self._cluster.server_path}"
        self._cluster.runner.run("pg_ctl", "promote", path, "--wait")

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
            make_own_directory(self._data_dir, setting="--data-dir")
            return self._data_dir.resolve()
        directory = Path(tempfile.mkdtemp(prefix="greeks-trio-"))
        self._held.callback(shutil.rmtree, directory, ignore_errors=True)
        # The server may run as another user than root; the cluster itself stays private.
        directory.chmod(0o711)
        return directory


def _note_version(file: Path, version: str) -> None:
    """Log a change of the minor version since the last start; the data stays as it is."""
    before = (read_small(file) or "").strip()
    if before != version:
        write_small(file, f"{version}\n")
        if before:
            logger.info("embedded.version_changed from=%s to=%s", before, version)


def last_port(cluster: Path) -> int:
    """Return the port of the last start, 0 if it is not known."""
    text = (read_small(port_file(cluster)) or "").strip()
    return int(text) if text.isdecimal() and int(text) < 65_536 else 0


def choose_port(port: int, cluster: Path) -> int:
    """Return the port, or for 0 the one of the last start if it is free, else any."""
    if port:
        return port
    port = last_port(cluster)
    return _free_port() if not port or is_port_taken(port) else port


def is_port_taken(port: int) -> bool:
    """Return whether a program of this machine uses the port."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def port_taken(port: int) -> str:
    """Return the sentence for a port that another program uses."""
    return (
        f"port {port} of the bundled PostgreSQL is in use by another program: stop that"
        " one, or set GREEKS_EMBEDDED_PORT to a free port (0 means any free port)"
    )


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
