"""The rules of Citus for a schema that it distributes, on PostgreSQL alone.

All tables of a distributed schema are single-shard tables of one node.  So unique keys and
foreign keys between them need no column in common.  What Citus refuses all the same is
listed here, as found on Citus 15.0devel (sources: ``commands/table.c``, ``trigger.c``,
``index.c``, ``utility_hook.c``).
"""

from __future__ import annotations

import random
import re
from datetime import UTC, datetime, timedelta

from greeks_trio.postgres.schema.citus_form import citus_form
from greeks_trio.postgres.schema.distribution import rewritten_functions
from greeks_trio.postgres.schema.schema_files import load_migrations, schema_text
from greeks_trio.postgres.schema.statements import statements
from tests.citus import answer, questions
from tests.database.random_book import random_book
from tests.database.risk_rows import risk_database
from tests.fix_postgres import connect

# The last migration that was released before the schema could be distributed.  An empty
# schema gets its objects from db/schema.sql, so only later ones meet a distributed one.
BEFORE_CITUS = "0020_leases"

RULES = {
    "no row triggers": (
        "select tgrelid::regclass, tgname from pg_trigger where not tgisinternal"
    ),
    "no rules": (
        "select ev_class::regclass, rulename from pg_rewrite where rulename <> '_RETURN'"
        " and ev_class >= 16384"
    ),
    "no foreign key out of the schema": (
        "select conname from pg_constraint c join pg_class t on t.oid = confrelid"
        " where contype = 'f' and t.relnamespace <> connamespace"
    ),
    "no exclusion constraints, no constraints that wait": (
        "select conname from pg_constraint where contype = 'x' or condeferrable"
    ),
    "no inheritance but of partitions, and no partitions of partitions": (
        "select inhrelid::regclass from pg_inherits join pg_class c on c.oid = inhrelid"
        " where c.relkind in ('r', 'p')"
        " and (not relispartition or c.relkind = 'p')"
    ),
    "every partitioned table has a key with the column of its partitions": (
        "select relname from pg_class c join pg_partitioned_table p on partrelid = c.oid"
        " where not exists (select from pg_constraint k where k.conrelid = c.oid"
        " and contype = 'p' and conkey @> array[partattrs[0]])"
    ),
    "every sequence belongs to a column, and its type is bigint": (
        "select seqrelid::regclass from pg_sequence"
        " where seqtypid <> 'int8'::regtype or not exists (select from pg_depend"
        " where objid = seqrelid and refobjsubid > 0 and deptype in ('a', 'i'))"
    ),
    "no types, domains, operators and aggregates of our own": (
        "select typname from pg_type t where typnamespace = 'public'::regnamespace"
        " and typtype <> 'b' and typrelid = 0"
        " union all select oprname from pg_operator"
        " where oprnamespace = 'public'::regnamespace"
        " union all select proname from pg_proc where prokind <> 'f'"
        " and pronamespace = 'public'::regnamespace"
    ),
    "no table in another schema, no materialized view, no foreign table": (
        "select relname from pg_class where oid >= 16384 and (relkind in ('m', 'f')"
        " or relkind in ('r', 'p') and relnamespace <> 'public'::regnamespace"
        " and relnamespace <> 'pg_toast'::regnamespace)"
    ),
    "no row security, no statistics, every table logged": (
        "select relname from pg_class where oid >= 16384"
        " and (relrowsecurity or relpersistence <> 'p')"
        " union all select stxname from pg_statistic_ext"
    ),
    "no column that is computed when it is read": (
        "select attrelid::regclass, attname from pg_attribute where attgenerated = 'v'"
    ),
}
# Citus refuses these to a table that it has distributed.
REFUSED = {
    "several changes of constraints": r"alter table [^;]*\b(add|drop) constraint\b[^;]*,\s*"
    r"(add|drop) constraint\b",
    "a column's statistics": r"alter table [^;]*\bset statistics\b",
    "a concurrent detach": r"\bdetach partition \S+ concurrently\b",
    "a copy with a condition": r"\bcopy \w+ [^;]*\bwhere\b",
    "a rename of a constraint": r"\brename constraint\b",
    "a trigger": r"\bcreate (or replace )?trigger\b",
    "a rule": r"\bcreate (or replace )?rule\b",
}


def test_the_schema_keeps_every_rule(database):
    with connect(database) as connection:
        connection.execute("select make_month('2026-11-01')")
        broken = {
            rule: found
            for rule, query in RULES.items()
            if (found := connection.execute(query).fetchall())
        }
    assert broken == {}


def test_a_later_migration_has_no_statement_that_citus_refuses():
    later = [each for each in load_migrations() if each.name > BEFORE_CITUS]
    assert [
        (each.name, what, statement[:80])
        for each in later
        for statement in statements(each.sql.decode())
        if "$$" not in statement
        for what, pattern in REFUSED.items()
        if re.search(pattern, statement, re.IGNORECASE)
    ] == []


def test_the_patterns_find_what_earlier_migrations_had():
    """Migration 0004 is one that Citus refuses."""
    [text] = [
        each.sql.decode() for each in load_migrations() if each.name.startswith("0004")
    ]
    assert re.search(REFUSED["several changes of constraints"], text)


def test_every_function_that_reads_a_relation_gets_its_form(database):
    """One that stays in SQL reads no table and no view, and so do those that it calls."""
    with connect(database) as connection:
        reading = connection.execute(
            "select distinct p.proname from pg_proc p join pg_language l on l.oid = prolang"
            " join pg_depend d on d.classid = 'pg_proc'::regclass and d.objid = p.oid"
            " and d.refclassid = 'pg_class'::regclass"
            " where lanname = 'sql' and pronamespace = 'public'::regnamespace"
        ).fetchall()
    assert reading
    assert {name for (name,) in reading} <= rewritten_functions()


def test_the_functions_answer_the_same_in_their_form(database):
    """With a setting that only a superuser may give to a function here."""
    now = datetime.now(UTC).replace(microsecond=0)
    with risk_database(database) as connection:
        connection.execute("set timezone = 'UTC'")
        expiration = (now + timedelta(days=2)).date()
        random_book(connection, random.Random(4), now, expiration=expiration)
        every = questions(connection, now)
        before = {question: answer(connection, question) for question in every}
        for statement in statements(schema_text()):
            if statement.startswith("create function "):
                form = citus_form(statement.replace("create ", "create or replace ", 1))
                connection.execute(form.encode())
        different = [q for q in every if answer(connection, q) != before[q]]
    assert sum(map(len, before.values())) > 500
    assert different == []
