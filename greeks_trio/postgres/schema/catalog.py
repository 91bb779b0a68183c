"""Compare the tables, keys, indexes, views and functions with those of this program.

The history of migrations says which steps were applied.  It does not say whether a person
has dropped a key since.  ``db/catalog.txt`` lists every object that the present schema has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import psycopg
from psycopg.rows import tuple_row

from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.errors import SchemaRejected
from greeks_trio.model.findings import Finding, Verdict
from greeks_trio.postgres.schema.distribution import rewritten_functions
from greeks_trio.postgres.schema.migrate import missing_migrations, newer_migrations
from greeks_trio.postgres.schema.schema_files import schema_directory
from greeks_trio.postgres.server_kind import read_server_kind
from greeks_trio.program import program_name

_SUBJECT: Final = "tables and views"
# Without one of these a row is lost, stored twice or hidden, or a view cannot answer.
_VITAL: Final = frozenset({"table", "column", "constraint", "view", "function"})
_CATALOG: Final = r"""
with home as (
    select relnamespace as oid, quote_ident(n.nspname) as name
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.oid = to_regclass('schema_migrations')
),
relations as (
    select c.* from pg_class c join home on home.oid = c.relnamespace
    where not c.relispartition
)
select 'table', relname::text, format('%s%s%s',
    case relkind when 'r' then 'table' when 'p' then pg_get_partkeydef(oid)
        else 'kind ' || relkind::text end,
    case relpersistence when 'p' then '' else ', not logged' end,
    case when relrowsecurity then ', row security' else '' end)
from relations where relkind in ('r', 'p', 'f')
union all
select 'replica identity', relname::text, case relreplident when 'f' then 'full'
    when 'n' then 'nothing' when 'i' then 'index' else 'default' end
from relations where relkind in ('r', 'p')
union all
select 'column', format('%s.%s', relname, attname), format('%s%s%s%s',
    format_type(atttypid, atttypmod), case when attnotnull then ' not null' else '' end,
    ' default ' || pg_get_expr(adbin, adrelid),
    case when attidentity <> '' then ' identity' end)
from pg_attribute a join relations r on r.oid = attrelid
left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
where attnum > 0 and not attisdropped and r.relkind in ('r', 'p', 'f')
union all
select 'constraint', format('%s.%s', relname, conname), pg_get_constraintdef(c.oid)
from pg_constraint c join relations r on r.oid = c.conrelid where contype in ('p', 'u', 'c')
union all
select 'index', i.relname::text,
    replace(pg_get_indexdef(indexrelid), home.name || '.', '')
        || case when indisvalid then '' else ' invalid' end
from pg_index join relations i on i.oid = indexrelid, home
where not exists (select from pg_constraint where conindid = indexrelid)
union all
select 'view', relname::text, (
    select string_agg(format('%s %s', attname, format_type(atttypid, null)), ', '
        order by attnum)
    from pg_attribute where attrelid = r.oid and attnum > 0)
from relations r where relkind = 'v'
union all
select 'function', p.oid::regprocedure::text, format('%s, %s%s', l.lanname, provolatile,
    case
        when format('search_path=%s, pg_temp', home.name) = any (proconfig)
            then ', search_path'
        when proconfig::text like '%search_path=%' then ', search_path of another schema'
        else ''
    end)
from pg_proc p join home on home.oid = pronamespace join pg_language l on l.oid = prolang
"""
# Additions that change the rows, or the way of a row.
_ADDITIONS: Final = """
with ours as (
    select to_regclass(name)::oid as oid
    from unnest(array['greek_snapshots', 'positions', 'account_values', 'market_metrics', 'feed_gaps', 'trades']) t (name)
    union all
    select inhrelid from pg_inherits where inhparent = to_regclass('greek_snapshots')
)
select format('%%s has the trigger %%s, which this program does not know',
    tgrelid::regclass, tgname)
from pg_trigger join ours on ours.oid = tgrelid
-- A trigger of the whole table comes once, and not for each month.
where not tgisinternal and tgparentid = 0
union all
select format('%%s has the rule %%s, which this program does not know: rows may go elsewhere '
    'or be lost', ev_class::regclass, rulename)
from pg_rewrite join ours on ours.oid = ev_class
union all
select format('%%s is a partition that is %%s', c.oid::regclass,
    case
        when c.relkind = 'f' then 'a foreign table: its rows are not durable here'
        when c.relpersistence = 'u' then 'not logged: a crash of the server empties it'
        when c.relrowsecurity then 'under row security, which may hide rows'
        else 'the default: it takes rows of every time, and no month can be made that has '
            'rows in it'
    end)
from pg_inherits join pg_class c on c.oid = inhrelid
where inhparent = to_regclass('greek_snapshots')
  and (c.relkind = 'f' or c.relpersistence = 'u' or c.relrowsecurity
      or pg_get_expr(c.relpartbound, c.oid) = 'DEFAULT')
union all
select format('%%s has the unique index %%s, which this program does not know: it may refuse '
    'rows', indrelid::regclass, relname)
from pg_index join ours on ours.oid = indrelid join pg_class c on c.oid = indexrelid
where indisunique and relname::text <> all (%(constraints)s)
  -- Those of a month belong to one of the whole table.
  and not exists (select from pg_inherits where inhrelid = indexrelid)
union all
select format('%%s has the constraint %%s, which this program does not know: it may refuse '
    'rows', conrelid::regclass, conname)
from pg_constraint join ours on ours.oid = conrelid
where contype in ('c', 'f', 'x') and coninhcount = 0
  and conname::text <> all (%(constraints)s)
union all
select format('%%s has the column %%s, which this program does not know and which takes no '
    'empty value: it refuses rows', attrelid::regclass, attname)
from pg_attribute join ours on ours.oid = attrelid join pg_class c on c.oid = attrelid
where attnum > 0 and not attisdropped and attnotnull and attinhcount = 0
  and not atthasdef and attidentity = ''
  and format('%%s.%%s', relname, attname) <> all (%(columns)s)
"""


class Thing(NamedTuple):
    """A table, column, constraint, index, view or function."""

    kind: str
    name: str


def expected_catalog() -> dict[Thing, str]:
    """Return the definition of everything that the present schema has."""
    text = schema_directory().joinpath("catalog.txt").read_text(encoding="utf-8")
    lines = (line.split("\t") for line in text.splitlines())
    return {Thing(kind, name): definition for kind, name, definition in lines}


async def expected_here(
    connection: psycopg.AsyncConnection[Any],
) -> dict[Thing, str]:
    """Return `expected_catalog` for the server at the other end.

    Raises:
        psycopg.Error: there is no answer.
    """
    expected = expected_catalog()
    if not (await read_server_kind(connection)).is_distributed:
        return expected
    rewritten = rewritten_functions()
    return {
        thing: _in_plpgsql(definition)
        if thing.kind == "function" and thing.name.partition("(")[0] in rewritten
        else definition
        for thing, definition in expected.items()
    }


def _in_plpgsql(definition: str) -> str:
    language, _, rest = definition.partition(", ")
    assert language == "sql"  # noqa: S101 - see `rewritten_functions`
    return f"plpgsql, {rest}, search_path"


async def read_catalog(connection: psycopg.AsyncConnection[Any]) -> dict[Thing, str]:
    """Return the definition of everything in the schema of our tables.

    Raises:
        psycopg.Error: there is no answer.
    """
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(_CATALOG)
        return {
            Thing(kind, name): definition
            for kind, name, definition in await cursor.fetchall()
        }


def catalog_text(catalog: Mapping[Thing, str]) -> str:
    """Return the lines of ``db/catalog.txt``."""
    return "".join(
        f"{thing.kind}\t{thing.name}\t{definition}\n"
        for thing, definition in sorted(catalog.items())
    )


async def inspect_schema(
    connection: psycopg.AsyncConnection[Any], _: DatabaseConfig
) -> list[Finding]:
    """Return whether the tables, keys, views and functions are those of this program.

    Raises:
        psycopg.Error: there is no answer.
    """
    try:
        if await missing_migrations(connection):
            return []  # they come with the migrations
        newer = await newer_migrations(connection)
    except SchemaRejected:
        return []  # the state of the schema says so
    if newer:
        # The tables and views are those of the newer program.
        return [
            Finding(
                subject=_SUBJECT,
                verdict="warning",
                sentence=f"a newer version has added {', '.join(newer)}, which this"
                " program does not use",
                remedy="install the newer version",
            )
        ]
    found = await read_catalog(connection)
    expected = await expected_here(connection)
    findings = [
        _finding(thing, wanted, found.get(thing))
        for thing, wanted in _differing(expected, found)
    ]
    names = {
        "columns": [thing.name for thing in expected if thing.kind == "column"],
        # Each without its table.
        "constraints": [
            thing.name.partition(".")[2]
            for thing in expected
            if thing.kind == "constraint"
        ],
    }
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(_ADDITIONS, names)
        findings += [
            Finding(
                subject=_SUBJECT,
                verdict="warning",
                sentence=sentence,
                remedy="remove it, unless it is intended",
            )
            for (sentence,) in await cursor.fetchall()
        ]
    return findings or [
        Finding(
            subject=_SUBJECT,
            verdict="fine",
            sentence="tables, keys, indexes, views and functions are in place",
        )
    ]


def _differing(
    expected: Mapping[Thing, str], found: Mapping[Thing, str]
) -> Iterable[tuple[Thing, str]]:
    """Yield everything that is missing or different; parts of a missing table are left out."""
    gone = {
        thing.name for thing in expected if thing.kind == "table" and thing not in found
    }
    for thing, wanted in expected.items():
        is_part = thing.kind in ("column", "constraint", "replica identity") and (
            thing.name.partition(".")[0] in gone
        )
        if found.get(thing) != wanted and not is_part:
            yield thing, wanted


def _finding(thing: Thing, wanted: str, found: str | None) -> Finding:
    verdict: Verdict = "failed" if thing.kind in _VITAL else "warning"
    if found is None:
        sentence = f"the {thing.kind} {thing.name} is missing"
        if thing.kind == "constraint" and wanted.startswith("PRIMARY KEY"):
            sentence += ": a row that comes again cannot be stored"
        remedy = f"run {program_name()} migrate --repair; rows that are lost come from a backup"
        if thing.kind == "column":
            remedy = "add it as db/schema.sql has it, or restore a backup"
        return Finding(
            subject=_SUBJECT, verdict=verdict, sentence=sentence, remedy=remedy
        )
    if thing.kind == "replica identity":
        return Finding(
            subject=_SUBJECT,
            verdict=verdict,
            sentence=f"the replica identity of {thing.name} is {found} and not {wanted}, so"
            " a publication of the table may stop its updates",
            remedy=f"alter table {thing.name} replica identity {wanted};",
        )
    remedy = "change it back, or restore the schema from a backup"
    if thing.kind == "function":
        remedy = f"run {program_name()} migrate --repair"
    return Finding(
        subject=_SUBJECT,
        verdict=verdict,
        sentence=f"the {thing.kind} {thing.name} is ({found}) and not ({wanted})",
        remedy=remedy,
    )
