-- The accounts that each service reads, so that two services can be compared.

-- The schema that has the tables; the role's search_path may have another one before it.
do $$
begin
    perform set_config('search_path', quote_ident(nspname) || ', pg_temp', true)
    from pg_class join pg_namespace on pg_namespace.oid = relnamespace
    where pg_class.oid = 'greek_snapshots'::regclass;
end
$$;


alter table feed_coverage add column accounts text[];

comment on column feed_coverage.accounts is
    'The accounts that the connection reads; null if they are not known';
