-- A broker is any lower-case word.  The program knows which brokers there are.
--
-- The new checks are added as NOT VALID, which needs an exclusive lock for a moment only.
-- Every row that exists has passed the stricter check that it replaces, so it passes this
-- one too.  Small tables are validated at once.  Large ones stay NOT VALID, because to
-- read them all would take long; the check applies to every new row in either case.
alter table positions
    drop constraint positions_broker_check,
    add constraint positions_broker_check
        check (broker ~ '^[a-z][a-z0-9_]*$') not valid;
alter table feed_gaps
    drop constraint feed_gaps_broker_check,
    add constraint feed_gaps_broker_check
        check (broker ~ '^[a-z][a-z0-9_]*$') not valid;
-- This changes the attached partitions too.
alter table greek_snapshots
    drop constraint greek_snapshots_broker_check,
    add constraint greek_snapshots_broker_check
        check (broker ~ '^[a-z][a-z0-9_]*$') not valid;

do $$
declare
    small_bytes constant bigint := 64 * 1024 * 1024;
    month regclass;
    -- Months that are detached.  They get the new check, or they could not be attached
    -- again.
    detached constant regclass[] := array(
        select c.oid::regclass
        from pg_class c
        join pg_constraint k
            on k.conrelid = c.oid and k.conname = 'greek_snapshots_broker_check'
        where c.relname ~ '^greek_snapshots_[0-9]{4}_[0-9]{2}$'
          and c.relkind = 'r'
          and not c.relispartition
          and pg_table_is_visible(c.oid)
    );
    snapshots_bytes constant bigint := (
        select coalesce(sum(pg_relation_size(relid)), 0)
        from (
            select relid from pg_partition_tree('greek_snapshots')
            union all
            select unnest(detached)
        ) months
    );
begin
    foreach month in array detached loop
        execute format(
            'alter table %s drop constraint greek_snapshots_broker_check,'
            ' add constraint greek_snapshots_broker_check'
            ' check (broker ~ ''^[a-z][a-z0-9_]*$'') not valid',
            month
        );
    end loop;
    -- All or none: a month that is NOT VALID cannot be attached to a table that is valid.
    if snapshots_bytes < small_bytes then
        alter table greek_snapshots validate constraint greek_snapshots_broker_check;
        foreach month in array detached loop
            execute format(
                'alter table %s validate constraint greek_snapshots_broker_check', month
            );
        end loop;
    end if;
    if pg_relation_size('positions') < small_bytes then
        alter table positions validate constraint positions_broker_check;
    end if;
    if pg_relation_size('feed_gaps') < small_bytes then
        alter table feed_gaps validate constraint feed_gaps_broker_check;
    end if;
end
$$;


-- Goes from one broker to the next in the same way as from one contract to the next.
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


-- A third broker does not hide a contract that ibkr and tastytrade both show.
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


comment on column latest_greeks.broker is
    'Name of the broker, such as ibkr';
comment on column portfolio_greeks.broker is
    'Name of the broker, such as ibkr';


-- One style for the reasons of gaps: lower-case words.
update feed_gaps
set reason = case reason
    when 'ticks-lost' then 'ticks lost'
    when 'no Greeks' then 'no greeks'
    when 'no market-data line' then 'no market data line'
end
where reason in ('ticks-lost', 'no Greeks', 'no market-data line');
