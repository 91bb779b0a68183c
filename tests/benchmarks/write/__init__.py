"""Compare the writer with what else a user could run, on the same rows and table.

The limit is psql's COPY of a file in PostgreSQL's own format: its client only passes bytes
on.  The floor is one INSERT and one commit for each tick.  Every way stores the same rows in
the same table with its indexes and partitions.  All take turns in each round, another one
first each time, and the table is empty before each turn.

The rates are at saturation: the next rows are always there.  Our writer begins with records,
as the feeds make them, and makes the fingerprints; the other ways get the fingerprints ready
made, and psql gets everything ready made.  In the first round all values of the rows are
compared; a wrong one ends the run with status 1.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.environments import Unavailable
from tests.benchmarks.report import Bar, Report, Table
from tests.benchmarks.servers import (
    add_server_options,
    describe_server,
    open_database,
    programs_directory,
)
from tests.benchmarks.ticks import make_records
from tests.benchmarks.write import others, product
from tests.benchmarks.write.cryptofeed import Cryptofeed
from tests.benchmarks.write.measure import Sizes, WrongRows, measure, prepare
from tests.benchmarks.write.rows import Found, Rows, Way

HELP = "the writer beside what else a user could run"
QUICK = ("--rows", "20000", "--rounds", "2", "--commits", "60")

_NOTES = (
    "median of the rounds; spread: half the distance of the fastest and the slowest round,"
    " relative to the median",
    "CPU: microseconds a row; server: all its processes, also those that write in the"
    " background; psql: with its start",
    "commit: from one tick to its commit, the connection otherwise idle",
    "executemany every second: a tick also waits half a second on average for its turn, and"
    " cryptofeed's backend waits up to half a second for more rows; neither is in the table",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--rows", type=int, default=100_000, help="of the fast ways in a round"
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--commits", type=int, default=700, help="one-tick commits of each way in all"
    )
    parser.add_argument(
        "--batch", type=int, default=5_000, help="most rows in a commit"
    )
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        metavar="WORD",
        help="leave out the ways with this word in their names, such as cryptofeed",
    )
    add_server_options(parser)


def make_ways(options: argparse.Namespace) -> tuple[list[Way], list[str]]:
    """Return the ways, and a sentence for each one that cannot run here."""
    makers = {
        others.Psql.name: lambda: others.Psql(programs_directory(options)),
        product.OurWriter.name: product.OurWriter,
        product.OurSink.name: product.OurSink,
        others.PsycopgCopy.name: others.PsycopgCopy,
        others.AsyncpgCopy.name: others.AsyncpgCopy,
        others.AsyncpgExecutemany.name: others.AsyncpgExecutemany,
        others.AsyncpgEverySecond.name: others.AsyncpgEverySecond,
        others.PsycopgExecutemany.name: others.PsycopgExecutemany,
        others.InsertLoop.name: others.InsertLoop,
        Cryptofeed.name: Cryptofeed,
    }
    ways, missing = [], []
    for name, make in makers.items():
        if any(word in name for word in options.without):
            continue
        try:
            ways.append(make())
        except Unavailable as exc:
            missing.append(f"{name}: {exc}")
    return ways, missing


def run(options: argparse.Namespace) -> Report:
    """Measure all ways in turn."""
    ways, missing = make_ways(options)
    with open_database(options) as config, tempfile.TemporaryDirectory() as name:
        machine = describe_server(config) | {
            "programs": str(options.postgres or "bundled"),
        }
        rows = Rows.make(config, make_records(options.rows), options.batch, Path(name))
        prepare(rows)
        try:
            found = measure(rows, ways, Sizes(options.rounds, options.commits))
        except WrongRows as exc:
            return Report([], failures=[str(exc)], machine=machine)
    table = make_table(found, missing)
    return Report([table], make_bars(found), machine=machine)


def make_table(found: dict[str, Found], missing: Sequence[str]) -> Table:
    """Return a row for each way, with its rate relative to psql."""
    limit = _rate(found, others.Psql.name)
    table = Table(
        "Ways to store ticks",
        [
            *("way", "rows a commit", "rows/s", "spread %", r"of \copy"),
            *("client us", "server us"),
            *("commit p50 ms", "p95", "p99"),
        ],
        [],
        list(_NOTES),
    )
    for name, each in found.items():
        rate = statistics.median(each.rows_per_s)
        spread = 50 * (max(each.rows_per_s) - min(each.rows_per_s)) / rate
        server = statistics.median(each.server_us) if each.server_us else None
        table.rows.append(
            [
                name,
                each.batch,
                round(rate),
                round(spread),
                rate / limit if limit else None,
                statistics.median(each.client_us),
                server,
                *_percentiles_ms(each.commits_s),
            ]
        )
    for sentence in missing:
        name, _, reason = sentence.partition(": ")
        table.rows.append([f"{name}: not measured", *[None] * 9])
        table.notes.append(f"{name} cannot run here: {reason}")
    return table


def _percentiles_ms(times: Sequence[float]) -> list[float | None]:
    if len(times) < 2:
        return [None] * 3
    cuts = statistics.quantiles(times, n=100, method="inclusive")
    return [cuts[point - 1] * 1000 for point in (50, 95, 99)]


def _rate(found: dict[str, Found], name: str) -> float | None:
    return statistics.median(found[name].rows_per_s) if name in found else None


def make_bars(found: dict[str, Found]) -> list[Bar]:
    """Return our writer's rate relative to the others."""
    ours = _rate(found, product.OurWriter.name)
    bars = []
    for other, least in (
        (others.Psql, 0.9),
        (others.AsyncpgCopy, 1.5),
        (others.AsyncpgExecutemany, 3.0),
        (Cryptofeed, 5.0),
    ):
        rate = _rate(found, other.name)
        ratio = ours / rate if ours and rate else None
        bars.append(
            Bar(
                f"writer, records to COMMIT, beside {other.name}",
                f">= {least} x",
                "-" if ratio is None else f"{ratio:.2f} x",
                None if ratio is None else ratio >= least,
            )
        )
    return bars
