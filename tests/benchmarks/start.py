"""Measure the time from the start of a command to its first row in the database.

``demo`` and ``serve --embedded`` start as a user starts them, with bin/run-ingest and its
packages installed.  A cold start makes the cluster and the tables in a new directory; a warm
start finds them.  The simulated brokers of ``serve`` run already, those of ``demo`` start with
it.  The end of the time is the ``persisted_at`` of the first row.
"""

from __future__ import annotations

import argparse
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, TypeAlias

import psutil
import psycopg
import trio

from greeks_trio.config.load import environment_of_children
from greeks_trio.config.settings import Secret
from greeks_trio.drill.simulated_brokers import open_simulated_brokers
from greeks_trio.postgres.embedded.address import server_config
from greeks_trio.postgres.embedded.cluster import (
    cluster_directory,
    password_file,
    port_file,
)
from tests.benchmarks.report import Bar, Report, Table, say
from tests.fix_postgres import connect

HELP = "cold and warm start of demo and serve, to the first row"
QUICK = ("--rounds", "1")

ROOT = Path(__file__).parents[2]
LAUNCHER = ROOT / "bin/run-ingest"
WARM_DEMO_BAR_S = 5.0
_PATIENCE_S = 60.0
_STOP_LIMIT_S = 60.0
# How often to look whether there is a row; the row itself says when it was stored.
_LOOK_EVERY_S = 0.2
_FIRST_ROW = "select min(persisted_at) from greek_snapshots where persisted_at >= %s"


class Start(NamedTuple):
    """Starts from the start of the command to the first row.

    Attributes:
        wall: Of the clock.
        cpu: Of the processor, in all processes of the command, PostgreSQL included.
    """

    wall: float
    cpu: float


Starts: TypeAlias = dict[tuple[str, str], list[Start]]


class StartFailed(Exception):
    """A command ended, or made no row in time."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rate", type=float, default=50.0, help="ticks a second")


def run(options: argparse.Namespace) -> Report:
    """Measure each command, cold and then warm, in each round."""
    return trio.run(measure, options)


async def measure(options: argparse.Namespace) -> Report:
    """Measure while the brokers of ``serve`` run."""
    starts: Starts = {}
    failures = []
    with tempfile.TemporaryDirectory(prefix="greeks-start-") as name:
        directory = Path(name)
        async with open_simulated_brokers(
            rate=options.rate, seed=1, ledger=directory / "ledger"
        ) as brokers:
            commands = {
                "demo": (["demo", "--json", "--rate", f"{options.rate:g}"], {}),
                "serve --embedded": (
                    ["serve", "--embedded", "--http", "127.0.0.1:0"],
                    brokers.variables(),
                ),
            }
            try:
                for number in range(options.rounds):
                    for command, how in commands.items():
                        place = directory / f"{command.split()[0]}-{number}"
                        await _start_twice(command, how, place, starts)
            except StartFailed as exc:
                failures.append(str(exc))
    return make_report(starts, failures)


async def _start_twice(
    command: str,
    how: tuple[Sequence[str], Mapping[str, str]],
    place: Path,
    starts: Starts,
) -> None:
    for start in ("cold", "warm"):
        found = await trio.to_thread.run_sync(start_once, *how, place)
        say(f"start: {command}, {start}: {found.wall:.1f} s")
        starts.setdefault((command, start), []).append(found)


def make_report(starts: Starts, failures: list[str]) -> Report:
    """Return the table and the bar."""
    table = Table(
        "Start to first row",
        [
            *("command", "start", "runs", "median s", "fastest s", "slowest s"),
            "processor s",
        ],
        [],
        ["processor: of all processes of the command, PostgreSQL included; median"],
    )
    for (command, start), each in sorted(starts.items()):
        walls = [found.wall for found in each]
        cpu = statistics.median(found.cpu for found in each)
        median = statistics.median(walls)
        table.rows.append(
            [command, start, len(walls), median, min(walls), max(walls), cpu]
        )
    warm = next(
        (row[3] for row in table.rows if row[:2] == ["demo", "warm"]),
        None,
    )
    bar = Bar(
        "warm start of demo to first row",
        f"<= {WARM_DEMO_BAR_S:g} s",
        "-" if warm is None else f"{warm:.1f} s",
        None if warm is None else warm <= WARM_DEMO_BAR_S,
    )
    return Report([table], [bar], failures=failures)


def start_once(
    arguments: Sequence[str], variables: Mapping[str, str], place: Path
) -> Start:
    """Start the command on the data in ``place``, and stop it after the first row.

    Raises:
        StartFailed: there was no row in time, or the command failed.
    """
    place.mkdir(mode=0o700, exist_ok=True)
    data_dir, log = place / "data", place / "log"
    started_at = datetime.now(UTC)
    with log.open("wb") as file:
        process = subprocess.Popen(
            [LAUNCHER, *arguments, "--data-dir", data_dir],
            cwd=place,
            env={
                **environment_of_children(),
                **variables,
                "GREEKS_SPOOL_DIR": str(place / "spool"),
            },
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    with _ended(process, log):
        row_at = _wait_row(process, data_dir, started_at)
        cpu_s = _processor_s(process.pid)
    return Start((row_at - started_at).total_seconds(), cpu_s)


def _processor_s(pid: int) -> float:
    first = psutil.Process(pid)
    family = [first, *first.children(recursive=True)]
    return sum(sum(process.cpu_times()[:4]) for process in family)


@contextmanager
def _ended(process: subprocess.Popen, log: Path) -> Iterator[None]:
    """Stop the process after the block, and kill it when that does not help."""
    try:
        yield
        _stop(process)
    except (StartFailed, subprocess.TimeoutExpired) as exc:
        end = log.read_text(errors="replace").splitlines()[-5:]
        raise StartFailed("\n".join([str(exc), *end])) from exc
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _stop(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGTERM)
    if status := process.wait(_STOP_LIMIT_S):
        raise StartFailed(f"it ended with status {status}")


def _wait_row(
    process: subprocess.Popen, data_dir: Path, started_at: datetime
) -> datetime:
    give_up_at = time.monotonic() + _PATIENCE_S
    problem: Exception | str = "there is no database"
    while time.monotonic() < give_up_at:
        if process.poll() is not None:
            raise StartFailed(f"it ended with status {process.returncode}")
        try:
            if row_at := _find_row(data_dir, started_at):
                return row_at
            problem = "there is no row"
        except (
            OSError,
            psycopg.OperationalError,
            psycopg.errors.UndefinedTable,
        ) as exc:
            problem = exc
        time.sleep(_LOOK_EVERY_S)
    raise StartFailed(f"no row within {_PATIENCE_S:g} s: {problem}")


def _find_row(data_dir: Path, started_at: datetime) -> datetime | None:
    cluster = cluster_directory(data_dir, 18)
    port = int(port_file(cluster).read_text())
    password = Secret(password_file(cluster).read_text())
    with connect(server_config(port, password)) as connection:
        [(row_at,)] = connection.execute(_FIRST_ROW, [started_at]).fetchall()
    return row_at
