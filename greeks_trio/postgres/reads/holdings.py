"""The open positions with everything that a model needs: one snapshot, as text.

PostgreSQL writes the JSON, and only the worker reads it: Python objects for ten thousand
positions would take a tenth of a second, in which no tick is read.

Shares and futures get the newest price of their underlying that came with an option, in the
same way as in ``portfolio_asof``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from psycopg import sql

from greeks_trio.postgres.reads.conditions import Condition
from greeks_trio.postgres.reads.pool import ReadConnection

_QUERY: Final = sql.SQL("""
with prices as materialized (
    select p.* from prices_asof('infinity', {stale_after_s}) p
), src as (
    select
        h.broker, h.account_id, h.contract_key, h.kind,
        coalesce(h.underlying, h.contract_key) as underlying,
        -- JSON and Python have no others; the answer counts the position as left out.
        case when h.expiration between '0001-01-01' and '9999-12-31'
            then h.expiration end as expiration,
        expiration_bucket(
            h.expiration, (statement_timestamp() at time zone 'America/New_York')::date
        ) as expiration_bucket,
        possible(h.strike, -1e9, 1e9) as strike, h.option_type, h.quantity,
        -- As in position_greeks.
        (coalesce(
            (
                select array[g.strategy_tag]
                from tagged_positions g
                where g.broker = h.broker
                  and g.account_id = h.account_id
                  and g.contract_key = h.contract_key
            ),
            (
                select array[t.strategy_tag]
                from tagged_trades t
                where t.broker = h.broker
                  and t.account_id = h.account_id
                  and t.contract_key = h.contract_key
                order by t.created_at desc, t.id desc
                limit 1
            )
        ))[1] as strategy_tag,
        coalesce(h.currency, 'USD') as currency,
        h.currency is not null
            or is_in_dollars(h.kind, h.contract_key, h.currency) as is_currency_named,
        h.units, h.money, h.premium, h.implied_volatility, h.price,
        coalesce(h.underlying_price, lent.price) as underlying_price,
        coalesce(h.is_underlying_price_stale, lent.is_stale) as is_underlying_price_stale,
        h.stale_reason
    from holdings_asof('infinity', {stale_after_s}, true) h
    left join lateral (
        select p.price, p.is_stale
        from prices p
        where h.kind in ('equity', 'future')
          and is_same_underlying(
              h.broker, h.underlying_id, coalesce(h.underlying, h.contract_key),
              h.currency, h.is_future,
              p.broker, p.underlying_id, p.underlying, p.currency, p.is_future
          )
          and coalesce(h.price_factor = p.price_factor, true)
        order by p.is_stale, p.broker <> h.broker, p.price_at desc, p.price
        limit 1
    ) lent on true
    where h.account_id <> 'watchlist'
)
select json_build_object(
    'as_of', to_char(
        statement_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'
    ),
    'holdings', coalesce(json_agg(row_to_json(src)), '[]')
)::text
from src
{where}
""")


class HoldingsFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which positions are read; every condition has to hold.

    Attributes:
        stale_after_s: The age from which a contract is stale.
        conditions: Over the columns of the answer, which are named ``src``.
    """

    stale_after_s: float
    conditions: Sequence[Condition] = ()


def read_holdings(wanted: HoldingsFilter, connection: ReadConnection) -> bytes:
    """Return the open positions as JSON; see `greeks_trio.risk.scenario_records`."""
    wheres = [condition for condition, _ in wanted.conditions]
    where = (
        sql.SQL("where {}").format(sql.SQL(" and ").join(wheres)) if wheres else None
    )
    query = _QUERY.format(stale_after_s=sql.Placeholder(), where=where or sql.SQL(""))
    params = [wanted.stale_after_s] * 2
    params += [value for _, values in wanted.conditions for value in values]
    row = connection.execute(query, params).fetchone()
    assert row is not None  # noqa: S101  # an aggregate has one row
    return str(row[0]).encode()
