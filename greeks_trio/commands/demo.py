"""The demo: simulated brokers, an embedded PostgreSQL and the service, all real sockets.

At the end the simulators stop first, the service reads to the end of their streams and
drains, and what was sent is compared with what is stored.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import psutil
import trio

from greeks_trio.commands.demo_table import Display
from greeks_trio.config.settings import Config, DatabaseConfig, HttpConfig
from greeks_trio.drill.comparison import Audit, CommitLog, audit, last_row_id
from greeks_trio.drill.simulated_brokers import (
    Simulators,
    open_simulators,
    simulated_config,
)
from greeks_trio.monitoring.status import ServiceStatus
from greeks_trio.pipeline.tick_counts import TickListener, TickListeners
from greeks_trio.postgres.connect import open_connection
from greeks_trio.postgres.embedded.guard import open_guarded_server
from greeks_trio.postgres.embedded.passfile import write_passfile
from greeks_trio.postgres.schema.migrate import migrate
from greeks_trio.service import Running, run_service
from greeks_trio.signals import run_stop_on_signal

DIFFERENCES: Final = 1

# The streams end within milliseconds of the simulators; a feed that takes this long is
# stuck, and the comparison will say so.
_END_OF_STREAM_LIMIT_S: Final = 15.0
# PostgreSQL is back within seconds when it was killed.
_DATABASE_LIMIT_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """What the demo shall do.

    Attributes:
        seconds: How long; `None` until SIGINT or SIGTERM.
        contracts: Option positions, split between the brokers.
        rate: Ticks per second, both brokers together.
        data_dir: Where the database stays; `None` for a temporary one.
        http: Where HTTP listens; `None` for any free port of loopback.
        json: Print one JSON object first and one last, and nothing else.
        faults: As `simulate --fault` takes them.
    """

    seconds: float | None = None
    contracts: int = 200
    rate: float = 50.0
    seed: int = 1
    data_dir: Path | None = None
    http: HttpConfig | None = None
    json: bool = False
    faults: tuple[str, ...] = ()


async def run_demo(options: DemoOptions) -> int:
    """Run the demo and return its exit status: 0, or 1 when something is amiss."""
    display = Display(as_json=options.json)
    asked_to_stop = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(run_stop_on_signal, asked_to_stop)
        with tempfile.TemporaryDirectory(prefix="greeks-demo-") as directory:
            async with open_guarded_server(options.data_dir) as database:
                result = await _run(
                    options, database, Path(directory), display, asked_to_stop
                )
                display.result(result)
        nursery.cancel_scope.cancel()
    is_clean = not (result["lost"] or result["duplicates"] or result["unexpected"])
    return 0 if is_clean else DIFFERENCES


async def _run(
    options: DemoOptions,
    database: DatabaseConfig,
    directory: Path,
    display: Display,
    asked_to_stop: trio.Event,
) -> dict[str, Any]:
    before = await _prepare(database)
    commits = CommitLog(directory / "commits")
    ledger = directory / "ledger.jsonl"
    started_at = time.monotonic()
    async with open_simulators(
        contracts=options.contracts,
        rate=options.rate,
        seed=options.seed,
        faults=options.faults,
        ledger=ledger,
    ) as simulators:
        config = simulated_config(
            database,
            simulators.endpoints,
            directory,
            contracts=options.contracts,
            http=options.http,
        )
        status = await _stream(
            config,
            simulators,
            options.seconds,
            commits.record,
            partial(display.started, write_passfile(database, directory / "pgpass")),
            display,
            asked_to_stop,
        )
    commits.close()
    seconds = time.monotonic() - started_at
    display.comparing()
    async with open_connection(database) as connection:
        result = await audit(connection, ledger, commits, after_id=before)
    return _summary(status, result, commits, seconds)


async def _prepare(database: DatabaseConfig) -> int:
    """Make the tables, and return the id of the last row of an earlier demo."""
    async with open_connection(database) as connection:
        await migrate(connection)
        before = await last_row_id(connection)
        await connection.commit()
    return before


async def _stream(
    config: Config,
    simulators: Simulators,
    seconds: float | None,
    on_commit: TickListener,
    on_start: Callable[[Running], None],
    display: Display,
    asked_to_stop: trio.Event,
) -> ServiceStatus:
    """Run the service until asked to stop, then to the end of the streams."""
    stop_service = trio.Event()
    async with trio.open_nursery() as nursery:
        running: Running = await nursery.start(
            partial(
                run_service,
                config,
                load=lambda: config,
                stop=stop_service,
                listeners=TickListeners(committed=on_commit),
            )
        )
        on_start(running)
        async with trio.open_nursery() as showing:
            showing.start_soon(display.run, running.status)
            with trio.move_on_after(seconds if seconds is not None else float("inf")):
                await asked_to_stop.wait()
            await simulators.stop()
            with trio.move_on_after(_END_OF_STREAM_LIMIT_S):
                for health in running.status.feeds.values():
                    await health.wait_status("disconnected")
            # What the service leaves in the spool nobody would store later.
            with trio.move_on_after(_DATABASE_LIMIT_S):
                while not running.status.backlog.is_database_up:
                    await running.status.backlog.wait_change()
            showing.cancel_scope.cancel()
        stop_service.set()
    return running.status


def _summary(
    status: ServiceStatus, result: Audit, commits: CommitLog, seconds: float
) -> dict[str, Any]:
    received = status.processor.statistics().received
    quarantined = {str(k): n for k, n in status.refused_rows.quarantined.items()}
    brokers = {
        broker: {
            "received": received.get(broker, 0),
            "quarantined": quarantined.get(broker, 0),
            **msgspec.to_builtins(counts),
        }
        for broker, counts in result.brokers.items()
    }
    totals = {
        name: sum(counts[name] for counts in brokers.values())
        for name in (
            "sent",
            "received",
            "persisted",
            "lost",
            "duplicates",
            "unexpected",
            "quarantined",
        )
    }
    return {
        "seconds": round(seconds, 3),
        **totals,
        "first_row_s": _since_process_start(commits.first_commit_at),
        "latency_ms": status.tick_counts.latency_to_commit().since_start.milliseconds(),
        "age_ms": result.age_ms,
        "brokers": brokers,
    }


def _since_process_start(moment: float | None) -> float | None:
    """Return the seconds from the launcher's start, which our process continues."""
    if moment is None:
        return None
    return round(moment - float(psutil.Process().create_time()), 3)
