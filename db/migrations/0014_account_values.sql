-- The values of the accounts: net liquidation, cash, buying power, margin.

-- The schema that has the tables; the role's search_path may have another one before it.
do $$
begin
    perform set_config('search_path', quote_ident(nspname) || ', pg_temp', true)
    from pg_class join pg_namespace on pg_namespace.oid = relnamespace
    where pg_class.oid = 'greek_snapshots'::regclass;
end
$$;


create table account_values (
    broker text not null,
    account_id text not null,
    observed_at timestamptz not null,
    event_time timestamptz,
    currency text,
    net_liquidation numeric,
    cash numeric,
    buying_power numeric,
    derivative_buying_power numeric,
    initial_margin numeric,
    maintenance_margin numeric,
    excess_liquidity numeric,
    problem text,
    recorded_at timestamptz default clock_timestamp(),
    constraint account_values_pkey primary key (broker, account_id, observed_at),
    constraint account_values_broker_check
        check (broker ~ '^[a-z][a-z0-9_]*$'),
    constraint account_values_key_check
        check (account_id <> '')
);

-- Finds the newest row of an account.  A row from the future counts from the moment when the
-- database took it, as in positions.
create index account_values_known_idx
    on account_values (
        broker, account_id, least(observed_at, recorded_at), observed_at
    );
-- For lists by time, one page at a time.
create index account_values_observed_at_idx
    on account_values (observed_at, broker, account_id);

comment on table account_values is
    'History of the account values: one row for each reading. A value that the broker does '
    'not send is null';
comment on column account_values.broker is
    'Name of the broker, such as ibkr';
comment on column account_values.account_id is
    'The broker''s own id of the account';
comment on column account_values.observed_at is
    'Our clock when the broker reported it. If it is later than recorded_at, our clock was '
    'ahead, and recorded_at counts';
comment on column account_values.event_time is
    'The broker''s own time of the values, of the oldest one. ibkr: timestamp; tastytrade: '
    'updated-at; null if it sends none';
comment on column account_values.currency is
    'The currency of all amounts of the row. ibkr: the base currency of the account';
comment on column account_values.net_liquidation is
    'The value of the account if all were sold. ibkr: netliquidation; tastytrade: '
    'net-liquidating-value';
comment on column account_values.cash is
    'Negative for a debt. ibkr: totalcashvalue; tastytrade: cash-balance';
comment on column account_values.buying_power is
    'The value of the shares that the account may buy. ibkr: buyingpower; tastytrade: '
    'equity-buying-power';
comment on column account_values.derivative_buying_power is
    'The money for options and other derivatives. tastytrade: derivative-buying-power; null '
    'for ibkr';
comment on column account_values.initial_margin is
    'The money that opening the positions needs. ibkr: initmarginreq; null for tastytrade';
comment on column account_values.maintenance_margin is
    'The money that holding the positions needs. ibkr: maintmarginreq; tastytrade: '
    'maintenance-requirement';
comment on column account_values.excess_liquidity is
    'The money above the maintenance margin; negative in a margin call. ibkr: '
    'excessliquidity; tastytrade: maintenance-excess';
comment on column account_values.problem is
    'The amounts that the broker sent and that could not be read, with the reasons. They '
    'are null';
comment on column account_values.recorded_at is
    'The database''s clock at the insert';

create view account_value_history as
select
    broker, account_id, observed_at, event_time, currency, net_liquidation, cash,
    buying_power, derivative_buying_power, initial_margin, maintenance_margin,
    excess_liquidity, problem, recorded_at
from account_values;

comment on view account_value_history is
    'The rows of account_values';


-- The newest values of each account.  The recursive part goes from one account to the next
-- through the index.  An impossible amount counts as missing, as in the other functions.
create function account_values_asof(
    moment timestamptz, stale_after_s double precision default 300
)
returns table (
    broker text,
    account_id text,
    observed_at timestamptz,
    event_time timestamptz,
    currency text,
    net_liquidation numeric,
    cash numeric,
    buying_power numeric,
    derivative_buying_power numeric,
    initial_margin numeric,
    maintenance_margin numeric,
    excess_liquidity numeric,
    margin_use double precision,
    margin_use_missing text,
    age_s double precision,
    is_stale boolean,
    problem text
)
language sql stable parallel safe rows 20
begin atomic
    with recursive accounts (broker, account_id) as (
        (
            select v.broker, v.account_id
            from account_value_history v
            order by 1, 2
            limit 1
        )
        union all
        select next.*
        from accounts
        cross join lateral (
            select v.broker, v.account_id
            from account_value_history v
            where (v.broker, v.account_id) > (accounts.broker, accounts.account_id)
            order by 1, 2
            limit 1
        ) next
    ),
    now (moment) as (
        select least(moment, statement_timestamp())
    ),
    newest as (
        select
            found.broker, found.account_id, found.observed_at, found.event_time,
            found.currency, found.problem,
            possible(found.net_liquidation, -1e15, 1e15) as net_liquidation,
            possible(found.cash, -1e15, 1e15) as cash,
            possible(found.buying_power, -1e15, 1e15) as buying_power,
            possible(found.derivative_buying_power, -1e15, 1e15)
                as derivative_buying_power,
            possible(found.initial_margin, -1e15, 1e15) as initial_margin,
            possible(found.maintenance_margin, -1e15, 1e15) as maintenance_margin,
            possible(found.excess_liquidity, -1e15, 1e15) as excess_liquidity,
            greatest(0, extract(epoch from
                now.moment - least(found.observed_at, found.recorded_at)
            ))::double precision as age_s
        from accounts
        cross join now
        cross join lateral (
            select v.*
            from account_value_history v
            where v.broker = accounts.broker
              and v.account_id = accounts.account_id
              and least(v.observed_at, v.recorded_at) <= account_values_asof.moment
              and least(v.observed_at, v.recorded_at) > now.moment - interval '7 days'
            order by least(v.observed_at, v.recorded_at) desc, v.observed_at desc
            limit 1
        ) found
    )
    select
        n.broker, n.account_id, n.observed_at, n.event_time, n.currency,
        n.net_liquidation, n.cash, n.buying_power, n.derivative_buying_power,
        n.initial_margin, n.maintenance_margin, n.excess_liquidity,
        case when n.net_liquidation > 0
            then n.maintenance_margin / n.net_liquidation end::double precision,
        case
            when n.net_liquidation is null then 'no net liquidation'
            when n.maintenance_margin is null then 'no maintenance margin'
            when n.net_liquidation <= 0 then 'net liquidation not positive'
        end,
        n.age_s, n.age_s > stale_after_s, n.problem
    from newest n;
end;


create view latest_account_values as
select
    broker, account_id, observed_at, event_time, currency, net_liquidation, cash,
    buying_power, derivative_buying_power, initial_margin, maintenance_margin,
    excess_liquidity, margin_use, margin_use_missing, age_s, is_stale, problem
from account_values_asof('infinity');


comment on function account_values_asof(timestamptz, double precision) is
    'The newest values of each account that were known at a moment. An account without '
    'values for seven days is not among them. infinity: all that is known now';

comment on view latest_account_values is
    'The newest values of each account';
comment on column latest_account_values.margin_use is
    'maintenance_margin / net_liquidation, a fraction; null if margin_use_missing has a '
    'reason';
comment on column latest_account_values.margin_use_missing is
    'no net liquidation, no maintenance margin, or net liquidation not positive; null if '
    'margin_use is known';
comment on column latest_account_values.age_s is
    'Seconds since observed_at';
comment on column latest_account_values.is_stale is
    'age_s is more than 300';

do $$
declare
    copied record;
begin
    for copied in
        select v.attrelid::regclass as view, v.attname,
            col_description(t.attrelid, t.attnum) as said
        from pg_attribute v
        join pg_attribute t
            on t.attrelid = 'account_values'::regclass and t.attname = v.attname
        where v.attrelid in ('account_value_history'::regclass, 'latest_account_values'::regclass) and v.attnum > 0
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
            values ('position_history', 'account_value_history', 'SELECT'),
                ('position_history', 'latest_account_values', 'SELECT'),
                ('positions', 'account_values', 'SELECT'),
                ('positions', 'account_values', 'INSERT')
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
