"""Compare `TrioConnection` with psycopg's own connections, in one run.

Three ways to the same server: `TrioConnection`, psycopg's `AsyncConnection` under
asyncio, and psycopg's blocking `Connection` in a worker thread of Trio, one hop a batch.
Each commits single rows, which is all latency, and copies batches of rows, which is all
throughput; in turn, so that the machine's moods even out.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import psycopg
import trio

from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.postgres.connection import TrioConnection
from tests.benchmarks.report import Report, Table
from tests.benchmarks.servers import add_server_options, describe_server, open_database
from tests.fix_postgres import connect, connect_options

HELP = "TrioConnection beside psycopg's own connections"
QUICK = ("--commits", "100", "--rows", "10000")

ROUNDS = 5
BATCH = 2000
TABLE = "create table measured (n int8, at timestamptz default now(), s text)"
INSERT = "insert into measured (n, s) values (%s, %s)"
COPY = "copy measured (n, s) from stdin (format binary)"
TEXT = "x" * 100

Times = list[float]
Contender = Callable[[DatabaseConfig, int, int], tuple[Times, Times]]


async def _commit_rows(connection: psycopg.AsyncConnection, count: int) -> Times:
    times = []
    for number in range(count):
        started_at = time.perf_counter()
        await connection.execute(INSERT, (number, TEXT))
        await connection.commit()
        times.append(time.perf_counter() - started_at)
    return times


async def _copy_batches(connection: psycopg.AsyncConnection, count: int) -> Times:
    times = []
    for _ in range(count):
        started_at = time.perf_counter()
        async with connection.cursor() as cursor, cursor.copy(COPY) as copy:
            copy.set_types(["int8", "text"])
            for number in range(BATCH):
                await copy.write_row((number, TEXT))
        await connection.commit()
        times.append(time.perf_counter() - started_at)
    return times


async def _measure(
    cls: type[psycopg.AsyncConnection],
    config: DatabaseConfig,
    commits: int,
    batches: int,
) -> tuple[Times, Times]:
    async with await cls.connect(**connect_options(config)) as connection:
        await _commit_rows(connection, 10)  # prepares the statement
        return (
            await _commit_rows(connection, commits),
            await _copy_batches(connection, batches),
        )


def with_trio(
    config: DatabaseConfig, commits: int, batches: int
) -> tuple[Times, Times]:
    """Return the seconds of each commit and of each batch with `TrioConnection`."""
    return trio.run(_measure, TrioConnection, config, commits, batches)


def with_asyncio(
    config: DatabaseConfig, commits: int, batches: int
) -> tuple[Times, Times]:
    """Return the same with psycopg's own connection."""
    return asyncio.run(_measure(psycopg.AsyncConnection, config, commits, batches))


def _commit_row(connection: psycopg.Connection, number: int) -> None:
    connection.execute(INSERT, (number, TEXT))
    connection.commit()


def _copy_batch(connection: psycopg.Connection) -> None:
    with connection.cursor() as cursor, cursor.copy(COPY) as copy:
        copy.set_types(["int8", "text"])
        for number in range(BATCH):
            copy.write_row((number, TEXT))
    connection.commit()


def with_thread(
    config: DatabaseConfig, commits: int, batches: int
) -> tuple[Times, Times]:
    """Return the same with a blocking connection, in a thread for each commit."""

    async def timed(function: Callable[..., None], *arguments: object) -> float:
        started_at = time.perf_counter()
        await trio.to_thread.run_sync(function, *arguments)
        return time.perf_counter() - started_at

    async def main() -> tuple[Times, Times]:
        with psycopg.connect(**connect_options(config)) as connection:
            for number in range(10):
                await timed(_commit_row, connection, number)
            return (
                [await timed(_commit_row, connection, n) for n in range(commits)],
                [await timed(_copy_batch, connection) for _ in range(batches)],
            )

    return trio.run(main)


CONTENDERS: dict[str, Contender] = {
    "TrioConnection": with_trio,
    "AsyncConnection": with_asyncio,
    "thread": with_thread,
}


@dataclass
class Figures:
    """Seconds of a contender, of all rounds."""

    commits: Times = field(default_factory=list)
    batches: Times = field(default_factory=list)


def measure(config: DatabaseConfig, commits: int, rows: int) -> dict[str, Figures]:
    """Return the figures of every contender."""
    figures = {name: Figures() for name in CONTENDERS}
    for number in range(ROUNDS):
        names = list(CONTENDERS)
        for name in names[number % 3 :] + names[: number % 3]:
            with connect(config) as admin:
                admin.execute("drop table if exists measured")
                admin.execute(TABLE)
                admin.execute("checkpoint")
            found = CONTENDERS[name](config, commits // ROUNDS, rows // BATCH)
            figures[name].commits += found[0]
            figures[name].batches += found[1]
    return figures


def _percentiles(times: Sequence[float]) -> list[float]:
    cuts = statistics.quantiles(times, n=100, method="inclusive")
    return [cuts[point - 1] for point in (50, 95, 99)]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--commits", type=int, default=500, help="one-row commits")
    parser.add_argument("--rows", type=int, default=40_000, help="in each round")
    add_server_options(parser)


def run(options: argparse.Namespace) -> Report:
    """Measure all ways in turn."""
    with open_database(options) as config:
        figures = measure(config, options.commits, options.rows)
        machine = describe_server(config)
    table = Table(
        f"One-row commits, and COPY of {BATCH} rows",
        ["connection", "p50 ms", "p95 ms", "p99 ms", "rows/s", "rows/s, slowest 5 %"],
        [],
    )
    for name, each in figures.items():
        middle, slow, _ = (BATCH / value for value in _percentiles(each.batches))
        commits = [1000 * value for value in _percentiles(each.commits)]
        table.rows.append([name, *commits, middle, slow])
    return Report([table], machine=machine)
