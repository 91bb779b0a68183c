-- Lists of trades go by time, a page at a time.
create index trades_created_at_idx on trades (created_at, id);
