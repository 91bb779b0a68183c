-- The whole present schema, readable from top to bottom.
--
-- The way to it is migrations/, one file for each change; a test proves that both lead
-- to the same catalog.  Needs PostgreSQL 15 or later.
--
-- What is left out on purpose, so that a distributed PostgreSQL (Citus) takes these
-- tables sharded by contract_key: row triggers, foreign keys, partitions of partitions,
-- and any unique key of a sharded table without contract_key.  See README.md.

create table schema_migrations (
    name text primary key,
    sha256 text not null,
    applied_at timestamptz not null default clock_timestamp()
);

comment on table schema_migrations is
    'The migrations that this database has seen';
comment on column schema_migrations.name is
    'The file in migrations/, without its ending';
comment on column schema_migrations.sha256 is
    'Checksum of the file as it was applied, hexadecimal';


-- One row for each tick: the Greeks of one contract in one account at one moment.
create table greek_snapshots (
    id bigint generated always as identity,
    event_time timestamptz not null,
    received_at timestamptz not null,
    persisted_at timestamptz not null default clock_timestamp(),
    broker text not null,
    account_id text not null,
    underlying text not null,
    contract_key text not null,
    expiration date,
    strike numeric,
    option_type text,
    quantity numeric,
    delta double precision,
    gamma double precision,
    theta double precision,
    vega double precision,
    rho double precision,
    implied_volatility double precision,
    underlying_price double precision,
    availability text not null,
    source_payload jsonb not null,
    fingerprint bigint not null,
    -- One index for three purposes: no event twice, the timeline of a contract, sharding.
    constraint greek_snapshots_pkey
        primary key (broker, account_id, contract_key, event_time, fingerprint),
    constraint greek_snapshots_broker_check
        check (broker ~ '^[a-z][a-z0-9_]*$'),
    constraint greek_snapshots_option_type_check
        check (option_type in ('call', 'put')),
    constraint greek_snapshots_availability_check
        check (availability in ('realtime', 'delayed', 'frozen', 'unknown')),
    constraint greek_snapshots_key_check
        check (account_id <> '' and underlying <> '' and contract_key <> ''),
    -- Implied volatility alone is not a tick.
    constraint greek_snapshots_greeks_check
        check (num_nonnulls(delta, gamma, theta, vega, rho) > 0)
) partition by range (event_time);

-- The risk view: what came lately, whatever the contract.
create index greek_snapshots_event_time_idx on greek_snapshots (event_time desc);

comment on table greek_snapshots is
    'Greeks of option positions, tick by tick; readers order by event_time, received_at, id';
comment on column greek_snapshots.id is
    'Order of insertion; unique only together with the primary key';
comment on column greek_snapshots.event_time is
    'The broker''s time of the event; received_at where the broker''s is absent or impossible';
comment on column greek_snapshots.received_at is
    'Our wall clock when the frame was read';
comment on column greek_snapshots.persisted_at is
    'The database''s clock at the insert';
comment on column greek_snapshots.account_id is
    'The broker''s account; watchlist for a contract that is watched but held by nobody';
comment on column greek_snapshots.underlying is
    'Symbol of the underlying, not the option root: SPX for SPXW, BRK/B for BRKB';
comment on column greek_snapshots.contract_key is
    'The 21-character OCC symbol, or ./ROOT yymmdd right strike for futures options; the same from every broker';
comment on column greek_snapshots.strike is
    'In units of the contract''s currency';
comment on column greek_snapshots.quantity is
    'Contracts held, short negative; null for a watched contract';
comment on column greek_snapshots.delta is
    'Change of the option''s price per 1.00 of the underlying';
comment on column greek_snapshots.gamma is
    'Change of delta per 1.00 of the underlying';
comment on column greek_snapshots.theta is
    'Change of the option''s price per calendar day, as the broker reports it. '
    'tastytrade: the derivative. ibkr: the difference in value over the next calendar '
    'day, so within days of the expiration the two differ by definition';
comment on column greek_snapshots.vega is
    'Change of the option''s price per volatility point (0.01)';
comment on column greek_snapshots.rho is
    'Change of the option''s price per rate point (0.01); ibkr sends none';
comment on column greek_snapshots.implied_volatility is
    'A fraction per year: 0.183 is 18.3 %';
comment on column greek_snapshots.underlying_price is
    'Last trade of the underlying, else the middle of bid and ask; null when unknown';
comment on column greek_snapshots.availability is
    'How fresh the broker says its data is';
comment on column greek_snapshots.source_payload is
    'What the broker sent; ibkr: the frame, tastytrade: the event''s columns';
comment on column greek_snapshots.fingerprint is
    'First 8 bytes of BLAKE2b over the six values, so that the same event has the same key whenever it comes again';


-- What the accounts hold: one row whenever something changed.
create table positions (
    broker text not null,
    account_id text not null,
    contract_key text not null,
    observed_at timestamptz not null,
    kind text not null,
    quantity numeric not null,
    multiplier numeric,
    currency text,
    underlying text,
    expiration date,
    strike numeric,
    option_type text,
    constraint positions_pkey
        primary key (broker, account_id, contract_key, observed_at),
    constraint positions_broker_check
        check (broker ~ '^[a-z][a-z0-9_]*$'),
    constraint positions_kind_check
        check (kind in ('option', 'future_option', 'equity', 'future', 'other')),
    constraint positions_option_type_check
        check (option_type in ('call', 'put')),
    constraint positions_key_check
        check (account_id <> '' and contract_key <> '')
);

-- Which contracts have not expired, without a look at the history of those that have.
create index positions_expiration_idx
    on positions (expiration, broker, account_id, contract_key, observed_at);

comment on table positions is
    'History of the positions: the newest row of a contract says what is held';
comment on column positions.contract_key is
    'As in greek_snapshots; for anything but an option the broker''s symbol';
comment on column positions.observed_at is
    'Our wall clock when the broker reported it';
comment on column positions.quantity is
    'Short negative; 0 when the position was closed';
comment on column positions.multiplier is
    'Units of the underlying per contract';


-- Intervals without data that we know of, so that an outage can be told from a quiet
-- market.  Written when a gap starts and again when it ends, hence the unique key.
create table feed_gaps (
    broker text not null,
    account_id text,
    contract_key text,
    started_at timestamptz not null,
    ended_at timestamptz,
    reason text not null,
    constraint feed_gaps_key
        unique nulls not distinct (broker, account_id, contract_key, started_at, reason),
    constraint feed_gaps_broker_check
        check (broker ~ '^[a-z][a-z0-9_]*$')
);

comment on table feed_gaps is
    'Disconnections, silence, lost subscriptions and lost ticks';
comment on column feed_gaps.account_id is
    'Null: every account of the broker';
comment on column feed_gaps.contract_key is
    'Null: every contract of the account';
comment on column feed_gaps.ended_at is
    'Null while the gap lasts';
comment on column feed_gaps.reason is
    'A short stable word, such as disconnected';


-- Trades as other programs and people record them.
create table trades (
    id uuid primary key default gen_random_uuid(),
    created_at timestamptz not null default now(),
    broker text not null,
    account_id text not null,
    symbol text not null,
    contract_key text,
    action text not null,
    quantity numeric not null,
    price numeric,
    strategy_tag text,
    metadata jsonb,
    constraint trades_quantity_check check (quantity <> 0)
);

-- Lists go by time, a page at a time.
create index trades_created_at_idx on trades (created_at, id);

comment on table trades is
    'Trades as they were recorded through the HTTP interface or by SQL';
comment on column trades.symbol is
    'The symbol as the broker spells it';
comment on column trades.contract_key is
    'As in greek_snapshots; null when the trade is not of an option';
comment on column trades.price is
    'Per unit of the underlying, in the contract''s currency';


-- Functions of a moment.  One after the present means "everything that is known", with
-- ages as of the present; the views below are the same functions at 'infinity'.
--
-- holdings_asof, greeks_asof and portfolio_asof are written so that the planner puts their
-- text in place of the call, and the caller's conditions in it (language sql, stable, no
-- set, one select).  What they start from is the opposite: two functions with a plan of
-- their own, whose declared number of rows keeps the estimates of the whole so low that
-- nothing is compiled (jit) for what takes milliseconds.

-- What was held at the moment.  A contract has expired when its day is over everywhere
-- on Earth, hence the 36 hours from its beginning in UTC.  First which contracts have
-- not expired, from the index alone; those that never do are few but may have changed a
-- hundred thousand times, so the recursive part goes from one to the next (its order
-- begins with the expiration because only this index has that).  Then the newest row of
-- each.
create function positions_asof(moment timestamptz)
returns table (
    broker text,
    account_id text,
    contract_key text,
    observed_at timestamptz,
    kind text,
    quantity numeric,
    multiplier numeric,
    currency text,
    underlying text,
    expiration date,
    strike numeric,
    option_type text
)
language sql stable parallel safe rows 200
set jit = off
begin atomic
    with recursive undated (broker, account_id, contract_key, first_at) as (
        (
            select p.broker, p.account_id, p.contract_key, p.observed_at
            from positions p
            where p.expiration is null
            order by p.expiration, 1, 2, 3, 4
            limit 1
        )
        union all
        select next.*
        from undated
        cross join lateral (
            select p.broker, p.account_id, p.contract_key, p.observed_at
            from positions p
            where p.expiration is null
              and (p.broker, p.account_id, p.contract_key)
                > (undated.broker, undated.account_id, undated.contract_key)
            order by p.expiration, 1, 2, 3, 4
            limit 1
        ) next
    )
    select
        newest.broker,
        newest.account_id,
        newest.contract_key,
        newest.observed_at,
        newest.kind,
        newest.quantity,
        newest.multiplier,
        newest.currency,
        newest.underlying,
        newest.expiration,
        newest.strike,
        newest.option_type
    from (
        select p.broker, p.account_id, p.contract_key
        from positions p
        where p.observed_at <= moment
          and p.expiration > least(moment, statement_timestamp()) at time zone 'UTC'
              - interval '36 hours'
        union
        select u.broker, u.account_id, u.contract_key
        from undated u
        where u.first_at <= moment
    ) held
    cross join lateral (
        select p.*
        from positions p
        where p.broker = held.broker
          and p.account_id = held.account_id
          and p.contract_key = held.contract_key
          and p.observed_at <= moment
        order by p.observed_at desc
        limit 1
    ) newest
    where newest.quantity <> 0
      and (
          newest.expiration is null
          or newest.expiration > least(moment, statement_timestamp()) at time zone 'UTC'
              - interval '36 hours'
      );
end;


-- Which contracts had ticks for the watch-list in the month of the moment, or the month
-- before in its first week.  The list itself is not in the database.  Goes from one
-- contract to the next through the primary key, since there may be millions of ticks of
-- each; whole months, because then an index has no others to step over.
create function watched_asof(moment timestamptz)
returns table (broker text, contract_key text)
language plpgsql stable parallel safe rows 20
set jit = off
as $$
declare
    earliest constant timestamptz := date_trunc(
        'month', least(moment, statement_timestamp()) - interval '8 days', 'UTC'
    );
begin
    broker := '';
    loop
        select s.broker into broker
        from greek_snapshots s
        where s.broker > watched_asof.broker
          and s.event_time >= earliest
        order by s.broker
        limit 1;
        exit when not found;
        contract_key := '';
        loop
            select s.contract_key into contract_key
            from greek_snapshots s
            where s.broker = watched_asof.broker
              and s.account_id = 'watchlist'
              and s.contract_key > watched_asof.contract_key
              and s.event_time >= earliest
            order by s.contract_key
            limit 1;
            exit when not found;
            return next;
        end loop;
    end loop;
end
$$;


-- What was held at the moment, the newest tick of each option among it, as known then, and
-- the same of each option that was watched in the seven days before.
create function holdings_asof(
    moment timestamptz, stale_after_s double precision default 300
)
returns table (
    broker text,
    account_id text,
    contract_key text,
    kind text,
    underlying text,
    expiration date,
    strike numeric,
    option_type text,
    quantity numeric,
    multiplier numeric,
    currency text,
    event_time timestamptz,
    received_at timestamptz,
    delta double precision,
    gamma double precision,
    theta double precision,
    vega double precision,
    rho double precision,
    implied_volatility double precision,
    underlying_price double precision,
    availability text,
    age_s double precision,
    is_stale boolean
)
language sql stable parallel safe
begin atomic
    select
        wanted.broker,
        wanted.account_id,
        wanted.contract_key,
        wanted.kind,
        coalesce(wanted.underlying, tick.underlying),
        coalesce(wanted.expiration, tick.expiration),
        coalesce(wanted.strike, tick.strike),
        coalesce(wanted.option_type, tick.option_type),
        wanted.quantity,
        wanted.multiplier,
        wanted.currency,
        tick.event_time,
        tick.received_at,
        tick.delta,
        tick.gamma,
        tick.theta,
        tick.vega,
        tick.rho,
        tick.implied_volatility,
        tick.underlying_price,
        tick.availability,
        -- Not negative where it came while this statement began.
        case when tick.received_at is not null then greatest(0, extract(epoch from
            least(moment, statement_timestamp()) - tick.received_at
        ))::double precision end,
        coalesce(
            tick.availability <> 'realtime'
            or extract(epoch from
                least(moment, statement_timestamp())
                - least(tick.received_at, tick.event_time)
            ) > stale_after_s,
            true
        )
    from (
        select
            p.broker, p.account_id, p.contract_key, p.kind, p.underlying,
            p.expiration, p.strike, p.option_type, p.quantity, p.multiplier, p.currency
        from positions_asof(moment) p
        union all
        select
            w.broker, 'watchlist', w.contract_key, 'option', null,
            null, null, null, null, null, null
        from watched_asof(moment) w
    ) wanted
    left join lateral (
        select s.*
        from greek_snapshots s
        where wanted.kind in ('option', 'future_option')
          and s.broker = wanted.broker
          and s.account_id = wanted.account_id
          and s.contract_key = wanted.contract_key
          -- Says nothing new, but keeps the planner from the index of event_time alone,
          -- which for a contract without a tick it would read from end to end.
          and s.contract_key between wanted.contract_key and wanted.contract_key
          and s.event_time <= moment
          and s.received_at <= moment
        order by s.event_time desc, s.received_at desc, s.id desc
        limit 1
    ) tick on true
    where wanted.account_id <> 'watchlist'
       or (
          tick.received_at >= least(moment, statement_timestamp()) - interval '7 days'
          and (
              tick.expiration is null
              or tick.expiration > least(moment, statement_timestamp())
                  at time zone 'UTC' - interval '36 hours'
          )
       );
end;


create function greeks_asof(
    moment timestamptz, stale_after_s double precision default 300
)
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
    delta double precision,
    gamma double precision,
    theta double precision,
    vega double precision,
    rho double precision,
    implied_volatility double precision,
    underlying_price double precision,
    availability text,
    age_s double precision,
    is_stale boolean
)
language sql stable parallel safe
begin atomic
    select
        h.broker, h.account_id, h.contract_key, h.underlying, h.expiration,
        h.strike, h.option_type, h.quantity, h.multiplier, h.currency,
        h.event_time, h.received_at, h.delta, h.gamma, h.theta, h.vega, h.rho,
        h.implied_volatility, h.underlying_price, h.availability, h.age_s,
        h.is_stale
    from holdings_asof(moment, stale_after_s) h
    where h.kind in ('option', 'future_option');
end;


-- What is held summed by account, currency, underlying and expiration.
create function portfolio_asof(
    moment timestamptz, stale_after_s double precision default 300
)
returns table (
    broker text,
    account_id text,
    currency text,
    underlying text,
    expiration date,
    contracts bigint,
    shares_futures bigint,
    other_positions bigint,
    option_delta double precision,
    share_future_delta double precision,
    gamma double precision,
    theta double precision,
    vega double precision,
    rho double precision,
    dollar_delta double precision,
    dollar_gamma double precision,
    missing_tick bigint,
    missing_multiplier bigint,
    missing_price bigint,
    missing_delta bigint,
    missing_share_future_delta bigint,
    missing_gamma bigint,
    missing_theta bigint,
    missing_vega bigint,
    missing_rho bigint,
    missing_dollar_delta bigint,
    missing_dollar_gamma bigint,
    stale bigint,
    not_realtime bigint,
    oldest_age_s double precision
)
language sql stable parallel safe
begin atomic
    with held as materialized (
        select * from holdings_asof(moment, stale_after_s)
    ),
    own_prices as (
        select distinct on (h.broker, h.underlying) h.*
        from held h
        where h.underlying_price is not null
        order by h.broker, h.underlying, h.event_time desc, h.received_at desc
    ),
    any_prices as (
        select distinct on (p.underlying) p.*
        from own_prices p
        order by p.underlying, p.event_time desc, p.received_at desc
    ),
    valued as (
        select
            h.broker, h.account_id, h.currency, h.underlying, h.expiration,
            true as is_option,
            false as is_share_future,
            (h.quantity * h.multiplier)::double precision as units,
            h.delta, h.gamma, h.theta, h.vega, h.rho, h.underlying_price,
            h.availability, h.age_s, h.is_stale
        from held h
        where h.kind in ('option', 'future_option') and h.account_id <> 'watchlist'
        union all
        select
            h.broker, h.account_id, h.currency,
            coalesce(h.underlying, h.contract_key), h.expiration,
            false,
            h.kind in ('equity', 'future'),
            case h.kind
                when 'equity' then h.quantity * coalesce(h.multiplier, 1)
                when 'future' then h.quantity * h.multiplier
            end::double precision,
            1, 0, 0, 0, 0,
            coalesce(own.underlying_price, other.underlying_price),
            coalesce(own.availability, other.availability),
            coalesce(own.age_s, other.age_s),
            coalesce(own.is_stale, other.is_stale, true)
        from held h
        left join own_prices own
            on h.kind in ('equity', 'future')
            and own.broker = h.broker
            and own.underlying = coalesce(h.underlying, h.contract_key)
        left join any_prices other
            on h.kind in ('equity', 'future')
            and other.underlying = coalesce(h.underlying, h.contract_key)
        where h.kind not in ('option', 'future_option')
    ),
    summed as (
        select
            h.broker, h.account_id, h.currency, h.underlying, h.expiration,
            count(*) filter (where h.is_option) as contracts,
            count(*) filter (where h.is_share_future) as shares_futures,
            count(*) as positions,
            sum(h.units * h.delta) filter (where h.is_option) as option_delta,
            sum(h.units) filter (where h.is_share_future) as share_future_delta,
            sum(h.units * h.gamma) filter (where h.is_option) as gamma,
            sum(h.units * h.theta) filter (where h.is_option) as theta,
            sum(h.units * h.vega) filter (where h.is_option) as vega,
            sum(h.units * h.rho) filter (where h.is_option) as rho,
            sum(h.units * h.delta * h.underlying_price) as dollar_delta,
            sum(h.units * h.gamma * h.underlying_price ^ 2 / 100)
                filter (where h.is_option) as dollar_gamma,
            count(h.age_s) filter (where h.is_option) as with_tick,
            count(*) filter (
                where h.units is null and (h.is_option or h.is_share_future)
            ) as missing_multiplier,
            count(*) filter (
                where h.underlying_price is null
                  and (h.is_option or h.is_share_future)
            ) as missing_price,
            count(h.units * h.delta) filter (where h.is_option) as with_delta,
            count(h.units) filter (where h.is_share_future) as with_units,
            count(h.units * h.gamma) filter (where h.is_option) as with_gamma,
            count(h.units * h.theta) filter (where h.is_option) as with_theta,
            count(h.units * h.vega) filter (where h.is_option) as with_vega,
            count(h.units * h.rho) filter (where h.is_option) as with_rho,
            count(h.units * h.delta * h.underlying_price) as with_dollar_delta,
            count(h.units * h.gamma * h.underlying_price)
                filter (where h.is_option) as with_dollar_gamma,
            count(*) filter (
                where h.is_stale and (h.is_option or h.is_share_future)
            ) as stale,
            count(*) filter (where h.availability <> 'realtime') as not_realtime,
            max(h.age_s) as oldest_age_s
        from valued h
        group by h.broker, h.account_id, h.currency, h.underlying, h.expiration
    )
    select
        s.broker,
        s.account_id,
        s.currency,
        s.underlying,
        s.expiration,
        s.contracts,
        s.shares_futures,
        s.positions - s.contracts - s.shares_futures,
        case when s.contracts = 0 then 0 else s.option_delta end,
        case when s.shares_futures = 0 then 0 else s.share_future_delta end,
        case when s.contracts = 0 then 0 else s.gamma end,
        case when s.contracts = 0 then 0 else s.theta end,
        case when s.contracts = 0 then 0 else s.vega end,
        case when s.contracts = 0 then 0 else s.rho end,
        s.dollar_delta,
        case when s.contracts = 0 then 0 else s.dollar_gamma end,
        s.contracts - s.with_tick,
        s.missing_multiplier,
        s.missing_price,
        s.contracts - s.with_delta,
        s.shares_futures - s.with_units,
        s.contracts - s.with_gamma,
        s.contracts - s.with_theta,
        s.contracts - s.with_vega,
        s.contracts - s.with_rho,
        s.positions - s.with_dollar_delta,
        s.contracts - s.with_dollar_gamma,
        s.stale,
        s.not_realtime,
        s.oldest_age_s
    from summed s;
end;


create view latest_greeks as
select
    broker, account_id, contract_key, underlying, expiration, strike, option_type,
    quantity, multiplier, currency, event_time, received_at, delta, gamma, theta, vega,
    rho, implied_volatility, underlying_price, availability, age_s, is_stale
from greeks_asof('infinity');


create view portfolio_greeks as
select
    broker, account_id, currency, underlying, expiration, contracts, shares_futures,
    other_positions, option_delta, share_future_delta, gamma, theta, vega, rho,
    dollar_delta, dollar_gamma, missing_tick, missing_multiplier, missing_price,
    missing_delta, missing_share_future_delta, missing_gamma, missing_theta,
    missing_vega, missing_rho, missing_dollar_delta, missing_dollar_gamma, stale,
    not_realtime, oldest_age_s
from portfolio_asof('infinity');


-- Grouped and not joined: the planner, who cannot know how many contracts there are,
-- would compare each with each.
create view broker_divergence as
select
    contract_key,
    coalesce((ibkr).underlying, (tastytrade).underlying) as underlying,
    coalesce((ibkr).expiration, (tastytrade).expiration) as expiration,
    coalesce((ibkr).strike, (tastytrade).strike) as strike,
    coalesce((ibkr).option_type, (tastytrade).option_type) as option_type,
    (ibkr).event_time as ibkr_event_time,
    (tastytrade).event_time as tastytrade_event_time,
    (ibkr).delta as ibkr_delta,
    (tastytrade).delta as tastytrade_delta,
    (ibkr).delta - (tastytrade).delta as delta_difference,
    (ibkr).gamma as ibkr_gamma,
    (tastytrade).gamma as tastytrade_gamma,
    (ibkr).gamma - (tastytrade).gamma as gamma_difference,
    (ibkr).theta as ibkr_theta,
    (tastytrade).theta as tastytrade_theta,
    (ibkr).theta - (tastytrade).theta as theta_difference,
    (ibkr).vega as ibkr_vega,
    (tastytrade).vega as tastytrade_vega,
    (ibkr).vega - (tastytrade).vega as vega_difference,
    (ibkr).rho as ibkr_rho,
    (tastytrade).rho as tastytrade_rho,
    (ibkr).rho - (tastytrade).rho as rho_difference,
    (ibkr).implied_volatility as ibkr_implied_volatility,
    (tastytrade).implied_volatility as tastytrade_implied_volatility,
    (ibkr).implied_volatility - (tastytrade).implied_volatility
        as implied_volatility_difference,
    (ibkr).underlying_price as ibkr_underlying_price,
    (tastytrade).underlying_price as tastytrade_underlying_price,
    (ibkr).underlying_price - (tastytrade).underlying_price
        as underlying_price_difference,
    (ibkr).age_s as ibkr_age_s,
    (tastytrade).age_s as tastytrade_age_s,
    (ibkr).is_stale as ibkr_is_stale,
    (tastytrade).is_stale as tastytrade_is_stale
from (
    select
        contract_key,
        (array_agg(l order by event_time desc nulls last, received_at desc)
            filter (where broker = 'ibkr'))[1] as ibkr,
        (array_agg(l order by event_time desc nulls last, received_at desc)
            filter (where broker = 'tastytrade'))[1] as tastytrade
    from latest_greeks l
    group by contract_key
    having bool_or(broker = 'ibkr') and bool_or(broker = 'tastytrade')
) newest;


comment on function positions_asof(timestamptz) is
    'The positions that were in force at the moment, with the columns of positions: the '
    'newest row of each contract by observed_at, unless its quantity is 0 or the contract '
    'had expired (its day was over everywhere). ''infinity'' is the present';
comment on function watched_asof(timestamptz) is
    'Contracts that may have been on the watch-list: those with a tick in the month of '
    'the moment or, in its first week, the month before; for holdings_asof';
comment on function holdings_asof(timestamptz, double precision) is
    'What greeks_asof and portfolio_asof have in common: positions_asof with the newest '
    'tick of each option, and watched contracts; the arguments are those of greeks_asof';
comment on function greeks_asof(timestamptz, double precision) is
    'The columns of latest_greeks as of any moment: the positions that were in force, and '
    'of each contract the newest tick among those that had happened (event_time) and were '
    'known (received_at) at the moment; ages are relative to it. A moment in the future '
    'is the present. stale_after_s: age in seconds from which a tick is stale';
comment on function portfolio_asof(timestamptz, double precision) is
    'The columns of portfolio_greeks as of any moment; the arguments are those of '
    'greeks_asof';

comment on view latest_greeks is
    'Newest tick of each option contract in each account that holds it, by event_time, '
    'received_at, id; null where none has come yet. Also, as account watchlist, of each '
    'contract with a tick for the watch-list in the last seven days. Closed positions and '
    'expired contracts are not in it. The same as greeks_asof(''infinity'')';
comment on column latest_greeks.broker is
    'Name of the broker, such as ibkr';
comment on column latest_greeks.account_id is
    'The broker''s account; watchlist for a contract that is watched but held by nobody';
comment on column latest_greeks.contract_key is
    'As in greek_snapshots';
comment on column latest_greeks.underlying is
    'Symbol of the underlying, as in greek_snapshots';
comment on column latest_greeks.expiration is
    'Last day of the contract';
comment on column latest_greeks.strike is
    'In units of the contract''s currency';
comment on column latest_greeks.option_type is
    'call or put';
comment on column latest_greeks.quantity is
    'Contracts held now, short negative; null for a watched contract';
comment on column latest_greeks.multiplier is
    'Units of the underlying per contract; null when unknown or watched';
comment on column latest_greeks.currency is
    'As the broker names it; null when it names none (tastytrade) or watched';
comment on column latest_greeks.event_time is
    'The broker''s time of the newest tick; null while there is none';
comment on column latest_greeks.received_at is
    'Our wall clock when its frame was read';
comment on column latest_greeks.delta is
    'Change of the option''s price per 1.00 of the underlying; one contract''s unit, not '
    'times quantity or multiplier';
comment on column latest_greeks.gamma is
    'Change of delta per 1.00 of the underlying';
comment on column latest_greeks.theta is
    'Change of the option''s price per calendar day; how the brokers differ is said at '
    'greek_snapshots.theta';
comment on column latest_greeks.vega is
    'Change of the option''s price per volatility point (0.01)';
comment on column latest_greeks.rho is
    'Change of the option''s price per rate point (0.01); ibkr sends none';
comment on column latest_greeks.implied_volatility is
    'A fraction per year: 0.183 is 18.3 %';
comment on column latest_greeks.underlying_price is
    'Price of the underlying with that tick, in the contract''s currency';
comment on column latest_greeks.availability is
    'How fresh the broker says its data is: realtime, delayed, frozen or unknown';
comment on column latest_greeks.age_s is
    'Seconds since the tick was received; null while there is none';
comment on column latest_greeks.is_stale is
    'Whether the values are not to be relied on: no tick, not realtime, or received_at or '
    'event_time more than 300 seconds ago';

comment on view portfolio_greeks is
    'What is held, summed by broker, account, currency, underlying and expiration. Each '
    'sum is of the known values only, and beside it stands how many it lacks: null when '
    'it has positions of its kind but knows the value of none, 0 when it has none. The '
    'same as portfolio_asof(''infinity'')';
comment on column portfolio_greeks.broker is
    'Name of the broker, such as ibkr';
comment on column portfolio_greeks.account_id is
    'The broker''s account';
comment on column portfolio_greeks.currency is
    'Of the sums in money; null where the broker names none (tastytrade)';
comment on column portfolio_greeks.underlying is
    'Symbol of the underlying; where the broker names none, the position''s contract_key';
comment on column portfolio_greeks.expiration is
    'Last day of the contracts; null for shares and whatever has none';
comment on column portfolio_greeks.contracts is
    'Number of option contracts held, futures options among them: different ones, not '
    'their quantity';
comment on column portfolio_greeks.shares_futures is
    'Number of positions in shares and futures';
comment on column portfolio_greeks.other_positions is
    'Number of positions of any other kind, whose risk is unknown: in no sum';
comment on column portfolio_greeks.option_delta is
    'Sum of quantity x multiplier x delta of the options: units of the underlying';
comment on column portfolio_greeks.share_future_delta is
    'Sum of quantity x multiplier of shares and futures, whose delta is 1: units of the '
    'underlying. The multiplier of shares is 1 unless the broker names another';
comment on column portfolio_greeks.gamma is
    'Sum of quantity x multiplier x gamma: change of option_delta per 1.00 of the '
    'underlying';
comment on column portfolio_greeks.theta is
    'Sum of quantity x multiplier x theta: currency per calendar day';
comment on column portfolio_greeks.vega is
    'Sum of quantity x multiplier x vega: currency per volatility point (0.01)';
comment on column portfolio_greeks.rho is
    'Sum of quantity x multiplier x rho: currency per rate point (0.01)';
comment on column portfolio_greeks.dollar_delta is
    'Sum of quantity x multiplier x delta x price of the underlying, shares and futures '
    'with delta 1: currency per 100 % move. Options take the price from their own tick, '
    'the others the newest of that underlying in latest_greeks, of their own broker if '
    'it has one';
comment on column portfolio_greeks.dollar_gamma is
    'Sum of quantity x multiplier x gamma x price squared / 100: change of dollar_delta, '
    'through delta, per 1 % move, in currency';
comment on column portfolio_greeks.missing_tick is
    'How many of contracts have no tick yet';
comment on column portfolio_greeks.missing_multiplier is
    'How many of contracts and shares_futures have no multiplier: they are in no sum';
comment on column portfolio_greeks.missing_price is
    'How many of contracts and shares_futures have no known price of the underlying';
comment on column portfolio_greeks.missing_delta is
    'How many of contracts are not in option_delta, whatever the reason';
comment on column portfolio_greeks.missing_share_future_delta is
    'How many of shares_futures are not in share_future_delta';
comment on column portfolio_greeks.missing_gamma is
    'How many of contracts are not in gamma, whatever the reason';
comment on column portfolio_greeks.missing_theta is
    'How many of contracts are not in theta, whatever the reason';
comment on column portfolio_greeks.missing_vega is
    'How many of contracts are not in vega, whatever the reason';
comment on column portfolio_greeks.missing_rho is
    'How many of contracts are not in rho, whatever the reason';
comment on column portfolio_greeks.missing_dollar_delta is
    'How many positions, other_positions among them, are not in dollar_delta';
comment on column portfolio_greeks.missing_dollar_gamma is
    'How many of contracts are not in dollar_gamma, whatever the reason';
comment on column portfolio_greeks.stale is
    'How many of contracts are stale as in latest_greeks, and of shares_futures have a '
    'price from a stale tick or none';
comment on column portfolio_greeks.not_realtime is
    'How many values come from a tick whose availability is not realtime';
comment on column portfolio_greeks.oldest_age_s is
    'Seconds since the oldest of the ticks behind this row was received; null when there '
    'is none';

comment on view broker_divergence is
    'Each contract that latest_greeks has from both brokers, side by side: of each broker '
    'the newest tick in any account. Differences are ibkr minus tastytrade, null where '
    'one of them is';
comment on column broker_divergence.contract_key is
    'As in greek_snapshots';
comment on column broker_divergence.underlying is
    'Symbol of the underlying';
comment on column broker_divergence.expiration is
    'Last day of the contract';
comment on column broker_divergence.strike is
    'In units of the contract''s currency';
comment on column broker_divergence.option_type is
    'call or put';
comment on column broker_divergence.ibkr_event_time is
    'Time of the newest tick by ibkr''s clock';
comment on column broker_divergence.tastytrade_event_time is
    'Time of the newest tick by tastytrade''s clock';
comment on column broker_divergence.ibkr_delta is
    'Per 1.00 of the underlying, from ibkr';
comment on column broker_divergence.tastytrade_delta is
    'Per 1.00 of the underlying, from tastytrade';
comment on column broker_divergence.delta_difference is
    'Delta, ibkr minus tastytrade, per 1.00 of the underlying';
comment on column broker_divergence.ibkr_gamma is
    'Per 1.00 of the underlying squared, from ibkr';
comment on column broker_divergence.tastytrade_gamma is
    'Per 1.00 of the underlying squared, from tastytrade';
comment on column broker_divergence.gamma_difference is
    'Gamma, ibkr minus tastytrade, per 1.00 squared';
comment on column broker_divergence.ibkr_theta is
    'Per calendar day, from ibkr';
comment on column broker_divergence.tastytrade_theta is
    'Per calendar day, from tastytrade';
comment on column broker_divergence.theta_difference is
    'Theta, ibkr minus tastytrade, per calendar day; '
    'near the expiration they differ by definition';
comment on column broker_divergence.ibkr_vega is
    'Per volatility point (0.01), from ibkr';
comment on column broker_divergence.tastytrade_vega is
    'Per volatility point (0.01), from tastytrade';
comment on column broker_divergence.vega_difference is
    'Vega, ibkr minus tastytrade, per volatility point';
comment on column broker_divergence.ibkr_rho is
    'Per rate point (0.01), from ibkr';
comment on column broker_divergence.tastytrade_rho is
    'Per rate point (0.01), from tastytrade';
comment on column broker_divergence.rho_difference is
    'Rho, ibkr minus tastytrade, per rate point; ibkr sends none';
comment on column broker_divergence.ibkr_implied_volatility is
    'A fraction per year, from ibkr';
comment on column broker_divergence.tastytrade_implied_volatility is
    'A fraction per year, from tastytrade';
comment on column broker_divergence.implied_volatility_difference is
    'Implied volatility, ibkr minus tastytrade, as a fraction';
comment on column broker_divergence.ibkr_underlying_price is
    'Price of the underlying with the tick of ibkr';
comment on column broker_divergence.tastytrade_underlying_price is
    'Price of the underlying with the tick of tastytrade';
comment on column broker_divergence.underlying_price_difference is
    'Price, ibkr minus tastytrade, in the contract''s currency';
comment on column broker_divergence.ibkr_age_s is
    'Seconds since the tick of ibkr was received; null while there is none';
comment on column broker_divergence.tastytrade_age_s is
    'Seconds since the tick of tastytrade was received; null while there is none';
comment on column broker_divergence.ibkr_is_stale is
    'As in latest_greeks, of the tick of ibkr';
comment on column broker_divergence.tastytrade_is_stale is
    'As in latest_greeks, of the tick of tastytrade';


-- A database made from this file has seen every migration.
insert into schema_migrations (name, sha256) values
    ('0001_initial', 'a4c8075d13798d2c80731b18759e31abe069dbd2f210211bcbcfaaa1af71c2a1'),
    ('0002_risk_views', '10bf9acad408776965b6c55063e4ae93b7bcab78013d18e87eaf8b02e4d9a8c5'),
    ('0003_trades_by_time', 'a8f94a78d1939b4d2fc0500982137362434d3a0b7485325fb91778907b0fd660'),
    ('0004_any_broker', 'ef8e16d282a35897d54a1b46b4228cd6e0a80d88d375257507ef62eb943ade90');
