-- Everything that the first version needs.
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
        check (broker in ('ibkr', 'tastytrade')),
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
        check (broker in ('ibkr', 'tastytrade')),
    constraint positions_kind_check
        check (kind in ('option', 'future_option', 'equity', 'future', 'other')),
    constraint positions_option_type_check
        check (option_type in ('call', 'put')),
    constraint positions_key_check
        check (account_id <> '' and contract_key <> '')
);

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
        check (broker in ('ibkr', 'tastytrade'))
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

comment on table trades is
    'Trades as they were recorded through the HTTP interface or by SQL';
comment on column trades.symbol is
    'The symbol as the broker spells it';
comment on column trades.contract_key is
    'As in greek_snapshots; null when the trade is not of an option';
comment on column trades.price is
    'Per unit of the underlying, in the contract''s currency';
