-- The risk views for any real book: each underlying is one instrument, each value is possible,
-- a Greek that the newest tick lacks is carried, and positions have a value.
--
-- The functions get other columns, which needs new functions.  The views stay the same
-- objects, with their new columns at the end, so that views on them stay, too.
alter function positions_asof(timestamptz) rename to positions_asof_before;
alter function holdings_asof(timestamptz, double precision) rename to holdings_asof_before;
alter function greeks_asof(timestamptz, double precision) rename to greeks_asof_before;
alter function portfolio_asof(timestamptz, double precision)
    rename to portfolio_asof_before;

-- The views take possible values only, so that no stored value can make them fail: NaN,
-- infinity, or a number that is too large or too small for a product.  An impossible value
-- counts as missing, and the rest of its row stays.  A check of the tables would refuse the
-- whole tick instead, and would not reach the rows that exist.  The limits are those of
-- greeks_trio.model.possible.  Below 1e-50 a number counts as 0, because products of such
-- numbers are too small for their type.
create function possible(
    value double precision, lowest double precision, highest double precision
)
returns double precision
language sql immutable parallel safe
return case
    when value between lowest and highest
    then case when abs(value) < 1e-50 then 0 else value end
end;


create function possible(value numeric, lowest numeric, highest numeric)
returns numeric
language sql immutable parallel safe
return case when value between lowest and highest then value end;


-- Gamma and vega are not below zero but for rounding; -1 and -2 stand for unset.
create function possible_greeks(
    raw_delta double precision,
    raw_gamma double precision,
    raw_theta double precision,
    raw_vega double precision,
    raw_rho double precision,
    raw_implied_volatility double precision
)
returns table (
    delta double precision,
    gamma double precision,
    theta double precision,
    vega double precision,
    rho double precision,
    implied_volatility double precision
)
language sql immutable parallel safe rows 1
begin atomic
    select
        possible(raw_delta, -1.05, 1.05),
        case when raw_gamma not in (-1, -2) then possible(raw_gamma, -1e9, 1e9) end,
        possible(raw_theta, -1e9, 1e9),
        case when raw_vega not in (-1, -2) then possible(raw_vega, -1e9, 1e9) end,
        possible(raw_rho, -1e9, 1e9),
        possible(raw_implied_volatility, 1e-9, 100);
end;


-- The price of an underlying.  Those of futures may be zero or negative.
create function possible_price(price double precision, is_of_future boolean)
returns double precision
language sql immutable parallel safe
return possible(price, case when is_of_future then -1e9 else 1e-9 end, 1e9);


-- Options that the OCC clears and American shares are quoted in dollars, also where the row
-- does not say it.  Their keys tell them from all others.
create function is_in_dollars(kind text, contract_key text, currency text)
returns boolean
language sql immutable parallel safe
return coalesce(currency, 'USD') = 'USD'
    and contract_key not like '%:%'
    and (
        kind = 'equity'
        -- A regular expression takes ten times as long.
        or kind = 'option' and (
            contract_key like '____________C________'
            or contract_key like '____________P________'
        )
    );


-- Whether two rows have the same underlying.  One broker names it by its own id.  Between
-- brokers, and where an id is not known, it is the key, the currency and the kind.  A
-- broker that names no currency has dollars.
create function is_same_underlying(
    broker text, underlying_id text, underlying text, currency text, is_future boolean,
    broker_2 text, underlying_id_2 text, underlying_2 text, currency_2 text,
    is_future_2 boolean
)
returns boolean
language sql immutable parallel safe
return case
    when broker = broker_2 and underlying_id is not null and underlying_id_2 is not null
    then underlying_id = underlying_id_2
    else underlying = underlying_2
        and coalesce(currency, 'USD') = coalesce(currency_2, 'USD')
        and is_future = is_future_2
end;

-- The open positions at the moment.  A contract has expired when its last day is over
-- everywhere on Earth, which is 36 hours after that day began in UTC.
--
-- The first step finds the contracts that have not expired, from the index alone.  Contracts
-- without an expiration are few, but each may have a hundred thousand rows, so the recursive
-- part goes from one contract to the next.  (Its order begins with the expiration, because
-- only this index fits.)  The second step finds the newest row of each contract.
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
create function newest_asof(moment timestamptz)
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
            s.event_time, s.received_at, s.underlying, s.expiration, s.strike,
            s.option_type, s.availability, s.in_rotation, g.*,
            possible_price(
                s.underlying_price,
                wanted.kind = 'future_option' or s.underlying like '/%'
            ) as underlying_price,
            case when isfinite(s.underlying_price_at) then s.underlying_price_at end
                as underlying_price_at,
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
              -- A time that lies more than a day ahead is no time of an event.  (A sum with
              -- hours takes less time than one with days.)
              and t.event_time <= statement_timestamp() + interval '24 hours'
              and t.received_at <= least(moment, statement_timestamp() + interval '24 hours')
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
create function carried_greeks(
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
set search_path from current
as $$
declare
    tick record;
begin
    for tick in
        select g.*, s.received_at
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
          and s.received_at between earliest and known_until
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
create function carried_price(
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
set search_path from current
as $$
begin
    select possible(t.price, 0, 1e9), t.received_at
    into price, received_at
    from (
        select s.price, s.event_time, s.received_at, s.id
        from greek_snapshots s
        where s.broker = of_broker
          and s.account_id = of_account_id
          and s.contract_key = of_contract_key
          -- As in newest_asof.
          and s.contract_key between of_contract_key and of_contract_key
          and s.event_time between earliest and of_event_time
          and s.received_at between earliest and known_until
          and s.availability in (of_availability, 'realtime')
        order by s.event_time desc, s.received_at desc, s.id desc
        limit 20
    ) t
    where possible(t.price, 0, 1e9) is not null
    order by t.event_time desc, t.received_at desc, t.id desc
    limit 1;
end
$$;


-- The newest price of each underlying, from the ticks of the options on it: for an option
-- whose own tick has none.  It has a plan of its own, so that it costs nothing where every
-- tick has a price.
create function prices_asof(moment timestamptz, stale_after_s double precision)
returns table (
    broker text,
    underlying_id text,
    underlying text,
    currency text,
    is_future boolean,
    price_factor numeric,
    price double precision,
    price_at timestamptz,
    availability text,
    is_stale boolean
)
language sql stable parallel safe rows 50
set jit = off
begin atomic
    select distinct on (
        n.broker, n.underlying_id, n.underlying, n.currency, n.is_future, n.price_factor
    )
        n.broker, n.underlying_id, n.underlying, n.currency, n.is_future, n.price_factor,
        n.underlying_price,
        coalesce(n.underlying_price_at, n.event_time),
        n.availability,
        n.availability <> 'realtime'
            or least(coalesce(n.underlying_price_at, n.event_time), n.received_at)
                < least(moment, statement_timestamp())
                    - stale_after_s * interval '1 second'
    from newest_asof(moment) n
    where n.underlying_price is not null
    order by n.broker, n.underlying_id, n.underlying, n.currency, n.is_future,
        n.price_factor, coalesce(n.underlying_price_at, n.event_time) desc,
        n.received_at desc;
end;


-- The rows of newest_asof with their ages.  A Greek that the newest tick lacks comes from an
-- older tick, and the price of the underlying from another option.
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
            least(moment, statement_timestamp() + interval '24 hours'),
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
            least(moment, statement_timestamp() + interval '24 hours'),
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
    is_stale boolean,
    stale_reason text,
    kind text,
    instrument_id text,
    exchange text,
    price_factor numeric,
    price double precision,
    bid double precision,
    ask double precision,
    position_value double precision,
    underlying_price_at timestamptz,
    underlying_price_source text,
    carried_delta boolean,
    carried_gamma boolean,
    carried_theta boolean,
    carried_vega boolean,
    carried_rho boolean,
    carried_implied_volatility boolean,
    carried_age_s double precision,
    in_rotation boolean,
    carried_price boolean
)
language sql stable parallel safe
begin atomic
    select
        h.broker, h.account_id, h.contract_key, h.underlying, h.expiration,
        h.strike, h.option_type, h.quantity, h.multiplier, h.currency,
        h.event_time, h.received_at, h.delta, h.gamma, h.theta, h.vega, h.rho,
        h.implied_volatility, h.underlying_price, h.availability, h.age_s,
        h.stale_reason is not null, h.stale_reason, h.kind, h.instrument_id, h.exchange,
        h.price_factor, h.price, h.bid, h.ask, h.premium * h.price, h.underlying_price_at,
        h.underlying_price_source, h.carried_delta, h.carried_gamma, h.carried_theta,
        h.carried_vega, h.carried_rho, h.carried_implied_volatility, h.carried_age_s,
        h.in_rotation, h.carried_price
    from holdings_asof(moment, stale_after_s) h
    where h.kind in ('option', 'future_option');
end;


-- The open positions, summed by account, currency, underlying and expiration.
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
    oldest_age_s double precision,
    unknown_positions bigint,
    market_value double precision,
    missing_value bigint,
    missing_price_factor bigint,
    carried_delta bigint,
    carried_gamma bigint,
    carried_theta bigint,
    carried_vega bigint,
    carried_rho bigint,
    oldest_carried_age_s double precision,
    carried_value bigint
)
language sql stable parallel safe
begin atomic
    with held as materialized (
        -- The columns that are needed, because each is copied.
        select
            h.broker, h.account_id, h.contract_key, h.kind, h.underlying, h.expiration,
            h.currency, h.underlying_id, h.price_factor, h.received_at, h.delta, h.gamma,
            h.theta, h.vega, h.rho, h.underlying_price, h.underlying_price_source,
            coalesce(h.underlying_price_at, h.event_time) as price_at,
            h.underlying_price_availability, h.is_underlying_price_stale, h.price,
            h.units, h.money, h.premium, h.availability, h.age_s, h.stale_reason,
            h.carried_delta, h.carried_gamma, h.carried_theta, h.carried_vega, h.carried_rho,
            h.carried_price, h.carried_age_s, h.is_future,
            h.kind in ('option', 'future_option') as is_option,
            h.kind in ('equity', 'future') as is_share_future
        from holdings_asof(moment, stale_after_s) h
    ),
    prices as materialized (
        select distinct on (
            h.underlying, h.broker, h.underlying_id, h.currency, h.is_future,
            h.price_factor
        )
            h.underlying, h.broker, h.underlying_id, h.currency, h.is_future,
            h.price_factor, h.underlying_price, h.price_at, h.age_s,
            h.underlying_price_availability, h.is_underlying_price_stale
        from held h
        where h.underlying_price is not null and h.underlying_price_source is null
        -- The sort is fastest if the first key has many values.
        order by h.underlying, h.broker, h.underlying_id, h.currency, h.is_future,
            h.price_factor, h.price_at desc, h.received_at desc
    ),
    -- Positions of an unknown kind have no values; those of other kinds are in no sum.
    valued as (
        select
            h.broker, h.account_id, h.currency,
            coalesce(h.underlying, h.contract_key) as underlying, h.expiration,
            h.is_option, h.is_share_future,
            h.kind = 'unknown' as is_unknown,
            h.units,
            h.money,
            h.premium,
            case when h.is_option or h.is_share_future then h.price_factor end
                as price_factor,
            case when h.is_share_future then 1 else h.delta end as delta,
            h.gamma, h.theta, h.vega, h.rho,
            case when h.is_option then h.underlying_price else lent.underlying_price end
                as underlying_price,
            case h.kind
                when 'equity' then lent.underlying_price
                when 'future' then 0
                else h.price
            end as price,
            case when h.is_option then h.age_s else lent.age_s end as age_s,
            case when h.is_option
                then h.stale_reason is not null or h.is_underlying_price_stale is true
                else lent.is_underlying_price_stale is not false
            end as is_stale,
            case when h.is_option
                then h.availability <> 'realtime'
                    or h.underlying_price_availability <> 'realtime'
                else lent.underlying_price_availability <> 'realtime'
            end as is_not_realtime,
            h.carried_delta, h.carried_gamma, h.carried_theta, h.carried_vega,
            h.carried_rho, h.carried_price,
            case when h.carried_delta or h.carried_gamma or h.carried_theta
                or h.carried_vega or h.carried_rho or h.carried_price
                then h.carried_age_s
            end as carried_age_s
        from held h
        left join lateral (
            select best.*
            from (
                select
                    p.underlying_price, p.age_s, p.underlying_price_availability,
                    p.is_underlying_price_stale
                from prices p
                -- Follows from the next condition, and takes less time.
                where (
                      p.underlying = coalesce(h.underlying, h.contract_key)
                      or p.underlying_id = h.underlying_id
                  )
                  and is_same_underlying(
                      h.broker, h.underlying_id, coalesce(h.underlying, h.contract_key),
                      h.currency, h.is_future,
                      p.broker, p.underlying_id, p.underlying, p.currency, p.is_future
                  )
                  and coalesce(h.price_factor = p.price_factor, true)
                order by p.is_underlying_price_stale, p.broker <> h.broker,
                    p.price_at desc
                limit 1
            ) best
            where h.is_share_future
            -- As in holdings_asof.
            offset 0
        ) lent on true
        where h.account_id <> 'watchlist'
        -- Computes each value once, and not in each sum.
        offset 0
    ),
    summed as (
        select
            h.broker, h.account_id, h.currency, h.underlying, h.expiration,
            count(*) filter (where h.is_option) as contracts,
            count(*) filter (where h.is_share_future) as shares_futures,
            count(*) filter (where h.is_unknown) as unknowns,
            count(*) as positions,
            sum(h.units * h.delta) filter (where h.is_option) as option_delta,
            sum(h.units) filter (where h.is_share_future) as share_future_delta,
            sum(h.units * h.gamma) as gamma,
            sum(h.premium * h.theta) as theta,
            sum(h.premium * h.vega) as vega,
            sum(h.premium * h.rho) as rho,
            sum(h.money * h.delta * h.underlying_price) as dollar_delta,
            sum(h.money * h.gamma * h.underlying_price ^ 2 / 100) as dollar_gamma,
            sum(h.premium * h.price) as market_value,
            count(h.age_s) filter (where h.is_option) as with_tick,
            count(*) filter (
                where h.units is null
                  and (h.is_option or h.is_share_future or h.is_unknown)
            ) as missing_multiplier,
            count(*) filter (
                where h.underlying_price is null
                  and (h.is_option or h.is_share_future or h.is_unknown)
            ) as missing_price,
            count(*) filter (
                where h.price_factor is null
                  and (h.is_option or h.is_share_future or h.is_unknown)
            ) as missing_price_factor,
            count(h.units * h.delta) filter (where h.is_option) as with_delta,
            count(h.units) filter (where h.is_share_future) as with_units,
            count(h.units * h.gamma) as with_gamma,
            count(h.premium * h.theta) as with_theta,
            count(h.premium * h.vega) as with_vega,
            count(h.premium * h.rho) as with_rho,
            count(h.money * h.delta * h.underlying_price) as with_dollar_delta,
            count(h.money * h.gamma * h.underlying_price) as with_dollar_gamma,
            count(h.premium * h.price) as with_value,
            count(*) filter (
                where h.is_stale and (h.is_option or h.is_share_future)
            ) as stale,
            count(*) filter (where h.is_not_realtime) as not_realtime,
            max(h.age_s) as oldest_age_s,
            count(*) filter (where h.carried_delta) as carried_delta,
            count(*) filter (where h.carried_gamma) as carried_gamma,
            count(*) filter (where h.carried_theta) as carried_theta,
            count(*) filter (where h.carried_vega) as carried_vega,
            count(*) filter (where h.carried_rho) as carried_rho,
            max(h.carried_age_s) as oldest_carried_age_s,
            count(*) filter (where h.carried_price) as carried_value
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
        case when s.contracts + s.unknowns = 0 then 0 else s.option_delta end,
        case when s.shares_futures + s.unknowns = 0 then 0
            else s.share_future_delta end,
        case when s.contracts + s.unknowns = 0 then 0 else s.gamma end,
        case when s.contracts + s.unknowns = 0 then 0 else s.theta end,
        case when s.contracts + s.unknowns = 0 then 0 else s.vega end,
        case when s.contracts + s.unknowns = 0 then 0 else s.rho end,
        s.dollar_delta,
        case when s.contracts + s.unknowns = 0 then 0 else s.dollar_gamma end,
        s.contracts + s.unknowns - s.with_tick,
        s.missing_multiplier,
        s.missing_price,
        s.contracts + s.unknowns - s.with_delta,
        s.shares_futures + s.unknowns - s.with_units,
        s.contracts + s.unknowns - s.with_gamma,
        s.contracts + s.unknowns - s.with_theta,
        s.contracts + s.unknowns - s.with_vega,
        s.contracts + s.unknowns - s.with_rho,
        s.positions - s.with_dollar_delta,
        s.contracts + s.unknowns - s.with_dollar_gamma,
        s.stale,
        s.not_realtime,
        s.oldest_age_s,
        s.unknowns,
        s.market_value,
        s.positions - s.with_value,
        s.missing_price_factor,
        s.carried_delta,
        s.carried_gamma,
        s.carried_theta,
        s.carried_vega,
        s.carried_rho,
        s.oldest_carried_age_s,
        s.carried_value
    from summed s;
end;


create or replace view latest_greeks as
select
    broker, account_id, contract_key, underlying, expiration, strike, option_type,
    quantity, multiplier, currency, event_time, received_at, delta, gamma, theta, vega,
    rho, implied_volatility, underlying_price, availability, age_s, is_stale,
    stale_reason, kind, instrument_id, exchange, price_factor, price, bid, ask,
    position_value, underlying_price_at, underlying_price_source, carried_delta,
    carried_gamma, carried_theta, carried_vega, carried_rho, carried_implied_volatility,
    carried_age_s, in_rotation, carried_price
from greeks_asof('infinity');


create or replace view portfolio_greeks as
select
    broker, account_id, currency, underlying, expiration, contracts, shares_futures,
    other_positions, option_delta, share_future_delta, gamma, theta, vega, rho,
    dollar_delta, dollar_gamma, missing_tick, missing_multiplier, missing_price,
    missing_delta, missing_share_future_delta, missing_gamma, missing_theta,
    missing_vega, missing_rho, missing_dollar_delta, missing_dollar_gamma, stale,
    not_realtime, oldest_age_s, unknown_positions, market_value, missing_value,
    missing_price_factor, carried_delta, carried_gamma, carried_theta, carried_vega,
    carried_rho, oldest_carried_age_s, carried_value
from portfolio_asof('infinity');


-- Rows of feed_gaps that overlap or touch, merged within one scope: a broker, an account of
-- it, or a contract.  An interval that lies within one of a wider scope is left out.
create view outages as
with gaps as (
    select
        broker, account_id, contract_key, reason, started_at,
        greatest(started_at, coalesce(ended_at, 'infinity')) as ended_at
    from feed_gaps
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

create or replace view broker_divergence as
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
    ibkr_price_of.underlying as ibkr_underlying_price,
    tastytrade_price_of.underlying as tastytrade_underlying_price,
    ibkr_price_of.underlying - tastytrade_price_of.underlying
        as underlying_price_difference,
    (ibkr).age_s as ibkr_age_s,
    (tastytrade).age_s as tastytrade_age_s,
    (ibkr).is_stale as ibkr_is_stale,
    (tastytrade).is_stale as tastytrade_is_stale,
    (ibkr).price as ibkr_price,
    (tastytrade).price as tastytrade_price,
    (ibkr).price - (tastytrade).price as price_difference
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
) newest
-- A price that one broker has lent to the other is no price of the other's.
cross join lateral (
    select case when coalesce((ibkr).underlying_price_source, 'ibkr') = 'ibkr'
        then (ibkr).underlying_price end as underlying
) ibkr_price_of
cross join lateral (
    select case when coalesce((tastytrade).underlying_price_source, 'tastytrade')
        = 'tastytrade' then (tastytrade).underlying_price end as underlying
) tastytrade_price_of;

drop function portfolio_asof_before(timestamptz, double precision);
drop function greeks_asof_before(timestamptz, double precision);
drop function holdings_asof_before(timestamptz, double precision);
drop function positions_asof_before(timestamptz);

comment on table greek_snapshots is
    'Greeks of option positions, one row for each tick; order by event_time, received_at, '
    'id. Only the Greeks and implied_volatility are part of the fingerprint: price, bid, '
    'ask, underlying_price, underlying_price_at and in_rotation are not';
comment on function possible(double precision, double precision, double precision) is
    'The value if it lies within the limits, otherwise null; NaN is null, and a value '
    'below 1e-50 is 0';
comment on function possible(numeric, numeric, numeric) is
    'The value if it lies within the limits, otherwise null; NaN is null';
comment on function possible_greeks(
    double precision, double precision, double precision, double precision,
    double precision, double precision
) is
    'The Greeks and the implied volatility of one tick, each null if it is impossible';
comment on function possible_price(double precision, boolean) is
    'The price of an underlying, null if it is impossible. Only prices of futures may be '
    'zero or negative';
comment on function is_in_dollars(text, text, text) is
    'Whether an instrument is an option that the OCC clears or an American share, by its '
    'kind, contract_key and currency';
comment on function is_same_underlying(
    text, text, text, text, boolean, text, text, text, text, boolean
) is
    'Whether two positions have the same underlying: by the broker''s own id within one '
    'broker, otherwise by key, currency and kind. Null counts as USD';
comment on function positions_asof(timestamptz) is
    'The open positions at the moment, with the columns of positions: the newest row of '
    'each contract by observed_at, unless its quantity is 0 or the contract had expired '
    '(its last day was over everywhere on Earth). A quantity that could not be read (null) '
    'is open. ''infinity'' is the present';
comment on function watched_asof(timestamptz) is
    'Contracts that were perhaps on the watch-list: contracts with a tick for the '
    'watch-list in the month of the moment or, in its first week, in the month before; '
    'used by newest_asof';
comment on function newest_asof(timestamptz) is
    'positions_asof with the newest tick of each option, and watched contracts; impossible '
    'values are null';
comment on function carried_greeks(
    text, text, text, timestamptz, timestamptz, timestamptz, text, double precision,
    double precision, double precision, double precision, double precision,
    double precision
) is
    'The Greeks that are given, and for each that is null the newest one of the contract''s '
    'ticks since the earliest time; received_at of the oldest tick that was used. Used by '
    'holdings_asof for ticks that lack a Greek';
comment on function carried_price(
    text, text, text, timestamptz, timestamptz, timestamptz, text
) is
    'The newest price of the option itself among the contract''s last 20 ticks since the '
    'earliest time, and received_at of its tick. Used by holdings_asof for ticks without a '
    'price';
comment on function prices_asof(timestamptz, double precision) is
    'The newest price of each underlying from the ticks of newest_asof; used by '
    'holdings_asof for ticks that lack it';
comment on function holdings_asof(timestamptz, double precision) is
    'The common part of greeks_asof and portfolio_asof: newest_asof with ages, carried '
    'Greeks and prices from other options; units: quantity x multiplier; money: units x '
    'price_factor; the arguments are those of greeks_asof';
comment on function greeks_asof(timestamptz, double precision) is
    'The columns of latest_greeks at any moment: the open positions at that moment, each '
    'with its newest tick by event_time. Only ticks whose event_time and received_at are '
    'not after the moment count, and ages are relative to the moment. A moment in the '
    'future is the present. stale_after_s: age in seconds from which a tick is stale, and '
    'up to which a Greek is carried';
comment on function portfolio_asof(timestamptz, double precision) is
    'The columns of portfolio_greeks at any moment; the arguments are those of '
    'greeks_asof';
comment on view latest_greeks is
    'Newest tick of each option contract in each account that holds it, by event_time, '
    'received_at, id; nulls before the first tick. A Greek or implied volatility that the '
    'newest tick lacks is the newest one that is at most 300 seconds old, as is price '
    'within the last 20 ticks, and carried_ columns tell so. An impossible value is null. Contracts with a tick for the '
    'watch-list in the last seven days have the account watchlist. Closed positions and '
    'expired contracts are not in it. The same as greeks_asof(''infinity'')';
comment on column latest_greeks.underlying is
    'The contract_key of the underlying, as in greek_snapshots';
comment on column latest_greeks.quantity is
    'Contracts held now, short negative; null for a watched contract or if impossible';
comment on column latest_greeks.multiplier is
    'Units of the underlying per contract; null if unknown, impossible or watched';
comment on column latest_greeks.underlying_price is
    'Price of the underlying with that tick, otherwise the newest price of the same '
    'underlying with another contract''s tick, in the unit of its quotation';
comment on column latest_greeks.stale_reason is
    'no tick; old: received_at or event_time more than 300 seconds ago; otherwise delayed, '
    'frozen or unknown as the broker reports it; null if the row is not stale';
comment on column latest_greeks.kind is
    'option or future_option';
comment on column latest_greeks.instrument_id is
    'The broker''s own id; null for a watched contract';
comment on column latest_greeks.exchange is
    'Where the contract is listed or traded, in the broker''s words; null if not known';
comment on column latest_greeks.price_factor is
    'Currency per quoted unit: 1 for prices in the currency, 0.01 for prices in cents or '
    'pence; 1 for options of the OCC if positions has none; null if not known';
comment on column latest_greeks.price is
    'The option''s theoretical or mark price with that tick, otherwise the newest one of the '
    'last 20 ticks, in the unit of its quotation';
comment on column latest_greeks.bid is
    'Bid for the option with that tick, in the unit of its quotation';
comment on column latest_greeks.ask is
    'Ask for the option with that tick, in the unit of its quotation';
comment on column latest_greeks.position_value is
    'quantity x multiplier x price_factor x price, in the currency; null if one of them is. '
    'An adjusted option counts with positions.premium_multiplier';
comment on column latest_greeks.underlying_price_at is
    'The time of underlying_price by the broker, otherwise when it was read; null if not '
    'known. The price can be stale while the Greeks are not';
comment on column latest_greeks.underlying_price_source is
    'The broker whose tick of another contract gave underlying_price; null if it is from '
    'the contract''s own tick';
comment on column latest_greeks.carried_delta is
    'True if delta is from an older tick than the newest';
comment on column latest_greeks.carried_gamma is
    'True if gamma is from an older tick than the newest';
comment on column latest_greeks.carried_theta is
    'True if theta is from an older tick than the newest';
comment on column latest_greeks.carried_vega is
    'True if vega is from an older tick than the newest';
comment on column latest_greeks.carried_rho is
    'True if rho is from an older tick than the newest';
comment on column latest_greeks.carried_implied_volatility is
    'True if implied_volatility is from an older tick than the newest';
comment on column latest_greeks.carried_price is
    'True if price is from an older tick than the newest';
comment on column latest_greeks.carried_age_s is
    'Seconds since the oldest tick with a carried value was received; null without one';
comment on column latest_greeks.in_rotation is
    'True if the contract shares its market data line with others, so that its ticks come '
    'in turns; null before the first tick';
comment on view portfolio_greeks is
    'Open positions, summed by broker, account, currency, underlying and expiration. Each '
    'sum has the known values only, and a missing_ column counts the positions that it '
    'lacks. A position of an unknown kind counts in every missing_ column. A sum is null if '
    'no value of its kind is known, and 0 if there is no position of its kind. Impossible '
    'values are missing. The same as portfolio_asof(''infinity'')';
comment on column portfolio_greeks.underlying is
    'The contract_key of the underlying; that of the position if the broker names none';
comment on column portfolio_greeks.other_positions is
    'Number of positions of any other kind (bonds, CFDs, crypto), unknown_positions '
    'included. They are in no sum. Their count is in missing_dollar_delta and '
    'missing_value; the other Greeks are those of options';
comment on column portfolio_greeks.theta is
    'Sum of quantity x multiplier x price_factor x theta: currency per calendar day. '
    'Adjusted options count with positions.premium_multiplier here and in vega, rho and '
    'market_value';
comment on column portfolio_greeks.vega is
    'Sum of quantity x multiplier x price_factor x vega: currency per volatility point '
    '(0.01)';
comment on column portfolio_greeks.rho is
    'Sum of quantity x multiplier x price_factor x rho: currency per rate point (0.01)';
comment on column portfolio_greeks.dollar_delta is
    'Sum of quantity x multiplier x price_factor x delta x price of the underlying, with '
    'delta 1 for shares and futures: currency per 100 % move. Options have the price in '
    'latest_greeks. Shares and futures have the newest price that came with an option on '
    'them: first one that is not stale, then one from their own broker';
comment on column portfolio_greeks.dollar_gamma is
    'Sum of quantity x multiplier x price_factor x gamma x price squared / 100: change of '
    'dollar_delta, through delta, per 1 % move, in currency';
comment on column portfolio_greeks.missing_tick is
    'Number of contracts without a tick, and unknown_positions';
comment on column portfolio_greeks.missing_multiplier is
    'Number of contracts and shares_futures without a possible multiplier or quantity, and '
    'unknown_positions; they are in no sum';
comment on column portfolio_greeks.missing_price is
    'Number of contracts and shares_futures without a known price of the underlying, and '
    'unknown_positions';
comment on column portfolio_greeks.missing_delta is
    'Number of contracts and unknown_positions that are not in option_delta, for any reason';
comment on column portfolio_greeks.missing_share_future_delta is
    'Number of shares_futures and unknown_positions that are not in share_future_delta';
comment on column portfolio_greeks.missing_gamma is
    'Number of contracts and unknown_positions that are not in gamma, for any reason';
comment on column portfolio_greeks.missing_theta is
    'Number of contracts and unknown_positions that are not in theta, for any reason';
comment on column portfolio_greeks.missing_vega is
    'Number of contracts and unknown_positions that are not in vega, for any reason';
comment on column portfolio_greeks.missing_rho is
    'Number of contracts and unknown_positions that are not in rho, for any reason';
comment on column portfolio_greeks.missing_dollar_gamma is
    'Number of contracts and unknown_positions that are not in dollar_gamma, for any reason';
comment on column portfolio_greeks.stale is
    'Number of contracts that are stale as in latest_greeks or have a price of the '
    'underlying that is more than 300 seconds old, and of shares_futures with such a price '
    'or none';
comment on column portfolio_greeks.not_realtime is
    'Number of positions with a value or a price from a tick whose availability is not '
    'realtime';
comment on column portfolio_greeks.unknown_positions is
    'Number of positions that could not be identified; positions.problem has the reason';
comment on column portfolio_greeks.market_value is
    'Sum of quantity x multiplier x price_factor x price of options and shares, in the '
    'currency. A future counts with 0, because its gain is paid out each day';
comment on column portfolio_greeks.missing_value is
    'Number of positions, other_positions included, that are not in market_value';
comment on column portfolio_greeks.missing_price_factor is
    'Number of contracts and shares_futures without a known price_factor, and '
    'unknown_positions; they are in no sum in currency. Options of the OCC and American '
    'shares have 1 if positions has none';
comment on column portfolio_greeks.carried_delta is
    'Number of contracts whose delta is from an older tick than the newest';
comment on column portfolio_greeks.carried_gamma is
    'Number of contracts whose gamma is from an older tick than the newest';
comment on column portfolio_greeks.carried_theta is
    'Number of contracts whose theta is from an older tick than the newest';
comment on column portfolio_greeks.carried_vega is
    'Number of contracts whose vega is from an older tick than the newest';
comment on column portfolio_greeks.carried_rho is
    'Number of contracts whose rho is from an older tick than the newest';
comment on column portfolio_greeks.carried_value is
    'Number of contracts in market_value whose price is from an older tick than the newest';
comment on column portfolio_greeks.oldest_carried_age_s is
    'Seconds since the oldest tick with a carried Greek or price was received; null without '
    'one';
comment on column broker_divergence.underlying is
    'The contract_key of the underlying';
comment on column broker_divergence.ibkr_underlying_price is
    'Price of the underlying from ibkr';
comment on column broker_divergence.tastytrade_underlying_price is
    'Price of the underlying from tastytrade';
comment on column broker_divergence.ibkr_price is
    'The option''s own price from ibkr, in the unit of its quotation';
comment on column broker_divergence.tastytrade_price is
    'The option''s own price from tastytrade, in the unit of its quotation';
comment on column broker_divergence.price_difference is
    'The option''s own price, ibkr minus tastytrade, in the unit of its quotation';
comment on view outages is
    'Intervals without data: rows of feed_gaps that overlap or touch, merged within one '
    'broker, account and contract. An interval that lies within intervals of a wider scope, '
    'such as the whole feed, is left out';
comment on column outages.broker is
    'Name of the broker, such as ibkr';
comment on column outages.account_id is
    'Null: all accounts of the broker';
comment on column outages.contract_key is
    'Null: all contracts of the account';
comment on column outages.started_at is
    'The first moment without data';
comment on column outages.ended_at is
    'Null until the outage ends';
comment on column outages.reasons is
    'The reasons of the merged rows, each once, in the order of the alphabet';
