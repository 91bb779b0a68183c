"""Measure the risk views and pages of ticks over many rows, beside live ingest.

It starts the embedded server itself, durable as in production, and fills the partitions
of five months.  That takes about 500 bytes of disk and 15 microseconds a row.  With
``--data-dir`` the data stay there, and the next run uses them again.

Both brokers have the same contracts.  One in twenty has had no tick since the first month,
another one in twenty never had one, and a few are only watched.  There are also ten
thousand closed positions with long histories.  The queries run one after the other over
one connection, in a thread, while the loop writes ticks through the product's sink.  Each
is planned anew, as for a person at a terminal.  The last column is the processor time of
the server for one query; on a busy machine the rest is waiting.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import psutil
import psycopg
import trio

from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.model.records import Tick
from greeks_trio.postgres.embedded.server import open_embedded_server
from greeks_trio.postgres.schema.partitions import month_bounds, partition_name
from greeks_trio.postgres.tick_store import CopySink, TickStore
from tests.benchmarks.report import Report, Table, say
from tests.benchmarks.servers import describe_server
from tests.benchmarks.ticks import PAYLOAD
from tests.factories import make_tick
from tests.fix_postgres import connect

HELP = "the risk views and pages of ticks over many rows, beside live ingest"
QUICK = ("--rows", "1000000", "--repeats", "20")

MONTHS = 5
WATCHED = 10  # of the contracts, at most one in ten
PAGE = 500
# The filling and the indexes are not part of the measurement.
SETTINGS = {"max_wal_size": "4GB", "maintenance_work_mem": "512MB"}

_CONTRACTS = """
create table bench_contracts as
select
    n,
    case n %% 2 when 0 then 'ibkr' else 'tastytrade' end as broker,
    case when n < %(watched)s then 'watchlist' when n %% 2 = 0 then 'U1' else 'T1' end
        as account_id,
    'S' || n / 40 as underlying,
    format('%%s%%sC%%s', rpad('S' || n / 40, 6), to_char(%(expiration)s::date, 'YYMMDD'),
        lpad((n / 2 * 1000)::text, 8, '0')) as contract_key,
    %(expiration)s::date as expiration,
    n / 2 as strike,
    n %% 20 = 19 as is_cold,
    n %% 20 = 18 as is_silent
from generate_series(0, %(contracts)s - 1) as n;

insert into positions
select broker, account_id, contract_key, %(start)s::timestamptz + change * interval '1 day',
    'option', 1 + (n + change) %% 5, 100, 'USD', underlying, expiration, strike, 'call'
from bench_contracts, generate_series(0, 9) as change
where account_id <> 'watchlist';

insert into positions
select 'ibkr', 'U1', format('OLD   %%sC%%s', to_char(%(start)s::timestamptz, 'YYMMDD'),
        lpad(n::text, 8, '0')),
    %(start)s::timestamptz + change * interval '1 hour', 'option', 1 - change, 100, 'USD',
    'OLD', %(start)s::date + 1, n, 'call'
from generate_series(1, 10000) as n, generate_series(0, 1) as change;

insert into positions
select 'ibkr', 'U1', underlying, %(start)s::timestamptz + change * interval '1 hour',
    'equity', 100 + change, null, 'USD', underlying, null, null, null
from (select distinct underlying from bench_contracts) as shares,
    generate_series(0, 999) as change;

analyze positions
"""
_FILL = """
with ticking as materialized (
    select *, row_number() over (order by n) - 1 as place
    from bench_contracts
    where not is_silent and (%(with_cold)s or not is_cold)
)
insert into {table}
    (id, event_time, received_at, broker, account_id, underlying, contract_key,
     expiration, strike, option_type, quantity, delta, gamma, theta, vega, rho,
     implied_volatility, underlying_price, underlying_price_at, price, availability,
     source_payload, fingerprint)
select i, at, at + interval '20 ms', broker, account_id, underlying, contract_key,
    expiration, strike, 'call', 1, random(), random(), -random(), random(),
    case when broker <> 'ibkr' then random() end, 0.2,
    100 + strike / 40, at, 5 + random(), 'realtime', %(payload)s::jsonb, i
from (
    select i, %(start)s::timestamptz + (i - %(first)s) * %(step)s::interval as at,
        (i * 7919) %% (select count(*) from ticking) as place
    from generate_series(%(first)s::bigint, %(last)s::bigint) as i
) as ticks
join ticking using (place)
"""
_INDEX = """
alter table {table} add primary key
    (broker, account_id, contract_key, event_time, fingerprint);
create index on {table} (event_time desc);
vacuum (analyze) {table}
"""
_ATTACH = """
alter table greek_snapshots attach partition {table} for values from ('{start}') to ('{end}')
"""

QUERIES: dict[str, str] = {
    "latest_greeks": "select * from latest_greeks",
    "latest_greeks, one account": "select * from latest_greeks where account_id = 'T1'",
    "portfolio_greeks": "select * from portfolio_greeks",
    "broker_divergence": "select * from broker_divergence",
    "greeks_asof": "select * from greeks_asof(%(moment)s)",
    "portfolio_asof": "select * from portfolio_asof(%(moment)s)",
    f"{PAGE} ticks of a contract": f"""
        select * from greek_snapshots
        where broker = %(broker)s and account_id = %(account_id)s
          and contract_key = %(contract_key)s and event_time <= %(moment)s
        order by event_time desc, received_at desc, id desc limit {PAGE}""",
    f"{PAGE} ticks of a time range": f"""
        select * from greek_snapshots
        where event_time >= %(moment)s and event_time < %(moment)s + interval '1 hour'
        order by event_time, received_at, id limit {PAGE}""",
}


def _month_starts(now: datetime) -> list[datetime]:
    """Return the first moments of the present month and those before, oldest first."""
    starts = [month_bounds(now)[0]]
    while len(starts) < MONTHS:
        starts.append(month_bounds(starts[-1] - timedelta(days=1))[0])
    return starts[::-1]


def fill(config: DatabaseConfig, options: argparse.Namespace) -> None:
    """Make contracts, positions and ticks, unless an earlier run has made them."""
    with connect(config) as connection:
        connection.execute("set synchronous_commit = off")
        if connection.execute("select to_regclass('bench_contracts')").fetchone() != (
            None,
        ):
            return
        now = datetime.now(UTC)
        starts = _month_starts(now)
        values = {
            "start": starts[0],
            "expiration": now.date() + timedelta(days=60),
            "contracts": options.contracts,
            "watched": min(WATCHED, options.contracts // 10),
        }
        for statement in _CONTRACTS.split(";\n"):
            connection.execute(statement, values)
        # The same rate for all months, so that the present one has its share.
        step = (now - starts[0]) / options.rows
        for number, start in enumerate(starts):
            end = min(month_bounds(start)[1], now)
            fill_month(connection, start, end, step, is_first=number == 0)


def fill_month(
    connection: psycopg.Connection,
    start: datetime,
    end: datetime,
    step: timedelta,
    *,
    is_first: bool,
) -> None:
    """Fill one partition as a table of its own, index it, and attach it."""
    table = partition_name(start)
    connection.execute(
        f"drop table if exists {table};"
        f"create table {table} (like greek_snapshots including all"
        " excluding identity excluding indexes)"
    )
    (first,) = connection.execute(
        "select coalesce(max(id), 0) + 1 from greek_snapshots"
    ).fetchone() or (1,)
    rows = int((end - start) / step)
    values = {
        "start": start,
        "step": step,
        "first": first,
        "last": first + rows - 1,
        "with_cold": is_first,
        "payload": PAYLOAD.decode(),
    }
    connection.execute(_FILL.format(table=table), values)
    for statement in _INDEX.format(table=table).split(";\n"):
        connection.execute(statement)
    bounds = month_bounds(start)
    connection.execute(_ATTACH.format(table=table, start=bounds[0], end=bounds[1]))
    connection.execute(
        f"alter table greek_snapshots alter id restart with {first + rows}"
    )
    say(f"filled {table}: {rows:,} rows")


class Ingest:
    """Writes ticks of the live contracts at a steady rate, and keeps the times."""

    def __init__(self, config: DatabaseConfig, rate: float) -> None:
        with connect(config) as connection:
            self._contracts = connection.execute(
                "select broker, account_id, underlying, contract_key, expiration"
                " from bench_contracts where not is_cold and not is_silent"
            ).fetchall()
        self._config = config
        self._rate = rate
        self.rows = 0
        self.write_s: list[float] = []

    async def run(
        self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Write until cancelled; started with the first batch."""
        async with TickStore(self._config).open() as sink:
            await self._write(sink, 1)
            task_status.started()
            started_at = trio.current_time()
            due = 0
            while self._rate:
                await trio.sleep(0.02)
                done = due
                due = int(self._rate * (trio.current_time() - started_at))
                await self._write(sink, due - done)
            await trio.sleep_forever()

    async def _write(self, sink: CopySink, number: int) -> None:
        ticks = [self._make_tick() for _ in range(number)]
        started_at = time.perf_counter()
        self.rows += await sink.write(ticks)
        self.write_s.append(time.perf_counter() - started_at)

    def _make_tick(self) -> Tick:
        broker, account_id, underlying, key, expiration = random.choice(self._contracts)
        now = datetime.now(UTC)
        return make_tick(
            broker=broker,
            account_id=account_id,
            underlying=underlying,
            contract_key=key,
            expiration=expiration,
            event_time=now,
            received_at=now,
            delta=random.random(),
            rho=None if broker == "ibkr" else random.random(),
            underlying_price_at=now,
            price=random.random(),
            source_payload=PAYLOAD,
        )


@dataclass
class Read:
    """The times of one query in seconds; ``cpu_s`` is the server's, for all runs."""

    name: str
    times: list[float] = field(default_factory=list)
    rows: int = 0
    cpu_s: float = 0.0

    def row(self) -> list[object]:
        """Return a row of the table."""
        cpu_ms = 1000 * self.cpu_s / len(self.times)
        return [self.name, self.rows, *percentiles_ms(self.times), cpu_ms]


def read(
    config: DatabaseConfig,
    name: str,
    repeats: int,
    arguments: Callable[[], dict],
) -> Read:
    """Run the query of this name again and again."""
    result = Read(name)
    with connect(config) as connection:
        connection.prepare_threshold = None
        # Fills the caches of the connection, like those of a pool.
        connection.execute(QUERIES[name], arguments())
        server = psutil.Process(connection.info.backend_pid)
        cpu_before = sum(server.cpu_times()[:2])
        for _ in range(repeats):
            values = arguments()
            started_at = time.perf_counter()
            result.rows = len(connection.execute(QUERIES[name], values).fetchall())
            result.times.append(time.perf_counter() - started_at)
        result.cpu_s = sum(server.cpu_times()[:2]) - cpu_before
    return result


def make_arguments(config: DatabaseConfig, seed: int) -> Callable[[], dict]:
    """Return a function that gives a contract and a past moment, another each time."""
    chance = random.Random(seed)
    with connect(config) as connection:
        contracts = connection.execute(
            "select broker, account_id, contract_key from bench_contracts"
            " where not is_cold and not is_silent"
        ).fetchall()
    now = datetime.now(UTC)
    span_s = (now - _month_starts(now)[0]).total_seconds()

    def arguments() -> dict:
        names = ("broker", "account_id", "contract_key")
        moment = now - timedelta(seconds=chance.random() * span_s)
        chosen = chance.choice(contracts)
        return {**dict(zip(names, chosen, strict=True)), "moment": moment}

    return arguments


def percentiles_ms(times: Sequence[float]) -> list[float]:
    """Return p50, p95, p99 and the greatest, in milliseconds."""
    cuts = statistics.quantiles(times, n=100, method="inclusive")
    values = [*(cuts[point - 1] for point in (50, 95, 99)), max(times)]
    return [value * 1000 for value in values]


def describe_sizes(config: DatabaseConfig) -> str:
    """Return the number of rows."""
    with connect(config) as connection:
        found = connection.execute(
            "select (select sum(reltuples) from pg_partition_tree('greek_snapshots')"
            "    join pg_class on oid = relid where isleaf),"
            "  (select sum(pg_total_relation_size(relid))"
            "    from pg_partition_tree('greek_snapshots')) / 1e9,"
            "  (select count(*) from bench_contracts), (select count(*) from positions)"
        ).fetchone()
    assert found is not None
    return "{:,.0f} ticks in {:.1f} GB, {:,} contracts, {:,} rows of positions".format(
        *found
    )


async def measure(options: argparse.Namespace) -> Report:
    """Fill, and measure each query."""
    async with open_embedded_server(options.data_dir, settings=SETTINGS) as config:
        async with TickStore(config).open():
            pass  # makes the schema
        await trio.to_thread.run_sync(fill, config, options)
        table = Table(
            describe_sizes(config),
            ["query", "rows", "p50 ms", "p95 ms", "p99 ms", "max ms", "server CPU ms"],
            [],
        )
        say(table.title)
        arguments = make_arguments(config, options.seed)
        ingest = Ingest(config, options.rate)
        async with trio.open_nursery() as nursery:
            await nursery.start(ingest.run)
            for name in QUERIES:
                result = await trio.to_thread.run_sync(
                    partial(read, config, name, options.repeats, arguments)
                )
                table.rows.append(result.row())
            nursery.cancel_scope.cancel()
        table.rows.append(
            [
                "meanwhile written, a batch",
                ingest.rows,
                *percentiles_ms(ingest.write_s),
                None,
            ]
        )
        return Report([table], machine=describe_server(config))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--rows", type=int, default=50_000_000, help="ticks in the table"
    )
    parser.add_argument("--contracts", type=int, default=200)
    parser.add_argument("--rate", type=float, default=1000.0, help="ticks a second")
    parser.add_argument("--repeats", type=int, default=200, help="of each query")
    parser.add_argument("--data-dir", type=Path, help="keep the data here")
    parser.add_argument("--seed", type=int, default=1)


def run(options: argparse.Namespace) -> Report:
    """Measure all queries, one after the other."""
    return trio.run(measure, options)
