"""The sums of one underlying at several moments, as text: risk_totals_asof for a chart.

Discussion: risk_totals_asof sums the whole book, which takes too long for a hundred
moments.  Here the first statement finds the contracts that can have a part in the sums:
those of the underlying in any account, because one lends its price to another, and the
watched ones.  The second one looks each of them up at each moment with newest_by_lookup,
as risk_totals_asof does, and adds the rest with the expressions of holdings_asof and
position_values.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from greeks_trio.postgres.reads.archived import read_archived
from greeks_trio.postgres.reads.pool import ReadConnection
from greeks_trio.postgres.reads.risk_history_sql import sums_statement
from greeks_trio.postgres.reads.time_grid import TimeGrid

# A look is one position and its newest tick at one moment: some 30 microseconds.
MAX_LOOKS: Final = 30_000


# Everything that was open at the start, and everything that was opened until the end, with
# the time in which it can be open.  Python has no later years.
_CONTRACTS: Final = """
with held as materialized (
    select
        p.broker, p.account_id, p.contract_key, p.kind, p.underlying, p.underlying_id,
        p.expiration, %(start)s::timestamptz as since
    from positions_asof(%(start)s) p
    union all
    select
        p.broker, p.account_id, p.contract_key, p.kind, p.underlying, p.underlying_id,
        p.expiration, least(p.observed_at, p.recorded_at)
    from position_history p
    where (
          p.expiration is null
          or p.expiration > %(start)s::timestamptz at time zone 'UTC' - interval '36 hours'
      )
      and least(p.observed_at, p.recorded_at) > %(start)s
      and least(p.observed_at, p.recorded_at) <= %(end)s
      and p.quantity is distinct from 0
),
-- The tick of an option names its underlying where the position does not.
likely as materialized (
    select
        h.*,
        case
            when h.underlying is not null then h.underlying = %(underlying)s
            else h.kind in ('option', 'future_option') or h.contract_key = %(underlying)s
        end as is_likely
    from held h
),
wanted as (
    select l.broker, l.account_id, l.contract_key, l.expiration, l.since
    from likely l
    where l.is_likely
       or (l.broker, l.underlying_id) in (
          select o.broker, o.underlying_id from likely o where o.is_likely
      )
    union all
    select w.broker, 'watchlist', w.contract_key, null, %(start)s
    from watched_asof(%(start)s) w
    cross join lateral (
        select t.underlying
        from tick_history t
        where t.broker = w.broker
          and t.account_id = 'watchlist'
          and t.contract_key = w.contract_key
          -- As in newest_by_lookup.
          and t.contract_key between w.contract_key and w.contract_key
          and t.event_time <= %(end)s
        order by t.event_time desc
        limit 1
    ) tick
    where tick.underlying = %(underlying)s
)
select
    w.broker, w.account_id, w.contract_key, min(w.since),
    max(
        coalesce(least(w.expiration, '9999-01-01') + interval '36 hours', '9999-12-31')
    ) at time zone 'UTC'
from wanted w
group by w.broker, w.account_id, w.contract_key
"""


class RiskHistoryFilter(msgspec.Struct, frozen=True, kw_only=True):
    """An underlying and the moments.

    Attributes:
        broker: Only positions of this broker; `None` for all, as for the others.
        stale_after_s: The age from which a contract is stale.
    """

    underlying: str
    moments: Sequence[datetime]
    stale_after_s: float
    broker: str | None = None
    account_id: str | None = None
    strategy_tag: str | None = None
    max_looks: int = MAX_LOOKS


class TooManyLooks(Exception):
    """There are more contracts and moments than one answer can have.

    Attributes:
        contracts: The number of contracts.
        looks: The moments of all contracts together.
    """

    def __init__(self, contracts: int, looks: int) -> None:
        super().__init__(contracts, looks)
        self.contracts = contracts
        self.looks = looks


def moments_between(start: datetime, end: datetime, most: int) -> list[datetime]:
    """Return the start, whole multiples of a usual length of time, and the end."""
    grid = TimeGrid.over(start, end, most - 1)
    length = timedelta(seconds=grid.length_s)
    moments = (grid.first + number * length for number in range(grid.count))
    return [start, *(moment for moment in moments if start < moment < end), end]


def read_risk_history(wanted: RiskHistoryFilter, connection: ReadConnection) -> bytes:
    """Return the sums as a JSON object.

    Raises:
        TooManyLooks: There are more than `MAX_LOOKS`.
    """
    params = msgspec.structs.asdict(wanted)
    params |= {"start": wanted.moments[0], "end": wanted.moments[-1]}
    with connection.transaction():
        connection.execute("set transaction isolation level repeatable read")
        contracts = connection.execute(_CONTRACTS, params).fetchall()
        looks = sum(_looks(wanted.moments, *row[3:]) for row in contracts)
        if looks > wanted.max_looks:
            raise TooManyLooks(len(contracts), looks)
        params |= _arrays(contracts)
        query = sums_statement(with_strategy=wanted.strategy_tag is not None)
        row = connection.execute(query, params).fetchone()
        assert row is not None  # noqa: S101  # an aggregate has one row
        archived = read_archived(params["start"], params["end"], connection)
    return f'{{"archived":{archived},{str(row[0])[1:]}'.encode()


def _looks(moments: Sequence[datetime], since: datetime, until: datetime) -> int:
    return max(0, bisect_left(moments, until) - bisect_left(moments, since))


def _arrays(contracts: Sequence[Sequence[Any]]) -> dict[str, list[Any]]:
    names = ("brokers", "account_ids", "contract_keys", "since", "until")
    return {name: [row[n] for row in contracts] for n, name in enumerate(names)}
