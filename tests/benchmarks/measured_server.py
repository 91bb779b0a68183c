"""The PostgreSQL of a benchmark: the bundled one, or one from a directory of programs."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import psycopg

from greeks_trio.config.secret import Secret
from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.postgres.embedded.server import embedded_server

# The time of a commit is measured with it; PostgreSQL writes 10 bytes a transaction more.
SETTINGS = {"track_commit_timestamp": "on"}
_ROLE = "portfolio"
_PASSWORD = "benchmark"
_START_LIMIT_S = 60.0


@dataclass(frozen=True)
class Server:
    """A running server; ``config`` is a superuser's.

    Attributes:
        pid: The postmaster.
    """

    config: DatabaseConfig
    version: str
    pid: int

    def cpu_s(self) -> float:
        """Return the CPU time of all its processes, those that have ended too."""
        postmaster = psutil.Process(self.pid)
        own = postmaster.cpu_times()
        total = own.user + own.system + own.children_user + own.children_system
        for child in postmaster.children(recursive=True):
            try:
                times = child.cpu_times()
            except psutil.NoSuchProcess:
                continue  # it is counted in the postmaster's children next time
            total += times.user + times.system
        return total

    def connect(self, dbname: str | None = None) -> psycopg.Connection:
        """Return a connection in autocommit."""
        config = self.config
        return psycopg.connect(
            host=config.host,
            port=config.port,
            user=config.user,
            password=config.password.reveal(),
            dbname=dbname or config.dbname,
            autocommit=True,
        )

    @contextmanager
    def fresh_database(self, name: str) -> Iterator[DatabaseConfig]:
        """Make an empty database for the length of the block."""
        with self.connect() as connection:
            connection.execute(f'create database "{name}"')
        try:
            yield replace(self.config, dbname=name)
        finally:
            with self.connect() as connection:
                connection.execute(f'drop database "{name}" with (force)')


@contextmanager
def open_server(programs: Path | None = None) -> Iterator[Server]:
    """Run a server with new data: the bundled one, or ``programs/postgres``."""
    if programs is None:
        with embedded_server(settings=SETTINGS, is_superuser=True) as config:
            yield _server(config)
    else:
        with _foreign_server(programs) as config:
            yield _server(config)


def _server(config: DatabaseConfig) -> Server:
    server = Server(config, "", 0)
    with server.connect() as connection:
        [(version, backend)] = connection.execute(
            "select current_setting('server_version'), pg_backend_pid()"
        )
        return Server(config, version, psutil.Process(backend).ppid())


@contextmanager
def _foreign_server(programs: Path) -> Iterator[DatabaseConfig]:
    directory = Path(tempfile.mkdtemp(prefix="greeks-benchmark-"))
    user = _user()
    try:
        if user is not None:
            os.chown(directory, *user)
        data = directory / "data"
        password_file = directory / "password"
        password_file.write_text(_PASSWORD)
        password_file.chmod(0o644)
        _run(
            user,
            *(str(programs / "initdb"), "-D", str(data), "-U", _ROLE, "-E", "UTF8"),
            *("--auth=scram-sha-256", f"--pwfile={password_file}"),
        )
        port = _free_port()
        process = _start(user, programs, data, port, directory / "log")
        try:
            config = DatabaseConfig(
                host="127.0.0.1",
                port=port,
                user=_ROLE,
                password=Secret(_PASSWORD),
                dbname="postgres",
                sslmode="disable",
            )
            _wait_ready(process, Server(config, "", 0), directory / "log")
            yield config
        finally:
            process.terminate()
            process.wait()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _user() -> tuple[int, int] | None:
    """Return the account that runs the server; `None` for our own."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        return found.pw_uid, found.pw_gid
    raise SystemExit("PostgreSQL refuses to run as root; run this as another user.")


def _run(user: tuple[int, int] | None, *command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **_identity(user))


def _start(
    user: tuple[int, int] | None, programs: Path, data: Path, port: int, log: Path
) -> subprocess.Popen:
    settings = {
        **SETTINGS,
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "port": str(port),
    }
    options = [f"--{name}={value}" for name, value in settings.items()]
    with log.open("wb") as output:
        return subprocess.Popen(
            [str(programs / "postgres"), "-D", str(data), *options],
            stdout=output,
            stderr=output,
            start_new_session=True,
            **_identity(user),
        )


def _identity(user: tuple[int, int] | None) -> dict:
    if user is None:
        return {}
    return {"user": user[0], "group": user[1], "extra_groups": [], "cwd": "/"}


def _wait_ready(process: subprocess.Popen, server: Server, log: Path) -> None:
    deadline = time.monotonic() + _START_LIMIT_S
    while True:
        try:
            server.connect().close()
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(
                    f"PostgreSQL did not start:\n{log.read_text()}"
                ) from None
            time.sleep(0.1)
        else:
            return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
