"""The sums of the scopes of all limits, read by one statement.

They are those of ``portfolio_greeks``, with the age from which a tick is stale as a setting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import sql

from greeks_trio.risk.figures import FIGURES, Figure, Scope

# A broker that names no currency has dollars, as in the views.
_SUMS: Final = sql.SQL("""
with sums as materialized (
    select
        p.*, coalesce(p.currency, 'USD') as money,
        p.contracts + p.shares_futures + p.other_positions as positions
    from portfolio_asof('infinity', %(stale_after_s)s::double precision) p
),
scopes as (
    select * from unnest(
        %(numbers)s::integer[], %(brokers)s::text[], %(account_ids)s::text[],
        %(underlyings)s::text[], %(currencies)s::text[]
    ) as s (number, broker, account_id, underlying, currency)
)
select
    coalesce(sum(p.positions), 0)::bigint as positions,
    coalesce(sum(p.stale), 0)::bigint as stale,
    coalesce(array_agg(distinct p.money) filter (where p.money is not null), '{{}}')
        as currencies,
    -- Without a position now, there was one before: the account is no misspelt one.
    count(p.broker) > 0 or exists (
        select from positions h
        where (s.broker is null or h.broker = s.broker)
          and (s.account_id is null or h.account_id = s.account_id)
    ) as is_known,
    {figures}
from scopes s
left join sums p
    on (s.broker is null or p.broker = s.broker)
    and (s.account_id is null or p.account_id = s.account_id)
    and (s.underlying is null or p.underlying = s.underlying)
    and (s.currency is null or p.money = s.currency)
group by s.number, s.broker, s.account_id
order by s.number
""")
_OTHER_COLUMNS: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeSums:
    """The figures of one scope.

    Attributes:
        positions: The number of its open positions.
        stale: How many of them are stale.
        currencies: Those of its positions.
        is_known: Whether its broker and account have, or had, any position.
        values: The value of each figure by name; `None` if it is not known.
        missing: How many positions each figure lacks.
    """

    positions: int
    stale: int
    currencies: Sequence[str]
    is_known: bool
    values: Mapping[str, float | None]
    missing: Mapping[str, int]


def _added(columns: Sequence[str], function: str) -> sql.Composed:
    parts = [
        sql.SQL("{}(p.{})").format(sql.SQL(function), sql.Identifier(each))
        for each in columns
    ]
    return sql.SQL(" + ").join(parts)


def _columns_of(figure: Figure) -> sql.Composed:
    value = _added(figure.columns, "max" if figure.is_greatest else "sum")
    missing = _added(figure.missing, "sum") if figure.missing else sql.SQL("0")
    return sql.SQL("({})::double precision, coalesce({}, 0)::bigint").format(
        value, missing
    )


_STATEMENT: Final = _SUMS.format(
    figures=sql.SQL(", ").join(map(_columns_of, FIGURES.values()))
)


async def read_sums(
    connection: psycopg.AsyncConnection[Any],
    scopes: Sequence[Scope],
    stale_after_s: float,
) -> dict[Scope, ScopeSums]:
    """Return the figures of each scope, all of the same moment."""
    wanted = list(dict.fromkeys(scopes))
    cursor = await connection.execute(
        _STATEMENT,
        {
            "stale_after_s": stale_after_s,
            "numbers": list(range(len(wanted))),
            "brokers": [each.broker for each in wanted],
            "account_ids": [each.account_id for each in wanted],
            "underlyings": [each.underlying for each in wanted],
            "currencies": [each.currency for each in wanted],
        },
    )
    rows = await cursor.fetchall()
    return dict(zip(wanted, map(_sums, rows), strict=True))


def _sums(row: Sequence[Any]) -> ScopeSums:
    positions, stale, currencies, is_known = row[:_OTHER_COLUMNS]
    figures = row[_OTHER_COLUMNS:]
    return ScopeSums(
        positions=positions,
        stale=stale,
        currencies=currencies,
        is_known=is_known,
        values=dict(zip(FIGURES, figures[::2], strict=True)),
        missing=dict(zip(FIGURES, figures[1::2], strict=True)),
    )
