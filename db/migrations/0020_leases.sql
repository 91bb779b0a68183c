-- Duties that one of several services on the database has.

-- The schema that has the tables; the role's search_path may have another one before it.
do $$
begin
    perform set_config('search_path', quote_ident(nspname) || ', pg_temp', true)
    from pg_class join pg_namespace on pg_namespace.oid = relnamespace
    where pg_class.oid = 'greek_snapshots'::regclass;
end
$$;


-- The service that sends the alerts.
create table leases (
    name text not null,
    holder text not null,
    epoch bigint not null,
    expires_at timestamptz not null,
    constraint leases_pkey primary key (name)
);

comment on table leases is
    'The duties of which each belongs to one of several services';
comment on column leases.name is
    'The duty: alerts';
comment on column leases.holder is
    'The machine of the service, and the directory of its spool';
comment on column leases.epoch is
    'A number that grows with each other holder, and with each start of the same one';
comment on column leases.expires_at is
    'Another service may take it after this time; the holder renews it before';


-- A role that writes the states of alerts may do the same here.
do $$
declare
    granted record;
begin
    for granted in
        select distinct a.grantee
        from pg_class c
        cross join lateral aclexplode(c.relacl) a
        where c.oid = 'alert_states'::regclass
          and a.privilege_type = 'INSERT' and a.grantee <> c.relowner
    loop
        execute format(
            'grant select, insert, update on leases to %s',
            case granted.grantee when 0 then 'public'
                else quote_ident(pg_get_userbyid(granted.grantee)) end
        );
    end loop;
end
$$;
