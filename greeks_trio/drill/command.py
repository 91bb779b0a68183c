"""The ``drill`` command: environment, schedule, comparison and result."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg
import trio

from greeks_trio.drill import summary as report
from greeks_trio.drill.comparison import Evidence
from greeks_trio.drill.environment import (
    Environment,
    EnvironmentOptions,
    open_environment,
)
from greeks_trio.drill.explanations import (
    ComparisonResult,
    Facts,
    Interruption,
    compare_drill,
)
from greeks_trio.drill.processes import ProcessFailed
from greeks_trio.drill.resources import interval_of
from greeks_trio.drill.runner import DrillFailed, DrillRunner
from greeks_trio.drill.schedule import KIND_SETS, KINDS, draw_schedule
from greeks_trio.drill.two_services import TwoFacts, TwoServices, compare_two
from greeks_trio.errors import ConfigError, StoreUnavailable, leaves, plain_reason
from greeks_trio.model.records import WATCHLIST_ACCOUNT
from greeks_trio.postgres.connect import open_connection
from greeks_trio.program import program_name
from greeks_trio.signals import run_stop_on_signal
from greeks_trio.simulators.book.book import BookName

OK: Final = 0
FAILED: Final = 1
INTERRUPTED: Final = 130

# Imports take 120 MB; ticks of a long outage wait on disk, not in memory.
MEMORY_LIMIT_MB: Final = 400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillOptions:
    """Options of the ``drill`` command.

    Attributes:
        minutes: Duration of the faults; recovery and comparison come on top.
        kinds: Names from `KINDS`; empty for the usual ones.
        interval_s: Average seconds from one fault to the next.
        rate: Ticks a second of all brokers together.
        book: The name of the book that the accounts hold.
        contracts: Option positions of all brokers; `None` for the number of the book.
        keep: Directory in which all files stay; `None` deletes them.
    """

    minutes: float = 5.0
    seed: int = 1
    kinds: tuple[str, ...] = ()
    interval_s: float = 8.0
    rate: float = 200.0
    book: BookName = "textbook"
    contracts: int | None = None
    keep: Path | None = None
    json: bool = False

    def again(self) -> str:
        """Return the command that repeats this drill."""
        words = [
            f"{program_name()} drill",
            f"--minutes {self.minutes:g} --seed {self.seed}",
            f"--rate {self.rate:g} --book {self.book} --interval {self.interval_s:g}",
        ]
        if self.contracts is not None:
            words.append(f"--contracts {self.contracts}")
        if self.kinds:
            words.append(f"--kinds {','.join(self.kinds)}")
        return " ".join(words)


async def run_drill(options: DrillOptions) -> int:
    """Run the drill and return its exit status: 0, 1 when it failed, 130 at Ctrl-C.

    Afterwards no process is left, and no directory except ``options.keep``.
    """
    stop = trio.Event()
    status = INTERRUPTED
    async with trio.open_nursery() as signals:
        await signals.start(run_stop_on_signal, stop, name="signals")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_on, stop, nursery.cancel_scope, name="stop")
            with _directory(options) as directory:
                status = await _run_to_end(options, directory)
            nursery.cancel_scope.cancel()
        signals.cancel_scope.cancel()
    if status == INTERRUPTED:
        _say("Interrupted: the ledger has not been compared with the table.")
    return status


async def _cancel_on(stop: trio.Event, scope: trio.CancelScope) -> None:
    await stop.wait()
    scope.cancel()


@contextmanager
def _directory(options: DrillOptions) -> Iterator[Path]:
    if options.keep is None:
        with tempfile.TemporaryDirectory(prefix="greeks-drill-") as name:
            yield Path(name)
    else:
        options.keep.mkdir(parents=True, exist_ok=True)
        if any(options.keep.iterdir()):
            raise ConfigError(
                [
                    f"--keep is {options.keep}, which is not empty. Name a new or an empty directory."
                ]
            )
        yield options.keep.resolve()


async def _run_to_end(options: DrillOptions, directory: Path) -> int:
    status = FAILED
    try:
        result = await _run(options, directory)
        report.print_result(result, as_json=options.json)
        status = OK if result["ok"] else FAILED
    except* (DrillFailed, ProcessFailed, StoreUnavailable) as group:
        _say(f"The drill failed: {_words(group)}")
        if options.json:
            error = {"seed": options.seed, "ok": False, "error": plain_reason(group)}
            report.print_json(error)
    if status == FAILED:
        _say(
            f"The drill FAILED with seed {options.seed}. To repeat it: {options.again()}"
        )
    return status


async def _run(options: DrillOptions, directory: Path) -> dict[str, Any]:
    schedule = draw_schedule(
        seed=options.seed,
        kinds=options.kinds or KIND_SETS["usual"],
        minutes=options.minutes,
        interval_s=options.interval_s,
    )
    _say(f"seed {options.seed}, {len(schedule)} faults in {options.minutes:g} minutes")
    epoch_s = time.time() - time.monotonic()
    streams = EnvironmentOptions(
        book=options.book,
        contracts=options.contracts,
        rate=options.rate,
        seed=options.seed,
        has_standby=any(KINDS[fault.kind].needs_standby for fault in schedule),
        has_two=any(KINDS[fault.kind].needs_two for fault in schedule),
    )
    async with open_environment(directory, streams) as environment:
        runner = DrillRunner(environment, _tell)
        await runner.run(schedule, sample_s=interval_of(options.minutes))
        environment.observer.close()
        _say("All has stopped. Comparing the sent ticks with the table ...")
        async with open_connection(environment.postgres.config) as connection:
            comparison = await compare_drill(
                connection, _facts(environment, runner, epoch_s)
            )
            two = await _compare_two(connection, environment, epoch_s)
    return _result(options, environment, runner, comparison, two)


async def _compare_two(
    connection: psycopg.AsyncConnection[Any], environment: Environment, epoch_s: float
) -> TwoServices | None:
    """Compare two services with the truth about them; `None` with one service."""
    if environment.alerts is None:
        return None
    facts = TwoFacts(
        deliveries=environment.deliveries,
        opened=[
            {broker: proxy.opened for broker, proxy in links.items()}
            for links in environment.links
        ],
        pauses=[each.pauses for each in environment.services],
        receipts=environment.alerts.receipts,
        crossings=environment.alerts.crossings,
        epoch_s=epoch_s,
    )
    return await compare_two(connection, facts)


def _facts(environment: Environment, runner: DrillRunner, epoch_s: float) -> Facts:
    """Return the facts; ``epoch_s`` is the wall clock less the monotonic one."""
    return Facts(
        evidence=Evidence(
            ledger=environment.ledger,
            reports=environment.observer.path,
            ignored_accounts=(WATCHLIST_ACCOUNT,),
            clock_error=environment.service.clock_error,
        ),
        kills=[kill for each in environment.services for kill in each.kills],
        interruptions=[
            Interruption(fault.plan.number, broker, fault.began_at, fault.ended_at)
            for fault in runner.faults
            for broker in fault.interrupted
            # The feed of the other service may have gone on: `compare_two` knows.
            if environment.alerts is None
        ],
        epoch_s=epoch_s,
    )


def _result(
    options: DrillOptions,
    environment: Environment,
    runner: DrillRunner,
    comparison: ComparisonResult,
    two: TwoServices | None,
) -> dict[str, Any]:
    peak_memory_mb = max(each.peak_rss for each in environment.services) / 1e6
    return report.result(
        seed=options.seed,
        minutes=options.minutes,
        faults=runner.faults,
        started_at=runner.started_at,
        comparison=comparison,
        two=two,
        peak_memory_mb=peak_memory_mb,
        resources=runner.resources,
        ok=comparison.is_clean
        and (two is None or two.is_clean)
        and peak_memory_mb <= MEMORY_LIMIT_MB
        and all(fault.recovery_s is not None for fault in runner.faults),
    )


def _words(group: BaseExceptionGroup[Exception]) -> str:
    """Return the messages unchanged: they quote lines of logs."""
    return "\n".join(map(str, leaves(group)))


def _tell(fault: report.HappenedFault, started_at: float) -> None:
    _say(report.line(fault, started_at))


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
