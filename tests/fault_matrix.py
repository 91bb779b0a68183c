"""Every fault of both simulated brokers against the whole service, and its outcome.

    python -m tests.fault_matrix [BROKER:NAME ...]

prints a table.  Each fault has simulated brokers, a service and a database of its own;
real sockets, real PostgreSQL.  Several run side by side in one event loop.
"""

from __future__ import annotations

import argparse
import logging
import math
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest
import trio

from greeks_trio.config.settings import (
    Config,
    DatabaseConfig,
    IbkrConfig,
    Secret,
    SpoolConfig,
    TastytradeConfig,
)
from greeks_trio.drill.comparison import BrokerCounts, Evidence, compare
from greeks_trio.drill.tick_log import TickLog
from greeks_trio.feeds import quiet as line_watch
from greeks_trio.feeds.health import FeedHealth
from greeks_trio.model.records import Broker, StreamSession, Tick
from greeks_trio.pipeline.tick_counts import TickListeners
from greeks_trio.postgres.connect import open_connection
from greeks_trio.postgres.embedded.server import embedded_server
from greeks_trio.service import Running, run_service
from greeks_trio.simulators.book.textbook import textbook_market
from greeks_trio.simulators.ibkr.broker import SimulatedIbkr
from greeks_trio.simulators.ibkr.endpoints import IbkrEndpoints
from greeks_trio.simulators.ledger import Ledger
from greeks_trio.simulators.registry import SIMULATORS
from greeks_trio.simulators.tastytrade.broker import SimulatedTastytrade
from greeks_trio.simulators.tastytrade.endpoints import TastytradeEndpoints
from tests.fix_postgres import QUICK, apply_schema, fresh_database

BROKERS: Final[tuple[Broker, ...]] = ("ibkr", "tastytrade")
# Ticks a second of each broker, and contracts: each ticks several times a second.
RATE: Final = 16.0
CONTRACTS: Final = 4
# Faults with a duration last so long, unless `DURATIONS_S` says otherwise.
DURATION_S: Final = 2.0
# Longer than the silence that a feed takes for death.
DURATIONS_S: Final = {"silent": 20.0, "half-open": 20.0, "oversize": 2.0}
IBKR_SILENCE_S: Final = 11.0
# These show only at a new connection, so the connection is closed too.
NEED_RECONNECT: Final = {
    ("ibkr", "cold"),
    ("tastytrade", "delayed"),
    ("tastytrade", "rate-limit"),
    ("tastytrade", "unauthorized"),
    ("tastytrade", "cold"),
    ("tastytrade", "http-429"),
    ("tastytrade", "http-503"),
    ("tastytrade", "refuse-login"),
    ("tastytrade", "upgrade-502"),
}
# These end the connection, and the status says so in words.
ENDINGS: Final = frozenset(
    (
        *("ibkr:drop", "ibkr:silent", "ibkr:half-open", "ibkr:refuse-login"),
        *("ibkr:http-503", "ibkr:close-1000", "ibkr:close-1012"),
        *("tastytrade:drop", "tastytrade:bad-utf8", "tastytrade:channel-close"),
        *("tastytrade:close-1000", "tastytrade:close-1012", "tastytrade:upgrade-502"),
        *("tastytrade:http-429", "tastytrade:http-503", "tastytrade:refuse-login"),
        "tastytrade:expire-session",
    )
)
# Three minutes in production; shorter here.
SHORT_QUIET_S: Final = 5.0
RECOVERY_LIMIT_S: Final = 120.0
_SIDE_BY_SIDE: Final = 8
_END_LIMIT_S: Final = 40.0
_PULSE_S: Final = 0.1
DATABASE_LIMIT_S: Final = 60.0
LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Case:
    """One fault."""

    broker: Broker
    name: str

    @property
    def id(self) -> str:
        """Return the fault as people write it."""
        return f"{self.broker}:{self.name}"

    @property
    def other(self) -> Broker:
        """Return the broker that nothing happens to."""
        return "tastytrade" if self.broker == "ibkr" else "ibkr"

    @property
    def argument(self) -> float:
        """Return the fault's argument."""
        kind = SIMULATORS[self.broker].faults[self.name]
        if kind.default is None:
            return 0.0
        if "seconds" in kind.help:
            return DURATIONS_S.get(self.name, DURATION_S)
        return min(kind.default, DURATION_S)


CASES: Final = tuple(
    Case(broker, name) for broker in BROKERS for name in SIMULATORS[broker].faults
)


@dataclass(slots=True)
class Outcome:
    """The outcome of a fault.

    Attributes:
        recovered_s: From the fault's start until it was over, the feed connected and
            each contract had a tick again; `None` when that never was.
        interrupted_s: The longest time without any tick of the broker.
        other_gap_s: The same for the other broker, without the time for which the process
            ran late: it had no processor.
        busy_s: The most that the process computed between two turns of the event loop.
        sessions: The states of the broker's feed from the fault on, as they changed.
        gaps: Rows of the table: broker, contract, reason, whether it has ended; without
            those that ended before the fault.
    """

    case: Case
    recovered_s: float | None = None
    interrupted_s: float = math.nan
    other_gap_s: float = math.nan
    busy_s: float = 0.0
    sessions: list[StreamSession] = field(default_factory=list)
    gaps: list[tuple[str, str | None, str, bool]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    counts_by_broker: dict[str, BrokerCounts] | None = None

    @property
    def words(self) -> list[str]:
        """Return the problems that the status showed, each once, in order."""
        said = [each.last_error for each in self.sessions if each.last_error]
        return list(dict.fromkeys(said))


class Watch:
    """Records durable ticks and every change of the feed's state."""

    def __init__(self) -> None:
        self.read_at: dict[Broker, list[float]] = {broker: [] for broker in BROKERS}
        self.last_event_at: dict[tuple[Broker, str], datetime] = {}
        # From when it should have run to when it did.
        self.late: list[tuple[float, float]] = []
        self._changed = trio.Event()

    def durable(self, ticks: Sequence[Tick]) -> None:
        """Note ticks that are durable from now on."""
        for tick in ticks:
            record = tick.record
            self.read_at[record.broker].append(tick.read_at)
            key = record.broker, record.contract_key
            self.last_event_at[key] = max(
                record.event_time, self.last_event_at.get(key, LONG_AGO)
            )
        self.wake()

    def wake(self) -> None:
        """Wake every task that waits."""
        self._changed.set()
        self._changed = trio.Event()

    async def wait(self, condition: Callable[[], bool]) -> None:
        """Return when the condition is true."""
        while not condition():
            await self._changed.wait()

    async def wait_ticks(self, number: int) -> None:
        """Return when each broker has so many ticks."""
        await self.wait(
            lambda: all(len(each) >= number for each in self.read_at.values())
        )

    def has_each_since(
        self, contracts: set[tuple[Broker, str]], since: datetime
    ) -> bool:
        """Return whether each of the contracts has a tick that was sent later."""
        return all(self.last_event_at[key] > since for key in contracts)

    def longest_gap(self, broker: Broker, start: float, end: float) -> float:
        """Return the longest time without a tick of the broker between two moments."""
        return max(b - a for a, b in self._gaps(broker, start, end))

    def longest_gap_on_time(self, broker: Broker, start: float, end: float) -> float:
        """Return the same, without the time for which the process ran late."""
        longest_s = 0.0
        for a, b in sorted(
            self._gaps(broker, start, end), key=lambda gap: gap[0] - gap[1]
        ):
            if b - a <= longest_s:
                break
            late_s = sum(max(0.0, min(b, at) - max(a, due)) for due, at in self.late)
            longest_s = max(longest_s, b - a - late_s)
        return longest_s

    def _gaps(
        self, broker: Broker, start: float, end: float
    ) -> Iterator[tuple[float, float]]:
        inside = [at for at in self.read_at[broker] if start < at < end]
        return pairwise([start, *sorted(inside), end])


class Scene:
    """One case's simulated brokers, service and observers."""

    def __init__(
        self, case: Case, directory: Path, database: DatabaseConfig, limit_s: float
    ) -> None:
        self.case = case
        self.limit_s = limit_s
        self.database = database
        self.outcome = Outcome(case)
        self.watch = Watch()
        self.ledger_file = directory / "ledger.jsonl"
        self.commits = TickLog(directory / "commits")
        self.ibkr: SimulatedIbkr
        self.tastytrade: SimulatedTastytrade
        self._connected_at = self._started_at = LONG_AGO
        # The case in the time of the event loop.
        self._span = (0.0, 0.0)

    async def run(self) -> Outcome:
        """Run the case from the first tick to the comparison."""
        stop = trio.Event()
        with Ledger(self.ledger_file) as ledger:
            async with trio.open_nursery() as brokers:
                config = await self._start_brokers(ledger, brokers)
                async with trio.open_nursery() as nursery:
                    running: Running = await nursery.start(
                        partial(
                            run_service,
                            config,
                            load=lambda: config,
                            stop=stop,
                            listeners=TickListeners(
                                committed=self.commits.record,
                                durable=self.watch.durable,
                            ),
                        )
                    )
                    await self._run_case(running)
                    await self._stop_brokers(running)
                    stop.set()
        self.commits.close()
        # Only now is each tick of the time durable.
        case, watch = self.case, self.watch
        self.outcome.interrupted_s = watch.longest_gap(case.broker, *self._span)
        self.outcome.other_gap_s = watch.longest_gap_on_time(case.other, *self._span)
        await self._compare()
        return self.outcome

    async def _start_brokers(self, ledger: Ledger, nursery: trio.Nursery) -> Config:
        market = textbook_market(
            contracts=2 * CONTRACTS, seed=7, today=datetime.now(UTC).date()
        )
        self.ibkr = SimulatedIbkr(
            market, market.options[:CONTRACTS], ledger, rate=RATE, seed=7
        )
        self.tastytrade = SimulatedTastytrade(
            market, market.options[CONTRACTS:], ledger, rate=RATE, seed=7
        )
        ibkr = await nursery.start(self.ibkr.run, 0)
        tastytrade = await nursery.start(self.tastytrade.run, 0)
        spool = self.ledger_file.with_name("spool")
        return make_config(self.database, ibkr, tastytrade, spool)

    async def _run_case(self, running: Running) -> None:
        case, watch = self.case, self.watch
        health = running.status.feeds[case.broker]
        await watch.wait_ticks(5 * CONTRACTS)
        contracts = {key for key in watch.last_event_at if key[0] == case.broker}
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_state, health)
            nursery.start_soon(self._watch_pulse)
            started_at, self._started_at = trio.current_time(), datetime.now(UTC)
            await self._make_fault()
            over_at = datetime.now(UTC)
            with trio.move_on_after(self.limit_s):
                if case.id in ENDINGS:
                    # Ticks of before may still be on their way.
                    await watch.wait(self._has_ended)
                await watch.wait(
                    lambda: (
                        health.session().status in ("connected", "degraded")
                        and watch.has_each_since(
                            contracts, max(over_at, self._connected_at)
                        )
                    )
                )
                self.outcome.recovered_s = trio.current_time() - started_at
            nursery.cancel_scope.cancel()
        self._span = started_at, trio.current_time()
        self.outcome.counts = dict(health.statistics().counts)
        self.outcome.sessions.append(health.session())

    def _has_ended(self) -> bool:
        return any(each.status == "disconnected" for each in self.outcome.sessions)

    async def _make_fault(self) -> None:
        case = self.case
        broker = self.ibkr if case.broker == "ibkr" else self.tastytrade
        verbs = broker.verbs
        fault = partial(verbs[case.name], case.argument)
        if (case.broker, case.name) in NEED_RECONNECT:
            fault = partial(_both, fault, partial(verbs["close-1012"], 0.0))
        # Some last until cancelled.
        with trio.move_on_after(case.argument + 30.0 if case.argument else 5.0):
            if case.name == "line-limit":
                with trio.move_on_after(DURATION_S):
                    await fault()
            else:
                await fault()

    async def _watch_state(self, health: FeedHealth) -> None:
        """Note every state of the feed, until cancelled."""
        while True:
            session = health.session()
            self.outcome.sessions.append(session)
            if session.status in ("connected", "degraded"):
                self._connected_at = datetime.now(UTC)
            self.watch.wake()
            others = {"connecting", "connected", "degraded", "disconnected"}
            await health.wait_status(*(others - {session.status}))  # type: ignore[arg-type]

    async def _watch_pulse(self) -> None:
        """Note when the process runs late, until cancelled."""
        while True:
            due_at, computed_s = trio.current_time() + _PULSE_S, time.thread_time()
            await trio.sleep_until(due_at)
            self.watch.late.append((due_at, trio.current_time()))
            busy_s = time.thread_time() - computed_s
            self.outcome.busy_s = max(self.outcome.busy_s, busy_s)

    async def _stop_brokers(self, running: Running) -> None:
        self.ibkr.stop()
        self.tastytrade.stop()
        with trio.move_on_after(_END_LIMIT_S):
            for health in running.status.feeds.values():
                await health.wait_status("disconnected")

    async def _compare(self) -> None:
        database = replace(self.database, timeout_s=DATABASE_LIMIT_S)
        async with open_connection(database) as connection:
            evidence = Evidence(ledger=self.ledger_file, reports=self.commits.path)
            self.outcome.counts_by_broker = await compare(connection, evidence)
            cursor = await connection.execute(
                "select broker, contract_key, reason, ended_at is not null"
                " from feed_gaps where ended_at is null or ended_at > %s"
                " order by started_at",
                [self._started_at],
            )
            self.outcome.gaps = await cursor.fetchall()


def make_config(
    database: DatabaseConfig,
    ibkr: IbkrEndpoints,
    tastytrade: TastytradeEndpoints,
    spool: Path,
) -> Config:
    """Return the service's configuration for these brokers, with short limits.

    The database has a long one: so many services that log in at once are slow.
    """
    return Config(
        database=replace(database, timeout_s=DATABASE_LIMIT_S),
        ibkr=IbkrConfig(
            api_url=ibkr.rest_url,
            ws_url=ibkr.ws_url,
            ca_file=Path(ibkr.ca_file),
            silence_limit_s=IBKR_SILENCE_S,
        ),
        tastytrade=TastytradeConfig(
            secret=Secret(tastytrade.secret),
            refresh=Secret(tastytrade.refresh),
            api_url=tastytrade.api_url,
            streamer_url=tastytrade.streamer_url,
            silence_limit_s=IBKR_SILENCE_S,
        ),
        http=None,
        spool=SpoolConfig(directory=spool),
    )


async def run_matrix(
    server: DatabaseConfig,
    template: str,
    cases: Sequence[Case] = CASES,
    limit_s: float = RECOVERY_LIMIT_S,
) -> dict[str, Outcome]:
    """Run the cases, some side by side, and return the outcome of each by its id."""
    outcomes: dict[str, Outcome] = {}
    places = trio.CapacityLimiter(_SIDE_BY_SIDE)
    slowest_first = sorted(cases, key=lambda case: -DURATIONS_S.get(case.name, 0.0))

    async def run_case(case: Case) -> None:
        async with places:
            with tempfile.TemporaryDirectory() as directory:
                async with open_database(server, template) as database:
                    scene = Scene(case, Path(directory), database, limit_s)
                    outcomes[case.id] = await scene.run()

    async with trio.open_nursery() as nursery:
        for case in slowest_first:
            nursery.start_soon(run_case, case, name=case.id)
    return outcomes


@asynccontextmanager
async def open_database(
    server: DatabaseConfig, template: str
) -> AsyncIterator[DatabaseConfig]:
    """Yield a database of its own.

    Made and dropped in a thread: a DROP waits for every session of the server, and one
    in the middle of a COPY waits for our event loop.
    """
    with ExitStack() as stack:
        context = fresh_database(server, template)
        database = await trio.to_thread.run_sync(stack.enter_context, context)
        try:
            yield database
        finally:
            with trio.move_on_after(_END_LIMIT_S, shield=True):
                await trio.to_thread.run_sync(stack.close)


async def _both(*acts: Callable[[], Awaitable[object]]) -> None:
    async with trio.open_nursery() as nursery:
        for act in acts:
            nursery.start_soon(act)
            # The fault is in force before the connection is closed: it has run up to
            # its first wait.  Waiting for all tasks would wait for the other cases.
            for _ in range(3):
                await trio.lowlevel.checkpoint()


@contextmanager
def process_prepared(quiet_limit_s: float = SHORT_QUIET_S) -> Iterator[None]:
    """Let subscriptions count as ended after so much quiet, and leave all as it was.

    Services that end in any order do not leave the handler of SIGHUP as it was.
    """
    before = signal.getsignal(signal.SIGHUP)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(line_watch, "SILENT_AT_LEAST_S", quiet_limit_s)
        # The faults come sooner after the first frames than it lasts in life.
        patch.setattr(line_watch, "_ANSWER_WINDOW_S", 0.2)
        try:
            yield
        finally:
            signal.signal(signal.SIGHUP, before)


def table(outcomes: Sequence[Outcome]) -> str:
    """Return one line a fault, as Markdown."""
    lines = [
        "| fault | recovered after | longest gap | other broker's | status said | gaps |",
        "|---|---:|---:|---:|---|---|",
    ]
    for each in outcomes:
        recovered = "never" if each.recovered_s is None else f"{each.recovered_s:.1f} s"
        reasons = sorted({reason for _, _, reason, _ in each.gaps})
        lines.append(
            f"| `{each.case.id}` ({each.case.argument:g}) | {recovered}"
            f" | {each.interrupted_s:.1f} s | {each.other_gap_s:.1f} s"
            f" | {'; '.join(each.words) or '-'} | {', '.join(reasons) or '-'} |"
        )
    return "\n".join(lines)


def differences(outcome: Outcome) -> dict[str, Any]:
    """Return the lost, doubled and unexpected ticks of each broker."""
    assert outcome.counts_by_broker is not None
    return {
        f"{broker}.{name}": number
        for broker, counts in outcome.counts_by_broker.items()
        for name in ("lost", "duplicates", "unexpected")
        if (number := getattr(counts, name))
    }


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("faults", nargs="*", help="BROKER:NAME; all by default")
    parser.add_argument("--log", action="store_true", help="show the services' logs")
    parser.add_argument(
        "--real-limits", action="store_true", help="wait for quiet streams as in life"
    )
    options = parser.parse_args()
    quiet_s = line_watch.SILENT_AT_LEAST_S if options.real_limits else SHORT_QUIET_S
    logging.basicConfig(level=logging.INFO if options.log else logging.CRITICAL)
    logging.getLogger("tastytrade").setLevel(logging.WARNING)
    cases = [case for case in CASES if not options.faults or case.id in options.faults]
    with embedded_server(settings=QUICK, is_superuser=True) as server:
        template = replace(server, dbname="template1")
        apply_schema(template)
        limit_s = RECOVERY_LIMIT_S + quiet_s
        with process_prepared(quiet_s):
            outcomes = trio.run(run_matrix, server, template.dbname, cases, limit_s)
    found = [outcomes[case.id] for case in cases]
    sys.stdout.write(table(found) + "\n")
    for each in found:
        if amiss := differences(each):
            sys.stdout.write(f"{each.case.id}: {amiss}\n")


if __name__ == "__main__":
    main()
