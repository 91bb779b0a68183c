"""The ticks of every position between two moments: one snapshot, as text.

PostgreSQL writes the JSON, one line for each contract, and only the worker reads it: Python
objects for twenty thousand ticks would take half a second, in which no tick is read.

The time from the first position on is cut into steps of one length.  Of each step the query takes the last tick
that has a price, by one look at the primary key.  So its time depends on the number of steps
and not on the number of ticks, and the number of steps follows from that of the contracts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from psycopg import sql

from greeks_trio.postgres.reads.pool import ReadConnection

# Each step of each contract is one look at the index: some 35 microseconds.
MAX_LOOKS: Final = 20_000
MAX_CONTRACTS: Final = 5_000
_MAX_STEPS: Final = 1_500
# No step is shorter.
_MIN_STEP_S: Final = 1.0
_MAX_OUTAGES: Final = 200

# Everything that was open at the start, and everything that changed until the end.  The
# second part comes from the index alone; contracts without an expiration are few.
_HELD: Final = sql.SQL("""
    select p.broker, p.account_id, p.contract_key, {start} as held_from
    from positions_asof({start}) p
    where {filters}
    union all
    select
        p.broker, p.account_id, p.contract_key, min(least(p.observed_at, p.recorded_at))
    from position_history p
    where (
          p.expiration is null
          or p.expiration > {start} at time zone 'UTC' - interval '36 hours'
      )
      and least(p.observed_at, p.recorded_at) > {start}
      and least(p.observed_at, p.recorded_at) <= {end}
      and p.quantity is distinct from 0
      and {filters}
    group by p.broker, p.account_id, p.contract_key
""")

_COUNT: Final = sql.SQL("""
with held as materialized ({held})
select count(distinct (h.broker, h.account_id, h.contract_key)), min(h.held_from)
from held h
""")

_PATHS: Final = sql.SQL("""
with held as materialized (
    select distinct h.broker, h.account_id, h.contract_key from ({held}) h
),
accounts as materialized (
    select
        a.broker, a.account_id,
        (
            select min(least(p.observed_at, p.recorded_at))
            from position_history p
            where p.broker = a.broker and p.account_id = a.account_id
        ) as seen_from
    from (select distinct h.broker, h.account_id from held h) a
),
-- The strategies, as in position_greeks.
of_trades as materialized (
    select distinct on (t.broker, t.account_id, t.contract_key)
        t.broker, t.account_id, t.contract_key, t.strategy_tag
    from tagged_trades t
    where t.created_at <= {end}
    order by t.broker, t.account_id, t.contract_key, t.created_at desc, t.id desc
)
select row_to_json(line)::text
from (
    select
        h.broker, h.account_id, h.contract_key, last.kind,
        coalesce(last.underlying, newest.underlying, h.contract_key) as underlying,
        -- JSON and Python have no others; null counts as not known.
        (
            select e.day
            from (select coalesce(last.expiration, newest.expiration) as day) e
            where e.day between '0001-01-01' and '9999-12-31'
        ) as expiration,
        expiration_bucket(
            coalesce(last.expiration, newest.expiration),
            ({end} at time zone 'America/New_York')::date
        ) as expiration_bucket,
        possible(coalesce(last.strike, newest.strike), -1e9, 1e9) as strike,
        coalesce(last.option_type, newest.option_type) as option_type,
        -- As in risk_totals.
        coalesce(last.currency, 'USD') as currency,
        last.currency is null as is_currency_unnamed,
        case when of_positions.contract_key is not null then of_positions.strategy_tag
            else of_trades.strategy_tag end as strategy_tag,
        quantities.rows as quantities,
        trades.rows as trades,
        ticks.lists as ticks,
        case when a.seen_from > {start} then a.seen_from end as seen_from
    from held h
    join accounts a using (broker, account_id)
    left join tagged_positions of_positions using (broker, account_id, contract_key)
    left join of_trades using (broker, account_id, contract_key)
    -- The contract, from its newest open position.
    cross join lateral (
        select p.*
        from position_history p
        where p.broker = h.broker
          and p.account_id = h.account_id
          and p.contract_key = h.contract_key
          and least(p.observed_at, p.recorded_at) <= {end}
          and p.quantity is distinct from 0
        order by least(p.observed_at, p.recorded_at) desc, p.observed_at desc
        limit 1
    ) last
    cross join lateral (
        select json_agg(
            json_build_array(
                date_part('epoch', q.at), q.quantity::double precision,
                q.price_factor * coalesce(q.premium_multiplier, q.multiplier),
                coalesce(q.premium_multiplier, q.multiplier)
            )
            order by q.at, q.observed_at
        ) as rows
        from (
            select
                least(p.observed_at, p.recorded_at) as at, p.observed_at,
                possible(p.quantity, -1e12, 1e12) as quantity,
                case when p.kind = 'equity' and coalesce(p.multiplier, 0) = 0 then 1
                    else possible(p.multiplier, 1e-12, 1e12) end as multiplier,
                possible(p.premium_multiplier, 1e-12, 1e12) as premium_multiplier,
                case
                    when p.price_factor is not null
                    then possible(p.price_factor, 1e-12, 1e12)
                    when is_in_dollars(p.kind, p.contract_key, p.currency) then 1
                end as price_factor
            from (
                (
                    select p.*
                    from position_history p
                    where p.broker = h.broker
                      and p.account_id = h.account_id
                      and p.contract_key = h.contract_key
                      and least(p.observed_at, p.recorded_at) <= {start}
                    order by
                        least(p.observed_at, p.recorded_at) desc, p.observed_at desc
                    limit 1
                )
                union all
                select p.*
                from position_history p
                where p.broker = h.broker
                  and p.account_id = h.account_id
                  and p.contract_key = h.contract_key
                  and least(p.observed_at, p.recorded_at) > {start}
                  and least(p.observed_at, p.recorded_at) <= {end}
            ) p
        ) q
    ) quantities
    cross join lateral (
        select coalesce(
            json_agg(
                json_build_array(
                    date_part('epoch', t.created_at), t.action,
                    t.quantity::double precision, t.price::double precision
                )
                order by t.created_at
            ),
            '[]'
        ) as rows
        from trades t
        where t.broker = h.broker
          and t.account_id = h.account_id
          and t.contract_key = h.contract_key
          -- A position may be read some time after the trade.
          and t.created_at > {start} - interval '1 hour'
          and t.created_at <= {end}
    ) trades
    left join lateral (
        select t.underlying, t.expiration, t.strike, t.option_type
        from tick_history t
        where last.kind in ('option', 'future_option')
          and t.broker = h.broker
          and t.account_id = h.account_id
          and t.contract_key = h.contract_key
          and t.contract_key between h.contract_key and h.contract_key
          and t.event_time > {start} - {lookback}
          and t.event_time <= {end}
        order by t.event_time desc
        limit 1
    ) newest on true
    cross join lateral (
        select json_build_object(
            'at', coalesce(array_agg(date_part('epoch', tick.event_time)), '{{}}'),
            'price', coalesce(array_agg(tick.price), '{{}}'),
            'underlying_price', coalesce(array_agg(tick.underlying_price), '{{}}'),
            'implied_volatility', coalesce(array_agg(tick.implied_volatility), '{{}}'),
            'delta', coalesce(array_agg(tick.delta), '{{}}'),
            'gamma', coalesce(array_agg(tick.gamma), '{{}}'),
            'theta', coalesce(array_agg(tick.theta), '{{}}'),
            'vega', coalesce(array_agg(tick.vega), '{{}}')
        ) as lists
        from (
            select
                s.event_time, s.price, g.*,
                possible_price(
                    s.underlying_price,
                    last.kind = 'future_option' or s.underlying like '/%%'
                ) as underlying_price
            -- Step 0 is the time before the first step.
            from generate_series(0, {steps}) step
            cross join lateral (
                select t.*
                from tick_history t
                where last.kind in ('option', 'future_option')
                  and t.broker = h.broker
                  and t.account_id = h.account_id
                  and t.contract_key = h.contract_key
                  -- This repeats the condition above; see newest_by_lookup.
                  and t.contract_key between h.contract_key and h.contract_key
                  and t.event_time > case when step = 0 then {start} - {lookback}
                      else {held_from} + (step - 1) * {length} end
                  and t.event_time <= least({held_from} + step * {length}, {end})
                  and t.event_time <= statement_timestamp() + interval '5 minutes'
                  and t.price between 0 and 1e9
                order by t.event_time desc, t.received_at desc, t.id desc
                limit 1
            ) s
            cross join lateral possible_greeks(
                s.delta, s.gamma, s.theta, s.vega, s.rho, s.implied_volatility
            ) g
            order by step
        ) tick
    ) ticks
) line
""")

_OUTAGES: Final = sql.SQL("""
with found as (
    select o.broker, o.account_id, o.contract_key, o.started_at, o.ended_at, o.reasons
    from outages o
    where o.started_at < {end}
      and (o.ended_at is null or o.ended_at > {start})
      and {filters}
)
select
    coalesce(
        (select json_agg(json_build_object(
            'broker', f.broker,
            'account_id', f.account_id,
            'contract_key', f.contract_key,
            'started_at',
            to_char(f.started_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
            'ended_at',
            to_char(f.ended_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
            'reasons', f.reasons
        ))
        from (select * from found order by started_at limit {limit}) f),
        '[]'
    )::text,
    (select count(*) from found)
""")
# The last price before the start is looked for in this time: it may be a long week-end.
_LOOKBACK: Final = sql.SQL("interval '7 days'")


class PathsFilter(msgspec.Struct, frozen=True, kw_only=True):
    """The positions and the two moments.

    Attributes:
        broker: Only this broker; `None` for all, as for the others.
        underlying: Positions whose underlying the broker does not name are read as well.
    """

    start: datetime
    end: datetime
    broker: str | None = None
    account_id: str | None = None
    underlying: str | None = None
    max_looks: int = MAX_LOOKS


class TooManyContracts(Exception):
    """There are more contracts than one answer can have.

    Attributes:
        contracts: Their number.
    """

    def __init__(self, contracts: int) -> None:
        super().__init__(contracts)
        self.contracts = contracts


def read_paths(wanted: PathsFilter, connection: ReadConnection) -> bytes:
    """Return the paths as JSON; see `greeks_trio.risk.explain_records.Paths`.

    Raises:
        TooManyContracts: There are more than `MAX_CONTRACTS`.
    """
    with connection.transaction():
        connection.execute("set transaction isolation level repeatable read")
        parts = _parts(wanted)
        held = _HELD.format(**parts)
        contracts, held_from = _row(connection, _COUNT.format(held=held), wanted)
        if contracts > MAX_CONTRACTS:
            raise TooManyContracts(contracts)
        held_from = held_from or wanted.start
        seconds = max((wanted.end - held_from).total_seconds(), _MIN_STEP_S)
        steps = _steps(seconds, contracts, wanted.max_looks)
        length_s = seconds / steps
        query = _PATHS.format(
            held=held,
            held_from=sql.Literal(held_from),
            steps=sql.Literal(steps),
            lookback=_LOOKBACK,
            length=sql.Literal(length_s) + sql.SQL(" * interval '1 second'"),
            **parts,
        )
        lines = [line for (line,) in connection.execute(query, _params(wanted))]
        of_outages = _OUTAGES.format(
            limit=sql.Literal(_MAX_OUTAGES),
            **{**parts, "filters": _filters(wanted, "o", is_null_all=True)},
        )
        outages, number = _row(connection, of_outages, wanted)
    left_out = max(0, number - _MAX_OUTAGES)
    return (
        f'{{"step_s":{length_s},"contracts":[{",".join(lines)}],'
        f'"outages":{outages},"outages_left_out":{left_out}}}'
    ).encode()


def _steps(seconds: float, contracts: int, max_looks: int) -> int:
    """Return the number of steps of each contract."""
    steps = min(
        max_looks // max(contracts, 1), _MAX_STEPS, math.floor(seconds / _MIN_STEP_S)
    )
    return max(steps, 1)


def _parts(wanted: PathsFilter) -> dict[str, sql.Composable]:
    return {
        "start": sql.SQL("%(start)s::timestamptz"),
        "end": sql.SQL("%(end)s::timestamptz"),
        "filters": _filters(wanted, "p"),
    }


def _filters(
    wanted: PathsFilter, alias: str, *, is_null_all: bool = False
) -> sql.Composable:
    """Return the condition on the positions, or on the outages that concern them."""
    name = sql.SQL(alias)
    conditions: list[sql.Composable] = [sql.SQL("true")]
    if wanted.broker is not None:
        conditions.append(sql.SQL("{}.broker = %(broker)s").format(name))
    if wanted.account_id is not None:
        text = "coalesce({}.account_id = %(account_id)s, {})"
        conditions.append(sql.SQL(text).format(name, sql.Literal(is_null_all)))
    if wanted.underlying is not None and not is_null_all:
        text = "coalesce({}.underlying = %(underlying)s, true)"
        conditions.append(sql.SQL(text).format(name))
    return sql.SQL(" and ").join(conditions)


def _params(wanted: PathsFilter) -> dict[str, Any]:
    return msgspec.structs.asdict(wanted)


def _row(
    connection: ReadConnection, query: sql.Composed, wanted: PathsFilter
) -> Sequence[Any]:
    row = connection.execute(query, _params(wanted)).fetchone()
    assert row is not None  # noqa: S101  # an aggregate has one row
    return row
