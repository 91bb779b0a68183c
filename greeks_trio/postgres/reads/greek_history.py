"""The history of one contract: its ticks, or values for intervals of time, as text.

PostgreSQL writes the JSON, one object for each series.  A series is the contract in one
account.

Discussion: few ticks are given as they are.  Of more ticks, each interval gets its last
tick, by one look at the primary key, and the least and greatest values, by reading all
ticks.  Beyond `MAX_ROWS` reading all of them takes too long; then only the last ticks are
given, and the answer says so.  The number of ticks is counted in the primary key, up to the
limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias, get_args

import msgspec
from psycopg import sql

from greeks_trio.postgres.reads.archived import read_archived
from greeks_trio.postgres.reads.gaps import GAPS
from greeks_trio.postgres.reads.pool import ReadConnection
from greeks_trio.postgres.reads.sources import ACCOUNTS
from greeks_trio.postgres.reads.time_grid import TimeGrid

Measure: TypeAlias = Literal[
    "price",
    "delta",
    "gamma",
    "theta",
    "vega",
    "rho",
    "implied_volatility",
    "underlying_price",
]
MEASURES: Final[tuple[Measure, ...]] = get_args(Measure)

# The ticks of all series that are read for the least and greatest values.  Ticks of several
# contracts lie between each other, so each costs a page of the table: some 5 microseconds.
MAX_ROWS: Final = 50_000
# Each interval of each series is one look at the index: some 35 microseconds.
MAX_LOOKS: Final = 20_000

_SERIES: Final = sql.SQL("""
with recursive holders (broker, account_id) as (
    (
        select p.broker, p.account_id
        from position_history p
        order by p.broker, p.account_id
        limit 1
    )
    union all
    select next.broker, next.account_id
    from holders
    cross join lateral (
        select p.broker, p.account_id
        from position_history p
        where (p.broker, p.account_id) > (holders.broker, holders.account_id)
        order by p.broker, p.account_id
        limit 1
    ) next
)
select a.broker, a.account_id
from (
    select part.broker, part.account_id from {accounts}
    union
    select h.broker, h.account_id from holders h
) a
where coalesce(a.broker = %(broker)s::text, true)
  and coalesce(a.account_id = %(account_id)s::text, true)
  and (
      exists (
          select
          from position_history p
          where p.broker = a.broker
            and p.account_id = a.account_id
            and p.contract_key = %(contract_key)s
            and least(p.observed_at, p.recorded_at) < %(end)s
      )
      -- The first entry of the primary key from here on.  For exists, or with a condition
      -- for each column, the planner may read whole partitions.
      or (%(contract_key)s, true) = (
          select t.contract_key, t.broker = a.broker and t.account_id = a.account_id
              and t.event_time < %(end)s
          from tick_history t
          where (t.broker, t.account_id, t.contract_key, t.event_time)
              >= (a.broker, a.account_id, %(contract_key)s, %(start)s)
          order by t.broker, t.account_id, t.contract_key, t.event_time
          limit 1
      )
  )
order by a.broker, a.account_id
""").format(accounts=ACCOUNTS)

# As in newest_by_lookup, the repeated condition keeps the planner from the index of
# event_time.  All columns are in the primary key, so that counting reads nothing else.
_OF_SERIES: Final = sql.SQL("""
    t.broker = %(broker)s
    and t.account_id = %(account_id)s
    and t.contract_key = %(contract_key)s
    and t.contract_key between %(contract_key)s and %(contract_key)s
""")
_VALUES: Final = sql.SQL("""
    t.event_time, t.received_at, t.id, t.availability, g.*,
    possible(t.quantity, -1e12, 1e12)::double precision as quantity,
    possible(t.price, 0, 1e9) as price,
    possible_price(
        t.underlying_price, t.contract_key like './%%' or t.underlying like '/%%'
    ) as underlying_price
""")
_GREEKS: Final = sql.SQL("""
    cross join lateral possible_greeks(
        t.delta, t.gamma, t.theta, t.vega, t.rho, t.implied_volatility
    ) g
""")

_COUNT: Final = sql.SQL("""
select count(*)
from (
    select
    from tick_history t
    where {of_series} and t.event_time >= %(start)s and t.event_time < %(end)s
    limit {limit}
) found
""")

_TICKS: Final = sql.SQL("""
select json_build_object({columns})::text
from (
    select {values}
    from tick_history t {greeks}
    where {of_series} and t.event_time >= %(start)s and t.event_time < %(end)s
    order by t.event_time, t.received_at, t.id
) x
""")

_SAMPLES: Final = sql.SQL("""
with summed as materialized ({summed})
select json_build_object({columns})::text
from (
    select {moment} as interval_start, last.*, summed.*
    from {numbers}
    left join lateral (
        select {values}
        from (
            select t.*
            from tick_history t
            where {of_series}
              and t.event_time >= {moment}
              and t.event_time < least({next_moment}, %(end)s)
            order by t.event_time desc, t.received_at desc, t.id desc
            limit 1
        ) t {greeks}
    ) last on true
    left join summed on summed.number = n
    order by n
) x
""")
_NOT_SUMMED: Final = sql.SQL("select null::integer as number, 0 as ticks where false")
_SUMMED: Final = sql.SQL("""
    select v.number, count(*) as ticks, {extremes}
    from (
        select
            floor(date_part('epoch', t.event_time - {first}) / {length_s})::integer as number,
            {values}
        from tick_history t {greeks}
        where {of_series} and t.event_time >= {first} and t.event_time < %(end)s
    ) v
    group by v.number
""")


class HistoryFilter(msgspec.Struct, frozen=True, kw_only=True):
    """One contract and two moments.

    Attributes:
        account_id: Only this account; `None` for all, as for the broker.
        points: The most points of a series.
        measures: The values that are given.
        max_rows: See `MAX_ROWS`.
    """

    contract_key: str
    start: datetime
    end: datetime
    points: int
    broker: str | None = None
    account_id: str | None = None
    measures: Sequence[Measure] = MEASURES
    max_rows: int = MAX_ROWS


class TooManyPoints(Exception):
    """All series together would have more points than one answer can have.

    Attributes:
        series: The number of series.
    """

    def __init__(self, series: int) -> None:
        super().__init__(series)
        self.series = series


def read_greek_history(wanted: HistoryFilter, connection: ReadConnection) -> bytes:
    """Return the series as a JSON object.

    Raises:
        TooManyPoints: There are more than `MAX_LOOKS`.
    """
    with connection.transaction():
        connection.execute("set transaction isolation level repeatable read")
        found = connection.execute(_SERIES, msgspec.structs.asdict(wanted)).fetchall()
        if len(found) * wanted.points > MAX_LOOKS:
            raise TooManyPoints(len(found))
        most_rows = wanted.max_rows // max(1, len(found))
        lines = [
            _series(
                msgspec.structs.replace(wanted, broker=broker, account_id=account_id),
                most_rows,
                connection,
            )
            for broker, account_id in found
        ]
        archived = read_archived(wanted.start, wanted.end, connection)
    return f'{{"archived":{archived},"series":[{",".join(lines)}]}}'.encode()


def _series(wanted: HistoryFilter, most_rows: int, connection: ReadConnection) -> str:
    """Return one series as a JSON object."""
    params = msgspec.structs.asdict(wanted)

    def row(query: sql.Composed) -> Sequence[Any]:
        found = connection.execute(query, params).fetchone()
        assert found is not None  # noqa: S101  # an aggregate has one row
        return found

    limit = sql.Literal(max(most_rows, wanted.points) + 1)
    (ticks,) = row(_COUNT.format(of_series=_OF_SERIES, limit=limit))
    head: dict[str, Any] = {"broker": wanted.broker, "account_id": wanted.account_id}
    if ticks <= wanted.points:
        head |= {"kind": "ticks", "interval_s": None, "ticks": ticks}
        query = _ticks_query(wanted)
    else:
        grid = TimeGrid.over(wanted.start, wanted.end, wanted.points)
        is_read = ticks <= most_rows
        head |= {
            "kind": "intervals" if is_read else "samples",
            "interval_s": grid.length_s,
            "ticks": ticks if is_read else None,
        }
        query = _grid_query(wanted, grid, with_extremes=is_read)
    (data,) = row(query)
    gaps, left_out = row(GAPS)
    text = msgspec.json.encode(head).decode()
    return f'{text[:-1]},"data":{data},"gaps":{gaps},"gaps_left_out":{left_out}}}'


def _ticks_query(wanted: HistoryFilter) -> sql.Composed:
    columns = [("time", _epoch("event_time")), *_common_columns(wanted)]
    return _TICKS.format(
        columns=_object(columns), values=_VALUES, greeks=_GREEKS, of_series=_OF_SERIES
    )


def _grid_query(
    wanted: HistoryFilter, grid: TimeGrid, *, with_extremes: bool
) -> sql.Composed:
    number = sql.Identifier("n")
    columns = [
        ("time", _epoch("interval_start")),
        ("tick_time", _epoch("event_time")),
        *_common_columns(wanted),
    ]
    summed: sql.Composable = _NOT_SUMMED
    if with_extremes:
        columns.append(("ticks", sql.SQL("coalesce(x.ticks, 0)")))
        columns += [
            (f"{which}_{name}", sql.Identifier("x", f"{which}_{name}"))
            for which in ("min", "max")
            for name in wanted.measures
        ]
        summed = _SUMMED.format(
            first=sql.SQL("{}::timestamptz").format(sql.Literal(grid.first)),
            length_s=sql.Literal(grid.length_s),
            extremes=_extremes(wanted.measures),
            values=_VALUES,
            greeks=_GREEKS,
            of_series=_OF_SERIES,
        )
    return _SAMPLES.format(
        summed=summed,
        columns=_object(columns),
        moment=grid.moment(number),
        next_moment=grid.moment(sql.SQL("({} + 1)").format(number)),
        numbers=grid.numbers,
        values=_VALUES,
        greeks=_GREEKS,
        of_series=_OF_SERIES,
    )


def _extremes(measures: Sequence[Measure]) -> sql.Composed:
    return sql.SQL(", ").join(
        sql.SQL("{}({}) as {}").format(
            sql.SQL(which),
            sql.Identifier("v", name),
            sql.Identifier(f"{which}_{name}"),
        )
        for which in ("min", "max")
        for name in measures
    )


def _common_columns(wanted: HistoryFilter) -> list[tuple[str, sql.Composable]]:
    names = (*wanted.measures, "quantity", "availability")
    return [(name, sql.Identifier("x", name)) for name in names]


def _epoch(column: str) -> sql.Composable:
    return sql.SQL("date_part('epoch', {})").format(sql.Identifier("x", column))


def _object(columns: Sequence[tuple[str, sql.Composable]]) -> sql.Composed:
    """Return the arguments that make an object with one list for each column."""
    return sql.SQL(", ").join(
        sql.SQL("{}, coalesce(array_agg({}), '{{}}')").format(sql.Literal(name), value)
        for name, value in columns
    )
