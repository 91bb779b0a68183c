-- The present views take the complete rows of latest_ticks directly.  An option whose newest
-- tick lacks nothing needs no older tick and no other contract; the other rows go the long
-- way as before.

alter table latest_ticks
    add column place bigint not null generated always as identity,
    add column is_complete boolean not null generated always as (
        kind in ('option', 'future_option')
        and account_id <> 'watchlist'
        and num_nulls(
            underlying, event_time, underlying_price, price, delta, gamma, theta, vega,
            implied_volatility, money, premium
        ) = 0
        and (rho is not null or broker = 'ibkr')
    ) stored;

-- The rows that the views look at one by one.
create index latest_ticks_incomplete_idx on latest_ticks (place) where not is_complete;

-- The column that tells most rows apart is first: the others cost a comparison each.
alter table latest_ticks drop constraint latest_ticks_pkey;
alter table latest_ticks
    add constraint latest_ticks_pkey primary key (contract_key, account_id, broker);

-- Its new columns come last, so that the rights on it stay.
create or replace view kept_ticks as
select
    broker, account_id, contract_key, kind, underlying, expiration, strike, option_type,
    quantity, multiplier, currency, instrument_id, exchange, underlying_id, price_factor,
    event_time, received_at, delta, gamma, theta, vega, rho, implied_volatility,
    underlying_price, underlying_price_at, price, bid, ask, in_rotation, availability,
    is_future, units, money, premium, tick_id, tick_received_at, position_underlying,
    position_expiration, position_strike, position_option_type, position_is_future, place,
    is_complete
from latest_ticks;

comment on column latest_ticks.place is
    'The number of the row';
comment on column kept_ticks.place is
    'The number of the row';
comment on column latest_ticks.is_complete is
    'True for an option in an account with everything that the views need: nothing comes '
    'from an older tick or another contract';
comment on column kept_ticks.is_complete is
    'True for an option in an account with everything that the views need: nothing comes '
    'from an older tick or another contract';


-- The rows of newest_by_lookup at the present for these contracts, for all if there are no
-- arrays; its plan is made only when it is called.
create or replace function newest_of(brokers text[], account_ids text[], contract_keys text[])
returns setof kept_ticks
language sql stable parallel restricted rows 10
set jit = off
set enable_seqscan = off
begin atomic
    select
        n.broker, n.account_id, n.contract_key, n.kind, n.underlying, n.expiration,
        n.strike, n.option_type, n.quantity, n.multiplier, n.currency, n.instrument_id,
        n.exchange, n.underlying_id, n.price_factor, n.event_time, n.received_at,
        n.delta, n.gamma, n.theta, n.vega, n.rho, n.implied_volatility,
        n.underlying_price, n.tick_underlying_price_at, n.price, n.bid, n.ask,
        n.in_rotation, n.availability, n.is_future, n.units, n.money, n.premium,
        n.tick_id, n.tick_received_at, n.position_underlying, n.position_expiration,
        n.position_strike, n.position_option_type, n.position_is_future,
        -- latest_ticks has its own.
        null::bigint, null::boolean
    from newest_by_lookup('infinity', brokers, account_ids, contract_keys) n;
end;


-- Whether the complete rows of latest_ticks are in force, but for those with a tick since:
-- no position is new.
create function is_latest_complete()
returns boolean
language sql stable parallel restricted
set jit = off
begin atomic
    select is_latest_kept() and not exists (
        select from positions_since(
            (select s.snapshot_xmax from kept_state s),
            (select s.snapshot_xip from kept_state s)
        )
    );
end;


-- The rows of newest_by_lookup('infinity'), from latest_ticks and the ticks since.  The
-- complete rows of latest_ticks, which are most, can be left out: the present views take
-- these directly, because each layer takes a tenth of a view's time.  place is that of the
-- row in latest_ticks, if there is one.
create function newest_kept(with_complete boolean)
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
    units double precision,
    money double precision,
    premium double precision,
    place bigint
)
language sql stable parallel restricted
begin atomic
    with present as materialized (
        -- Computed once, not for each row.
        select
            statement_timestamp() at time zone 'UTC' - interval '36 hours' as expired_until,
            statement_timestamp() + interval '5 minutes' as known_until
    ),
    since as materialized (
        select t.*
        from ticks_since(
            (select s.snapshot_xmax from kept_state s),
            (select s.snapshot_xip from kept_state s)
        ) t
    ),
    -- Looked up: the positions since, and the contracts that were not watched before.
    -- Without the complete rows no position is new.
    changed as materialized (
        select p.broker, p.account_id, p.contract_key, k.place
        from positions_since(
            (select s.snapshot_xmax from kept_state s),
            (select s.snapshot_xip from kept_state s)
        ) p
        left join lateral (
            select k.place
            from kept_ticks k
            where k.broker = p.broker and k.account_id = p.account_id
              and k.contract_key = p.contract_key
            offset 0
        ) k on true
        where with_complete
        union
        select t.broker, t.account_id, t.contract_key, null
        from since t
        where t.account_id = 'watchlist'
          and not exists (
              select from kept_ticks k
              where k.broker = t.broker and k.account_id = t.account_id
                and k.contract_key = t.contract_key
          )
    ),
    newer as materialized (
        select
            k.broker, k.account_id, k.contract_key, k.kind,
            coalesce(k.position_underlying, t.underlying) as underlying,
            coalesce(k.position_expiration, t.expiration) as expiration,
            coalesce(k.position_strike, t.strike) as strike,
            coalesce(k.position_option_type, t.option_type) as option_type,
            k.quantity, k.multiplier, k.currency, k.instrument_id, k.exchange,
            k.underlying_id, k.price_factor, t.event_time,
            least(t.received_at, t.persisted_at) as received_at,
            g.delta, g.gamma, g.theta, g.vega, g.rho, g.implied_volatility,
            possible_price(
                t.underlying_price, k.kind = 'future_option' or t.underlying like '/%'
            ) as underlying_price,
            t.underlying_price_at,
            possible(t.price, 0, 1e9) as price,
            possible(t.bid, 0, 1e9) as bid,
            possible(t.ask, 1e-9, 1e9) as ask,
            t.in_rotation, t.availability,
            coalesce(k.position_is_future, t.underlying like '/%', false) as is_future,
            k.units, k.money, k.premium, k.position_expiration, k.place
        from since t
        -- One look into the index for each: the planner would read the whole table, which
        -- takes longer than some thousand looks.
        cross join lateral (
            select k.*
            from kept_ticks k
            where k.broker = t.broker and k.account_id = t.account_id
              and k.contract_key = t.contract_key
            offset 0
        ) k
        cross join lateral possible_greeks(
            t.delta, t.gamma, t.theta, t.vega, t.rho, t.implied_volatility
        ) g
        where k.kind in ('option', 'future_option')
          and (
              k.tick_id is null
              or (t.event_time, t.received_at, t.id)
                  > (k.event_time, k.tick_received_at, k.tick_id)
          )
          and k.place not in (select c.place from changed c where c.place is not null)
    ),
    kept as (
        -- One condition for each select, so that the second finds its index.
        select k.* from kept_ticks k where with_complete
        union all
        select k.* from kept_ticks k where not with_complete and not k.is_complete
    ),
    newest as (
        select
            k.broker, k.account_id, k.contract_key, k.kind, k.underlying, k.expiration,
            k.strike, k.option_type, k.quantity, k.multiplier, k.currency,
            k.instrument_id, k.exchange, k.underlying_id, k.price_factor, k.event_time,
            k.received_at, k.delta, k.gamma, k.theta, k.vega, k.rho,
            k.implied_volatility, k.underlying_price, k.underlying_price_at, k.price,
            k.bid, k.ask, k.in_rotation, k.availability, k.is_future,
            k.units, k.money, k.premium, k.position_expiration, k.place
        from kept k
        -- The planner hashes it for any estimate.
        where k.place not in (
            select n.place from newer n
            union all
            select c.place from changed c where c.place is not null
        )
        union all
        select * from newer
        union all
        select
            l.broker, l.account_id, l.contract_key, l.kind, l.underlying, l.expiration,
            l.strike, l.option_type, l.quantity, l.multiplier, l.currency,
            l.instrument_id, l.exchange, l.underlying_id, l.price_factor, l.event_time,
            l.received_at, l.delta, l.gamma, l.theta, l.vega, l.rho,
            l.implied_volatility, l.underlying_price, l.underlying_price_at, l.price,
            l.bid, l.ask, l.in_rotation, l.availability, l.is_future,
            l.units, l.money, l.premium, l.position_expiration, l.place
        from (
            select
                array_agg(c.broker) as brokers,
                array_agg(c.account_id) as account_ids,
                array_agg(c.contract_key) as contract_keys
            from changed c
            having count(*) > 0
        ) c
        cross join lateral newest_of(c.brokers, c.account_ids, c.contract_keys) l
    )
    select
        n.broker, n.account_id, n.contract_key, n.kind, n.underlying, n.expiration,
        n.strike, n.option_type, n.quantity, n.multiplier, n.currency, n.instrument_id,
        n.exchange, n.underlying_id, n.price_factor, n.event_time, n.received_at, n.delta,
        n.gamma, n.theta, n.vega, n.rho, n.implied_volatility, n.underlying_price,
        case
            when n.underlying_price_at <= (select p.known_until from present p)
                and isfinite(n.underlying_price_at)
            then n.underlying_price_at
        end,
        n.price, n.bid, n.ask, n.in_rotation, n.availability, n.is_future,
        n.units, n.money, n.premium, n.place
    from newest n
    where case
        when n.account_id <> 'watchlist'
        then n.position_expiration is null
            or n.position_expiration
                > (select p.expired_until from present p)
        else n.received_at >= statement_timestamp() - interval '7 days'
            and n.event_time >= date_trunc(
                'month', statement_timestamp() - interval '8 days', 'UTC')
            and (
                n.expiration is null
                or n.expiration > (select p.expired_until from present p)
            )
    end;
end;


-- The open positions and the watched contracts at the moment with their newest ticks: kept,
-- where the present is asked for, otherwise looked up.  Without the complete rows it is
-- called only where is_latest_complete() holds.
create function series_asof(moment timestamptz, with_complete boolean default true)
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
    units double precision,
    money double precision,
    premium double precision,
    place bigint
)
language sql stable parallel safe
begin atomic
    select
        n.broker, n.account_id, n.contract_key, n.kind, n.underlying, n.expiration,
        n.strike, n.option_type, n.quantity, n.multiplier, n.currency, n.instrument_id,
        n.exchange, n.underlying_id, n.price_factor, n.event_time, n.received_at, n.delta,
        n.gamma, n.theta, n.vega, n.rho, n.implied_volatility, n.underlying_price,
        n.underlying_price_at, n.price, n.bid, n.ask, n.in_rotation, n.availability,
        n.is_future, n.units, n.money, n.premium, null::bigint
    from newest_by_lookup(moment) n
    where with_complete and (moment < 'infinity' or not is_latest_kept())
    union all
    select
        n.broker, n.account_id, n.contract_key, n.kind, n.underlying, n.expiration,
        n.strike, n.option_type, n.quantity, n.multiplier, n.currency, n.instrument_id,
        n.exchange, n.underlying_id, n.price_factor, n.event_time, n.received_at, n.delta,
        n.gamma, n.theta, n.vega, n.rho, n.implied_volatility, n.underlying_price,
        n.underlying_price_at, n.price, n.bid, n.ask, n.in_rotation, n.availability,
        n.is_future, n.units, n.money, n.premium, n.place
    from newest_kept(with_complete) n
    where moment = 'infinity' and (not with_complete or is_latest_kept());
end;


-- How many contracts the present views would show otherwise if everything was looked up; no
-- row if they look everything up.  Both sides have the same snapshot and clock.
create or replace function compare_latest()
returns table (contracts bigint, differing bigint)
language sql stable parallel restricted rows 1
set jit = off
set work_mem = '64MB'
begin atomic
    with used as materialized (
        select
            n.broker, n.account_id, n.contract_key, n.kind, n.underlying, n.expiration,
            n.strike, n.option_type, n.quantity, n.multiplier, n.currency,
            n.instrument_id, n.exchange, n.underlying_id, n.price_factor, n.event_time,
            n.received_at, n.delta, n.gamma, n.theta, n.vega, n.rho,
            n.implied_volatility, n.underlying_price, n.underlying_price_at, n.price,
            n.bid, n.ask, n.in_rotation, n.availability, n.is_future, n.units, n.money,
            n.premium
        from newest_kept(true) n
    ),
    looked_up as materialized (
        select
            n.broker, n.account_id, n.contract_key, n.kind, n.underlying, n.expiration,
            n.strike, n.option_type, n.quantity, n.multiplier, n.currency,
            n.instrument_id, n.exchange, n.underlying_id, n.price_factor, n.event_time,
            n.received_at, n.delta, n.gamma, n.theta, n.vega, n.rho,
            n.implied_volatility, n.underlying_price, n.underlying_price_at, n.price,
            n.bid, n.ask, n.in_rotation, n.availability, n.is_future, n.units, n.money,
            n.premium
        from newest_by_lookup('infinity') n
    )
    select
        (select count(*) from looked_up),
        greatest(
            (select count(*) from (table used except all table looked_up) only_used),
            (select count(*) from (table looked_up except all table used) only_looked_up)
        )
    from kept_state
    where is_latest_kept();
end;


-- Looks these contracts up for latest_ticks, all if there are no arrays.
create function look_up_latest(
    brokers text[], account_ids text[], contract_keys text[]
)
returns void
language sql
begin atomic
    insert into latest_ticks (
        broker, account_id, contract_key, kind, underlying, expiration, strike,
        option_type, quantity, multiplier, currency, instrument_id, exchange,
        underlying_id, price_factor, event_time, received_at, delta, gamma, theta, vega,
        rho, implied_volatility, underlying_price, underlying_price_at, price, bid, ask,
        in_rotation, availability, is_future, units, money, premium, tick_id,
        tick_received_at, position_underlying, position_expiration, position_strike,
        position_option_type, position_is_future
    )
    select
        broker, account_id, contract_key, kind, underlying, expiration, strike,
        option_type, quantity, multiplier, currency, instrument_id, exchange,
        underlying_id, price_factor, event_time, received_at, delta, gamma, theta, vega,
        rho, implied_volatility, underlying_price, underlying_price_at, price, bid, ask,
        in_rotation, availability, is_future, units, money, premium, tick_id,
        tick_received_at, position_underlying, position_expiration, position_strike,
        position_option_type, position_is_future
    from newest_of(brokers, account_ids, contract_keys);
end;


-- Adds the ticks since the snapshot to latest_ticks; returns whether all of them count now.
-- A row that is ahead of the clock counts later.
create or replace function add_latest(state latest_state, snapshot pg_snapshot)
returns boolean
language plpgsql
set jit = off
set enable_seqscan = off
as $$
declare
    ahead constant timestamptz := clock_timestamp() + interval '4 minutes';
    brokers text[];
    account_ids text[];
    contract_keys text[];
begin
    select array_agg(c.broker), array_agg(c.account_id), array_agg(c.contract_key)
    into brokers, account_ids, contract_keys
    from (
        select p.broker, p.account_id, p.contract_key
        from positions_since(state.snapshot_xmax, state.snapshot_xip) p
        union
        select t.broker, t.account_id, t.contract_key
        from rows_since(state.snapshot_xmax, state.snapshot_xip) t
        where t.account_id = 'watchlist'
          and not exists (
              select from latest_ticks k
              where k.broker = t.broker and k.account_id = t.account_id
                and k.contract_key = t.contract_key
          )
    ) c;
    if brokers is not null then
        delete from latest_ticks k
        using unnest(brokers, account_ids, contract_keys)
            as c (broker, account_id, contract_key)
        where k.broker = c.broker
          and k.account_id = c.account_id
          and k.contract_key = c.contract_key;
        perform look_up_latest(brokers, account_ids, contract_keys);
    end if;
    update latest_ticks k
    set
        underlying = coalesce(k.position_underlying, t.underlying),
        expiration = coalesce(k.position_expiration, t.expiration),
        strike = coalesce(k.position_strike, t.strike),
        option_type = coalesce(k.position_option_type, t.option_type),
        event_time = t.event_time,
        received_at = least(t.received_at, t.persisted_at),
        delta = g.delta,
        gamma = g.gamma,
        theta = g.theta,
        vega = g.vega,
        rho = g.rho,
        implied_volatility = g.implied_volatility,
        underlying_price = possible_price(
            t.underlying_price, k.kind = 'future_option' or t.underlying like '/%'
        ),
        underlying_price_at = t.underlying_price_at,
        price = possible(t.price, 0, 1e9),
        bid = possible(t.bid, 0, 1e9),
        ask = possible(t.ask, 1e-9, 1e9),
        in_rotation = t.in_rotation,
        availability = t.availability,
        is_future = coalesce(k.position_is_future, t.underlying like '/%', false),
        tick_id = t.id,
        tick_received_at = t.received_at
    from ticks_since(state.snapshot_xmax, state.snapshot_xip) t
    cross join lateral possible_greeks(
        t.delta, t.gamma, t.theta, t.vega, t.rho, t.implied_volatility
    ) g
    where k.broker = t.broker
      and k.account_id = t.account_id
      and k.contract_key = t.contract_key
      and k.kind in ('option', 'future_option')
      and (
          k.tick_id is null
          or (t.event_time, t.received_at, t.id)
              > (k.event_time, k.tick_received_at, k.tick_id)
      );
    return not exists (
            select from rows_since(state.snapshot_xmax, state.snapshot_xip) t
            where t.event_time > ahead
               or least(t.received_at, t.persisted_at) > ahead
        )
        and (
            brokers is null
            or is_settled(snapshot, brokers, account_ids, contract_keys)
        );
end
$$;


-- Looks every row of latest_ticks up; returns whether all ticks of them count now.
create or replace function rebuild_latest(snapshot pg_snapshot)
returns boolean
language plpgsql
set jit = off
set enable_seqscan = off
as $$
declare
    ahead constant timestamptz := clock_timestamp() + interval '4 minutes';
begin
    delete from latest_ticks;
    perform look_up_latest(null, null, null);
    return not exists (select from tick_history t where t.event_time > ahead)
        and (
            select is_settled(
                snapshot, array_agg(k.broker), array_agg(k.account_id),
                array_agg(k.contract_key))
            from latest_ticks k
        );
end
$$;


revoke execute on function look_up_latest(text[], text[], text[]) from public;


-- These look for their tables at each call, so they carry the schema.
do $$
declare
    name regprocedure;
begin
    foreach name in array array[
        'add_latest(latest_state, pg_snapshot)', 'rebuild_latest(pg_snapshot)'
    ]::regprocedure[] loop
        execute format(
            'alter function %s set search_path = %I, pg_temp',
            name,
            (select nspname from pg_class join pg_namespace on pg_namespace.oid = relnamespace
             where pg_class.oid = 'greek_snapshots'::regclass)
        );
    end loop;
end
$$;


-- The newest price of each underlying, from the ticks of the options on it: for an option
-- whose own tick has none.  It has a plan of its own, so that it costs nothing where every
-- tick has a price.
create or replace function prices_asof(moment timestamptz, stale_after_s double precision)
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
    from series_asof(moment, true) n
    where n.underlying_price is not null
    order by n.broker, n.underlying_id, n.underlying, n.currency, n.is_future,
        n.price_factor, coalesce(n.underlying_price_at, n.event_time) desc,
        n.received_at desc;
end;


-- The rows of series_asof with their ages.  A Greek that the newest tick lacks comes from an
-- older tick, and the price of the underlying from another option.
create function holdings_asof(
    moment timestamptz, stale_after_s double precision, with_complete boolean
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
    premium double precision,
    place bigint
)
language sql stable parallel safe
begin atomic
    -- Computed once, not for each row.
    with present as materialized (
        select
            least(moment, statement_timestamp()) as at,
            least(moment, statement_timestamp()) - stale_after_s * interval '1 second'
                as fresh_from
    )
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
        coalesce(n.delta, added.delta),
        coalesce(n.gamma, added.gamma),
        coalesce(n.theta, added.theta),
        coalesce(n.vega, added.vega),
        coalesce(n.rho, added.rho),
        coalesce(n.implied_volatility, added.implied_volatility),
        coalesce(n.underlying_price, added.underlying_price),
        case when n.underlying_price is null then added.price_at
            else n.underlying_price_at end,
        added.broker,
        case when n.underlying_price is null then added.availability
            else n.availability end,
        case when n.underlying_price is null then added.is_stale
            else n.availability <> 'realtime'
                or least(n.underlying_price_at, n.event_time, n.received_at)
                    < (select p.fresh_from from present p)
        end,
        coalesce(n.price, added.price),
        n.bid,
        n.ask,
        n.units,
        n.money,
        n.in_rotation,
        n.availability,
        -- Not negative for a tick that arrived while this statement began.
        case when n.received_at is not null then greatest(0, date_part(
            'epoch', (select p.at from present p) - n.received_at
        )) end,
        case
            when n.event_time is null then 'no tick'
            when least(n.received_at, n.event_time) < (select p.fresh_from from present p)
                then 'old'
            when n.availability <> 'realtime' then n.availability
        end,
        n.delta is null and added.delta is not null,
        n.gamma is null and added.gamma is not null,
        n.theta is null and added.theta is not null,
        n.vega is null and added.vega is not null,
        n.rho is null and added.rho is not null,
        n.implied_volatility is null and added.implied_volatility is not null,
        n.price is null and added.price is not null,
        case when added.carried_received_at is not null
            then greatest(0, date_part(
                'epoch',
                (select p.at from present p) - added.carried_received_at
            ))
        end,
        n.is_future,
        n.premium,
        n.place
    from series_asof(moment, with_complete) n
    -- All of them behind one condition, because most rows lack nothing.
    left join lateral (
        select
            carried.delta, carried.gamma, carried.theta, carried.vega, carried.rho,
            carried.implied_volatility,
            least(carried.received_at, earlier.received_at) as carried_received_at,
            earlier.price,
            lent.broker, lent.price as underlying_price, lent.price_at,
            lent.availability, lent.is_stale
        from (
            select
            where n.event_time is not null
              and (
                  n.underlying_price is null
                  or n.price is null
                  or num_nulls(n.delta, n.gamma, n.theta, n.vega, n.implied_volatility) > 0
                  or (n.rho is null and n.broker <> 'ibkr')
              )
        ) incomplete
        left join lateral (
            select c.*
            from carried_greeks(
                n.broker, n.account_id, n.contract_key,
                (select p.fresh_from from present p),
                n.event_time,
                least(moment, statement_timestamp() + interval '5 minutes'),
                n.availability,
                n.delta, n.gamma, n.theta, n.vega, n.rho, n.implied_volatility
            ) c
            where (
                  num_nulls(n.delta, n.gamma, n.theta, n.vega, n.implied_volatility) > 0
                  or (n.rho is null and n.broker <> 'ibkr')
              )
              and n.event_time >= (select p.fresh_from from present p)
            -- Keeps the conditions before the call.
            offset 0
        ) carried on true
        left join lateral (
            select c.*
            from carried_price(
                n.broker, n.account_id, n.contract_key,
                (select p.fresh_from from present p),
                n.event_time,
                least(moment, statement_timestamp() + interval '5 minutes'),
                n.availability
            ) c
            where n.price is null
              and n.event_time >= (select p.fresh_from from present p)
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
        ) lent on true
        offset 0
    ) added on true;
end;


create or replace function greeks_asof(
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
    from holdings_asof(moment, stale_after_s, true) h
    where h.kind in ('option', 'future_option');
end;


-- The rows of greeks_asof at the present without the complete rows of latest_ticks; with
-- them unless is_latest_complete().  The session keeps the plan: planning takes longer than
-- the rows of a few contracts.
create function greeks_beside(with_complete boolean, stale_after_s double precision)
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
    carried_price boolean,
    place bigint
)
language sql stable parallel restricted rows 200
set jit = off
set work_mem = '64MB'
set plan_cache_mode = force_generic_plan
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
        h.in_rotation, h.carried_price, h.place
    from holdings_asof('infinity', stale_after_s, with_complete) h
    where h.kind in ('option', 'future_option');
end;


-- The rows of greeks_asof('infinity').  The complete rows of latest_ticks come directly from
-- there, with the expressions of holdings_asof for a tick that lacks nothing.  not in: the
-- planner hashes it for any estimate.
create function greeks_now(stale_after_s double precision default 300)
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
language sql stable parallel restricted
begin atomic
    with present as materialized (
        select
            statement_timestamp() as at,
            statement_timestamp() - stale_after_s * interval '1 second' as fresh_from,
            statement_timestamp() at time zone 'UTC' - interval '36 hours' as expired_until,
            statement_timestamp() + interval '5 minutes' as known_until,
            is_latest_complete() as is_complete
    ),
    beside as materialized (
        select b.*
        from greeks_beside(
            (select not p.is_complete from present p), stale_after_s
        ) b
    )
    select
        k.broker, k.account_id, k.contract_key, k.underlying, k.expiration, k.strike,
        k.option_type, k.quantity, k.multiplier, k.currency, k.event_time, k.received_at,
        k.delta, k.gamma, k.theta, k.vega, k.rho, k.implied_volatility,
        k.underlying_price, k.availability,
        greatest(0, date_part('epoch', (select p.at from present p) - k.received_at)),
        k.availability <> 'realtime' or least(k.received_at, k.event_time)
            < (select p.fresh_from from present p),
        case
            when least(k.received_at, k.event_time)
                < (select p.fresh_from from present p) then 'old'
            when k.availability <> 'realtime' then k.availability
        end,
        k.kind, k.instrument_id, k.exchange, k.price_factor, k.price, k.bid, k.ask,
        k.premium * k.price,
        case
            when k.underlying_price_at <= (select p.known_until from present p)
                and isfinite(k.underlying_price_at)
            then k.underlying_price_at
        end,
        null, false, false, false, false, false, false, null, k.in_rotation, false
    from kept_ticks k
    where (select p.is_complete from present p)
      and k.is_complete
      and (
          k.position_expiration is null
          or k.position_expiration > (select p.expired_until from present p)
      )
      and k.place not in (select b.place from beside b where b.place is not null)
    union all
    select
        b.broker, b.account_id, b.contract_key, b.underlying, b.expiration, b.strike,
        b.option_type, b.quantity, b.multiplier, b.currency, b.event_time, b.received_at,
        b.delta, b.gamma, b.theta, b.vega, b.rho, b.implied_volatility, b.underlying_price,
        b.availability, b.age_s, b.is_stale, b.stale_reason, b.kind, b.instrument_id,
        b.exchange, b.price_factor, b.price, b.bid, b.ask, b.position_value,
        b.underlying_price_at, b.underlying_price_source, b.carried_delta, b.carried_gamma,
        b.carried_theta, b.carried_vega, b.carried_rho, b.carried_implied_volatility,
        b.carried_age_s, b.in_rotation, b.carried_price
    from beside b;
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
from greeks_now(300);


-- The rows of portfolio_asof.  With is_complete the complete rows of latest_ticks come
-- directly from there, with the expressions of holdings_asof for a tick that lacks nothing.
create function portfolio_sums(
    moment timestamptz, stale_after_s double precision, is_complete boolean
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
            statement_timestamp() at time zone 'UTC' - interval '36 hours' as expired_until,
            statement_timestamp() + interval '5 minutes' as known_until
    ),
    held as materialized (
        -- The columns that are needed, because each is copied; those of the prices first.
        select
            h.account_id, h.kind,
            h.underlying_price is not null and h.underlying_price_source is null
                as has_own_price,
            h.broker, h.underlying, h.underlying_id, h.currency, h.is_future,
            h.price_factor, coalesce(h.underlying_price_at, h.event_time) as price_at,
            h.received_at, h.underlying_price, h.age_s, h.underlying_price_availability,
            h.is_underlying_price_stale,
            coalesce(h.underlying, h.contract_key) as group_underlying, h.expiration,
            h.delta, h.gamma, h.theta, h.vega, h.rho, h.price, h.units, h.money,
            h.premium, h.availability, h.stale_reason, h.carried_delta, h.carried_gamma,
            h.carried_theta, h.carried_vega, h.carried_rho, h.carried_price,
            h.carried_age_s, h.place
        from holdings_asof(moment, stale_after_s, not is_complete) h
    ),
    -- In one pass for the sums and the prices.
    complete as materialized (
        select
            k.broker, k.account_id, k.currency, k.underlying, k.expiration,
            k.underlying_id, k.is_future, k.price_factor,
            count(*)::integer as rows,
            sum(k.units * k.delta) as option_delta,
            sum(k.units * k.gamma) as gamma,
            sum(k.premium * k.theta) as theta,
            sum(k.premium * k.vega) as vega,
            sum(k.premium * k.rho) as rho,
            count(k.rho)::integer as with_rho,
            sum(k.money * k.delta * k.underlying_price) as dollar_delta,
            sum(k.money * k.gamma * k.underlying_price ^ 2 / 100) as dollar_gamma,
            sum(k.premium * k.price) as value,
            min(k.received_at) as received_at,
            (count(*) filter (where k.is_stale))::integer as stale,
            (count(*) filter (where k.is_not_realtime))::integer as not_realtime,
            max(array[
                date_part('epoch', k.price_at), date_part('epoch', k.received_at),
                k.underlying_price, k.is_not_realtime::integer, k.is_stale::integer
            ]) as newest
        from (
            select
                priced.*,
                coalesce(priced.underlying_price_at, priced.event_time) as price_at,
                priced.availability <> 'realtime' as is_not_realtime,
                priced.availability <> 'realtime' or least(
                    priced.underlying_price_at, priced.event_time, priced.received_at
                ) < (select p.fresh_from from present p) as is_stale
            from (
                select
                    t.broker, t.account_id, t.currency, t.underlying, t.expiration,
                    t.underlying_id, t.is_future, t.price_factor, t.units, t.money,
                    t.premium, t.delta, t.gamma, t.theta, t.vega, t.rho, t.price,
                    t.underlying_price, t.event_time, t.received_at, t.availability,
                    case
                        when t.underlying_price_at
                                <= (select p.known_until from present p)
                            and isfinite(t.underlying_price_at)
                        then t.underlying_price_at
                    end as underlying_price_at
                from kept_ticks t
                where portfolio_sums.is_complete
                  and t.is_complete
                  and (
                      t.position_expiration is null
                      or t.position_expiration > (select p.expired_until from present p)
                  )
                  and t.place not in (
                      select h.place from held h where h.place is not null
                  )
            ) priced
        ) k
        group by k.broker, k.account_id, k.currency, k.underlying, k.expiration,
            k.underlying_id, k.is_future, k.price_factor
    ),
    -- The newest price of each underlying: the greatest array.  That takes one pass, where
    -- a sort takes several times as long.
    prices as materialized (
        select
            own.underlying, own.broker, own.underlying_id, own.currency, own.is_future,
            own.price_factor, max(own.newest) as newest
        from (
            select
                h.underlying, h.broker, h.underlying_id, h.currency, h.is_future,
                h.price_factor,
                array[
                    date_part('epoch', h.price_at), date_part('epoch', h.received_at),
                    h.underlying_price,
                    (h.underlying_price_availability <> 'realtime')::integer,
                    h.is_underlying_price_stale::integer
                ] as newest
            from held h
            where h.has_own_price
            union all
            select
                c.underlying, c.broker, c.underlying_id, c.currency, c.is_future,
                c.price_factor, c.newest
            from complete c
        ) own
        group by own.underlying, own.broker, own.underlying_id, own.currency,
            own.is_future, own.price_factor
    ),
    others as materialized (
        select
            row_number() over () as number, o.*,
            o.kind in ('equity', 'future') as is_share_future,
            case when o.kind in ('equity', 'future') then 1 else o.delta end as unit_delta,
            case when o.kind in ('equity', 'future') then o.group_underlying end
                as price_underlying,
            case when o.kind in ('equity', 'future') then o.underlying_id end
                as price_underlying_id
        from held o
        where o.account_id <> 'watchlist' and o.kind not in ('option', 'future_option')
    ),
    -- Full joins are made by hashing.  The planner takes few rows, and for another join it
    -- would compare each with each.
    lent as materialized (
        select distinct on (same.number)
            same.number, same.newest[3] as underlying_price, greatest(0, date_part(
                'epoch', (select p.at from present p) - to_timestamp(same.newest[2])
            )) as age_s,
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
    -- Each value is computed once.  Positions of an unknown kind have no values; those of
    -- other kinds are in no sum.
    valued as (
        select
            h.broker, h.account_id, h.currency, h.group_underlying as underlying,
            h.expiration, 1 as rows,
            true as is_option, false as is_share_future, false as is_unknown,
            h.units, h.price_factor, h.underlying_price,
            h.units * h.delta as option_delta,
            h.units * h.gamma as gamma,
            h.premium * h.theta as theta,
            h.premium * h.vega as vega,
            h.premium * h.rho as rho,
            (h.premium * h.rho is not null)::integer as with_rho,
            h.money * h.delta * h.underlying_price as dollar_delta,
            h.money * h.gamma * h.underlying_price ^ 2 / 100 as dollar_gamma,
            h.premium * h.price as value,
            h.age_s,
            (h.stale_reason is not null or h.is_underlying_price_stale is true)::integer
                as stale,
            (h.availability <> 'realtime'
                or h.underlying_price_availability <> 'realtime')::integer
                as not_realtime,
            h.carried_delta, h.carried_gamma, h.carried_theta, h.carried_vega,
            h.carried_rho, h.carried_price,
            case when h.carried_age_s is not null and (
                h.carried_delta or h.carried_gamma or h.carried_theta
                or h.carried_vega or h.carried_rho or h.carried_price
            ) then h.carried_age_s end as carried_age_s
        from held h
        where h.account_id <> 'watchlist' and h.kind in ('option', 'future_option')
        union all
        select
            h.broker, h.account_id, h.currency, h.group_underlying, h.expiration, 1,
            false, h.is_share_future, h.kind = 'unknown',
            h.units,
            case when h.is_share_future then h.price_factor end,
            lent.underlying_price,
            null,
            h.units * h.gamma,
            h.premium * h.theta,
            h.premium * h.vega,
            h.premium * h.rho,
            (h.premium * h.rho is not null)::integer,
            h.money * h.unit_delta * lent.underlying_price,
            h.money * h.gamma * lent.underlying_price ^ 2 / 100,
            h.premium * case h.kind
                when 'equity' then lent.underlying_price
                when 'future' then 0
                else h.price
            end,
            lent.age_s,
            (lent.is_stale is not false)::integer,
            lent.is_not_realtime::integer,
            h.carried_delta, h.carried_gamma, h.carried_theta, h.carried_vega,
            h.carried_rho, h.carried_price,
            case when h.carried_delta or h.carried_gamma or h.carried_theta
                or h.carried_vega or h.carried_rho or h.carried_price
                then h.carried_age_s
            end
        from others h
        full join lent on lent.number = h.number
        union all
        -- Of the units it counts only whether they are known.
        select
            c.broker, c.account_id, c.currency, c.underlying, c.expiration, c.rows,
            true, false, false,
            0, c.price_factor, c.newest[3],
            c.option_delta, c.gamma, c.theta, c.vega, c.rho, c.with_rho,
            c.dollar_delta, c.dollar_gamma, c.value,
            greatest(0, date_part('epoch', (select p.at from present p) - c.received_at)),
            c.stale, c.not_realtime,
            false, false, false, false, false, false, null
        from complete c
        offset 0
    ),
    summed as (
        select
            h.broker, h.account_id, h.currency, h.underlying, h.expiration,
            coalesce(sum(h.rows) filter (where h.is_option), 0) as contracts,
            coalesce(sum(h.rows) filter (where h.is_share_future), 0) as shares_futures,
            coalesce(sum(h.rows) filter (where h.is_unknown), 0) as unknowns,
            sum(h.rows) as positions,
            sum(h.option_delta) as option_delta,
            sum(h.units) filter (where h.is_share_future) as share_future_delta,
            sum(h.gamma) as gamma,
            sum(h.theta) as theta,
            sum(h.vega) as vega,
            sum(h.rho) as rho,
            sum(h.dollar_delta) as dollar_delta,
            sum(h.dollar_gamma) as dollar_gamma,
            sum(h.value) as market_value,
            coalesce(sum(h.rows) filter (where h.is_option and h.age_s is not null), 0)
                as with_tick,
            coalesce(sum(h.rows) filter (
                where h.units is null
                  and (h.is_option or h.is_share_future or h.is_unknown)
            ), 0) as missing_multiplier,
            coalesce(sum(h.rows) filter (
                where h.underlying_price is null
                  and (h.is_option or h.is_share_future or h.is_unknown)
            ), 0) as missing_price,
            coalesce(sum(h.rows) filter (
                where h.price_factor is null
                  and (h.is_option or h.is_share_future or h.is_unknown)
            ), 0) as missing_price_factor,
            coalesce(sum(h.rows) filter (where h.option_delta is not null), 0)
                as with_delta,
            coalesce(sum(h.rows) filter (
                where h.is_share_future and h.units is not null
            ), 0) as with_units,
            coalesce(sum(h.rows) filter (where h.gamma is not null), 0)
                as with_gamma,
            coalesce(sum(h.rows) filter (where h.theta is not null), 0)
                as with_theta,
            coalesce(sum(h.rows) filter (where h.vega is not null), 0)
                as with_vega,
            sum(h.with_rho) as with_rho,
            coalesce(sum(h.rows) filter (where h.dollar_delta is not null), 0)
                as with_dollar_delta,
            coalesce(sum(h.rows) filter (where h.dollar_gamma is not null), 0)
                as with_dollar_gamma,
            coalesce(sum(h.rows) filter (where h.value is not null), 0)
                as with_value,
            coalesce(
                sum(h.stale) filter (where h.is_option or h.is_share_future), 0
            ) as stale,
            coalesce(sum(h.not_realtime), 0) as not_realtime,
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


-- The open positions, summed by account, currency, underlying and expiration.
create or replace function portfolio_asof(
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
language sql stable parallel restricted
begin atomic
    select s.*
    from portfolio_sums(
        moment, stale_after_s, moment = 'infinity' and is_latest_complete()
    ) s;
end;


drop function greeks_now();
drop function holdings_asof(timestamptz, double precision);
drop function series_asof(timestamptz);
drop function newest_kept();


comment on function newest_kept(boolean) is
    'The rows of series_asof at the present, from latest_ticks and the ticks since; with or '
    'without its complete rows';
comment on function series_asof(timestamptz, boolean) is
    'positions_asof with the newest tick of each option, and watched contracts; impossible '
    'values are null. For the present, from latest_ticks if it can be used. The second '
    'argument is for the present views';
comment on function is_latest_complete() is
    'Whether the complete rows of latest_ticks are in force, but for those with a newer tick: '
    'is_latest_kept, and no position is new';
comment on function look_up_latest(text[], text[], text[]) is
    'Looks these contracts up for latest_ticks, all if there are no arrays; used by '
    'refresh_latest';
comment on function holdings_asof(timestamptz, double precision, boolean) is
    'The common part of greeks_asof and portfolio_asof: series_asof with ages, carried '
    'Greeks and prices from other options; units: quantity x multiplier; money: units x '
    'price_factor; the first two arguments are those of greeks_asof, the third is that of '
    'newest_kept';
comment on function greeks_beside(boolean, double precision) is
    'The rows of greeks_now that are not complete rows of latest_ticks, or all';
comment on function greeks_now(double precision) is
    'The rows of greeks_asof(''infinity''); the argument is the second one of greeks_asof';
comment on function portfolio_sums(timestamptz, double precision, boolean) is
    'The rows of portfolio_asof';
