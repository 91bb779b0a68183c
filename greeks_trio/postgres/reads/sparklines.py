"""One value of each interval of time, for many contracts at once, as text.

Each value is that of the last tick of its interval, found by one look at the primary key.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec
from psycopg import sql

from greeks_trio.postgres.reads.greek_history import Measure
from greeks_trio.postgres.reads.pool import ReadConnection
from greeks_trio.postgres.reads.time_grid import TimeGrid

_QUERY: Final = sql.SQL("""
select json_build_object(
    'broker', c.broker, 'account_id', c.account_id, 'contract_key', c.contract_key,
    'values', array(
        select (
            select v.{measure}
            from (
                select t.*
                from tick_history t
                where t.broker = c.broker
                  and t.account_id = c.account_id
                  and t.contract_key = c.contract_key
                  -- As in newest_by_lookup: keeps the planner from another index.
                  and t.contract_key between c.contract_key and c.contract_key
                  and t.event_time >= {moment}
                  and t.event_time < {next_moment}
                  and t.event_time <= %(end)s
                  and t.received_at > '-infinity'
                order by t.event_time desc, t.received_at desc, t.id desc
                limit 1
            ) t
            cross join lateral (
                select
                    g.*, possible(t.price, 0, 1e9) as price,
                    possible_price(
                        t.underlying_price,
                        t.contract_key like './%%' or t.underlying like '/%%'
                    ) as underlying_price
                from possible_greeks(
                    t.delta, t.gamma, t.theta, t.vega, t.rho, t.implied_volatility
                ) g
            ) v
        )
        from {numbers}
        order by n
    )
)::text
from unnest(%(brokers)s::text[], %(account_ids)s::text[], %(contract_keys)s::text[])
    with ordinality c (broker, account_id, contract_key, place)
order by c.place
""")


class SeriesName(msgspec.Struct, frozen=True):
    """A contract in one account."""

    broker: str
    account_id: str
    contract_key: str


class SparklinesFilter(msgspec.Struct, frozen=True, kw_only=True):
    """The series, the value and the intervals.

    Attributes:
        end: Later ticks do not count.
    """

    series: Sequence[SeriesName]
    measure: Measure
    grid: TimeGrid
    end: datetime


def read_sparklines(wanted: SparklinesFilter, connection: ReadConnection) -> bytes:
    """Return the series as a JSON array, in their order."""
    grid, number = wanted.grid, sql.Identifier("n")
    query = _QUERY.format(
        measure=sql.Identifier(wanted.measure),
        numbers=grid.numbers,
        moment=grid.moment(number),
        next_moment=grid.moment(sql.SQL("({} + 1)").format(number)),
    )
    params = {
        "brokers": [each.broker for each in wanted.series],
        "account_ids": [each.account_id for each in wanted.series],
        "contract_keys": [each.contract_key for each in wanted.series],
        "end": wanted.end,
    }
    lines = [line for (line,) in connection.execute(query, params)]
    return f"[{','.join(lines)}]".encode()
