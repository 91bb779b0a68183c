"""A bundled server that outlives the command that starts it (``db start``).

It can be queried while no service runs.  A service with ``--embedded`` uses it and leaves
it running.  `stop_server` ends it.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil

from greeks_trio.config.directories import make_own_directory
from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.errors import StoreUnavailable
from greeks_trio.postgres.embedded.address import find_server
from greeks_trio.postgres.embedded.cluster import (
    Cluster,
    lock_data,
    open_cluster,
)
from greeks_trio.postgres.embedded.files import read_small
from greeks_trio.postgres.embedded.running import DETACHED, RunningServer
from greeks_trio.postgres.embedded.server import (
    SETTINGS,
    EmbeddedServer,
    choose_port,
    is_port_taken,
    port_taken,
)

_LOG: Final = "start.log"
_LAST_LINES: Final = 20
_STARTS: Final = "starting PostgreSQL"
# A shutdown writes all changed pages first.
_STOP_LIMIT_S: Final = 60.0
# A week of logs at most: each day of the week overwrites its log of a week ago.
_LOGGING: Final = {
    "logging_collector": "on",
    "log_directory": "log",
    "log_filename": "postgresql-%a.log",
    "log_truncate_on_rotation": "on",
    "log_rotation_age": "1d",
    "log_rotation_size": "0",
}


def start_detached(
    data_dir: Path, *, port: int = 0, settings: Mapping[str, str] | None = None
) -> tuple[DatabaseConfig, bool]:
    """Start a server that stays, unless one runs already.

    Returns:
        The way to connect to it, and whether it was started now.

    Raises:
        StoreUnavailable: it does not start, or a service uses the directory.
        ConfigError: another user owns or may write the directory.
        OSError: a file cannot be read or written.
    """
    make_own_directory(data_dir, setting="--data-dir")
    with open_cluster(data_dir.resolve(), 18) as cluster:
        is_new = cluster.running is None
        if is_new:
            port = choose_port(port, cluster.directory)
            _start(cluster, {**SETTINGS, **_LOGGING, **(settings or {})}, port)
    # The server that runs now is found and used, and its database is made.
    server = EmbeddedServer(data_dir, 18, {})
    try:
        server.prepare()
        return server.make_database(), is_new
    finally:
        server.close()


def _start(cluster: Cluster, settings: Mapping[str, str], port: int) -> None:
    if is_port_taken(port):
        raise StoreUnavailable(port_taken(port))
    options = [f"--{name}={value}" for name, value in settings.items()]
    log = cluster.directory / _LOG
    with suppress(FileNotFoundError):
        log.unlink()
    try:
        cluster.runner.run(
            *("pg_ctl", "start", f"--pgdata={cluster.server_path}", "--wait"),
            f"--log={cluster.server_path}/{_LOG}",
            f"--options={' '.join([*options, f'--port={port}', DETACHED])}",
        )
    except StoreUnavailable as exc:
        said = _said(cluster)
        if "could not bind" in said:
            raise StoreUnavailable(port_taken(port)) from exc
        last = "\n".join(said.splitlines()[-_LAST_LINES:])
        raise StoreUnavailable(
            f"the bundled PostgreSQL does not start; its log ends with:\n{last}"
        ) from exc


def _said(cluster: Cluster) -> str:
    """Return the log of the start; its end is in the log of the day."""
    day = time.strftime(_LOGGING["log_filename"], time.gmtime())
    start = read_small(cluster.directory / _LOG) or ""
    end = read_small(cluster.directory / _LOGGING["log_directory"] / day, at_end=True)
    # Earlier starts of the day are in it, too.
    return start + (end or "").rpartition(_STARTS)[2]


def stop_server(data_dir: Path) -> RunningServer | None:
    """Shut down the server of ``db start``, and return it; `None` if none runs.

    Raises:
        StoreUnavailable: a service uses the directory, or the server does not end.
        ConfigError: another user owns or may write the directory.
        OSError: a file cannot be read.
    """
    if not data_dir.exists() or find_server(data_dir) is None:
        return None
    with lock_data(data_dir):
        server = find_server(data_dir)
        if server is None:
            return None
        process = psutil.Process(server.pid)
        family = [process, *process.children(recursive=True)]
        with suppress(ProcessLookupError):
            os.kill(server.pid, signal.SIGINT)
        _, left = psutil.wait_procs(family, _STOP_LIMIT_S)
        if left:
            raise StoreUnavailable(
                f"the bundled PostgreSQL (process {server.pid}) does not end within"
                f" {_STOP_LIMIT_S:.0f} s"
            )
        return server


def data_bytes(data_dir: Path) -> int:
    """Return the size of all clusters of the data directory."""
    total = 0
    for directory, _, files in os.walk(data_dir):
        for name in files:
            with suppress(FileNotFoundError):
                total += os.lstat(os.path.join(directory, name)).st_blocks * 512
    return total
