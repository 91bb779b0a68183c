"""The SQL of the comparison: `comparison` runs the first part, `explanations` the rest."""

from __future__ import annotations

from typing import Final

from greeks_trio.model.gap_reasons import GapReason

LAST_ROW_ID: Final = "select max(id) from greek_snapshots"
# The payload has to be that of the row: it names the broker's time of the event.
TABLES: Final = """
create temp table scope (after_id int8, ignored_accounts text[]);
create temp table ledger (
    broker text, account_id text, contract_key text, event_time timestamptz,
    delta float8, gamma float8, theta float8, vega float8, rho float8,
    implied_volatility float8, sent float8, error float8, identity int8);
create temp table reports (identity int8, reported float8);
create function pg_temp.payload_agrees(broker text, event_time timestamptz, payload jsonb)
returns bool language sql immutable as $$
    select coalesce(
        (payload ->> case broker when 'ibkr' then '_updated' else 'time' end)::numeric
        = extract(epoch from event_time) * 1000, false)
$$
"""
# A tick that was sent over two connections is in the ledger twice, and counts once.
MATCHES: Final = """
create temp table ticks as
select distinct on (identity) *,
       hash_record_extended(row(broker, account_id, contract_key, event_time, delta,
           gamma, theta, vega, rho, implied_volatility), 0) as hash
  from ledger order by identity;
-- The planner has no statistics of temporary tables, nor of a table whose server was
-- killed again and again.  Without them it compares each tick with each row.
analyze ledger; analyze ticks; analyze reports; analyze greek_snapshots;
create temp table matches as
select s.id, s.source_payload, s.event_time, s.broker, l.identity
  from greek_snapshots s
  left join ticks l
    -- One column to find it by. Missing Greeks are equal too.
    on l.hash = hash_record_extended(row(s.broker, s.account_id, s.contract_key,
           s.event_time, s.delta, s.gamma, s.theta, s.vega, s.rho,
           s.implied_volatility), 0)
   and (l.broker, l.account_id, l.contract_key, l.event_time)
     = (s.broker, s.account_id, s.contract_key, s.event_time)
   and l.delta is not distinct from s.delta
   and l.gamma is not distinct from s.gamma
   and l.theta is not distinct from s.theta
   and l.vega is not distinct from s.vega
   and l.rho is not distinct from s.rho
   and l.implied_volatility is not distinct from s.implied_volatility
 where s.id > (select after_id from scope)
   and s.account_id <> all ((select ignored_accounts from scope)::text[]);
analyze matches
"""
COUNTS: Final = """
select b.broker,
       (select count(*) from ticks t where t.broker = b.broker),
       count(m.id),
       (select count(*) from ticks t where t.broker = b.broker
           and not exists (select from matches f where f.identity = t.identity)),
       count(m.identity) - count(distinct m.identity),
       count(m.id) filter (where m.identity is null or not pg_temp.payload_agrees(
           m.broker, m.event_time, m.source_payload))
  from unnest(%(brokers)s::text[]) as b (broker)
  left join matches m on m.broker = b.broker
 group by b.broker
"""
AGES: Final = """
select percentile_disc(array[0.5, 0.95, 0.99, 1.0])
       within group (order by 1000 * (r.reported - l.sent))
  from reports r join ledger l using (identity)
"""
LARGEST_GAPS: Final = """
select broker, extract(epoch from max(step))::float8
  from (select broker, received_at - lag(received_at)
               over (partition by broker order by received_at) as step
          from greek_snapshots where id > %(after_id)s) as steps
 group by broker
"""

# Gaps with these reasons are about ticks that had been received.
LOSSES: Final = [GapReason.TICKS_LOST.value]

DRILL_TABLES: Final = """
create temp table kills (before float8, after float8);
create temp table interruptions (
    fault int, broker text, began float8, ended float8, error float8);
create temp table reported as select distinct identity from reports;
-- A gap that was never ended is over with the next row, and explains nothing later.  One
-- that ends before it starts was written while the clock was set back.
create temp table gaps as
select broker, account_id, contract_key, reason,
       extract(epoch from least(started_at, ended_at))::float8 as started,
       extract(epoch from greatest(started_at, ended_at))::float8 as ended
  from (select g.broker, g.account_id, g.contract_key, g.reason, g.started_at,
               coalesce(g.ended_at, (
                   select min(s.received_at) from greek_snapshots s
                    where s.broker = g.broker and s.received_at > g.started_at
                      and coalesce(g.account_id, s.account_id) = s.account_id
                      and coalesce(g.contract_key, s.contract_key) = s.contract_key),
                   'infinity') as ended_at
          from feed_gaps g) as closed;
analyze reported; analyze gaps;
create temp table missing as
select l.*, r.identity is not null as was_durable
  from ledger l
  left join reported r on r.identity = l.identity
 where not exists (select from matches m where m.identity = l.identity)
"""
# Durable ticks, those of them that are lost, and those that are not in the ledger.
REPORTS: Final = """
select (select count(*) from reported),
       (select count(distinct identity) from missing where was_durable),
       (select count(*) from reported r
         where not exists (select from ticks t where t.identity = r.identity))
"""
_UNEXPLAINED: Final = """
  from missing l
 where not was_durable
   and not exists (
       select from kills k
        where l.sent between k.before - %(before_kill_s)s - %(sockets_s)s
                         and k.after + %(sockets_s)s)
   and not exists (
       select from gaps g
        where g.broker = l.broker and g.reason <> all (%(losses)s)
          and coalesce(g.account_id, l.account_id) = l.account_id
          and coalesce(g.contract_key, l.contract_key) = l.contract_key
          and (l.sent + %(epoch_s)s
                  between g.started - %(gap_s)s and g.ended + %(gap_s)s
               or l.sent + %(epoch_s)s + l.error
                  between g.started - %(gap_s)s and g.ended + %(gap_s)s))
"""
UNEXPLAINED: Final = f"select count(distinct identity) {_UNEXPLAINED}"
EXAMPLES: Final = f"""
(select format('unexplained: %%s %%s of %%s, sent at %%s', broker, contract_key,
               event_time, sent) {_UNEXPLAINED} order by sent limit 8)
union all
(select format('lost: %%s %%s of %%s, sent at %%s', broker, contract_key, event_time, sent)
   from missing where was_durable order by sent limit 8)
union all
(select format('unexpected: row %%s of %%s', id, broker)
   from matches where identity is null order by id limit 4)
"""  # noqa: S608  nothing in it comes from outside
MISSING_GAPS: Final = """
select fault, broker from interruptions i
 where not exists (
       select from gaps g
        where g.broker = i.broker and g.contract_key is null
          and g.reason <> all (%(losses)s)
          and (g.started <= i.ended + %(gap_s)s and g.ended >= i.began - %(gap_s)s
               or g.started <= i.ended + i.error + %(gap_s)s
                  and g.ended >= i.began + i.error - %(gap_s)s))
 order by fault, broker
"""
