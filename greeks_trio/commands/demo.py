"""The demo: simulated brokers, an embedded PostgreSQL and the service, all real sockets.

At the end the simulators stop first, the service reads to the end of their streams and
drains, and the sent ticks are compared with the table.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import psutil
import psycopg
import trio
from psycopg.rows import dict_row

from greeks_trio.api.server import OpenSocket, bind, bind_or_any
from greeks_trio.commands.demo_table import Display
from greeks_trio.config.parse import parse_config
from greeks_trio.config.settings import (
    Config,
    DatabaseConfig,
    HttpConfig,
    SpoolConfig,
)
from greeks_trio.drill.comparison import (
    Evidence,
    compare,
    last_row_id,
    read_ages,
    read_largest_gaps,
)
from greeks_trio.drill.simulated_brokers import (
    SimulatedBrokers,
    open_simulated_brokers,
)
from greeks_trio.drill.tick_log import TickLog
from greeks_trio.errors import StoreUnavailable
from greeks_trio.monitoring.status import ServiceStatus
from greeks_trio.pipeline.tick_counts import TickListener, TickListeners
from greeks_trio.postgres.connect import open_connection
from greeks_trio.postgres.embedded.guard import open_guarded_server
from greeks_trio.postgres.embedded.passfile import write_passfile
from greeks_trio.postgres.failures import translated
from greeks_trio.postgres.schema.migrate import migrate
from greeks_trio.service import Running, run_service
from greeks_trio.signals import run_stop_on_signal
from greeks_trio.simulators.book.book import BookName
from greeks_trio.simulators.book.kinds import BOOKS

DIFFERENCES: Final = 1

_TOTALS: Final = """
select * from risk_totals where group_by = 'underlying' order by underlying, currency
"""
_TOTALS_S: Final = 2.0

# The streams end within milliseconds of the simulators; a feed that takes this long is
# stuck, and the comparison will say so.
_END_OF_STREAM_LIMIT_S: Final = 15.0
# PostgreSQL is back within seconds when it was killed.
_DATABASE_LIMIT_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """Options of the ``demo`` command.

    Attributes:
        seconds: Duration; `None` until SIGINT or SIGTERM.
        book: The name of the book that the accounts hold.
        contracts: Option positions of all brokers; `None` for the number of the book.
        rate: Ticks per second of all brokers together.
        data_dir: Directory of a database that stays; `None` for a temporary one.
        http: Address of the HTTP server; `None` for port 8080 of loopback, or any free
            port if that is taken.
        json: Print one JSON object first and one last, and nothing else.
        faults: As `simulate --fault` takes them.
    """

    seconds: float | None = None
    book: BookName = "textbook"
    contracts: int | None = None
    rate: float = 50.0
    seed: int = 1
    data_dir: Path | None = None
    http: HttpConfig | None = None
    json: bool = False
    faults: tuple[str, ...] = ()


async def run_demo(options: DemoOptions) -> int:
    """Run the demo and return its exit status: 0, or 1 when ledger and table differ."""
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
    commits = TickLog(directory / "commits")
    ledger = directory / "ledger.jsonl"
    started_at = time.monotonic()
    async with open_simulated_brokers(
        book=options.book,
        contracts=options.contracts,
        rate=options.rate,
        seed=options.seed,
        faults=options.faults,
        ledger=ledger,
    ) as brokers:
        config = replace(
            parse_config(brokers.variables()),
            database=database,
            http=options.http or HttpConfig(),
            spool=SpoolConfig(directory=directory / "spool"),
        )
        status = await _stream(
            config,
            brokers,
            options.seconds,
            commits.record,
            partial(
                display.started,
                write_passfile(database, directory / "pgpass"),
                BOOKS[options.book].about,
            ),
            display,
            asked_to_stop,
            bind if options.http else bind_or_any,
        )
    commits.close()
    seconds = time.monotonic() - started_at
    display.comparing()
    async with open_connection(database) as connection:
        evidence = Evidence(ledger=ledger, reports=commits.path, after_id=before)
        compared = await _compare(connection, evidence)
    return _summary(status, compared, commits, seconds)


async def _prepare(database: DatabaseConfig) -> int:
    """Make the tables, and return the id of the last row of an earlier demo."""
    async with open_connection(database) as connection:
        await migrate(connection)
        before = await last_row_id(connection)
        await connection.commit()
    return before


async def _stream(
    config: Config,
    simulators: SimulatedBrokers,
    seconds: float | None,
    on_commit: TickListener,
    on_start: Callable[[Running], None],
    display: Display,
    asked_to_stop: trio.Event,
    open_socket: OpenSocket,
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
                open_socket=open_socket,
            )
        )
        on_start(running)
        async with trio.open_nursery() as showing:
            showing.start_soon(display.run, running.status)
            if display.shows_risk:
                showing.start_soon(_read_totals, config.database, display)
            with trio.move_on_after(seconds if seconds is not None else float("inf")):
                await asked_to_stop.wait()
            await simulators.stop()
            with trio.move_on_after(_END_OF_STREAM_LIMIT_S):
                for health in running.status.feeds.values():
                    await health.wait_status("disconnected")
            # No later run would replay the spool of a demo.
            with trio.move_on_after(_DATABASE_LIMIT_S):
                while not running.status.backlog.is_database_up:
                    await running.status.backlog.wait_change()
            showing.cancel_scope.cancel()
        stop_service.set()
    return running.status


async def _read_totals(database: DatabaseConfig, display: Display) -> None:
    """Give the display the risk by underlying every 2 s, until cancelled.

    A fault can end PostgreSQL, which then starts again: the last totals stay shown.
    """
    while True:
        with suppress(StoreUnavailable):
            async with open_connection(database, autocommit=True) as connection:
                cursor = connection.cursor(row_factory=dict_row)
                while True:
                    with translated(connection, may_refuse=False):
                        await cursor.execute(_TOTALS)
                        display.totals = await cursor.fetchall()
                    await trio.sleep(_TOTALS_S)
        await trio.sleep(_TOTALS_S)


class _Compared(msgspec.Struct, frozen=True):
    """The comparison as the last JSON line shows it."""

    brokers: dict[str, dict[str, Any]]
    age_ms: dict[str, float | None]


async def _compare(
    connection: psycopg.AsyncConnection[Any], evidence: Evidence
) -> _Compared:
    counts = await compare(connection, evidence)
    ages = await read_ages(connection)
    gaps = await read_largest_gaps(connection, evidence.after_id)
    brokers = {
        broker: msgspec.to_builtins(each) | {"largest_gap_s": gaps.get(broker)}
        for broker, each in counts.items()
    }
    return _Compared(brokers, msgspec.to_builtins(ages))


def _summary(
    status: ServiceStatus, compared: _Compared, commits: TickLog, seconds: float
) -> dict[str, Any]:
    received = status.processor.statistics().received
    quarantined = {str(k): n for k, n in status.refused_rows.quarantined.items()}
    brokers = {
        broker: {
            "received": received.get(broker, 0),
            "quarantined": quarantined.get(broker, 0),
            **counts,
        }
        for broker, counts in compared.brokers.items()
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
        "first_row_s": _since_process_start(commits.first_at),
        "latency_ms": status.tick_counts.latency_to_commit().since_start.milliseconds(),
        "age_ms": compared.age_ms,
        "brokers": brokers,
    }


def _since_process_start(at: float | None) -> float | None:
    """Return the seconds from the start of the launcher; our process continues it."""
    if at is None:
        return None
    wall_clock = time.time() - time.monotonic() + at
    return round(wall_clock - float(psutil.Process().create_time()), 3)
