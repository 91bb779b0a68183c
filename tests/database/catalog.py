"""A database's schema as a set of sentences, to compare two of them."""

from __future__ import annotations

import psycopg

# Names of the not-null constraints, which have rows of their own from version 18 on,
# are left to the columns.
_QUERY = """
select format('table %s kind %s partitioned %s: %s',
    relname, relkind, pg_get_partkeydef(oid), obj_description(oid, 'pg_class'))
from pg_class where relnamespace = 'public'::regnamespace
union all
select format('column %s %s.%s %s not null %s identity %s default %s: %s',
    attnum, attrelid::regclass, attname, format_type(atttypid, atttypmod), attnotnull,
    attidentity, pg_get_expr(adbin, adrelid), col_description(attrelid, attnum))
from pg_attribute
join pg_class on pg_class.oid = attrelid
left join pg_attrdef on adrelid = attrelid and adnum = attnum
where relnamespace = 'public'::regnamespace and attnum > 0
union all
select format('constraint %s on %s: %s',
    conname, conrelid::regclass, pg_get_constraintdef(oid))
from pg_constraint
where connamespace = 'public'::regnamespace and contype <> 'n'
union all
select pg_get_indexdef(indexrelid)
from pg_index join pg_class on pg_class.oid = indexrelid
where relnamespace = 'public'::regnamespace
union all
select format('trigger %s on %s', tgname, tgrelid::regclass) from pg_trigger
union all
select format('function %s', oid::regprocedure) from pg_proc
where pronamespace = 'public'::regnamespace
"""


def describe(connection: psycopg.Connection) -> set[str]:
    """Return a sentence for each thing in the schema ``public``."""
    return {text for (text,) in connection.execute(_QUERY)}
