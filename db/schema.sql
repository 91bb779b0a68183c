-- The whole present schema, from top to bottom.
--
-- migrations/ leads to the same schema, with one file for each change; a test compares the
-- two.  PostgreSQL 15 or later is needed.
--
-- Citus can distribute a schema with these tables, one schema for each login; it keeps all
-- tables of a schema on one node.  For this reason there are no row triggers, no rules, no
-- foreign keys to other schemas, and no partitions of partitions.  The unit is the login,
-- because each batch of ticks then commits on one node: with contract_key as the key of
-- shards, each batch would touch every shard.  The functions get another form there, see
-- greeks_trio/postgres/schema/citus_form.py.

create table schema_migrations (
    name text primary key,
    sha256 text not null,
    applied_at timestamptz not null default clock_timestamp()
);

comment on table schema_migrations is
    'The migrations that were applied to this database';
comment on column schema_migrations.name is
    'Name of the file in migrations/, without its ending';
comment on column schema_migrations.sha256 is
    'Checksum of the applied file, hexadecimal';


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
    underlying_price_at timestamptz,
    price double precision,
    bid double precision,
    ask double precision,
    in_rotation boolean not null default false,
    transaction_id xid8 default pg_current_xact_id(),
    -- One index with two purposes: it keeps each event once, and finds the timeline of a
    -- contract.
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
    -- A row with nothing but implied volatility is not a tick.
    constraint greek_snapshots_greeks_check
        check (num_nonnulls(delta, gamma, theta, vega, rho) > 0)
) partition by range (event_time);

-- For the newest ticks of all contracts.
create index greek_snapshots_event_time_idx on greek_snapshots (event_time desc);
-- For the ticks that latest_ticks does not have yet.  Rows of one batch share an entry.
create index greek_snapshots_transaction_id_idx on greek_snapshots (transaction_id)
    where transaction_id is not null;

comment on table greek_snapshots is
    'Greeks of option positions, one row for each tick; order by event_time, received_at, '
    'id. Only the Greeks and implied_volatility are part of the fingerprint: price, bid, '
    'ask, underlying_price, underlying_price_at and in_rotation are not';
comment on column greek_snapshots.id is
    'Order of insertion; unique only together with the primary key';
comment on column greek_snapshots.event_time is
    'The broker''s time of the event; received_at if the broker''s time is absent or '
    'impossible';
comment on column greek_snapshots.received_at is
    'Our clock when the frame was read. If it is later than persisted_at, our clock was '
    'ahead, and the views take persisted_at';
comment on column greek_snapshots.persisted_at is
    'The database''s clock at the insert';
comment on column greek_snapshots.account_id is
    'The account at the broker; watchlist for a watched contract that no account holds';
comment on column greek_snapshots.underlying is
    'The contract_key of the underlying, not the root of the option: SPX for SPXW, BRK/B '
    'for BRKB, /ESM27 for an option on that future';
comment on column greek_snapshots.contract_key is
    'The 21-character OCC symbol if the OCC clears the option; ./CLASS yymmdd right strike '
    'for futures options; otherwise the broker''s name and its own id. A key with a symbol '
    'is the same from every broker';
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
    'day. Within days of the expiration the two differ by definition';
comment on column greek_snapshots.vega is
    'Change of the option''s price per volatility point (0.01)';
comment on column greek_snapshots.rho is
    'Change of the option''s price per rate point (0.01); ibkr sends none';
comment on column greek_snapshots.implied_volatility is
    'A fraction per year: 0.183 is 18.3 %';
comment on column greek_snapshots.underlying_price is
    'Last trade of the underlying or the middle of bid and ask, in the unit of its '
    'quotation; null if unknown';
comment on column greek_snapshots.availability is
    'Freshness that the broker reports: realtime, delayed, frozen or unknown';
comment on column greek_snapshots.source_payload is
    'The broker''s message. ibkr: the frame; tastytrade: the columns of the event';
comment on column greek_snapshots.fingerprint is
    'First 8 bytes of BLAKE2b over the six values. An event that is sent again has the '
    'same key';
comment on column greek_snapshots.underlying_price_at is
    'The time of the underlying''s price, otherwise the time when it was read. Not part of '
    'the fingerprint';
comment on column greek_snapshots.price is
    'The option''s theoretical or mark price, in the unit of its quotation. Not part of the '
    'fingerprint';
comment on column greek_snapshots.bid is
    'Bid for the option, in the unit of its quotation; tastytrade sends none. Not part of '
    'the fingerprint';
comment on column greek_snapshots.ask is
    'Ask for the option, in the unit of its quotation; tastytrade sends none. Not part of '
    'the fingerprint';
comment on column greek_snapshots.in_rotation is
    'True if the contract shares its market data line with others, so that its ticks come '
    'in turns. Not part of the fingerprint';
comment on column greek_snapshots.transaction_id is
    'The transaction of the insert; null in rows of older versions. Not part of the '
    'fingerprint';


-- The positions of the accounts: one row for each change.
create table positions (
    broker text not null,
    account_id text not null,
    contract_key text not null,
    observed_at timestamptz not null,
    kind text not null,
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
    premium_multiplier numeric,
    recorded_at timestamptz default clock_timestamp(),
    transaction_id xid8 default pg_current_xact_id(),
    constraint positions_pkey
        primary key (broker, account_id, contract_key, observed_at),
    constraint positions_broker_check
        check (broker ~ '^[a-z][a-z0-9_]*$'),
    constraint positions_kind_check
        check (kind in
            ('option', 'future_option', 'equity', 'future', 'other', 'unknown')),
    constraint positions_quantity_check
        check (quantity is not null or kind = 'unknown'),
    constraint positions_option_type_check
        check (option_type in ('call', 'put')),
    constraint positions_key_check
        check (account_id <> '' and contract_key <> '')
);

-- Finds the contracts that have not expired, without the history of expired ones.  The two
-- times spare a look at the table.
create index positions_expiration_idx
    on positions (expiration, broker, account_id, contract_key, observed_at, recorded_at);
-- Finds the newest row of a contract.  Our clock may have been wrong when a row was written:
-- a row from the future counts from the moment when the database took it.
create index positions_known_idx
    on positions (
        broker, account_id, contract_key, least(observed_at, recorded_at), observed_at
    );
create index positions_transaction_id_idx on positions (transaction_id)
    where transaction_id is not null;

comment on table positions is
    'History of the positions. The newest row of a contract by the earlier of observed_at '
    'and recorded_at is its present state';
comment on column positions.contract_key is
    'As in greek_snapshots for options. Futures: / with root, month code and year, such as '
    '/ESZ27. Shares: the symbol, with market or currency if the market is not American, '
    'such as RY:CAD. Other instruments: the broker''s name and its own id';
comment on column positions.observed_at is
    'Our clock when the broker reported it. If it is later than recorded_at, our clock was '
    'ahead, and recorded_at counts';
comment on column positions.quantity is
    'Short negative; 0 after the position was closed; null if it could not be read, which '
    'only the kind unknown allows';
comment on column positions.multiplier is
    'Units of the underlying per contract; null if it is not known';
comment on column positions.underlying is
    'The contract_key of the underlying. Shares and futures are their own underlying';
comment on column positions.instrument_id is
    'The broker''s own id. ibkr: the conid; tastytrade: the symbol';
comment on column positions.exchange is
    'Where the instrument is listed or traded, in the broker''s words; null if the broker '
    'does not say it';
comment on column positions.underlying_id is
    'The broker''s own id of the underlying';
comment on column positions.price_factor is
    'Currency per quoted unit: 1 for prices in the currency, 0.01 for prices in cents or '
    'pence; null if it is not known. Money is value x multiplier x price_factor';
comment on column positions.description is
    'The broker''s words for the instrument';
comment on column positions.problem is
    'The reason why the instrument could not be identified; only for the kind unknown';
comment on column positions.premium_multiplier is
    'Units of the option''s price per contract; null if it is the multiplier. An adjusted '
    'option delivers another number of shares. Value, theta, vega and rho count with it';
comment on column positions.recorded_at is
    'The database''s clock at the insert; null in rows of older versions';
comment on column positions.transaction_id is
    'The transaction of the insert; null in rows of older versions';


-- Known intervals without data.  They tell an outage from a quiet market.  A gap is
-- written when it starts and again when it ends; the unique key finds its row.
create table feed_gaps (
    broker text not null,
    account_id text,
    contract_key text,
    started_at timestamptz not null,
    ended_at timestamptz,
    reason text not null,
    recorded_at timestamptz default clock_timestamp(),
    constraint feed_gaps_key
        unique nulls not distinct (broker, account_id, contract_key, started_at, reason),
    constraint feed_gaps_broker_check
        check (broker ~ '^[a-z][a-z0-9_]*$')
);

-- A publication of all tables stops every update of a table without a replica identity, and
-- the key has columns that can be null.
alter table feed_gaps replica identity full;

comment on table feed_gaps is
    'Intervals without data: disconnections, silence, lost subscriptions, lost ticks';
comment on column feed_gaps.account_id is
    'Null: all accounts of the broker';
comment on column feed_gaps.contract_key is
    'Null: all contracts of the account';
comment on column feed_gaps.ended_at is
    'Null until the gap ends';
comment on column feed_gaps.reason is
    'One of a fixed set of reasons in lower-case words, such as disconnected';
comment on column feed_gaps.recorded_at is
    'The database''s clock at the insert; null in rows of older versions. If started_at is '
    'later, our clock was ahead, and the gap began at recorded_at';


-- The values of the accounts: one row for each reading.
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


-- Trades that other programs and people record.
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

-- For lists by time, one page at a time.
create index trades_created_at_idx on trades (created_at, id);

comment on table trades is
    'Trades that were recorded through the HTTP interface or by SQL';
comment on column trades.symbol is
    'The symbol in the spelling of the broker';
comment on column trades.contract_key is
    'As in greek_snapshots; null if the trade is not in an option';
comment on column trades.price is
    'Per unit of the underlying, in the contract''s currency';


-- The strategies that people give to positions.
create table position_tags (
    broker text not null,
    account_id text not null,
    contract_key text not null,
    strategy_tag text,
    tagged_at timestamptz not null default now(),
    tagged_by text,
    constraint position_tags_pkey primary key (broker, account_id, contract_key),
    constraint position_tags_contract_key_check check (contract_key <> ''),
    constraint position_tags_strategy_tag_check check (strategy_tag <> '')
);

comment on table position_tags is
    'The strategies that people give to positions, by SQL or over HTTP; a row comes before '
    'the tags of trades, and stays when the position is closed';
comment on column position_tags.contract_key is
    'As in positions';
comment on column position_tags.strategy_tag is
    'The strategy of the position; null: it has none, also if a trade names one';
comment on column position_tags.tagged_at is
    'When the row was written';
comment on column position_tags.tagged_by is
    'The person or the program that wrote it, if known';

-- The newest tag of a contract.
create index trades_strategy_tag_idx
    on trades (broker, account_id, contract_key, created_at desc, id desc)
    where strategy_tag is not null;


-- The files of months that left greek_snapshots.
create table archived_months (
    month date not null,
    broker text not null,
    part integer not null,
    rows bigint not null,
    checksum numeric not null,
    file text,
    file_bytes bigint,
    archived_at timestamptz not null default clock_timestamp(),
    dropped_at timestamptz,
    loaded_at timestamptz,
    constraint archived_months_pkey primary key (month, broker, part),
    constraint archived_months_month_check
        check (extract(day from month) = 1),
    constraint archived_months_file_check
        check (num_nulls(file, file_bytes) in (0, 2))
);

comment on table archived_months is
    'The files that hold months of greek_snapshots: one row for each month, broker and part';
comment on column archived_months.month is
    'First day of the month, UTC';
comment on column archived_months.part is
    'Counts the files of one month and broker from 1. Rows that arrive after a month was '
    'dropped go to another part';
comment on column archived_months.rows is
    'Number of rows in the file';
comment on column archived_months.checksum is
    'Sum over the rows of the first 8 bytes of SHA-256 of the row as text';
comment on column archived_months.file is
    'Name of the file in GREEKS_ARCHIVE_DIR; null if the rows were dropped without a file';
comment on column archived_months.file_bytes is
    'Size of the file in bytes';
comment on column archived_months.archived_at is
    'When the file was compared with the table';
comment on column archived_months.dropped_at is
    'When the rows left the table; null while they are in it';
comment on column archived_months.loaded_at is
    'When the rows of the file came back; null if they did not, or were dropped again';


-- The months without payloads.
create table dropped_payloads (
    month date not null,
    rows bigint not null,
    bytes_before bigint not null,
    bytes_after bigint not null,
    dropped_at timestamptz not null default clock_timestamp(),
    constraint dropped_payloads_pkey primary key (month, dropped_at),
    constraint dropped_payloads_month_check
        check (extract(day from month) = 1)
);

comment on table dropped_payloads is
    'The months of greek_snapshots whose source_payload was emptied';
comment on column dropped_payloads.month is
    'First day of the month, UTC';
comment on column dropped_payloads.rows is
    'Number of rows that have lost their payload';
comment on column dropped_payloads.bytes_before is
    'Size of the month with indexes before, in bytes';
comment on column dropped_payloads.bytes_after is
    'Size of the month with indexes after, in bytes';


-- The rules of alerts.toml with their states.  The service reads a row after a restart, so
-- that it tells no breach twice.
create table alert_states (
    rule text not null,
    figure text not null,
    scope text not null,
    unit text not null,
    threshold text not null,
    severity text not null,
    market_hours text,
    state text not null,
    since timestamptz not null,
    known_state text,
    value double precision,
    value_at timestamptz,
    positions bigint not null,
    missing bigint not null,
    stale bigint not null,
    reason text,
    beyond_s double precision not null,
    unknown_s double precision not null,
    told_at timestamptz,
    last_event_id bigint,
    evaluated_at timestamptz not null,
    constraint alert_states_pkey primary key (rule),
    constraint alert_states_state_check
        check (state in ('new', 'ok', 'breached', 'unknown', 'removed'))
)
-- Each row changes every few seconds: room for its next version on the same page.
with (fillfactor = 50);

comment on table alert_states is
    'The rules of alerts.toml with their states; the view alerts shows them';
comment on column alert_states.rule is
    'Its name in alerts.toml';
comment on column alert_states.figure is
    'The figure that is compared';
comment on column alert_states.scope is
    'The positions that it is about: broker, account, underlying, currency';
comment on column alert_states.unit is
    'The unit of value and threshold';
comment on column alert_states.threshold is
    'The comparison that is a breach, such as above 500';
comment on column alert_states.severity is
    'info, warning or critical';
comment on column alert_states.market_hours is
    'The market in whose hours the rule counts; null for always';
comment on column alert_states.state is
    'new: not known yet; ok; breached; unknown: it could not be told for unknown_hold_s; '
    'removed: no longer in the file';
comment on column alert_states.since is
    'When the state began';
comment on column alert_states.known_state is
    'The last one of ok and breached; null if there was none';
comment on column alert_states.value is
    'The last value that told something, in the unit; null if there was none';
comment on column alert_states.value_at is
    'The time of value';
comment on column alert_states.positions is
    'Number of positions of the scope at the last reading';
comment on column alert_states.missing is
    'Number of them that the sum lacked at the last reading';
comment on column alert_states.stale is
    'Number of them that were stale at the last reading';
comment on column alert_states.reason is
    'Why the last reading told nothing; null if it did';
comment on column alert_states.beyond_s is
    'For so many seconds the value has been beyond the limit; a breach begins after hold_s';
comment on column alert_states.unknown_s is
    'For so many seconds the readings have told nothing';
comment on column alert_states.told_at is
    'When the last message was made; null if there was none';
comment on column alert_states.last_event_id is
    'The last row of alert_events; null if there was none';
comment on column alert_states.evaluated_at is
    'When the service last read the figure';


-- One row for each message about a rule.
create table alert_events (
    id bigint generated always as identity,
    at timestamptz not null,
    recorded_at timestamptz not null default clock_timestamp(),
    rule text not null,
    figure text not null,
    scope text not null,
    unit text not null,
    threshold text not null,
    severity text not null,
    kind text not null,
    from_state text not null,
    to_state text not null,
    value double precision,
    positions bigint not null,
    missing bigint not null,
    stale bigint not null,
    message text not null,
    message_id uuid not null,
    constraint alert_events_pkey primary key (id),
    constraint alert_events_message_key unique (message_id, rule),
    constraint alert_events_kind_check
        check (kind in ('breach', 'recovery', 'unknown', 'reminder', 'ended'))
);

-- For lists by time, one page at a time.
create index alert_events_at_idx on alert_events (at, id);

comment on table alert_events is
    'The messages about the rules of alerts.toml, each written before it is sent; the view '
    'alert_history shows them with their deliveries';
comment on column alert_events.id is
    'In the order of the messages';
comment on column alert_events.at is
    'The time of the reading that is the cause';
comment on column alert_events.recorded_at is
    'The database''s clock at the insert; later than at if the database was away';
comment on column alert_events.rule is
    'As in alert_states, as are figure, scope, unit, threshold and severity at that time';
comment on column alert_events.figure is
    'As in alert_states';
comment on column alert_events.scope is
    'As in alert_states';
comment on column alert_events.unit is
    'As in alert_states';
comment on column alert_events.threshold is
    'As in alert_states';
comment on column alert_events.severity is
    'As in alert_states';
comment on column alert_events.kind is
    'breach, recovery, unknown, reminder, or ended: the rule was changed or removed while '
    'it was breached or unknown, which sends no message';
comment on column alert_events.from_state is
    'The state before, as in alert_states';
comment on column alert_events.to_state is
    'The state after';
comment on column alert_events.value is
    'The value of the reading, in the unit; null if it is not known';
comment on column alert_events.positions is
    'Number of positions of the scope';
comment on column alert_events.missing is
    'Number of them that the sum lacks';
comment on column alert_events.stale is
    'Number of them that are stale';
comment on column alert_events.message is
    'The text about this rule';
comment on column alert_events.message_id is
    'Events of one moment for the same channels are one message';


-- One row for each message and channel: written before it is sent, and again after it.
create table alert_deliveries (
    message_id uuid not null,
    channel text not null,
    attempts integer not null default 0,
    outcome text not null default 'waiting',
    reason text,
    created_at timestamptz not null default clock_timestamp(),
    finished_at timestamptz,
    constraint alert_deliveries_pkey primary key (message_id, channel),
    constraint alert_deliveries_outcome_check
        check (outcome in ('waiting', 'sent', 'failed'))
);

-- For the start of the service, which sends these again.
create index alert_deliveries_waiting_idx on alert_deliveries (created_at)
    where finished_at is null;

comment on table alert_deliveries is
    'The way of each message to each channel';
comment on column alert_deliveries.message_id is
    'As in alert_events. A channel may get a message twice after a kill -9 of the service; '
    'webhooks and mails have this id in the header Idempotency-Key';
comment on column alert_deliveries.channel is
    'The name of the channel in GREEKS_ALERT_URLS';
comment on column alert_deliveries.attempts is
    'Number of attempts to send it';
comment on column alert_deliveries.outcome is
    'waiting: not finished, the next start of the service sends it; sent; failed: the last '
    'attempt failed';
comment on column alert_deliveries.reason is
    'Why the last attempt failed, without secrets; null if it did not';
comment on column alert_deliveries.created_at is
    'The database''s clock before it was sent';
comment on column alert_deliveries.finished_at is
    'When the last attempt ended; null before';


-- The service that sends the alerts.
create table leases (
    name text not null,
    holder text not null,
    epoch bigint not null,
    expires_at timestamptz not null,
    wanted_at timestamptz,
    constraint leases_pkey primary key (name)
);

comment on table leases is
    'The duties of which each belongs to one of several services';
comment on column leases.name is
    'The duty: alerts; or feed: and a broker, for positions, account values and gaps';
comment on column leases.holder is
    'The machine of the service, and the directory of its spool';
comment on column leases.epoch is
    'A number that grows with each other holder, and with each start of the same one';
comment on column leases.expires_at is
    'Another service may take it after this time; the holder renews it before. -infinity: '
    'the holder has ended; 1970: it has no feed and has given the lease back';
comment on column leases.wanted_at is
    'When another service has asked for it; null if none did';


create table feed_coverage (
    broker text not null,
    holder text not null,
    started_at timestamptz not null,
    covered_until timestamptz not null,
    renewed_at timestamptz not null default now(),
    ended boolean not null default false,
    accounts text[],
    constraint feed_coverage_pkey primary key (broker, holder, started_at)
);

comment on table feed_coverage is
    'The times at which each service had the feed of a broker. A time that one of them has '
    'is no gap';
comment on column feed_coverage.holder is
    'The service, as in leases';
comment on column feed_coverage.started_at is
    'When the connection began to stream';
comment on column feed_coverage.covered_until is
    'When the service has last said that it streams, or when the connection ended';
comment on column feed_coverage.renewed_at is
    'The same moment by the clock of the database';
comment on column feed_coverage.ended is
    'Whether the connection has ended. A killed service says nothing of its end';
comment on column feed_coverage.accounts is
    'The accounts that the connection reads; null if they are not known';


-- The open positions and the watched contracts with their newest ticks, as of the snapshot
-- in latest_state.  The service brings both up to date, a moment behind the ticks; the
-- present views add the ticks since then.  Both can be emptied at any time: the views then
-- look everything up.
create table latest_ticks (
    broker text not null,
    account_id text not null,
    contract_key text not null,
    kind text not null,
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
    is_future boolean not null,
    units double precision,
    money double precision,
    premium double precision,
    tick_id bigint,
    tick_received_at timestamptz,
    position_underlying text,
    position_expiration date,
    position_strike numeric,
    position_option_type text,
    position_is_future boolean,
    place bigint not null generated always as identity,
    is_complete boolean not null generated always as (
        kind in ('option', 'future_option')
        and account_id <> 'watchlist'
        and num_nulls(
            underlying, event_time, underlying_price, price, delta, gamma, theta, vega,
            implied_volatility, money, premium
        ) = 0
        and (rho is not null or broker = 'ibkr')
    ) stored,
    -- The column that tells most rows apart is first: the others cost a comparison each.
    constraint latest_ticks_pkey primary key (contract_key, account_id, broker)
)
-- Each row changes often: room for its next version on the same page.
with (fillfactor = 50);

comment on table latest_ticks is
    'The open positions and the watched contracts with their newest ticks, a moment behind '
    'greek_snapshots; for the present views only, which add the newer ticks';

-- The rows that the views look at one by one.
create index latest_ticks_incomplete_idx on latest_ticks (place) where not is_complete;

create table latest_state (
    is_only_row boolean primary key default true,
    refreshed_at timestamptz not null,
    rebuilt_at timestamptz not null,
    is_exact boolean not null,
    snapshot_xmax xid8 not null,
    snapshot_xip xid8[] not null,
    tables text not null,
    constraint latest_state_check check (is_only_row)
);

comment on table latest_state is
    'The snapshot that latest_ticks has: one row, or none';
comment on column latest_state.refreshed_at is
    'When the service brought latest_ticks up to date';
comment on column latest_state.rebuilt_at is
    'When every row of latest_ticks was looked up';
comment on column latest_state.is_exact is
    'False if a row is known that counts later only, such as one from the future';
comment on column latest_state.snapshot_xmax is
    'Rows of this transaction and of later ones are not in latest_ticks';
comment on column latest_state.snapshot_xip is
    'Nor are the rows of these, which were open';
comment on column latest_state.tables is
    'The tables that were read, with the number of their updates and deletes';


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


-- The rows that the functions below read.  A role that may read these views and the others
-- needs no right on the tables, because a view reads with the rights of its owner and a
-- function does not.
create view tick_history as
select
    id, event_time, received_at, persisted_at, broker, account_id, underlying,
    contract_key, expiration, strike, option_type, quantity, delta, gamma, theta, vega,
    rho, implied_volatility, underlying_price, availability, underlying_price_at, price,
    bid, ask, in_rotation, transaction_id
from greek_snapshots;

comment on view tick_history is
    'The rows of greek_snapshots without their payloads';

create view position_history as
select
    broker, account_id, contract_key, observed_at, kind, quantity, multiplier, currency,
    underlying, expiration, strike, option_type, instrument_id, exchange, underlying_id,
    price_factor, description, problem, premium_multiplier, recorded_at, transaction_id
from positions;

comment on view position_history is
    'The rows of positions';

create view account_value_history as
select
    broker, account_id, observed_at, event_time, currency, net_liquidation, cash,
    buying_power, derivative_buying_power, initial_margin, maintenance_margin,
    excess_liquidity, problem, recorded_at
from account_values;

comment on view account_value_history is
    'The rows of account_values';

create view tagged_positions as
select broker, account_id, contract_key, strategy_tag, tagged_at, tagged_by
from position_tags;

create view tagged_trades as
select id, created_at, broker, account_id, contract_key, strategy_tag
from trades
where strategy_tag is not null;

comment on view tagged_positions is
    'The rows of position_tags';
comment on view tagged_trades is
    'The trades that have a strategy_tag';

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
                ('position_history', 'positions'),
                ('account_value_history', 'account_values'),
                ('tagged_positions', 'position_tags'), ('tagged_trades', 'trades')
        ) of (view, source)
        join pg_attribute v on v.attrelid = of.view and v.attnum > 0
        join pg_attribute t on t.attrelid = of.source and t.attname = v.attname
    loop
        execute format(
            'comment on column %s.%I is %L', copied.view, copied.attname, copied.said);
    end loop;
end
$$;


create view kept_ticks as
select
    broker, account_id, contract_key, kind, underlying, expiration, strike, option_type,
    quantity, multiplier, currency, instrument_id, exchange, underlying_id, price_factor,
    event_time, received_at, delta, gamma, theta, vega, rho, implied_volatility,
    underlying_price, underlying_price_at, price, bid, ask, in_rotation, availability,
    is_future, units, money, premium, tick_id, tick_received_at, position_underlying,
    position_expiration, position_strike, position_option_type, position_is_future, place,
    is_complete
from latest_ticks;

comment on view kept_ticks is
    'The rows of latest_ticks';

create view kept_state as
select
    refreshed_at, rebuilt_at, is_exact, snapshot_xmax, snapshot_xip, tables
from latest_state;

comment on view kept_state is
    'The row of latest_state';

comment on column latest_ticks.units is
    'quantity x multiplier';
comment on column latest_ticks.money is
    'units x price_factor';
comment on column latest_ticks.premium is
    'The money of 1.00 of the option''s own price';
comment on column latest_ticks.is_future is
    'True if the underlying is a future';
comment on column latest_ticks.underlying_id is
    'As in positions';
comment on column latest_ticks.tick_id is
    'The id of the tick; null if there is none';
comment on column latest_ticks.tick_received_at is
    'received_at of the tick; the other one is that of latest_greeks';
comment on column latest_ticks.place is
    'The number of the row';
comment on column latest_ticks.is_complete is
    'True for an option in an account with everything that the views need: nothing comes '
    'from an older tick or another contract';

do $$
declare
    copied record;
begin
    for copied in
        select
            a.attrelid::regclass as relation,
            a.attname,
            coalesce(
                col_description(t.attrelid, t.attnum),
                case when a.attname like 'position\_%'
                    then 'Of the position; null if it names none'
                    else 'As in latest_greeks' end
            ) as said
        from (
            values ('latest_ticks'::regclass, 'latest_ticks'::regclass),
                ('kept_ticks', 'latest_ticks'),
                ('kept_state', 'latest_state')
        ) of (relation, source)
        join pg_attribute a on a.attrelid = of.relation and a.attnum > 0
        join pg_attribute t on t.attrelid = of.source and t.attname = a.attname
    loop
        execute format(
            'comment on column %s.%I is %L', copied.relation, copied.attname, copied.said);
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
        -- It changes nothing.  A session that prepared a statement while the partition was
        -- being attached would never look into it: the plan came after the notice.  Each
        -- change of the table is such a notice.
        alter table greek_snapshots alter column id set statistics -1;
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
    'owner of the tables; false if it was there: then prepared statements are planned again';

revoke execute on function make_month(date) from public;


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


-- The newest position of this contract that was known at the moment, if it is open.
create function newest_position(
    of_broker text, of_account_id text, of_contract_key text, moment timestamptz
)
returns setof position_history
language sql stable parallel safe
begin atomic
    select newest.*
    from (
        select p.*
        from position_history p
        where p.broker = of_broker
          and p.account_id = of_account_id
          and p.contract_key = of_contract_key
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


-- Functions of a moment.  A moment after the present means everything that is known, with
-- ages relative to the present.  The views below are the same functions at 'infinity'.
--
-- The planner replaces a call of holdings_asof or greeks_asof by the text of the function,
-- with the conditions of the caller.  This needs language sql, stable, no set, and one
-- select.  The two functions that they start from, positions_asof and watched_asof, have
-- plans of their own instead.  Their declared number of rows keeps the estimate of the whole
-- query low, so that PostgreSQL does not compile (jit) a query of a few milliseconds.
-- portfolio_sums and greeks_beside have plans of their own too: the sums need every row, and
-- from version 18 on a session keeps the plan, which takes milliseconds to make.

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
    cross join lateral newest_position(
        held.broker, held.account_id, held.contract_key, moment
    ) newest;
end;


-- The contracts that had ticks for the watch-list in the month of the moment or, in its
-- first week, in the month before.  The watch-list itself is not in the database.  The loops
-- go from one broker and one contract to the next through the primary key, because each may
-- have millions of ticks.  They read whole months, so that every entry of the index counts.
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


-- The open positions at the moment, each option with its newest tick that was known then,
-- and the options that were watched in the seven days before; possible values only.  They
-- are computed in the inner selects, so that each is computed once: the planner repeats an
-- expression wherever an outer select uses it.
create function newest_by_lookup(
    moment timestamptz,
    brokers text[] default null,
    account_ids text[] default null,
    contract_keys text[] default null
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
    price double precision,
    bid double precision,
    ask double precision,
    in_rotation boolean,
    availability text,
    is_future boolean,
    units double precision,
    money double precision,
    premium double precision,
    tick_id bigint,
    tick_received_at timestamptz,
    tick_underlying_price_at timestamptz,
    position_underlying text,
    position_expiration date,
    position_strike numeric,
    position_option_type text,
    position_is_future boolean
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
        case when wanted.kind not in ('other', 'unknown')
            then (wanted.quantity * wanted.multiplier)::double precision end,
        case when wanted.kind not in ('other', 'unknown')
            then (wanted.quantity * wanted.multiplier * wanted.price_factor)::double precision end,
        -- The money of the option's own price.
        case when wanted.kind not in ('other', 'unknown')
            then (
                wanted.quantity * wanted.price_factor * case
                    when wanted.premium_multiplier is null then wanted.multiplier
                    else possible(wanted.premium_multiplier, 1e-12, 1e12)
                end
            )::double precision
        end,
        tick.id,
        tick.raw_received_at,
        tick.raw_underlying_price_at,
        wanted.underlying,
        wanted.expiration,
        wanted.strike,
        wanted.option_type,
        wanted.is_future
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
        from (
            select
                a.broker, a.account_id, a.contract_key, a.kind, a.quantity, a.multiplier,
                a.currency, a.underlying, a.expiration, a.strike, a.option_type,
                a.instrument_id, a.exchange, a.underlying_id, a.price_factor,
                a.premium_multiplier
            from positions_asof(moment) a
            where brokers is null
            union all
            select
                a.broker, a.account_id, a.contract_key, a.kind, a.quantity, a.multiplier,
                a.currency, a.underlying, a.expiration, a.strike, a.option_type,
                a.instrument_id, a.exchange, a.underlying_id, a.price_factor,
                a.premium_multiplier
            from unnest(brokers, account_ids, contract_keys)
                as c (broker, account_id, contract_key)
            cross join lateral newest_position(
                c.broker, c.account_id, c.contract_key, moment
            ) a
            where brokers is not null
        ) p
        union all
        select
            w.broker, 'watchlist', w.contract_key,
            case when w.contract_key like './%' then 'future_option' else 'option' end,
            null, null, null, null, null, null, null, null, null, null,
            case when is_in_dollars('option', w.contract_key, null) then 1 end,
            case when w.contract_key like './%' then true end,
            null
        from (
            select a.broker, a.contract_key
            from watched_asof(moment) a
            where brokers is null
            union all
            select c.broker, c.contract_key
            from unnest(brokers, account_ids, contract_keys)
                as c (broker, account_id, contract_key)
            where brokers is not null
              and c.account_id = 'watchlist'
              -- The contracts of watched_asof.
              and (
                  select a.event_time
                  from tick_history a
                  where a.broker = c.broker
                    and a.account_id = 'watchlist'
                    and a.contract_key = c.contract_key
                    -- As below.
                    and a.contract_key between c.contract_key and c.contract_key
                  order by a.event_time desc
                  limit 1
              ) >= date_trunc(
                  'month', least(moment, statement_timestamp()) - interval '8 days', 'UTC')
        ) w
    ) wanted
    left join lateral (
        select
            s.event_time,
            -- If our clock was ahead, the database's clock at the insert counts.
            least(s.received_at, s.persisted_at) as received_at,
            s.id, s.received_at as raw_received_at,
            s.underlying_price_at as raw_underlying_price_at, s.underlying, s.expiration, s.strike,
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


-- The rows of newest_by_lookup at the present for these contracts, for all if there are no
-- arrays; its plan is made only when it is called.
create function newest_of(brokers text[], account_ids text[], contract_keys text[])
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


-- The tables with the ticks and positions, each with the number of rows that were updated
-- or deleted in it.  The text changes when a partition comes, goes or is emptied, in
-- another database, and when a row is deleted.  The second two numbers are those that this
-- session has not passed on yet.
create function read_tables()
returns text
language sql stable parallel restricted
begin atomic
    select string_agg(
        c.oid || ' ' || c.relfilenode || ' ' || (
            pg_stat_get_tuples_updated(c.oid) + pg_stat_get_tuples_deleted(c.oid)
            + pg_stat_get_xact_tuples_updated(c.oid)
            + pg_stat_get_xact_tuples_deleted(c.oid)
        ),
        ',' order by c.oid
    )
    from (
        select 'positions'::regclass::oid as oid
        union all
        select i.inhrelid from pg_inherits i
        where i.inhparent = 'greek_snapshots'::regclass
    ) ours
    join pg_class c on c.oid = ours.oid
    where current_setting('track_counts')::boolean;
end;


-- The ticks that the snapshot does not have.  One condition for each select: with both in
-- one the planner may read the whole index.  The upper bound is the greatest id.  With it the
-- planner takes few rows, also for a plan that fits any snapshot: without it a third of all.
create function rows_since(snapshot_xmax xid8, snapshot_xip xid8[])
returns setof tick_history
language sql stable parallel restricted
begin atomic
    select t.*
    from tick_history t
    where t.transaction_id between rows_since.snapshot_xmax and '18446744073709551615'
    union all
    select t.*
    from tick_history t
    where t.transaction_id = any(rows_since.snapshot_xip)
    -- Keeps the conditions of the caller out, which would lead to another index.
    offset 0;
end;


-- The contracts whose positions the snapshot does not have.
create function positions_since(snapshot_xmax xid8, snapshot_xip xid8[])
returns table (broker text, account_id text, contract_key text)
language sql stable parallel restricted rows 100
set jit = off
set enable_seqscan = off
begin atomic
    select distinct since.broker, since.account_id, since.contract_key
    from (
        select p.broker, p.account_id, p.contract_key
        from position_history p
        where p.transaction_id between positions_since.snapshot_xmax
            and '18446744073709551615'
        union all
        select p.broker, p.account_id, p.contract_key
        from position_history p
        where p.transaction_id = any(positions_since.snapshot_xip)
        -- As in rows_since.
        offset 0
    ) since;
end;


-- The ticks that the snapshot does not have: the newest of each contract.
create function ticks_since(snapshot_xmax xid8, snapshot_xip xid8[])
returns setof tick_history
language sql stable parallel restricted rows 200
set jit = off
set enable_seqscan = off
set work_mem = '64MB'
begin atomic
    select distinct on (t.contract_key, t.account_id, t.broker) t.*
    from rows_since(ticks_since.snapshot_xmax, ticks_since.snapshot_xip) t
    where t.event_time <= statement_timestamp() + interval '5 minutes'
      and least(t.received_at, t.persisted_at)
          <= statement_timestamp() + interval '5 minutes'
      and least(t.event_time, t.received_at) > '-infinity'
    order by t.contract_key, t.account_id, t.broker,
        t.event_time desc, t.received_at desc, t.id desc;
end;


-- Whether the present can be told from latest_ticks and the ticks since.  The time of the
-- last refresh may lie a little ahead, because this statement began before its snapshot.
create function is_latest_kept()
returns boolean
language sql stable parallel restricted
set jit = off
begin atomic
    select exists (
        select from kept_state s
        where s.is_exact
          and s.refreshed_at between statement_timestamp() - interval '10 seconds'
              and statement_timestamp() + interval '10 seconds'
          and s.tables = read_tables()
    );
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
create function compare_latest()
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
create function add_latest(state latest_state, snapshot pg_snapshot)
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


-- Whether latest_ticks has the newest tick of each of these contracts, so that none counts
-- later only.
create function is_settled(
    snapshot pg_snapshot, brokers text[], account_ids text[], contract_keys text[]
)
returns boolean
language sql stable
set jit = off
begin atomic
    select not exists (
        select
        from unnest(brokers, account_ids, contract_keys)
            as c (broker, account_id, contract_key)
        join latest_ticks k using (broker, account_id, contract_key)
        cross join lateral (
            select t.id, t.event_time, t.received_at, t.persisted_at
            from tick_history t
            where t.broker = k.broker
              and t.account_id = k.account_id
              and t.contract_key = k.contract_key
              and t.contract_key between k.contract_key and k.contract_key
              and t.event_time > '-infinity'
              -- Those that came meanwhile are added the next time.
              and coalesce(pg_visible_in_snapshot(t.transaction_id, snapshot), true)
            order by t.event_time desc, t.received_at desc, t.id desc
            limit 1
        ) newest
        where k.kind in ('option', 'future_option')
          and (
              k.tick_id is null
              or (newest.event_time, newest.received_at, newest.id)
                  > (k.event_time, k.tick_received_at, k.tick_id)
              or least(newest.received_at, newest.persisted_at)
                  > statement_timestamp() + interval '4 minutes'
          )
    );
end;


-- Looks every row of latest_ticks up; returns whether all ticks of them count now.
create function rebuild_latest(snapshot pg_snapshot)
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


-- Brings latest_ticks up to date, with the rights of the owner of the tables.  Returns what
-- it did: nothing, because another session does it ('busy'), there is nothing new ('idle')
-- or everything was looked up a moment ago ('waiting'); the ticks since the last time
-- ('added'), or everything ('rebuilt').
--
-- The snapshot is older than the statements after it, so they may take rows that it does
-- not have.  Such rows are taken again the next time, without an effect.
create function refresh_latest()
returns text
language plpgsql security definer
set jit = off
set enable_seqscan = off
as $$
declare
    snapshot pg_snapshot;
    found_tables text;
    state latest_state;
    present timestamptz;
    was_added boolean := false;
begin
    -- Any number.  The ticks of a distributed table have transactions of other servers.
    if not pg_try_advisory_xact_lock(7402318915520033)
        or exists (select from pg_extension where extname = 'citus')
    then
        return 'busy';
    end if;
    -- A crash that loses this transaction loses nothing that is not found again.
    perform set_config('synchronous_commit', 'off', true);
    snapshot := pg_current_snapshot();
    found_tables := read_tables();
    present := clock_timestamp();
    select * into state from latest_state;
    if state.tables = found_tables
        and state.refreshed_at between present - interval '30 seconds' and present
        and state.rebuilt_at > present
            - (case when state.is_exact then interval '10 minutes' else '5 seconds' end)
    then
        if state.refreshed_at > present - interval '3 seconds'
            and not exists (
                select from rows_since(state.snapshot_xmax, state.snapshot_xip)
            )
            and not exists (
                select from positions_since(state.snapshot_xmax, state.snapshot_xip)
            )
        then
            return 'idle';
        end if;
        state.is_exact := add_latest(state, snapshot) and state.is_exact;
        was_added := true;
    elsif state.rebuilt_at between present - interval '5 seconds' and present then
        return 'waiting';
    else
        state.is_exact := rebuild_latest(snapshot) and found_tables is not null;
        state.rebuilt_at := present;
    end if;
    insert into latest_state values (
        true, present, state.rebuilt_at, state.is_exact, pg_snapshot_xmax(snapshot),
        array(select pg_snapshot_xip(snapshot)), coalesce(found_tables, '')
    )
    on conflict (is_only_row) do update
    set refreshed_at = excluded.refreshed_at,
        rebuilt_at = excluded.rebuilt_at,
        is_exact = excluded.is_exact,
        snapshot_xmax = excluded.snapshot_xmax,
        snapshot_xip = excluded.snapshot_xip,
        tables = excluded.tables;
    return case when was_added then 'added' else 'rebuilt' end;
end
$$;

revoke execute on function look_up_latest(text[], text[], text[]) from public;
revoke execute on function add_latest(latest_state, pg_snapshot) from public;
revoke execute on function rebuild_latest(pg_snapshot) from public;
revoke execute on function refresh_latest() from public;


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
          -- As in newest_by_lookup.
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
          -- As in newest_by_lookup.
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


-- The functions in plpgsql look for their tables at each call, so they carry the schema: a
-- reader may have another search_path, and pg_restore has none.  All other functions and the
-- views were bound to their tables when they were made.
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
        'carried_price(text, text, text, timestamptz, timestamptz, timestamptz, text)',
        'add_latest(latest_state, pg_snapshot)', 'rebuild_latest(pg_snapshot)', 'refresh_latest()'
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
language sql stable parallel restricted
begin atomic
    select s.*
    from portfolio_sums(
        moment, stale_after_s, moment = 'infinity' and is_latest_complete()
    ) s;
end;


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


-- The buckets of expirations in their order.  A position without an expiration, such as
-- shares, is in none.
create function expiration_buckets()
returns text[]
language sql immutable parallel safe
return array['expired', '0DTE', '1-7', '8-30', '31-90', '91-365', 'over 365'];


-- An expired contract stays in the views until its last day is over everywhere on Earth.
create function expiration_bucket(expiration date, today date)
returns text
language sql immutable parallel safe
return (expiration_buckets())[
    1 + width_bucket(
        expiration,
        array[today, today + 1, today + 8, today + 31, today + 91, today + 366]
    )
];


-- The rows of position_greeks_asof.  With is_complete the complete rows of latest_ticks come
-- directly from there, with the expressions of holdings_asof for a tick that lacks nothing.
-- Each value is that of portfolio_sums.
create function position_values(
    moment timestamptz, stale_after_s double precision, is_complete boolean
)
returns table (
    broker text,
    account_id text,
    contract_key text,
    kind text,
    underlying text,
    expiration date,
    expiration_bucket text,
    strike numeric,
    option_type text,
    strategy_tag text,
    currency text,
    quantity numeric,
    multiplier numeric,
    price_factor numeric,
    price double precision,
    underlying_price double precision,
    underlying_price_at timestamptz,
    event_time timestamptz,
    received_at timestamptz,
    position_delta double precision,
    position_gamma double precision,
    position_theta double precision,
    position_vega double precision,
    position_rho double precision,
    dollar_delta double precision,
    dollar_gamma double precision,
    position_value double precision,
    age_s double precision,
    is_stale boolean,
    stale_reason text,
    not_realtime boolean,
    missing text[],
    carried text[],
    carried_age_s double precision
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
            (least(moment, statement_timestamp()) at time zone 'America/New_York')::date
                as today,
            statement_timestamp() at time zone 'UTC' - interval '36 hours' as expired_until,
            statement_timestamp() + interval '5 minutes' as known_until
    ),
    held as materialized (
        select
            h.broker, h.account_id, h.contract_key, h.kind, h.underlying, h.expiration,
            h.strike, h.option_type, h.quantity, h.multiplier, h.currency,
            h.underlying_id, h.price_factor, h.event_time, h.received_at, h.delta, h.gamma,
            h.theta, h.vega, h.rho, h.underlying_price, h.underlying_price_at,
            h.underlying_price_source, h.underlying_price_availability,
            h.is_underlying_price_stale, h.price, h.units, h.money, h.premium,
            h.availability, h.age_s, h.stale_reason, h.carried_delta, h.carried_gamma,
            h.carried_theta, h.carried_vega, h.carried_rho, h.carried_price,
            h.carried_age_s, h.is_future, h.place,
            coalesce(h.underlying, h.contract_key) as group_underlying
        from holdings_asof(moment, stale_after_s, not is_complete) h
    ),
    complete as materialized (
        select
            t.broker, t.account_id, t.contract_key, t.kind, t.underlying, t.expiration,
            t.strike, t.option_type, t.quantity, t.multiplier, t.currency,
            t.underlying_id, t.price_factor, t.event_time, t.received_at, t.delta, t.gamma,
            t.theta, t.vega, t.rho, t.underlying_price, t.price, t.units, t.money,
            t.premium, t.availability, t.is_future,
            case
                when t.underlying_price_at <= (select p.known_until from present p)
                    and isfinite(t.underlying_price_at)
                then t.underlying_price_at
            end as underlying_price_at
        from kept_ticks t
        where position_values.is_complete
          and t.is_complete
          and (
              t.position_expiration is null
              or t.position_expiration > (select p.expired_until from present p)
          )
          and t.place not in (select h.place from held h where h.place is not null)
    ),
    -- The newest price of each underlying, as in portfolio_sums.
    prices as materialized (
        select
            own.underlying, own.broker, own.underlying_id, own.currency, own.is_future,
            own.price_factor, max(own.newest) as newest
        from (
            select
                h.underlying, h.broker, h.underlying_id, h.currency, h.is_future,
                h.price_factor,
                array[
                    date_part('epoch', coalesce(h.underlying_price_at, h.event_time)),
                    date_part('epoch', h.received_at),
                    h.underlying_price,
                    (h.underlying_price_availability <> 'realtime')::integer,
                    h.is_underlying_price_stale::integer
                ] as newest
            from held h
            where h.underlying_price is not null and h.underlying_price_source is null
            union all
            select
                c.underlying, c.broker, c.underlying_id, c.currency, c.is_future,
                c.price_factor,
                array[
                    date_part('epoch', coalesce(c.underlying_price_at, c.event_time)),
                    date_part('epoch', c.received_at),
                    c.underlying_price,
                    (c.availability <> 'realtime')::integer,
                    (
                        c.availability <> 'realtime' or least(
                            c.underlying_price_at, c.event_time, c.received_at
                        ) < (select p.fresh_from from present p)
                    )::integer
                ]
            from complete c
            where exists (select from held h where h.kind in ('equity', 'future'))
        ) own
        group by own.underlying, own.broker, own.underlying_id, own.currency,
            own.is_future, own.price_factor
    ),
    others as materialized (
        select
            row_number() over () as number, o.*,
            case when o.kind in ('equity', 'future') then 1 else o.delta end as unit_delta,
            case when o.kind in ('equity', 'future') then o.group_underlying end
                as price_underlying,
            case when o.kind in ('equity', 'future') then o.underlying_id end
                as price_underlying_id
        from held o
        where o.account_id <> 'watchlist' and o.kind not in ('option', 'future_option')
    ),
    lent as materialized (
        select distinct on (same.number)
            same.number, same.newest[3] as underlying_price,
            to_timestamp(same.newest[1]) as price_at,
            to_timestamp(same.newest[2]) as received_at,
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
    valued as (
        select
            h.broker, h.account_id, h.contract_key, h.kind,
            h.group_underlying as underlying, h.expiration, h.strike, h.option_type,
            h.currency, h.quantity, h.multiplier, h.price_factor, h.price,
            h.underlying_price, h.underlying_price_at, h.event_time, h.received_at,
            true as is_option, false as is_share_future, h.units,
            h.units * h.delta as delta,
            h.units * h.gamma as gamma,
            h.premium * h.theta as theta,
            h.premium * h.vega as vega,
            h.premium * h.rho as rho,
            h.money * h.delta * h.underlying_price as dollar_delta,
            h.money * h.gamma * h.underlying_price ^ 2 / 100 as dollar_gamma,
            h.premium * h.price as value,
            h.age_s,
            coalesce(
                h.stale_reason,
                case when h.is_underlying_price_stale then 'underlying price' end
            ) as stale_reason,
            h.availability <> 'realtime'
                or h.underlying_price_availability <> 'realtime' as is_not_realtime,
            h.carried_delta, h.carried_gamma, h.carried_theta, h.carried_vega,
            h.carried_rho, h.carried_price, h.carried_age_s
        from held h
        where h.account_id <> 'watchlist' and h.kind in ('option', 'future_option')
        union all
        select
            c.broker, c.account_id, c.contract_key, c.kind, c.underlying, c.expiration,
            c.strike, c.option_type, c.currency, c.quantity, c.multiplier, c.price_factor,
            c.price, c.underlying_price, c.underlying_price_at, c.event_time,
            c.received_at,
            true, false, c.units,
            c.units * c.delta,
            c.units * c.gamma,
            c.premium * c.theta,
            c.premium * c.vega,
            c.premium * c.rho,
            c.money * c.delta * c.underlying_price,
            c.money * c.gamma * c.underlying_price ^ 2 / 100,
            c.premium * c.price,
            greatest(0, date_part('epoch', (select p.at from present p) - c.received_at)),
            case
                when least(c.received_at, c.event_time)
                    < (select p.fresh_from from present p) then 'old'
                when c.availability <> 'realtime' then c.availability
                when c.underlying_price_at < (select p.fresh_from from present p)
                    then 'underlying price'
            end,
            c.availability <> 'realtime',
            false, false, false, false, false, false, null
        from complete c
        union all
        select
            h.broker, h.account_id, h.contract_key, h.kind, h.group_underlying,
            h.expiration, h.strike, h.option_type, h.currency, h.quantity, h.multiplier,
            case when h.kind in ('equity', 'future') then h.price_factor end,
            case when h.kind in ('equity', 'future') then lent.underlying_price
                else h.price end,
            lent.underlying_price, lent.price_at, null, lent.received_at,
            false, h.kind in ('equity', 'future'), h.units,
            case when h.kind in ('equity', 'future') then h.units end,
            h.units * h.gamma,
            h.premium * h.theta,
            h.premium * h.vega,
            h.premium * h.rho,
            h.money * h.unit_delta * lent.underlying_price,
            h.money * h.gamma * lent.underlying_price ^ 2 / 100,
            h.premium * case h.kind
                when 'equity' then lent.underlying_price
                when 'future' then 0
                else h.price
            end,
            case when lent.received_at is not null then greatest(0, date_part(
                'epoch', (select p.at from present p) - lent.received_at
            )) end,
            case
                when h.kind not in ('equity', 'future') then null
                when lent.underlying_price is null then 'no price'
                when lent.is_stale then 'underlying price'
            end,
            lent.is_not_realtime,
            h.carried_delta, h.carried_gamma, h.carried_theta, h.carried_vega,
            h.carried_rho, h.carried_price, h.carried_age_s
        from others h
        -- Made by hashing, as in portfolio_sums.
        full join lent on lent.number = h.number
        offset 0
    )
    select
        v.broker, v.account_id, v.contract_key, v.kind, v.underlying, v.expiration,
        expiration_bucket(v.expiration, (select p.today from present p)),
        v.strike, v.option_type,
        -- An array tells no row from a row without a strategy.
        (coalesce(
            (
                select array[g.strategy_tag]
                from tagged_positions g
                where g.broker = v.broker
                  and g.account_id = v.account_id
                  and g.contract_key = v.contract_key
            ),
            (
                select array[t.strategy_tag]
                from tagged_trades t
                where t.broker = v.broker
                  and t.account_id = v.account_id
                  and t.contract_key = v.contract_key
                  and t.created_at <= moment
                order by t.created_at desc, t.id desc
                limit 1
            )
        ))[1],
        v.currency, v.quantity, v.multiplier, v.price_factor, v.price, v.underlying_price,
        v.underlying_price_at, v.event_time, v.received_at,
        v.delta, v.gamma, v.theta, v.vega, v.rho, v.dollar_delta, v.dollar_gamma, v.value,
        v.age_s, v.stale_reason is not null, v.stale_reason, v.is_not_realtime is true,
        case
            -- Most lack nothing.
            when num_nulls(
                v.units, v.price_factor, v.age_s, v.underlying_price, v.delta, v.gamma,
                v.theta, v.vega, v.rho, v.dollar_delta, v.dollar_gamma, v.value
            ) = 0 then '{}'
            else array_remove(array[
                case when v.kind = 'unknown' or v.is_option and v.age_s is null
                    then 'tick' end,
                case when v.units is null
                    and (v.is_option or v.is_share_future or v.kind = 'unknown')
                    then 'multiplier' end,
                case when v.underlying_price is null
                    and (v.is_option or v.is_share_future or v.kind = 'unknown')
                    then 'price' end,
                case when v.price_factor is null
                    and (v.is_option or v.is_share_future or v.kind = 'unknown')
                    then 'price_factor' end,
                case when v.kind = 'unknown' or v.is_option and v.delta is null
                    then 'delta' end,
                case when v.kind = 'unknown' or v.is_share_future and v.delta is null
                    then 'share_future_delta' end,
                case when v.gamma is null and (v.is_option or v.kind = 'unknown')
                    then 'gamma' end,
                case when v.theta is null and (v.is_option or v.kind = 'unknown')
                    then 'theta' end,
                case when v.vega is null and (v.is_option or v.kind = 'unknown')
                    then 'vega' end,
                case when v.rho is null and (v.is_option or v.kind = 'unknown')
                    then 'rho' end,
                case when v.dollar_delta is null then 'dollar_delta' end,
                case when v.dollar_gamma is null and (v.is_option or v.kind = 'unknown')
                    then 'dollar_gamma' end,
                case when v.value is null then 'value' end
            ], null)
        end,
        case
            when v.carried_delta or v.carried_gamma or v.carried_theta or v.carried_vega
                or v.carried_rho or v.carried_price
            then array_remove(array[
                case when v.carried_delta then 'delta' end,
                case when v.carried_gamma then 'gamma' end,
                case when v.carried_theta then 'theta' end,
                case when v.carried_vega then 'vega' end,
                case when v.carried_rho then 'rho' end,
                case when v.carried_price then 'value' end
            ], null)
            else '{}'
        end,
        case
            when v.carried_delta or v.carried_gamma or v.carried_theta or v.carried_vega
                or v.carried_rho or v.carried_price
            then v.carried_age_s
        end
    from valued v;
end;


-- Each open position with its part of the sums of portfolio_asof.
create function position_greeks_asof(
    moment timestamptz, stale_after_s double precision default 300
)
returns table (
    broker text,
    account_id text,
    contract_key text,
    kind text,
    underlying text,
    expiration date,
    expiration_bucket text,
    strike numeric,
    option_type text,
    strategy_tag text,
    currency text,
    quantity numeric,
    multiplier numeric,
    price_factor numeric,
    price double precision,
    underlying_price double precision,
    underlying_price_at timestamptz,
    event_time timestamptz,
    received_at timestamptz,
    position_delta double precision,
    position_gamma double precision,
    position_theta double precision,
    position_vega double precision,
    position_rho double precision,
    dollar_delta double precision,
    dollar_gamma double precision,
    position_value double precision,
    age_s double precision,
    is_stale boolean,
    stale_reason text,
    not_realtime boolean,
    missing text[],
    carried text[],
    carried_age_s double precision
)
language sql stable parallel restricted
begin atomic
    select v.*
    from position_values(
        moment, stale_after_s, moment = 'infinity' and is_latest_complete()
    ) v;
end;


create view latest_greeks as
select
    broker, account_id, contract_key, underlying, expiration, strike, option_type,
    quantity, multiplier, currency, event_time, received_at, delta, gamma, theta, vega,
    rho, implied_volatility, underlying_price, availability, age_s, is_stale,
    stale_reason, kind, instrument_id, exchange, price_factor, price, bid, ask,
    position_value, underlying_price_at, underlying_price_source, carried_delta,
    carried_gamma, carried_theta, carried_vega, carried_rho, carried_implied_volatility,
    carried_age_s, in_rotation, carried_price
from greeks_now(300);


create view portfolio_greeks as
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


create view latest_account_values as
select
    broker, account_id, observed_at, event_time, currency, net_liquidation, cash,
    buying_power, derivative_buying_power, initial_margin, maintenance_margin,
    excess_liquidity, margin_use, margin_use_missing, age_s, is_stale, problem
from account_values_asof('infinity');


create view position_greeks as
select
    broker, account_id, contract_key, kind, underlying, expiration, expiration_bucket,
    strike, option_type, strategy_tag, currency, quantity, multiplier, price_factor, price,
    underlying_price, underlying_price_at, event_time, received_at, position_delta,
    position_gamma, position_theta, position_vega, position_rho, dollar_delta,
    dollar_gamma, position_value, age_s, is_stale, stale_reason, not_realtime, missing,
    carried, carried_age_s
from position_greeks_asof('infinity');


-- Rows of feed_gaps that overlap or touch, merged within one scope: a broker, an account of
-- it, or a contract.  An interval that lies within one of a wider scope is left out.
-- A gap that began in the future is moved to the moment when the database took it, because
-- our clock was ahead.
create view outages as
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


-- Grouped instead of joined.  The planner cannot know the number of contracts, and would
-- compare each with each in a join.
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


-- The rules of alerts.toml as they are.
create view alerts as
select
    s.rule, s.state, s.since, s.figure, s.scope, s.value, s.unit, s.threshold, s.severity,
    s.market_hours, s.value_at, s.positions, s.missing, s.stale, s.reason,
    e.kind as last_event, e.at as last_event_at, s.evaluated_at
from alert_states s
left join alert_events e on e.id = s.last_event_id
where s.state <> 'removed';


-- The messages with their deliveries.
create view alert_history as
select
    e.id, e.at, e.recorded_at, e.rule, e.kind, e.from_state, e.to_state, e.severity,
    e.figure, e.scope, e.value, e.unit, e.threshold, e.positions, e.missing, e.stale,
    e.message,
    (
        select coalesce(
            jsonb_agg(
                jsonb_build_object(
                    'channel', d.channel, 'outcome', d.outcome, 'attempts', d.attempts,
                    'reason', d.reason, 'finished_at', to_char(
                        d.finished_at at time zone 'UTC',
                        'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'
                    )
                ) order by d.channel
            ),
            '[]'
        )
        from alert_deliveries d
        where d.message_id = e.message_id
    ) as deliveries
from alert_events e;


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
    'each contract by the earlier of its two times, unless its quantity is 0 or the contract had expired '
    '(its last day was over everywhere on Earth). A quantity that could not be read (null) '
    'is open. ''infinity'' is the present';
comment on function series_asof(timestamptz, boolean) is
    'positions_asof with the newest tick of each option, and watched contracts; impossible '
    'values are null. For the present, from latest_ticks if it can be used. The second '
    'argument is for the present views';
comment on function newest_by_lookup(timestamptz, text[], text[], text[]) is
    'The rows of series_asof, each looked up in the history of its contract; with arrays for '
    'these contracts only';
comment on function newest_of(text[], text[], text[]) is
    'The rows of newest_by_lookup at the present as latest_ticks has them';
comment on function newest_position(text, text, text, timestamptz) is
    'The newest position of a contract that was known at the moment, if it is open';
comment on function newest_kept(boolean) is
    'The rows of series_asof at the present, from latest_ticks and the ticks since; with or '
    'without its complete rows';
comment on function ticks_since(xid8, xid8[]) is
    'The newest tick of each contract among those that are not in the snapshot';
comment on function rows_since(xid8, xid8[]) is
    'The ticks that are not in the snapshot';
comment on function positions_since(xid8, xid8[]) is
    'The contracts whose positions are not in the snapshot';
comment on function is_settled(pg_snapshot, text[], text[], text[]) is
    'Whether latest_ticks has the newest ticks of these contracts, and none counts later '
    'only; used by refresh_latest';
comment on function compare_latest() is
    'The contracts of the present views, and how many of them would differ if everything was '
    'looked up; no row if latest_ticks is not in use';
comment on function is_latest_kept() is
    'Whether the present can be told from latest_ticks and the ticks since; otherwise the '
    'views look everything up';
comment on function is_latest_complete() is
    'Whether the complete rows of latest_ticks are in force, but for those with a newer tick: '
    'is_latest_kept, and no position is new';
comment on function read_tables() is
    'The tables with ticks and positions, with the number of their updates and deletes; '
    'null if the server does not count them';
comment on function look_up_latest(text[], text[], text[]) is
    'Looks these contracts up for latest_ticks, all if there are no arrays; used by '
    'refresh_latest';
comment on function add_latest(latest_state, pg_snapshot) is
    'Adds the ticks since the snapshot to latest_ticks; used by refresh_latest';
comment on function rebuild_latest(pg_snapshot) is
    'Looks every row of latest_ticks up; used by refresh_latest';
comment on function refresh_latest() is
    'Brings latest_ticks up to date, with the rights of the owner of the tables; returns '
    'busy, idle, waiting, added or rebuilt';
comment on function prices_asof(timestamptz, double precision) is
    'The newest price of each underlying from the ticks of series_asof; used by '
    'holdings_asof for ticks that lack it';
comment on function holdings_asof(timestamptz, double precision, boolean) is
    'The common part of greeks_asof and portfolio_asof: series_asof with ages, carried '
    'Greeks and prices from other options; units: quantity x multiplier; money: units x '
    'price_factor; the first two arguments are those of greeks_asof, the third is that of '
    'newest_kept';
comment on function watched_asof(timestamptz) is
    'Contracts that were perhaps on the watch-list: contracts with a tick for the '
    'watch-list in the month of the moment or, in its first week, in the month before; '
    'used by newest_by_lookup';
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
comment on function greeks_beside(boolean, double precision) is
    'The rows of greeks_now that are not complete rows of latest_ticks, or all';
comment on function greeks_now(double precision) is
    'The rows of greeks_asof(''infinity''); the argument is the second one of greeks_asof';
comment on function greeks_asof(timestamptz, double precision) is
    'The columns of latest_greeks at any moment: the open positions at that moment, each '
    'with its newest tick by event_time. Only ticks whose event_time and received_at are '
    'not after the moment count, and ages are relative to the moment. A tick that is more '
    'than 5 minutes ahead of the database''s clock does not count. A moment in the '
    'future is the present. stale_after_s: age in seconds from which a tick is stale, and '
    'up to which a Greek is carried';
comment on function portfolio_sums(timestamptz, double precision, boolean) is
    'The rows of portfolio_asof';
comment on function portfolio_asof(timestamptz, double precision) is
    'The columns of portfolio_greeks at any moment; the arguments are those of '
    'greeks_asof';

comment on function expiration_buckets() is
    'The names of the expiration buckets, in their order: days to the expiration';
comment on function expiration_bucket(date, date) is
    'The expiration bucket of a contract; null without an expiration. The second argument '
    'is the day from which the days count';
comment on function position_values(timestamptz, double precision, boolean) is
    'The rows of position_greeks_asof';
comment on function position_greeks_asof(timestamptz, double precision) is
    'The columns of position_greeks at any moment; the arguments are those of greeks_asof. '
    'Trades count until the moment; rows of position_tags always';
comment on view latest_greeks is
    'Newest tick of each option contract in each account that holds it, by event_time, '
    'received_at, id; nulls before the first tick. A Greek or implied volatility that the '
    'newest tick lacks is the newest one that is at most 300 seconds old, as is price '
    'within the last 20 ticks, and carried_ columns tell so. An impossible value is null. Contracts with a tick for the '
    'watch-list in the last seven days have the account watchlist. Closed positions and '
    'expired contracts are not in it. The same as greeks_asof(''infinity'')';
comment on column latest_greeks.broker is
    'Name of the broker, such as ibkr';
comment on column latest_greeks.account_id is
    'The account at the broker; watchlist for a watched contract that no account holds';
comment on column latest_greeks.contract_key is
    'As in greek_snapshots';
comment on column latest_greeks.underlying is
    'The contract_key of the underlying, as in greek_snapshots';
comment on column latest_greeks.expiration is
    'Last day of the contract';
comment on column latest_greeks.strike is
    'In units of the contract''s currency';
comment on column latest_greeks.option_type is
    'call or put';
comment on column latest_greeks.quantity is
    'Contracts held now, short negative; null for a watched contract or if impossible';
comment on column latest_greeks.multiplier is
    'Units of the underlying per contract; null if unknown, impossible or watched';
comment on column latest_greeks.currency is
    'The currency that the broker names; null if it names none (tastytrade) or for a '
    'watched contract';
comment on column latest_greeks.event_time is
    'The broker''s time of the newest tick; null before the first tick';
comment on column latest_greeks.received_at is
    'Our wall clock when its frame was read';
comment on column latest_greeks.delta is
    'Change of the option''s price per 1.00 of the underlying, for one unit, not '
    'multiplied by quantity or multiplier';
comment on column latest_greeks.gamma is
    'Change of delta per 1.00 of the underlying';
comment on column latest_greeks.theta is
    'Change of the option''s price per calendar day; greek_snapshots.theta explains how '
    'the brokers differ';
comment on column latest_greeks.vega is
    'Change of the option''s price per volatility point (0.01)';
comment on column latest_greeks.rho is
    'Change of the option''s price per rate point (0.01); ibkr sends none';
comment on column latest_greeks.implied_volatility is
    'A fraction per year: 0.183 is 18.3 %';
comment on column latest_greeks.underlying_price is
    'Price of the underlying with that tick, otherwise the newest price of the same '
    'underlying with another contract''s tick, in the unit of its quotation';
comment on column latest_greeks.availability is
    'Freshness that the broker reports: realtime, delayed, frozen or unknown';
comment on column latest_greeks.age_s is
    'Seconds since the tick was received; null before the first tick';
comment on column latest_greeks.is_stale is
    'True if the values may be out of date: no tick, not realtime, or received_at or '
    'event_time more than 300 seconds ago';
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
comment on column portfolio_greeks.broker is
    'Name of the broker, such as ibkr';
comment on column portfolio_greeks.account_id is
    'The broker''s account';
comment on column portfolio_greeks.currency is
    'Currency of the sums in money; null if the broker names none (tastytrade)';
comment on column portfolio_greeks.underlying is
    'The contract_key of the underlying; that of the position if the broker names none';
comment on column portfolio_greeks.expiration is
    'Last day of the contracts; null for shares and other positions without one';
comment on column portfolio_greeks.contracts is
    'Number of different option contracts, futures options included; not their quantity';
comment on column portfolio_greeks.shares_futures is
    'Number of positions in shares and futures';
comment on column portfolio_greeks.other_positions is
    'Number of positions of any other kind (bonds, CFDs, crypto), unknown_positions '
    'included. They are in no sum. Their count is in missing_dollar_delta and '
    'missing_value; the other Greeks are those of options';
comment on column portfolio_greeks.option_delta is
    'Sum of quantity x multiplier x delta of the options: units of the underlying';
comment on column portfolio_greeks.share_future_delta is
    'Sum of quantity x multiplier of shares and futures, whose delta is 1: units of the '
    'underlying. The multiplier of shares is 1 unless the broker names another';
comment on column portfolio_greeks.gamma is
    'Sum of quantity x multiplier x gamma: change of option_delta per 1.00 of the '
    'underlying';
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
comment on column portfolio_greeks.missing_dollar_delta is
    'Number of positions, other_positions included, that are not in dollar_delta';
comment on column portfolio_greeks.missing_dollar_gamma is
    'Number of contracts and unknown_positions that are not in dollar_gamma, for any reason';
comment on column portfolio_greeks.stale is
    'Number of contracts that are stale as in latest_greeks or have a price of the '
    'underlying that is more than 300 seconds old, and of shares_futures with such a price '
    'or none';
comment on column portfolio_greeks.not_realtime is
    'Number of positions with a value or a price from a tick whose availability is not '
    'realtime';
comment on column portfolio_greeks.oldest_age_s is
    'Seconds since the oldest tick of this row was received; null without ticks';
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

comment on view position_greeks is
    'Each open position with its part of the sums of portfolio_greeks: quantity x '
    'multiplier x Greek. A value that is not known is null, and missing names it. The same '
    'as position_greeks_asof(''infinity'')';
comment on column position_greeks.broker is
    'Name of the broker, such as ibkr';
comment on column position_greeks.account_id is
    'The broker''s account';
comment on column position_greeks.contract_key is
    'As in positions';
comment on column position_greeks.kind is
    'As in positions; only options, futures options, shares (equity) and futures are in the '
    'sums';
comment on column position_greeks.underlying is
    'The contract_key of the underlying; that of the position if the broker names none';
comment on column position_greeks.expiration is
    'Last day of the contract; null for shares and other positions without one';
comment on column position_greeks.expiration_bucket is
    'Days from today in New York to expiration: expired, 0DTE, 1-7, 8-30, 31-90, 91-365, over '
    '365; null without an expiration';
comment on column position_greeks.strike is
    'In units of the contract''s currency';
comment on column position_greeks.option_type is
    'call or put';
comment on column position_greeks.strategy_tag is
    'The strategy that position_tags gives, also if that is null; without a row there, the '
    'one of the newest trade of the same broker, account and contract that has a '
    'strategy_tag';
comment on column position_greeks.currency is
    'Currency of the values in money; null if the broker names none (tastytrade)';
comment on column position_greeks.quantity is
    'Contracts or shares held, short negative; null if impossible';
comment on column position_greeks.multiplier is
    'Units of the underlying per contract, 1 for shares; null if unknown or impossible';
comment on column position_greeks.price_factor is
    'Currency per quoted unit; null if not known';
comment on column position_greeks.price is
    'The price of the option, share or future, in the unit of its quotation';
comment on column position_greeks.underlying_price is
    'The price of the underlying that dollar_delta uses, in the unit of its quotation';
comment on column position_greeks.underlying_price_at is
    'The time of underlying_price by the broker, otherwise when it was read';
comment on column position_greeks.event_time is
    'The broker''s time of the newest tick; null for a position that is no option';
comment on column position_greeks.received_at is
    'Our wall clock when the frame of the tick was read; for shares and futures of the tick '
    'that gave the price';
comment on column position_greeks.position_delta is
    'quantity x multiplier x delta, with delta 1 for shares and futures: units of the '
    'underlying';
comment on column position_greeks.position_gamma is
    'quantity x multiplier x gamma: change of position_delta per 1.00 of the underlying';
comment on column position_greeks.position_theta is
    'quantity x multiplier x price_factor x theta: currency per calendar day. Adjusted '
    'options count with positions.premium_multiplier here and in vega, rho and value';
comment on column position_greeks.position_vega is
    'quantity x multiplier x price_factor x vega: currency per volatility point (0.01)';
comment on column position_greeks.position_rho is
    'quantity x multiplier x price_factor x rho: currency per rate point (0.01)';
comment on column position_greeks.dollar_delta is
    'position_delta x price_factor x underlying_price: currency per 100 % move';
comment on column position_greeks.dollar_gamma is
    'Change of dollar_delta, through delta, per 1 % move, in currency';
comment on column position_greeks.position_value is
    'quantity x multiplier x price_factor x price, in the currency; 0 for a future, because '
    'its gain is paid out each day';
comment on column position_greeks.age_s is
    'Seconds since the tick was received; for shares and futures the one that gave the '
    'price; null without one';
comment on column position_greeks.is_stale is
    'True if stale_reason says why';
comment on column position_greeks.stale_reason is
    'As in latest_greeks with a limit of 300 seconds; or underlying price: that price is too '
    'old; or no price: shares or a future without a price';
comment on column position_greeks.not_realtime is
    'True if a value or a price comes from a tick whose availability is not realtime';
comment on column position_greeks.missing is
    'The names of the missing_ columns of portfolio_greeks that count this position, without '
    'missing_';
comment on column position_greeks.carried is
    'The values that are from an older tick than the newest: delta, gamma, theta, vega, rho, '
    'value';
comment on column position_greeks.carried_age_s is
    'Seconds since the oldest tick with a carried value was received; null without one';

comment on view broker_divergence is
    'Each contract that latest_greeks has from ibkr and from tastytrade, side by side: '
    'for each broker the newest tick in any account. A difference is ibkr minus '
    'tastytrade, null if one of the two is null';
comment on column broker_divergence.contract_key is
    'As in greek_snapshots';
comment on column broker_divergence.underlying is
    'The contract_key of the underlying';
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
    'Price of the underlying from ibkr';
comment on column broker_divergence.tastytrade_underlying_price is
    'Price of the underlying from tastytrade';
comment on column broker_divergence.underlying_price_difference is
    'Price, ibkr minus tastytrade, in the contract''s currency';
comment on column broker_divergence.ibkr_age_s is
    'Seconds since the tick of ibkr was received; null before the first tick';
comment on column broker_divergence.tastytrade_age_s is
    'Seconds since the tick of tastytrade was received; null before the first tick';
comment on column broker_divergence.ibkr_is_stale is
    'As is_stale in latest_greeks, for the tick of ibkr';
comment on column broker_divergence.tastytrade_is_stale is
    'As is_stale in latest_greeks, for the tick of tastytrade';
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
        where v.attrelid in ('latest_account_values'::regclass) and v.attnum > 0
    loop
        execute format(
            'comment on column %s.%I is %L', copied.view, copied.attname, copied.said);
    end loop;
end
$$;


comment on view alerts is
    'The rules of alerts.toml, each with its state, the last value that told something, and '
    'the last event';
comment on column alerts.rule is
    'Its name in alerts.toml';
comment on column alerts.state is
    'new: not known yet; ok; breached; unknown: it could not be told for unknown_hold_s';
comment on column alerts.since is
    'When the state began';
comment on column alerts.figure is
    'The figure that is compared';
comment on column alerts.scope is
    'The positions that it is about: broker, account, underlying, currency';
comment on column alerts.value is
    'The last value that told something, in the unit; null if there was none';
comment on column alerts.unit is
    'The unit of value and threshold';
comment on column alerts.threshold is
    'The comparison that is a breach, such as above 500';
comment on column alerts.severity is
    'info, warning or critical';
comment on column alerts.market_hours is
    'The market in whose hours the rule counts; null for always';
comment on column alerts.value_at is
    'The time of value';
comment on column alerts.positions is
    'Number of positions of the scope at the last reading';
comment on column alerts.missing is
    'Number of them that the sum lacked at the last reading';
comment on column alerts.stale is
    'Number of them that were stale at the last reading';
comment on column alerts.reason is
    'Why the last reading told nothing; null if it did';
comment on column alerts.last_event is
    'The kind of the last event: breach, recovery, unknown, reminder or ended; null if '
    'there was none';
comment on column alerts.last_event_at is
    'The time of the last event';
comment on column alerts.evaluated_at is
    'When the service last read the figure; the other columns are of that time';

comment on view alert_history is
    'The messages about the rules of alerts.toml with their deliveries';
comment on column alert_history.id is
    'In the order of the messages';
comment on column alert_history.at is
    'The time of the reading that is the cause';
comment on column alert_history.recorded_at is
    'The database''s clock at the insert; later than at if the database was away';
comment on column alert_history.rule is
    'Its name in alerts.toml';
comment on column alert_history.kind is
    'breach, recovery, unknown, reminder, or ended: the rule was changed or removed while '
    'it was breached or unknown, which sends no message';
comment on column alert_history.from_state is
    'The state before: new, ok, breached or unknown';
comment on column alert_history.to_state is
    'The state after';
comment on column alert_history.severity is
    'info, warning or critical';
comment on column alert_history.figure is
    'The figure that is compared';
comment on column alert_history.scope is
    'The positions that it is about: broker, account, underlying, currency';
comment on column alert_history.value is
    'The value of the reading, in the unit; null if it is not known';
comment on column alert_history.unit is
    'The unit of value and threshold';
comment on column alert_history.threshold is
    'The comparison that is a breach, such as above 500';
comment on column alert_history.positions is
    'Number of positions of the scope';
comment on column alert_history.missing is
    'Number of them that the sum lacks';
comment on column alert_history.stale is
    'Number of them that are stale';
comment on column alert_history.message is
    'The text about this rule';
comment on column alert_history.deliveries is
    'A list with channel, outcome (waiting, sent, failed), attempts, reason and finished_at '
    'of each delivery';


-- Estimates of Greeks, beside the broker's own.
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


-- The estimates that take the place of missing and stale Greeks, each as its part of the sums
-- of portfolio_asof: the estimate, the change of the sum by it, and 1 where the sum lacks the
-- position without it.
create function estimated_parts_now(stale_after_s double precision)
returns table (
    broker text,
    account_id text,
    contract_key text,
    currency text,
    underlying text,
    expiration date,
    option_delta double precision,
    added_option_delta double precision,
    found_delta integer,
    gamma double precision,
    added_gamma double precision,
    found_gamma integer,
    theta double precision,
    added_theta double precision,
    found_theta integer,
    vega double precision,
    added_vega double precision,
    found_vega integer,
    rho double precision,
    added_rho double precision,
    found_rho integer,
    dollar_delta double precision,
    added_dollar_delta double precision,
    found_dollar_delta integer,
    dollar_gamma double precision,
    added_dollar_gamma double precision,
    found_dollar_gamma integer,
    age_s double precision
)
language sql stable parallel restricted
begin atomic
    with estimated as (
        select
            h.broker, h.account_id, h.contract_key, h.currency,
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
    )
    select
        e.broker, e.account_id, e.contract_key, e.currency, e.underlying, e.expiration,
        e.option_delta, e.option_delta - coalesce(e.broker_option_delta, 0),
        (e.option_delta is not null and e.broker_option_delta is null)::integer,
        e.gamma, e.gamma - coalesce(e.broker_gamma, 0),
        (e.gamma is not null and e.broker_gamma is null)::integer,
        e.theta, e.theta - coalesce(e.broker_theta, 0),
        (e.theta is not null and e.broker_theta is null)::integer,
        e.vega, e.vega - coalesce(e.broker_vega, 0),
        (e.vega is not null and e.broker_vega is null)::integer,
        e.rho, e.rho - coalesce(e.broker_rho, 0),
        (e.rho is not null and e.broker_rho is null)::integer,
        e.dollar_delta, e.dollar_delta - coalesce(e.broker_dollar_delta, 0),
        (e.dollar_delta is not null and e.broker_dollar_delta is null)::integer,
        e.dollar_gamma, e.dollar_gamma - coalesce(e.broker_dollar_gamma, 0),
        (e.dollar_gamma is not null and e.broker_dollar_gamma is null)::integer,
        e.age_s
    from estimated e
    where num_nonnulls(
        e.option_delta, e.gamma, e.theta, e.vega, e.rho, e.dollar_delta, e.dollar_gamma
    ) > 0;
end;


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
    with parts as (
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
            e.broker, e.account_id, e.currency, e.underlying, e.expiration, 0, 0, 0, 0, 1,
            null,
            e.added_option_delta, e.option_delta, -e.found_delta,
            e.added_gamma, e.gamma, -e.found_gamma,
            e.added_theta, e.theta, -e.found_theta,
            e.added_vega, e.vega, -e.found_vega,
            e.added_rho, e.rho, -e.found_rho,
            e.added_dollar_delta, e.dollar_delta, -e.found_dollar_delta,
            e.added_dollar_gamma, e.dollar_gamma, -e.found_dollar_gamma,
            null, 0, 0, 0, null, e.age_s
        from estimated_parts_now(stale_after_s) e
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


-- The beta of each of these underlyings in terms of a benchmark, with the price of the
-- benchmark: the one definition that beta_weighted_asof and risk_totals_asof share.  Betas are
-- to the S&P 500.  A future may have the beta of its product, such as /ES.  The coalesce in
-- the condition keeps the full join, which is made by hashing.
create function benchmark_betas_asof(
    moment timestamptz, benchmark text, stale_after_s double precision, underlyings text[]
)
returns table (
    underlying text,
    beta double precision,
    beta_date date,
    beta_source text,
    benchmark_beta double precision,
    benchmark_price double precision,
    benchmark_price_at timestamptz,
    benchmark_currency text
)
language sql stable parallel restricted rows 50
set jit = off
set plan_cache_mode = force_generic_plan
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
            where moment = 'infinity' and n.underlying = benchmark
            union all
            select
                a.underlying_price, a.currency,
                coalesce(a.underlying_price_at, a.event_time)
            from greeks_asof(moment, stale_after_s) a
            where moment < 'infinity' and a.underlying = benchmark
        ) g
        where g.underlying_price > 0
        order by coalesce(g.currency, 'USD') <> 'USD', g.underlying_price_at desc nulls last
        limit 1
    ),
    reference as materialized (
        select
            p.underlying_price, p.underlying_price_at,
            coalesce(p.currency, 'USD') as currency,
            case when benchmark = 'SPY' then 1
                else (
                    select m.beta from metrics m where m.symbol = benchmark and m.beta <> 0
                )
            end as beta
        from (select) one
        left join price p on true
    ),
    wanted as (
        select u.underlying, s.symbol
        from unnest(underlyings) u (underlying)
        cross join lateral (
            values (u.underlying),
                (substring(u.underlying from '^(/.+)[FGHJKMNQUVXZ][0-9]{1,2}$'))
        ) s (symbol)
        where u.underlying <> 'SPY' or benchmark <> 'SPY'
    ),
    found as (
        select distinct on (w.underlying) w.underlying, m.beta, m.beta_date, m.beta_source
        from wanted w
        full join metrics m on m.symbol = w.symbol
        where coalesce(w.underlying, '') <> '' and coalesce(m.symbol, '') <> ''
        order by w.underlying, m.beta_source <> 'file', w.symbol <> w.underlying
    )
    select
        u.underlying,
        case when u.underlying = benchmark then r.beta else f.beta end,
        f.beta_date,
        case when u.underlying = benchmark and benchmark = 'SPY' then 'definition'
            else f.beta_source end,
        r.beta, r.underlying_price, r.underlying_price_at, r.currency
    from unnest(underlyings) u (underlying)
    full join found f on f.underlying = u.underlying
    cross join reference r;
end;


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
    with held as materialized (
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
            h.*, b.beta, b.beta_date, b.beta_source, b.benchmark_beta, b.benchmark_price,
            b.benchmark_price_at, b.benchmark_currency,
            coalesce(h.currency, 'USD') = b.benchmark_currency as is_same_currency
        from held h
        full join benchmark_betas_asof(
            moment, beta_weighted_asof.benchmark, stale_after_s,
            (select array_agg(distinct k.underlying) from held k)
        ) b on b.underlying = h.underlying
    )
    select
        j.broker, j.account_id, j.currency, j.underlying, beta_weighted_asof.benchmark,
        case when j.is_same_currency
            then j.dollar_delta * j.beta / j.benchmark_beta / j.benchmark_price end,
        case when j.is_same_currency
            then j.dollar_delta * j.beta / j.benchmark_beta end,
        j.dollar_delta, j.beta, j.beta_date, j.beta_source, j.benchmark_beta,
        j.benchmark_price, j.benchmark_price_at, j.benchmark_currency, j.positions,
        j.missing_dollar_delta,
        array_remove(array[
            case when j.dollar_delta is null then 'dollar_delta' end,
            case when not j.is_same_currency then 'currency' end,
            case when j.beta is null then 'beta' end,
            case when j.benchmark_beta is null then 'benchmark_beta' end,
            case when j.benchmark_price is null then 'benchmark_price' end
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


-- The strategy of a position, as in position_greeks: one row.  An array tells no row from a
-- row without a strategy.
create function strategy_of(
    of_broker text, of_account_id text, of_contract_key text, moment timestamptz
)
returns table (strategy_tag text)
language sql stable parallel safe rows 1
begin atomic
    select (coalesce(
        (
            select array[g.strategy_tag]
            from tagged_positions g
            where g.broker = of_broker
              and g.account_id = of_account_id
              and g.contract_key = of_contract_key
        ),
        (
            select array[t.strategy_tag]
            from tagged_trades t
            where t.broker = of_broker
              and t.account_id = of_account_id
              and t.contract_key = of_contract_key
              and t.created_at <= moment
            order by t.created_at desc, t.id desc
            limit 1
        )
    ))[1];
end;


-- Sums by any of these columns: broker, account_id (and its broker), underlying, expiration,
-- expiration_bucket, strategy_tag; by none of them for the whole book.  Money of different
-- currencies is never in one sum.  Only a strategy needs the single positions; every other
-- sum is one of rows of portfolio_asof.  Without a benchmark nothing is beta-weighted.
-- Estimates are of the present, so a past moment has none.
create function risk_totals_asof(
    moment timestamptz,
    group_by text[] default '{underlying}',
    stale_after_s double precision default 300,
    only_broker text default null,
    only_account_id text default null,
    only_underlying text default null,
    only_strategy_tag text default null,
    only_expiration date default null,
    only_expiration_bucket text default null,
    only_without text[] default null,
    benchmark text default null,
    with_estimates boolean default false
)
returns table (
    broker text,
    account_id text,
    underlying text,
    expiration_bucket text,
    strategy_tag text,
    currency text,
    place bigint,
    positions bigint,
    contracts bigint,
    shares_futures bigint,
    other_positions bigint,
    unknown_positions bigint,
    unnamed_currency bigint,
    underlyings bigint,
    net_delta double precision,
    option_delta double precision,
    share_future_delta double precision,
    gamma double precision,
    dollar_delta double precision,
    dollar_gamma double precision,
    theta double precision,
    vega double precision,
    rho double precision,
    market_value double precision,
    missing_tick bigint,
    missing_multiplier bigint,
    missing_price bigint,
    missing_price_factor bigint,
    missing_net_delta bigint,
    missing_gamma bigint,
    missing_dollar_delta bigint,
    missing_dollar_gamma bigint,
    missing_theta bigint,
    missing_vega bigint,
    missing_rho bigint,
    missing_value bigint,
    stale bigint,
    not_realtime bigint,
    oldest_age_s double precision,
    carried_delta bigint,
    carried_gamma bigint,
    carried_theta bigint,
    carried_vega bigint,
    carried_rho bigint,
    carried_value bigint,
    oldest_carried_age_s double precision,
    expiration date,
    benchmark text,
    beta_weighted_delta double precision,
    beta_weighted_dollar_delta double precision,
    benchmark_price double precision,
    benchmark_price_at timestamptz,
    missing_beta_weighted bigint,
    missing_beta bigint,
    missing_currency bigint,
    missing_benchmark_beta bigint,
    missing_benchmark_price bigint,
    without_beta text[],
    oldest_beta_date date,
    estimated_contracts bigint,
    estimated_net_delta double precision,
    estimated_gamma double precision,
    estimated_dollar_delta double precision,
    estimated_dollar_gamma double precision,
    estimated_theta double precision,
    estimated_vega double precision,
    estimated_rho double precision,
    oldest_estimate_age_s double precision
)
language sql stable parallel restricted rows 20
set jit = off
set work_mem = '64MB'
set plan_cache_mode = force_generic_plan
begin atomic
    with asked as materialized (
        select
            'strategy_tag' = any(group_by) or only_strategy_tag is not null
                or coalesce('strategy_tag' = any(only_without), false)
                as needs_strategies,
            (least(moment, statement_timestamp()) at time zone 'America/New_York')::date
                as today
    ),
    summands as (
        select
            p.broker, p.account_id, p.underlying, p.expiration,
            null as strategy_tag, p.currency,
            p.contracts, p.shares_futures, p.other_positions, p.unknown_positions,
            p.option_delta, p.share_future_delta, p.gamma, p.dollar_delta, p.dollar_gamma,
            p.theta, p.vega, p.rho, p.market_value,
            p.missing_tick, p.missing_multiplier, p.missing_price, p.missing_price_factor,
            p.missing_delta, p.missing_share_future_delta, p.missing_gamma,
            p.missing_dollar_delta, p.missing_dollar_gamma, p.missing_theta,
            p.missing_vega, p.missing_rho, p.missing_value,
            p.stale, p.not_realtime, p.oldest_age_s,
            p.carried_delta, p.carried_gamma, p.carried_theta, p.carried_vega,
            p.carried_rho, p.carried_value, p.oldest_carried_age_s,
            0 as estimated_contracts, null::double precision as estimated_delta,
            null::double precision as estimated_gamma,
            null::double precision as estimated_dollar_delta,
            null::double precision as estimated_dollar_gamma,
            null::double precision as estimated_theta,
            null::double precision as estimated_vega,
            null::double precision as estimated_rho,
            null::double precision as estimate_age_s
        from portfolio_asof(moment, stale_after_s) p
        where not (select a.needs_strategies from asked a)
        union all
        select
            p.broker, p.account_id, p.underlying, p.expiration, p.strategy_tag, p.currency,
            (p.kind in ('option', 'future_option'))::integer,
            (p.kind in ('equity', 'future'))::integer,
            (p.kind not in ('option', 'future_option', 'equity', 'future'))::integer,
            (p.kind = 'unknown')::integer,
            case when p.kind in ('option', 'future_option') then p.position_delta end,
            case when p.kind in ('equity', 'future') then p.position_delta end,
            p.position_gamma, p.dollar_delta, p.dollar_gamma, p.position_theta,
            p.position_vega, p.position_rho, p.position_value,
            ('tick' = any(p.missing))::integer,
            ('multiplier' = any(p.missing))::integer,
            ('price' = any(p.missing))::integer,
            ('price_factor' = any(p.missing))::integer,
            ('delta' = any(p.missing))::integer,
            ('share_future_delta' = any(p.missing))::integer,
            ('gamma' = any(p.missing))::integer,
            ('dollar_delta' = any(p.missing))::integer,
            ('dollar_gamma' = any(p.missing))::integer,
            ('theta' = any(p.missing))::integer,
            ('vega' = any(p.missing))::integer,
            ('rho' = any(p.missing))::integer,
            ('value' = any(p.missing))::integer,
            p.is_stale::integer, p.not_realtime::integer, p.age_s,
            ('delta' = any(p.carried))::integer,
            ('gamma' = any(p.carried))::integer,
            ('theta' = any(p.carried))::integer,
            ('vega' = any(p.carried))::integer,
            ('rho' = any(p.carried))::integer,
            ('value' = any(p.carried))::integer,
            p.carried_age_s,
            0, null, null, null, null, null, null, null, null
        from position_greeks_asof(moment, stale_after_s) p
        where (select a.needs_strategies from asked a)
        union all
        -- The changes of the sums by estimates.
        select
            e.broker, e.account_id, e.underlying, e.expiration,
            case when (select a.needs_strategies from asked a) then s.strategy_tag end,
            e.currency, 0, 0, 0, 0,
            e.added_option_delta, null, e.added_gamma, e.added_dollar_delta,
            e.added_dollar_gamma, e.added_theta, e.added_vega, e.added_rho, null,
            0, 0, 0, 0,
            -e.found_delta, 0, -e.found_gamma, -e.found_dollar_delta,
            -e.found_dollar_gamma, -e.found_theta, -e.found_vega, -e.found_rho, 0,
            0, 0, null, 0, 0, 0, 0, 0, 0, null,
            1, e.option_delta, e.gamma, e.dollar_delta, e.dollar_gamma, e.theta, e.vega,
            e.rho, e.age_s
        from estimated_parts_now(stale_after_s) e
        cross join lateral strategy_of(e.broker, e.account_id, e.contract_key, moment) s
        where with_estimates and moment = 'infinity'
    ),
    wanted as materialized (
        select
            s.*,
            coalesce(s.currency, 'USD') as money,
            s.contracts + s.shares_futures + s.other_positions as positions,
            case
                when 'expiration_bucket' = any(group_by)
                    or only_expiration_bucket is not null
                then expiration_bucket(s.expiration, (select a.today from asked a))
            end as expiration_bucket
        from summands s
        where coalesce(s.broker = only_broker, only_broker is null)
          and coalesce(s.account_id = only_account_id, only_account_id is null)
          and coalesce(s.underlying = only_underlying, only_underlying is null)
          and (only_strategy_tag is null or s.strategy_tag = only_strategy_tag)
          and (only_expiration is null or s.expiration = only_expiration)
          and (
              only_expiration_bucket is null
              or expiration_bucket(s.expiration, (select a.today from asked a))
                  = only_expiration_bucket
          )
          and (s.expiration is null or ('expiration' = any(only_without)) is not true)
          and (s.strategy_tag is null or ('strategy_tag' = any(only_without)) is not true)
    ),
    -- Made by hashing, as in portfolio_sums.
    weighted as (
        select
            w.*, b.beta, b.beta_date, b.benchmark_beta, b.benchmark_price,
            b.benchmark_price_at, w.money = b.benchmark_currency as is_same_currency,
            -- Null: it cannot be weighted.
            case when w.money = b.benchmark_currency then b.beta / b.benchmark_beta end
                as weight
        from wanted w
        full join (
            select a.*
            from benchmark_betas_asof(
                moment, risk_totals_asof.benchmark, stale_after_s,
                (select array_agg(distinct k.underlying) from wanted k)
            ) a
            where risk_totals_asof.benchmark is not null
        ) b on b.underlying = w.underlying
    ),
    summed as (
        select
            case when 'broker' = any(group_by) or 'account_id' = any(group_by)
                then s.broker end as broker,
            case when 'account_id' = any(group_by) then s.account_id end as account_id,
            case when 'underlying' = any(group_by) then s.underlying end as underlying,
            case when 'expiration' = any(group_by) then s.expiration end as expiration,
            case when 'expiration_bucket' = any(group_by) then s.expiration_bucket end
                as expiration_bucket,
            case when 'strategy_tag' = any(group_by) then s.strategy_tag end
                as strategy_tag,
            s.money as currency,
            sum(s.positions) as positions,
            sum(s.contracts) as contracts,
            sum(s.shares_futures) as shares_futures,
            sum(s.other_positions) as other_positions,
            sum(s.unknown_positions) as unknowns,
            sum(s.positions) filter (where s.currency is null) as unnamed_currency,
            count(distinct s.underlying) as underlyings,
            sum(s.option_delta) as option_delta,
            sum(s.share_future_delta) as share_future_delta,
            sum(s.gamma) as gamma,
            sum(s.dollar_delta) as dollar_delta,
            sum(s.dollar_gamma) as dollar_gamma,
            sum(s.theta) as theta,
            sum(s.vega) as vega,
            sum(s.rho) as rho,
            sum(s.market_value) as market_value,
            sum(s.missing_tick) as missing_tick,
            sum(s.missing_multiplier) as missing_multiplier,
            sum(s.missing_price) as missing_price,
            sum(s.missing_price_factor) as missing_price_factor,
            sum(s.missing_delta) as missing_delta,
            sum(s.missing_share_future_delta) as missing_share_future_delta,
            sum(s.missing_gamma) as missing_gamma,
            sum(s.missing_dollar_delta) as missing_dollar_delta,
            sum(s.missing_dollar_gamma) as missing_dollar_gamma,
            sum(s.missing_theta) as missing_theta,
            sum(s.missing_vega) as missing_vega,
            sum(s.missing_rho) as missing_rho,
            sum(s.missing_value) as missing_value,
            sum(s.stale) as stale,
            sum(s.not_realtime) as not_realtime,
            max(s.oldest_age_s) as oldest_age_s,
            sum(s.carried_delta) as carried_delta,
            sum(s.carried_gamma) as carried_gamma,
            sum(s.carried_theta) as carried_theta,
            sum(s.carried_vega) as carried_vega,
            sum(s.carried_rho) as carried_rho,
            sum(s.carried_value) as carried_value,
            max(s.oldest_carried_age_s) as oldest_carried_age_s,
            sum(s.dollar_delta * s.weight / s.benchmark_price) as beta_weighted_delta,
            sum(s.dollar_delta * s.weight) as beta_weighted_dollar_delta,
            max(s.benchmark_price) as benchmark_price,
            max(s.benchmark_price_at) as benchmark_price_at,
            sum(
                case when s.weight is null then s.positions
                    else s.missing_dollar_delta end
            ) as missing_beta_weighted,
            sum(s.positions) filter (where s.beta is null) as missing_beta,
            sum(s.positions) filter (where not s.is_same_currency) as missing_currency,
            sum(s.positions) filter (where s.benchmark_beta is null)
                as missing_benchmark_beta,
            sum(s.positions) filter (where s.benchmark_price is null)
                as missing_benchmark_price,
            array_agg(distinct s.underlying) filter (where s.beta is null) as without_beta,
            min(s.beta_date) filter (where s.dollar_delta * s.weight is not null)
                as oldest_beta_date,
            sum(s.estimated_contracts) as estimated_contracts,
            sum(s.estimated_delta) as estimated_delta,
            sum(s.estimated_gamma) as estimated_gamma,
            sum(s.estimated_dollar_delta) as estimated_dollar_delta,
            sum(s.estimated_dollar_gamma) as estimated_dollar_gamma,
            sum(s.estimated_theta) as estimated_theta,
            sum(s.estimated_vega) as estimated_vega,
            sum(s.estimated_rho) as estimated_rho,
            max(s.estimate_age_s) as oldest_estimate_age_s
        from weighted s
        group by 1, 2, 3, 4, 5, 6, 7
    ),
    -- The positions that could have a value of each kind.
    counted as (
        select
            s.*,
            s.contracts + s.unknowns as options,
            s.shares_futures + s.unknowns as shares
        from summed s
    )
    -- As in portfolio_sums, a sum is null if none of its values is known, and 0 if there is
    -- nothing to sum.
    select
        c.broker, c.account_id, c.underlying, c.expiration_bucket, c.strategy_tag,
        c.currency,
        coalesce(array_position(expiration_buckets(), c.expiration_bucket), 0),
        c.positions, c.contracts, c.shares_futures, c.other_positions, c.unknowns,
        coalesce(c.unnamed_currency, 0),
        c.underlyings,
        case
            when c.underlyings > 1 then null
            when c.contracts + c.shares_futures + c.unknowns = 0 then 0
            when c.missing_delta = c.options and c.missing_share_future_delta = c.shares
                then null
            else coalesce(c.option_delta, 0) + coalesce(c.share_future_delta, 0)
        end,
        case
            when c.underlyings > 1 then null
            when c.options = 0 then 0
            when c.missing_delta < c.options then c.option_delta
        end,
        case
            when c.underlyings > 1 then null
            when c.shares = 0 then 0
            when c.missing_share_future_delta < c.shares then c.share_future_delta
        end,
        case
            when c.underlyings > 1 then null
            when c.options = 0 then 0
            when c.missing_gamma < c.options then c.gamma
        end,
        c.dollar_delta,
        case when c.options = 0 then 0
            when c.missing_dollar_gamma < c.options then c.dollar_gamma end,
        case when c.options = 0 then 0 when c.missing_theta < c.options then c.theta end,
        case when c.options = 0 then 0 when c.missing_vega < c.options then c.vega end,
        case when c.options = 0 then 0 when c.missing_rho < c.options then c.rho end,
        c.market_value,
        c.missing_tick, c.missing_multiplier, c.missing_price, c.missing_price_factor,
        c.missing_delta + c.missing_share_future_delta - c.unknowns,
        c.missing_gamma, c.missing_dollar_delta, c.missing_dollar_gamma, c.missing_theta,
        c.missing_vega, c.missing_rho, c.missing_value,
        c.stale, c.not_realtime, c.oldest_age_s,
        c.carried_delta, c.carried_gamma, c.carried_theta, c.carried_vega, c.carried_rho,
        c.carried_value, c.oldest_carried_age_s,
        c.expiration, risk_totals_asof.benchmark, c.beta_weighted_delta,
        c.beta_weighted_dollar_delta, c.benchmark_price, c.benchmark_price_at,
        case when w.is_wanted then c.missing_beta_weighted end,
        case when w.is_wanted then coalesce(c.missing_beta, 0) end,
        case when w.is_wanted then coalesce(c.missing_currency, 0) end,
        case when w.is_wanted then coalesce(c.missing_benchmark_beta, 0) end,
        case when w.is_wanted then coalesce(c.missing_benchmark_price, 0) end,
        case when w.is_wanted then coalesce(c.without_beta, '{}') end,
        c.oldest_beta_date,
        c.estimated_contracts,
        case when c.underlyings = 1 then coalesce(c.estimated_delta, 0) end,
        case when c.underlyings = 1 then coalesce(c.estimated_gamma, 0) end,
        coalesce(c.estimated_dollar_delta, 0), coalesce(c.estimated_dollar_gamma, 0),
        coalesce(c.estimated_theta, 0), coalesce(c.estimated_vega, 0),
        coalesce(c.estimated_rho, 0), c.oldest_estimate_age_s
    from counted c
    cross join (select risk_totals_asof.benchmark is not null as is_wanted) w;
end;


-- A condition on group_by is a condition on a constant, so only the wanted sums are made.
create view risk_totals as
select
    g.group_by, t.broker, t.account_id, t.underlying, t.expiration_bucket, t.strategy_tag,
    t.currency, t.place, t.positions, t.contracts, t.shares_futures, t.other_positions,
    t.unknown_positions, t.unnamed_currency, t.underlyings, t.net_delta, t.option_delta,
    t.share_future_delta, t.gamma, t.dollar_delta, t.dollar_gamma, t.theta, t.vega, t.rho,
    t.market_value, t.missing_tick, t.missing_multiplier, t.missing_price,
    t.missing_price_factor, t.missing_net_delta, t.missing_gamma, t.missing_dollar_delta,
    t.missing_dollar_gamma, t.missing_theta, t.missing_vega, t.missing_rho,
    t.missing_value, t.stale, t.not_realtime, t.oldest_age_s, t.carried_delta,
    t.carried_gamma, t.carried_theta, t.carried_vega, t.carried_rho, t.carried_value,
    t.oldest_carried_age_s, t.expiration, t.benchmark, t.beta_weighted_delta,
    t.beta_weighted_dollar_delta, t.benchmark_price, t.benchmark_price_at,
    t.missing_beta_weighted, t.missing_beta, t.missing_currency, t.missing_benchmark_beta,
    t.missing_benchmark_price, t.without_beta, t.oldest_beta_date
from (
    values
        ('book', '{}'::text[]), ('currency', '{}'), ('broker', '{broker}'),
        ('account_id', '{account_id}'), ('underlying', '{underlying}'),
        ('expiration', '{expiration}'), ('expiration_bucket', '{expiration_bucket}'),
        ('strategy_tag', '{strategy_tag}')
) g (group_by, columns)
cross join lateral risk_totals_asof('infinity', g.columns, benchmark => 'SPY') t;


comment on function benchmark_betas_asof(timestamptz, text, double precision, text[]) is
    'The betas of these underlyings in terms of a benchmark, and its price. infinity: the '
    'present';
comment on function estimated_parts_now(double precision) is
    'The estimates that count in portfolio_with_estimates: one row for each contract';
comment on function strategy_of(text, text, text, timestamptz) is
    'The strategy of a position at a moment, as in position_greeks';
comment on function risk_totals_asof(
    timestamptz, text[], double precision, text, text, text, text, date, text, text[], text,
    boolean
) is
    'The columns of risk_totals at any moment, by any of broker, account_id, underlying, '
    'expiration, expiration_bucket and strategy_tag together, and by currency always; an '
    'empty array is the whole book. The first and the third argument are those of '
    'greeks_asof. The next ones choose positions; only_without takes expiration and '
    'strategy_tag, and chooses positions that have none. Without a benchmark '
    'there are no beta-weighted sums. with_estimates: the sums are those of portfolio_with_estimates, '
    'and the estimated_ columns have the part of each that is estimated';

comment on view risk_totals is
    'The sums of portfolio_greeks by what group_by says, and by currency. Choose one '
    'group_by: each has the whole book. A sum has the known values only, and the missing_ '
    'column beside it counts the positions that it lacks. A sum is null if no value of its '
    'kind is known, and 0 if there is no position of its kind. The same as '
    'risk_totals_asof(''infinity'', ...)';
comment on column risk_totals.group_by is
    'book, currency (the same rows), broker, account_id, underlying, expiration, '
    'expiration_bucket or strategy_tag';
comment on column risk_totals.broker is
    'Name of the broker; null unless grouped by broker or account_id';
comment on column risk_totals.account_id is
    'The broker''s account; null unless grouped by it';
comment on column risk_totals.underlying is
    'The contract_key of the underlying; null unless grouped by it';
comment on column risk_totals.expiration_bucket is
    'As in position_greeks; null for positions without an expiration, or unless grouped by '
    'it';
comment on column risk_totals.strategy_tag is
    'As in position_greeks; null for positions without a strategy, or unless grouped by it';
comment on column risk_totals.currency is
    'Currency of the sums in money. Positions whose broker names none count as USD';
comment on column risk_totals.place is
    'The place of the row in the order of the expiration buckets; otherwise 0';
comment on column risk_totals.positions is
    'Number of positions';
comment on column risk_totals.contracts is
    'Number of different option contracts, futures options included; not their quantity';
comment on column risk_totals.shares_futures is
    'Number of positions in shares and futures';
comment on column risk_totals.other_positions is
    'Number of positions of any other kind (bonds, CFDs, crypto), unknown_positions '
    'included; no sum has them';
comment on column risk_totals.unknown_positions is
    'Number of positions that could not be identified';
comment on column risk_totals.unnamed_currency is
    'Number of positions whose broker names no currency (tastytrade)';
comment on column risk_totals.underlyings is
    'Number of different underlyings';
comment on column risk_totals.net_delta is
    'option_delta and share_future_delta together: units of the underlying. Null if there '
    'are several underlyings, because their units do not add up; dollar_delta does';
comment on column risk_totals.option_delta is
    'As in portfolio_greeks: units of the underlying; null if there are several';
comment on column risk_totals.share_future_delta is
    'As in portfolio_greeks: units of the underlying; null if there are several';
comment on column risk_totals.gamma is
    'As in portfolio_greeks: change of option_delta per 1.00 of the underlying; null if there '
    'are several';
comment on column risk_totals.dollar_delta is
    'As in portfolio_greeks: currency per 100 % move';
comment on column risk_totals.dollar_gamma is
    'As in portfolio_greeks: change of dollar_delta per 1 % move, in currency';
comment on column risk_totals.theta is
    'As in portfolio_greeks: currency per calendar day';
comment on column risk_totals.vega is
    'As in portfolio_greeks: currency per volatility point (0.01)';
comment on column risk_totals.rho is
    'As in portfolio_greeks: currency per rate point (0.01)';
comment on column risk_totals.market_value is
    'As in portfolio_greeks: currency';
comment on column risk_totals.missing_tick is
    'Number of contracts without a tick, and unknown_positions';
comment on column risk_totals.missing_multiplier is
    'Number of contracts and shares_futures without a possible multiplier or quantity, and '
    'unknown_positions';
comment on column risk_totals.missing_price is
    'Number of contracts and shares_futures without a known price of the underlying, and '
    'unknown_positions';
comment on column risk_totals.missing_price_factor is
    'Number of contracts and shares_futures without a known price_factor, and '
    'unknown_positions';
comment on column risk_totals.missing_net_delta is
    'Number of contracts, shares_futures and unknown_positions that are not in net_delta';
comment on column risk_totals.missing_gamma is
    'Number of contracts and unknown_positions that are not in gamma';
comment on column risk_totals.missing_dollar_delta is
    'Number of positions, other_positions included, that are not in dollar_delta';
comment on column risk_totals.missing_dollar_gamma is
    'Number of contracts and unknown_positions that are not in dollar_gamma';
comment on column risk_totals.missing_theta is
    'Number of contracts and unknown_positions that are not in theta';
comment on column risk_totals.missing_vega is
    'Number of contracts and unknown_positions that are not in vega';
comment on column risk_totals.missing_rho is
    'Number of contracts and unknown_positions that are not in rho; ibkr sends none';
comment on column risk_totals.missing_value is
    'Number of positions, other_positions included, that are not in market_value';
comment on column risk_totals.stale is
    'Number of contracts and shares_futures that are stale as in portfolio_greeks';
comment on column risk_totals.not_realtime is
    'Number of positions with a value or a price from a tick whose availability is not '
    'realtime';
comment on column risk_totals.oldest_age_s is
    'Seconds since the oldest tick of this row was received; null without ticks';
comment on column risk_totals.carried_delta is
    'Number of contracts whose delta is from an older tick than the newest';
comment on column risk_totals.carried_gamma is
    'Number of contracts whose gamma is from an older tick than the newest';
comment on column risk_totals.carried_theta is
    'Number of contracts whose theta is from an older tick than the newest';
comment on column risk_totals.carried_vega is
    'Number of contracts whose vega is from an older tick than the newest';
comment on column risk_totals.carried_rho is
    'Number of contracts whose rho is from an older tick than the newest';
comment on column risk_totals.carried_value is
    'Number of contracts in market_value whose price is from an older tick than the newest';
comment on column risk_totals.oldest_carried_age_s is
    'Seconds since the oldest tick with a carried Greek or price was received; null without '
    'one';
comment on column risk_totals.expiration is
    'Last day of the contracts; null for positions without an expiration, or unless grouped '
    'by it';
comment on column risk_totals.benchmark is
    'SPY; risk_totals_asof takes others';
comment on column risk_totals.beta_weighted_delta is
    'The sum of beta_weighted.beta_weighted_delta: shares of the benchmark';
comment on column risk_totals.beta_weighted_dollar_delta is
    'The sum of beta_weighted.beta_weighted_dollar_delta: currency';
comment on column risk_totals.benchmark_price is
    'As in beta_weighted';
comment on column risk_totals.benchmark_price_at is
    'As in beta_weighted';
comment on column risk_totals.missing_beta_weighted is
    'Number of positions that are not in beta_weighted_dollar_delta, for any reason';
comment on column risk_totals.missing_beta is
    'Number of positions whose underlying has no known beta';
comment on column risk_totals.missing_currency is
    'Number of positions in another currency than that of the benchmark';
comment on column risk_totals.missing_benchmark_beta is
    'Number of positions, if the benchmark has no known beta';
comment on column risk_totals.missing_benchmark_price is
    'Number of positions, if the benchmark has no known price: beta_weighted_delta lacks them';
comment on column risk_totals.without_beta is
    'The underlyings without a known beta';
comment on column risk_totals.oldest_beta_date is
    'The oldest day of a beta in the sum';


-- The trades that people and programs record, for the functions below.  A role needs the
-- right to read it, because a function reads with the rights of its caller.
create view trade_history as
select id, created_at, broker, account_id, contract_key, action, quantity, price
from trades;

comment on view trade_history is
    'The rows of trades, without symbols, strategies and metadata';
comment on column trade_history.id is 'As in trades';
comment on column trade_history.created_at is 'As in trades';
comment on column trade_history.broker is 'As in trades';
comment on column trade_history.account_id is 'As in trades';
comment on column trade_history.contract_key is 'As in trades';
comment on column trade_history.action is 'As in trades';
comment on column trade_history.quantity is 'As in trades';
comment on column trade_history.price is 'As in trades';


-- Midnight in New York at the begin of the day of a moment.
create function start_of_day(moment timestamptz)
returns timestamptz
language sql stable parallel safe
return date_trunc('day', least(moment, statement_timestamp()), 'America/New_York');


-- The price of an option, or of its underlying, in the first tick with one from a moment on.
create function price_from(
    of_broker text, of_account_id text, of_contract_key text, of_underlying boolean,
    earliest timestamptz, latest timestamptz
)
returns table (price double precision, price_at timestamptz)
language sql stable parallel safe rows 1
begin atomic
    select
        case when of_underlying
            then possible_price(s.underlying_price, s.underlying like '/%')
            else s.price end,
        s.event_time
    from tick_history s
    where s.broker = of_broker
      and s.account_id = of_account_id
      and s.contract_key = of_contract_key
      -- As in newest_by_lookup.
      and s.contract_key between of_contract_key and of_contract_key
      and s.event_time >= earliest
      and s.event_time <= latest
      and case when of_underlying
          then possible_price(s.underlying_price, s.underlying like '/%') is not null
          else s.price between 0 and 1e9 end
    order by s.event_time, s.received_at, s.id
    limit 1;
end;


-- The same in the last tick with one, up to a moment.
create function price_until(
    of_broker text, of_account_id text, of_contract_key text, of_underlying boolean,
    earliest timestamptz, latest timestamptz
)
returns table (price double precision, price_at timestamptz)
language sql stable parallel safe rows 1
begin atomic
    select
        case when of_underlying
            then possible_price(s.underlying_price, s.underlying like '/%')
            else s.price end,
        s.event_time
    from tick_history s
    where s.broker = of_broker
      and s.account_id = of_account_id
      and s.contract_key = of_contract_key
      -- As in newest_by_lookup.
      and s.contract_key between of_contract_key and of_contract_key
      and s.event_time > earliest
      and s.event_time <= latest
      and case when of_underlying
          then possible_price(s.underlying_price, s.underlying like '/%') is not null
          else s.price between 0 and 1e9 end
    order by s.event_time desc, s.received_at desc, s.id desc
    limit 1;
end;


-- Whether a change of quantity is a split of the shares: the price has changed by the same
-- factor, 1.5 or more, but for a move of up to 15 %.  The brokers send no word of a split.
create function is_split(
    before_units double precision, after_units double precision,
    before_price double precision, after_price double precision
)
returns boolean
language sql immutable parallel safe
return case
    when before_units * after_units > 0 and before_price > 0 and after_price > 0
    then abs(ln(after_units / before_units)) > 0.4
        and abs(ln(after_units / before_units) - ln(before_price / after_price)) < 0.15
    else false
end;


-- The profit or loss of each position between two moments: its value at the end, less its
-- value at the start, less the money of its trades.  The values are those of
-- position_greeks_asof at the two moments.
--
-- Most positions have a price at both moments and the same quantity: they are plain, and cost
-- nothing more.  For the others the rows of positions and single prices are looked up.
--
-- A change of quantity has the price of the recorded trades that add up to it; otherwise that
-- of the next tick.  A position counts from its first price after the start, if it has none
-- before, or if it comes from the first reading of its account.
create function position_profit(
    start timestamptz, moment timestamptz, stale_after_s double precision default 300
)
returns table (
    broker text,
    account_id text,
    contract_key text,
    kind text,
    underlying text,
    expiration date,
    expiration_bucket text,
    strategy_tag text,
    currency text,
    quantity numeric,
    start_price double precision,
    start_price_at timestamptz,
    end_price double precision,
    end_price_at timestamptz,
    start_value double precision,
    end_value double precision,
    trades double precision,
    profit_loss double precision,
    first_price_at timestamptz,
    trades_at_price bigint,
    trades_at_mark bigint,
    splits bigint,
    expired bigint,
    unused_trades bigint,
    is_stale boolean,
    left_out text
)
language sql stable parallel restricted rows 200
set jit = off
set work_mem = '64MB'
set plan_cache_mode = force_generic_plan
begin atomic
    with ends as materialized (
        select
            least(moment, statement_timestamp()) as at,
            (least(moment, statement_timestamp()) at time zone 'America/New_York')::date
                as today,
            -- It may be a long week-end.
            start - interval '7 days' as earliest
    ),
    before as materialized (
        select
            p.broker, p.account_id, p.contract_key, p.kind, p.underlying, p.expiration,
            p.currency, p.price_factor, p.price,
            case when p.kind in ('option', 'future_option') then p.event_time
                else p.underlying_price_at end as price_at,
            case when p.kind = 'future'
                then p.position_delta * p.price_factor * p.price
                else p.position_value end as worth
        from position_greeks_asof(start, stale_after_s) p
        where start < (select e.at from ends e)
    ),
    after as materialized (
        select
            p.broker, p.account_id, p.contract_key, p.kind, p.underlying, p.expiration,
            p.strategy_tag, p.currency, p.quantity, p.price_factor, p.price, p.is_stale,
            case when p.kind in ('option', 'future_option') then p.event_time
                else p.underlying_price_at end as price_at,
            case when p.kind = 'future'
                then p.position_delta * p.price_factor * p.price
                else p.position_value end as worth
        from position_greeks_asof(moment, stale_after_s) p
        where start < (select e.at from ends e)
    ),
    -- The contracts with a row between the two moments, from the index alone.
    moved as materialized (
        select distinct p.broker, p.account_id, p.contract_key
        from position_history p
        where (
              p.expiration is null
              or p.expiration > start at time zone 'UTC' - interval '36 hours'
          )
          and least(p.observed_at, p.recorded_at) > start
          and least(p.observed_at, p.recorded_at) <= (select e.at from ends e)
    ),
    -- Full joins are made by hashing, here and below, as in portfolio_sums.
    paired as materialized (
        select
            broker, account_id, contract_key,
            m.contract_key is null
                and b.worth is not null and b.price_at > (select e.earliest from ends e)
                and a.worth is not null and a.price_at > (select e.earliest from ends e)
                as is_plain,
            coalesce(a.kind, b.kind) as kind,
            coalesce(a.underlying, b.underlying) as underlying,
            coalesce(a.expiration, b.expiration) as expiration,
            case when a.contract_key is not null then a.currency else b.currency end
                as currency,
            coalesce(a.price_factor, b.price_factor) as price_factor,
            a.contract_key is not null as is_open, a.strategy_tag, a.quantity, a.is_stale,
            b.worth as start_worth, a.worth as end_worth,
            case when b.price_at > (select e.earliest from ends e) then b.price end
                as start_price,
            b.price_at as start_price_at,
            case when a.price_at > (select e.earliest from ends e) then a.price end
                as end_price,
            a.price_at as end_price_at
        from before b
        full join after a using (broker, account_id, contract_key)
        full join moved m using (broker, account_id, contract_key)
    ),
    detailed as materialized (
        select
            row_number() over () as number, p.broker, p.account_id, p.contract_key,
            coalesce(p.kind, o.kind) as kind,
            coalesce(p.underlying, o.underlying, p.contract_key) as underlying,
            coalesce(p.expiration, o.expiration) as expiration,
            case when p.kind is null then o.currency else p.currency end as currency,
            coalesce(p.price_factor, o.price_factor) as price_factor, p.is_open, p.strategy_tag, p.quantity, p.is_stale, p.start_price,
            p.start_price_at, p.end_price, p.end_price_at
        from paired p
        -- Opened and closed between the moments.
        left join lateral (
            select h.kind, h.underlying, h.expiration, h.currency, h.price_factor
            from position_history h
            where p.kind is null
              and h.broker = p.broker
              and h.account_id = p.account_id
              and h.contract_key = p.contract_key
              and least(h.observed_at, h.recorded_at) > start
              and least(h.observed_at, h.recorded_at) <= (select e.at from ends e)
              and h.quantity is distinct from 0
            order by least(h.observed_at, h.recorded_at) desc, h.observed_at desc
            limit 1
        ) o on true
        where not p.is_plain and (p.kind is not null or o.kind is not null)
    ),
    -- The quantities of these: the last one up to the start, the later ones, and none from
    -- the end of an expired contract on.
    quantities as (
        select
            d.number, d.broker, d.account_id, d.contract_key, d.kind, d.underlying,
            d.expiration, d.currency, d.price_factor, q.at, q.observed_at, q.at <= start as is_first, q.is_expiry,
            possible(q.quantity, -1e12, 1e12)::double precision as quantity,
            (case
                when q.quantity = 0 then 0
                else possible(q.quantity, -1e12, 1e12) * q.price_factor * q.multiplier
            end)::double precision as units,
            q.multiplier::double precision as multiplier
        from detailed d
        cross join lateral (
            select
                least(p.observed_at, p.recorded_at) as at, p.observed_at,
                false as is_expiry, p.quantity,
                case
                    when p.premium_multiplier is not null
                    then possible(p.premium_multiplier, 1e-12, 1e12)
                    when p.kind = 'equity' and coalesce(p.multiplier, 0) = 0 then 1
                    else possible(p.multiplier, 1e-12, 1e12)
                end as multiplier,
                case
                    when p.price_factor is not null
                    then possible(p.price_factor, 1e-12, 1e12)
                    when is_in_dollars(p.kind, p.contract_key, p.currency) then 1
                end as price_factor
            from (
                (
                    select h.*
                    from position_history h
                    where h.broker = d.broker
                      and h.account_id = d.account_id
                      and h.contract_key = d.contract_key
                      and least(h.observed_at, h.recorded_at) <= start
                    order by least(h.observed_at, h.recorded_at) desc, h.observed_at desc
                    limit 1
                )
                union all
                select h.*
                from position_history h
                where h.broker = d.broker
                  and h.account_id = d.account_id
                  and h.contract_key = d.contract_key
                  and least(h.observed_at, h.recorded_at) > start
                  and least(h.observed_at, h.recorded_at) <= (select e.at from ends e)
            ) p
            union all
            select x.at, x.at, true, 0, null, null
            from (
                select d.expiration::timestamp at time zone 'UTC' + interval '36 hours' as at
            ) x
            where x.at > start and x.at <= (select e.at from ends e)
        ) q
    ),
    -- A row that repeats the one before is no reading of its own: trades before it may
    -- belong to the next change.
    told_once as (
        select
            r.*,
            lag(r.at, 1, '-infinity') over w as before_at,
            lag(r.quantity, 1, 0::double precision) over w as before_quantity,
            lag(r.units, 1, 0::double precision) over w as before_units,
            lag(r.multiplier) over w as before_multiplier
        from (
            select
                q.*,
                lag(q.number) over v is null
                    or q.quantity is distinct from lag(q.quantity) over v
                    or q.units is distinct from lag(q.units) over v as is_new
            from quantities q
            window v as (partition by q.number order by q.at, q.observed_at)
        ) r
        where r.is_new
        window w as (partition by r.number order by r.at, r.observed_at)
    ),
    held as (
        select
            t.number,
            bool_or(t.units is null) as is_unknown,
            coalesce(sum(t.units) filter (where t.is_first), 0) as start_units,
            (array_agg(t.units order by t.at desc, t.observed_at desc))[1] as end_units
        from told_once t
        group by t.number
    ),
    -- The accounts that were first read after the start, with the moment.
    new_accounts as materialized (
        select a.broker, a.account_id, first.at
        from (select distinct d.broker, d.account_id from detailed d) a
        cross join lateral (
            select min(least(p.observed_at, p.recorded_at)) as at
            from position_history p
            where p.broker = a.broker and p.account_id = a.account_id
        ) first
        where not exists (
            select from position_history p
            where p.broker = a.broker
              and p.account_id = a.account_id
              and least(p.observed_at, p.recorded_at) <= start
        )
    ),
    -- The changes of quantity; also the start and the end that have no price.
    changes as (
        select
            t.number, t.broker, t.account_id, t.contract_key, t.kind, t.underlying,
            t.currency, t.price_factor, t.at, t.before_units,
            t.units - t.before_units as units,
            case when f.is_fitting
                then f.amount * coalesce(t.multiplier, t.before_multiplier) end as cash,
            case when f.is_fitting then f.used end as used,
            case
                when f.is_fitting then 'price'
                when t.before_at = '-infinity' and n.at >= t.at then 'first'
                when t.is_expiry or t.quantity = 0
                    and t.at >= (t.expiration + time '16:00') at time zone 'America/New_York'
                    then 'expired'
                else 'mark'
            end as valued
        from told_once t
        left join new_accounts n on n.broker = t.broker and n.account_id = t.account_id
        cross join lateral (
            select
                coalesce(
                    count(*) > 0
                    and count(*) = count(s.price)
                    and abs(sum(s.signed) - (t.quantity - t.before_quantity)) <= 1e-9
                    and coalesce(t.multiplier, t.before_multiplier) is not null,
                    false
                ) as is_fitting,
                sum(s.signed * s.price) as amount,
                count(*) filter (where s.created_at > start) as used
            from (
                select
                    h.created_at, h.price::double precision as price,
                    (case
                        when lower(btrim(h.action)) like 'sell%' then -abs(h.quantity)
                        when lower(btrim(h.action)) like 'buy%' then abs(h.quantity)
                        else h.quantity
                    end)::double precision as signed
                from trade_history h
                where h.broker = t.broker
                  and h.account_id = t.account_id
                  and h.contract_key = t.contract_key
                  -- A position may be read some time after the trade.
                  and h.created_at > greatest(t.before_at, start - interval '1 hour')
                  and h.created_at <= t.at
                  and not t.is_expiry
            ) s
        ) f
        where not t.is_first and t.units <> t.before_units
        union all
        select
            d.number, d.broker, d.account_id, d.contract_key, d.kind, d.underlying,
            d.currency, d.price_factor, start, 0, h.start_units, null, null, 'base'
        from detailed d
        full join held h on h.number = d.number
        where coalesce(h.start_units <> 0 and d.start_price is null, false)
        union all
        select
            d.number, d.broker, d.account_id, d.contract_key, d.kind, d.underlying,
            d.currency, d.price_factor, (select e.at from ends e), 0, h.end_units, null,
            null, 'end'
        from detailed d
        full join held h on h.number = d.number
        where coalesce(h.end_units <> 0 and d.end_price is null, false)
    ),
    -- Options that give the price of a share or a future where none comes with an option
    -- that is held at that moment.
    lenders as materialized (
        select
            p.broker, p.account_id, p.contract_key, p.underlying, p.currency, p.kind,
            p.price_factor
        from paired p
        where p.kind in ('option', 'future_option')
        union
        select
            d.broker, d.account_id, d.contract_key, d.underlying, d.currency, d.kind,
            d.price_factor
        from detailed d
        where d.kind in ('option', 'future_option')
        union
        select
            k.broker, k.account_id, k.contract_key, k.underlying, k.currency, k.kind,
            k.price_factor
        from kept_ticks k
        where k.account_id = 'watchlist'
    ),
    marked as (
        select
            c.number, c.kind, c.at, c.valued, c.cash, c.used, c.before_units, c.units,
            coalesce(o.price, s.price) as mark,
            coalesce(o.price_at, s.price_at) as mark_at
        from changes c
        left join lateral (
            select found.price, found.price_at
            from (
                select p.price, p.price_at, true as is_later
                from price_from(
                    c.broker, c.account_id, c.contract_key, false, c.at,
                    (select e.at from ends e)
                ) p
                union all
                select p.price, p.price_at, false
                from price_until(
                    c.broker, c.account_id, c.contract_key, false,
                    (select e.earliest from ends e), c.at
                ) p
            ) found
            where c.cash is null and c.kind in ('option', 'future_option')
            order by
                -- A start and an end take an older price first.
                found.is_later = (c.valued not in ('base', 'end')) desc
            limit 1
        ) o on true
        left join lateral (
            select found.price, found.price_at
            from (
                select l.broker, l.account_id, l.contract_key
                from lenders l
                where c.cash is null
                  and c.kind in ('equity', 'future')
                  and l.kind
                    = case c.kind when 'equity' then 'option' else 'future_option' end
                  and l.underlying = c.underlying
                  and coalesce(l.currency, 'USD') = coalesce(c.currency, 'USD')
                  and coalesce(l.price_factor = c.price_factor, true)
                order by l.broker <> c.broker, l.account_id, l.contract_key
                limit 20
            ) lender
            cross join lateral (
                select p.price, p.price_at, true as is_later
                from price_from(
                    lender.broker, lender.account_id, lender.contract_key, true, c.at,
                    (select e.at from ends e)
                ) p
                union all
                select p.price, p.price_at, false
                from price_until(
                    lender.broker, lender.account_id, lender.contract_key, true,
                    (select e.earliest from ends e), c.at
                ) p
            ) found
            order by
                found.is_later = (c.valued not in ('base', 'end')) desc,
                abs(date_part('epoch', found.price_at - c.at))
            limit 1
        ) s on true
    ),
    judged as (
        select
            m.number, m.units, m.mark, m.mark_at, m.used,
            case when s.is_split then 0 else m.cash end as cash,
            case when s.is_split then 'split' else m.valued end as valued
        from (
            select
                k.*,
                lag(k.mark) over (
                    partition by k.number, k.cash is null order by k.at, k.valued <> 'base'
                ) as before_mark
            from marked k
        ) m
        left join detailed d
            on d.number = m.number and m.kind = 'equity' and m.valued = 'mark'
        cross join lateral (
            select d.number is not null and is_split(
                m.before_units, m.before_units + m.units,
                coalesce(m.before_mark, d.start_price), m.mark
            ) as is_split
        ) s
    ),
    moves as (
        select
            m.number,
            sum(m.units * m.mark) filter (where m.valued in ('base', 'first'))
                as start_worth,
            sum(coalesce(m.cash, m.units * m.mark))
                filter (where m.valued not in ('base', 'first', 'end')) as trades,
            bool_or(m.cash is null and m.mark is null) as is_unpriced,
            max(m.mark_at) filter (
                where m.valued in ('base', 'first') and m.mark_at >= start
            ) as first_price_at,
            min(m.mark) filter (where m.valued = 'base') as base_price,
            min(m.mark_at) filter (where m.valued = 'base') as base_price_at,
            min(m.mark) filter (where m.valued = 'end') as end_price,
            min(m.mark_at) filter (where m.valued = 'end') as end_price_at,
            count(*) filter (where m.valued = 'price') as at_price,
            count(*) filter (where m.valued = 'mark') as at_mark,
            count(*) filter (where m.valued = 'split') as splits,
            count(*) filter (where m.valued = 'expired') as expired,
            coalesce(sum(m.used), 0) as used
        from judged m
        group by m.number
    ),
    valued as (
        select
            d.broker, d.account_id, d.contract_key, d.kind, d.underlying, d.expiration,
            d.is_open, d.strategy_tag, d.currency, d.quantity,
            coalesce(d.start_price, m.base_price) as start_price,
            case when d.start_price is null then m.base_price_at else d.start_price_at end
                as start_price_at,
            coalesce(d.end_price, m.end_price) as end_price,
            case when d.end_price is null then m.end_price_at else d.end_price_at end
                as end_price_at,
            case when h.start_units = 0 or d.start_price is null then 0
                else h.start_units * d.start_price end
                + coalesce(m.start_worth, 0) as start_worth,
            case when h.end_units = 0 then 0
                else h.end_units * coalesce(d.end_price, m.end_price) end as end_worth,
            coalesce(m.trades, 0) as trades,
            m.first_price_at,
            coalesce(m.at_price, 0) as at_price, coalesce(m.at_mark, 0) as at_mark,
            coalesce(m.splits, 0) as splits, coalesce(m.expired, 0) as expired,
            coalesce(m.used, 0) as used,
            coalesce(d.is_stale, false) as is_stale,
            case
                when d.kind not in ('option', 'future_option', 'equity', 'future')
                then 'kind'
                when h.is_unknown then 'quantity'
                when m.is_unpriced then 'price'
            end as left_out
        from detailed d
        full join held h on h.number = d.number
        full join moves m on m.number = h.number
        -- Not a contract that was closed already.
        where h.start_units <> 0 or h.end_units <> 0 or m.number is not null
            or h.is_unknown
        union all
        select
            p.broker, p.account_id, p.contract_key, p.kind, p.underlying, p.expiration,
            true, p.strategy_tag, p.currency, p.quantity, p.start_price, p.start_price_at,
            p.end_price, p.end_price_at, p.start_worth, p.end_worth, 0, null, 0, 0, 0, 0,
            0, p.is_stale, null
        from paired p
        where p.is_plain
    ),
    traded as (
        select t.broker, t.account_id, t.contract_key, count(*) as trades
        from trade_history t
        where t.created_at > start
          and t.created_at <= (select e.at from ends e)
          and t.contract_key is not null
        group by t.broker, t.account_id, t.contract_key
    ),
    summed as (
        select
            v.*, v.end_worth - v.start_worth - v.trades as profit_loss,
            t.trades as recorded
        from valued v
        full join traded t using (broker, account_id, contract_key)
    )
    select
        s.broker, s.account_id, s.contract_key, s.kind, s.underlying, s.expiration,
        expiration_bucket(s.expiration, (select e.today from ends e)),
        case when s.is_open then s.strategy_tag else g.strategy_tag end,
        s.currency, coalesce(s.quantity, 0),
        s.start_price, s.start_price_at, s.end_price, s.end_price_at,
        -- A future has no value: its gain is paid out.
        case when s.left_out is not null then null when s.kind = 'future' then 0
            else s.start_worth end,
        case when s.left_out is not null then null when s.kind = 'future' then 0
            else s.end_worth end,
        case when s.left_out is not null then null when s.kind = 'future'
            then -s.profit_loss else s.trades end,
        case when s.left_out is null then s.profit_loss end,
        case when s.left_out is null then s.first_price_at end,
        s.at_price, s.at_mark, s.splits, s.expired, coalesce(s.recorded, 0) - s.used,
        s.is_stale, s.left_out
    from summed s
    left join lateral (
        select f.strategy_tag
        from strategy_of(s.broker, s.account_id, s.contract_key, moment) f
        where not s.is_open
    ) g on true
    where s.kind is not null;
end;


-- The sums of position_profit by any of the columns that risk_totals_asof takes.
create function profit_totals(
    start timestamptz,
    moment timestamptz,
    group_by text[] default '{underlying}',
    stale_after_s double precision default 300,
    only_broker text default null,
    only_account_id text default null,
    only_underlying text default null,
    only_strategy_tag text default null,
    only_expiration date default null,
    only_expiration_bucket text default null,
    only_without text[] default null
)
returns table (
    broker text,
    account_id text,
    underlying text,
    expiration date,
    expiration_bucket text,
    strategy_tag text,
    currency text,
    place bigint,
    started_at timestamptz,
    ended_at timestamptz,
    positions bigint,
    unnamed_currency bigint,
    profit_loss double precision,
    start_value double precision,
    end_value double precision,
    trades double precision,
    left_out bigint,
    missing_price bigint,
    missing_quantity bigint,
    other_positions bigint,
    from_first_price bigint,
    first_price_at timestamptz,
    trades_at_price bigint,
    trades_at_mark bigint,
    splits bigint,
    expired bigint,
    unused_trades bigint,
    stale bigint,
    oldest_start_price_at timestamptz,
    oldest_end_price_at timestamptz
)
language sql stable parallel restricted rows 20
set jit = off
set plan_cache_mode = force_generic_plan
begin atomic
    with wanted as (
        select p.*
        from position_profit(start, moment, stale_after_s) p
        where coalesce(p.broker = only_broker, only_broker is null)
          and coalesce(p.account_id = only_account_id, only_account_id is null)
          and coalesce(p.underlying = only_underlying, only_underlying is null)
          and (only_strategy_tag is null or p.strategy_tag = only_strategy_tag)
          and (only_expiration is null or p.expiration = only_expiration)
          and (
              only_expiration_bucket is null
              or p.expiration_bucket = only_expiration_bucket
          )
          and (p.expiration is null or ('expiration' = any(only_without)) is not true)
          and (p.strategy_tag is null or ('strategy_tag' = any(only_without)) is not true)
    ),
    summed as (
        select
            case when 'broker' = any(group_by) or 'account_id' = any(group_by)
                then w.broker end as broker,
            case when 'account_id' = any(group_by) then w.account_id end as account_id,
            case when 'underlying' = any(group_by) then w.underlying end as underlying,
            case when 'expiration' = any(group_by) then w.expiration end as expiration,
            case when 'expiration_bucket' = any(group_by) then w.expiration_bucket end
                as expiration_bucket,
            case when 'strategy_tag' = any(group_by) then w.strategy_tag end
                as strategy_tag,
            coalesce(w.currency, 'USD') as currency,
            count(*) as positions,
            count(*) filter (where w.currency is null) as unnamed_currency,
            sum(w.profit_loss) as profit_loss,
            sum(w.start_value) as start_value,
            sum(w.end_value) as end_value,
            sum(w.trades) as trades,
            count(w.left_out) as left_out,
            count(*) filter (where w.left_out = 'price') as missing_price,
            count(*) filter (where w.left_out = 'quantity') as missing_quantity,
            count(*) filter (where w.left_out = 'kind') as other_positions,
            count(w.first_price_at) as from_first_price,
            max(w.first_price_at) as first_price_at,
            sum(w.trades_at_price)::bigint as trades_at_price,
            sum(w.trades_at_mark)::bigint as trades_at_mark,
            sum(w.splits)::bigint as splits,
            sum(w.expired)::bigint as expired,
            sum(w.unused_trades)::bigint as unused_trades,
            count(*) filter (where w.is_stale) as stale,
            min(w.start_price_at) filter (where w.left_out is null)
                as oldest_start_price_at,
            min(w.end_price_at) filter (where w.left_out is null) as oldest_end_price_at
        from wanted w
        group by 1, 2, 3, 4, 5, 6, 7
    )
    select
        s.broker, s.account_id, s.underlying, s.expiration, s.expiration_bucket,
        s.strategy_tag, s.currency,
        coalesce(array_position(expiration_buckets(), s.expiration_bucket), 0),
        start, least(moment, statement_timestamp()), s.positions, s.unnamed_currency, s.profit_loss,
        s.start_value, s.end_value, s.trades, s.left_out, s.missing_price,
        s.missing_quantity, s.other_positions, s.from_first_price, s.first_price_at,
        s.trades_at_price, s.trades_at_mark, s.splits, s.expired, s.unused_trades, s.stale,
        s.oldest_start_price_at, s.oldest_end_price_at
    from summed s;
end;


create view position_profit_today as
select
    broker, account_id, contract_key, kind, underlying, expiration, expiration_bucket,
    strategy_tag, currency, quantity, start_price, start_price_at, end_price, end_price_at,
    start_value, end_value, trades, profit_loss, first_price_at, trades_at_price,
    trades_at_mark, splits, expired, unused_trades, is_stale, left_out
from position_profit(start_of_day('infinity'), 'infinity');


create view profit_today as
select
    g.group_by, t.broker, t.account_id, t.underlying, t.expiration, t.expiration_bucket,
    t.strategy_tag, t.currency, t.place, t.started_at, t.ended_at, t.positions,
    t.unnamed_currency, t.profit_loss, t.start_value, t.end_value, t.trades, t.left_out,
    t.missing_price, t.missing_quantity, t.other_positions, t.from_first_price,
    t.first_price_at, t.trades_at_price, t.trades_at_mark, t.splits, t.expired,
    t.unused_trades, t.stale, t.oldest_start_price_at, t.oldest_end_price_at
from (
    values
        ('book', '{}'::text[]), ('currency', '{}'), ('broker', '{broker}'),
        ('account_id', '{account_id}'), ('underlying', '{underlying}'),
        ('expiration', '{expiration}'), ('expiration_bucket', '{expiration_bucket}'),
        ('strategy_tag', '{strategy_tag}')
) g (group_by, columns)
cross join lateral profit_totals(start_of_day('infinity'), 'infinity', g.columns) t;


comment on function start_of_day(timestamptz) is
    'Midnight in New York at the begin of the day of a moment. infinity: of today';
comment on function price_from(text, text, text, boolean, timestamptz, timestamptz) is
    'The price of an option, or of its underlying, in the first tick with one of an interval';
comment on function price_until(text, text, text, boolean, timestamptz, timestamptz) is
    'The price of an option, or of its underlying, in the last tick with one of an interval';
comment on function is_split(
    double precision, double precision, double precision, double precision
) is
    'Whether a change of quantity is a split of the shares';
comment on function position_profit(timestamptz, timestamptz, double precision) is
    'The profit or loss of each position between two moments. infinity: until now. The third '
    'argument is the age in seconds from which ticks are stale';
comment on function profit_totals(
    timestamptz, timestamptz, text[], double precision, text, text, text, text, date, text,
    text[]
) is
    'The sums of position_profit between two moments, grouped as in risk_totals_asof, with '
    'the same choice of positions: profit_totals(start_of_day(''infinity''), ''infinity'') is '
    'the profit or loss of today by underlying';

comment on view position_profit_today is
    'The profit or loss of each position since midnight in New York: end_value, less '
    'start_value, less trades. Positions that were closed since are rows too';
comment on column position_profit_today.broker is
    'Name of the broker';
comment on column position_profit_today.account_id is
    'The broker''s account';
comment on column position_profit_today.contract_key is
    'As in positions';
comment on column position_profit_today.kind is
    'As in positions';
comment on column position_profit_today.underlying is
    'The contract_key of the underlying';
comment on column position_profit_today.expiration is
    'Last day of the contract';
comment on column position_profit_today.expiration_bucket is
    'As in position_greeks';
comment on column position_profit_today.strategy_tag is
    'As in position_greeks';
comment on column position_profit_today.currency is
    'Currency of all amounts; null if the broker names none, which counts as USD';
comment on column position_profit_today.quantity is
    'Contracts or shares at the end; 0 if it is closed';
comment on column position_profit_today.start_price is
    'The last price up to the start, at most seven days older; without one, the first price '
    'after it; null for a position that was opened since. In the unit of its quotation';
comment on column position_profit_today.start_price_at is
    'The time of start_price';
comment on column position_profit_today.end_price is
    'The last price up to the end, in the unit of its quotation';
comment on column position_profit_today.end_price_at is
    'The time of end_price';
comment on column position_profit_today.start_value is
    'The value at the start in the currency, at the first price after it if first_price_at is '
    'not null; 0 for futures';
comment on column position_profit_today.end_value is
    'The value at the end in the currency; 0 for futures, and if it is closed';
comment on column position_profit_today.trades is
    'Value bought less value sold since the start, in the currency. The gain of a future, '
    'which is paid out, counts as sold';
comment on column position_profit_today.profit_loss is
    'end_value - start_value - trades, in the currency; null if left_out has a reason';
comment on column position_profit_today.first_price_at is
    'If the position does not count from the start: the time of the first price, from which '
    'it counts. It has no price before, or it comes from the first reading of its account';
comment on column position_profit_today.trades_at_price is
    'Number of changes of the quantity at the price of recorded trades';
comment on column position_profit_today.trades_at_mark is
    'Number of changes at the price of the next tick, because no recorded trades add up to '
    'them';
comment on column position_profit_today.splits is
    'Number of changes that are splits of the shares: quantity and price have changed by the '
    'same factor. No money changes hands';
comment on column position_profit_today.expired is
    '1 if the contract has expired since; it leaves at its last price';
comment on column position_profit_today.unused_trades is
    'Number of recorded trades that fit no change of the quantity';
comment on column position_profit_today.is_stale is
    'As in position_greeks: end_price is old or not real-time';
comment on column position_profit_today.left_out is
    'Why there is no profit_loss: price (a price is not known), quantity (the quantity, the '
    'multiplier or the price_factor is not known), or kind (bonds, CFDs, crypto, unknown)';

comment on view profit_today is
    'The profit or loss since midnight in New York, by what group_by says, and by currency: '
    'the sums of position_profit_today. Choose one group_by. profit_totals takes other moments';
comment on column profit_today.group_by is
    'As in risk_totals';
comment on column profit_today.broker is
    'Name of the broker; null unless grouped by broker or account_id';
comment on column profit_today.account_id is
    'The broker''s account; null unless grouped by it';
comment on column profit_today.underlying is
    'The contract_key of the underlying; null unless grouped by it';
comment on column profit_today.expiration is
    'Last day of the contracts; null for positions without an expiration, or unless grouped '
    'by it';
comment on column profit_today.expiration_bucket is
    'As in position_greeks; null for positions without an expiration, or unless grouped by it';
comment on column profit_today.strategy_tag is
    'As in position_greeks; null for positions without a strategy, or unless grouped by it';
comment on column profit_today.currency is
    'Currency of all amounts. Positions whose broker names none count as USD';
comment on column profit_today.place is
    'As in risk_totals';
comment on column profit_today.started_at is
    'The start: midnight in New York';
comment on column profit_today.ended_at is
    'The end: now';
comment on column profit_today.positions is
    'Number of positions that were open at some time between the start and the end';
comment on column profit_today.unnamed_currency is
    'Number of positions whose broker names no currency (tastytrade)';
comment on column profit_today.profit_loss is
    'end_value - start_value - trades, in the currency; null if every position is left out';
comment on column profit_today.start_value is
    'Sum of position_profit_today.start_value: currency';
comment on column profit_today.end_value is
    'Sum of position_profit_today.end_value: currency';
comment on column profit_today.trades is
    'Sum of position_profit_today.trades: currency';
comment on column profit_today.left_out is
    'Number of positions that are in no sum, for any reason';
comment on column profit_today.missing_price is
    'Number of positions that are left out because a price is not known';
comment on column profit_today.missing_quantity is
    'Number of positions that are left out because the quantity, the multiplier or the '
    'price_factor is not known';
comment on column profit_today.other_positions is
    'Number of positions of other kinds (bonds, CFDs, crypto, unknown); no sum has them';
comment on column profit_today.from_first_price is
    'Number of positions that count from their first price after the start only';
comment on column profit_today.first_price_at is
    'The latest of these first prices; null without such positions';
comment on column profit_today.trades_at_price is
    'Number of changes of quantities at the price of recorded trades';
comment on column profit_today.trades_at_mark is
    'Number of changes at the price of the next tick, because no recorded trades add up to '
    'them';
comment on column profit_today.splits is
    'Number of changes that are splits of shares';
comment on column profit_today.expired is
    'Number of contracts that have expired since';
comment on column profit_today.unused_trades is
    'Number of recorded trades that fit no change of a quantity';
comment on column profit_today.stale is
    'Number of positions whose price at the end is old or not real-time';
comment on column profit_today.oldest_start_price_at is
    'The time of the oldest price at the start';
comment on column profit_today.oldest_end_price_at is
    'The time of the oldest price at the end';


-- A database that is made from this file has every migration.
insert into schema_migrations (name, sha256) values
    ('0001_initial', 'a4c8075d13798d2c80731b18759e31abe069dbd2f210211bcbcfaaa1af71c2a1'),
    ('0002_risk_views', '10bf9acad408776965b6c55063e4ae93b7bcab78013d18e87eaf8b02e4d9a8c5'),
    ('0003_trades_by_time', 'a8f94a78d1939b4d2fc0500982137362434d3a0b7485325fb91778907b0fd660'),
    ('0004_any_broker', 'ef8e16d282a35897d54a1b46b4228cd6e0a80d88d375257507ef62eb943ade90'),
    ('0005_plain_comments', 'a6311fda7fdf0666804ef9443b94ec1bf52e4a7921618808c39c5ef7e7c3a5af'),
    ('0006_instruments', '1eaff28cb7f5cec422a44c1b363c655096ea58d5c3ed020adb77bec83db86218'),
    ('0007_real_books', '02842ca00e605c591f3d4ef18d8472d78d44e78f401de110a0c5c94ced337eb9'),
    ('0008_wrong_clocks', 'bc194751985f97ee11afdb3da778b71f2c9720dc4c901223acfd541023ece00b'),
    ('0009_retention', 'd0a58655f2c861fee869e192bdde579cb099bacdf5480f94ee3a32f5d219a487'),
    ('0010_roles', '74975e4885dca9e2b35b0ecea8c2001ebec6c79f674f6e56f7a81a6ea9933883'),
    ('0011_schema_names', '7d1097e1c42549a53602557b3643ed1603ff4b8539a599822984102c5ba63bdf'),
    ('0012_latest', 'c437d2e64994ba33b195d52da0d9ae2bcc64abb44b140e5171864226f1f7e5d3'),
    ('0013_complete_rows', '25c727115661bb468fac103d3a948b49d28cbc30cc32b3eed8b405a2d9c59f3b'),
    ('0014_account_values', '33ea47a7b972f7b41fef3a616405d7e9c693c4c2dcbe529b208847e79beb6a50'),
    ('0015_limits', 'f99038a00e9106f0ff2fe1553c5b31c299173894121fdda79a52492bbfa64711'),
    ('0016_totals', 'e17c49686e3c678f7519faf220c517202875c445fcf427704d22c11bf78dd43d'),
    ('0017_estimates', '265783bdf2c9b919d8e417833a5f2f2e0cfd51c0b8f2de4168073eb07286104d'),
    ('0018_betas', 'e4223d45008acfad0e67b7ea3f57fa1b900a1504d1668241fbbcbe25e790c55c'),
    ('0019_book', '53dfd2e083ead7eccfc1420334b0c9def3a0d25247e63e8d420fb308ec2ed982'),
    ('0020_leases', '8c01b2004ce5c0a3b1fa9d0b4901cd17053069964c65aeea3b08cda42b62773e'),
    ('0021_coverage', '306781a9272e89828da29ec6b3f15ca0992fa25738c2324e5b542f9aff11df9d'),
    ('0022_accounts', '5175fd8bdd28be4d13ca9089bead0d145401be2290643d3b175d6be4911e3962');
