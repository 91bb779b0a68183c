"""Compare `CopySink.write` with psycopg's own connection under asyncio, same rows.

    python -m tests.benchmarks.bench_copy [--rows 60000] [--single 1000]

Needs nothing: it starts the embedded server, durable as in production.  A URL in
``TEST_DATABASE_URL`` names another one.  Both sides copy the same tuples' source, one
transaction for each batch, and both in turn so that the machine's moods even out.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import timedelta

import psycopg
import trio

from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.model.records import Tick
from greeks_trio.postgres.connect import connection_arguments
from greeks_trio.postgres.embedded.server import embedded_server
from greeks_trio.postgres.tick_rows import COPY_TICKS, TYPES, tick_row
from greeks_trio.postgres.tick_store import TickStore
from tests.factories import START, make_tick
from tests.fix_postgres import _server, connect, fresh_database

BATCHES = (1, 50, 500, 2000, 5000)
ROUNDS = 3
PAYLOAD = (
    b'{"topic":"smd+265598","conid":265598,"_updated":1795188600123,"7308":"0.512",'
    b'"7309":"0.01234","7310":"-0.2345","7311":"0.9876","7633":"31.4%","6509":"RpB",'
    b'"31":"668.25","84":"668.20","86":"668.30"}'
)

Batches = Sequence[Sequence[Tick]]
Contender = Callable[[DatabaseConfig, Batches], list[float]]


def make_batches(rows: int, size: int) -> Batches:
    """Return ticks of 200 contracts, in batches."""
    ticks = [
        make_tick(
            contract_key=f"SPY   261218C{number % 200:08d}",
            event_time=START + timedelta(milliseconds=number),
            delta=random.random(),
            gamma=random.random(),
            theta=-random.random(),
            source_payload=PAYLOAD,
        )
        for number in range(rows)
    ]
    return [ticks[start : start + size] for start in range(0, rows, size)]


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


def _print_table(config: DatabaseConfig, rows: int, single: int) -> None:
    print(f"{'batch':>6} {'':<20} {'rows/s':>9}   {'p50':>7} {'p95':>7} {'p99':>7}  ms")  # noqa: T201
    for size in BATCHES:
        batches = make_batches(single if size == 1 else rows, size)
        for name, (rate, times) in measure(config, batches).items():
            p50, p95, p99 = _percentiles_ms(times)
            print(  # noqa: T201
                f"{size:>6} {name:<20} {rate:>9,.0f}   {p50:>7.2f} {p95:>7.2f} {p99:>7.2f}"
            )


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--single", type=int, default=1_000)
    arguments = parser.parse_args()
    url = os.environ.get("TEST_DATABASE_URL", "")
    with ExitStack() as stack:
        server = _server(url) if url else embedded_server()
        config = stack.enter_context(fresh_database(stack.enter_context(server)))
        write_with_sink(config, [])
        _print_table(config, arguments.rows, arguments.single)


if __name__ == "__main__":
    sys.exit(main())
