-- Times from a wrong clock.  The database notes when it took a position and a gap: a row from
-- the future counts from that moment.  A tick from the future no longer hides newer ones.
-- Functions carry their schema, and every table can be published.
--
-- The tables keep their rows as they are: the new columns are null in them.

-- The schema that has the tables; the role's search_path may have another one before it.
do $$
begin
    perform set_config('search_path', quote_ident(nspname) || ', pg_temp', true)
    from pg_class join pg_namespace on pg_namespace.oid = relnamespace
    where pg_class.oid = 'greek_snapshots'::regclass;
end
$$;

alter table positions add column recorded_at timestamptz;
alter table positions alter column recorded_at set default clock_timestamp();
alter table feed_gaps add column recorded_at timestamptz;
alter table feed_gaps alter column recorded_at set default clock_timestamp();

-- Rows that an earlier version wrote with a clock that was ahead: they keep their order and
-- count from now.
update positions p
set recorded_at = now() - ahead.number * interval '1 microsecond'
from (
    select
        broker, account_id, contract_key, observed_at,
        row_number() over (
            partition by broker, account_id, contract_key order by observed_at desc
        ) as number
    from positions
    where observed_at > now() + interval '5 minutes'
) ahead
where p.broker = ahead.broker
  and p.account_id = ahead.account_id
  and p.contract_key = ahead.contract_key
  and p.observed_at = ahead.observed_at;

drop index positions_expiration_idx;
create index positions_expiration_idx
    on positions (expiration, broker, account_id, contract_key, observed_at, recorded_at);
create index positions_known_idx
    on positions (
        broker, account_id, contract_key, least(observed_at, recorded_at), observed_at
    );

-- A publication of all tables stops every update of a table without a replica identity, and
-- the key has columns that can be null.
alter table feed_gaps replica identity full;


-- The open positions at the moment.  A contract has expired when its last day is over
-- everywhere on Earth, which is 36 hours after that day began in UTC.
--
-- A row counts from the earlier of its two times.  If observed_at is the later one, our
-- clock was ahead, and without recorded_at the row would hide newer rows.
--
-- The first step finds the contracts that have not expired, from the index alone.  Contracts
-- without an expiration are few, but each may have a hundred thousand rows, so the recursive
-- part goes from one contract to the next.  (Its order begins with the expiration, because
-- only this index fits.)  The second step finds the newest row of each contract.
create or replace function positions_asof(moment timestamptz)
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
    option_type text,
    instrument_id text,
    exchange text,
    underlying_id text,
    price_factor numeric,
    description text,
    problem text,
    premium_multiplier numeric
)
language sql stable parallel safe rows 200
set jit = off
begin atomic
    with recursive undated (broker, account_id, contract_key) as (
        (
            select p.broker, p.account_id, p.contract_key
            from positions p
            where p.expiration is null
            order by p.expiration, 1, 2, 3
            limit 1
        )
        union all
        select next.*
        from undated
        cross join lateral (
            select p.broker, p.account_id, p.contract_key
            from positions p
            where p.expiration is null
              and (p.broker, p.account_id, p.contract_key)
                > (undated.broker, undated.account_id, undated.contract_key)
            order by p.expiration, 1, 2, 3
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
        newest.option_type,
        newest.instrument_id,
        newest.exchange,
        newest.underlying_id,
        newest.price_factor,
        newest.description,
        newest.problem,
        newest.premium_multiplier
    from (
        select p.broker, p.account_id, p.contract_key
        from positions p
        where least(p.observed_at, p.recorded_at) <= moment
          and p.expiration > least(moment, statement_timestamp()) at time zone 'UTC'
              - interval '36 hours'
        union
        select u.broker, u.account_id, u.contract_key
        from undated u
    ) held
    cross join lateral (
        select p.*
        from positions p
        where p.broker = held.broker
          and p.account_id = held.account_id
          and p.contract_key = held.contract_key
          and least(p.observed_at, p.recorded_at) <= moment
        order by least(p.observed_at, p.recorded_at) desc, p.observed_at desc
        limit 1
    ) newest
    -- Null is a quantity that could not be read; the position is open.
    where newest.quantity is distinct from 0
      and (
          newest.expiration is null
          or newest.expiration > least(moment, statement_timestamp()) at time zone 'UTC'
              - interval '36 hours'
      );
end;


-- The open positions at the moment, each option with its newest tick that was known then,
-- and the options that were watched in the seven days before; possible values only.  They
-- are computed in the inner selects, so that each is computed once: the planner repeats an
-- expression wherever an outer select uses it.
create or replace function newest_asof(moment timestamptz)
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
    instrument_id text,
    exchange text,
    underlying_id text,
    price_factor numeric,
    event_time timestamptz,
    received_at timestamptz,
    delta double precision,
    gamma double precision,
    theta double precision,
    vega double precision,
    rho double precision,
    implied_volatility double precision,
    underlying_price double precision,
    underlying_price_at timestamptz,
    price double precision,
    bid double precision,
    ask double precision,
    in_rotation boolean,
    availability text,
    is_future boolean,
    premium_multiplier numeric
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
        wanted.instrument_id,
        wanted.exchange,
        wanted.underlying_id,
        wanted.price_factor,
        tick.event_time,
        tick.received_at,
        tick.delta,
        tick.gamma,
        tick.theta,
        tick.vega,
        tick.rho,
        tick.implied_volatility,
        tick.underlying_price,
        tick.underlying_price_at,
        tick.price,
        tick.bid,
        tick.ask,
        tick.in_rotation,
        tick.availability,
        coalesce(wanted.is_future, tick.is_future, false),
        wanted.premium_multiplier
    from (
        select
            p.broker, p.account_id, p.contract_key, p.kind, p.underlying,
            p.expiration, p.strike, p.option_type,
            case when p.quantity < 0 then possible(p.quantity, -1e12, -1e-12)
                else possible(p.quantity, 1e-12, 1e12) end as quantity,
            -- A share is one unit of itself unless the broker names another number.
            case when p.kind = 'equity' and coalesce(p.multiplier, 0) = 0 then 1
                else possible(p.multiplier, 1e-12, 1e12) end as multiplier,
            p.currency, p.instrument_id, p.exchange, p.underlying_id,
            case
                when p.price_factor is not null
                then possible(p.price_factor, 1e-12, 1e12)
                when is_in_dollars(p.kind, p.contract_key, p.currency) then 1
            end as price_factor,
            p.kind in ('future', 'future_option') or p.underlying like '/%'
                as is_future,
            p.premium_multiplier
        from positions_asof(moment) p
        union all
        select
            w.broker, 'watchlist', w.contract_key,
            case when w.contract_key like './%' then 'future_option' else 'option' end,
            null, null, null, null, null, null, null, null, null, null,
            case when is_in_dollars('option', w.contract_key, null) then 1 end,
            case when w.contract_key like './%' then true end,
            null
        from watched_asof(moment) w
    ) wanted
    left join lateral (
        select
            s.event_time,
            -- If our clock was ahead, the database's clock at the insert counts.
            least(s.received_at, s.persisted_at) as received_at,
            s.underlying, s.expiration, s.strike,
            s.option_type, s.availability, s.in_rotation, g.*,
            possible_price(
                s.underlying_price,
                wanted.kind = 'future_option' or s.underlying like '/%'
            ) as underlying_price,
            case
                when isfinite(s.underlying_price_at)
                    and s.underlying_price_at
                        <= statement_timestamp() + interval '5 minutes'
                then s.underlying_price_at
            end as underlying_price_at,
            possible(s.price, 0, 1e9) as price,
            possible(s.bid, 0, 1e9) as bid,
            possible(s.ask, 1e-9, 1e9) as ask,
            s.underlying like '/%' as is_future
        from (
            select t.*
            from greek_snapshots t
            where wanted.kind in ('option', 'future_option')
              and t.broker = wanted.broker
              and t.account_id = wanted.account_id
              and t.contract_key = wanted.contract_key
              -- This repeats the condition above.  It keeps the planner from the index of
              -- event_time, which it would read from end to end for a contract without a
              -- tick.
              and t.contract_key between wanted.contract_key and wanted.contract_key
              and t.event_time <= moment
              -- A time that lies further ahead is no time of an event: such a tick would
              -- hide all others until then.
              and t.event_time <= statement_timestamp() + interval '5 minutes'
              and least(t.received_at, t.persisted_at)
                  <= least(moment, statement_timestamp() + interval '5 minutes')
              and least(t.event_time, t.received_at) > '-infinity'
            order by t.event_time desc, t.received_at desc, t.id desc
            limit 1
        ) s,
        possible_greeks(
            s.delta, s.gamma, s.theta, s.vega, s.rho, s.implied_volatility
        ) g
        -- Computes each value once, and for the newest tick only.
        offset 0
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


-- For each Greek that the newest tick lacks, the newest value of the ticks before it, down
-- to the earliest time.  It is called for incomplete ticks only, has a plan of its own, and
-- goes back through the primary key until it has found everything.  ibkr sends no rho, so
-- for that broker it does not go on for it.  A value from a tick that was not real-time
-- never stands for one of a real-time tick.
create or replace function carried_greeks(
    of_broker text,
    of_account_id text,
    of_contract_key text,
    earliest timestamptz,
    of_event_time timestamptz,
    known_until timestamptz,
    of_availability text,
    inout delta double precision,
    inout gamma double precision,
    inout theta double precision,
    inout vega double precision,
    inout rho double precision,
    inout implied_volatility double precision,
    out received_at timestamptz
)
language plpgsql stable parallel safe
set plan_cache_mode = force_generic_plan
as $$
declare
    tick record;
begin
    for tick in
        select g.*, least(s.received_at, s.persisted_at) as received_at
        from greek_snapshots s
        cross join lateral possible_greeks(
            s.delta, s.gamma, s.theta, s.vega, s.rho, s.implied_volatility
        ) g
        where s.broker = of_broker
          and s.account_id = of_account_id
          and s.contract_key = of_contract_key
          -- As in newest_asof.
          and s.contract_key between of_contract_key and of_contract_key
          and s.event_time between earliest and of_event_time
          and least(s.received_at, s.persisted_at) between earliest and known_until
          and s.availability in (of_availability, 'realtime')
          and (
              (carried_greeks.delta is null and g.delta is not null)
              or (carried_greeks.gamma is null and g.gamma is not null)
              or (carried_greeks.theta is null and g.theta is not null)
              or (carried_greeks.vega is null and g.vega is not null)
              or (carried_greeks.rho is null and g.rho is not null)
              or (carried_greeks.implied_volatility is null
                  and g.implied_volatility is not null)
          )
        order by s.event_time desc, s.received_at desc, s.id desc
    loop
        if (delta is null and tick.delta is not null)
            or (gamma is null and tick.gamma is not null)
            or (theta is null and tick.theta is not null)
            or (vega is null and tick.vega is not null)
            or (rho is null and tick.rho is not null)
            or (implied_volatility is null and tick.implied_volatility is not null)
        then
            received_at := least(received_at, tick.received_at);
            delta := coalesce(delta, tick.delta);
            gamma := coalesce(gamma, tick.gamma);
            theta := coalesce(theta, tick.theta);
            vega := coalesce(vega, tick.vega);
            rho := coalesce(rho, tick.rho);
            implied_volatility := coalesce(implied_volatility, tick.implied_volatility);
        end if;
        exit when num_nulls(delta, gamma, theta, vega, implied_volatility) = 0
            and (rho is not null or of_broker = 'ibkr');
    end loop;
end
$$;


-- The newest price of the option itself among the last ticks: for an option whose newest
-- tick has none.  It reads few ticks, because a contract may never have a price.
create or replace function carried_price(
    of_broker text,
    of_account_id text,
    of_contract_key text,
    earliest timestamptz,
    of_event_time timestamptz,
    known_until timestamptz,
    of_availability text,
    out price double precision,
    out received_at timestamptz
)
language plpgsql stable parallel safe
set plan_cache_mode = force_generic_plan
as $$
begin
    select possible(t.price, 0, 1e9), t.received_at
    into price, received_at
    from (
        select
            s.price, s.event_time, s.id,
            least(s.received_at, s.persisted_at) as received_at
        from greek_snapshots s
        where s.broker = of_broker
          and s.account_id = of_account_id
          and s.contract_key = of_contract_key
          -- As in newest_asof.
          and s.contract_key between of_contract_key and of_contract_key
          and s.event_time between earliest and of_event_time
          and least(s.received_at, s.persisted_at) between earliest and known_until
          and s.availability in (of_availability, 'realtime')
        order by s.event_time desc, s.received_at desc, s.id desc
        limit 20
    ) t
    where possible(t.price, 0, 1e9) is not null
    order by t.event_time desc, t.received_at desc, t.id desc
    limit 1;
end
$$;


-- The rows of newest_asof with their ages.  A Greek that the newest tick lacks comes from an
-- older tick, and the price of the underlying from another option.
create or replace function holdings_asof(
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
    instrument_id text,
    exchange text,
    underlying_id text,
    price_factor numeric,
    event_time timestamptz,
    received_at timestamptz,
    delta double precision,
    gamma double precision,
    theta double precision,
    vega double precision,
    rho double precision,
    implied_volatility double precision,
    underlying_price double precision,
    underlying_price_at timestamptz,
    underlying_price_source text,
    underlying_price_availability text,
    is_underlying_price_stale boolean,
    price double precision,
    bid double precision,
    ask double precision,
    units double precision,
    money double precision,
    in_rotation boolean,
    availability text,
    age_s double precision,
    stale_reason text,
    carried_delta boolean,
    carried_gamma boolean,
    carried_theta boolean,
    carried_vega boolean,
    carried_rho boolean,
    carried_implied_volatility boolean,
    carried_price boolean,
    carried_age_s double precision,
    is_future boolean,
    premium double precision
)
language sql stable parallel safe
begin atomic
    select
        n.broker,
        n.account_id,
        n.contract_key,
        n.kind,
        n.underlying,
        n.expiration,
        n.strike,
        n.option_type,
        n.quantity,
        n.multiplier,
        n.currency,
        n.instrument_id,
        n.exchange,
        n.underlying_id,
        n.price_factor,
        n.event_time,
        n.received_at,
        coalesce(n.delta, carried.delta),
        coalesce(n.gamma, carried.gamma),
        coalesce(n.theta, carried.theta),
        coalesce(n.vega, carried.vega),
        coalesce(n.rho, carried.rho),
        coalesce(n.implied_volatility, carried.implied_volatility),
        coalesce(n.underlying_price, lent.price),
        case when n.underlying_price is null then lent.price_at
            else n.underlying_price_at end,
        lent.broker,
        case when n.underlying_price is null then lent.availability
            else n.availability end,
        case when n.underlying_price is null then lent.is_stale
            else n.availability <> 'realtime'
                or least(n.underlying_price_at, n.event_time, n.received_at)
                    < least(moment, statement_timestamp())
                        - stale_after_s * interval '1 second'
        end,
        coalesce(n.price, earlier.price),
        n.bid,
        n.ask,
        case when n.kind not in ('other', 'unknown')
            then (n.quantity * n.multiplier)::double precision end,
        case when n.kind not in ('other', 'unknown')
            then (n.quantity * n.multiplier * n.price_factor)::double precision end,
        n.in_rotation,
        n.availability,
        -- Not negative for a tick that arrived while this statement began.
        case when n.received_at is not null then greatest(0, date_part(
            'epoch', least(moment, statement_timestamp()) - n.received_at
        )) end,
        case
            when n.event_time is null then 'no tick'
            when least(n.received_at, n.event_time)
                < least(moment, statement_timestamp())
                    - stale_after_s * interval '1 second' then 'old'
            when n.availability <> 'realtime' then n.availability
        end,
        n.delta is null and carried.delta is not null,
        n.gamma is null and carried.gamma is not null,
        n.theta is null and carried.theta is not null,
        n.vega is null and carried.vega is not null,
        n.rho is null and carried.rho is not null,
        n.implied_volatility is null and carried.implied_volatility is not null,
        n.price is null and earlier.price is not null,
        case when num_nonnulls(carried.received_at, earlier.received_at) > 0
            then greatest(0, date_part(
                'epoch',
                least(moment, statement_timestamp())
                    - least(carried.received_at, earlier.received_at)
            ))
        end,
        n.is_future,
        -- The money of the option's own price.
        case when n.kind not in ('other', 'unknown')
            then (
                n.quantity * n.price_factor * case
                    when n.premium_multiplier is null then n.multiplier
                    else possible(n.premium_multiplier, 1e-12, 1e12)
                end
            )::double precision
        end
    from newest_asof(moment) n
    left join lateral (
        select c.*
        from carried_greeks(
            n.broker, n.account_id, n.contract_key,
            least(moment, statement_timestamp()) - stale_after_s * interval '1 second',
            n.event_time,
            least(moment, statement_timestamp() + interval '5 minutes'),
            n.availability,
            n.delta, n.gamma, n.theta, n.vega, n.rho, n.implied_volatility
        ) c
        where (
              num_nulls(n.delta, n.gamma, n.theta, n.vega, n.implied_volatility) > 0
              or (n.rho is null and n.broker <> 'ibkr')
          )
          and n.event_time >= least(moment, statement_timestamp())
              - stale_after_s * interval '1 second'
        -- Keeps the conditions before the call.
        offset 0
    ) carried on true
    left join lateral (
        select c.*
        from carried_price(
            n.broker, n.account_id, n.contract_key,
            least(moment, statement_timestamp()) - stale_after_s * interval '1 second',
            n.event_time,
            least(moment, statement_timestamp() + interval '5 minutes'),
            n.availability
        ) c
        where n.price is null
          and n.event_time >= least(moment, statement_timestamp())
              - stale_after_s * interval '1 second'
        -- Keeps the conditions before the call.
        offset 0
    ) earlier on true
    left join lateral (
        select best.*
        from (
            select p.broker, p.price, p.price_at, p.availability, p.is_stale
            from prices_asof(moment, stale_after_s) p
            where (p.underlying = n.underlying or p.underlying_id = n.underlying_id)
              and is_same_underlying(
                  n.broker, n.underlying_id, n.underlying, n.currency, n.is_future,
                  p.broker, p.underlying_id, p.underlying, p.currency, p.is_future
              )
              and coalesce(n.price_factor = p.price_factor, true)
            order by p.is_stale, p.broker <> n.broker, p.price_at desc, p.price
            limit 1
        ) best
        where n.underlying_price is null
          and n.event_time is not null
        -- Keeps the conditions before the sort.
        offset 0
    ) lent on true;
end;


-- The functions in plpgsql look for their tables at each call, so they carry the schema: a
-- reader may have another search_path, and pg_restore has none.  All other functions and the
-- views were bound to their tables when they were made.
do $$
declare
    name regprocedure;
begin
    foreach name in array array[
        'watched_asof(timestamptz)',
        'carried_greeks(text, text, text, timestamptz, timestamptz, timestamptz, text,
            double precision, double precision, double precision, double precision,
            double precision, double precision)',
        'carried_price(text, text, text, timestamptz, timestamptz, timestamptz, text)'
    ]::regprocedure[] loop
        execute format(
            'alter function %s set search_path = %I, pg_temp',
            name,
            (select relnamespace::regnamespace::name from pg_class
             where oid = 'greek_snapshots'::regclass)
        );
    end loop;
end
$$;


-- Rows of feed_gaps that overlap or touch, merged within one scope: a broker, an account of
-- it, or a contract.  An interval that lies within one of a wider scope is left out.
-- A gap that began in the future is moved to the moment when the database took it, because
-- our clock was ahead.
create or replace view outages as
with gaps as (
    select
        broker, account_id, contract_key, reason,
        case when is_ahead then recorded_at else started_at end as started_at,
        case
            when ended_at is null then 'infinity'
            when ended_at <= started_at
            then case when is_ahead then recorded_at else started_at end
            when is_ahead then ended_at - (started_at - recorded_at)
            else ended_at
        end as ended_at
    from (
        select *, isfinite(started_at) and coalesce(started_at > recorded_at, false)
            as is_ahead
        from feed_gaps
    ) stored
),
marked as (
    select
        g.*,
        started_at > max(ended_at) over (
            scope rows between unbounded preceding and 1 preceding
        ) as is_apart
    from gaps g
    window scope as (
        partition by broker, account_id, contract_key order by started_at, ended_at
    )
),
numbered as (
    select
        m.*,
        count(*) filter (where is_apart) over (
            partition by broker, account_id, contract_key order by started_at, ended_at
            rows unbounded preceding
        ) as number
    from marked m
),
merged as (
    select
        broker, account_id, contract_key,
        min(started_at) as started_at,
        max(ended_at) as ended_at,
        array_agg(distinct reason) as reasons
    from numbered
    group by broker, account_id, contract_key, number
),
scopes as materialized (
    select
        broker, account_id, contract_key,
        range_agg(tstzrange(started_at, ended_at, '[]')) as covered
    from merged
    group by broker, account_id, contract_key
)
select
    m.broker, m.account_id, m.contract_key, m.started_at,
    nullif(m.ended_at, 'infinity') as ended_at,
    m.reasons
from merged m
left join scopes of_broker
    on of_broker.broker = m.broker
    and of_broker.account_id is null
    and of_broker.contract_key is null
    and num_nonnulls(m.account_id, m.contract_key) > 0
left join scopes of_account
    on of_account.broker = m.broker
    and of_account.account_id = m.account_id
    and of_account.contract_key is null
    and m.contract_key is not null
left join scopes of_contract
    on of_contract.broker = m.broker
    and of_contract.account_id is null
    and of_contract.contract_key = m.contract_key
    and m.account_id is not null
where not (
    coalesce(of_broker.covered, '{}')
    + coalesce(of_account.covered, '{}')
    + coalesce(of_contract.covered, '{}')
) @> tstzrange(m.started_at, m.ended_at, '[]');

comment on table positions is
    'History of the positions. The newest row of a contract by the earlier of observed_at '
    'and recorded_at is its present state';
comment on column positions.observed_at is
    'Our clock when the broker reported it. If it is later than recorded_at, our clock was '
    'ahead, and recorded_at counts';
comment on column positions.recorded_at is
    'The database''s clock at the insert; null in rows of older versions';
comment on column feed_gaps.recorded_at is
    'The database''s clock at the insert; null in rows of older versions. If started_at is '
    'later, our clock was ahead, and the gap began at recorded_at';
comment on column greek_snapshots.received_at is
    'Our clock when the frame was read. If it is later than persisted_at, our clock was '
    'ahead, and the views take persisted_at';
comment on function positions_asof(timestamptz) is
    'The open positions at the moment, with the columns of positions: the newest row of '
    'each contract by the earlier of its two times, unless its quantity is 0 or the contract had expired '
    '(its last day was over everywhere on Earth). A quantity that could not be read (null) '
    'is open. ''infinity'' is the present';
comment on function greeks_asof(timestamptz, double precision) is
    'The columns of latest_greeks at any moment: the open positions at that moment, each '
    'with its newest tick by event_time. Only ticks whose event_time and received_at are '
    'not after the moment count, and ages are relative to the moment. A tick that is more '
    'than 5 minutes ahead of the database''s clock does not count. A moment in the '
    'future is the present. stale_after_s: age in seconds from which a tick is stale, and '
    'up to which a Greek is carried';
