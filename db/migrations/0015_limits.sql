-- The limits of alerts.toml: their states, their messages and the deliveries.

-- The schema that has the tables; the role's search_path may have another one before it.
do $$
begin
    perform set_config('search_path', quote_ident(nspname) || ', pg_temp', true)
    from pg_class join pg_namespace on pg_namespace.oid = relnamespace
    where pg_class.oid = 'greek_snapshots'::regclass;
end
$$;


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


-- Who may read or write the positions may do the same here.
do $$
declare
    granted record;
begin
    for granted in
        select distinct of.relation, of.granted, a.grantee
        from (
            values ('position_history', 'SELECT', 'alerts', 'SELECT'),
                ('position_history', 'SELECT', 'alert_history', 'SELECT'),
                ('positions', 'SELECT', 'alert_states', 'SELECT'),
                ('positions', 'SELECT', 'alert_events', 'SELECT'),
                ('positions', 'SELECT', 'alert_deliveries', 'SELECT'),
                ('positions', 'INSERT', 'alert_states', 'SELECT, INSERT, UPDATE'),
                ('positions', 'INSERT', 'alert_events', 'SELECT, INSERT'),
                ('positions', 'INSERT', 'alert_deliveries', 'SELECT, INSERT, UPDATE')
        ) of (source, privilege, relation, granted)
        join pg_class c on c.oid = of.source::regclass
        cross join lateral aclexplode(c.relacl) a
        where a.privilege_type = of.privilege and a.grantee <> c.relowner
    loop
        execute format(
            'grant %s on %I to %s',
            granted.granted,
            granted.relation,
            case granted.grantee when 0 then 'public'
                else quote_ident(pg_get_userbyid(granted.grantee)) end
        );
    end loop;
end
$$;
