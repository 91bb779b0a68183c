"""Stop the database for a while, start it again, and measure the cost.

It starts a PostgreSQL of its own, which it kills and starts again, the simulated brokers
as a process, and the service in this one.  It ends with status 1 when a tick was lost,
stored twice, or stored without being sent.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import psutil
import trio

from greeks_trio.config.parse import parse_config
from greeks_trio.config.settings import HttpConfig, SpoolConfig
from greeks_trio.drill.comparison import BrokerCounts, Evidence, compare
from greeks_trio.drill.simulated_brokers import (
    SimulatedBrokers,
    open_simulated_brokers,
)
from greeks_trio.drill.tick_log import TickLog
from greeks_trio.model.records import Tick
from greeks_trio.monitoring.status import ServiceStatus
from greeks_trio.pipeline.histograms import Histogram
from greeks_trio.pipeline.tick_counts import TickListeners
from greeks_trio.postgres.connect import open_connection
from greeks_trio.postgres.embedded.restarts import (
    RestartableServer,
    open_restartable_server,
)
from greeks_trio.service import Running, run_service
from greeks_trio.waiting import WakeUp
from tests.benchmarks.report import Bar, Report, Table
from tests.benchmarks.servers import ServerCpu, describe_server

HELP = "the database away for a while, and what its return costs"
QUICK = ("--seconds", "20")

QUIET_S = 20.0
SAMPLE_S = 0.5
PATIENCE_S = 900.0


@dataclass
class Measurements:
    """Measurements of one run; seconds, bytes and rows."""

    commits: TickLog
    commit: WakeUp = field(default_factory=WakeUp)
    live: Histogram = field(default_factory=Histogram)
    before: dict = field(default_factory=dict)
    during_outage: dict = field(default_factory=dict)
    during_replay: dict = field(default_factory=dict)
    peak_memory: int = 0
    memory_before: int = 0
    peak_backlog: int = 0
    spool_bytes: int = 0
    spool_rows: int = 0
    replayed: int = 0
    replay_s: float = 0.0
    service_cpu_s: float = 0.0
    server_cpu_s: float = 0.0
    reconnect_s: float = 0.0

    def committed(self, ticks: Sequence[Tick]) -> None:
        """Record a commit; a replayed tick has no time of reading."""
        self.commits.record(ticks)
        self.commit.wake()
        if ticks[0].read_at:
            now = trio.current_time()
            for tick in ticks:
                self.live.record(now - tick.read_at)

    def take_live(self) -> dict:
        """Return the live latencies since the last call."""
        taken, self.live = self.live, Histogram()
        return taken.summary().milliseconds() | {"ticks": taken.count}

    def sample(self, status: ServiceStatus) -> None:
        """Look at what grows."""
        size = status.spool.size()
        self.peak_memory = max(self.peak_memory, psutil.Process().memory_info().rss)
        self.peak_backlog = max(self.peak_backlog, status.backlog.bytes)
        self.spool_bytes = max(self.spool_bytes, size.bytes)
        self.spool_rows = max(self.spool_rows, size.rows)


async def watch(measured: Measurements, status: ServiceStatus) -> None:
    """Sample until cancelled."""
    while True:
        measured.sample(status)
        await trio.sleep(SAMPLE_S)


async def make_outage(
    options: argparse.Namespace,
    server: RestartableServer,
    status: ServiceStatus,
    measured: Measurements,
) -> None:
    """Quiet, outage, replay, quiet."""
    await trio.sleep(QUIET_S)
    measured.memory_before = psutil.Process().memory_info().rss
    measured.before = measured.take_live()
    replayed = status.tick_counts.replayed.total()
    await server.kill()
    await trio.sleep(options.seconds)
    measured.during_outage = (
        status.tick_counts.latency_to_durable().window.milliseconds()
    )
    await server.start()
    back_at = trio.current_time()
    measured.take_live()
    with trio.fail_after(PATIENCE_S):
        while not status.backlog.is_database_up:
            await status.backlog.wait_change()
        connected_at = trio.current_time()
        cpu = ServerCpu(server.config)
        server_cpu_s, service_cpu_s = cpu.seconds() or 0.0, time.process_time()
        while status.spool.size().rows:
            await measured.commit.wait()
    measured.reconnect_s = connected_at - back_at
    measured.replay_s = trio.current_time() - connected_at
    measured.service_cpu_s = time.process_time() - service_cpu_s
    measured.server_cpu_s = (cpu.seconds() or 0.0) - server_cpu_s
    measured.replayed = status.tick_counts.replayed.total() - replayed
    measured.during_replay = measured.take_live()
    await trio.sleep(QUIET_S)


async def stream(
    options: argparse.Namespace,
    server: RestartableServer,
    simulators: SimulatedBrokers,
    directory: Path,
    measured: Measurements,
) -> None:
    """Run the service through the outage and to the end of the streams."""
    stop = trio.Event()
    config = replace(
        parse_config(simulators.variables()),
        database=server.config,
        http=HttpConfig(port=0),
        spool=SpoolConfig(directory=directory / "spool"),
    )
    async with trio.open_nursery() as nursery:
        running: Running = await nursery.start(
            partial(
                run_service,
                config,
                load=lambda: config,
                stop=stop,
                listeners=TickListeners(committed=measured.committed),
            )
        )
        async with trio.open_nursery() as watching:
            watching.start_soon(watch, measured, running.status)
            await make_outage(options, server, running.status, measured)
            watching.cancel_scope.cancel()
        await simulators.stop()
        with trio.move_on_after(15):
            for health in running.status.feeds.values():
                await health.wait_status("disconnected")
        stop.set()


async def measure(options: argparse.Namespace) -> Report:
    """Run it all."""
    with tempfile.TemporaryDirectory(prefix="greeks-outage-") as name:
        directory = Path(name)
        measured = Measurements(TickLog(directory / "commits"))
        ledger = directory / "ledger.jsonl"
        async with open_restartable_server(directory / "postgres") as server:
            async with open_simulated_brokers(
                contracts=options.contracts,
                rate=options.rate,
                seed=options.seed,
                ledger=ledger,
            ) as simulators:
                await stream(options, server, simulators, directory, measured)
            measured.commits.close()
            async with open_connection(server.config) as connection:
                evidence = Evidence(ledger=ledger, reports=measured.commits.path)
                counts = await compare(connection, evidence)
            machine = describe_server(server.config)
    found = report(options, measured, list(counts.values()))
    found.machine = machine
    return found


def report(
    options: argparse.Namespace, measured: Measurements, counts: list[BrokerCounts]
) -> Report:
    """Return the table; it fails when the rows and the ledger differ."""
    sent, lost, duplicates, unexpected = (
        sum(getattr(each, name) for each in counts)
        for name in ("sent", "lost", "duplicates", "unexpected")
    )
    rate = measured.replayed / measured.replay_s if measured.replay_s else 0.0
    mib = 1024**2
    lines: list[tuple[str, object]] = [
        ("database away, s / ticks a second", f"{options.seconds} / {options.rate}"),
        (
            "sent / lost / duplicates / unexpected",
            f"{sent} / {lost} / {duplicates} / {unexpected}",
        ),
        ("to commit before, ms", measured.before),
        ("to durable (spool), last minute of the outage, ms", measured.during_outage),
        ("connected again after, s", f"{measured.reconnect_s:.2f}"),
        (
            "replayed rows / s / rows a second",
            f"{measured.replayed} / {measured.replay_s:.1f} / {rate:.0f}",
        ),
        (
            "processor time of service / server meanwhile, with the live ticks, s",
            f"{measured.service_cpu_s:.2f} / {measured.server_cpu_s:.2f}",
        ),
        ("live to commit during the replay, ms", measured.during_replay),
        (
            "memory before / peak, MiB",
            f"{measured.memory_before / mib:.0f} / {measured.peak_memory / mib:.0f}",
        ),
        ("backlog peak, MiB", f"{measured.peak_backlog / mib:.1f}"),
        (
            "spool peak, MiB / rows",
            f"{measured.spool_bytes / mib:.0f} / {measured.spool_rows}",
        ),
    ]
    table = Table("Outage", ["what", "value"], [list(line) for line in lines])
    is_exact = not (lost or duplicates or unexpected)
    p95 = measured.during_replay.get("p95")
    bars = [
        Bar(
            f"database away {options.seconds:g} s at {options.rate:g} ticks/s",
            "none lost, none twice",
            f"{lost} lost, {duplicates} twice",
            is_exact,
        ),
        Bar("replay", ">= 20,000 rows/s", f"{rate:,.0f} rows/s", rate >= 20_000),
        Bar(
            "live p95 during the replay",
            "<= 100 ms",
            f"{p95} ms",
            None if p95 is None else p95 <= 100,
        ),
    ]
    words = f"{lost} ticks lost, {duplicates} twice, {unexpected} were never sent"
    return Report([table], bars, failures=[] if is_exact else [words])


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--seconds", type=float, default=600.0, help="of the outage")
    parser.add_argument("--rate", type=float, default=1000.0, help="ticks a second")
    parser.add_argument("--contracts", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)


def run(options: argparse.Namespace) -> Report:
    """Make the outage and compare the rows with the simulators' ledger."""
    return trio.run(measure, options)
