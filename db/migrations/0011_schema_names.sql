-- Before this, a schema whose name needs quotes got them twice in the search_path of these
-- functions, so that they did not find their tables.

-- The schema that has the tables; the role's search_path may have another one before it.
do $$
begin
    perform set_config('search_path', quote_ident(nspname) || ', pg_temp', true)
    from pg_class join pg_namespace on pg_namespace.oid = relnamespace
    where pg_class.oid = 'greek_snapshots'::regclass;
end
$$;


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
        'carried_price(text, text, text, timestamptz, timestamptz, timestamptz, text)'
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
