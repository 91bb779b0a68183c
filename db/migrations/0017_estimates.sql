-- Estimates of Greeks that a broker does not send or that are stale, beside the broker's own.

-- The schema that has the tables; the role's search_path may have another one before it.
do $$
begin
    perform set_config('search_path', quote_ident(nspname) || ', pg_temp', true)
    from pg_class join pg_namespace on pg_namespace.oid = relnamespace
    where pg_class.oid = 'greek_snapshots'::regclass;
end
$$;


create table estimated_greeks (
    broker text not null,
    account_id text not null,
    contract_key text not null,
    computed_at timestamptz not null,
    inputs_at timestamptz,
    delta double precision,
    gamma double precision,
    theta double precision,
    vega double precision,
    rho double precision,
    volatility double precision,
    volatility_source text,
    volatility_broker text,
    underlying_price double precision,
    underlying_price_broker text,
    model text,
    rate double precision,
    dividend_yield double precision,
    no_estimate_reason text,
    constraint estimated_greeks_pkey primary key (contract_key, account_id, broker),
    constraint estimated_greeks_volatility_source_check
        check (volatility_source in ('implied_volatility', 'price')),
    -- An estimate with all that it was computed from, or the reason why there is none.
    constraint estimated_greeks_inputs_check
        check (
            no_estimate_reason is not null
            or num_nulls(
                inputs_at, volatility, volatility_source, volatility_broker,
                underlying_price, underlying_price_broker, model, rate, dividend_yield
            ) = 0
        )
)
-- Each row changes often: room for its next version on the same page.
with (fillfactor = 50);

comment on table estimated_greeks is
    'The newest estimates of Greeks that a broker does not send, or that are stale: one row '
    'for each contract in each account that needs one. The service writes them with '
    'GREEKS_ESTIMATES; without it the table is empty';
comment on column estimated_greeks.broker is
    'Name of the broker, such as ibkr';
comment on column estimated_greeks.account_id is
    'The account at the broker; watchlist for a watched contract that no account holds';
comment on column estimated_greeks.contract_key is
    'As in greek_snapshots';
comment on column estimated_greeks.computed_at is
    'The database''s clock when the inputs were read';
comment on column estimated_greeks.inputs_at is
    'The time of the oldest input. An estimate counts as long as its inputs are not stale';
comment on column estimated_greeks.delta is
    'By the model, in the unit of greek_snapshots; null if the broker''s own was fresh';
comment on column estimated_greeks.gamma is
    'By the model, in the unit of greek_snapshots; null if the broker''s own was fresh';
comment on column estimated_greeks.theta is
    'By the model: the derivative, per calendar day; null if the broker''s own was fresh';
comment on column estimated_greeks.vega is
    'By the model, in the unit of greek_snapshots; null if the broker''s own was fresh';
comment on column estimated_greeks.rho is
    'By the model, in the unit of greek_snapshots; null if the broker''s own was fresh';
comment on column estimated_greeks.volatility is
    'The volatility in the model: a fraction per year';
comment on column estimated_greeks.volatility_source is
    'implied_volatility: as the broker sent it; price: computed from the option''s price';
comment on column estimated_greeks.volatility_broker is
    'The broker whose tick of this contract gave the volatility or the price';
comment on column estimated_greeks.underlying_price is
    'The price of the underlying in the model';
comment on column estimated_greeks.underlying_price_broker is
    'The broker whose tick gave the price of the underlying';
comment on column estimated_greeks.model is
    'american, european or black (options on futures)';
comment on column estimated_greeks.rate is
    'The rate of interest in the model: a fraction per year (GREEKS_RISK_FREE_RATE)';
comment on column estimated_greeks.dividend_yield is
    'The dividends in the model: a fraction per year. 0, because no broker sends them';
comment on column estimated_greeks.no_estimate_reason is
    'Why there is no estimate, in words; null with one';

create view kept_estimates as
select
    broker, account_id, contract_key, computed_at, inputs_at, delta, gamma, theta, vega,
    rho, volatility, volatility_source, volatility_broker, underlying_price,
    underlying_price_broker, model, rate, dividend_yield, no_estimate_reason
from estimated_greeks;

comment on view kept_estimates is
    'The rows of estimated_greeks';


-- The rows of greeks_now with estimates of missing and stale Greeks.  Each Greek has its
-- source beside it.
create function greeks_with_estimates_now(stale_after_s double precision default 300)
returns table (
    broker text,
    account_id text,
    contract_key text,
    underlying text,
    expiration date,
    strike numeric,
    option_type text,
    quantity numeric,
    multiplier numeric,
    currency text,
    event_time timestamptz,
    received_at timestamptz,
    age_s double precision,
    is_stale boolean,
    stale_reason text,
    delta double precision,
    delta_source text,
    gamma double precision,
    gamma_source text,
    theta double precision,
    theta_source text,
    vega double precision,
    vega_source text,
    rho double precision,
    rho_source text,
    implied_volatility double precision,
    underlying_price double precision,
    price double precision,
    estimate_age_s double precision,
    estimate_volatility double precision,
    estimate_volatility_source text,
    estimate_volatility_broker text,
    estimate_underlying_price double precision,
    estimate_underlying_price_broker text,
    estimate_model text,
    estimate_rate double precision,
    estimate_dividend_yield double precision,
    no_estimate_reason text
)
language sql stable parallel restricted
begin atomic
    with greeks as (
        select
            n.*,
            case when not n.is_stale then n.delta end as fresh_delta,
            case when not n.is_stale then n.gamma end as fresh_gamma,
            case when not n.is_stale then n.theta end as fresh_theta,
            case when not n.is_stale then n.vega end as fresh_vega,
            case when not n.is_stale then n.rho end as fresh_rho
        from greeks_now(stale_after_s) n
    ),
    fresh as (
        select k.*
        from kept_estimates k
        where k.no_estimate_reason is null
          and k.inputs_at >= statement_timestamp() - stale_after_s * interval '1 second'
    )
    select
        g.broker, g.account_id, g.contract_key, g.underlying, g.expiration, g.strike,
        g.option_type, g.quantity, g.multiplier, g.currency, g.event_time, g.received_at,
        g.age_s, g.is_stale, g.stale_reason,
        coalesce(g.fresh_delta, e.delta, g.delta),
        case when g.fresh_delta is null and e.delta is not null then 'estimated'
            when g.delta is not null then 'broker' end,
        coalesce(g.fresh_gamma, e.gamma, g.gamma),
        case when g.fresh_gamma is null and e.gamma is not null then 'estimated'
            when g.gamma is not null then 'broker' end,
        coalesce(g.fresh_theta, e.theta, g.theta),
        case when g.fresh_theta is null and e.theta is not null then 'estimated'
            when g.theta is not null then 'broker' end,
        coalesce(g.fresh_vega, e.vega, g.vega),
        case when g.fresh_vega is null and e.vega is not null then 'estimated'
            when g.vega is not null then 'broker' end,
        coalesce(g.fresh_rho, e.rho, g.rho),
        case when g.fresh_rho is null and e.rho is not null then 'estimated'
            when g.rho is not null then 'broker' end,
        g.implied_volatility, g.underlying_price, g.price,
        -- greatest passes nulls over.
        case when e.inputs_at is not null then greatest(
            0, date_part('epoch', statement_timestamp() - e.inputs_at)
        ) end,
        e.volatility, e.volatility_source, e.volatility_broker, e.underlying_price,
        e.underlying_price_broker, e.model, e.rate, e.dividend_yield,
        case
            when num_nulls(
                    coalesce(g.fresh_delta, e.delta), coalesce(g.fresh_gamma, e.gamma),
                    coalesce(g.fresh_theta, e.theta), coalesce(g.fresh_vega, e.vega),
                    coalesce(g.fresh_rho, e.rho)
                ) > 0
            then coalesce(
                k.no_estimate_reason,
                case
                    when k.computed_at is null then 'not computed'
                    when e.computed_at is null then 'the inputs are old'
                    else 'the model has no value'
                end
            )
        end
    from greeks g
    left join kept_estimates k
        on k.contract_key = g.contract_key and k.account_id = g.account_id
        and k.broker = g.broker
    -- Not the estimate of a contract that needs none any more.
    left join fresh e
        on e.contract_key = g.contract_key and e.account_id = g.account_id
        and e.broker = g.broker
        and num_nulls(
            g.fresh_delta, g.fresh_gamma, g.fresh_theta, g.fresh_vega, g.fresh_rho
        ) > 0;
end;


create view greeks_with_estimates as
select
    broker, account_id, contract_key, underlying, expiration, strike, option_type,
    quantity, multiplier, currency, event_time, received_at, age_s, is_stale,
    stale_reason, delta, delta_source, gamma, gamma_source, theta, theta_source, vega,
    vega_source, rho, rho_source, implied_volatility, underlying_price, price,
    estimate_age_s, estimate_volatility, estimate_volatility_source,
    estimate_volatility_broker, estimate_underlying_price,
    estimate_underlying_price_broker, estimate_model, estimate_rate,
    estimate_dividend_yield, no_estimate_reason
from greeks_with_estimates_now(300);


-- The rows of portfolio_greeks with estimates of missing and stale Greeks.  Beside each sum
-- is the part of it that is estimated.  A stale value of a broker gives way to its estimate.
create function portfolio_with_estimates_now(stale_after_s double precision default 300)
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
    with added as (
        select
            h.broker, h.account_id, h.currency,
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
    ),
    parts as (
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
            a.broker, a.account_id, a.currency, a.underlying, a.expiration, 0, 0, 0, 0, 1,
            null,
            a.option_delta - coalesce(a.broker_option_delta, 0),
            a.option_delta,
            -(a.option_delta is not null and a.broker_option_delta is null)::integer,
            a.gamma - coalesce(a.broker_gamma, 0),
            a.gamma,
            -(a.gamma is not null and a.broker_gamma is null)::integer,
            a.theta - coalesce(a.broker_theta, 0),
            a.theta,
            -(a.theta is not null and a.broker_theta is null)::integer,
            a.vega - coalesce(a.broker_vega, 0),
            a.vega,
            -(a.vega is not null and a.broker_vega is null)::integer,
            a.rho - coalesce(a.broker_rho, 0),
            a.rho,
            -(a.rho is not null and a.broker_rho is null)::integer,
            a.dollar_delta - coalesce(a.broker_dollar_delta, 0),
            a.dollar_delta,
            -(a.dollar_delta is not null and a.broker_dollar_delta is null)::integer,
            a.dollar_gamma - coalesce(a.broker_dollar_gamma, 0),
            a.dollar_gamma,
            -(a.dollar_gamma is not null and a.broker_dollar_gamma is null)::integer,
            null, 0, 0, 0, null, a.age_s
        from added a
        where num_nonnulls(
            a.option_delta, a.gamma, a.theta, a.vega, a.rho, a.dollar_delta,
            a.dollar_gamma
        ) > 0
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


create view portfolio_with_estimates as
select
    broker, account_id, currency, underlying, expiration, contracts, shares_futures,
    other_positions, unknown_positions, estimated_contracts, share_future_delta,
    option_delta, estimated_option_delta, missing_delta,
    gamma, estimated_gamma, missing_gamma,
    theta, estimated_theta, missing_theta,
    vega, estimated_vega, missing_vega,
    rho, estimated_rho, missing_rho,
    dollar_delta, estimated_dollar_delta, missing_dollar_delta,
    dollar_gamma, estimated_dollar_gamma, missing_dollar_gamma,
    market_value, missing_value, stale, not_realtime, oldest_age_s,
    oldest_estimate_age_s
from portfolio_with_estimates_now(300);


comment on function greeks_with_estimates_now(double precision) is
    'The rows of greeks_with_estimates; the argument is the age in seconds from which ticks '
    'and inputs are stale';
comment on view greeks_with_estimates is
    'The rows of latest_greeks. A Greek that the broker does not send, or whose tick is '
    'stale, is an estimate of the service where it has one; its source says so. '
    'latest_greeks has the broker''s values only';
comment on column greeks_with_estimates.delta is
    'Change of the option''s price per 1.00 of the underlying; of the broker, as in '
    'latest_greeks, or of the model: delta_source';
comment on column greeks_with_estimates.delta_source is
    'broker or estimated; null without delta';
comment on column greeks_with_estimates.gamma is
    'Change of delta per 1.00 of the underlying; of the broker, as in latest_greeks, or of '
    'the model: gamma_source';
comment on column greeks_with_estimates.gamma_source is
    'broker or estimated; null without gamma';
comment on column greeks_with_estimates.theta is
    'Change of the option''s price per calendar day, in an estimate the derivative; of the '
    'broker, as in latest_greeks, or of the model: theta_source';
comment on column greeks_with_estimates.theta_source is
    'broker or estimated; null without theta';
comment on column greeks_with_estimates.vega is
    'Change of the option''s price per volatility point (0.01); of the broker, as in '
    'latest_greeks, or of the model: vega_source';
comment on column greeks_with_estimates.vega_source is
    'broker or estimated; null without vega';
comment on column greeks_with_estimates.rho is
    'Change of the option''s price per rate point (0.01); of the broker, as in '
    'latest_greeks, or of the model: rho_source';
comment on column greeks_with_estimates.rho_source is
    'broker or estimated; null without rho';
comment on column greeks_with_estimates.estimate_age_s is
    'Seconds since the time of the oldest input of the estimate; null without one';
comment on column greeks_with_estimates.estimate_volatility is
    'The volatility in the model: a fraction per year';
comment on column greeks_with_estimates.estimate_volatility_source is
    'implied_volatility: as the broker sent it; price: computed from the option''s price';
comment on column greeks_with_estimates.estimate_volatility_broker is
    'The broker whose tick of this contract gave the volatility or the price';
comment on column greeks_with_estimates.estimate_underlying_price is
    'The price of the underlying in the model';
comment on column greeks_with_estimates.estimate_underlying_price_broker is
    'The broker whose tick gave the price of the underlying';
comment on column greeks_with_estimates.estimate_model is
    'american, european or black (options on futures)';
comment on column greeks_with_estimates.estimate_rate is
    'The rate of interest in the model: a fraction per year (GREEKS_RISK_FREE_RATE)';
comment on column greeks_with_estimates.estimate_dividend_yield is
    'The dividends in the model: a fraction per year. 0, because no broker sends them';
comment on column greeks_with_estimates.no_estimate_reason is
    'Why a Greek is still missing or stale, in words; null if none is. not computed: '
    'GREEKS_ESTIMATES is off, the service does not run, or it has not come to it';
comment on function portfolio_with_estimates_now(double precision) is
    'The rows of portfolio_with_estimates; the argument is the age in seconds from which '
    'ticks and inputs are stale';
comment on view portfolio_with_estimates is
    'The sums of portfolio_greeks with estimates for Greeks that brokers do not send or '
    'whose ticks are stale. Beside each sum is the part of it that is estimated. '
    'portfolio_greeks has the brokers'' values only';
comment on column portfolio_with_estimates.estimated_contracts is
    'Number of contracts with an estimate in at least one sum';
comment on column portfolio_with_estimates.option_delta is
    'As in portfolio_greeks, with estimates: units of the underlying';
comment on column portfolio_with_estimates.estimated_option_delta is
    'The part of option_delta that is estimated; 0 if nothing is';
comment on column portfolio_with_estimates.missing_delta is
    'As in portfolio_greeks, less the positions whose estimate is in option_delta';
comment on column portfolio_with_estimates.gamma is
    'As in portfolio_greeks, with estimates: change of option_delta per 1.00 of the '
    'underlying';
comment on column portfolio_with_estimates.estimated_gamma is
    'The part of gamma that is estimated; 0 if nothing is';
comment on column portfolio_with_estimates.missing_gamma is
    'As in portfolio_greeks, less the positions whose estimate is in gamma';
comment on column portfolio_with_estimates.theta is
    'As in portfolio_greeks, with estimates: currency per calendar day';
comment on column portfolio_with_estimates.estimated_theta is
    'The part of theta that is estimated; 0 if nothing is';
comment on column portfolio_with_estimates.missing_theta is
    'As in portfolio_greeks, less the positions whose estimate is in theta';
comment on column portfolio_with_estimates.vega is
    'As in portfolio_greeks, with estimates: currency per volatility point (0.01)';
comment on column portfolio_with_estimates.estimated_vega is
    'The part of vega that is estimated; 0 if nothing is';
comment on column portfolio_with_estimates.missing_vega is
    'As in portfolio_greeks, less the positions whose estimate is in vega';
comment on column portfolio_with_estimates.rho is
    'As in portfolio_greeks, with estimates: currency per rate point (0.01)';
comment on column portfolio_with_estimates.estimated_rho is
    'The part of rho that is estimated; 0 if nothing is';
comment on column portfolio_with_estimates.missing_rho is
    'As in portfolio_greeks, less the positions whose estimate is in rho';
comment on column portfolio_with_estimates.dollar_delta is
    'As in portfolio_greeks, with estimates: currency per 100 % move';
comment on column portfolio_with_estimates.estimated_dollar_delta is
    'The part of dollar_delta that is estimated; 0 if nothing is';
comment on column portfolio_with_estimates.missing_dollar_delta is
    'As in portfolio_greeks, less the positions whose estimate is in dollar_delta';
comment on column portfolio_with_estimates.dollar_gamma is
    'As in portfolio_greeks, with estimates: currency per 1 % move';
comment on column portfolio_with_estimates.estimated_dollar_gamma is
    'The part of dollar_gamma that is estimated; 0 if nothing is';
comment on column portfolio_with_estimates.missing_dollar_gamma is
    'As in portfolio_greeks, less the positions whose estimate is in dollar_gamma';
comment on column portfolio_with_estimates.stale is
    'As in portfolio_greeks: estimates do not lower it';
comment on column portfolio_with_estimates.oldest_estimate_age_s is
    'Seconds since the oldest input of an estimate in the sums; null without one';

do $$
declare
    copied record;
begin
    for copied in
        select of.view, v.attname, col_description(t.attrelid, t.attnum) as said
        from (
            values ('kept_estimates'::regclass, 'estimated_greeks'::regclass),
                ('greeks_with_estimates', 'latest_greeks'),
                ('portfolio_with_estimates', 'portfolio_greeks')
        ) of (view, source)
        join pg_attribute v on v.attrelid = of.view and v.attnum > 0
        join pg_attribute t on t.attrelid = of.source and t.attname = v.attname
        where col_description(v.attrelid, v.attnum) is null
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
        select distinct of.relation, of.granted, a.grantee
        from (
            values ('position_history', 'SELECT', 'kept_estimates', 'SELECT'),
                ('position_history', 'SELECT', 'greeks_with_estimates', 'SELECT'),
                ('position_history', 'SELECT', 'portfolio_with_estimates', 'SELECT'),
                ('positions', 'SELECT', 'estimated_greeks', 'SELECT'),
                (
                    'positions', 'INSERT',
                    'estimated_greeks', 'SELECT, INSERT, UPDATE, DELETE'
                )
        ) of (source, privilege, relation, granted)
        join pg_class c on c.oid = of.source::regclass
        cross join lateral aclexplode(c.relacl) a
        where a.privilege_type = of.privilege and a.grantee <> c.relowner
    loop
        execute format(
            'grant %s on %I to %s',
            granted.granted,
            granted.relation,
            case granted.grantee when 0 then 'public'
                else quote_ident(pg_get_userbyid(granted.grantee)) end
        );
    end loop;
end
$$;
