"""SQL is split where psql splits it."""

from __future__ import annotations

import pytest

from greeks_trio.postgres.schema.schema_files import load_migrations, schema_text
from greeks_trio.postgres.schema.statements import statements
from tests.for_each import for_each

WHOLE = {
    "a semicolon in a text": "select 'one; two';",
    "a quote in a text": "select 'it''s; one';",
    "a backslash in an escape text": r"select e'it\'s; one';",
    "a semicolon in a name": 'select 1 as "a;b";',
    "dollar quotes": "do $$ begin perform 1; end $$;",
    "named dollar quotes": "do $body$ begin perform $$;$$; end $body$;",
    "a comment inside": "select 1 -- one; two\n+ 1;",
    "a comment in a comment": "select 1 /* one; /* two; */ three; */ + 1;",
    "parentheses": "create rule r as on insert to t do (select 1; select 2);",
    "a body in standard SQL": (
        "create function f() returns int begin atomic\n"
        "select case when true then 1 end; select 2;\nend;"
    ),
    "a word like a body's": "select 1 as begin;",
}


@for_each(WHOLE.values())
def test_one_statement_stays_whole(text):
    assert list(statements(f"{text}\n{text}")) == [text, text]


def test_comments_and_empty_statements_are_left_out():
    assert list(statements("-- first\n\n/* second */ select 1;; -- third\n")) == [
        "select 1;"
    ]


def test_the_last_statement_needs_no_semicolon():
    assert list(statements("select 1; select 2")) == ["select 1;", "select 2"]


@pytest.mark.parametrize(
    "text",
    [schema_text(), *(each.sql.decode() for each in load_migrations())],
    ids=["schema", *(each.name for each in load_migrations())],
)
def test_nothing_of_our_files_is_lost(text):
    parts = list(statements(text))
    rest = text
    for part in parts:
        before, found, rest = rest.partition(part)
        assert found
        assert all(not line or line.startswith("--") for line in before.splitlines())
    assert not rest.strip()
