"""The service as the drill runs it: the usual service, which also writes reports."""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import trio

from greeks_trio.config.parse import parse_config
from greeks_trio.config.settings import Config
from greeks_trio.drill.report_stream import CLOCK_ERROR, Report, encode_report
from greeks_trio.drill.tick_log import tick_identity
from greeks_trio.model.records import Tick
from greeks_trio.pipeline.tick_counts import TickListeners
from greeks_trio.service import Running, run_service

_PR_SET_PDEATHSIG: Final = 1
_STDOUT: Final = 1


def load_settings(path: Path) -> Config:
    """Return the configuration of a file with the variables as a JSON object."""
    return parse_config(msgspec.json.decode(path.read_bytes(), type=dict[str, str]))


async def run_instrumented_service(settings: Path, clock: Path) -> int:
    """Run the service until SIGTERM and write reports to stdout; return its status.

    Its wall clock is wrong by the seconds in the file ``clock``, a double.  It is
    killed when the drill ends (Linux).
    """
    _die_with_parent()
    with clock.open("rb") as file, _mapped(file.fileno()) as error:
        return await run_service(
            load_settings(settings),
            load=partial(load_settings, settings),
            listeners=TickListeners(committed=_report_commit, durable=_report_durable),
            now=partial(_wrong_now, error),
            task_status=_StartReport(),
        )


class _StartReport:
    """Reports the port of the HTTP server when the service has started."""

    def started(self, running: Running | None = None) -> None:
        assert running is not None  # noqa: S101
        port = int((running.http_url or ":0").rpartition(":")[2])
        _write([Report("started", "ibkr", port, time.monotonic(), 0.0)])


def _mapped(fd: int) -> mmap.mmap:
    return mmap.mmap(fd, CLOCK_ERROR.size, access=mmap.ACCESS_READ)


def _wrong_now(error: mmap.mmap) -> datetime:
    [seconds] = CLOCK_ERROR.unpack_from(error)
    return datetime.now(UTC) + timedelta(seconds=seconds)


def _report_commit(_: Sequence[Tick]) -> None:
    _write([Report("commit", "ibkr", 0, time.monotonic(), 0.0)])


def _report_durable(ticks: Sequence[Tick]) -> None:
    # The simulators and the drill use this clock too.
    now, trio_now = time.monotonic(), trio.current_time()
    _write(
        [
            Report(
                "durable",
                tick.record.broker,
                tick_identity(tick.record),
                now,
                now - (trio_now - tick.read_at),
            )
            for tick in ticks
        ]
    )


def _write(reports: list[Report]) -> None:
    # One write a call.  It would block if the drill did not read.
    data = memoryview(b"".join(map(encode_report, reports)))
    while data:
        data = data[os.write(_STDOUT, data) :]


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
