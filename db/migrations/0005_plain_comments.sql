-- Comments in plainer words; nothing else changes.
comment on table schema_migrations is
    'The migrations that were applied to this database';
comment on column schema_migrations.name is
    'Name of the file in migrations/, without its ending';
comment on column schema_migrations.sha256 is
    'Checksum of the applied file, hexadecimal';
comment on table greek_snapshots is
    'Greeks of option positions, one row for each tick; order by event_time, received_at, '
    'id';
comment on column greek_snapshots.event_time is
    'The broker''s time of the event; received_at if the broker''s time is absent or '
    'impossible';
comment on column greek_snapshots.account_id is
    'The account at the broker; watchlist for a watched contract that no account holds';
comment on column greek_snapshots.underlying is
    'Symbol of the underlying, not of the option root: SPX for SPXW, BRK/B for BRKB';
comment on column greek_snapshots.contract_key is
    'The 21-character OCC symbol; ./ROOT yymmdd right strike for futures options. Every '
    'broker has the same key for a contract';
comment on column greek_snapshots.theta is
    'Change of the option''s price per calendar day, as the broker reports it. '
    'tastytrade: the derivative. ibkr: the difference in value over the next calendar '
    'day. Within days of the expiration the two differ by definition';
comment on column greek_snapshots.underlying_price is
    'Last trade of the underlying, otherwise the middle of bid and ask; null if unknown';
comment on column greek_snapshots.availability is
    'Freshness that the broker reports: realtime, delayed, frozen or unknown';
comment on column greek_snapshots.source_payload is
    'The broker''s message. ibkr: the frame; tastytrade: the columns of the event';
comment on column greek_snapshots.fingerprint is
    'First 8 bytes of BLAKE2b over the six values. An event that is sent again has the '
    'same key';
comment on table positions is
    'History of the positions: the newest row of a contract is its present state';
comment on column positions.contract_key is
    'As in greek_snapshots; the broker''s symbol for other instruments than options';
comment on column positions.quantity is
    'Short negative; 0 after the position was closed';
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
comment on table trades is
    'Trades that were recorded through the HTTP interface or by SQL';
comment on column trades.symbol is
    'The symbol in the spelling of the broker';
comment on column trades.contract_key is
    'As in greek_snapshots; null if the trade is not in an option';
comment on function positions_asof(timestamptz) is
    'The open positions at the moment, with the columns of positions: the newest row of '
    'each contract by observed_at, unless its quantity is 0 or the contract had expired '
    '(its last day was over everywhere on Earth). ''infinity'' is the present';
comment on function watched_asof(timestamptz) is
    'Contracts that were perhaps on the watch-list: contracts with a tick for the '
    'watch-list in the month of the moment or, in its first week, in the month before; '
    'used by holdings_asof';
comment on function holdings_asof(timestamptz, double precision) is
    'The common part of greeks_asof and portfolio_asof: positions_asof with the newest '
    'tick of each option, and watched contracts; the arguments are those of greeks_asof';
comment on function greeks_asof(timestamptz, double precision) is
    'The columns of latest_greeks at any moment: the open positions at that moment, each '
    'with its newest tick by event_time. Only ticks whose event_time and received_at are '
    'not after the moment count, and ages are relative to the moment. A moment in the '
    'future is the present. stale_after_s: age in seconds from which a tick is stale';
comment on function portfolio_asof(timestamptz, double precision) is
    'The columns of portfolio_greeks at any moment; the arguments are those of '
    'greeks_asof';
comment on view latest_greeks is
    'Newest tick of each option contract in each account that holds it, by event_time, '
    'received_at, id; nulls before the first tick. Contracts with a tick for the '
    'watch-list in the last seven days have the account watchlist. Closed positions and '
    'expired contracts are not in it. The same as greeks_asof(''infinity'')';
comment on column latest_greeks.account_id is
    'The account at the broker; watchlist for a watched contract that no account holds';
comment on column latest_greeks.multiplier is
    'Units of the underlying per contract; null if unknown or watched';
comment on column latest_greeks.currency is
    'The currency that the broker names; null if it names none (tastytrade) or for a '
    'watched contract';
comment on column latest_greeks.event_time is
    'The broker''s time of the newest tick; null before the first tick';
comment on column latest_greeks.delta is
    'Change of the option''s price per 1.00 of the underlying, for one unit, not '
    'multiplied by quantity or multiplier';
comment on column latest_greeks.theta is
    'Change of the option''s price per calendar day; greek_snapshots.theta explains how '
    'the brokers differ';
comment on column latest_greeks.availability is
    'Freshness that the broker reports: realtime, delayed, frozen or unknown';
comment on column latest_greeks.age_s is
    'Seconds since the tick was received; null before the first tick';
comment on column latest_greeks.is_stale is
    'True if the values may be out of date: no tick, not realtime, or received_at or '
    'event_time more than 300 seconds ago';
comment on view portfolio_greeks is
    'Open positions, summed by broker, account, currency, underlying and expiration. Each '
    'sum has the known values only, and a missing_ column counts the positions that it '
    'lacks. A sum is null if no value of its kind is known, and 0 if there is no position '
    'of its kind. The same as portfolio_asof(''infinity'')';
comment on column portfolio_greeks.currency is
    'Currency of the sums in money; null if the broker names none (tastytrade)';
comment on column portfolio_greeks.underlying is
    'Symbol of the underlying; the contract_key of the position if the broker names none';
comment on column portfolio_greeks.expiration is
    'Last day of the contracts; null for shares and other positions without one';
comment on column portfolio_greeks.contracts is
    'Number of different option contracts, futures options included; not their quantity';
comment on column portfolio_greeks.other_positions is
    'Number of positions of any other kind. Their risk is unknown, so they are in no sum';
comment on column portfolio_greeks.dollar_delta is
    'Sum of quantity x multiplier x delta x price of the underlying, with delta 1 for '
    'shares and futures: currency per 100 % move. Options have the price of their own '
    'tick. Shares and futures have the newest price of their underlying in latest_greeks, '
    'from their own broker if it has one';
comment on column portfolio_greeks.missing_tick is
    'Number of contracts without a tick';
comment on column portfolio_greeks.missing_multiplier is
    'Number of contracts and shares_futures without a multiplier; they are in no sum';
comment on column portfolio_greeks.missing_price is
    'Number of contracts and shares_futures without a known price of the underlying';
comment on column portfolio_greeks.missing_delta is
    'Number of contracts that are not in option_delta, for any reason';
comment on column portfolio_greeks.missing_share_future_delta is
    'Number of shares_futures that are not in share_future_delta';
comment on column portfolio_greeks.missing_gamma is
    'Number of contracts that are not in gamma, for any reason';
comment on column portfolio_greeks.missing_theta is
    'Number of contracts that are not in theta, for any reason';
comment on column portfolio_greeks.missing_vega is
    'Number of contracts that are not in vega, for any reason';
comment on column portfolio_greeks.missing_rho is
    'Number of contracts that are not in rho, for any reason';
comment on column portfolio_greeks.missing_dollar_delta is
    'Number of positions, other_positions included, that are not in dollar_delta';
comment on column portfolio_greeks.missing_dollar_gamma is
    'Number of contracts that are not in dollar_gamma, for any reason';
comment on column portfolio_greeks.stale is
    'Number of contracts that are stale as in latest_greeks, and of shares_futures with a '
    'price from a stale tick or with no price';
comment on column portfolio_greeks.not_realtime is
    'Number of values from a tick whose availability is not realtime';
comment on column portfolio_greeks.oldest_age_s is
    'Seconds since the oldest tick of this row was received; null without ticks';
comment on view broker_divergence is
    'Each contract that latest_greeks has from ibkr and from tastytrade, side by side: '
    'for each broker the newest tick in any account. A difference is ibkr minus '
    'tastytrade, null if one of the two is null';
comment on column broker_divergence.ibkr_age_s is
    'Seconds since the tick of ibkr was received; null before the first tick';
comment on column broker_divergence.tastytrade_age_s is
    'Seconds since the tick of tastytrade was received; null before the first tick';
comment on column broker_divergence.ibkr_is_stale is
    'As is_stale in latest_greeks, for the tick of ibkr';
comment on column broker_divergence.tastytrade_is_stale is
    'As is_stale in latest_greeks, for the tick of tastytrade';
