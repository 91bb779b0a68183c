"""Compare `CopySink.write` with psycopg's own connection under asyncio, same rows.

Both sides copy the same tuples' source, one
transaction for each batch, and both in turn so that the machine's moods even out.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Callable, Sequence

import psycopg
import trio

from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.model.records import Tick
from greeks_trio.postgres.connect import connection_arguments
from greeks_trio.postgres.tick_rows import COPY_TICKS, TYPES, tick_row
from greeks_trio.postgres.tick_store import TickStore
from tests.benchmarks.report import Report, Table
from tests.benchmarks.servers import add_server_options, describe_server, open_database
from tests.benchmarks.ticks import make_batches
from tests.factories import START, make_tick
from tests.fix_postgres import connect

HELP = "the writer beside what else a user could run"
QUICK = ("--rows", "5000", "--single", "100")

BATCHES = (1, 50, 500, 2000, 5000)
ROUNDS = 3

Batches = Sequence[Sequence[Tick]]
Contender = Callable[[DatabaseConfig, Batches], list[float]]


def write_with_sink(config: DatabaseConfig, batches: Batches) -> list[float]:
    """Return the seconds of each batch through the product's sink."""

    async def main() -> list[float]:
        times = []
        async with TickStore(config, today=START.date).open() as sink:
            await sink.write([make_tick(-1)])
            for batch in batches:
                started_at = time.perf_counter()
                await sink.write(batch)
                times.append(time.perf_counter() - started_at)
        return times

    return trio.run(main)


def _write_with_asyncio(
    config: DatabaseConfig, batches: Batches, *, autocommit: bool
) -> list[float]:
    async def main() -> list[float]:
        times = []
        async with await psycopg.AsyncConnection.connect(
            autocommit=autocommit, **connection_arguments(config)
        ) as connection:
            for batch in batches:
                started_at = time.perf_counter()
                async with connection.cursor() as cursor:
                    async with cursor.copy(COPY_TICKS) as copy:
                        copy.set_types(TYPES)
                        for tick in batch:
                            await copy.write_row(tick_row(tick))
                await connection.commit()
                times.append(time.perf_counter() - started_at)
        return times

    return asyncio.run(main())


def write_with_asyncio(config: DatabaseConfig, batches: Batches) -> list[float]:
    """Return the seconds of each batch: BEGIN, COPY, COMMIT."""
    return _write_with_asyncio(config, batches, autocommit=False)


def write_with_asyncio_autocommit(
    config: DatabaseConfig, batches: Batches
) -> list[float]:
    """Return the seconds of each batch: a COPY on its own, as the sink does."""
    return _write_with_asyncio(config, batches, autocommit=True)


CONTENDERS: dict[str, Contender] = {
    "CopySink": write_with_sink,
    "asyncio": write_with_asyncio,
    "asyncio, autocommit": write_with_asyncio_autocommit,
}


def measure(
    config: DatabaseConfig, batches: Batches
) -> dict[str, tuple[float, list[float]]]:
    """Return by contender the best rows/s of the rounds and the seconds of all flushes."""
    best = dict.fromkeys(CONTENDERS, 0.0)
    flushes: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    rows = sum(map(len, batches))
    for _ in range(ROUNDS):
        for name, write in CONTENDERS.items():
            with connect(config) as admin:
                admin.execute("truncate greek_snapshots")
                admin.execute("checkpoint")
            times = write(config, batches)
            best[name] = max(best[name], rows / sum(times))
            flushes[name] += times
    return {name: (best[name], flushes[name]) for name in CONTENDERS}


def _percentiles_ms(times: Sequence[float]) -> list[float]:
    if len(times) < 2:
        return [times[0] * 1000] * 3
    cuts = statistics.quantiles(times, n=100, method="inclusive")
    return [cuts[point - 1] * 1000 for point in (50, 95, 99)]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--single", type=int, default=1_000)
    add_server_options(parser)


def run(options: argparse.Namespace) -> Report:
    """Measure all ways in turn."""
    table = Table("COPY", ["batch", "way", "rows/s", "p50 ms", "p95 ms", "p99 ms"], [])
    with open_database(options) as config:
        write_with_sink(config, [])
        for size in BATCHES:
            batches = make_batches(options.single if size == 1 else options.rows, size)
            for name, (rate, times) in measure(config, batches).items():
                table.rows.append([size, name, rate, *_percentiles_ms(times)])
        return Report([table], machine=describe_server(config))
