"""Five months of ticks and positions, as a table of its own for each month."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import psycopg

from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.postgres.schema.partitions import month_bounds, partition_name
from tests.benchmarks.report import say
from tests.benchmarks.ticks import PAYLOAD
from tests.fix_postgres import connect

MONTHS = 5
WATCHED = 10  # of the contracts, at most one in ten

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
create index on {table} (transaction_id) where transaction_id is not null;
vacuum (analyze) {table}
"""
_ATTACH = """
alter table greek_snapshots attach partition {table} for values from ('{start}') to ('{end}')
"""


def month_starts(now: datetime) -> list[datetime]:
    """Return the first moments of the present month and those before, oldest first."""
    starts = [month_bounds(now)[0]]
    while len(starts) < MONTHS:
        starts.append(month_bounds(starts[-1] - timedelta(days=1))[0])
    return starts[::-1]


def fill(config: DatabaseConfig, rows: int, contracts: int) -> None:
    """Make contracts, positions and ticks, unless an earlier run has made them."""
    with connect(config) as connection:
        connection.execute("set synchronous_commit = off")
        if connection.execute("select to_regclass('bench_contracts')").fetchone() != (
            None,
        ):
            return
        now = datetime.now(UTC)
        starts = month_starts(now)
        values = {
            "start": starts[0],
            "expiration": now.date() + timedelta(days=60),
            "contracts": contracts,
            "watched": min(WATCHED, contracts // 10),
        }
        for statement in _CONTRACTS.split(";\n"):
            connection.execute(statement, values)
        # The same rate for all months, so that the present one has its share.
        step = (now - starts[0]) / rows
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
