"""A ``demo`` to look at, and the latency of its service."""

from __future__ import annotations

import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import psycopg

from greeks_trio.config.load import environment_of_children

_LAUNCHER = Path(__file__).parents[3] / "bin/run-ingest"
_STOP_LIMIT_S = 60.0
_LOOK_EVERY_S = 0.5
_START_LIMIT_S = 300.0

_LATENCY = """
select percentile_cont(array[0.5, 0.95]) within group (
    order by 1000 * extract(epoch from persisted_at - received_at)
)
from greek_snapshots where persisted_at > to_timestamp(%s)
"""
_HELD = "select count(*) from latest_greeks where quantity is not null"


class DemoFailed(Exception):
    """The demo has ended, or has no rows in time."""


class _FirstLine(msgspec.Struct):
    """What ``demo --json`` says first."""

    http: str
    dsn: str


@dataclass(frozen=True)
class Demo:
    """A running ``demo``."""

    url: str
    dsn: str

    def latency_ms(self, seconds: float) -> list[float]:
        """Return p50 and p95 of the time from reading a tick to its row, from now on."""
        began_at = time.time()
        time.sleep(seconds)
        with psycopg.connect(self.dsn) as connection:
            [found] = connection.execute(_LATENCY, [began_at]).fetchall()
        if found[0] is None:
            raise DemoFailed(f"no tick was stored in {seconds:g} s")
        return [float(each) for each in found[0]]

    def wait_rows(self, count: int) -> None:
        """Wait until this number of contracts has a row."""
        give_up_at = time.monotonic() + _START_LIMIT_S
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            while (held := connection.execute(_HELD).fetchall()[0][0]) < count:
                if time.monotonic() > give_up_at:
                    raise DemoFailed(f"{held} of {count} contracts have a row")
                time.sleep(_LOOK_EVERY_S)


@contextmanager
def open_demo(contracts: int, rate: float) -> Iterator[Demo]:
    """Run a demo until the end of the block; it begins when each contract has a row.

    Raises:
        DemoFailed: it has ended, or had too few rows in time.
    """
    with tempfile.TemporaryDirectory(prefix="greeks-browser-") as name:
        command = [_LAUNCHER, "demo", "--json", "--http", "127.0.0.1:0"]
        command += ["--contracts", str(contracts), "--rate", f"{rate:g}"]
        with (Path(name) / "log").open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=name,
                env=environment_of_children(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        try:
            demo = _first_line(process, Path(name) / "log")
            demo.wait_rows(contracts)
            yield demo
        finally:
            _stop(process)


def _first_line(process: subprocess.Popen[bytes], log: Path) -> Demo:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise DemoFailed(log.read_text(errors="replace")[-500:])
    found = msgspec.json.decode(line, type=_FirstLine)
    return Demo(found.http, found.dsn)


def _stop(process: subprocess.Popen[bytes]) -> None:
    # It closes its end of the pipe, in which a line a second waits.
    process.send_signal(signal.SIGINT)
    try:
        process.communicate(timeout=_STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
