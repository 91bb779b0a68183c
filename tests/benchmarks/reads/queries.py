"""Every view, as-of function and HTTP list, and the time that one read takes.

A query is timed until its last byte is here; the rows are not made into Python objects,
which would take longer than the query.
"""

from __future__ import annotations

import random
import statistics
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import msgspec
import psutil
from psycopg import sql
from psycopg.pq import ExecStatus

from greeks_trio.api.lists.resources import RESOURCES
from greeks_trio.config.settings import DatabaseConfig
from tests.benchmarks.reads.fill import month_starts
from tests.fix_postgres import connect

PAGE = 500

QUERIES: dict[str, str] = {
    "latest_greeks": "select * from latest_greeks",
    "latest_greeks, one account": "select * from latest_greeks where account_id = 'T1'",
    "portfolio_greeks": "select * from portfolio_greeks",
    "risk_totals, underlying": "select * from risk_totals where group_by = 'underlying'",
    "risk_totals, strategy": "select * from risk_totals where group_by = 'strategy_tag'",
    "position_greeks": "select * from position_greeks",
    "broker_divergence": "select * from broker_divergence",
    "outages": "select * from outages",
    "greeks_asof": "select * from greeks_asof({moment})",
    "portfolio_asof": "select * from portfolio_asof({moment})",
    "positions_asof": "select * from positions_asof({moment})",
    f"{PAGE} ticks of a contract": f"""
        select * from greek_snapshots
        where broker = {{broker}} and account_id = {{account_id}}
          and contract_key = {{contract_key}} and event_time <= {{moment}}
        order by event_time desc, received_at desc, id desc limit {PAGE}""",
    f"{PAGE} ticks of a time range": f"""
        select * from greek_snapshots
        where event_time >= {{moment}} and event_time < {{moment}}::timestamptz + interval '1 hour'
        order by event_time, received_at, id limit {PAGE}""",
}

Arguments = Callable[[], Mapping[str, str]]


@dataclass
class Read:
    """The times of one query in seconds; ``cpu_s`` is the server's, for all runs."""

    name: str
    times: list[float] = field(default_factory=list)
    rows: int = 0
    cpu_s: float | None = None
    refused: Counter[int] = field(default_factory=Counter)

    def row(self) -> list[object]:
        """Return a row of the table."""
        cpu = None if self.cpu_s is None else 1000 * self.cpu_s / len(self.times)
        refused = "".join(f", {n} x {code}" for code, n in self.refused.items())
        return [self.name + refused, self.rows, *percentiles_ms(self.times), cpu]


def make_arguments(config: DatabaseConfig, seed: int) -> Arguments:
    """Return a function that gives a contract and a past moment, another each time."""
    chance = random.Random(seed)
    with connect(config) as connection:
        contracts = connection.execute(
            "select broker, account_id, contract_key from bench_contracts"
            " where not is_cold and not is_silent"
        ).fetchall()
    now = datetime.now(UTC)
    span_s = (now - month_starts(now)[0]).total_seconds()

    def arguments() -> Mapping[str, str]:
        names = ("broker", "account_id", "contract_key")
        moment = now - timedelta(seconds=chance.random() * span_s)
        chosen = chance.choice(contracts)
        return {**dict(zip(names, chosen, strict=True)), "moment": moment.isoformat()}

    return arguments


def read(config: DatabaseConfig, name: str, repeats: int, arguments: Arguments) -> Read:
    """Run the query of this name again and again, planned anew each time."""
    result = Read(name)
    with connect(config) as connection:
        server = psutil.Process(connection.info.backend_pid)
        cpu_before = 0.0
        for number in range(repeats + 1):
            values = {key: sql.Literal(text) for key, text in arguments().items()}
            query = sql.SQL(QUERIES[name]).format(**values).as_bytes(connection)  # type: ignore[arg-type]
            started_at = time.perf_counter()
            found = connection.pgconn.exec_(query)
            if found.status != ExecStatus.TUPLES_OK:
                raise RuntimeError(f"{name}: {found.get_error_message()}")
            if number == 0:  # filled the caches of the session, like those of a pool
                cpu_before = sum(server.cpu_times()[:2])
                continue
            result.times.append(time.perf_counter() - started_at)
            result.rows = found.ntuples
        result.cpu_s = sum(server.cpu_times()[:2]) - cpu_before
    return result


def read_lists(url: str, repeats: int, arguments: Arguments) -> list[Read]:
    """Ask for the first page of every list again and again."""
    return [
        _read_list(url, resource.path, repeats, arguments) for resource in RESOURCES
    ]


def _read_list(url: str, path: str, repeats: int, arguments: Arguments) -> Read:
    result = Read(f"GET {path}?limit={PAGE}")
    for _ in range(repeats):
        asked = {"limit": str(PAGE)}
        if path.endswith(("/asof", "/snapshots")):
            moment = arguments()["moment"]
            asked |= {"at" if path.endswith("/asof") else "start": moment}
        started_at = time.perf_counter()
        address = f"{url}{path}?{urllib.parse.urlencode(asked)}"
        try:
            with urllib.request.urlopen(address, timeout=60) as answer:  # noqa: S310
                result.rows = len(msgspec.json.decode(answer.read())["items"])
        except urllib.error.HTTPError as exc:
            result.refused[exc.code] += 1
        result.times.append(time.perf_counter() - started_at)
    return result


def percentiles_ms(times: Sequence[float]) -> list[float]:
    """Return p50, p95, p99 and the greatest, in milliseconds."""
    if len(times) < 2:
        return [1000 * time for time in times] * 4 or [0.0] * 4
    cuts = statistics.quantiles(times, n=100, method="inclusive")
    values = [*(cuts[point - 1] for point in (50, 95, 99)), max(times)]
    return [value * 1000 for value in values]
