-- The sums that the live page shows: by the exact expiration too, beta-weighted, and with
-- estimates; the profit or loss since a moment.

-- The schema that has the tables; the role's search_path may have another one before it.
do $$
begin
    perform set_config('search_path', quote_ident(nspname) || ', pg_temp', true)
    from pg_class join pg_namespace on pg_namespace.oid = relnamespace
    where pg_class.oid = 'greek_snapshots'::regclass;
end
$$;


-- The beta of each of these underlyings in terms of a benchmark, with the price of the
-- benchmark: the one definition that beta_weighted_asof and risk_totals_asof share.  Betas are
-- to the S&P 500.  A future may have the beta of its product, such as /ES.  The coalesce in
-- the condition keeps the full join, which is made by hashing.
create function benchmark_betas_asof(
    moment timestamptz, benchmark text, stale_after_s double precision, underlyings text[]
)
returns table (
    underlying text,
    beta double precision,
    beta_date date,
    beta_source text,
    benchmark_beta double precision,
    benchmark_price double precision,
    benchmark_price_at timestamptz,
    benchmark_currency text
)
language sql stable parallel restricted rows 50
set jit = off
set plan_cache_mode = force_generic_plan
begin atomic
    with metrics as materialized (
        select m.symbol, m.beta, m.beta_date, m.beta_source
        from betas_asof(moment) m
    ),
    -- The newest price of the benchmark; one in dollars first.
    price as materialized (
        select
            g.underlying_price, g.underlying_price_at, coalesce(g.currency, 'USD') as currency
        from (
            select
                n.underlying_price, n.currency,
                coalesce(n.underlying_price_at, n.event_time) as underlying_price_at
            from greeks_now(stale_after_s) n
            where moment = 'infinity' and n.underlying = benchmark
            union all
            select
                a.underlying_price, a.currency,
                coalesce(a.underlying_price_at, a.event_time)
            from greeks_asof(moment, stale_after_s) a
            where moment < 'infinity' and a.underlying = benchmark
        ) g
        where g.underlying_price > 0
        order by coalesce(g.currency, 'USD') <> 'USD', g.underlying_price_at desc nulls last
        limit 1
    ),
    reference as materialized (
        select
            p.underlying_price, p.underlying_price_at,
            coalesce(p.currency, 'USD') as currency,
            case when benchmark = 'SPY' then 1
                else (
                    select m.beta from metrics m where m.symbol = benchmark and m.beta <> 0
                )
            end as beta
        from (select) one
        left join price p on true
    ),
    wanted as (
        select u.underlying, s.symbol
        from unnest(underlyings) u (underlying)
        cross join lateral (
            values (u.underlying),
                (substring(u.underlying from '^(/.+)[FGHJKMNQUVXZ][0-9]{1,2}$'))
        ) s (symbol)
        where u.underlying <> 'SPY' or benchmark <> 'SPY'
    ),
    found as (
        select distinct on (w.underlying) w.underlying, m.beta, m.beta_date, m.beta_source
        from wanted w
        full join metrics m on m.symbol = w.symbol
        where coalesce(w.underlying, '') <> '' and coalesce(m.symbol, '') <> ''
        order by w.underlying, m.beta_source <> 'file', w.symbol <> w.underlying
    )
    select
        u.underlying,
        case when u.underlying = benchmark then r.beta else f.beta end,
        f.beta_date,
        case when u.underlying = benchmark and benchmark = 'SPY' then 'definition'
            else f.beta_source end,
        r.beta, r.underlying_price, r.underlying_price_at, r.currency
    from unnest(underlyings) u (underlying)
    full join found f on f.underlying = u.underlying
    cross join reference r;
end;


-- The dollar_delta of each account, currency and underlying in terms of a benchmark.  Betas
-- are to the S&P 500.  The beta to another benchmark is the beta divided by the beta of the
-- benchmark.
create or replace function beta_weighted_asof(
    moment timestamptz, benchmark text default 'SPY',
    stale_after_s double precision default 300
)
returns table (
    broker text,
    account_id text,
    currency text,
    underlying text,
    benchmark text,
    beta_weighted_delta double precision,
    beta_weighted_dollar_delta double precision,
    dollar_delta double precision,
    beta double precision,
    beta_date date,
    beta_source text,
    benchmark_beta double precision,
    benchmark_price double precision,
    benchmark_price_at timestamptz,
    benchmark_currency text,
    positions bigint,
    missing_dollar_delta bigint,
    missing text[],
    stale bigint,
    oldest_age_s double precision
)
language sql stable parallel restricted rows 50
begin atomic
    with held as materialized (
        select
            s.broker, s.account_id, s.currency, s.underlying,
            sum(s.dollar_delta) as dollar_delta,
            sum(s.contracts + s.shares_futures + s.other_positions)::bigint as positions,
            sum(s.missing_dollar_delta)::bigint as missing_dollar_delta,
            sum(s.stale)::bigint as stale,
            max(s.oldest_age_s) as oldest_age_s
        from portfolio_asof(moment, stale_after_s) s
        group by s.broker, s.account_id, s.currency, s.underlying
    ),
    joined as (
        select
            h.*, b.beta, b.beta_date, b.beta_source, b.benchmark_beta, b.benchmark_price,
            b.benchmark_price_at, b.benchmark_currency,
            coalesce(h.currency, 'USD') = b.benchmark_currency as is_same_currency
        from held h
        full join benchmark_betas_asof(
            moment, beta_weighted_asof.benchmark, stale_after_s,
            (select array_agg(distinct k.underlying) from held k)
        ) b on b.underlying = h.underlying
    )
    select
        j.broker, j.account_id, j.currency, j.underlying, beta_weighted_asof.benchmark,
        case when j.is_same_currency
            then j.dollar_delta * j.beta / j.benchmark_beta / j.benchmark_price end,
        case when j.is_same_currency
            then j.dollar_delta * j.beta / j.benchmark_beta end,
        j.dollar_delta, j.beta, j.beta_date, j.beta_source, j.benchmark_beta,
        j.benchmark_price, j.benchmark_price_at, j.benchmark_currency, j.positions,
        j.missing_dollar_delta,
        array_remove(array[
            case when j.dollar_delta is null then 'dollar_delta' end,
            case when not j.is_same_currency then 'currency' end,
            case when j.beta is null then 'beta' end,
            case when j.benchmark_beta is null then 'benchmark_beta' end,
            case when j.benchmark_price is null then 'benchmark_price' end
        ], null),
        j.stale, j.oldest_age_s
    from joined j;
end;


-- The estimates that take the place of missing and stale Greeks, each as its part of the sums
-- of portfolio_asof: the estimate, the change of the sum by it, and 1 where the sum lacks the
-- position without it.
create function estimated_parts_now(stale_after_s double precision)
returns table (
    broker text,
    account_id text,
    contract_key text,
    currency text,
    underlying text,
    expiration date,
    option_delta double precision,
    added_option_delta double precision,
    found_delta integer,
    gamma double precision,
    added_gamma double precision,
    found_gamma integer,
    theta double precision,
    added_theta double precision,
    found_theta integer,
    vega double precision,
    added_vega double precision,
    found_vega integer,
    rho double precision,
    added_rho double precision,
    found_rho integer,
    dollar_delta double precision,
    added_dollar_delta double precision,
    found_dollar_delta integer,
    dollar_gamma double precision,
    added_dollar_gamma double precision,
    found_dollar_gamma integer,
    age_s double precision
)
language sql stable parallel restricted
begin atomic
    with estimated as (
        select
            h.broker, h.account_id, h.contract_key, h.currency,
            coalesce(h.underlying, h.contract_key) as underlying, h.expiration,
            greatest(0, date_part('epoch', statement_timestamp() - e.inputs_at)) as age_s,
            case when h.stale_reason is not null or h.delta is null
                then h.units * e.delta end as option_delta,
            h.units * h.delta as broker_option_delta,
            case when h.stale_reason is not null or h.gamma is null
                then h.units * e.gamma end as gamma,
            h.units * h.gamma as broker_gamma,
            case when h.stale_reason is not null or h.theta is null
                then h.premium * e.theta end as theta,
            h.premium * h.theta as broker_theta,
            case when h.stale_reason is not null or h.vega is null
                then h.premium * e.vega end as vega,
            h.premium * h.vega as broker_vega,
            case when h.stale_reason is not null or h.rho is null
                then h.premium * e.rho end as rho,
            h.premium * h.rho as broker_rho,
            case when h.stale_reason is not null or h.delta is null
                then h.money * e.delta * e.underlying_price end as dollar_delta,
            h.money * h.delta * h.underlying_price as broker_dollar_delta,
            case when h.stale_reason is not null or h.gamma is null
                then h.money * e.gamma * e.underlying_price ^ 2 / 100 end as dollar_gamma,
            h.money * h.gamma * h.underlying_price ^ 2 / 100 as broker_dollar_gamma
        from holdings_asof('infinity', stale_after_s, true) h
        join kept_estimates e
            on e.contract_key = h.contract_key and e.account_id = h.account_id
            and e.broker = h.broker
        where h.kind in ('option', 'future_option')
          and h.account_id <> 'watchlist'
          and e.no_estimate_reason is null
          and e.inputs_at >= statement_timestamp() - stale_after_s * interval '1 second'
    )
    select
        e.broker, e.account_id, e.contract_key, e.currency, e.underlying, e.expiration,
        e.option_delta, e.option_delta - coalesce(e.broker_option_delta, 0),
        (e.option_delta is not null and e.broker_option_delta is null)::integer,
        e.gamma, e.gamma - coalesce(e.broker_gamma, 0),
        (e.gamma is not null and e.broker_gamma is null)::integer,
        e.theta, e.theta - coalesce(e.broker_theta, 0),
        (e.theta is not null and e.broker_theta is null)::integer,
        e.vega, e.vega - coalesce(e.broker_vega, 0),
        (e.vega is not null and e.broker_vega is null)::integer,
        e.rho, e.rho - coalesce(e.broker_rho, 0),
        (e.rho is not null and e.broker_rho is null)::integer,
        e.dollar_delta, e.dollar_delta - coalesce(e.broker_dollar_delta, 0),
        (e.dollar_delta is not null and e.broker_dollar_delta is null)::integer,
        e.dollar_gamma, e.dollar_gamma - coalesce(e.broker_dollar_gamma, 0),
        (e.dollar_gamma is not null and e.broker_dollar_gamma is null)::integer,
        e.age_s
    from estimated e
    where num_nonnulls(
        e.option_delta, e.gamma, e.theta, e.vega, e.rho, e.dollar_delta, e.dollar_gamma
    ) > 0;
end;


-- The rows of portfolio_greeks with estimates of missing and stale Greeks.  Beside each sum
-- is the part of it that is estimated.  A stale value of a broker gives way to its estimate.
create or replace function portfolio_with_estimates_now(stale_after_s double precision default 300)
returns table (
    broker text,
    account_id text,
    currency text,
    underlying text,
    expiration date,
    contracts bigint,
    shares_futures bigint,
    other_positions bigint,
    unknown_positions bigint,
    estimated_contracts bigint,
    share_future_delta double precision,
    option_delta double precision,
    estimated_option_delta double precision,
    missing_delta bigint,
    gamma double precision,
    estimated_gamma double precision,
    missing_gamma bigint,
    theta double precision,
    estimated_theta double precision,
    missing_theta bigint,
    vega double precision,
    estimated_vega double precision,
    missing_vega bigint,
    rho double precision,
    estimated_rho double precision,
    missing_rho bigint,
    dollar_delta double precision,
    estimated_dollar_delta double precision,
    missing_dollar_delta bigint,
    dollar_gamma double precision,
    estimated_dollar_gamma double precision,
    missing_dollar_gamma bigint,
    market_value double precision,
    missing_value bigint,
    stale bigint,
    not_realtime bigint,
    oldest_age_s double precision,
    oldest_estimate_age_s double precision
)
language sql stable parallel restricted
begin atomic
    with parts as (
        select
            p.broker, p.account_id, p.currency, p.underlying, p.expiration, p.contracts,
            p.shares_futures, p.other_positions, p.unknown_positions,
            0 as estimated_contracts, p.share_future_delta,
            p.option_delta, null::double precision as estimated_option_delta,
            p.missing_delta,
            p.gamma, null::double precision as estimated_gamma,
            p.missing_gamma,
            p.theta, null::double precision as estimated_theta,
            p.missing_theta,
            p.vega, null::double precision as estimated_vega,
            p.missing_vega,
            p.rho, null::double precision as estimated_rho,
            p.missing_rho,
            p.dollar_delta, null::double precision as estimated_dollar_delta,
            p.missing_dollar_delta,
            p.dollar_gamma, null::double precision as estimated_dollar_gamma,
            p.missing_dollar_gamma,
            p.market_value, p.missing_value, p.stale, p.not_realtime, p.oldest_age_s,
            null::double precision as estimate_age_s
        from portfolio_asof('infinity', stale_after_s) p
        union all
        select
            e.broker, e.account_id, e.currency, e.underlying, e.expiration, 0, 0, 0, 0, 1,
            null,
            e.added_option_delta, e.option_delta, -e.found_delta,
            e.added_gamma, e.gamma, -e.found_gamma,
            e.added_theta, e.theta, -e.found_theta,
            e.added_vega, e.vega, -e.found_vega,
            e.added_rho, e.rho, -e.found_rho,
            e.added_dollar_delta, e.dollar_delta, -e.found_dollar_delta,
            e.added_dollar_gamma, e.dollar_gamma, -e.found_dollar_gamma,
            null, 0, 0, 0, null, e.age_s
        from estimated_parts_now(stale_after_s) e
    )
    select
        s.broker, s.account_id, s.currency, s.underlying, s.expiration,
        sum(s.contracts)::bigint, sum(s.shares_futures)::bigint,
        sum(s.other_positions)::bigint, sum(s.unknown_positions)::bigint,
        sum(s.estimated_contracts)::bigint, sum(s.share_future_delta),
        sum(s.option_delta), coalesce(sum(s.estimated_option_delta), 0), sum(s.missing_delta)::bigint,
        sum(s.gamma), coalesce(sum(s.estimated_gamma), 0), sum(s.missing_gamma)::bigint,
        sum(s.theta), coalesce(sum(s.estimated_theta), 0), sum(s.missing_theta)::bigint,
        sum(s.vega), coalesce(sum(s.estimated_vega), 0), sum(s.missing_vega)::bigint,
        sum(s.rho), coalesce(sum(s.estimated_rho), 0), sum(s.missing_rho)::bigint,
        sum(s.dollar_delta), coalesce(sum(s.estimated_dollar_delta), 0), sum(s.missing_dollar_delta)::bigint,
        sum(s.dollar_gamma), coalesce(sum(s.estimated_dollar_gamma), 0), sum(s.missing_dollar_gamma)::bigint,
        sum(s.market_value), sum(s.missing_value)::bigint, sum(s.stale)::bigint,
        sum(s.not_realtime)::bigint, max(s.oldest_age_s), max(s.estimate_age_s)
    from parts s
    group by s.broker, s.account_id, s.currency, s.underlying, s.expiration;
end;


-- The strategy of a position, as in position_greeks: one row.  An array tells no row from a
-- row without a strategy.
create function strategy_of(
    of_broker text, of_account_id text, of_contract_key text, moment timestamptz
)
returns table (strategy_tag text)
language sql stable parallel safe rows 1
begin atomic
    select (coalesce(
        (
            select array[g.strategy_tag]
            from tagged_positions g
            where g.broker = of_broker
              and g.account_id = of_account_id
              and g.contract_key = of_contract_key
        ),
        (
            select array[t.strategy_tag]
            from tagged_trades t
            where t.broker = of_broker
              and t.account_id = of_account_id
              and t.contract_key = of_contract_key
              and t.created_at <= moment
            order by t.created_at desc, t.id desc
            limit 1
        )
    ))[1];
end;


-- The view takes the new function before the old one goes, and keeps its rights.
alter function risk_totals_asof(
    timestamptz, text[], double precision, text, text, text, text
) rename to risk_totals_before;

-- Sums by any of these columns: broker, account_id (and its broker), underlying, expiration,
-- expiration_bucket, strategy_tag; by none of them for the whole book.  Money of different
-- currencies is never in one sum.  Only a strategy needs the single positions; every other
-- sum is one of rows of portfolio_asof.  Without a benchmark nothing is beta-weighted.
-- Estimates are of the present, so a past moment has none.
create function risk_totals_asof(
    moment timestamptz,
    group_by text[] default '{underlying}',
    stale_after_s double precision default 300,
    only_broker text default null,
    only_account_id text default null,
    only_underlying text default null,
    only_strategy_tag text default null,
    only_expiration date default null,
    only_expiration_bucket text default null,
    only_without text[] default null,
    benchmark text default null,
    with_estimates boolean default false
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
    oldest_carried_age_s double precision,
    expiration date,
    benchmark text,
    beta_weighted_delta double precision,
    beta_weighted_dollar_delta double precision,
    benchmark_price double precision,
    benchmark_price_at timestamptz,
    missing_beta_weighted bigint,
    missing_beta bigint,
    missing_currency bigint,
    missing_benchmark_beta bigint,
    missing_benchmark_price bigint,
    without_beta text[],
    oldest_beta_date date,
    estimated_contracts bigint,
    estimated_net_delta double precision,
    estimated_gamma double precision,
    estimated_dollar_delta double precision,
    estimated_dollar_gamma double precision,
    estimated_theta double precision,
    estimated_vega double precision,
    estimated_rho double precision,
    oldest_estimate_age_s double precision
)
language sql stable parallel restricted rows 20
set jit = off
set work_mem = '64MB'
set plan_cache_mode = force_generic_plan
begin atomic
    with asked as materialized (
        select
            'strategy_tag' = any(group_by) or only_strategy_tag is not null
                or coalesce('strategy_tag' = any(only_without), false)
                as needs_strategies,
            (least(moment, statement_timestamp()) at time zone 'America/New_York')::date
                as today
    ),
    summands as (
        select
            p.broker, p.account_id, p.underlying, p.expiration,
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
            p.carried_rho, p.carried_value, p.oldest_carried_age_s,
            0 as estimated_contracts, null::double precision as estimated_delta,
            null::double precision as estimated_gamma,
            null::double precision as estimated_dollar_delta,
            null::double precision as estimated_dollar_gamma,
            null::double precision as estimated_theta,
            null::double precision as estimated_vega,
            null::double precision as estimated_rho,
            null::double precision as estimate_age_s
        from portfolio_asof(moment, stale_after_s) p
        where not (select a.needs_strategies from asked a)
        union all
        select
            p.broker, p.account_id, p.underlying, p.expiration, p.strategy_tag, p.currency,
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
            p.carried_age_s,
            0, null, null, null, null, null, null, null, null
        from position_greeks_asof(moment, stale_after_s) p
        where (select a.needs_strategies from asked a)
        union all
        -- The changes of the sums by estimates.
        select
            e.broker, e.account_id, e.underlying, e.expiration,
            case when (select a.needs_strategies from asked a) then s.strategy_tag end,
            e.currency, 0, 0, 0, 0,
            e.added_option_delta, null, e.added_gamma, e.added_dollar_delta,
            e.added_dollar_gamma, e.added_theta, e.added_vega, e.added_rho, null,
            0, 0, 0, 0,
            -e.found_delta, 0, -e.found_gamma, -e.found_dollar_delta,
            -e.found_dollar_gamma, -e.found_theta, -e.found_vega, -e.found_rho, 0,
            0, 0, null, 0, 0, 0, 0, 0, 0, null,
            1, e.option_delta, e.gamma, e.dollar_delta, e.dollar_gamma, e.theta, e.vega,
            e.rho, e.age_s
        from estimated_parts_now(stale_after_s) e
        cross join lateral strategy_of(e.broker, e.account_id, e.contract_key, moment) s
        where with_estimates and moment = 'infinity'
    ),
    wanted as materialized (
        select
            s.*,
            coalesce(s.currency, 'USD') as money,
            s.contracts + s.shares_futures + s.other_positions as positions,
            case
                when 'expiration_bucket' = any(group_by)
                    or only_expiration_bucket is not null
                then expiration_bucket(s.expiration, (select a.today from asked a))
            end as expiration_bucket
        from summands s
        where coalesce(s.broker = only_broker, only_broker is null)
          and coalesce(s.account_id = only_account_id, only_account_id is null)
          and coalesce(s.underlying = only_underlying, only_underlying is null)
          and (only_strategy_tag is null or s.strategy_tag = only_strategy_tag)
          and (only_expiration is null or s.expiration = only_expiration)
          and (
              only_expiration_bucket is null
              or expiration_bucket(s.expiration, (select a.today from asked a))
                  = only_expiration_bucket
          )
          and (s.expiration is null or ('expiration' = any(only_without)) is not true)
          and (s.strategy_tag is null or ('strategy_tag' = any(only_without)) is not true)
    ),
    -- Made by hashing, as in portfolio_sums.
    weighted as (
        select
            w.*, b.beta, b.beta_date, b.benchmark_beta, b.benchmark_price,
            b.benchmark_price_at, w.money = b.benchmark_currency as is_same_currency,
            -- Null: it cannot be weighted.
            case when w.money = b.benchmark_currency then b.beta / b.benchmark_beta end
                as weight
        from wanted w
        full join (
            select a.*
            from benchmark_betas_asof(
                moment, risk_totals_asof.benchmark, stale_after_s,
                (select array_agg(distinct k.underlying) from wanted k)
            ) a
            where risk_totals_asof.benchmark is not null
        ) b on b.underlying = w.underlying
    ),
    summed as (
        select
            case when 'broker' = any(group_by) or 'account_id' = any(group_by)
                then s.broker end as broker,
            case when 'account_id' = any(group_by) then s.account_id end as account_id,
            case when 'underlying' = any(group_by) then s.underlying end as underlying,
            case when 'expiration' = any(group_by) then s.expiration end as expiration,
            case when 'expiration_bucket' = any(group_by) then s.expiration_bucket end
                as expiration_bucket,
            case when 'strategy_tag' = any(group_by) then s.strategy_tag end
                as strategy_tag,
            s.money as currency,
            sum(s.positions) as positions,
            sum(s.contracts) as contracts,
            sum(s.shares_futures) as shares_futures,
            sum(s.other_positions) as other_positions,
            sum(s.unknown_positions) as unknowns,
            sum(s.positions) filter (where s.currency is null) as unnamed_currency,
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
            max(s.oldest_carried_age_s) as oldest_carried_age_s,
            sum(s.dollar_delta * s.weight / s.benchmark_price) as beta_weighted_delta,
            sum(s.dollar_delta * s.weight) as beta_weighted_dollar_delta,
            max(s.benchmark_price) as benchmark_price,
            max(s.benchmark_price_at) as benchmark_price_at,
            sum(
                case when s.weight is null then s.positions
                    else s.missing_dollar_delta end
            ) as missing_beta_weighted,
            sum(s.positions) filter (where s.beta is null) as missing_beta,
            sum(s.positions) filter (where not s.is_same_currency) as missing_currency,
            sum(s.positions) filter (where s.benchmark_beta is null)
                as missing_benchmark_beta,
            sum(s.positions) filter (where s.benchmark_price is null)
                as missing_benchmark_price,
            array_agg(distinct s.underlying) filter (where s.beta is null) as without_beta,
            min(s.beta_date) filter (where s.dollar_delta * s.weight is not null)
                as oldest_beta_date,
            sum(s.estimated_contracts) as estimated_contracts,
            sum(s.estimated_delta) as estimated_delta,
            sum(s.estimated_gamma) as estimated_gamma,
            sum(s.estimated_dollar_delta) as estimated_dollar_delta,
            sum(s.estimated_dollar_gamma) as estimated_dollar_gamma,
            sum(s.estimated_theta) as estimated_theta,
            sum(s.estimated_vega) as estimated_vega,
            sum(s.estimated_rho) as estimated_rho,
            max(s.estimate_age_s) as oldest_estimate_age_s
        from weighted s
        group by 1, 2, 3, 4, 5, 6, 7
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
        c.carried_value, c.oldest_carried_age_s,
        c.expiration, risk_totals_asof.benchmark, c.beta_weighted_delta,
        c.beta_weighted_dollar_delta, c.benchmark_price, c.benchmark_price_at,
        case when w.is_wanted then c.missing_beta_weighted end,
        case when w.is_wanted then coalesce(c.missing_beta, 0) end,
        case when w.is_wanted then coalesce(c.missing_currency, 0) end,
        case when w.is_wanted then coalesce(c.missing_benchmark_beta, 0) end,
        case when w.is_wanted then coalesce(c.missing_benchmark_price, 0) end,
        case when w.is_wanted then coalesce(c.without_beta, '{}') end,
        c.oldest_beta_date,
        c.estimated_contracts,
        case when c.underlyings = 1 then coalesce(c.estimated_delta, 0) end,
        case when c.underlyings = 1 then coalesce(c.estimated_gamma, 0) end,
        coalesce(c.estimated_dollar_delta, 0), coalesce(c.estimated_dollar_gamma, 0),
        coalesce(c.estimated_theta, 0), coalesce(c.estimated_vega, 0),
        coalesce(c.estimated_rho, 0), c.oldest_estimate_age_s
    from counted c
    cross join (select risk_totals_asof.benchmark is not null as is_wanted) w;
end;


-- A condition on group_by is a condition on a constant, so only the wanted sums are made.
create or replace view risk_totals as
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
    t.oldest_carried_age_s, t.expiration, t.benchmark, t.beta_weighted_delta,
    t.beta_weighted_dollar_delta, t.benchmark_price, t.benchmark_price_at,
    t.missing_beta_weighted, t.missing_beta, t.missing_currency, t.missing_benchmark_beta,
    t.missing_benchmark_price, t.without_beta, t.oldest_beta_date
from (
    values
        ('book', '{}'::text[]), ('currency', '{}'), ('broker', '{broker}'),
        ('account_id', '{account_id}'), ('underlying', '{underlying}'),
        ('expiration', '{expiration}'), ('expiration_bucket', '{expiration_bucket}'),
        ('strategy_tag', '{strategy_tag}')
) g (group_by, columns)
cross join lateral risk_totals_asof('infinity', g.columns, benchmark => 'SPY') t;

drop function risk_totals_before(
    timestamptz, text[], double precision, text, text, text, text
);


comment on function benchmark_betas_asof(timestamptz, text, double precision, text[]) is
    'The betas of these underlyings in terms of a benchmark, and its price. infinity: the '
    'present';
comment on function estimated_parts_now(double precision) is
    'The estimates that count in portfolio_with_estimates: one row for each contract';
comment on function strategy_of(text, text, text, timestamptz) is
    'The strategy of a position at a moment, as in position_greeks';
comment on function risk_totals_asof(
    timestamptz, text[], double precision, text, text, text, text, date, text, text[], text,
    boolean
) is
    'The columns of risk_totals at any moment, by any of broker, account_id, underlying, '
    'expiration, expiration_bucket and strategy_tag together, and by currency always; an '
    'empty array is the whole book. The first and the third argument are those of '
    'greeks_asof. The next ones choose positions; only_without takes expiration and '
    'strategy_tag, and chooses positions that have none. Without a benchmark '
    'there are no beta-weighted sums. with_estimates: the sums are those of portfolio_with_estimates, '
    'and the estimated_ columns have the part of each that is estimated';

comment on view risk_totals is
    'The sums of portfolio_greeks by what group_by says, and by currency. Choose one '
    'group_by: each has the whole book. A sum has the known values only, and the missing_ '
    'column beside it counts the positions that it lacks. A sum is null if no value of its '
    'kind is known, and 0 if there is no position of its kind. The same as '
    'risk_totals_asof(''infinity'', ...)';
comment on column risk_totals.group_by is
    'book, currency (the same rows), broker, account_id, underlying, expiration, '
    'expiration_bucket or strategy_tag';
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
comment on column risk_totals.expiration is
    'Last day of the contracts; null for positions without an expiration, or unless grouped '
    'by it';
comment on column risk_totals.benchmark is
    'SPY; risk_totals_asof takes others';
comment on column risk_totals.beta_weighted_delta is
    'The sum of beta_weighted.beta_weighted_delta: shares of the benchmark';
comment on column risk_totals.beta_weighted_dollar_delta is
    'The sum of beta_weighted.beta_weighted_dollar_delta: currency';
comment on column risk_totals.benchmark_price is
    'As in beta_weighted';
comment on column risk_totals.benchmark_price_at is
    'As in beta_weighted';
comment on column risk_totals.missing_beta_weighted is
    'Number of positions that are not in beta_weighted_dollar_delta, for any reason';
comment on column risk_totals.missing_beta is
    'Number of positions whose underlying has no known beta';
comment on column risk_totals.missing_currency is
    'Number of positions in another currency than that of the benchmark';
comment on column risk_totals.missing_benchmark_beta is
    'Number of positions, if the benchmark has no known beta';
comment on column risk_totals.missing_benchmark_price is
    'Number of positions, if the benchmark has no known price: beta_weighted_delta lacks them';
comment on column risk_totals.without_beta is
    'The underlyings without a known beta';
comment on column risk_totals.oldest_beta_date is
    'The oldest day of a beta in the sum';


-- The trades that people and programs record, for the functions below.  A role needs the
-- right to read it, because a function reads with the rights of its caller.
create view trade_history as
select id, created_at, broker, account_id, contract_key, action, quantity, price
from trades;

comment on view trade_history is
    'The rows of trades, without symbols, strategies and metadata';
comment on column trade_history.id is 'As in trades';
comment on column trade_history.created_at is 'As in trades';
comment on column trade_history.broker is 'As in trades';
comment on column trade_history.account_id is 'As in trades';
comment on column trade_history.contract_key is 'As in trades';
comment on column trade_history.action is 'As in trades';
comment on column trade_history.quantity is 'As in trades';
comment on column trade_history.price is 'As in trades';


-- Midnight in New York at the begin of the day of a moment.
create function start_of_day(moment timestamptz)
returns timestamptz
language sql stable parallel safe
return date_trunc('day', least(moment, statement_timestamp()), 'America/New_York');


-- The price of an option, or of its underlying, in the first tick with one from a moment on.
create function price_from(
    of_broker text, of_account_id text, of_contract_key text, of_underlying boolean,
    earliest timestamptz, latest timestamptz
)
returns table (price double precision, price_at timestamptz)
language sql stable parallel safe rows 1
begin atomic
    select
        case when of_underlying
            then possible_price(s.underlying_price, s.underlying like '/%')
            else s.price end,
        s.event_time
    from tick_history s
    where s.broker = of_broker
      and s.account_id = of_account_id
      and s.contract_key = of_contract_key
      -- As in newest_by_lookup.
      and s.contract_key between of_contract_key and of_contract_key
      and s.event_time >= earliest
      and s.event_time <= latest
      and case when of_underlying
          then possible_price(s.underlying_price, s.underlying like '/%') is not null
          else s.price between 0 and 1e9 end
    order by s.event_time, s.received_at, s.id
    limit 1;
end;


-- The same in the last tick with one, up to a moment.
create function price_until(
    of_broker text, of_account_id text, of_contract_key text, of_underlying boolean,
    earliest timestamptz, latest timestamptz
)
returns table (price double precision, price_at timestamptz)
language sql stable parallel safe rows 1
begin atomic
    select
        case when of_underlying
            then possible_price(s.underlying_price, s.underlying like '/%')
            else s.price end,
        s.event_time
    from tick_history s
    where s.broker = of_broker
      and s.account_id = of_account_id
      and s.contract_key = of_contract_key
      -- As in newest_by_lookup.
      and s.contract_key between of_contract_key and of_contract_key
      and s.event_time > earliest
      and s.event_time <= latest
      and case when of_underlying
          then possible_price(s.underlying_price, s.underlying like '/%') is not null
          else s.price between 0 and 1e9 end
    order by s.event_time desc, s.received_at desc, s.id desc
    limit 1;
end;


-- Whether a change of quantity is a split of the shares: the price has changed by the same
-- factor, 1.5 or more, but for a move of up to 15 %.  The brokers send no word of a split.
create function is_split(
    before_units double precision, after_units double precision,
    before_price double precision, after_price double precision
)
returns boolean
language sql immutable parallel safe
return case
    when before_units * after_units > 0 and before_price > 0 and after_price > 0
    then abs(ln(after_units / before_units)) > 0.4
        and abs(ln(after_units / before_units) - ln(before_price / after_price)) < 0.15
    else false
end;


-- The profit or loss of each position between two moments: its value at the end, less its
-- value at the start, less the money of its trades.  The values are those of
-- position_greeks_asof at the two moments.
--
-- Most positions have a price at both moments and the same quantity: they are plain, and cost
-- nothing more.  For the others the rows of positions and single prices are looked up.
--
-- A change of quantity has the price of the recorded trades that add up to it; otherwise that
-- of the next tick.  A position counts from its first price after the start, if it has none
-- before, or if it comes from the first reading of its account.
create function position_profit(
    start timestamptz, moment timestamptz, stale_after_s double precision default 300
)
returns table (
    broker text,
    account_id text,
    contract_key text,
    kind text,
    underlying text,
    expiration date,
    expiration_bucket text,
    strategy_tag text,
    currency text,
    quantity numeric,
    start_price double precision,
    start_price_at timestamptz,
    end_price double precision,
    end_price_at timestamptz,
    start_value double precision,
    end_value double precision,
    trades double precision,
    profit_loss double precision,
    first_price_at timestamptz,
    trades_at_price bigint,
    trades_at_mark bigint,
    splits bigint,
    expired bigint,
    unused_trades bigint,
    is_stale boolean,
    left_out text
)
language sql stable parallel restricted rows 200
set jit = off
set work_mem = '64MB'
set plan_cache_mode = force_generic_plan
begin atomic
    with ends as materialized (
        select
            least(moment, statement_timestamp()) as at,
            (least(moment, statement_timestamp()) at time zone 'America/New_York')::date
                as today,
            -- It may be a long week-end.
            start - interval '7 days' as earliest
    ),
    before as materialized (
        select
            p.broker, p.account_id, p.contract_key, p.kind, p.underlying, p.expiration,
            p.currency, p.price_factor, p.price,
            case when p.kind in ('option', 'future_option') then p.event_time
                else p.underlying_price_at end as price_at,
            case when p.kind = 'future'
                then p.position_delta * p.price_factor * p.price
                else p.position_value end as worth
        from position_greeks_asof(start, stale_after_s) p
        where start < (select e.at from ends e)
    ),
    after as materialized (
        select
            p.broker, p.account_id, p.contract_key, p.kind, p.underlying, p.expiration,
            p.strategy_tag, p.currency, p.quantity, p.price_factor, p.price, p.is_stale,
            case when p.kind in ('option', 'future_option') then p.event_time
                else p.underlying_price_at end as price_at,
            case when p.kind = 'future'
                then p.position_delta * p.price_factor * p.price
                else p.position_value end as worth
        from position_greeks_asof(moment, stale_after_s) p
        where start < (select e.at from ends e)
    ),
    -- The contracts with a row between the two moments, from the index alone.
    moved as materialized (
        select distinct p.broker, p.account_id, p.contract_key
        from position_history p
        where (
              p.expiration is null
              or p.expiration > start at time zone 'UTC' - interval '36 hours'
          )
          and least(p.observed_at, p.recorded_at) > start
          and least(p.observed_at, p.recorded_at) <= (select e.at from ends e)
    ),
    -- Full joins are made by hashing, here and below, as in portfolio_sums.
    paired as materialized (
        select
            broker, account_id, contract_key,
            m.contract_key is null
                and b.worth is not null and b.price_at > (select e.earliest from ends e)
                and a.worth is not null and a.price_at > (select e.earliest from ends e)
                as is_plain,
            coalesce(a.kind, b.kind) as kind,
            coalesce(a.underlying, b.underlying) as underlying,
            coalesce(a.expiration, b.expiration) as expiration,
            case when a.contract_key is not null then a.currency else b.currency end
                as currency,
            coalesce(a.price_factor, b.price_factor) as price_factor,
            a.contract_key is not null as is_open, a.strategy_tag, a.quantity, a.is_stale,
            b.worth as start_worth, a.worth as end_worth,
            case when b.price_at > (select e.earliest from ends e) then b.price end
                as start_price,
            b.price_at as start_price_at,
            case when a.price_at > (select e.earliest from ends e) then a.price end
                as end_price,
            a.price_at as end_price_at
        from before b
        full join after a using (broker, account_id, contract_key)
        full join moved m using (broker, account_id, contract_key)
    ),
    detailed as materialized (
        select
            row_number() over () as number, p.broker, p.account_id, p.contract_key,
            coalesce(p.kind, o.kind) as kind,
            coalesce(p.underlying, o.underlying, p.contract_key) as underlying,
            coalesce(p.expiration, o.expiration) as expiration,
            case when p.kind is null then o.currency else p.currency end as currency,
            coalesce(p.price_factor, o.price_factor) as price_factor, p.is_open, p.strategy_tag, p.quantity, p.is_stale, p.start_price,
            p.start_price_at, p.end_price, p.end_price_at
        from paired p
        -- Opened and closed between the moments.
        left join lateral (
            select h.kind, h.underlying, h.expiration, h.currency, h.price_factor
            from position_history h
            where p.kind is null
              and h.broker = p.broker
              and h.account_id = p.account_id
              and h.contract_key = p.contract_key
              and least(h.observed_at, h.recorded_at) > start
              and least(h.observed_at, h.recorded_at) <= (select e.at from ends e)
              and h.quantity is distinct from 0
            order by least(h.observed_at, h.recorded_at) desc, h.observed_at desc
            limit 1
        ) o on true
        where not p.is_plain and (p.kind is not null or o.kind is not null)
    ),
    -- The quantities of these: the last one up to the start, the later ones, and none from
    -- the end of an expired contract on.
    quantities as (
        select
            d.number, d.broker, d.account_id, d.contract_key, d.kind, d.underlying,
            d.expiration, d.currency, d.price_factor, q.at, q.observed_at, q.at <= start as is_first, q.is_expiry,
            possible(q.quantity, -1e12, 1e12)::double precision as quantity,
            (case
                when q.quantity = 0 then 0
                else possible(q.quantity, -1e12, 1e12) * q.price_factor * q.multiplier
            end)::double precision as units,
            q.multiplier::double precision as multiplier
        from detailed d
        cross join lateral (
            select
                least(p.observed_at, p.recorded_at) as at, p.observed_at,
                false as is_expiry, p.quantity,
                case
                    when p.premium_multiplier is not null
                    then possible(p.premium_multiplier, 1e-12, 1e12)
                    when p.kind = 'equity' and coalesce(p.multiplier, 0) = 0 then 1
                    else possible(p.multiplier, 1e-12, 1e12)
                end as multiplier,
                case
                    when p.price_factor is not null
                    then possible(p.price_factor, 1e-12, 1e12)
                    when is_in_dollars(p.kind, p.contract_key, p.currency) then 1
                end as price_factor
            from (
                (
                    select h.*
                    from position_history h
                    where h.broker = d.broker
                      and h.account_id = d.account_id
                      and h.contract_key = d.contract_key
                      and least(h.observed_at, h.recorded_at) <= start
                    order by least(h.observed_at, h.recorded_at) desc, h.observed_at desc
                    limit 1
                )
                union all
                select h.*
                from position_history h
                where h.broker = d.broker
                  and h.account_id = d.account_id
                  and h.contract_key = d.contract_key
                  and least(h.observed_at, h.recorded_at) > start
                  and least(h.observed_at, h.recorded_at) <= (select e.at from ends e)
            ) p
            union all
            select x.at, x.at, true, 0, null, null
            from (
                select d.expiration::timestamp at time zone 'UTC' + interval '36 hours' as at
            ) x
            where x.at > start and x.at <= (select e.at from ends e)
        ) q
    ),
    -- A row that repeats the one before is no reading of its own: trades before it may
    -- belong to the next change.
    told_once as (
        select
            r.*,
            lag(r.at, 1, '-infinity') over w as before_at,
            lag(r.quantity, 1, 0::double precision) over w as before_quantity,
            lag(r.units, 1, 0::double precision) over w as before_units,
            lag(r.multiplier) over w as before_multiplier
        from (
            select
                q.*,
                lag(q.number) over v is null
                    or q.quantity is distinct from lag(q.quantity) over v
                    or q.units is distinct from lag(q.units) over v as is_new
            from quantities q
            window v as (partition by q.number order by q.at, q.observed_at)
        ) r
        where r.is_new
        window w as (partition by r.number order by r.at, r.observed_at)
    ),
    held as (
        select
            t.number,
            bool_or(t.units is null) as is_unknown,
            coalesce(sum(t.units) filter (where t.is_first), 0) as start_units,
            (array_agg(t.units order by t.at desc, t.observed_at desc))[1] as end_units
        from told_once t
        group by t.number
    ),
    -- The accounts that were first read after the start, with the moment.
    new_accounts as materialized (
        select a.broker, a.account_id, first.at
        from (select distinct d.broker, d.account_id from detailed d) a
        cross join lateral (
            select min(least(p.observed_at, p.recorded_at)) as at
            from position_history p
            where p.broker = a.broker and p.account_id = a.account_id
        ) first
        where not exists (
            select from position_history p
            where p.broker = a.broker
              and p.account_id = a.account_id
              and least(p.observed_at, p.recorded_at) <= start
        )
    ),
    -- The changes of quantity; also the start and the end that have no price.
    changes as (
        select
            t.number, t.broker, t.account_id, t.contract_key, t.kind, t.underlying,
            t.currency, t.price_factor, t.at, t.before_units,
            t.units - t.before_units as units,
            case when f.is_fitting
                then f.amount * coalesce(t.multiplier, t.before_multiplier) end as cash,
            case when f.is_fitting then f.used end as used,
            case
                when f.is_fitting then 'price'
                when t.before_at = '-infinity' and n.at >= t.at then 'first'
                when t.is_expiry or t.quantity = 0
                    and t.at >= (t.expiration + time '16:00') at time zone 'America/New_York'
                    then 'expired'
                else 'mark'
            end as valued
        from told_once t
        left join new_accounts n on n.broker = t.broker and n.account_id = t.account_id
        cross join lateral (
            select
                coalesce(
                    count(*) > 0
                    and count(*) = count(s.price)
                    and abs(sum(s.signed) - (t.quantity - t.before_quantity)) <= 1e-9
                    and coalesce(t.multiplier, t.before_multiplier) is not null,
                    false
                ) as is_fitting,
                sum(s.signed * s.price) as amount,
                count(*) filter (where s.created_at > start) as used
            from (
                select
                    h.created_at, h.price::double precision as price,
                    (case
                        when lower(btrim(h.action)) like 'sell%' then -abs(h.quantity)
                        when lower(btrim(h.action)) like 'buy%' then abs(h.quantity)
                        else h.quantity
                    end)::double precision as signed
                from trade_history h
                where h.broker = t.broker
                  and h.account_id = t.account_id
                  and h.contract_key = t.contract_key
                  -- A position may be read some time after the trade.
                  and h.created_at > greatest(t.before_at, start - interval '1 hour')
                  and h.created_at <= t.at
                  and not t.is_expiry
            ) s
        ) f
        where not t.is_first and t.units <> t.before_units
        union all
        select
            d.number, d.broker, d.account_id, d.contract_key, d.kind, d.underlying,
            d.currency, d.price_factor, start, 0, h.start_units, null, null, 'base'
        from detailed d
        full join held h on h.number = d.number
        where coalesce(h.start_units <> 0 and d.start_price is null, false)
        union all
        select
            d.number, d.broker, d.account_id, d.contract_key, d.kind, d.underlying,
            d.currency, d.price_factor, (select e.at from ends e), 0, h.end_units, null,
            null, 'end'
        from detailed d
        full join held h on h.number = d.number
        where coalesce(h.end_units <> 0 and d.end_price is null, false)
    ),
    -- Options that give the price of a share or a future where none comes with an option
    -- that is held at that moment.
    lenders as materialized (
        select
            p.broker, p.account_id, p.contract_key, p.underlying, p.currency, p.kind,
            p.price_factor
        from paired p
        where p.kind in ('option', 'future_option')
        union
        select
            d.broker, d.account_id, d.contract_key, d.underlying, d.currency, d.kind,
            d.price_factor
        from detailed d
        where d.kind in ('option', 'future_option')
        union
        select
            k.broker, k.account_id, k.contract_key, k.underlying, k.currency, k.kind,
            k.price_factor
        from kept_ticks k
        where k.account_id = 'watchlist'
    ),
    marked as (
        select
            c.number, c.kind, c.at, c.valued, c.cash, c.used, c.before_units, c.units,
            coalesce(o.price, s.price) as mark,
            coalesce(o.price_at, s.price_at) as mark_at
        from changes c
        left join lateral (
            select found.price, found.price_at
            from (
                select p.price, p.price_at, true as is_later
                from price_from(
                    c.broker, c.account_id, c.contract_key, false, c.at,
                    (select e.at from ends e)
                ) p
                union all
                select p.price, p.price_at, false
                from price_until(
                    c.broker, c.account_id, c.contract_key, false,
                    (select e.earliest from ends e), c.at
                ) p
            ) found
            where c.cash is null and c.kind in ('option', 'future_option')
            order by
                -- A start and an end take an older price first.
                found.is_later = (c.valued not in ('base', 'end')) desc
            limit 1
        ) o on true
        left join lateral (
            select found.price, found.price_at
            from (
                select l.broker, l.account_id, l.contract_key
                from lenders l
                where c.cash is null
                  and c.kind in ('equity', 'future')
                  and l.kind
                    = case c.kind when 'equity' then 'option' else 'future_option' end
                  and l.underlying = c.underlying
                  and coalesce(l.currency, 'USD') = coalesce(c.currency, 'USD')
                  and coalesce(l.price_factor = c.price_factor, true)
                order by l.broker <> c.broker, l.account_id, l.contract_key
                limit 20
            ) lender
            cross join lateral (
                select p.price, p.price_at, true as is_later
                from price_from(
                    lender.broker, lender.account_id, lender.contract_key, true, c.at,
                    (select e.at from ends e)
                ) p
                union all
                select p.price, p.price_at, false
                from price_until(
                    lender.broker, lender.account_id, lender.contract_key, true,
                    (select e.earliest from ends e), c.at
                ) p
            ) found
            order by
                found.is_later = (c.valued not in ('base', 'end')) desc,
                abs(date_part('epoch', found.price_at - c.at))
            limit 1
        ) s on true
    ),
    judged as (
        select
            m.number, m.units, m.mark, m.mark_at, m.used,
            case when s.is_split then 0 else m.cash end as cash,
            case when s.is_split then 'split' else m.valued end as valued
        from (
            select
                k.*,
                lag(k.mark) over (
                    partition by k.number, k.cash is null order by k.at, k.valued <> 'base'
                ) as before_mark
            from marked k
        ) m
        left join detailed d
            on d.number = m.number and m.kind = 'equity' and m.valued = 'mark'
        cross join lateral (
            select d.number is not null and is_split(
                m.before_units, m.before_units + m.units,
                coalesce(m.before_mark, d.start_price), m.mark
            ) as is_split
        ) s
    ),
    moves as (
        select
            m.number,
            sum(m.units * m.mark) filter (where m.valued in ('base', 'first'))
                as start_worth,
            sum(coalesce(m.cash, m.units * m.mark))
                filter (where m.valued not in ('base', 'first', 'end')) as trades,
            bool_or(m.cash is null and m.mark is null) as is_unpriced,
            max(m.mark_at) filter (
                where m.valued in ('base', 'first') and m.mark_at >= start
            ) as first_price_at,
            min(m.mark) filter (where m.valued = 'base') as base_price,
            min(m.mark_at) filter (where m.valued = 'base') as base_price_at,
            min(m.mark) filter (where m.valued = 'end') as end_price,
            min(m.mark_at) filter (where m.valued = 'end') as end_price_at,
            count(*) filter (where m.valued = 'price') as at_price,
            count(*) filter (where m.valued = 'mark') as at_mark,
            count(*) filter (where m.valued = 'split') as splits,
            count(*) filter (where m.valued = 'expired') as expired,
            coalesce(sum(m.used), 0) as used
        from judged m
        group by m.number
    ),
    valued as (
        select
            d.broker, d.account_id, d.contract_key, d.kind, d.underlying, d.expiration,
            d.is_open, d.strategy_tag, d.currency, d.quantity,
            coalesce(d.start_price, m.base_price) as start_price,
            case when d.start_price is null then m.base_price_at else d.start_price_at end
                as start_price_at,
            coalesce(d.end_price, m.end_price) as end_price,
            case when d.end_price is null then m.end_price_at else d.end_price_at end
                as end_price_at,
            case when h.start_units = 0 or d.start_price is null then 0
                else h.start_units * d.start_price end
                + coalesce(m.start_worth, 0) as start_worth,
            case when h.end_units = 0 then 0
                else h.end_units * coalesce(d.end_price, m.end_price) end as end_worth,
            coalesce(m.trades, 0) as trades,
            m.first_price_at,
            coalesce(m.at_price, 0) as at_price, coalesce(m.at_mark, 0) as at_mark,
            coalesce(m.splits, 0) as splits, coalesce(m.expired, 0) as expired,
            coalesce(m.used, 0) as used,
            coalesce(d.is_stale, false) as is_stale,
            case
                when d.kind not in ('option', 'future_option', 'equity', 'future')
                then 'kind'
                when h.is_unknown then 'quantity'
                when m.is_unpriced then 'price'
            end as left_out
        from detailed d
        full join held h on h.number = d.number
        full join moves m on m.number = h.number
        -- Not a contract that was closed already.
        where h.start_units <> 0 or h.end_units <> 0 or m.number is not null
            or h.is_unknown
        union all
        select
            p.broker, p.account_id, p.contract_key, p.kind, p.underlying, p.expiration,
            true, p.strategy_tag, p.currency, p.quantity, p.start_price, p.start_price_at,
            p.end_price, p.end_price_at, p.start_worth, p.end_worth, 0, null, 0, 0, 0, 0,
            0, p.is_stale, null
        from paired p
        where p.is_plain
    ),
    traded as (
        select t.broker, t.account_id, t.contract_key, count(*) as trades
        from trade_history t
        where t.created_at > start
          and t.created_at <= (select e.at from ends e)
          and t.contract_key is not null
        group by t.broker, t.account_id, t.contract_key
    ),
    summed as (
        select
            v.*, v.end_worth - v.start_worth - v.trades as profit_loss,
            t.trades as recorded
        from valued v
        full join traded t using (broker, account_id, contract_key)
    )
    select
        s.broker, s.account_id, s.contract_key, s.kind, s.underlying, s.expiration,
        expiration_bucket(s.expiration, (select e.today from ends e)),
        case when s.is_open then s.strategy_tag else g.strategy_tag end,
        s.currency, coalesce(s.quantity, 0),
        s.start_price, s.start_price_at, s.end_price, s.end_price_at,
        -- A future has no value: its gain is paid out.
        case when s.left_out is not null then null when s.kind = 'future' then 0
            else s.start_worth end,
        case when s.left_out is not null then null when s.kind = 'future' then 0
            else s.end_worth end,
        case when s.left_out is not null then null when s.kind = 'future'
            then -s.profit_loss else s.trades end,
        case when s.left_out is null then s.profit_loss end,
        case when s.left_out is null then s.first_price_at end,
        s.at_price, s.at_mark, s.splits, s.expired, coalesce(s.recorded, 0) - s.used,
        s.is_stale, s.left_out
    from summed s
    left join lateral (
        select f.strategy_tag
        from strategy_of(s.broker, s.account_id, s.contract_key, moment) f
        where not s.is_open
    ) g on true
    where s.kind is not null;
end;


-- The sums of position_profit by any of the columns that risk_totals_asof takes.
create function profit_totals(
    start timestamptz,
    moment timestamptz,
    group_by text[] default '{underlying}',
    stale_after_s double precision default 300,
    only_broker text default null,
    only_account_id text default null,
    only_underlying text default null,
    only_strategy_tag text default null,
    only_expiration date default null,
    only_expiration_bucket text default null,
    only_without text[] default null
)
returns table (
    broker text,
    account_id text,
    underlying text,
    expiration date,
    expiration_bucket text,
    strategy_tag text,
    currency text,
    place bigint,
    started_at timestamptz,
    ended_at timestamptz,
    positions bigint,
    unnamed_currency bigint,
    profit_loss double precision,
    start_value double precision,
    end_value double precision,
    trades double precision,
    left_out bigint,
    missing_price bigint,
    missing_quantity bigint,
    other_positions bigint,
    from_first_price bigint,
    first_price_at timestamptz,
    trades_at_price bigint,
    trades_at_mark bigint,
    splits bigint,
    expired bigint,
    unused_trades bigint,
    stale bigint,
    oldest_start_price_at timestamptz,
    oldest_end_price_at timestamptz
)
language sql stable parallel restricted rows 20
set jit = off
set plan_cache_mode = force_generic_plan
begin atomic
    with wanted as (
        select p.*
        from position_profit(start, moment, stale_after_s) p
        where coalesce(p.broker = only_broker, only_broker is null)
          and coalesce(p.account_id = only_account_id, only_account_id is null)
          and coalesce(p.underlying = only_underlying, only_underlying is null)
          and (only_strategy_tag is null or p.strategy_tag = only_strategy_tag)
          and (only_expiration is null or p.expiration = only_expiration)
          and (
              only_expiration_bucket is null
              or p.expiration_bucket = only_expiration_bucket
          )
          and (p.expiration is null or ('expiration' = any(only_without)) is not true)
          and (p.strategy_tag is null or ('strategy_tag' = any(only_without)) is not true)
    ),
    summed as (
        select
            case when 'broker' = any(group_by) or 'account_id' = any(group_by)
                then w.broker end as broker,
            case when 'account_id' = any(group_by) then w.account_id end as account_id,
            case when 'underlying' = any(group_by) then w.underlying end as underlying,
            case when 'expiration' = any(group_by) then w.expiration end as expiration,
            case when 'expiration_bucket' = any(group_by) then w.expiration_bucket end
                as expiration_bucket,
            case when 'strategy_tag' = any(group_by) then w.strategy_tag end
                as strategy_tag,
            coalesce(w.currency, 'USD') as currency,
            count(*) as positions,
            count(*) filter (where w.currency is null) as unnamed_currency,
            sum(w.profit_loss) as profit_loss,
            sum(w.start_value) as start_value,
            sum(w.end_value) as end_value,
            sum(w.trades) as trades,
            count(w.left_out) as left_out,
            count(*) filter (where w.left_out = 'price') as missing_price,
            count(*) filter (where w.left_out = 'quantity') as missing_quantity,
            count(*) filter (where w.left_out = 'kind') as other_positions,
            count(w.first_price_at) as from_first_price,
            max(w.first_price_at) as first_price_at,
            sum(w.trades_at_price)::bigint as trades_at_price,
            sum(w.trades_at_mark)::bigint as trades_at_mark,
            sum(w.splits)::bigint as splits,
            sum(w.expired)::bigint as expired,
            sum(w.unused_trades)::bigint as unused_trades,
            count(*) filter (where w.is_stale) as stale,
            min(w.start_price_at) filter (where w.left_out is null)
                as oldest_start_price_at,
            min(w.end_price_at) filter (where w.left_out is null) as oldest_end_price_at
        from wanted w
        group by 1, 2, 3, 4, 5, 6, 7
    )
    select
        s.broker, s.account_id, s.underlying, s.expiration, s.expiration_bucket,
        s.strategy_tag, s.currency,
        coalesce(array_position(expiration_buckets(), s.expiration_bucket), 0),
        start, least(moment, statement_timestamp()), s.positions, s.unnamed_currency, s.profit_loss,
        s.start_value, s.end_value, s.trades, s.left_out, s.missing_price,
        s.missing_quantity, s.other_positions, s.from_first_price, s.first_price_at,
        s.trades_at_price, s.trades_at_mark, s.splits, s.expired, s.unused_trades, s.stale,
        s.oldest_start_price_at, s.oldest_end_price_at
    from summed s;
end;


create view position_profit_today as
select
    broker, account_id, contract_key, kind, underlying, expiration, expiration_bucket,
    strategy_tag, currency, quantity, start_price, start_price_at, end_price, end_price_at,
    start_value, end_value, trades, profit_loss, first_price_at, trades_at_price,
    trades_at_mark, splits, expired, unused_trades, is_stale, left_out
from position_profit(start_of_day('infinity'), 'infinity');


create view profit_today as
select
    g.group_by, t.broker, t.account_id, t.underlying, t.expiration, t.expiration_bucket,
    t.strategy_tag, t.currency, t.place, t.started_at, t.ended_at, t.positions,
    t.unnamed_currency, t.profit_loss, t.start_value, t.end_value, t.trades, t.left_out,
    t.missing_price, t.missing_quantity, t.other_positions, t.from_first_price,
    t.first_price_at, t.trades_at_price, t.trades_at_mark, t.splits, t.expired,
    t.unused_trades, t.stale, t.oldest_start_price_at, t.oldest_end_price_at
from (
    values
        ('book', '{}'::text[]), ('currency', '{}'), ('broker', '{broker}'),
        ('account_id', '{account_id}'), ('underlying', '{underlying}'),
        ('expiration', '{expiration}'), ('expiration_bucket', '{expiration_bucket}'),
        ('strategy_tag', '{strategy_tag}')
) g (group_by, columns)
cross join lateral profit_totals(start_of_day('infinity'), 'infinity', g.columns) t;


-- BEGIN MIGRATION ONLY
-- A role that may read the portfolio may read these.
do $$
declare
    granted record;
begin
    for granted in
        select
            of.relation,
            case a.grantee when 0 then 'public'
                else quote_ident(pg_get_userbyid(a.grantee)) end as grantee
        from (
            values ('position_profit_today'), ('profit_today'), ('trade_history')
        ) of (relation)
        cross join pg_class c
        cross join lateral aclexplode(c.relacl) a
        where c.oid = 'portfolio_greeks'::regclass
          and a.privilege_type = 'SELECT'
          and a.grantee <> c.relowner
    loop
        execute format('grant select on %I to %s', granted.relation, granted.grantee);
    end loop;
end
$$;


-- END MIGRATION ONLY
comment on function start_of_day(timestamptz) is
    'Midnight in New York at the begin of the day of a moment. infinity: of today';
comment on function price_from(text, text, text, boolean, timestamptz, timestamptz) is
    'The price of an option, or of its underlying, in the first tick with one of an interval';
comment on function price_until(text, text, text, boolean, timestamptz, timestamptz) is
    'The price of an option, or of its underlying, in the last tick with one of an interval';
comment on function is_split(
    double precision, double precision, double precision, double precision
) is
    'Whether a change of quantity is a split of the shares';
comment on function position_profit(timestamptz, timestamptz, double precision) is
    'The profit or loss of each position between two moments. infinity: until now. The third '
    'argument is the age in seconds from which ticks are stale';
comment on function profit_totals(
    timestamptz, timestamptz, text[], double precision, text, text, text, text, date, text,
    text[]
) is
    'The sums of position_profit between two moments, grouped as in risk_totals_asof, with '
    'the same choice of positions: profit_totals(start_of_day(''infinity''), ''infinity'') is '
    'the profit or loss of today by underlying';

comment on view position_profit_today is
    'The profit or loss of each position since midnight in New York: end_value, less '
    'start_value, less trades. Positions that were closed since are rows too';
comment on column position_profit_today.broker is
    'Name of the broker';
comment on column position_profit_today.account_id is
    'The broker''s account';
comment on column position_profit_today.contract_key is
    'As in positions';
comment on column position_profit_today.kind is
    'As in positions';
comment on column position_profit_today.underlying is
    'The contract_key of the underlying';
comment on column position_profit_today.expiration is
    'Last day of the contract';
comment on column position_profit_today.expiration_bucket is
    'As in position_greeks';
comment on column position_profit_today.strategy_tag is
    'As in position_greeks';
comment on column position_profit_today.currency is
    'Currency of all amounts; null if the broker names none, which counts as USD';
comment on column position_profit_today.quantity is
    'Contracts or shares at the end; 0 if it is closed';
comment on column position_profit_today.start_price is
    'The last price up to the start, at most seven days older; without one, the first price '
    'after it; null for a position that was opened since. In the unit of its quotation';
comment on column position_profit_today.start_price_at is
    'The time of start_price';
comment on column position_profit_today.end_price is
    'The last price up to the end, in the unit of its quotation';
comment on column position_profit_today.end_price_at is
    'The time of end_price';
comment on column position_profit_today.start_value is
    'The value at the start in the currency, at the first price after it if first_price_at is '
    'not null; 0 for futures';
comment on column position_profit_today.end_value is
    'The value at the end in the currency; 0 for futures, and if it is closed';
comment on column position_profit_today.trades is
    'Value bought less value sold since the start, in the currency. The gain of a future, '
    'which is paid out, counts as sold';
comment on column position_profit_today.profit_loss is
    'end_value - start_value - trades, in the currency; null if left_out has a reason';
comment on column position_profit_today.first_price_at is
    'If the position does not count from the start: the time of the first price, from which '
    'it counts. It has no price before, or it comes from the first reading of its account';
comment on column position_profit_today.trades_at_price is
    'Number of changes of the quantity at the price of recorded trades';
comment on column position_profit_today.trades_at_mark is
    'Number of changes at the price of the next tick, because no recorded trades add up to '
    'them';
comment on column position_profit_today.splits is
    'Number of changes that are splits of the shares: quantity and price have changed by the '
    'same factor. No money changes hands';
comment on column position_profit_today.expired is
    '1 if the contract has expired since; it leaves at its last price';
comment on column position_profit_today.unused_trades is
    'Number of recorded trades that fit no change of the quantity';
comment on column position_profit_today.is_stale is
    'As in position_greeks: end_price is old or not real-time';
comment on column position_profit_today.left_out is
    'Why there is no profit_loss: price (a price is not known), quantity (the quantity, the '
    'multiplier or the price_factor is not known), or kind (bonds, CFDs, crypto, unknown)';

comment on view profit_today is
    'The profit or loss since midnight in New York, by what group_by says, and by currency: '
    'the sums of position_profit_today. Choose one group_by. profit_totals takes other moments';
comment on column profit_today.group_by is
    'As in risk_totals';
comment on column profit_today.broker is
    'Name of the broker; null unless grouped by broker or account_id';
comment on column profit_today.account_id is
    'The broker''s account; null unless grouped by it';
comment on column profit_today.underlying is
    'The contract_key of the underlying; null unless grouped by it';
comment on column profit_today.expiration is
    'Last day of the contracts; null for positions without an expiration, or unless grouped '
    'by it';
comment on column profit_today.expiration_bucket is
    'As in position_greeks; null for positions without an expiration, or unless grouped by it';
comment on column profit_today.strategy_tag is
    'As in position_greeks; null for positions without a strategy, or unless grouped by it';
comment on column profit_today.currency is
    'Currency of all amounts. Positions whose broker names none count as USD';
comment on column profit_today.place is
    'As in risk_totals';
comment on column profit_today.started_at is
    'The start: midnight in New York';
comment on column profit_today.ended_at is
    'The end: now';
comment on column profit_today.positions is
    'Number of positions that were open at some time between the start and the end';
comment on column profit_today.unnamed_currency is
    'Number of positions whose broker names no currency (tastytrade)';
comment on column profit_today.profit_loss is
    'end_value - start_value - trades, in the currency; null if every position is left out';
comment on column profit_today.start_value is
    'Sum of position_profit_today.start_value: currency';
comment on column profit_today.end_value is
    'Sum of position_profit_today.end_value: currency';
comment on column profit_today.trades is
    'Sum of position_profit_today.trades: currency';
comment on column profit_today.left_out is
    'Number of positions that are in no sum, for any reason';
comment on column profit_today.missing_price is
    'Number of positions that are left out because a price is not known';
comment on column profit_today.missing_quantity is
    'Number of positions that are left out because the quantity, the multiplier or the '
    'price_factor is not known';
comment on column profit_today.other_positions is
    'Number of positions of other kinds (bonds, CFDs, crypto, unknown); no sum has them';
comment on column profit_today.from_first_price is
    'Number of positions that count from their first price after the start only';
comment on column profit_today.first_price_at is
    'The latest of these first prices; null without such positions';
comment on column profit_today.trades_at_price is
    'Number of changes of quantities at the price of recorded trades';
comment on column profit_today.trades_at_mark is
    'Number of changes at the price of the next tick, because no recorded trades add up to '
    'them';
comment on column profit_today.splits is
    'Number of changes that are splits of shares';
comment on column profit_today.expired is
    'Number of contracts that have expired since';
comment on column profit_today.unused_trades is
    'Number of recorded trades that fit no change of a quantity';
comment on column profit_today.stale is
    'Number of positions whose price at the end is old or not real-time';
comment on column profit_today.oldest_start_price_at is
    'The time of the oldest price at the start';
comment on column profit_today.oldest_end_price_at is
    'The time of the oldest price at the end';
