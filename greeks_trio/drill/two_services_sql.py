"""The SQL of the checks of two services, after that of `explanations`."""

from __future__ import annotations

from typing import Final

# Times are monotonic seconds.  A client is one connection of a service to a broker's stream.
TABLES: Final = """
create temp table clients (client int, service int, broker text, ended float8);
create temp table deliveries (
    client int, contract_key text, event_time timestamptz, sent float8);
create temp table pauses (service int, began float8, ended float8);
create temp table receipts (key text, at float8)
"""
# The deliveries that a service could take: it was not paused.
HEARD: Final = """
create temp table heard as
select d.*, c.service, c.broker, coalesce(c.ended, 'infinity') as ended
  from deliveries d join clients c using (client)
 where not exists (
       select from pauses p
        where p.service = c.service
          and d.sent between p.began - %(before_end_s)s and p.ended + %(before_end_s)s);
analyze heard
"""
_UNSTORED: Final = """
  from missing m
  join heard h
    on (h.broker, h.contract_key, h.event_time)
     = (m.broker, m.contract_key, m.event_time)
 where h.sent < h.ended - %(before_end_s)s
"""
UNSTORED: Final = f"select count(distinct m.identity) {_UNSTORED}"
UNSTORED_EXAMPLES: Final = f"""
select format('not stored: %%s %%s of %%s, sent at %%s to service %%s', m.broker,
              m.contract_key, m.event_time, h.sent, h.service + 1) {_UNSTORED}
 order by h.sent limit 8
"""
# From the first to the last of the ticks that came without a hole, by connection, and by
# contract too.  Between two connections of a killed service there is none, however short.
FEEDS: Final = """
create temp table feeds as
with each as (
    select client, service, broker, null::text as contract_key, sent, %(hole_s)s::float8 as hole
      from heard
    union all
    select client, service, broker, contract_key, sent, %(contract_hole_s)s from heard
), marked as (
    select *, coalesce(sent - lag(sent) over w > hole, true) as begins
      from each window w as (partition by client, broker, contract_key order by sent)
), numbered as (
    select *, count(*) filter (where begins) over (
               partition by client, broker, contract_key order by sent) as number
      from marked
)
select service, broker, contract_key, min(sent) as began, max(sent) as ended,
       -- A killed service said that it had the feed some seconds before.
       max(sent) - case
           when exists (
               select from kills
                where max(sent) between before - %(kill_s)s and after + %(kill_s)s)
           then %(last_words_s)s else %(gap_s)s end as surely
  from numbered group by client, service, broker, contract_key, number
"""
_FALSE: Final = """
  from gaps g
  join feeds f
    on f.broker = g.broker and f.contract_key is not distinct from g.contract_key
 where g.reason <> all (%(losses)s)
   and least(g.ended, f.surely + %(epoch_s)s)
     > greatest(g.started, f.began + %(epoch_s)s + %(gap_s)s)
"""
FALSE_GAPS: Final = f"""
select count(*) from (
    select distinct g.broker, g.account_id, g.contract_key, g.reason, g.started {_FALSE}
) as found
"""  # noqa: S608  nothing in it comes from outside
FALSE_EXAMPLES: Final = f"""
select format('false gap: %%s %%s %%s for %%s s, while service %%s had the feed for %%s s of it',
              g.broker, coalesce(g.contract_key, ''), g.reason,
              round((g.ended - g.started)::numeric, 1), min(f.service) + 1,
              round(sum(least(g.ended, f.ended + %(epoch_s)s)
                        - greatest(g.started, f.began + %(epoch_s)s))::numeric, 1))
{_FALSE}
 group by g.broker, g.account_id, g.contract_key, g.reason, g.started, g.ended
 order by g.started limit 8
"""
# A time without the feed at either service, between times with it.
UNTOLD: Final = """
with reached as (
    select broker, ended as began, lead(began) over (
               partition by broker order by began, ended) as ended
      from (select broker, began, max(ended) over (
                       partition by broker order by began, ended) as ended
              from feeds where contract_key is null) as until
)
select broker, began, ended from reached r
 where ended - began > %(untold_s)s
   and not exists (
       select from gaps g
        where g.broker = r.broker and g.contract_key is null
          and g.started < r.ended + %(epoch_s)s + %(gap_s)s
          and g.ended > r.began + %(epoch_s)s - %(gap_s)s)
 order by began
"""
# The states in the order of the events: each begins with the one before.
BROKEN_CHAIN: Final = """
select count(*) from (
    select kind, from_state, lag(to_state) over (order by id) as before
      from alert_events where rule = %(rule)s) as chain
 where from_state is distinct from coalesce(before, from_state)
    or kind not in ('breach', 'recovery')
"""
EVENTS: Final = "select count(*) from alert_events where rule = %(rule)s"
UNDELIVERED: Final = """
select count(*) from alert_events e
 where e.rule = %(rule)s
   and not exists (select from receipts r where r.key = e.message_id::text)
"""
# The counts by the names of `TwoServices`, or of parts of them.
COUNTS: Final = {
    "not_stored": UNSTORED,
    "false_gaps": FALSE_GAPS,
    "not_delivered": UNDELIVERED,
    "events": EVENTS,
    "broken": BROKEN_CHAIN,
}
# Messages that came again: with a kill or a pause at the first receipt, and without one.
REPEATED: Final = """
select count(*) filter (where excused), count(*) filter (where not excused)
  from (select r.key, exists (
               select from (select before as began, after as ended from kills
                            union all select began, ended from pauses) as stops
                where stops.began - %(window_s)s <= min(r.at)
                  and stops.ended + %(before_window_s)s >= min(r.at)) as excused
          from receipts r
          join alert_events e on e.message_id::text = r.key and e.rule = %(rule)s
         group by r.key having count(*) > 1) as again
"""
