"""The PostgreSQL under a benchmark, and the processor time that it uses."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

import psutil

from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.postgres.embedded import cluster
from greeks_trio.postgres.embedded.binaries import find_programs
from greeks_trio.postgres.embedded.server import embedded_server
from tests.fix_postgres import _server, connect, fresh_database


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `open_database`."""
    parser.add_argument(
        "--postgres",
        type=Path,
        metavar="DIRECTORY",
        help="programs of another PostgreSQL, such as /usr/lib/postgresql/15/bin;"
        " otherwise the bundled one",
    )
    parser.epilog = (
        "It starts a server of its own, durable as in production.  A URL in"
        " TEST_DATABASE_URL names a running one instead."
    )


@contextmanager
def chosen_programs(directory: Path | None) -> Iterator[None]:
    """Let the embedded server use these programs in the block, if there are any."""
    if directory is None:
        yield
        return
    if not (directory / "postgres").exists():
        raise SystemExit(f"--postgres {directory}: there is no program postgres in it")
    with patch.object(cluster, "find_programs", lambda *_: directory):
        yield


@contextmanager
def open_database(options: argparse.Namespace) -> Iterator[DatabaseConfig]:
    """Yield an empty database on the server of the options."""
    url = os.environ.get("TEST_DATABASE_URL", "")
    with ExitStack() as stack:
        stack.enter_context(chosen_programs(options.postgres))
        server = _server(url) if url else embedded_server(is_superuser=True)
        yield stack.enter_context(fresh_database(stack.enter_context(server)))


def programs_directory(options: argparse.Namespace) -> Path:
    """Return the directory of psql and the other programs of the same PostgreSQL."""
    return options.postgres or find_programs(18, None)


def describe_server(config: DatabaseConfig) -> dict[str, str]:
    """Return the facts of the server for a report."""
    with connect(config) as connection:
        [(version,)] = connection.execute("show server_version").fetchall()
    return {"PostgreSQL": str(version)}


class ServerCpu:
    """The processor time of all processes of a server on this machine.

    The processes that have ended count too: the first process has waited for them.
    """

    def __init__(self, config: DatabaseConfig) -> None:
        self._first: psutil.Process | None = None
        with connect(config) as connection:
            pid = connection.info.backend_pid
            if psutil.pid_exists(pid):
                parent = psutil.Process(pid).parent()
                if parent is not None and parent.name().startswith("postgres"):
                    self._first = parent

    def seconds(self) -> float | None:
        """Return user and system time since its start; `None` on another machine."""
        return None if self._first is None else cpu_s(self._first)


def cpu_s(first: psutil.Process) -> float:
    """Return the processor time of a server's first process and all its children.

    A child that ends meanwhile would count as neither a child nor an ended one.
    """
    while True:
        before = first.cpu_times()
        total, is_whole = sum(before[:4]), True
        for process in first.children(recursive=True):
            try:
                total += sum(process.cpu_times()[:2])
            except psutil.NoSuchProcess:
                is_whole = False
        if is_whole and first.cpu_times()[2:4] == before[2:4]:
            return total
