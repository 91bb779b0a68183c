"""Stores market metrics in ``market_metrics``, and finds the underlyings that need them.

A row is appended when a value has changed, and once a day.  Each hour the volatility at the
money of each underlying is computed from our own ticks and appended too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn

import psycopg
import trio
from psycopg import sql

from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.errors import StoreError, plain_reason
from greeks_trio.model.market_metrics import FILE, MarketMetrics
from greeks_trio.pipeline.market_metrics import MetricsBoard
from greeks_trio.postgres.connect import open_connection
from greeks_trio.postgres.failures import translated

logger = logging.getLogger(__name__)

# The time between two looks at the underlyings.
_INTERVAL_S: Final = 60.0
# In the first minute of a run positions and ticks arrive.
_SOON_S: Final = 2.0
# The time between two own volatilities.
OWN_INTERVAL_S: Final = 3_600.0
_LIMIT_S: Final = 60.0

_WANTED: Final = """
select coalesce(underlying, contract_key) from positions_asof('infinity')
where quantity is distinct from 0 and kind in ('equity', 'future')
union
select underlying from greeks_now(300) where underlying is not null
"""
_COLUMNS: Final = sql.SQL(
    "symbol, source, observed_at, beta, beta_date, iv_index, iv_rank, iv_percentile,"
    " iv_updated_at, problem"
)
# The values without the time of the reading.
_VALUES: Final = sql.SQL(
    "{0}.beta, {0}.beta_date, {0}.iv_index, {0}.iv_rank, {0}.iv_percentile,"
    " {0}.iv_updated_at, {0}.problem"
)
_INSERT: Final = sql.SQL("""
insert into market_metrics ({columns})
select {columns}
from unnest(
    %s::text[], %s::text[], %s::timestamptz[], %s::float8[], %s::date[], %s::float8[],
    %s::float8[], %s::float8[], %s::timestamptz[], %s::text[]
) as n ({columns})
where not exists (
    select
    from (
        select m.*
        from market_metrics m
        where m.symbol = n.symbol and m.source = n.source
        order by least(m.observed_at, m.recorded_at) desc, m.observed_at desc
        limit 1
    ) last
    where last.observed_at > n.observed_at - interval '1 day'
      and ({last}) is not distinct from ({new})
)
on conflict (symbol, source, observed_at) do nothing
""").format(
    columns=_COLUMNS,
    last=_VALUES.format(sql.Identifier("last")),
    new=_VALUES.format(sql.Identifier("n")),
)
# The symbols that the file has no more.
_CLOSE: Final = """
insert into market_metrics (symbol, source, observed_at)
select last.symbol, last.source, clock_timestamp()
from (
    select distinct on (m.symbol) m.symbol, m.source, m.beta
    from market_metrics m
    where m.source = %s
    order by m.symbol, least(m.observed_at, m.recorded_at) desc, m.observed_at desc
) last
where last.beta is not null and last.symbol <> all (%s::text[])
on conflict (symbol, source, observed_at) do nothing
"""
# One volatility for each symbol, that of the dollar first.
_OWN: Final = """
insert into market_metrics (symbol, source, observed_at, iv_index, iv_index_days)
select distinct on (t.underlying)
    t.underlying, 'timeline', statement_timestamp(), t.implied_volatility, t.days_used
from volatility_term_structure_asof('infinity', %s) t
where t.days = 30 and t.implied_volatility is not null
  and not exists (
      select from market_metrics m
      where m.symbol = t.underlying
        and m.source = 'timeline'
        and m.observed_at > statement_timestamp() - %s * interval '1 second'
        and m.observed_at <= statement_timestamp()
  )
order by t.underlying, t.currency <> 'USD'
on conflict (symbol, source, observed_at) do nothing
"""


async def run_market_metrics(
    config: Callable[[], DatabaseConfig],
    board: MetricsBoard,
    *,
    stale_after_s: float,
    interval_s: float = _INTERVAL_S,
) -> NoReturn:
    """Store the rows of the board, and tell it the underlyings, until cancelled.

    Each look has a connection of its own.  Rows that cannot be stored wait for the next look.
    A reason is told once in the log.

    Args:
        config: Returns the present configuration of the database.
        board: Has the rows.
        stale_after_s: The age from which a contract is stale.
        interval_s: The time between two looks.
    """
    told, began_at = "", trio.current_time()
    while True:
        # Many rows may come at once, and a failure must not repeat without a pause.  Before
        # the first look the writer makes the tables of an empty database.
        await trio.sleep(min(_SOON_S, interval_s))
        seen = board.changed.calls
        reason = await _look(config(), board, stale_after_s)
        if reason and reason != told:
            logger.warning("metrics.not_stored reason=%s", reason)
        told = reason
        is_new = trio.current_time() < began_at + _INTERVAL_S
        with trio.move_on_after(0.0 if is_new else interval_s):
            await board.changed.wait_beyond(seen)


async def _look(
    config: DatabaseConfig, board: MetricsBoard, stale_after_s: float
) -> str:
    """Store and ask once; return why that failed, or an empty text."""
    reason = ""
    try:
        async with open_connection(config, autocommit=True) as connection:
            with translated(connection, may_refuse=False), trio.fail_after(_LIMIT_S):
                await _store(connection, board)
                cursor = await connection.execute(_WANTED)
                board.want(symbol for (symbol,) in await cursor.fetchall())
                await connection.execute(_OWN, [stale_after_s, OWN_INTERVAL_S * 0.9])
    except* StoreError as group:
        reason = plain_reason(group)
    return reason


async def _store(connection: psycopg.AsyncConnection[Any], board: MetricsBoard) -> None:
    rows, file = board.waiting(), board.file()
    if rows:
        await store_metrics(connection, rows)
    if file is not None:
        await store_file(connection, file)
    board.stored(rows, file)


async def store_metrics(
    connection: psycopg.AsyncConnection[Any], rows: Sequence[MarketMetrics]
) -> None:
    """Append the rows that say something new, and those whose last row is a day old."""
    names = (
        *(
            "symbol",
            "source",
            "observed_at",
            "beta",
            "beta_date",
            "iv_index",
            "iv_rank",
        ),
        *("iv_percentile", "iv_updated_at", "problem"),
    )
    columns = [[getattr(each, name) for each in rows] for name in names]
    await connection.execute(_INSERT, columns)


async def store_file(
    connection: psycopg.AsyncConnection[Any], rows: Sequence[MarketMetrics]
) -> None:
    """Append the changed rows of the file, and a null for each symbol that it has no more."""
    async with connection.transaction():
        if rows:
            await store_metrics(connection, rows)
        await connection.execute(_CLOSE, [FILE, [each.symbol for each in rows]])
