"""The sums of the scopes of all limits: one statement for positions, one for accounts.

A third one is for beta-weighted deltas, and a fourth one for strategies.  A statement runs if
a rule needs it.  The sums are those of ``portfolio_greeks``, ``beta_weighted``,
``risk_totals`` and ``latest_account_values``, with the age from which
a value is stale as a setting.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, LiteralString, TypeAlias

import psycopg
from psycopg import sql

from greeks_trio.risk.figures import FIGURES, Figure, FigureSource, Scope

# A broker that names no currency has dollars, as in the views.
_POSITIONS: Final = sql.SQL("""
with rows as materialized (
    select
        p.*,
        case
            when p.unknown_positions < p.contracts + p.shares_futures + p.other_positions
            then coalesce(p.currency, 'USD')
        end as money,
        p.contracts + p.shares_futures + p.other_positions as number,
        -- An unknown position lacks both deltas, and is one position.
        p.missing_delta + p.missing_share_future_delta - p.unknown_positions
            as missing_net_delta
    from portfolio_asof('infinity', %(stale_after_s)s::double precision) p
),
{scopes}
select
    coalesce(sum(r.number), 0)::bigint,
    coalesce(sum(r.stale), 0)::bigint,
    coalesce(array_agg(distinct r.money) filter (where r.money is not null), '{{}}'),
    -- Without a position now, there was one before: the account is no misspelt one.
    count(r.broker) > 0 or exists (
        select from positions h
        where (s.broker is null or h.broker = s.broker)
          and (s.account_id is null or h.account_id = s.account_id)
    ),
    {figures}
from scopes s
left join rows r
    on (s.broker is null or r.broker = s.broker)
    and (s.account_id is null or r.account_id = s.account_id)
    -- An unknown position may be one on any underlying, in any currency.
    and (
        s.underlying is null or r.underlying = s.underlying or r.unknown_positions > 0
    )
    and (s.currency is null or r.money = s.currency or r.unknown_positions > 0)
group by s.number, s.broker, s.account_id
order by s.number
""")
# As above, over the positions with a tag.  A tag that no position ever had is a misspelt one.
_STRATEGIES: Final = sql.SQL("""
with rows as materialized (
    select
        t.*, t.positions as number,
        case when t.unknown_positions < t.positions then t.currency end as money
    from risk_totals_asof(
        'infinity', '{{broker,account_id,underlying,strategy_tag}}',
        %(stale_after_s)s::double precision
    ) t
),
{scopes}
select
    coalesce(sum(r.number), 0)::bigint,
    coalesce(sum(r.stale), 0)::bigint,
    coalesce(array_agg(distinct r.money) filter (where r.money is not null), '{{}}'),
    exists (select from tagged_positions g where g.strategy_tag = s.strategy_tag)
        or exists (select from tagged_trades t where t.strategy_tag = s.strategy_tag),
    {figures}
from scopes s
left join rows r
    on (r.strategy_tag = s.strategy_tag or r.unknown_positions > 0)
    and (s.broker is null or r.broker = s.broker)
    and (s.account_id is null or r.account_id = s.account_id)
    and (
        s.underlying is null or r.underlying = s.underlying or r.unknown_positions > 0
    )
    and (s.currency is null or r.money = s.currency or r.unknown_positions > 0)
group by s.number, s.strategy_tag
order by s.number
""")
# The sums of beta_weighted_totals_asof, for each scope.  With an old price of the benchmark
# the number of its shares is stale.
_BETA_WEIGHTED: Final = sql.SQL("""
with rows as materialized (
    select
        b.*, coalesce(b.currency, 'USD') as money,
        case when b.beta_weighted_dollar_delta is null then b.positions
            else b.missing_dollar_delta end as left_out,
        case
            when statement_timestamp() - b.benchmark_price_at
                > %(stale_after_s)s * interval '1 second'
            then b.positions else b.stale
        end as not_fresh
    from beta_weighted_asof(
        'infinity', %(benchmark)s, %(stale_after_s)s::double precision
    ) b
),
{scopes}
select
    coalesce(sum(r.positions), 0)::bigint,
    coalesce(sum(r.not_fresh), 0)::bigint,
    coalesce(array_agg(distinct r.money) filter (where r.money is not null), '{{}}'),
    count(r.broker) > 0 or exists (
        select from positions h
        where (s.broker is null or h.broker = s.broker)
          and (s.account_id is null or h.account_id = s.account_id)
    ),
    {figures}
from scopes s
left join rows r
    on (s.broker is null or r.broker = s.broker)
    and (s.account_id is null or r.account_id = s.account_id)
    and (s.currency is null or r.money = s.currency)
group by s.number, s.broker, s.account_id
order by s.number
""")
# An account with positions and without values is missing, in any currency.
_ACCOUNTS: Final = sql.SQL("""
with held as (
    select distinct broker, account_id from positions_asof('infinity')
),
rows as materialized (
    select
        v.*, coalesce(h.broker, v.broker) as held_at,
        coalesce(h.account_id, v.account_id) as holder,
        case when v.broker is not null then coalesce(v.currency, 'USD') end as money
    from held h
    full join account_values_asof('infinity', %(stale_after_s)s::double precision) v
        on v.broker = h.broker and v.account_id = h.account_id
),
{scopes}
select
    count(r.held_at),
    count(*) filter (where r.is_stale),
    coalesce(array_agg(distinct r.money) filter (where r.money is not null), '{{}}'),
    count(r.held_at) > 0,
    {figures}
from scopes s
left join rows r
    on (s.broker is null or r.held_at = s.broker)
    and (s.account_id is null or r.holder = s.account_id)
    and (s.currency is null or r.money is null or r.money = s.currency)
group by s.number
order by s.number
""")
_SCOPES: Final = sql.SQL("""
scopes as (
    select * from unnest(
        %(numbers)s::integer[], %(brokers)s::text[], %(account_ids)s::text[],
        %(underlyings)s::text[], %(currencies)s::text[], %(strategy_tags)s::text[]
    ) as s (number, broker, account_id, underlying, currency, strategy_tag)
)
""")
_OTHER_COLUMNS: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeSums:
    """The figures of one scope.

    Attributes:
        positions: The number of its open positions, or accounts.
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


# "strategies" are positions in scopes with a strategy.
_Rows: TypeAlias = FigureSource | Literal["strategies"]
SumsByScope: TypeAlias = Mapping[tuple[FigureSource, Scope], ScopeSums]


def _added(columns: Sequence[str], form: LiteralString) -> sql.Composed:
    parts = [sql.SQL(form).format(sql.Identifier(each)) for each in columns]
    return sql.SQL(" + ").join(parts)


def _columns_of(figure: Figure) -> sql.Composed:
    value = _added(figure.columns, "max(r.{})" if figure.is_greatest else "sum(r.{})")
    missing: sql.Composable = sql.SQL("0")
    if figure.source == "accounts":
        missing = _added(figure.missing, "count(r.held_at) - count(r.{})")
    elif figure.missing:
        missing = _added(figure.missing, "sum(r.{})")
    return sql.SQL("({})::double precision, coalesce({}, 0)::bigint").format(
        value, missing
    )


def _names_of(source: FigureSource) -> list[str]:
    return [name for name, each in FIGURES.items() if each.source == source]


def _statement(query: sql.SQL, source: FigureSource) -> sql.Composed:
    columns = (_columns_of(FIGURES[name]) for name in _names_of(source))
    return query.format(scopes=_SCOPES, figures=sql.SQL(", ").join(columns))


_STATEMENTS: Final[Mapping[_Rows, sql.Composed]] = {
    "positions": _statement(_POSITIONS, "positions"),
    "strategies": _statement(_STRATEGIES, "positions"),
    "beta_weighted": _statement(_BETA_WEIGHTED, "beta_weighted"),
    "accounts": _statement(_ACCOUNTS, "accounts"),
}


async def read_sums(
    connection: psycopg.AsyncConnection[Any],
    wanted: Iterable[tuple[FigureSource, Scope]],
    stale_after_s: float,
    benchmark: str,
) -> SumsByScope:
    """Return the figures of each source and scope.

    Args:
        connection: In autocommit.
        wanted: The sources and scopes.
        stale_after_s: The age from which a contract is stale.
        benchmark: The underlying in whose shares beta-weighted deltas are.
    """
    found: dict[tuple[FigureSource, Scope], ScopeSums] = {}
    by_rows: dict[tuple[FigureSource, _Rows], list[Scope]] = {}
    for source, scope in dict.fromkeys(wanted):
        of: _Rows = source if scope.strategy_tag is None else "strategies"
        by_rows.setdefault((source, of), []).append(scope)
    for (source, of), scopes in by_rows.items():
        cursor = await connection.execute(
            _STATEMENTS[of],
            {
                "stale_after_s": stale_after_s,
                "benchmark": benchmark,
                "numbers": list(range(len(scopes))),
                "brokers": [each.broker for each in scopes],
                "account_ids": [each.account_id for each in scopes],
                "underlyings": [each.underlying for each in scopes],
                "currencies": [each.currency for each in scopes],
                "strategy_tags": [each.strategy_tag for each in scopes],
            },
        )
        for scope, row in zip(scopes, await cursor.fetchall(), strict=True):
            found[source, scope] = _sums(_names_of(source), row)
    return found


def _sums(names: Sequence[str], row: Sequence[Any]) -> ScopeSums:
    positions, stale, currencies, is_known = row[:_OTHER_COLUMNS]
    figures = row[_OTHER_COLUMNS:]
    return ScopeSums(
        positions=positions,
        stale=stale,
        currencies=currencies,
        is_known=is_known,
        values=dict(zip(names, figures[::2], strict=True)),
        missing=dict(zip(names, figures[1::2], strict=True)),
    )
