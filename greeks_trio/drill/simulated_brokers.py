"""The simulated brokers as a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import trio

from greeks_trio.config.settings import (
    Config,
    DatabaseConfig,
    HttpConfig,
    IbkrConfig,
    Secret,
    SpoolConfig,
    TastytradeConfig,
)
from greeks_trio.errors import GreeksError

_START_LIMIT_S: Final = 30.0
_STOP_LIMIT_S: Final = 15.0


class IbkrEndpoints(msgspec.Struct, frozen=True):
    """Where the simulated gateway listens; the names are those of `IbkrConfig`."""

    rest_url: str
    ws_url: str
    ca_file: str


class TastytradeEndpoints(msgspec.Struct, frozen=True):
    """Where the simulated Tastytrade listens, and what lets one in."""

    api_url: str
    streamer_url: str
    secret: str
    refresh: str


class Endpoints(msgspec.Struct, frozen=True):
    """The first line that ``simulate`` prints."""

    ibkr: IbkrEndpoints
    tastytrade: TastytradeEndpoints


class Simulators:
    """The running process."""

    def __init__(self, process: _Process, endpoints: Endpoints) -> None:
        self.endpoints = endpoints
        self._process = process

    async def stop(self) -> None:
        """Ask the process to finish sending, and wait for its end.

        Kills it when it does not end within `_STOP_LIMIT_S`.
        """
        self._process.popen.terminate()
        with trio.move_on_after(_STOP_LIMIT_S, shield=True):
            while await self._process.stdout.receive_some():
                pass
            return
        self._process.popen.kill()


@asynccontextmanager
async def open_simulators(
    *,
    contracts: int,
    rate: float,
    seed: int,
    ledger: Path,
    faults: Sequence[str] = (),
) -> AsyncIterator[Simulators]:
    """Start ``simulate`` in a process of its own; stop it at the end.

    Raises:
        GreeksError: it ended or said nothing useful instead of starting.
    """
    process = _start(
        *("simulate", "--ends-with-parent", "--quiet"),
        *("--contracts", str(contracts), "--rate", str(rate)),
        *("--seed", str(seed), "--ledger", str(ledger)),
        *(word for fault in faults for word in ("--fault", fault)),
    )
    simulators: Simulators | None = None
    try:
        simulators = Simulators(process, await _read_endpoints(process))
        yield simulators
    finally:
        if simulators is None:
            process.popen.kill()
        else:
            with trio.move_on_after(_STOP_LIMIT_S + 1.0, shield=True):
                await simulators.stop()
        await process.stdout.aclose()
        process.popen.wait()


@dataclass(frozen=True, slots=True)
class _Process:
    """A process and its output, whose end is the end of the process."""

    popen: subprocess.Popen[bytes]
    stdout: trio.lowlevel.FdStream


def _start(*arguments: str) -> _Process:
    # Not `trio.lowlevel.open_process`: that forks in a worker thread, and the signal of
    # the parent's death, which `--ends-with-parent` asks for, comes when the thread that
    # forked ends.
    popen = subprocess.Popen(  # noqa: S603  our own program
        [sys.executable, "-m", "greeks_trio", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        # Ctrl-C in a terminal reaches a whole process group; the demo stops the
        # simulators itself, before the service.
        start_new_session=True,
    )
    assert popen.stdout is not None  # noqa: S101  a pipe was asked for
    with popen.stdout:
        return _Process(popen, trio.lowlevel.FdStream(os.dup(popen.stdout.fileno())))


async def read_first_line(stdout: trio.abc.ReceiveStream) -> bytes:
    """Return what ``simulate`` says of itself, what there is of it if it does not."""
    line = b""
    with trio.move_on_after(_START_LIMIT_S):
        while not line.endswith(b"\n"):
            chunk = await stdout.receive_some()
            if not chunk:
                break
            line += chunk
    return line


def simulated_config(
    database: DatabaseConfig,
    endpoints: Endpoints,
    directory: Path,
    *,
    contracts: int,
    http: HttpConfig | None = None,
) -> Config:
    """Return the service's configuration for these brokers, spooling in a directory."""
    ibkr, tastytrade = endpoints.ibkr, endpoints.tastytrade
    return Config(
        database=database,
        ibkr=IbkrConfig(
            api_url=ibkr.rest_url,
            ws_url=ibkr.ws_url,
            ca_file=Path(ibkr.ca_file),
            # As many as there are contracts, and a line for each underlying.
            market_data_lines=contracts + 100,
        ),
        tastytrade=TastytradeConfig(
            secret=Secret(tastytrade.secret),
            refresh=Secret(tastytrade.refresh),
            api_url=tastytrade.api_url,
            streamer_url=tastytrade.streamer_url,
        ),
        http=http or HttpConfig(port=0),
        spool=SpoolConfig(directory=directory / "spool"),
    )


async def _read_endpoints(process: _Process) -> Endpoints:
    line = await read_first_line(process.stdout)
    try:
        return msgspec.json.decode(line, type=Endpoints)
    except msgspec.DecodeError as exc:
        raise GreeksError("the simulated brokers did not start") from exc
