-- The instrument of a position, and more of each tick: the option's own price, the time of
-- the underlying's price, and whether the contract's ticks come in turns.
alter table positions
    add column instrument_id text,
    add column exchange text,
    add column underlying_id text,
    add column price_factor numeric,
    add column description text,
    add column problem text,
    add column premium_multiplier numeric,
    alter column quantity drop not null,
    drop constraint positions_kind_check,
    add constraint positions_kind_check
        check (kind in
            ('option', 'future_option', 'equity', 'future', 'other', 'unknown')),
    add constraint positions_quantity_check
        check (quantity is not null or kind = 'unknown');

alter table greek_snapshots
    add column underlying_price_at timestamptz,
    add column price double precision,
    add column bid double precision,
    add column ask double precision,
    add column in_rotation boolean not null default false;

comment on column positions.contract_key is
    'As in greek_snapshots for options. Futures: / with root, month code and year, such as '
    '/ESZ27. Shares: the symbol, with market or currency if the market is not American, '
    'such as RY:CAD. Other instruments: the broker''s name and its own id';
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
comment on column greek_snapshots.underlying is
    'The contract_key of the underlying, not the root of the option: SPX for SPXW, BRK/B '
    'for BRKB, /ESM27 for an option on that future';
comment on column greek_snapshots.contract_key is
    'The 21-character OCC symbol if the OCC clears the option; ./CLASS yymmdd right strike '
    'for futures options; otherwise the broker''s name and its own id. A key with a symbol '
    'is the same from every broker';
comment on column greek_snapshots.underlying_price is
    'Last trade of the underlying or the middle of bid and ask, in the unit of its '
    'quotation; null if unknown';
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
