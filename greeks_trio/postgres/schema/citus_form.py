"""The functions of the schema in the form that a distributed schema needs.

Citus plans a statement before PostgreSQL puts the text of SQL functions into it, and it
refuses one that reads distributed tables.  In PL/pgSQL the same text is a statement of its
own, which Citus sends to the node of the schema.  A function that runs there as a part of
such a statement reads the tables once more, which Citus allows by a setting.

The name of a column wins over the name of a parameter, as in SQL functions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

_SQL_FUNCTION: Final = re.compile(
    r"create (?:or replace )?function (?P<name>\w+)\((?P<arguments>.*?)\)\n"
    r"returns (?P<returns>.*?)\n"
    r"language sql(?! immutable)(?P<options>.*?)\n"
    r"begin atomic\n(?P<body>.*);\nend;",
    re.DOTALL,
)
_FORM: Final = """\
create or replace function {name}({arguments})
returns {returns}
language plpgsql{options}
{nested}
as $body$
#variable_conflict use_column
begin
    {answer};
end
$body$;"""
_TABLE: Final = re.compile(r"table \((.*)\)", re.DOTALL)
_PLPGSQL: Final = re.compile(
    r"create (?:or replace )?function [^$]*\nlanguage plpgsql\b"
)
_NESTED: Final = "set citus.allow_nested_distributed_execution = on"


def citus_form(statement: str) -> str:
    """Return the statement for a distributed schema.

    Args:
        statement: A statement of the schema or of a migration.
    """
    if _PLPGSQL.match(statement):
        return statement.replace("\nas $$\n", f"\n{_NESTED}\nas $$\n", 1)
    function = _SQL_FUNCTION.fullmatch(statement)
    if function is None or _has_name_twice(function):
        return statement
    return _FORM.format(
        answer=_answer(function["returns"], function["body"]),
        nested=_NESTED,
        **function.groupdict(),
    )


def _has_name_twice(function: re.Match[str]) -> bool:
    """Return whether a parameter has the name of a column, which PL/pgSQL refuses.

    Such a function calls others and reads no table.
    """
    parameters = {each.split()[0] for each in function["arguments"].split(",") if each}
    return any(name in parameters for name, _ in _columns(function["returns"]))


def _answer(returns: str, body: str) -> str:
    if returns == "void":
        return body
    if returns.startswith("setof "):
        return f"return query\n{body}"
    columns = list(_columns(returns))
    if not columns:
        return f"return (\n{body}\n)"
    # Unlike SQL functions, PL/pgSQL converts no type.
    wanted = ", ".join(f"answer.{name}::{kind}" for name, kind in columns)
    names = ", ".join(name for name, _ in columns)
    return f"return query\nselect {wanted}\nfrom (\n{body}\n) as answer ({names})"


def _columns(returns: str) -> Iterator[tuple[str, str]]:
    """Yield name and type of each column of a table."""
    if table := _TABLE.fullmatch(returns):
        for column in table[1].split(","):
            name, kind = column.split(maxsplit=1)
            yield name, kind.strip()
