"""The HTTP interface of the real service while ticks come in.

Several clients read ``/v1/stream``, one of them slowly.  Another asks for metrics and the
status in turn, and one for the lists.  Each number of contracts has two runs as ``pipeline`` makes
them: without clients and with them.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import msgspec

from tests.benchmarks.http_clients import SCRAPE, STATUS, Found
from tests.benchmarks.measured_run import ROOT, Measured, Plan, Service, measure
from tests.benchmarks.measured_server import open_server
from tests.benchmarks.pipeline import (
    add_run_options,
    failures_of,
    latency_cells,
    numbers,
)
from tests.benchmarks.reads.queries import percentiles_ms
from tests.benchmarks.report import Bar, Report, Table, say

HELP = "streams, metrics, status and lists of the running service beside live ticks"
QUICK = ("--contracts", "200,10000", "--seconds", "10")

MANY_CONTRACTS = 10_000
# Calls one after the other without any tick, for the CPU time of one.
_CALLS = 20
_CLIENTS_LIMIT_S = 60.0


@dataclass
class Visited:
    """A run with clients.

    Attributes:
        cpu_ms: CPU time of the service for one answer, without any tick.
    """

    measured: Measured
    found: Found
    cpu_ms: dict[str, float]


@dataclass
class Clients:
    """The clients' process beside one load."""

    streams: int
    found: Found | None = None
    cpu_ms: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def beside(self, service: Service) -> Iterator[None]:
        """Run the clients for the length of the block."""
        self.cpu_ms = {path: _cpu_ms(service, path) for path in (SCRAPE, STATUS)}
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.benchmarks.http_clients"),
                *(service.url, str(self.streams)),
            ],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            process.stdout.readline()
            yield
            output, _ = process.communicate(timeout=_CLIENTS_LIMIT_S)
            self.found = msgspec.json.decode(output, type=Found)
        finally:
            process.kill()
            process.wait()


def _cpu_ms(service: Service, path: str) -> float:
    before = service.cpu_s()
    for _ in range(_CALLS):
        with urllib.request.urlopen(service.url + path, timeout=30) as answer:  # noqa: S310
            answer.read()
    return 1e3 * (service.cpu_s() - before) / _CALLS


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--contracts",
        type=numbers,
        default="200,2000,10000",
        help="numbers of contracts, two runs each",
    )
    parser.add_argument("--rate", type=int, default=5_000, help="ticks a second")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of a run")
    parser.add_argument("--streams", type=int, default=4, help="fast clients")
    add_run_options(parser)


def run(options: argparse.Namespace) -> Report:
    """Measure each number of contracts, without clients and with them."""
    alone: list[Measured] = []
    visited: list[Visited] = []
    with open_server(options.postgres) as server:
        for contracts in options.contracts:
            plan = Plan(
                rate=options.rate,
                ticks=int(options.rate * options.seconds),
                contracts=contracts,
                seed=options.seed,
                one_record_a_frame=options.one_record_a_frame,
            )
            say(f"{contracts:,} contracts ...")
            alone.append(measure(server, plan))
            clients = Clients(options.streams)
            measured = measure(server, plan, clients.beside)
            visited.append(Visited(measured, clients.found, clients.cpu_ms))
        return Report(
            tables=[
                _service_table(alone, visited),
                _stream_table(visited),
                _answers_table(visited),
            ],
            bars=_bars(visited),
            failures=failures_of([*alone, *(each.measured for each in visited)]),
            machine={"PostgreSQL": server.version},
        )


def _service_table(alone: list[Measured], visited: list[Visited]) -> Table:
    rows = []
    for one, other in zip(alone, visited, strict=True):
        for clients, each in (("none", one), ("all", other.measured)):
            _, p95, p99, _ = latency_cells(each.compared.rest)
            rows.append(
                [
                    *(each.plan.contracts, clients, p95, p99),
                    *(each.us_a_tick(each.service_cpu_s), *each.lag_ms),
                    each.memory_mib,
                ]
            )
    return Table(
        "What the clients cost the service",
        [
            *("contracts", "clients", "commit p95 ms", "p99 ms", "service us/tick"),
            *("loop p99 ms <=", "loop max ms <=", "peak MiB"),
        ],
        rows,
        ["The numbers of the event loop are bounds of a histogram."],
    )


def _stream_table(visited: list[Visited]) -> Table:
    rows = []
    for each in visited:
        found = each.found.streamed
        sent = each.measured.plan.ticks * found.streams
        rows.append(
            [
                each.measured.plan.contracts,
                found.streams,
                *(found.lag_ms or [None] * 4),
                found.events / found.seconds,
                found.ticks / found.seconds,
                100 * (1 - min(1.0, found.ticks / sent)) if sent else None,
                found.bytes / found.seconds / 1e6,
                found.slow_ticks / found.seconds,
            ]
        )
    return Table(
        "GET /v1/stream",
        [
            *("contracts", "fast clients", "p50 ms", "p95 ms", "p99 ms", "max ms"),
            *("events/s", "ticks/s", "coalesced %", "MB/s", "ticks/s of the slow one"),
        ],
        rows,
        [
            "From the hand-over of a tick until a fast client has it; each client looks"
            " four times a second.  All fast clients together.",
            "Coalesced: ticks that a newer one of their contract replaced before they were"
            " sent.",
        ],
    )


def _answers_table(visited: list[Visited]) -> Table:
    return Table(
        "Answers beside live ticks and streams",
        [
            *("contracts", "GET", "answers", "refused", "bytes"),
            *("p50 ms", "p95 ms", "max ms", "CPU ms without ticks"),
        ],
        [
            [
                each.measured.plan.contracts,
                path,
                len(asked.times),
                asked.refused,
                asked.bytes,
                *(percentiles_ms(asked.times)[at] for at in (0, 1, 3)),
                each.cpu_ms.get(path),
            ]
            for each in visited
            for path, asked in each.found.asked.items()
        ],
    )


def _bars(visited: list[Visited]) -> list[Bar]:
    bars = []
    for each in visited:
        p99, most = each.measured.lag_ms
        contracts = each.measured.plan.contracts
        where = f"with {contracts:,} contracts and clients"
        bars.append(
            Bar(
                f"event loop lag {where}",
                "p99 <= 5 ms, max <= 50 ms",
                f"<= {p99:g}, <= {most:g} ms",
                p99 <= 5 and most <= 50,
            )
        )
        if contracts >= MANY_CONTRACTS:
            memory = each.measured.memory_mib
            bars.append(
                Bar(
                    f"memory of the service {where}",
                    "<= 180 MiB",
                    f"{memory:.0f} MiB",
                    memory <= 180,
                )
            )
    return bars
