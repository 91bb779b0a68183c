-- Totals as managers ask for them: each open position with its share of every sum, sums by
-- underlying, account, broker, expiration bucket, strategy and currency, and a small table
-- with the strategies of positions.

-- The schema that has the tables; the role's search_path may have another one before it.
do $$
begin
    perform set_config('search_path', quote_ident(nspname) || ', pg_temp', true)
    from pg_class join pg_namespace on pg_namespace.oid = relnamespace
    where pg_class.oid = 'greek_snapshots'::regclass;
end
$$;


-- The strategies that people give to positions.
create table position_tags (
    broker text not null,
    account_id text not null,
    contract_key text not null,
    strategy_tag text,
    tagged_at timestamptz not null default now(),
    tagged_by text,
    constraint position_tags_pkey primary key (broker, account_id, contract_key),
    constraint position_tags_contract_key_check check (contract_key <> ''),
    constraint position_tags_strategy_tag_check check (strategy_tag <> '')
);

comment on table position_tags is
    'The strategies that people give to positions, by SQL or over HTTP; a row comes before '
    'the tags of trades, and stays when the position is closed';
comment on column position_tags.contract_key is
    'As in positions';
comment on column position_tags.strategy_tag is
    'The strategy of the position; null: it has none, also if a trade names one';
comment on column position_tags.tagged_at is
    'When the row was written';
comment on column position_tags.tagged_by is
    'The person or the program that wrote it, if known';

-- The newest tag of a contract.
create index trades_strategy_tag_idx
    on trades (broker, account_id, contract_key, created_at desc, id desc)
    where strategy_tag is not null;

create view tagged_positions as
select broker, account_id, contract_key, strategy_tag, tagged_at, tagged_by
from position_tags;

create view tagged_trades as
select id, created_at, broker, account_id, contract_key, strategy_tag
from trades
where strategy_tag is not null;

comment on view tagged_positions is
    'The rows of position_tags';
comment on view tagged_trades is
    'The trades that have a strategy_tag';

do $$
declare
    copied record;
begin
    for copied in
        select
            of.view,
            v.attname,
            coalesce(col_description(t.attrelid, t.attnum), 'As in ' || of.source) as said
        from (
            values ('tagged_positions'::regclass, 'position_tags'::regclass),
                ('tagged_trades', 'trades')
        ) of (view, source)
        join pg_attribute v on v.attrelid = of.view and v.attnum > 0
        join pg_attribute t on t.attrelid = of.source and t.attname = v.attname
    loop
        execute format(
            'comment on column %s.%I is %L', copied.view, copied.attname, copied.said);
    end loop;
end
$$;


-- The buckets of expirations in their order.  A position without an expiration, such as
-- shares, is in none.
create function expiration_buckets()
returns text[]
language sql immutable parallel safe
return array['expired', '0DTE', '1-7', '8-30', '31-90', '91-365', 'over 365'];


-- An expired contract stays in the views until its last day is over everywhere on Earth.
create function expiration_bucket(expiration date, today date)
returns text
language sql immutable parallel safe
return (expiration_buckets())[
    1 + width_bucket(
        expiration,
        array[today, today + 1, today + 8, today + 31, today + 91, today + 366]
    )
];


-- The rows of position_greeks_asof.  With is_complete the complete rows of latest_ticks come
-- directly from there, with the expressions of holdings_asof for a tick that lacks nothing.
-- Each value is that of portfolio_sums.
create function position_values(
    moment timestamptz, stale_after_s double precision, is_complete boolean
)
returns table (
    broker text,
    account_id text,
    contract_key text,
    kind text,
    underlying text,
    expiration date,
    expiration_bucket text,
    strike numeric,
    option_type text,
    strategy_tag text,
    currency text,
    quantity numeric,
    multiplier numeric,
    price_factor numeric,
    price double precision,
    underlying_price double precision,
    underlying_price_at timestamptz,
    event_time timestamptz,
    received_at timestamptz,
    position_delta double precision,
    position_gamma double precision,
    position_theta double precision,
    position_vega double precision,
    position_rho double precision,
    dollar_delta double precision,
    dollar_gamma double precision,
    position_value double precision,
    age_s double precision,
    is_stale boolean,
    stale_reason text,
    not_realtime boolean,
    missing text[],
    carried text[],
    carried_age_s double precision
)
language sql stable parallel restricted rows 200
set jit = off
set work_mem = '64MB'
set plan_cache_mode = force_generic_plan
begin atomic
    with present as materialized (
        select
            least(moment, statement_timestamp()) as at,
            least(moment, statement_timestamp()) - stale_after_s * interval '1 second'
                as fresh_from,
            (least(moment, statement_timestamp()) at time zone 'America/New_York')::date
                as today,
            statement_timestamp() at time zone 'UTC' - interval '36 hours' as expired_until,
            statement_timestamp() + interval '5 minutes' as known_until
    ),
    held as materialized (
        select
            h.broker, h.account_id, h.contract_key, h.kind, h.underlying, h.expiration,
            h.strike, h.option_type, h.quantity, h.multiplier, h.currency,
            h.underlying_id, h.price_factor, h.event_time, h.received_at, h.delta, h.gamma,
            h.theta, h.vega, h.rho, h.underlying_price, h.underlying_price_at,
            h.underlying_price_source, h.underlying_price_availability,
            h.is_underlying_price_stale, h.price, h.units, h.money, h.premium,
            h.availability, h.age_s, h.stale_reason, h.carried_delta, h.carried_gamma,
            h.carried_theta, h.carried_vega, h.carried_rho, h.carried_price,
            h.carried_age_s, h.is_future, h.place,
            coalesce(h.underlying, h.contract_key) as group_underlying
        from holdings_asof(moment, stale_after_s, not is_complete) h
    ),
    complete as materialized (
        select
            t.broker, t.account_id, t.contract_key, t.kind, t.underlying, t.expiration,
            t.strike, t.option_type, t.quantity, t.multiplier, t.currency,
            t.underlying_id, t.price_factor, t.event_time, t.received_at, t.delta, t.gamma,
            t.theta, t.vega, t.rho, t.underlying_price, t.price, t.units, t.money,
            t.premium, t.availability, t.is_future,
            case
                when t.underlying_price_at <= (select p.known_until from present p)
                    and isfinite(t.underlying_price_at)
                then t.underlying_price_at
            end as underlying_price_at
        from kept_ticks t
        where position_values.is_complete
          and t.is_complete
          and (
              t.position_expiration is null
              or t.position_expiration > (select p.expired_until from present p)
          )
          and t.place not in (select h.place from held h where h.place is not null)
    ),
    -- The newest price of each underlying, as in portfolio_sums.
    prices as materialized (
        select
            own.underlying, own.broker, own.underlying_id, own.currency, own.is_future,
            own.price_factor, max(own.newest) as newest
        from (
            select
                h.underlying, h.broker, h.underlying_id, h.currency, h.is_future,
                h.price_factor,
                array[
                    date_part('epoch', coalesce(h.underlying_price_at, h.event_time)),
                    date_part('epoch', h.received_at),
                    h.underlying_price,
                    (h.underlying_price_availability <> 'realtime')::integer,
                    h.is_underlying_price_stale::integer
                ] as newest
            from held h
            where h.underlying_price is not null and h.underlying_price_source is null
            union all
            select
                c.underlying, c.broker, c.underlying_id, c.currency, c.is_future,
                c.price_factor,
                array[
                    date_part('epoch', coalesce(c.underlying_price_at, c.event_time)),
                    date_part('epoch', c.received_at),
                    c.underlying_price,
                    (c.availability <> 'realtime')::integer,
                    (
                        c.availability <> 'realtime' or least(
                            c.underlying_price_at, c.event_time, c.received_at
                        ) < (select p.fresh_from from present p)
                    )::integer
                ]
            from complete c
            where exists (select from held h where h.kind in ('equity', 'future'))
        ) own
        group by own.underlying, own.broker, own.underlying_id, own.currency,
            own.is_future, own.price_factor
    ),
    others as materialized (
        select
            row_number() over () as number, o.*,
            case when o.kind in ('equity', 'future') then 1 else o.delta end as unit_delta,
            case when o.kind in ('equity', 'future') then o.group_underlying end
                as price_underlying,
            case when o.kind in ('equity', 'future') then o.underlying_id end
                as price_underlying_id
        from held o
        where o.account_id <> 'watchlist' and o.kind not in ('option', 'future_option')
    ),
    lent as materialized (
        select distinct on (same.number)
            same.number, same.newest[3] as underlying_price,
            to_timestamp(same.newest[1]) as price_at,
            to_timestamp(same.newest[2]) as received_at,
            same.newest[4] = 1 as is_not_realtime, same.newest[5] = 1 as is_stale
        from (
            select s.number, s.broker <> p.broker as is_of_other_broker, p.newest
            from others s
            full join prices p on p.underlying = s.price_underlying
            where is_same_underlying(
                    s.broker, s.underlying_id, s.group_underlying, s.currency, s.is_future,
                    p.broker, p.underlying_id, p.underlying, p.currency, p.is_future
                )
              and coalesce(s.price_factor = p.price_factor, true)
            union all
            select s.number, s.broker <> p.broker, p.newest
            from (
                select o.* from others o where o.price_underlying_id is not null
            ) s
            full join (
                select o.* from prices o where o.underlying_id is not null
            ) p on p.underlying_id = s.price_underlying_id
            where is_same_underlying(
                    s.broker, s.underlying_id, s.group_underlying, s.currency, s.is_future,
                    p.broker, p.underlying_id, p.underlying, p.currency, p.is_future
                )
              and p.underlying is distinct from s.group_underlying
              and coalesce(s.price_factor = p.price_factor, true)
            offset 0
        ) same
        order by same.number, same.newest[5], same.is_of_other_broker, same.newest[1] desc
    ),
    valued as (
        select
            h.broker, h.account_id, h.contract_key, h.kind,
            h.group_underlying as underlying, h.expiration, h.strike, h.option_type,
            h.currency, h.quantity, h.multiplier, h.price_factor, h.price,
            h.underlying_price, h.underlying_price_at, h.event_time, h.received_at,
            true as is_option, false as is_share_future, h.units,
            h.units * h.delta as delta,
            h.units * h.gamma as gamma,
            h.premium * h.theta as theta,
            h.premium * h.vega as vega,
            h.premium * h.rho as rho,
            h.money * h.delta * h.underlying_price as dollar_delta,
            h.money * h.gamma * h.underlying_price ^ 2 / 100 as dollar_gamma,
            h.premium * h.price as value,
            h.age_s,
            coalesce(
                h.stale_reason,
                case when h.is_underlying_price_stale then 'underlying price' end
            ) as stale_reason,
            h.availability <> 'realtime'
                or h.underlying_price_availability <> 'realtime' as is_not_realtime,
            h.carried_delta, h.carried_gamma, h.carried_theta, h.carried_vega,
            h.carried_rho, h.carried_price, h.carried_age_s
        from held h
        where h.account_id <> 'watchlist' and h.kind in ('option', 'future_option')
        union all
        select
            c.broker, c.account_id, c.contract_key, c.kind, c.underlying, c.expiration,
            c.strike, c.option_type, c.currency, c.quantity, c.multiplier, c.price_factor,
            c.price, c.underlying_price, c.underlying_price_at, c.event_time,
            c.received_at,
            true, false, c.units,
            c.units * c.delta,
            c.units * c.gamma,
            c.premium * c.theta,
            c.premium * c.vega,
            c.premium * c.rho,
            c.money * c.delta * c.underlying_price,
            c.money * c.gamma * c.underlying_price ^ 2 / 100,
            c.premium * c.price,
            greatest(0, date_part('epoch', (select p.at from present p) - c.received_at)),
            case
                when least(c.received_at, c.event_time)
                    < (select p.fresh_from from present p) then 'old'
                when c.availability <> 'realtime' then c.availability
                when c.underlying_price_at < (select p.fresh_from from present p)
                    then 'underlying price'
            end,
            c.availability <> 'realtime',
            false, false, false, false, false, false, null
        from complete c
        union all
        select
            h.broker, h.account_id, h.contract_key, h.kind, h.group_underlying,
            h.expiration, h.strike, h.option_type, h.currency, h.quantity, h.multiplier,
            case when h.kind in ('equity', 'future') then h.price_factor end,
            case when h.kind in ('equity', 'future') then lent.underlying_price
                else h.price end,
            lent.underlying_price, lent.price_at, null, lent.received_at,
            false, h.kind in ('equity', 'future'), h.units,
            case when h.kind in ('equity', 'future') then h.units end,
            h.units * h.gamma,
            h.premium * h.theta,
            h.premium * h.vega,
            h.premium * h.rho,
            h.money * h.unit_delta * lent.underlying_price,
            h.money * h.gamma * lent.underlying_price ^ 2 / 100,
            h.premium * case h.kind
                when 'equity' then lent.underlying_price
                when 'future' then 0
                else h.price
            end,
            case when lent.received_at is not null then greatest(0, date_part(
                'epoch', (select p.at from present p) - lent.received_at
            )) end,
            case
                when h.kind not in ('equity', 'future') then null
                when lent.underlying_price is null then 'no price'
                when lent.is_stale then 'underlying price'
            end,
            lent.is_not_realtime,
            h.carried_delta, h.carried_gamma, h.carried_theta, h.carried_vega,
            h.carried_rho, h.carried_price, h.carried_age_s
        from others h
        -- Made by hashing, as in portfolio_sums.
        full join lent on lent.number = h.number
        offset 0
    )
    select
        v.broker, v.account_id, v.contract_key, v.kind, v.underlying, v.expiration,
        expiration_bucket(v.expiration, (select p.today from present p)),
        v.strike, v.option_type,
        -- An array tells no row from a row without a strategy.
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
                  and t.created_at <= moment
                order by t.created_at desc, t.id desc
                limit 1
            )
        ))[1],
        v.currency, v.quantity, v.multiplier, v.price_factor, v.price, v.underlying_price,
        v.underlying_price_at, v.event_time, v.received_at,
        v.delta, v.gamma, v.theta, v.vega, v.rho, v.dollar_delta, v.dollar_gamma, v.value,
        v.age_s, v.stale_reason is not null, v.stale_reason, v.is_not_realtime is true,
        case
            -- Most lack nothing.
            when num_nulls(
                v.units, v.price_factor, v.age_s, v.underlying_price, v.delta, v.gamma,
                v.theta, v.vega, v.rho, v.dollar_delta, v.dollar_gamma, v.value
            ) = 0 then '{}'
            else array_remove(array[
                case when v.kind = 'unknown' or v.is_option and v.age_s is null
                    then 'tick' end,
                case when v.units is null
                    and (v.is_option or v.is_share_future or v.kind = 'unknown')
                    then 'multiplier' end,
                case when v.underlying_price is null
                    and (v.is_option or v.is_share_future or v.kind = 'unknown')
                    then 'price' end,
                case when v.price_factor is null
                    and (v.is_option or v.is_share_future or v.kind = 'unknown')
                    then 'price_factor' end,
                case when v.kind = 'unknown' or v.is_option and v.delta is null
                    then 'delta' end,
                case when v.kind = 'unknown' or v.is_share_future and v.delta is null
                    then 'share_future_delta' end,
                case when v.gamma is null and (v.is_option or v.kind = 'unknown')
                    then 'gamma' end,
                case when v.theta is null and (v.is_option or v.kind = 'unknown')
                    then 'theta' end,
                case when v.vega is null and (v.is_option or v.kind = 'unknown')
                    then 'vega' end,
                case when v.rho is null and (v.is_option or v.kind = 'unknown')
                    then 'rho' end,
                case when v.dollar_delta is null then 'dollar_delta' end,
                case when v.dollar_gamma is null and (v.is_option or v.kind = 'unknown')
                    then 'dollar_gamma' end,
                case when v.value is null then 'value' end
            ], null)
        end,
        case
            when v.carried_delta or v.carried_gamma or v.carried_theta or v.carried_vega
                or v.carried_rho or v.carried_price
            then array_remove(array[
                case when v.carried_delta then 'delta' end,
                case when v.carried_gamma then 'gamma' end,
                case when v.carried_theta then 'theta' end,
                case when v.carried_vega then 'vega' end,
                case when v.carried_rho then 'rho' end,
                case when v.carried_price then 'value' end
            ], null)
            else '{}'
        end,
        case
            when v.carried_delta or v.carried_gamma or v.carried_theta or v.carried_vega
                or v.carried_rho or v.carried_price
            then v.carried_age_s
        end
    from valued v;
end;


-- Each open position with its part of the sums of portfolio_asof.
create function position_greeks_asof(
    moment timestamptz, stale_after_s double precision default 300
)
returns table (
    broker text,
    account_id text,
    contract_key text,
    kind text,
    underlying text,
    expiration date,
    expiration_bucket text,
    strike numeric,
    option_type text,
    strategy_tag text,
    currency text,
    quantity numeric,
    multiplier numeric,
    price_factor numeric,
    price double precision,
    underlying_price double precision,
    underlying_price_at timestamptz,
    event_time timestamptz,
    received_at timestamptz,
    position_delta double precision,
    position_gamma double precision,
    position_theta double precision,
    position_vega double precision,
    position_rho double precision,
    dollar_delta double precision,
    dollar_gamma double precision,
    position_value double precision,
    age_s double precision,
    is_stale boolean,
    stale_reason text,
    not_realtime boolean,
    missing text[],
    carried text[],
    carried_age_s double precision
)
language sql stable parallel restricted
begin atomic
    select v.*
    from position_values(
        moment, stale_after_s, moment = 'infinity' and is_latest_complete()
    ) v;
end;


-- Sums by any of these columns: broker, account_id (and its broker), underlying,
-- expiration_bucket, strategy_tag; by none of them for the whole book.  Money of different
-- currencies is never in one sum.  Only a strategy needs the single positions; every other
-- sum is one of rows of portfolio_asof.
create function risk_totals_asof(
    moment timestamptz,
    group_by text[] default '{underlying}',
    stale_after_s double precision default 300,
    only_broker text default null,
    only_account_id text default null,
    only_underlying text default null,
    only_strategy_tag text default null
)
returns table (
    broker text,
    account_id text,
    underlying text,
    expiration_bucket text,
    strategy_tag text,
    currency text,
    place bigint,
    positions bigint,
    contracts bigint,
    shares_futures bigint,
    other_positions bigint,
    unknown_positions bigint,
    unnamed_currency bigint,
    underlyings bigint,
    net_delta double precision,
    option_delta double precision,
    share_future_delta double precision,
    gamma double precision,
    dollar_delta double precision,
    dollar_gamma double precision,
    theta double precision,
    vega double precision,
    rho double precision,
    market_value double precision,
    missing_tick bigint,
    missing_multiplier bigint,
    missing_price bigint,
    missing_price_factor bigint,
    missing_net_delta bigint,
    missing_gamma bigint,
    missing_dollar_delta bigint,
    missing_dollar_gamma bigint,
    missing_theta bigint,
    missing_vega bigint,
    missing_rho bigint,
    missing_value bigint,
    stale bigint,
    not_realtime bigint,
    oldest_age_s double precision,
    carried_delta bigint,
    carried_gamma bigint,
    carried_theta bigint,
    carried_vega bigint,
    carried_rho bigint,
    carried_value bigint,
    oldest_carried_age_s double precision
)
language sql stable parallel restricted rows 20
set jit = off
set work_mem = '64MB'
set plan_cache_mode = force_generic_plan
begin atomic
    with summands as (
        select
            p.broker, p.account_id, p.underlying,
            case when 'expiration_bucket' = any(group_by) then expiration_bucket(
                p.expiration,
                (least(moment, statement_timestamp())
                    at time zone 'America/New_York')::date
            ) end as expiration_bucket,
            null as strategy_tag, p.currency,
            p.contracts, p.shares_futures, p.other_positions, p.unknown_positions,
            p.option_delta, p.share_future_delta, p.gamma, p.dollar_delta, p.dollar_gamma,
            p.theta, p.vega, p.rho, p.market_value,
            p.missing_tick, p.missing_multiplier, p.missing_price, p.missing_price_factor,
            p.missing_delta, p.missing_share_future_delta, p.missing_gamma,
            p.missing_dollar_delta, p.missing_dollar_gamma, p.missing_theta,
            p.missing_vega, p.missing_rho, p.missing_value,
            p.stale, p.not_realtime, p.oldest_age_s,
            p.carried_delta, p.carried_gamma, p.carried_theta, p.carried_vega,
            p.carried_rho, p.carried_value, p.oldest_carried_age_s
        from portfolio_asof(moment, stale_after_s) p
        where not ('strategy_tag' = any(group_by) or only_strategy_tag is not null)
        union all
        select
            p.broker, p.account_id, p.underlying, p.expiration_bucket, p.strategy_tag,
            p.currency,
            (p.kind in ('option', 'future_option'))::integer,
            (p.kind in ('equity', 'future'))::integer,
            (p.kind not in ('option', 'future_option', 'equity', 'future'))::integer,
            (p.kind = 'unknown')::integer,
            case when p.kind in ('option', 'future_option') then p.position_delta end,
            case when p.kind in ('equity', 'future') then p.position_delta end,
            p.position_gamma, p.dollar_delta, p.dollar_gamma, p.position_theta,
            p.position_vega, p.position_rho, p.position_value,
            ('tick' = any(p.missing))::integer,
            ('multiplier' = any(p.missing))::integer,
            ('price' = any(p.missing))::integer,
            ('price_factor' = any(p.missing))::integer,
            ('delta' = any(p.missing))::integer,
            ('share_future_delta' = any(p.missing))::integer,
            ('gamma' = any(p.missing))::integer,
            ('dollar_delta' = any(p.missing))::integer,
            ('dollar_gamma' = any(p.missing))::integer,
            ('theta' = any(p.missing))::integer,
            ('vega' = any(p.missing))::integer,
            ('rho' = any(p.missing))::integer,
            ('value' = any(p.missing))::integer,
            p.is_stale::integer, p.not_realtime::integer, p.age_s,
            ('delta' = any(p.carried))::integer,
            ('gamma' = any(p.carried))::integer,
            ('theta' = any(p.carried))::integer,
            ('vega' = any(p.carried))::integer,
            ('rho' = any(p.carried))::integer,
            ('value' = any(p.carried))::integer,
            p.carried_age_s
        from position_greeks_asof(moment, stale_after_s) p
        where 'strategy_tag' = any(group_by) or only_strategy_tag is not null
    ),
    summed as (
        select
            case when 'broker' = any(group_by) or 'account_id' = any(group_by)
                then s.broker end as broker,
            case when 'account_id' = any(group_by) then s.account_id end as account_id,
            case when 'underlying' = any(group_by) then s.underlying end as underlying,
            case when 'expiration_bucket' = any(group_by) then s.expiration_bucket end
                as expiration_bucket,
            case when 'strategy_tag' = any(group_by) then s.strategy_tag end
                as strategy_tag,
            coalesce(s.currency, 'USD') as currency,
            sum(s.contracts + s.shares_futures + s.other_positions) as positions,
            sum(s.contracts) as contracts,
            sum(s.shares_futures) as shares_futures,
            sum(s.other_positions) as other_positions,
            sum(s.unknown_positions) as unknowns,
            sum(s.contracts + s.shares_futures + s.other_positions)
                filter (where s.currency is null) as unnamed_currency,
            count(distinct s.underlying) as underlyings,
            sum(s.option_delta) as option_delta,
            sum(s.share_future_delta) as share_future_delta,
            sum(s.gamma) as gamma,
            sum(s.dollar_delta) as dollar_delta,
            sum(s.dollar_gamma) as dollar_gamma,
            sum(s.theta) as theta,
            sum(s.vega) as vega,
            sum(s.rho) as rho,
            sum(s.market_value) as market_value,
            sum(s.missing_tick) as missing_tick,
            sum(s.missing_multiplier) as missing_multiplier,
            sum(s.missing_price) as missing_price,
            sum(s.missing_price_factor) as missing_price_factor,
            sum(s.missing_delta) as missing_delta,
            sum(s.missing_share_future_delta) as missing_share_future_delta,
            sum(s.missing_gamma) as missing_gamma,
            sum(s.missing_dollar_delta) as missing_dollar_delta,
            sum(s.missing_dollar_gamma) as missing_dollar_gamma,
            sum(s.missing_theta) as missing_theta,
            sum(s.missing_vega) as missing_vega,
            sum(s.missing_rho) as missing_rho,
            sum(s.missing_value) as missing_value,
            sum(s.stale) as stale,
            sum(s.not_realtime) as not_realtime,
            max(s.oldest_age_s) as oldest_age_s,
            sum(s.carried_delta) as carried_delta,
            sum(s.carried_gamma) as carried_gamma,
            sum(s.carried_theta) as carried_theta,
            sum(s.carried_vega) as carried_vega,
            sum(s.carried_rho) as carried_rho,
            sum(s.carried_value) as carried_value,
            max(s.oldest_carried_age_s) as oldest_carried_age_s
        from summands s
        where coalesce(s.broker = only_broker, only_broker is null)
          and coalesce(s.account_id = only_account_id, only_account_id is null)
          and coalesce(s.underlying = only_underlying, only_underlying is null)
          and (only_strategy_tag is null or s.strategy_tag = only_strategy_tag)
        group by 1, 2, 3, 4, 5, 6
    ),
    -- The positions that could have a value of each kind.
    counted as (
        select
            s.*,
            s.contracts + s.unknowns as options,
            s.shares_futures + s.unknowns as shares
        from summed s
    )
    -- As in portfolio_sums, a sum is null if none of its values is known, and 0 if there is
    -- nothing to sum.
    select
        c.broker, c.account_id, c.underlying, c.expiration_bucket, c.strategy_tag,
        c.currency,
        coalesce(array_position(expiration_buckets(), c.expiration_bucket), 0),
        c.positions, c.contracts, c.shares_futures, c.other_positions, c.unknowns,
        coalesce(c.unnamed_currency, 0),
        c.underlyings,
        case
            when c.underlyings > 1 then null
            when c.contracts + c.shares_futures + c.unknowns = 0 then 0
            when c.missing_delta = c.options and c.missing_share_future_delta = c.shares
                then null
            else coalesce(c.option_delta, 0) + coalesce(c.share_future_delta, 0)
        end,
        case
            when c.underlyings > 1 then null
            when c.options = 0 then 0
            when c.missing_delta < c.options then c.option_delta
        end,
        case
            when c.underlyings > 1 then null
            when c.shares = 0 then 0
            when c.missing_share_future_delta < c.shares then c.share_future_delta
        end,
        case
            when c.underlyings > 1 then null
            when c.options = 0 then 0
            when c.missing_gamma < c.options then c.gamma
        end,
        c.dollar_delta,
        case when c.options = 0 then 0
            when c.missing_dollar_gamma < c.options then c.dollar_gamma end,
        case when c.options = 0 then 0 when c.missing_theta < c.options then c.theta end,
        case when c.options = 0 then 0 when c.missing_vega < c.options then c.vega end,
        case when c.options = 0 then 0 when c.missing_rho < c.options then c.rho end,
        c.market_value,
        c.missing_tick, c.missing_multiplier, c.missing_price, c.missing_price_factor,
        c.missing_delta + c.missing_share_future_delta - c.unknowns,
        c.missing_gamma, c.missing_dollar_delta, c.missing_dollar_gamma, c.missing_theta,
        c.missing_vega, c.missing_rho, c.missing_value,
        c.stale, c.not_realtime, c.oldest_age_s,
        c.carried_delta, c.carried_gamma, c.carried_theta, c.carried_vega, c.carried_rho,
        c.carried_value, c.oldest_carried_age_s
    from counted c;
end;


create view position_greeks as
select
    broker, account_id, contract_key, kind, underlying, expiration, expiration_bucket,
    strike, option_type, strategy_tag, currency, quantity, multiplier, price_factor, price,
    underlying_price, underlying_price_at, event_time, received_at, position_delta,
    position_gamma, position_theta, position_vega, position_rho, dollar_delta,
    dollar_gamma, position_value, age_s, is_stale, stale_reason, not_realtime, missing,
    carried, carried_age_s
from position_greeks_asof('infinity');


-- A condition on group_by is a condition on a constant, so only the wanted sums are made.
create view risk_totals as
select
    g.group_by, t.broker, t.account_id, t.underlying, t.expiration_bucket, t.strategy_tag,
    t.currency, t.place, t.positions, t.contracts, t.shares_futures, t.other_positions,
    t.unknown_positions, t.unnamed_currency, t.underlyings, t.net_delta, t.option_delta,
    t.share_future_delta, t.gamma, t.dollar_delta, t.dollar_gamma, t.theta, t.vega, t.rho,
    t.market_value, t.missing_tick, t.missing_multiplier, t.missing_price,
    t.missing_price_factor, t.missing_net_delta, t.missing_gamma, t.missing_dollar_delta,
    t.missing_dollar_gamma, t.missing_theta, t.missing_vega, t.missing_rho,
    t.missing_value, t.stale, t.not_realtime, t.oldest_age_s, t.carried_delta,
    t.carried_gamma, t.carried_theta, t.carried_vega, t.carried_rho, t.carried_value,
    t.oldest_carried_age_s
from (
    values
        ('book', '{}'::text[]), ('currency', '{}'), ('broker', '{broker}'),
        ('account_id', '{account_id}'), ('underlying', '{underlying}'),
        ('expiration_bucket', '{expiration_bucket}'), ('strategy_tag', '{strategy_tag}')
) g (group_by, columns)
cross join lateral risk_totals_asof('infinity', g.columns) t;


-- Who may read the portfolio may read these, and who may record trades may tag positions.
do $$
declare
    granted record;
begin
    for granted in
        select distinct
            of.rights, of.relation,
            case a.grantee when 0 then 'public'
                else quote_ident(pg_get_userbyid(a.grantee)) end as grantee
        from (
            values ('select', 'position_greeks', 'portfolio_greeks', 'SELECT'),
                ('select', 'risk_totals', 'portfolio_greeks', 'SELECT'),
                ('select', 'tagged_positions', 'position_history', 'SELECT'),
                ('select', 'tagged_trades', 'position_history', 'SELECT'),
                ('select, insert, update, delete', 'position_tags', 'trades', 'INSERT')
        ) of (rights, relation, source, privilege)
        join pg_class c on c.oid = of.source::regclass
        cross join lateral aclexplode(c.relacl) a
        where a.privilege_type = of.privilege and a.grantee <> c.relowner
    loop
        execute format(
            'grant %s on %I to %s', granted.rights, granted.relation, granted.grantee);
    end loop;
end
$$;


comment on function expiration_buckets() is
    'The names of the expiration buckets, in their order: days to the expiration';
comment on function expiration_bucket(date, date) is
    'The expiration bucket of a contract; null without an expiration. The second argument '
    'is the day from which the days count';
comment on function position_values(timestamptz, double precision, boolean) is
    'The rows of position_greeks_asof';
comment on function position_greeks_asof(timestamptz, double precision) is
    'The columns of position_greeks at any moment; the arguments are those of greeks_asof. '
    'Trades count until the moment; rows of position_tags always';
comment on function risk_totals_asof(
    timestamptz, text[], double precision, text, text, text, text
) is
    'The columns of risk_totals at any moment, by any of broker, account_id, underlying, '
    'expiration_bucket and strategy_tag together, and by currency always; an empty array is '
    'the whole book. The first and the third argument are those of greeks_asof, the others '
    'choose positions';

comment on view position_greeks is
    'Each open position with its part of the sums of portfolio_greeks: quantity x '
    'multiplier x Greek. A value that is not known is null, and missing names it. The same '
    'as position_greeks_asof(''infinity'')';
comment on column position_greeks.broker is
    'Name of the broker, such as ibkr';
comment on column position_greeks.account_id is
    'The broker''s account';
comment on column position_greeks.contract_key is
    'As in positions';
comment on column position_greeks.kind is
    'As in positions; only options, futures options, shares (equity) and futures are in the '
    'sums';
comment on column position_greeks.underlying is
    'The contract_key of the underlying; that of the position if the broker names none';
comment on column position_greeks.expiration is
    'Last day of the contract; null for shares and other positions without one';
comment on column position_greeks.expiration_bucket is
    'Days from today in New York to expiration: expired, 0DTE, 1-7, 8-30, 31-90, 91-365, over '
    '365; null without an expiration';
comment on column position_greeks.strike is
    'In units of the contract''s currency';
comment on column position_greeks.option_type is
    'call or put';
comment on column position_greeks.strategy_tag is
    'The strategy that position_tags gives, also if that is null; without a row there, the '
    'one of the newest trade of the same broker, account and contract that has a '
    'strategy_tag';
comment on column position_greeks.currency is
    'Currency of the values in money; null if the broker names none (tastytrade)';
comment on column position_greeks.quantity is
    'Contracts or shares held, short negative; null if impossible';
comment on column position_greeks.multiplier is
    'Units of the underlying per contract, 1 for shares; null if unknown or impossible';
comment on column position_greeks.price_factor is
    'Currency per quoted unit; null if not known';
comment on column position_greeks.price is
    'The price of the option, share or future, in the unit of its quotation';
comment on column position_greeks.underlying_price is
    'The price of the underlying that dollar_delta uses, in the unit of its quotation';
comment on column position_greeks.underlying_price_at is
    'The time of underlying_price by the broker, otherwise when it was read';
comment on column position_greeks.event_time is
    'The broker''s time of the newest tick; null for a position that is no option';
comment on column position_greeks.received_at is
    'Our wall clock when the frame of the tick was read; for shares and futures of the tick '
    'that gave the price';
comment on column position_greeks.position_delta is
    'quantity x multiplier x delta, with delta 1 for shares and futures: units of the '
    'underlying';
comment on column position_greeks.position_gamma is
    'quantity x multiplier x gamma: change of position_delta per 1.00 of the underlying';
comment on column position_greeks.position_theta is
    'quantity x multiplier x price_factor x theta: currency per calendar day. Adjusted '
    'options count with positions.premium_multiplier here and in vega, rho and value';
comment on column position_greeks.position_vega is
    'quantity x multiplier x price_factor x vega: currency per volatility point (0.01)';
comment on column position_greeks.position_rho is
    'quantity x multiplier x price_factor x rho: currency per rate point (0.01)';
comment on column position_greeks.dollar_delta is
    'position_delta x price_factor x underlying_price: currency per 100 % move';
comment on column position_greeks.dollar_gamma is
    'Change of dollar_delta, through delta, per 1 % move, in currency';
comment on column position_greeks.position_value is
    'quantity x multiplier x price_factor x price, in the currency; 0 for a future, because '
    'its gain is paid out each day';
comment on column position_greeks.age_s is
    'Seconds since the tick was received; for shares and futures the one that gave the '
    'price; null without one';
comment on column position_greeks.is_stale is
    'True if stale_reason says why';
comment on column position_greeks.stale_reason is
    'As in latest_greeks with a limit of 300 seconds; or underlying price: that price is too '
    'old; or no price: shares or a future without a price';
comment on column position_greeks.not_realtime is
    'True if a value or a price comes from a tick whose availability is not realtime';
comment on column position_greeks.missing is
    'The names of the missing_ columns of portfolio_greeks that count this position, without '
    'missing_';
comment on column position_greeks.carried is
    'The values that are from an older tick than the newest: delta, gamma, theta, vega, rho, '
    'value';
comment on column position_greeks.carried_age_s is
    'Seconds since the oldest tick with a carried value was received; null without one';

comment on view risk_totals is
    'The sums of portfolio_greeks by what group_by says, and by currency. Choose one '
    'group_by: each has the whole book. A sum has the known values only, and the missing_ '
    'column beside it counts the positions that it lacks. A sum is null if no value of its '
    'kind is known, and 0 if there is no position of its kind. The same as '
    'risk_totals_asof(''infinity'', ...)';
comment on column risk_totals.group_by is
    'book, currency (the same rows), broker, account_id, underlying, expiration_bucket or '
    'strategy_tag';
comment on column risk_totals.broker is
    'Name of the broker; null unless grouped by broker or account_id';
comment on column risk_totals.account_id is
    'The broker''s account; null unless grouped by it';
comment on column risk_totals.underlying is
    'The contract_key of the underlying; null unless grouped by it';
comment on column risk_totals.expiration_bucket is
    'As in position_greeks; null for positions without an expiration, or unless grouped by '
    'it';
comment on column risk_totals.strategy_tag is
    'As in position_greeks; null for positions without a strategy, or unless grouped by it';
comment on column risk_totals.currency is
    'Currency of the sums in money. Positions whose broker names none count as USD';
comment on column risk_totals.place is
    'The place of the row in the order of the expiration buckets; otherwise 0';
comment on column risk_totals.positions is
    'Number of positions';
comment on column risk_totals.contracts is
    'Number of different option contracts, futures options included; not their quantity';
comment on column risk_totals.shares_futures is
    'Number of positions in shares and futures';
comment on column risk_totals.other_positions is
    'Number of positions of any other kind (bonds, CFDs, crypto), unknown_positions '
    'included; no sum has them';
comment on column risk_totals.unknown_positions is
    'Number of positions that could not be identified';
comment on column risk_totals.unnamed_currency is
    'Number of positions whose broker names no currency (tastytrade)';
comment on column risk_totals.underlyings is
    'Number of different underlyings';
comment on column risk_totals.net_delta is
    'option_delta and share_future_delta together: units of the underlying. Null if there '
    'are several underlyings, because their units do not add up; dollar_delta does';
comment on column risk_totals.option_delta is
    'As in portfolio_greeks: units of the underlying; null if there are several';
comment on column risk_totals.share_future_delta is
    'As in portfolio_greeks: units of the underlying; null if there are several';
comment on column risk_totals.gamma is
    'As in portfolio_greeks: change of option_delta per 1.00 of the underlying; null if there '
    'are several';
comment on column risk_totals.dollar_delta is
    'As in portfolio_greeks: currency per 100 % move';
comment on column risk_totals.dollar_gamma is
    'As in portfolio_greeks: change of dollar_delta per 1 % move, in currency';
comment on column risk_totals.theta is
    'As in portfolio_greeks: currency per calendar day';
comment on column risk_totals.vega is
    'As in portfolio_greeks: currency per volatility point (0.01)';
comment on column risk_totals.rho is
    'As in portfolio_greeks: currency per rate point (0.01)';
comment on column risk_totals.market_value is
    'As in portfolio_greeks: currency';
comment on column risk_totals.missing_tick is
    'Number of contracts without a tick, and unknown_positions';
comment on column risk_totals.missing_multiplier is
    'Number of contracts and shares_futures without a possible multiplier or quantity, and '
    'unknown_positions';
comment on column risk_totals.missing_price is
    'Number of contracts and shares_futures without a known price of the underlying, and '
    'unknown_positions';
comment on column risk_totals.missing_price_factor is
    'Number of contracts and shares_futures without a known price_factor, and '
    'unknown_positions';
comment on column risk_totals.missing_net_delta is
    'Number of contracts, shares_futures and unknown_positions that are not in net_delta';
comment on column risk_totals.missing_gamma is
    'Number of contracts and unknown_positions that are not in gamma';
comment on column risk_totals.missing_dollar_delta is
    'Number of positions, other_positions included, that are not in dollar_delta';
comment on column risk_totals.missing_dollar_gamma is
    'Number of contracts and unknown_positions that are not in dollar_gamma';
comment on column risk_totals.missing_theta is
    'Number of contracts and unknown_positions that are not in theta';
comment on column risk_totals.missing_vega is
    'Number of contracts and unknown_positions that are not in vega';
comment on column risk_totals.missing_rho is
    'Number of contracts and unknown_positions that are not in rho; ibkr sends none';
comment on column risk_totals.missing_value is
    'Number of positions, other_positions included, that are not in market_value';
comment on column risk_totals.stale is
    'Number of contracts and shares_futures that are stale as in portfolio_greeks';
comment on column risk_totals.not_realtime is
    'Number of positions with a value or a price from a tick whose availability is not '
    'realtime';
comment on column risk_totals.oldest_age_s is
    'Seconds since the oldest tick of this row was received; null without ticks';
comment on column risk_totals.carried_delta is
    'Number of contracts whose delta is from an older tick than the newest';
comment on column risk_totals.carried_gamma is
    'Number of contracts whose gamma is from an older tick than the newest';
comment on column risk_totals.carried_theta is
    'Number of contracts whose theta is from an older tick than the newest';
comment on column risk_totals.carried_vega is
    'Number of contracts whose vega is from an older tick than the newest';
comment on column risk_totals.carried_rho is
    'Number of contracts whose rho is from an older tick than the newest';
comment on column risk_totals.carried_value is
    'Number of contracts in market_value whose price is from an older tick than the newest';
comment on column risk_totals.oldest_carried_age_s is
    'Seconds since the oldest tick with a carried Greek or price was received; null without '
    'one';
