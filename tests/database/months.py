"""Months of ticks for tests of retention, with values that files get wrong easily."""

from __future__ import annotations

from datetime import date

from greeks_trio.archive.retention import Action, Plan, Step, make_plan

JANUARY, FEBRUARY = date(2025, 1, 1), date(2025, 2, 1)
PARTITION = "greek_snapshots_2025_01"

_FILL = """
insert into greek_snapshots (event_time, received_at, broker, account_id, underlying,
    contract_key, expiration, strike, option_type, quantity, delta, gamma, theta, vega, rho,
    implied_volatility, underlying_price, availability, source_payload, fingerprint,
    underlying_price_at, price, bid, ask, in_rotation)
select timestamptz '2025-01-05 14:30+00' + i * interval '1.000001 s',
    timestamptz '2025-01-05 14:30+00' + i * interval '1.25 s',
    (array['ibkr', 'tastytrade'])[1 + i % 2],
    (array['U1', 'a,"b"', E'line\\nbreak', 'Zürich €'])[1 + i % 4], 'SPY',
    'SPY   261218C00' || lpad((600000 + i % 5)::text, 6, '0'),
    case when i % 3 = 0 then null else date '2026-12-18' end,
    (array[600.50, 0.000000000001, -37.630, 99999999999999999999999999])[1 + i % 4],
    case when i % 5 = 0 then null else 'call' end,
    case when i % 7 = 0 then null else -3.0 end,
    0.1 + i / 3.0, (array['-0', 'NaN', 'Infinity', '1e-320'])[1 + i % 4]::float8,
    -0.1, 1e300, null, 0.183, 668.25, 'realtime',
    jsonb_build_object('text', E'"quoted", \\n ü', 'n', 1.10, 'i', i, 'null', null),
    i, null, 3.1, null, 3.2, i % 2 = 0
from generate_series(1, {rows}) i
"""


def fill_january(observer, rows=300):
    """Make the month with rows of two brokers."""
    observer.execute(
        f"create table {PARTITION} partition of greek_snapshots"
        " for values from ('2025-01-01 00:00+00') to ('2025-02-01 00:00+00')"
    )
    observer.execute(_FILL.format(rows=rows).encode())


def insert_late(observer, number=1, broker="ibkr"):
    """Insert a tick of January."""
    observer.execute(
        "insert into greek_snapshots (event_time, received_at, broker, account_id,"
        " underlying, contract_key, delta, availability, source_payload, fingerprint)"
        " values ('2025-01-20 15:00+00', now(), %s, 'U1', 'SPY', 'late', 0.5,"
        " 'realtime', '{\"late\": true}', %s)",
        [broker, number],
    )


def all_rows(observer, table="greek_snapshots", columns="*"):
    """Return the rows of a table as text, which tells NaN and trailing zeros apart."""
    found = observer.execute(
        f"select (r)::text from (select {columns} from {table}) r order by 1".replace(
            "(r)::text", "r::text"
        )
    )
    return [text for (text,) in found]


def tables(observer):
    """Return the names of all tables of months."""
    found = observer.execute(
        "select relname from pg_class where relkind = 'r'"
        " and relname like 'greek\\_snapshots\\_%' order by 1"
    )
    return [name for (name,) in found]


def plan_of(month, action=Action.ARCHIVE):
    """Return a plan with one step."""
    return Plan(None, None, [Step(action, month)], [])


async def due(connection, retention, now, chosen=()):
    """Return the steps that are due, as pairs."""
    plan = await make_plan(connection, retention, chosen, now)
    return [(step.action, step.month) for step in plan.steps]
