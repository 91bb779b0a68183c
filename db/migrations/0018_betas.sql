-- Betas and implied volatilities of underlyings; beta-weighted deltas, skew, term structure.

-- The schema that has the tables; the role's search_path may have another one before it.
do $$
begin
    perform set_config('search_path', quote_ident(nspname) || ', pg_temp', true)
    from pg_class join pg_namespace on pg_namespace.oid = relnamespace
    where pg_class.oid = 'greek_snapshots'::regclass;
end
$$;


-- Betas and implied volatilities of underlyings.  A row is appended when a value has changed,
-- and once a day.  Source is the broker; file: the file of betas; timeline: our own ticks.
create table market_metrics (
    symbol text not null,
    source text not null,
    observed_at timestamptz not null,
    beta double precision,
    beta_date date,
    iv_index double precision,
    iv_index_days double precision,
    iv_rank double precision,
    iv_percentile double precision,
    iv_updated_at timestamptz,
    problem text,
    recorded_at timestamptz default clock_timestamp(),
    constraint market_metrics_pkey primary key (symbol, source, observed_at),
    constraint market_metrics_source_check
        check (source ~ '^[a-z][a-z0-9_]*$'),
    constraint market_metrics_symbol_check
        check (symbol <> '')
);

-- Finds the newest row of a symbol.  A row from the future counts from the moment when the
-- database took it, as in positions.
create index market_metrics_known_idx
    on market_metrics (symbol, source, least(observed_at, recorded_at), observed_at);

comment on table market_metrics is
    'History of the betas and implied volatilities of underlyings: one row when a value has '
    'changed, and one a day';
comment on column market_metrics.symbol is
    'The key of the underlying, as in positions.underlying';
comment on column market_metrics.source is
    'The broker that sent it; file: GREEKS_BETAS_FILE; timeline: computed from our ticks';
comment on column market_metrics.observed_at is
    'Our clock when it was read. If it is later than recorded_at, our clock was ahead, and '
    'recorded_at counts';
comment on column market_metrics.beta is
    'The beta to the S&P 500; null: there is none. A null row of the file says that the file '
    'has the symbol no more';
comment on column market_metrics.beta_date is
    'The day of the beta, by its source; null if the source names none';
comment on column market_metrics.iv_index is
    'Implied volatility of the underlying, a fraction per year. timeline: the volatility at '
    'the money for iv_index_days';
comment on column market_metrics.iv_index_days is
    'Days to the expiration of iv_index. timeline: 30 if expirations lie on both sides, '
    'otherwise those of the nearest expiration. Null if the source does not say it';
comment on column market_metrics.iv_rank is
    'From the broker: the place of iv_index between the lowest (0) and the highest (1) of a '
    'year';
comment on column market_metrics.iv_percentile is
    'From the broker: the part of the days of a year with a lower iv_index, 0 to 1';
comment on column market_metrics.iv_updated_at is
    'The broker''s own time of the implied volatilities';
comment on column market_metrics.problem is
    'The values that the source has and that cannot be read, with the reasons. They are null';
comment on column market_metrics.recorded_at is
    'The database''s clock at the insert';

create view market_metric_history as
select
    symbol, source, observed_at, beta, beta_date, iv_index, iv_index_days, iv_rank,
    iv_percentile, iv_updated_at, problem, recorded_at
from market_metrics;

comment on view market_metric_history is
    'The rows of market_metrics';


-- The newest beta of each underlying: that of the file before that of a broker.  A row of a
-- broker is not used after seven days.  The loop goes from one symbol and source to the next
-- through the primary key, because each may have thousands of rows.
create function betas_asof(moment timestamptz)
returns table (
    symbol text,
    beta double precision,
    beta_date date,
    beta_source text
)
language sql stable parallel safe rows 100
begin atomic
    with recursive pairs (symbol, source) as (
        (
            select m.symbol, m.source
            from market_metric_history m
            order by 1, 2
            limit 1
        )
        union all
        select next.*
        from pairs
        cross join lateral (
            select m.symbol, m.source
            from market_metric_history m
            where (m.symbol, m.source) > (pairs.symbol, pairs.source)
            order by 1, 2
            limit 1
        ) next
    )
    select distinct on (p.symbol) p.symbol, found.beta, found.beta_date, p.source
    from pairs p
    cross join lateral (
        select
            possible(m.beta, -100, 100) as beta, m.beta_date,
            least(m.observed_at, m.recorded_at) as at
        from market_metric_history m
        where m.symbol = p.symbol
          and m.source = p.source
          and least(m.observed_at, m.recorded_at) <= betas_asof.moment
        order by least(m.observed_at, m.recorded_at) desc, m.observed_at desc
        limit 1
    ) found
    where p.source <> 'timeline'
      and found.beta is not null
      and (
          p.source = 'file'
          or found.at > least(betas_asof.moment, statement_timestamp()) - interval '7 days'
      )
    order by p.symbol, p.source <> 'file', found.at desc, p.source;
end;

comment on function betas_asof(timestamptz) is
    'The newest beta of each underlying that was known at a moment. infinity: all that is '
    'known now';


-- The newest metrics of each underlying.  The beta of the file comes before that of a
-- broker.  A row of a broker is not used after seven days.  The rank of our own ticks takes
-- one implied volatility a day, the last one, of the 365 days before.
create function market_metrics_asof(moment timestamptz)
returns table (
    symbol text,
    beta double precision,
    beta_date date,
    beta_source text,
    iv_index double precision,
    iv_rank double precision,
    iv_percentile double precision,
    iv_updated_at timestamptz,
    iv_source text,
    own_iv_index double precision,
    own_iv_index_days double precision,
    own_iv_rank double precision,
    own_iv_percentile double precision,
    own_iv_days bigint,
    own_iv_missing text,
    observed_at timestamptz,
    age_s double precision,
    problem text
)
language sql stable parallel safe rows 100
begin atomic
    with recursive pairs (symbol, source) as (
        (
            select m.symbol, m.source
            from market_metric_history m
            order by 1, 2
            limit 1
        )
        union all
        select next.*
        from pairs
        cross join lateral (
            select m.symbol, m.source
            from market_metric_history m
            where (m.symbol, m.source) > (pairs.symbol, pairs.source)
            order by 1, 2
            limit 1
        ) next
    ),
    now (moment) as (
        select least(moment, statement_timestamp())
    ),
    newest as (
        select
            pairs.symbol, pairs.source, least(found.observed_at, found.recorded_at) as at,
            possible(found.beta, -100, 100) as beta, found.beta_date,
            possible(found.iv_index, 1e-9, 100) as iv_index,
            possible(found.iv_index_days, 0, 1e4) as iv_index_days,
            possible(found.iv_rank, -10, 10) as iv_rank,
            possible(found.iv_percentile, 0, 1) as iv_percentile,
            found.iv_updated_at, found.problem
        from pairs
        cross join now
        cross join lateral (
            select m.*
            from market_metric_history m
            where m.symbol = pairs.symbol
              and m.source = pairs.source
              and least(m.observed_at, m.recorded_at) <= market_metrics_asof.moment
            order by least(m.observed_at, m.recorded_at) desc, m.observed_at desc
            limit 1
        ) found
        where pairs.source = 'file'
           or least(found.observed_at, found.recorded_at) > now.moment - interval '7 days'
    ),
    by_symbol as (
        select
            n.symbol,
            max(n.at) as at,
            string_agg(n.problem, '; ' order by n.source) as problem
        from newest n
        group by n.symbol
    )
    select
        s.symbol, b.beta, b.beta_date, b.source, v.iv_index, v.iv_rank, v.iv_percentile,
        v.iv_updated_at, v.source, own.iv_index, own.iv_index_days,
        case when past.days >= 60 and past.highest > past.lowest
            then (own.iv_index - past.lowest) / (past.highest - past.lowest) end,
        case when past.days >= 60
            then past.lower::double precision / past.days end,
        coalesce(past.days, 0),
        case
            when own.iv_index is null then 'no implied volatility'
            when past.days < 60 then 'fewer than 60 days'
            when past.highest = past.lowest then 'always the same'
        end,
        s.at,
        greatest(0, extract(epoch from now.moment - s.at))::double precision,
        s.problem
    from by_symbol s
    cross join now
    left join lateral (
        select n.*
        from newest n
        where n.symbol = s.symbol and n.beta is not null
        order by n.source <> 'file', n.at desc, n.source
        limit 1
    ) b on true
    left join lateral (
        select n.*
        from newest n
        where n.symbol = s.symbol
          and n.source not in ('file', 'timeline')
          and num_nonnulls(n.iv_index, n.iv_rank, n.iv_percentile) > 0
        order by n.at desc, n.source
        limit 1
    ) v on true
    left join newest own
        on own.symbol = s.symbol and own.source = 'timeline' and own.iv_index is not null
    left join lateral (
        select
            count(*) as days, min(each.iv_index) as lowest, max(each.iv_index) as highest,
            count(*) filter (where each.iv_index < own.iv_index) as lower
        from (
            select distinct on ((m.observed_at at time zone 'UTC')::date)
                possible(m.iv_index, 1e-9, 100) as iv_index
            from market_metric_history m
            where m.symbol = s.symbol
              and m.source = 'timeline'
              and least(m.observed_at, m.recorded_at) <= now.moment
              and least(m.observed_at, m.recorded_at) > now.moment - interval '365 days'
              and possible(m.iv_index, 1e-9, 100) is not null
            order by (m.observed_at at time zone 'UTC')::date, m.observed_at desc
        ) each
        where own.iv_index is not null
    ) past on true;
end;


create view latest_market_metrics as
select
    symbol, beta, beta_date, beta_source, iv_index, iv_rank, iv_percentile, iv_updated_at,
    iv_source, own_iv_index, own_iv_index_days, own_iv_rank, own_iv_percentile,
    own_iv_days, own_iv_missing, observed_at, age_s, problem
from market_metrics_asof('infinity');

comment on function market_metrics_asof(timestamptz) is
    'The newest betas and implied volatilities of each underlying that were known at a '
    'moment. infinity: all that is known now';

comment on view latest_market_metrics is
    'The newest betas and implied volatilities of each underlying. A row of a broker counts '
    'for seven days';
comment on column latest_market_metrics.symbol is
    'The key of the underlying, as in positions.underlying';
comment on column latest_market_metrics.beta is
    'The beta to the S&P 500, from the file if it has one, otherwise from the broker; null: '
    'it is not known';
comment on column latest_market_metrics.beta_date is
    'The day of the beta, by its source';
comment on column latest_market_metrics.beta_source is
    'file or the broker';
comment on column latest_market_metrics.iv_index is
    'The broker''s implied volatility of the underlying, a fraction per year';
comment on column latest_market_metrics.iv_rank is
    'The broker''s IV rank, 0 to 1: the place of iv_index between the lowest and the highest '
    'of a year';
comment on column latest_market_metrics.iv_percentile is
    'The broker''s IV percentile, 0 to 1: the part of the days of a year with a lower '
    'iv_index';
comment on column latest_market_metrics.iv_updated_at is
    'The broker''s own time of the implied volatilities';
comment on column latest_market_metrics.iv_source is
    'The broker of iv_index, iv_rank and iv_percentile';
comment on column latest_market_metrics.own_iv_index is
    'The volatility at the money for own_iv_index_days, from our ticks';
comment on column latest_market_metrics.own_iv_index_days is
    '30 if expirations lie on both sides, otherwise the days to the nearest expiration';
comment on column latest_market_metrics.own_iv_rank is
    'The place of own_iv_index between the lowest (0) and the highest (1) of the days in '
    'own_iv_days; null if own_iv_missing has a reason';
comment on column latest_market_metrics.own_iv_percentile is
    'The part of the days in own_iv_days with a lower own_iv_index';
comment on column latest_market_metrics.own_iv_days is
    'Number of days with an implied volatility of ours in the last 365 days';
comment on column latest_market_metrics.own_iv_missing is
    'no implied volatility, fewer than 60 days, or always the same; null if own_iv_rank is '
    'known';
comment on column latest_market_metrics.observed_at is
    'When the newest of these values was read';
comment on column latest_market_metrics.age_s is
    'Seconds since observed_at';
comment on column latest_market_metrics.problem is
    'The values that a source has and that cannot be read, with the reasons';


-- The dollar_delta of each account, currency and underlying in terms of a benchmark.  Betas
-- are to the S&P 500.  The beta to another benchmark is the beta divided by the beta of the
-- benchmark.
create function beta_weighted_asof(
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
            where moment = 'infinity' and n.underlying = beta_weighted_asof.benchmark
            union all
            select
                a.underlying_price, a.currency,
                coalesce(a.underlying_price_at, a.event_time)
            from greeks_asof(moment, stale_after_s) a
            where moment < 'infinity' and a.underlying = beta_weighted_asof.benchmark
        ) g
        where g.underlying_price > 0
        order by coalesce(g.currency, 'USD') <> 'USD', g.underlying_price_at desc nulls last
        limit 1
    ),
    reference as materialized (
        select
            p.underlying_price, p.underlying_price_at,
            coalesce(p.currency, 'USD') as currency,
            case when beta_weighted_asof.benchmark = 'SPY' then 1
                else (
                    select m.beta from metrics m
                    where m.symbol = beta_weighted_asof.benchmark and m.beta <> 0
                )
            end as beta
        from (select) one
        left join price p on true
    ),
    held as (
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
            h.*, r.beta as benchmark_beta, r.underlying_price, r.underlying_price_at,
            r.currency as benchmark_currency,
            case when h.underlying = beta_weighted_asof.benchmark then r.beta
                else m.beta end as beta,
            m.beta_date,
            case when h.underlying = beta_weighted_asof.benchmark
                    and beta_weighted_asof.benchmark = 'SPY' then 'definition'
                else m.beta_source end as beta_source,
            coalesce(h.currency, 'USD') = r.currency as is_same_currency
        from held h
        cross join reference r
        -- A future may have the beta of its product, such as /ES.
        left join lateral (
            select f.*
            from metrics f
            where f.symbol in (
                    h.underlying,
                    substring(h.underlying from '^(/.+)[FGHJKMNQUVXZ][0-9]{1,2}$')
                )
              and (h.underlying <> 'SPY' or beta_weighted_asof.benchmark <> 'SPY')
            order by f.beta_source <> 'file', f.symbol <> h.underlying
            limit 1
        ) m on true
    )
    select
        j.broker, j.account_id, j.currency, j.underlying, beta_weighted_asof.benchmark,
        case when j.is_same_currency
            then j.dollar_delta * j.beta / j.benchmark_beta / j.underlying_price end,
        case when j.is_same_currency
            then j.dollar_delta * j.beta / j.benchmark_beta end,
        j.dollar_delta, j.beta, j.beta_date, j.beta_source, j.benchmark_beta,
        j.underlying_price, j.underlying_price_at, j.benchmark_currency, j.positions,
        j.missing_dollar_delta,
        array_remove(array[
            case when j.dollar_delta is null then 'dollar_delta' end,
            case when not j.is_same_currency then 'currency' end,
            case when j.beta is null then 'beta' end,
            case when j.benchmark_beta is null then 'benchmark_beta' end,
            case when j.underlying_price is null then 'benchmark_price' end
        ], null),
        j.stale, j.oldest_age_s
    from joined j;
end;


-- The sums of beta_weighted_asof: one row for each account, and one with null for all.
create function beta_weighted_totals_asof(
    moment timestamptz, benchmark text default 'SPY',
    stale_after_s double precision default 300
)
returns table (
    broker text,
    account_id text,
    benchmark text,
    beta_weighted_delta double precision,
    beta_weighted_dollar_delta double precision,
    currency text,
    benchmark_price double precision,
    benchmark_price_at timestamptz,
    positions bigint,
    left_out bigint,
    missing_beta bigint,
    missing_currency bigint,
    missing_dollar_delta bigint,
    missing_benchmark_beta bigint,
    missing_benchmark_price bigint,
    without_beta text[],
    oldest_beta_date date,
    stale bigint,
    oldest_age_s double precision
)
language sql stable parallel restricted rows 10
begin atomic
    select
        b.broker, b.account_id, beta_weighted_totals_asof.benchmark,
        sum(b.beta_weighted_delta), sum(b.beta_weighted_dollar_delta),
        min(b.benchmark_currency), min(b.benchmark_price), min(b.benchmark_price_at),
        coalesce(sum(b.positions), 0)::bigint,
        coalesce(sum(
            case when b.beta_weighted_dollar_delta is null then b.positions
                else b.missing_dollar_delta end
        ), 0)::bigint,
        coalesce(sum(b.positions) filter (where 'beta' = any(b.missing)), 0)::bigint,
        coalesce(sum(b.positions) filter (where 'currency' = any(b.missing)), 0)::bigint,
        coalesce(sum(b.missing_dollar_delta), 0)::bigint,
        coalesce(
            sum(b.positions) filter (where 'benchmark_beta' = any(b.missing)), 0
        )::bigint,
        coalesce(
            sum(b.positions) filter (where 'benchmark_price' = any(b.missing)), 0
        )::bigint,
        coalesce(
            array_agg(distinct b.underlying order by b.underlying)
                filter (where 'beta' = any(b.missing)),
            '{}'
        ),
        min(b.beta_date) filter (where b.beta_weighted_dollar_delta is not null),
        coalesce(sum(b.stale), 0)::bigint, max(b.oldest_age_s)
    from beta_weighted_asof(moment, benchmark, stale_after_s) b
    group by grouping sets ((b.broker, b.account_id), ());
end;


create view beta_weighted as
select
    broker, account_id, currency, underlying, benchmark, beta_weighted_delta,
    beta_weighted_dollar_delta, dollar_delta, beta, beta_date, beta_source,
    benchmark_beta, benchmark_price, benchmark_price_at, benchmark_currency, positions,
    missing_dollar_delta, missing, stale, oldest_age_s
from beta_weighted_asof('infinity');


create view beta_weighted_totals as
select
    broker, account_id, benchmark, beta_weighted_delta, beta_weighted_dollar_delta,
    currency, benchmark_price, benchmark_price_at, positions, left_out, missing_beta,
    missing_currency, missing_dollar_delta, missing_benchmark_beta,
    missing_benchmark_price, without_beta, oldest_beta_date, stale, oldest_age_s
from beta_weighted_totals_asof('infinity');


comment on function beta_weighted_asof(timestamptz, text, double precision) is
    'The dollar_delta of each account, currency and underlying at a moment in terms of a '
    'benchmark. infinity: the present';
comment on function beta_weighted_totals_asof(timestamptz, text, double precision) is
    'The sums of beta_weighted_asof: one row for each account, and one without broker and '
    'account_id for all of them';

comment on view beta_weighted is
    'The delta of each account, currency and underlying in terms of SPY. For another '
    'benchmark: beta_weighted_asof(''infinity'', ''QQQ'')';
comment on column beta_weighted.broker is
    'As in portfolio_greeks';
comment on column beta_weighted.account_id is
    'As in portfolio_greeks';
comment on column beta_weighted.currency is
    'As in portfolio_greeks';
comment on column beta_weighted.underlying is
    'As in portfolio_greeks';
comment on column beta_weighted.benchmark is
    'The underlying that the deltas are expressed in';
comment on column beta_weighted.beta_weighted_delta is
    'beta_weighted_dollar_delta / benchmark_price: the number of shares of the benchmark '
    'with the same delta; null if missing has a reason';
comment on column beta_weighted.beta_weighted_dollar_delta is
    'dollar_delta x beta / benchmark_beta, in the currency; null if missing has a reason '
    'other than benchmark_price';
comment on column beta_weighted.dollar_delta is
    'The sum of portfolio_greeks.dollar_delta';
comment on column beta_weighted.beta is
    'The beta to the S&P 500; null: it is not known. It is never assumed';
comment on column beta_weighted.beta_date is
    'The day of the beta, by its source';
comment on column beta_weighted.beta_source is
    'file, the broker, or definition: SPY itself';
comment on column beta_weighted.benchmark_beta is
    '1 for SPY, otherwise the beta of the benchmark';
comment on column beta_weighted.benchmark_price is
    'The newest price of the benchmark from the options on it that are held or watched';
comment on column beta_weighted.benchmark_price_at is
    'The time of that price';
comment on column beta_weighted.benchmark_currency is
    'The currency of that price; USD without a price';
comment on column beta_weighted.positions is
    'Number of positions of any kind';
comment on column beta_weighted.missing_dollar_delta is
    'Number of positions that are not in dollar_delta';
comment on column beta_weighted.missing is
    'Why a value is null: dollar_delta; currency (it is another one than the benchmark''s); '
    'beta; benchmark_beta; benchmark_price. Empty: nothing is missing';
comment on column beta_weighted.stale is
    'As in portfolio_greeks';
comment on column beta_weighted.oldest_age_s is
    'As in portfolio_greeks';

comment on view beta_weighted_totals is
    'The sums of beta_weighted: one row for each account, and one without broker and '
    'account_id for all of them';
comment on column beta_weighted_totals.broker is
    'Null in the row for all accounts';
comment on column beta_weighted_totals.account_id is
    'Null in the row for all accounts';
comment on column beta_weighted_totals.benchmark is
    'As in beta_weighted';
comment on column beta_weighted_totals.beta_weighted_delta is
    'In shares of the benchmark, without the positions in left_out; null if all are';
comment on column beta_weighted_totals.beta_weighted_dollar_delta is
    'In the currency, without the positions in left_out; null if all are';
comment on column beta_weighted_totals.currency is
    'The currency of the benchmark; USD without a price';
comment on column beta_weighted_totals.benchmark_price is
    'As in beta_weighted';
comment on column beta_weighted_totals.benchmark_price_at is
    'As in beta_weighted';
comment on column beta_weighted_totals.positions is
    'Number of positions of any kind';
comment on column beta_weighted_totals.left_out is
    'Number of positions that are not in beta_weighted_dollar_delta, for any reason';
comment on column beta_weighted_totals.missing_beta is
    'Number of positions whose underlying has no known beta';
comment on column beta_weighted_totals.missing_currency is
    'Number of positions in another currency than that of the benchmark';
comment on column beta_weighted_totals.missing_dollar_delta is
    'Number of positions without a dollar_delta';
comment on column beta_weighted_totals.missing_benchmark_beta is
    'Number of positions, if the benchmark has no known beta';
comment on column beta_weighted_totals.missing_benchmark_price is
    'Number of positions, if the benchmark has no known price';
comment on column beta_weighted_totals.without_beta is
    'The underlyings without a known beta';
comment on column beta_weighted_totals.oldest_beta_date is
    'The oldest day of a beta in the sum';
comment on column beta_weighted_totals.stale is
    'As in portfolio_greeks';
comment on column beta_weighted_totals.oldest_age_s is
    'As in portfolio_greeks';


-- The smile of each underlying and expiration at a moment, from the options that are held or
-- watched.  A call's delta, and one plus a put's delta, is the place of an option on the
-- smile: 0.5 is at the money, 0.25 the 25-delta call, 0.75 the 25-delta put.  A volatility
-- lies on the line between the next options on both sides, up to 0.2 away; with one side
-- only, it is that of an option up to 0.05 away.  Otherwise it is null.
create function volatility_skew_asof(
    moment timestamptz, stale_after_s double precision default 300
)
returns table (
    underlying text,
    currency text,
    expiration date,
    days double precision,
    at_the_money double precision,
    put_25_delta double precision,
    call_25_delta double precision,
    skew double precision,
    options bigint,
    not_used bigint,
    oldest_age_s double precision
)
language sql stable parallel restricted rows 50
begin atomic
    with newest as materialized (
        select
            n.contract_key, n.underlying, n.currency, n.expiration, n.option_type, n.delta,
            n.implied_volatility, n.carried_delta, n.carried_implied_volatility,
            n.is_stale, n.age_s
        from greeks_now(stale_after_s) n
        where moment = 'infinity' and n.expiration is not null
        union all
        select
            a.contract_key, a.underlying, a.currency, a.expiration, a.option_type, a.delta,
            a.implied_volatility, a.carried_delta, a.carried_implied_volatility,
            a.is_stale, a.age_s
        from greeks_asof(moment, stale_after_s) a
        where moment < 'infinity' and a.expiration is not null
    ),
    -- One point for each contract, in all accounts together.
    points as materialized (
        select
            n.underlying, coalesce(n.currency, 'USD') as currency, n.expiration,
            n.contract_key,
            avg(case n.option_type when 'put' then 1 + n.delta else n.delta end)
                filter (where u.is_used) as place,
            avg(n.implied_volatility) filter (where u.is_used) as volatility,
            max(n.age_s) filter (where u.is_used) as age_s
        from newest n
        cross join lateral (
            select
                not n.is_stale
                and not n.carried_delta
                and not n.carried_implied_volatility
                and n.implied_volatility is not null
                and case n.option_type when 'put' then 1 + n.delta else n.delta end
                    between 0.01 and 0.99
                -- The root of an adjusted option ends in a digit.
                and (n.contract_key like './%' or left(n.contract_key, 6) !~ '[0-9] *$')
                as is_used
        ) u
        where n.underlying is not null
        group by n.underlying, coalesce(n.currency, 'USD'), n.expiration, n.contract_key
    ),
    around as (
        select
            p.underlying, p.currency, p.expiration, t.place,
            count(p.place) as options,
            count(*) - count(p.place) as not_used,
            max(p.age_s) as oldest_age_s,
            max(array[p.place, p.volatility])
                filter (where p.place between t.place - 0.2 and t.place) as below,
            min(array[p.place, p.volatility])
                filter (where p.place between t.place and t.place + 0.2) as above
        from points p
        cross join (values (0.25::double precision), (0.5), (0.75)) t (place)
        group by p.underlying, p.currency, p.expiration, t.place
    ),
    smile as (
        select
            a.underlying, a.currency, a.expiration, a.place, a.options, a.not_used,
            a.oldest_age_s,
            case
                when a.above[1] > a.below[1]
                then a.below[2] + (a.above[2] - a.below[2])
                    * (a.place - a.below[1]) / (a.above[1] - a.below[1])
                when a.above is not null and a.below is not null
                then (a.above[2] + a.below[2]) / 2
                when a.place - a.below[1] <= 0.05 then a.below[2]
                when a.above[1] - a.place <= 0.05 then a.above[2]
            end as volatility
        from around a
    )
    select
        s.underlying, s.currency, s.expiration,
        -- To the end of the day in New York, half a day at least.
        greatest(0.5, extract(epoch from
            (s.expiration + time '16:00') at time zone 'America/New_York'
            - least(moment, statement_timestamp())
        ) / 86400)::double precision,
        max(s.volatility) filter (where s.place = 0.5),
        max(s.volatility) filter (where s.place = 0.75),
        max(s.volatility) filter (where s.place = 0.25),
        max(s.volatility) filter (where s.place = 0.75)
            - max(s.volatility) filter (where s.place = 0.25),
        max(s.options), max(s.not_used), max(s.oldest_age_s)
    from smile s
    group by s.underlying, s.currency, s.expiration;
end;


-- The volatility at the money of each underlying for a number of days.  It lies between the
-- next expirations on both sides, on the line of the total variance (volatility squared x
-- days).  There is no row beyond the first and the last expiration, except for 30 days: that
-- row takes the nearest expiration then, if it is 7 to 90 days away, and says its days.
create function volatility_term_structure_asof(
    moment timestamptz, stale_after_s double precision default 300
)
returns table (
    underlying text,
    currency text,
    days integer,
    implied_volatility double precision,
    expiration_before date,
    expiration_after date,
    days_used double precision
)
language sql stable parallel restricted rows 50
begin atomic
    with expirations as materialized (
        select s.underlying, s.currency, s.expiration, s.days, s.at_the_money
        from volatility_skew_asof(moment, stale_after_s) s
        where s.at_the_money is not null
    ),
    underlyings as (
        select distinct e.underlying, e.currency from expirations e
    )
    select
        u.underlying, u.currency, t.days,
        case
            when b.days < a.days
            then sqrt((
                b.at_the_money ^ 2 * b.days
                + (a.at_the_money ^ 2 * a.days - b.at_the_money ^ 2 * b.days)
                    * (t.days - b.days) / (a.days - b.days)
            ) / t.days)
            when a.days is not null and b.days is not null then a.at_the_money
            else nearest.at_the_money
        end,
        case when a.days is null or b.days is null then nearest.expiration
            else b.expiration end,
        case when a.days is null or b.days is null then nearest.expiration
            else a.expiration end,
        case when a.days is null or b.days is null then nearest.days else t.days end
    from underlyings u
    cross join (values (7), (30), (60), (90), (180), (365)) t (days)
    left join lateral (
        select e.*
        from expirations e
        where e.underlying = u.underlying and e.currency = u.currency and e.days <= t.days
        order by e.days desc
        limit 1
    ) b on true
    left join lateral (
        select e.*
        from expirations e
        where e.underlying = u.underlying and e.currency = u.currency and e.days >= t.days
        order by e.days
        limit 1
    ) a on true
    left join lateral (
        select e.*
        from expirations e
        where t.days = 30
          and e.underlying = u.underlying
          and e.currency = u.currency
          and e.days between 7 and 90
        order by abs(e.days - 30), e.days
        limit 1
    ) nearest on true
    where a.days is not null and b.days is not null
       or nearest.days is not null;
end;


create view volatility_skew as
select
    underlying, currency, expiration, days, at_the_money, put_25_delta, call_25_delta,
    skew, options, not_used, oldest_age_s
from volatility_skew_asof('infinity');


create view volatility_term_structure as
select
    underlying, currency, days, implied_volatility, expiration_before, expiration_after,
    days_used
from volatility_term_structure_asof('infinity');


comment on function volatility_skew_asof(timestamptz, double precision) is
    'The smile of each underlying and expiration at a moment. infinity: the present';
comment on function volatility_term_structure_asof(timestamptz, double precision) is
    'The volatility at the money of each underlying for 7, 30, 60, 90, 180 and 365 days. '
    'infinity: the present';

comment on view volatility_skew is
    'The implied volatilities of each underlying and expiration at the money and at 25 delta, '
    'from the options that are held or watched';
comment on column volatility_skew.underlying is
    'As in latest_greeks';
comment on column volatility_skew.currency is
    'As in latest_greeks; USD if the broker names none';
comment on column volatility_skew.expiration is
    'Last day of the options';
comment on column volatility_skew.days is
    'Days until 16:00 in New York on that day, 0.5 at least';
comment on column volatility_skew.at_the_money is
    'The volatility at a call''s delta of 0.5, a fraction per year; null: the options are too '
    'far away';
comment on column volatility_skew.put_25_delta is
    'The volatility at a put''s delta of -0.25, a fraction per year';
comment on column volatility_skew.call_25_delta is
    'The volatility at a call''s delta of 0.25, a fraction per year';
comment on column volatility_skew.skew is
    'put_25_delta minus call_25_delta, as a fraction';
comment on column volatility_skew.options is
    'Number of options that are points of the smile';
comment on column volatility_skew.not_used is
    'Number of options that are not: stale, adjusted, without delta or volatility, with values '
    'from an older tick, or with a delta below 0.01 or above 0.99';
comment on column volatility_skew.oldest_age_s is
    'Seconds since the oldest tick of these options was received';

comment on view volatility_term_structure is
    'The volatility at the money of each underlying for a number of days, from '
    'volatility_skew';
comment on column volatility_term_structure.underlying is
    'As in latest_greeks';
comment on column volatility_term_structure.currency is
    'As in volatility_skew';
comment on column volatility_term_structure.days is
    '7, 30, 60, 90, 180 or 365';
comment on column volatility_term_structure.implied_volatility is
    'A fraction per year';
comment on column volatility_term_structure.expiration_before is
    'The last expiration up to these days';
comment on column volatility_term_structure.expiration_after is
    'The first expiration from these days on';
comment on column volatility_term_structure.days_used is
    'The same as days; for 30 days without expirations on both sides, the days to the nearest '
    'expiration';

do $$
declare
    copied record;
begin
    for copied in
        select v.attrelid::regclass as view, v.attname,
            col_description(t.attrelid, t.attnum) as said
        from pg_attribute v
        join pg_attribute t
            on t.attrelid = 'market_metrics'::regclass and t.attname = v.attname
        where v.attrelid = 'market_metric_history'::regclass and v.attnum > 0
    loop
        execute format(
            'comment on column %s.%I is %L', copied.view, copied.attname, copied.said);
    end loop;
end
$$;


-- Who may read or write the positions may do the same here.
do $$
declare
    granted record;
begin
    for granted in
        select distinct of.relation, of.privilege, a.grantee
        from (
            values ('position_history', 'market_metric_history', 'SELECT'),
                ('position_history', 'latest_market_metrics', 'SELECT'),
                ('position_history', 'beta_weighted', 'SELECT'),
                ('position_history', 'beta_weighted_totals', 'SELECT'),
                ('position_history', 'volatility_skew', 'SELECT'),
                ('position_history', 'volatility_term_structure', 'SELECT'),
                ('positions', 'market_metrics', 'SELECT'),
                ('positions', 'market_metrics', 'INSERT')
        ) of (source, relation, privilege)
        join pg_class c on c.oid = of.source::regclass
        cross join lateral aclexplode(c.relacl) a
        where a.privilege_type = of.privilege and a.grantee <> c.relowner
    loop
        execute format(
            'grant %s on %I to %s',
            granted.privilege,
            granted.relation,
            case granted.grantee when 0 then 'public'
                else quote_ident(pg_get_userbyid(granted.grantee)) end
        );
    end loop;
end
$$;
