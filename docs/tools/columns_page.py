"""The page of all columns, from the comments of the schema."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from docs.tools.markdown import code, page, table

SCHEMA: Final = Path(__file__).parents[2] / "db" / "schema.sql"

_ABOUT: Final = """\
Every table and view that you may read, with the unit of each column. `\\d+ greek_snapshots` in
psql shows the same comments. [The schema](schema.md) explains how the parts belong together.
"""
_COMMENT: Final = re.compile(
    r"comment on (table|view|column) ([a-z0-9_.]+) is\s+((?:'(?:[^']|'')*'\s*)+);"
)
_TABLE: Final = re.compile(
    r"^create table ([a-z_]+) \((.*?)^\)", re.MULTILINE | re.DOTALL
)
_COLUMN: Final = re.compile(
    r"^ {4}(?!constraint)([a-z0-9_]+) ([a-z]+(?: [a-z]+)*?)"
    r"(?= not null| primary| generated| default|,|$)(.*)$",
    re.MULTILINE,
)
_VIEW: Final = re.compile(r"^create view ([a-z_]+) as$", re.MULTILINE)


def columns_page() -> str:
    """Return ``docs/columns.md``."""
    return page("Columns", "db/schema.sql", _ABOUT, *_parts(SCHEMA.read_text("utf-8")))


def _parts(sql: str) -> Iterator[str]:
    comments = {name: _text(text) for _, name, text in _COMMENT.findall(sql)}
    for relation, columns in _tables(sql):
        yield f"## {relation}"
        yield f"{comments[relation]}."
        yield table(
            ("column", "type", "meaning"),
            (
                (code(name), kind, comments.get(f"{relation}.{name}", ""))
                for name, kind in columns
            ),
        )
    for relation in _VIEW.findall(sql):
        yield f"## {relation}"
        yield f"{comments[relation]}."
        columns = [name for name in comments if name.startswith(f"{relation}.")]
        if not columns:
            yield "The columns mean the same as there."
            continue
        yield table(
            ("column", "meaning"),
            ((code(name.partition(".")[2]), comments[name]) for name in columns),
        )


def _tables(sql: str) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    for relation, body in _TABLE.findall(sql):
        columns = [
            (name, f"{kind}, not null" if "not null" in rest else kind)
            for name, kind, rest in _COLUMN.findall(body)
        ]
        yield relation, columns


def _text(literals: str) -> str:
    """Return the text of SQL string literals that stand side by side."""
    pieces = re.findall(r"'((?:[^']|'')*)'", literals)
    return "".join(pieces).replace("''", "'")
