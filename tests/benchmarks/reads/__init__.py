"""Every view, as-of function and HTTP list over many rows, beside live ingest.

It starts the embedded server itself, durable as in production, and fills the partitions
of five months.  That takes about 500 bytes of disk and 15 microseconds a row.  Each size
has a server of its own, which is removed; with ``--data-dir`` and one size the data stay
there, and the next run uses them again.

Both brokers have the same contracts.  One in twenty has had no tick since the first month,
another one in twenty never had one, and a few are only watched.  There are also ten
thousand closed positions with long histories.  The queries run one after the other over
one connection, in a thread, while the loop writes ticks through the product's sink and
answers HTTP.  Each query is planned anew, as for a person at a terminal, and timed until
its last byte.  The last column is the processor time of the server for one query; on a
busy machine the rest is waiting.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import trio

from greeks_trio.api.routes.lists import make_router
from greeks_trio.api.server import run_http
from greeks_trio.config.settings import DatabaseConfig, HttpConfig
from greeks_trio.postgres.embedded.server import open_embedded_server
from greeks_trio.postgres.latest_refresh import run_latest_refresh
from greeks_trio.postgres.reads.reader import Reader
from greeks_trio.postgres.reads.timeline import Timeline
from greeks_trio.postgres.tick_store import TickStore
from greeks_trio.waiting import WakeUp
from tests.benchmarks.reads.fill import describe_sizes, fill
from tests.benchmarks.reads.ingest import Ingest
from tests.benchmarks.reads.queries import (
    QUERIES,
    Read,
    make_arguments,
    percentiles_ms,
    read,
    read_lists,
)
from tests.benchmarks.report import Bar, Report, Table, say
from tests.benchmarks.servers import describe_server

HELP = "every view, as-of function and HTTP list over many rows, beside live ingest"
QUICK = ("--rows", "1000000", "--contracts", "200,10000", "--repeats", "20")

# The filling and the indexes are not part of the measurement.
SETTINGS = {"max_wal_size": "4GB", "maintenance_work_mem": "512MB"}
COLUMNS = ["query", "rows", "p50 ms", "p95 ms", "p99 ms", "max ms", "server CPU ms"]
BARRED = ("latest_greeks", "portfolio_greeks")
BAR_MS = 50.0
BAR_CONTRACTS = 10_000


def numbers(text: str) -> list[int]:
    """Return the numbers of a list with commas."""
    return [int(each) for each in text.split(",")]


def sizes(options: argparse.Namespace) -> list[tuple[int, int]]:
    """Return the pairs of rows and contracts: all contracts with the fewest rows."""
    rows, contracts = sorted(options.rows), sorted(options.contracts)
    if options.every_pair:
        return list(product(rows, contracts))
    return [(rows[0], each) for each in contracts] + [
        (each, contracts[-1]) for each in rows[1:]
    ]


async def run_lists(
    config: DatabaseConfig, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED
) -> None:
    """Answer the lists over HTTP until cancelled, without a limit of their time."""
    http = HttpConfig(port=0, read_share=1000.0)
    reader = Reader(lambda: config, http)
    timeline = Timeline(reader, stale_after_s=300.0, export_timeout_s=60.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader.run)
        routers = [make_router(timeline, ("ibkr", "tastytrade"))]
        task_status.started(await nursery.start(run_http, http, routers))


async def measure_size(
    config: DatabaseConfig, options: argparse.Namespace, rows: int, contracts: int
) -> tuple[Table, list[Read]]:
    """Fill, and measure each query."""
    async with TickStore(config).open():
        pass  # makes the schema
    await trio.to_thread.run_sync(fill, config, rows, contracts)
    # A busy machine is no outage here.
    config = replace(config, timeout_s=60.0)
    table = Table(f"{describe_sizes(config)}, {options.rate:,.0f} ticks/s", COLUMNS, [])
    say(table.title)
    ask = make_arguments(config, options.seed)
    ingest = Ingest(config, options.rate)
    async with trio.open_nursery() as nursery:
        url = await nursery.start(run_lists, config)
        nursery.start_soon(run_latest_refresh, lambda: config, WakeUp())
        await nursery.start(ingest.run)
        await trio.sleep(options.alone_s)
        alone, ingest.write_s = ingest.write_s, []
        reads = []
        for name in QUERIES:
            work = partial(read, config, name, options.repeats, ask)
            reads.append(await trio.to_thread.run_sync(work))
            say(str(reads[-1].row()))
        lists = partial(read_lists, url, options.repeats, ask)
        reads += await trio.to_thread.run_sync(lists)
        nursery.cancel_scope.cancel()
    table.rows += [each.row() for each in reads]
    for what, times in (("without reads", alone), ("meanwhile", ingest.write_s)):
        row = [f"a batch of ticks to its commit, {what}", len(times)]
        table.rows.append([*row, *percentiles_ms(times), None])
    return table, reads


async def measure(options: argparse.Namespace) -> Report:
    """Measure each size with a server of its own."""
    report = Report([])
    for rows, contracts in sizes(options):
        async with open_embedded_server(options.data_dir, settings=SETTINGS) as config:
            table, reads = await measure_size(config, options, rows, contracts)
            report.tables.append(table)
            report.machine = describe_server(config)
        if contracts >= BAR_CONTRACTS:
            report.bars += bars_of(reads, rows, contracts)
    return report


def bars_of(reads: list[Read], rows: int, contracts: int) -> list[Bar]:
    """Return the views that have a bar."""
    bars = []
    for each in reads:
        if each.name in BARRED:
            p95 = percentiles_ms(each.times)[1]
            what = f"{each.name} with {contracts:,} contracts and {rows:,} rows"
            bar = f"p95 <= {BAR_MS:.0f} ms"
            bars.append(Bar(what, bar, f"{p95:.0f} ms", p95 <= BAR_MS))
    return bars


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--rows",
        type=numbers,
        default="1000000,10000000,50000000",
        help="ticks in the table, one or several numbers",
    )
    parser.add_argument("--contracts", type=numbers, default="200,2000,10000")
    parser.add_argument(
        "--every-pair", action="store_true", help="all numbers of rows x contracts"
    )
    parser.add_argument("--rate", type=float, default=5000.0, help="ticks a second")
    parser.add_argument("--repeats", type=int, default=50, help="of each query")
    parser.add_argument(
        "--alone-s", type=float, default=10.0, help="seconds of writing without reads"
    )
    parser.add_argument(
        "--data-dir", type=Path, help="keep the data here; for one size only"
    )
    parser.add_argument("--seed", type=int, default=1)


def run(options: argparse.Namespace) -> Report:
    """Measure all queries, one after the other."""
    if options.data_dir and len(sizes(options)) > 1:
        raise SystemExit(
            "--data-dir keeps one size: give one number to --rows and --contracts"
        )
    return trio.run(measure, options)
