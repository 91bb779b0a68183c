"""The known intervals without data that concern one contract in one account, as text."""

from __future__ import annotations

from typing import Final

from psycopg import sql

_MAX_GAPS: Final = 500

# All gaps in which the contract could have no tick, as the view outages has them, but
# merged over the feed, the account and the contract.  The longest ones are given.
GAPS: Final = sql.SQL("""
with gaps as (
    select
        f.reason,
        case when f.is_ahead then f.recorded_at else f.started_at end as started_at,
        case
            when f.ended_at is null then 'infinity'
            when f.ended_at <= f.started_at
            then case when f.is_ahead then f.recorded_at else f.started_at end
            when f.is_ahead then f.ended_at - (f.started_at - f.recorded_at)
            else f.ended_at
        end as ended_at
    from (
        select
            s.*,
            isfinite(s.started_at) and coalesce(s.started_at > s.recorded_at, false)
                as is_ahead
        from feed_gaps s
        where s.broker = %(broker)s
          and (s.account_id = %(account_id)s or s.account_id is null)
          and (s.contract_key = %(contract_key)s or s.contract_key is null)
    ) f
),
marked as (
    select
        g.*,
        g.started_at > max(g.ended_at) over (
            order by g.started_at, g.ended_at
            rows between unbounded preceding and 1 preceding
        ) as is_apart
    from gaps g
    where g.started_at < %(end)s and g.ended_at > %(start)s
),
numbered as (
    select
        m.*,
        count(*) filter (where m.is_apart) over (
            order by m.started_at, m.ended_at rows unbounded preceding
        ) as number
    from marked m
),
merged as (
    select
        min(n.started_at) as started_at, max(n.ended_at) as ended_at,
        string_agg(distinct n.reason, ', ' order by n.reason) as reason
    from numbered n
    group by n.number
),
kept as (
    select
        m.*,
        row_number() over (order by m.ended_at - m.started_at desc, m.started_at) as place
    from (
        select
            greatest(m.started_at, %(start)s) as started_at,
            nullif(m.ended_at, 'infinity') as ended_at,
            m.reason
        from merged m
    ) m
)
select
    coalesce(
        json_agg(
            json_build_array(
                date_part('epoch', k.started_at), date_part('epoch', k.ended_at), k.reason
            )
            order by k.started_at
        ) filter (where k.place <= {most}),
        '[]'
    )::text,
    count(*) filter (where k.place > {most})
from kept k
""").format(most=sql.Literal(_MAX_GAPS))
