"""The PostgreSQL of a benchmark: the bundled one, or one from a directory of programs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import psycopg

from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.postgres.embedded.server import embedded_server
from tests.benchmarks.servers import chosen_programs, cpu_s

# The time of a commit is measured with it; PostgreSQL writes 10 bytes a transaction more.
SETTINGS = {"track_commit_timestamp": "on"}


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
        return cpu_s(psutil.Process(self.pid))

    def connect(self, dbname: str | None = None) -> psycopg.Connection:
        """Return a connection in autocommit."""
        config = self.config
        return psycopg.connect(
            host=config.server.host,
            port=config.server.port,
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
    with (
        chosen_programs(programs),
        embedded_server(settings=SETTINGS, is_superuser=True) as config,
    ):
        yield _server(config)


def _server(config: DatabaseConfig) -> Server:
    server = Server(config, "", 0)
    with server.connect() as connection:
        [(version, backend)] = connection.execute(
            "select current_setting('server_version'), pg_backend_pid()"
        )
        return Server(config, version, psutil.Process(backend).ppid())
