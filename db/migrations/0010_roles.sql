-- Roles with few rights: the views can be read without rights on the tables, and a role
-- that may only insert can have the partition of a month made.

-- The schema that has the tables; the role's search_path may have another one before it.
do $$
begin
    perform set_config('search_path', quote_ident(nspname) || ', pg_temp', true)
    from pg_class join pg_namespace on pg_namespace.oid = relnamespace
    where pg_class.oid = 'greek_snapshots'::regclass;
end
$$;


-- The rows that the functions below read.  A role that may read these views and the others
-- needs no right on the tables, because a view reads with the rights of its owner and a
-- function does not.
create view tick_history as
select
    id, event_time, received_at, persisted_at, broker, account_id, underlying,
    contract_key, expiration, strike, option_type, quantity, delta, gamma, theta, vega,
    rho, implied_volatility, underlying_price, availability, underlying_price_at, price,
    bid, ask, in_rotation
from greek_snapshots;

comment on view tick_history is
    'The rows of greek_snapshots without their payloads';

create view position_history as
select
    broker, account_id, contract_key, observed_at, kind, quantity, multiplier, currency,
    underlying, expiration, strike, option_type, instrument_id, exchange, underlying_id,
    price_factor, description, problem, premium_multiplier, recorded_at
from positions;

comment on view position_history is
    'The rows of positions';

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
            values ('tick_history'::regclass, 'greek_snapshots'::regclass),
                ('position_history', 'positions')
        ) of (view, source)
        join pg_attribute v on v.attrelid = of.view and v.attnum > 0
        join pg_attribute t on t.attrelid = of.source and t.attname = v.attname
    loop
        execute format(
            'comment on column %s.%I is %L', copied.view, copied.attname, copied.said);
    end loop;
end
$$;


-- Makes and attaches the partition of the month that has this day; returns false when it
-- was there.  It runs with the rights of the owner of the tables, so that the role of the
-- service needs no more than the right to execute it.  A table of that name is attached.
create function make_month(day date)
returns boolean
language plpgsql security definer
set timezone = 'UTC'
set datestyle = 'ISO'
as $$
declare
    first_moment constant timestamptz := date_trunc('month', day::timestamptz);
    name constant text := to_char(first_moment, '"greek_snapshots_"YYYY_MM');
begin
    -- Any number; the service takes the same one.
    perform pg_advisory_xact_lock(7402318915520032);
    if exists (
        select from pg_inherits
        join pg_class on pg_class.oid = inhrelid
        where inhparent = 'greek_snapshots'::regclass and relname = name
    ) then
        return false;
    end if;
    if to_regclass(name) is null then
        -- Without identity: from version 17 on an attached table may not have its own, and
        -- before only the parent's is used.
        execute format(
            'create table %I (like greek_snapshots including all excluding identity)',
            name
        );
    end if;
    execute format(
        'alter table greek_snapshots attach partition %I for values from (%L) to (%L)',
        name,
        first_moment,
        first_moment + interval '1 month'
    );
    return true;
end
$$;

comment on function make_month(date) is
    'Makes and attaches the partition of the month of this day, with the rights of the '
    'owner of the tables; false if it was there';

revoke execute on function make_month(date) from public;


-- Until now the functions needed the right to read the tables.
do $$
declare
    reader record;
begin
    for reader in
        select distinct of.view, a.grantee
        from (
            values ('tick_history', 'greek_snapshots'), ('position_history', 'positions')
        ) of (view, source)
        join pg_class c on c.oid = of.source::regclass
        cross join lateral aclexplode(c.relacl) a
        where a.privilege_type = 'SELECT' and a.grantee <> c.relowner
    loop
        execute format(
            'grant select on %I to %s',
            reader.view,
            case reader.grantee when 0 then 'public'
                else quote_ident(pg_get_userbyid(reader.grantee)) end
        );
    end loop;
end
$$;


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
            from position_history p
            where p.expiration is null
            order by p.expiration, 1, 2, 3
            limit 1
        )
        union all
        select next.*
        from undated
        cross join lateral (
            select p.broker, p.account_id, p.contract_key
            from position_history p
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
        from position_history p
        where least(p.observed_at, p.recorded_at) <= moment
          and p.expiration > least(moment, statement_timestamp()) at time zone 'UTC'
              - interval '36 hours'
        union
        select u.broker, u.account_id, u.contract_key
        from undated u
    ) held
    cross join lateral (
        select p.*
        from position_history p
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


create or replace function watched_asof(moment timestamptz)
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
        from tick_history s
        where s.broker > watched_asof.broker
          and s.event_time >= earliest
        order by s.broker
        limit 1;
        exit when not found;
        contract_key := '';
        loop
            select s.contract_key into contract_key
            from tick_history s
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
            from tick_history t
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
        from tick_history s
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
        from tick_history s
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


-- These look for their tables at each call, so they carry the schema.
do $$
declare
    name regprocedure;
begin
    foreach name in array array[
        'make_month(date)',
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
