"""Read the contracts that need an estimate, and keep the estimates.

PostgreSQL writes and reads the JSON, and only the worker turns it into objects: ten thousand
of them would take a tenth of a second, in which no tick is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

from psycopg.rows import TupleRow

from greeks_trio.postgres.connection import TrioConnection
from greeks_trio.postgres.failures import translated

# A part is one job of the worker, so others wait for at most some tenths of a second.
_PART_ROWS: Final = 2_000

# The fields are those of `greeks_trio.risk.estimates.Candidate`.
_CANDIDATES: Final = """
with h as materialized (
    select
        h.*,
        least(
            h.received_at, h.event_time,
            statement_timestamp() - h.carried_age_s * interval '1 second'
        ) as at
    from holdings_asof('infinity', %(stale_after_s)s, true) h
    where h.kind in ('option', 'future_option')
),
quotes as materialized (
    select
        h.*,
        case when h.event_time is not null then json_build_object(
            'broker', h.broker,
            'at', h.at,
            'implied_volatility', h.implied_volatility,
            'price', h.price,
            'underlying_price', h.underlying_price,
            'underlying_price_at', case
                when h.underlying_price is not null and h.underlying_price_source is null
                    then least(h.underlying_price_at, h.event_time, h.received_at)
                else h.underlying_price_at
            end,
            'underlying_price_broker', h.underlying_price_source,
            'is_underlying_price_stale', h.is_underlying_price_stale
        ) end as quote
    from h
),
others as materialized (
    select distinct on (q.contract_key) q.contract_key, q.quote
    from quotes q
    where q.stale_reason is null
      and (q.implied_volatility is not null or q.price is not null)
      and coalesce(q.price_factor, 1) = 1
    order by q.contract_key, q.implied_volatility is null, q.at desc
),
prices as materialized (
    select p.*
    from prices_asof('infinity', %(stale_after_s)s) p
    where not p.is_stale and coalesce(p.price_factor, 1) = 1
),
candidates as (
    select
        q.broker, q.account_id, q.contract_key, q.kind,
        case when q.expiration between '0001-01-01' and '9999-12-31'
            then q.expiration end as expiration,
        possible(q.strike, -1e9, 1e9) as strike,
        q.option_type, q.price_factor, q.stale_reason, q.delta, q.gamma, q.theta, q.vega,
        q.rho, q.quote as own, o.quote as other, lent.price as underlying
    from quotes q
    left join others o on o.contract_key = q.contract_key
    left join lateral (
        select json_build_object('broker', p.broker, 'price', p.price, 'at', p.price_at)
            as price
        from prices p
        where q.is_underlying_price_stale is not false
          and (p.underlying = q.underlying or p.underlying_id = q.underlying_id)
          and is_same_underlying(
              q.broker, q.underlying_id, q.underlying, q.currency, q.is_future,
              p.broker, p.underlying_id, p.underlying, p.currency, p.is_future
          )
        order by p.broker <> q.broker, p.price_at desc
        limit 1
    ) lent on true
    where q.stale_reason is not null
       or num_nulls(q.delta, q.gamma, q.theta, q.vega, q.rho) > 0
)
select statement_timestamp(), json_agg(row_to_json(c))::text
from (
    select c.*, (row_number() over () - 1) / %(part_rows)s as part from candidates c
) c
group by c.part
order by c.part
"""
_KEEP: Final = """
insert into estimated_greeks as kept (
    broker, account_id, contract_key, computed_at, inputs_at, delta, gamma, theta, vega,
    rho, volatility, volatility_source, volatility_broker, underlying_price,
    underlying_price_broker, model, rate, dividend_yield, no_estimate_reason
)
select
    broker, account_id, contract_key, computed_at, inputs_at, delta, gamma, theta, vega,
    rho, volatility, volatility_source, volatility_broker, underlying_price,
    underlying_price_broker, model, rate, dividend_yield, no_estimate_reason
from json_populate_recordset(null::estimated_greeks, %s::json)
on conflict (contract_key, account_id, broker) do update set
    computed_at = excluded.computed_at,
    inputs_at = excluded.inputs_at,
    delta = excluded.delta,
    gamma = excluded.gamma,
    theta = excluded.theta,
    vega = excluded.vega,
    rho = excluded.rho,
    volatility = excluded.volatility,
    volatility_source = excluded.volatility_source,
    volatility_broker = excluded.volatility_broker,
    underlying_price = excluded.underlying_price,
    underlying_price_broker = excluded.underlying_price_broker,
    model = excluded.model,
    rate = excluded.rate,
    dividend_yield = excluded.dividend_yield,
    no_estimate_reason = excluded.no_estimate_reason
where kept.computed_at <= excluded.computed_at
"""
_DROP_OLDER: Final = "delete from estimated_greeks where computed_at < %s"
_DROP_ALL: Final = "delete from estimated_greeks"
_COUNT: Final = """
select
    count(*) filter (where no_estimate_reason is null),
    count(*) filter (where no_estimate_reason is not null)
from estimated_greeks
"""


class EstimateCounts(NamedTuple):
    """Contracts that need an estimate: those that have one, and those with a reason instead."""

    estimated: int = 0
    not_estimated: int = 0


class Candidates(NamedTuple):
    """The contracts that need an estimate, at one moment.

    Attributes:
        as_of: The clock of the database; `None` if there are none.
        parts: JSON lists of them.
    """

    as_of: datetime | None
    parts: Sequence[bytes]


async def read_candidates(
    connection: TrioConnection[TupleRow], stale_after_s: float
) -> Candidates:
    """Return the contracts without a fresh value of a Greek, with possible inputs.

    Raises:
        StoreUnavailable: The database does not answer, or refuses.
    """
    values = {"stale_after_s": stale_after_s, "part_rows": _PART_ROWS}
    with translated(connection, may_refuse=False):
        cursor = await connection.execute(_CANDIDATES, values)
        rows = await cursor.fetchall()
    return Candidates(
        as_of=rows[0][0] if rows else None, parts=[row[1].encode() for row in rows]
    )


async def keep_estimates(
    connection: TrioConnection[TupleRow], estimates: bytes
) -> None:
    """Write estimates, as JSON, in place of the older ones of their contracts.

    Raises:
        StoreUnavailable: The database does not answer, or refuses.
    """
    with translated(connection, may_refuse=False):
        await connection.execute(_KEEP, [estimates.decode()])


async def drop_estimates(
    connection: TrioConnection[TupleRow], before: datetime | None = None
) -> None:
    """Delete the estimates from before this moment, or all.

    Raises:
        StoreUnavailable: The database does not answer, or refuses.
    """
    with translated(connection, may_refuse=False):
        if before is None:
            await connection.execute(_DROP_ALL)
        else:
            await connection.execute(_DROP_OLDER, [before])


async def count_estimates(connection: TrioConnection[TupleRow]) -> EstimateCounts:
    """Return the numbers of contracts with an estimate and without.

    Raises:
        StoreUnavailable: The database does not answer, or refuses.
    """
    with translated(connection, may_refuse=False):
        cursor = await connection.execute(_COUNT)
        [counts] = await cursor.fetchall()
    return EstimateCounts(*counts)
