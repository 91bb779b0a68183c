-- Two services on the same logins: leases for each feed, and the times of each feed.

-- The schema that has the tables; the role's search_path may have another one before it.
do $$
begin
    perform set_config('search_path', quote_ident(nspname) || ', pg_temp', true)
    from pg_class join pg_namespace on pg_namespace.oid = relnamespace
    where pg_class.oid = 'greek_snapshots'::regclass;
end
$$;


alter table leases add column wanted_at timestamptz;

comment on column leases.name is
    'The duty: alerts; or feed: and a broker, for positions, account values and gaps';
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


-- A role that writes gaps may do the same here.
do $$
declare
    granted record;
begin
    for granted in
        select distinct a.grantee
        from pg_class c
        cross join lateral aclexplode(c.relacl) a
        where c.oid = 'feed_gaps'::regclass
          and a.privilege_type = 'INSERT' and a.grantee <> c.relowner
    loop
        execute format(
            'grant select, insert, update, delete on feed_coverage to %s',
            case granted.grantee when 0 then 'public'
                else quote_ident(pg_get_userbyid(granted.grantee)) end
        );
        execute format(
            'grant select, insert, update on leases to %s',
            case granted.grantee when 0 then 'public'
                else quote_ident(pg_get_userbyid(granted.grantee)) end
        );
    end loop;
end
$$;
