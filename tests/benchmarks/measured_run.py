"""One run of the real service under a load: generator, service and PostgreSQL.

Each is a process of its own, or several.  The latency of a tick is the time from the
moment at which the generator gives it to the kernel until its row is written.
"""

from __future__ import annotations

import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import psutil
import trio

from greeks_trio.config.load import environment_of_children
from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.drill.simulated_brokers import ENDPOINTS, variables_of_book
from greeks_trio.postgres.connect import open_connection
from greeks_trio.postgres.schema.migrate import migrate
from greeks_trio.simulators.endpoints import parse_endpoints
from tests.benchmarks.generator.__main__ import Done
from tests.benchmarks.generator.pump import Load
from tests.benchmarks.measured_server import Server
from tests.benchmarks.sent_ticks import Compared, compare

ROOT = Path(__file__).resolve().parents[2]
SETTLE_S = 3.0  # the simulators answer a subscription within two seconds
SAMPLE_S = 0.5
SCRAPE_S = 5.0  # three times as often as Prometheus does by default
_START_LIMIT_S = 300.0
_DRAIN_LIMIT_S = 180.0
# A service that cannot keep up takes the load more slowly than it is due.
_SEND_LIMIT_S = 60.0
_MOST_SLOWER = 5.0
_MIB = 1024**2
# What runs beside a load, with the service as its argument.
Beside = Callable[["Service"], AbstractContextManager[object]]
_LAG = re.compile(r'greeks_loop_lag_seconds_bucket\{le="([^"]+)"\} (\S+)')


class RunFailed(Exception):
    """A process did not start, answer or end."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One run.

    Attributes:
        rate: Ticks a second of both brokers; 0 sends them all at once.
        ticks: How many in all.
        one_record_a_frame: Whether each frame of IBKR is a TLS record of its own.
    """

    rate: float
    ticks: int
    contracts: int = 200
    seed: int = 1
    one_record_a_frame: bool = False


@dataclass(kw_only=True)
class Measured:
    """The measurements of a run; CPU times are those of the load.

    Attributes:
        ready_s: From the service's start until every contract was subscribed.
        seconds: From the first tick until the service had stored all.
        service_cpu_s: User and system time, of all threads.
        lag_ms: The bounds below which the p99 and the most of the event loop's lag are.
        memory_mib: Peak of the service's resident memory, from its start on.
        memory: Samples of (seconds, bytes) during the load.
    """

    plan: Plan
    ready_s: float = 0.0
    seconds: float = 0.0
    sent: Done
    service_cpu_s: float = 0.0
    server_cpu_s: float = 0.0
    lag_ms: tuple[float, float] = (0.0, 0.0)
    memory_mib: float = 0.0
    memory: list[tuple[float, float]] = field(default_factory=list)
    spooled: int = 0
    compared: Compared | None = None

    def us_a_tick(self, cpu_s: float) -> float:
        """Return microseconds of CPU time for each tick of the load."""
        return cpu_s / self.plan.ticks * 1e6


def measure(server: Server, plan: Plan, beside: Beside = nullcontext) -> Measured:
    """Run it all once, on a database of the server that has the tables and no row.

    Args:
        server: The server.
        plan: The load.
        beside: Entered before the load, and left after it.

    Raises:
        RunFailed: a process did not start, answer or end.
    """
    with (
        tempfile.TemporaryDirectory(prefix="greeks-benchmark-") as name,
        server.fresh_database("benchmark") as database,
    ):
        directory = Path(name)
        trio.run(_make_tables, database)
        with _generator(directory, plan) as generator:
            measured = _measure_load(
                server, database, directory, generator, plan, beside
            )
        with server.connect(database.dbname) as connection:
            measured.compared = compare(connection, directory)
        return measured


async def _make_tables(database: DatabaseConfig) -> None:
    """Do what only the first start on a database does."""
    async with open_connection(database) as connection:
        await migrate(connection)
        await connection.commit()


def _measure_load(
    server: Server,
    database: DatabaseConfig,
    directory: Path,
    generator: _Generator,
    plan: Plan,
    beside: Beside,
) -> Measured:
    started_at = time.monotonic()
    with _service(directory, database, generator.variables(plan)) as service:
        generator.wait_subscribed()
        ready_s = time.monotonic() - started_at
        time.sleep(SETTLE_S)
        with beside(service):
            before = service.metrics()
            cpu_before = (service.cpu_s(), server.cpu_s())
            memory = generator.send(plan, service)
        after = service.wait_stored(plan.ticks + before.total("persisted"))
        measured = Measured(
            plan=plan,
            ready_s=ready_s,
            seconds=time.monotonic() - generator.sent_at,
            sent=generator.done,
            service_cpu_s=service.cpu_s() - cpu_before[0],
            server_cpu_s=server.cpu_s() - cpu_before[1],
            lag_ms=_lag(before, after),
            memory_mib=service.peak_memory() / _MIB,
            memory=memory,
            spooled=after.total("spooled") - before.total("spooled"),
        )
        service.stop()
    return measured


class _Metrics:
    """What `/metrics` said."""

    def __init__(self, text: str) -> None:
        self.text = text

    def total(self, kind: str) -> int:
        """Return a counter of ticks, over all brokers."""
        pattern = rf"(?m)^greeks_ticks_{kind}_total(?:\{{[^}}]*\}})? (\S+)"
        return sum(int(float(each)) for each in re.findall(pattern, self.text))

    def lag_buckets(self) -> list[tuple[float, float]]:
        """Return (bound in seconds, number of measurements up to it)."""
        return [(float(le), float(n)) for le, n in _LAG.findall(self.text)]


class Service:
    """The running process of the service."""

    def __init__(self, process: subprocess.Popen, port: int, log: Path) -> None:
        self._process = process
        self._psutil = psutil.Process(process.pid)
        self._port = port
        self._log = log

    @property
    def url(self) -> str:
        """The address of its HTTP interface."""
        return f"http://127.0.0.1:{self._port}"

    def cpu_s(self) -> float:
        """Return its CPU time, user and system."""
        times = self._psutil.cpu_times()
        return times.user + times.system

    def memory(self) -> float:
        """Return its resident memory in bytes."""
        return self._psutil.memory_info().rss

    def peak_memory(self) -> float:
        """Return the peak in bytes; where the kernel does not tell it, the present."""
        try:
            status = Path(f"/proc/{self._process.pid}/status").read_text()
        except OSError:
            return self.memory()
        [peak] = re.findall(r"VmHWM:\s+(\d+) kB", status)
        return float(peak) * 1024

    def metrics(self) -> _Metrics:
        """Read `/metrics`.

        Raises:
            RunFailed: the service does not answer.
        """
        try:
            with urllib.request.urlopen(f"{self.url}/metrics", timeout=30) as answer:  # noqa: S310
                return _Metrics(answer.read().decode())
        except OSError as exc:
            raise RunFailed(f"the service does not answer: {exc}{self.tail()}") from exc

    def wait_stored(self, ticks: int) -> _Metrics:
        """Return the metrics once so many ticks are in the table, or after a limit."""
        deadline = time.monotonic() + _DRAIN_LIMIT_S
        while True:
            metrics = self.metrics()
            if metrics.total("persisted") >= ticks or time.monotonic() > deadline:
                return metrics
            time.sleep(SAMPLE_S / 5)

    def stop(self) -> None:
        """Ask it to stop.

        Raises:
            RunFailed: it did not end, or not with status 0.
        """
        self._process.send_signal(signal.SIGTERM)
        try:
            status = self._process.wait(60)
        except subprocess.TimeoutExpired:
            raise RunFailed(f"the service does not stop{self.tail()}") from None
        if status:
            raise RunFailed(f"the service ended with status {status}{self.tail()}")

    def tail(self) -> str:
        """Return the end of its log."""
        lines = self._log.read_text(errors="replace").splitlines()[-15:]
        return "\n" + "\n".join(lines)


@contextmanager
def _service(
    directory: Path, database: DatabaseConfig, brokers: dict[str, str]
) -> Iterator[Service]:
    port = _free_port()
    variables = {
        "GREEKS_ENV_FILE": os.devnull,
        "POSTGRES_HOST": database.server.host,
        "POSTGRES_PORT": str(database.server.port),
        "POSTGRES_USER": database.user,
        "POSTGRES_PASSWORD": database.password.reveal(),
        "POSTGRES_DB": database.dbname,
        "POSTGRES_SSLMODE": database.sslmode,
        "GREEKS_HTTP_BIND": f"127.0.0.1:{port}",
        "GREEKS_SPOOL_DIR": str(directory / "spool"),
        **brokers,
    }
    log = directory / "service.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "greeks_trio", "serve"],
            env={**environment_of_children(), **variables, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=directory,
            start_new_session=True,
        )
    try:
        yield Service(process, port, log)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


class _Generator:
    """The generator's process."""

    def __init__(self, process: subprocess.Popen) -> None:
        self.sent_at = 0.0
        self.done: Done
        self._process = process
        self._endpoints = parse_endpoints(self._read(30.0), ENDPOINTS)

    def variables(self, plan: Plan) -> dict[str, str]:
        """Return the service's settings for these brokers."""
        variables = variables_of_book("textbook", plan.contracts)
        for each in self._endpoints.brokers.values():
            variables |= each.variables()
        return variables

    def wait_subscribed(self) -> None:
        """Wait until the service has subscribed every contract."""
        self._write(b"wait")
        self._read(_START_LIMIT_S)

    def send(self, plan: Plan, service: Service) -> list[tuple[float, float]]:
        """Let it send the load; sample the service's memory meanwhile."""
        memory: list[tuple[float, float]] = []
        self.sent_at = time.monotonic()
        self._write(msgspec.json.encode(Load(plan.ticks, plan.rate)))
        seconds = plan.ticks / plan.rate if plan.rate else 0.0
        limit_s = _SEND_LIMIT_S + _MOST_SLOWER * seconds
        scrape_at = self.sent_at + SCRAPE_S
        while not self._has_line(SAMPLE_S):
            now = time.monotonic()
            memory.append((now - self.sent_at, service.memory()))
            if now >= scrape_at:
                service.metrics()
                scrape_at = now + SCRAPE_S
            if now > self.sent_at + limit_s:
                raise RunFailed(f"the load was not sent within {limit_s:.0f} s")
        self.done = msgspec.json.decode(self._read(1.0), type=Done)
        return memory

    def _write(self, line: bytes) -> None:
        self._process.stdin.write(line + b"\n")
        self._process.stdin.flush()

    def _has_line(self, limit_s: float) -> bool:
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            return bool(selector.select(limit_s))

    def _read(self, limit_s: float) -> bytes:
        if not self._has_line(limit_s):
            raise RunFailed(f"the generator did not answer within {limit_s:.0f} s")
        line = self._process.stdout.readline()
        if not line:
            raise RunFailed("the generator ended")
        return line


@contextmanager
def _generator(directory: Path, plan: Plan) -> Iterator[_Generator]:
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "tests.benchmarks.generator", str(directory)),
            *("--contracts", str(plan.contracts), "--seed", str(plan.seed)),
            *(("--one-record-a-frame",) if plan.one_record_a_frame else ()),
        ],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        start_new_session=True,
    )
    try:
        yield _Generator(process)
    finally:
        process.stdin.close()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def _lag(before: _Metrics, after: _Metrics) -> tuple[float, float]:
    """Return the bounds in ms below which 99 % and all of the measurements are."""
    earlier = dict(before.lag_buckets())
    counts = [(le, n - earlier.get(le, 0.0)) for le, n in after.lag_buckets()]
    if not counts or not counts[-1][1]:
        return 0.0, 0.0
    total = counts[-1][1]
    p99 = next(le for le, n in counts if n >= 0.99 * total)
    most = next(le for le, n in counts if n >= total)
    return p99 * 1e3, most * 1e3


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
