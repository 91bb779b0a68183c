"""Compare `TrioConnection` with psycopg's own connections, in one run.

    python -m tests.benchmarks.bench_connection [--commits 500] [--rows 40000]

Three ways to the same server: `TrioConnection`, psycopg's `AsyncConnection` under
asyncio, and psycopg's blocking `Connection` in a worker thread of Trio, one hop a batch.
Each commits single rows, which is all latency, and copies batches of rows, which is all
throughput; in turn, so that the machine's moods even out.

Needs nothing: it starts the embedded server, durable as in production.  A URL in
``TEST_DATABASE_URL`` names another one.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import psycopg
import trio

from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.postgres.connection import TrioConnection
from greeks_trio.postgres.embedded.server import embedded_server
from tests.fix_postgres import _server, connect, connect_options, fresh_database

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


def _print_table(figures: dict[str, Figures]) -> None:
    print(f"{'':<16} {'one-row commit, ms':>24}   {f'COPY of {BATCH}, rows/s':>26}")  # noqa: T201
    print(f"{'':<16} {'p50':>8}{'p95':>8}{'p99':>8}   {'median':>13}{'slowest 5%':>13}")  # noqa: T201
    for name, each in figures.items():
        p50, p95, p99 = (1000 * value for value in _percentiles(each.commits))
        middle, slow, _ = (BATCH / value for value in _percentiles(each.batches))
        print(  # noqa: T201
            f"{name:<16} {p50:>8.3f}{p95:>8.3f}{p99:>8.3f}"
            f"   {middle:>13,.0f}{slow:>13,.0f}"
        )


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--commits", type=int, default=500)
    parser.add_argument("--rows", type=int, default=40_000, help="in each round")
    arguments = parser.parse_args()
    url = os.environ.get("TEST_DATABASE_URL", "")
    with ExitStack() as stack:
        server = _server(url) if url else embedded_server()
        config = stack.enter_context(fresh_database(stack.enter_context(server)))
        _print_table(measure(config, arguments.commits, arguments.rows))


if __name__ == "__main__":
    sys.exit(main())
