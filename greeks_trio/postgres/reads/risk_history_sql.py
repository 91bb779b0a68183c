"""The statement of `greeks_trio.postgres.reads.risk_history` that sums the positions."""

from __future__ import annotations

from typing import Final

from psycopg import sql

RISK_SUMS: Final = (
    *("net_delta", "gamma", "dollar_delta", "dollar_gamma", "theta", "vega", "rho"),
    "market_value",
)
RISK_COUNTS: Final = (
    *("positions", "contracts", "shares_futures", "unnamed_currency"),
    *("missing_net_delta", "missing_gamma", "missing_dollar_delta"),
    *("missing_dollar_gamma", "missing_theta", "missing_vega", "missing_rho"),
    *("missing_value", "stale", "not_realtime", "carried"),
)

# The strategy at the moment, as in position_values.
_STRATEGY: Final = sql.SQL("""
    (coalesce(
        (
            select array[g.strategy_tag]
            from tagged_positions g
            where g.broker = v.broker
              and g.account_id = v.account_id
              and g.contract_key = v.contract_key
        ),
        (
            select array[t.strategy_tag]
            from tagged_trades t
            where t.broker = v.broker
              and t.account_id = v.account_id
              and t.contract_key = v.contract_key
              and t.created_at <= v.at
            order by t.created_at desc, t.id desc
            limit 1
        )
    ))[1] = %(strategy_tag)s
""")

_SUMS: Final = sql.SQL("""
with contracts as materialized (
    select c.*
    from unnest(
        %(brokers)s::text[], %(account_ids)s::text[], %(contract_keys)s::text[],
        %(since)s::timestamptz[], %(until)s::timestamptz[]
    ) c (broker, account_id, contract_key, since, until)
),
moments as materialized (
    select
        m.number, m.at, m.at - %(stale_after_s)s * interval '1 second' as fresh_from,
        open.*
    from unnest(%(moments)s::timestamptz[]) with ordinality m (at, number)
    cross join lateral (
        -- Without arrays, newest_by_lookup takes the whole book.
        select
            coalesce(array_agg(c.broker), '{{}}') as brokers,
            coalesce(array_agg(c.account_id), '{{}}') as account_ids,
            coalesce(array_agg(c.contract_key), '{{}}') as contract_keys
        from contracts c
        where c.since <= m.at and c.until > m.at
    ) open
),
series as materialized (
    select
        m.number, m.at, m.fresh_from, s.*,
        coalesce(s.underlying, s.contract_key) as group_underlying,
        coalesce(s.underlying_price_at, s.event_time) as price_at
    from moments m
    cross join lateral newest_by_lookup(
        m.at, m.brokers, m.account_ids, m.contract_keys
    ) s
),
-- As in prices_asof and position_values, which differ in the meaning of stale.
prices as materialized (
    select
        s.number, s.broker, s.underlying_id, s.underlying, s.currency, s.is_future,
        s.price_factor,
        max(array[
            date_part('epoch', s.price_at), date_part('epoch', s.received_at),
            s.underlying_price, (s.availability <> 'realtime')::integer,
            (s.availability <> 'realtime'
                or least(s.price_at, s.received_at) < s.fresh_from)::integer,
            (s.availability <> 'realtime'
                or least(s.underlying_price_at, s.event_time, s.received_at)
                    < s.fresh_from)::integer
        ]) as newest
    from series s
    where s.underlying_price is not null
    group by s.number, s.broker, s.underlying_id, s.underlying, s.currency, s.is_future,
        s.price_factor
),
scope as materialized (
    select s.*, s.kind in ('option', 'future_option') as is_option,
        s.kind in ('equity', 'future') as is_share_future
    from series s
    where s.group_underlying = %(underlying)s
      and s.account_id <> 'watchlist'
      and coalesce(s.broker = %(broker)s::text, true)
      and coalesce(s.account_id = %(account_id)s::text, true)
),
-- As in holdings_asof.
held as materialized (
    select
        s.number, s.at, s.fresh_from, s.broker, s.account_id, s.contract_key, s.kind,
        s.is_option, s.is_share_future, s.currency, s.price_factor, s.units, s.money,
        s.premium, s.event_time, s.received_at, s.availability,
        coalesce(s.delta, added.delta) as delta,
        coalesce(s.gamma, added.gamma) as gamma,
        coalesce(s.theta, added.theta) as theta,
        coalesce(s.vega, added.vega) as vega,
        coalesce(s.rho, added.rho) as rho,
        coalesce(s.price, added.price) as price,
        coalesce(s.underlying_price, added.newest[3]) as underlying_price,
        case when s.underlying_price is null then added.newest[4] = 1
            else s.availability <> 'realtime' end as is_price_not_realtime,
        case when s.underlying_price is null then added.newest[5] = 1
            else s.availability <> 'realtime'
                or least(s.underlying_price_at, s.event_time, s.received_at) < s.fresh_from
        end as is_price_stale,
        s.delta is null and added.delta is not null
            or s.gamma is null and added.gamma is not null
            or s.theta is null and added.theta is not null
            or s.vega is null and added.vega is not null
            or s.rho is null and added.rho is not null
            or s.price is null and added.price is not null as is_carried
    from scope s
    left join lateral (
        select carried.*, earlier.price, lent.newest
        from (
            select
            where s.is_option
              and s.event_time is not null
              and (
                  s.underlying_price is null
                  or s.price is null
                  or num_nulls(s.delta, s.gamma, s.theta, s.vega, s.implied_volatility) > 0
                  or (s.rho is null and s.broker <> 'ibkr')
              )
        ) incomplete
        left join lateral (
            select c.delta, c.gamma, c.theta, c.vega, c.rho
            from carried_greeks(
                s.broker, s.account_id, s.contract_key, s.fresh_from, s.event_time,
                s.at, s.availability,
                s.delta, s.gamma, s.theta, s.vega, s.rho, s.implied_volatility
            ) c
            where (
                  num_nulls(s.delta, s.gamma, s.theta, s.vega, s.implied_volatility) > 0
                  or (s.rho is null and s.broker <> 'ibkr')
              )
              and s.event_time >= s.fresh_from
            offset 0
        ) carried on true
        left join lateral (
            select c.price
            from carried_price(
                s.broker, s.account_id, s.contract_key, s.fresh_from, s.event_time,
                s.at, s.availability
            ) c
            where s.price is null
              and s.event_time >= s.fresh_from
            offset 0
        ) earlier on true
        left join lateral (
            select p.newest
            from prices p
            where s.underlying_price is null
              and p.number = s.number
              and is_same_underlying(
                  s.broker, s.underlying_id, s.underlying, s.currency, s.is_future,
                  p.broker, p.underlying_id, p.underlying, p.currency, p.is_future
              )
              and coalesce(s.price_factor = p.price_factor, true)
            order by p.newest[5], p.broker <> s.broker, p.newest[1] desc, p.newest[3]
            limit 1
        ) lent on true
        offset 0
    ) added on true
    where s.is_option
    union all
    select
        s.number, s.at, s.fresh_from, s.broker, s.account_id, s.contract_key, s.kind,
        s.is_option, s.is_share_future, s.currency,
        case when s.is_share_future then s.price_factor end,
        s.units, s.money, s.premium, null, to_timestamp(lent.newest[2]), null,
        case when s.is_share_future then 1 end, null, null, null, null,
        case s.kind when 'equity' then lent.newest[3] when 'future' then 0 end,
        lent.newest[3], lent.newest[4] = 1, lent.newest[6] = 1, false
    from scope s
    left join lateral (
        select p.newest
        from prices p
        where s.is_share_future
          and p.number = s.number
          and is_same_underlying(
              s.broker, s.underlying_id, s.group_underlying, s.currency, s.is_future,
              p.broker, p.underlying_id, p.underlying, p.currency, p.is_future
          )
          and coalesce(s.price_factor = p.price_factor, true)
        order by p.newest[6], p.broker <> s.broker, p.newest[1] desc
        limit 1
    ) lent on true
    where not s.is_option
),
-- As in position_values.
valued as materialized (
    select
        h.number, h.at, h.broker, h.account_id, h.contract_key, h.is_option,
        h.is_share_future, h.kind = 'unknown' as is_unknown, h.is_carried,
        coalesce(h.currency, 'USD') as currency, h.currency is null as is_unnamed,
        h.units * h.delta as delta,
        h.units * h.gamma as gamma,
        h.premium * h.theta as theta,
        h.premium * h.vega as vega,
        h.premium * h.rho as rho,
        h.money * h.delta * h.underlying_price as dollar_delta,
        h.money * h.gamma * h.underlying_price ^ 2 / 100 as dollar_gamma,
        h.premium * h.price as value,
        case when h.received_at is not null
            then greatest(0, date_part('epoch', h.at - h.received_at)) end as age_s,
        case
            when h.is_option then h.event_time is null
                or least(h.received_at, h.event_time) < h.fresh_from
                or h.availability <> 'realtime'
                or coalesce(h.is_price_stale, false)
            else h.is_share_future and coalesce(h.is_price_stale, true)
        end as is_stale,
        coalesce(h.availability <> 'realtime' or h.is_price_not_realtime, false)
            as is_not_realtime
    from held h
),
-- As in risk_totals_asof.
counted as (
    select
        v.number, v.currency,
        count(*) as positions,
        count(*) filter (where v.is_option) as contracts,
        count(*) filter (where v.is_share_future) as shares_futures,
        count(*) filter (where v.is_unnamed) as unnamed_currency,
        count(*) filter (where v.is_option or v.is_unknown) as options,
        count(*) filter (where v.is_share_future or v.is_unknown) as shares,
        count(*) filter (where v.is_unknown) as unknowns,
        sum(v.delta) as delta, sum(v.gamma) as gamma, sum(v.theta) as theta,
        sum(v.vega) as vega, sum(v.rho) as rho, sum(v.dollar_delta) as dollar_delta,
        sum(v.dollar_gamma) as dollar_gamma, sum(v.value) as value,
        count(*) filter (
            where v.delta is null and (v.is_option or v.is_share_future or v.is_unknown)
        ) as missing_net_delta,
        count(*) filter (where v.gamma is null and (v.is_option or v.is_unknown))
            as missing_gamma,
        count(*) filter (where v.theta is null and (v.is_option or v.is_unknown))
            as missing_theta,
        count(*) filter (where v.vega is null and (v.is_option or v.is_unknown))
            as missing_vega,
        count(*) filter (where v.rho is null and (v.is_option or v.is_unknown))
            as missing_rho,
        count(*) filter (where v.dollar_delta is null) as missing_dollar_delta,
        count(*) filter (where v.dollar_gamma is null and (v.is_option or v.is_unknown))
            as missing_dollar_gamma,
        count(*) filter (where v.value is null) as missing_value,
        count(*) filter (where v.is_stale) as stale,
        count(*) filter (where v.is_not_realtime) as not_realtime,
        count(*) filter (where v.is_carried) as carried,
        max(v.age_s) as oldest_age_s
    from valued v
    where {strategy}
    group by v.number, v.currency
),
-- As there, a sum is null if none of its values is known, and 0 if there is nothing to sum.
summed as (
    select
        c.number, c.currency, c.positions, c.contracts, c.shares_futures,
        c.unnamed_currency,
        case
            when c.options + c.shares = 0 then 0
            when c.missing_net_delta < c.options + c.shares - c.unknowns then c.delta
        end as net_delta,
        case when c.options = 0 then 0 when c.missing_gamma < c.options then c.gamma
            end as gamma,
        c.dollar_delta,
        case when c.options = 0 then 0 when c.missing_dollar_gamma < c.options
            then c.dollar_gamma end as dollar_gamma,
        case when c.options = 0 then 0 when c.missing_theta < c.options then c.theta
            end as theta,
        case when c.options = 0 then 0 when c.missing_vega < c.options then c.vega
            end as vega,
        case when c.options = 0 then 0 when c.missing_rho < c.options then c.rho
            end as rho,
        c.value as market_value,
        c.missing_net_delta, c.missing_gamma, c.missing_dollar_delta,
        c.missing_dollar_gamma, c.missing_theta, c.missing_vega, c.missing_rho,
        c.missing_value, c.stale, c.not_realtime, c.carried, c.oldest_age_s,
        true as is_held
    from counted c
),
accounts as materialized (
    select
        a.broker, a.account_id,
        case
            when not exists (
                select
                from position_history p
                where p.broker = a.broker
                  and p.account_id = a.account_id
                  and least(p.observed_at, p.recorded_at) <= %(start)s
            )
            then (
                select min(least(p.observed_at, p.recorded_at))
                from position_history p
                where p.broker = a.broker and p.account_id = a.account_id
            )
        end as known_from
    from (
        select distinct c.broker, c.account_id
        from contracts c
        where c.account_id <> 'watchlist'
          and coalesce(c.broker = %(broker)s::text, true)
          and coalesce(c.account_id = %(account_id)s::text, true)
    ) a
),
underlying_prices as materialized (
    select distinct on (p.number, coalesce(p.currency, 'USD'))
        p.number, coalesce(p.currency, 'USD') as currency, p.newest[3] as price
    from prices p
    where p.underlying = %(underlying)s
    order by p.number, coalesce(p.currency, 'USD'), p.newest[6], p.newest[1] desc
),
-- Before the first reading of the accounts nothing is known.  Later, a moment without a
-- position has sums of 0.
lines as (
    select m.number, c.currency, u.price as underlying_price, s.oldest_age_s, {or_nothing}
    from (
        select
            n.number,
            case when n.at >= (
                select min(coalesce(a.known_from, %(start)s)) from accounts a
            ) then 0 end as nothing
        from moments n
    ) m
    cross join (select distinct f.currency from summed f) c
    left join summed s on s.number = m.number and s.currency = c.currency
    left join underlying_prices u on u.number = m.number and u.currency = c.currency
)
select json_build_object(
    'accounts', coalesce(
        (
            select json_agg(
                json_build_object(
                    'broker', a.broker, 'account_id', a.account_id,
                    'known_from', date_part('epoch', a.known_from)
                )
                order by a.broker, a.account_id
            )
            from accounts a
        ),
        '[]'
    ),
    'currencies', coalesce(
        (
            select json_agg(of_currency.line order by of_currency.currency)
            from (
                select
                    l.currency, json_build_object('currency', l.currency, {lists}) as line
                from lines l
                group by l.currency
            ) of_currency
        ),
        '[]'
    )
)::text
""")


def sums_statement(*, with_strategy: bool) -> sql.Composed:
    """Return the statement that sums the positions at each moment."""
    names = (*RISK_SUMS, *RISK_COUNTS)
    return _SUMS.format(
        strategy=_STRATEGY if with_strategy else sql.SQL("true"),
        or_nothing=sql.SQL(", ").join(
            sql.SQL("case when s.is_held then s.{0} else m.nothing end as {0}").format(
                sql.Identifier(name)
            )
            for name in names
        ),
        lists=sql.SQL(", ").join(
            sql.SQL("{}, array_agg(l.{} order by l.number)").format(
                sql.Literal(name), sql.Identifier(name)
            )
            for name in (*names, "underlying_price", "oldest_age_s")
        ),
    )
