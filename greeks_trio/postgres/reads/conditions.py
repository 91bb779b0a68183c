"""Conditions on the rows of a list: each takes a value and gives SQL with a parameter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, LiteralString, TypeAlias

from psycopg import sql

# The text of the condition, and the values of its placeholders.
Condition: TypeAlias = tuple[sql.Composable, Sequence[Any]]
MakeCondition: TypeAlias = Callable[[Any], Condition]


def equal(column: str) -> MakeCondition:
    """Return the condition that a column has exactly the value."""
    return _comparison("{} = %s", column)


def equal_or_null(column: str) -> MakeCondition:
    """Return the condition that a column has exactly the value, or none."""
    return _comparison("coalesce({} = %s, true)", column)


def same_spelling(column: str) -> MakeCondition:
    """Return the condition that a column has the value but for spaces and small letters.

    No index serves it.  It is for a column that other programs write too.
    """
    return _comparison(
        "upper(replace({}, ' ', '')) = upper(replace(%s, ' ', ''))", column
    )


def not_before(column: str) -> MakeCondition:
    """Return the condition that a column has the value or a later one."""
    return _comparison("{} >= %s", column)


def before(column: str) -> MakeCondition:
    """Return the condition that a column has an earlier value."""
    return _comparison("{} < %s", column)


def not_after(column: str) -> MakeCondition:
    """Return the condition that a column has the value or an earlier one."""
    return _comparison("{} <= %s", column)


def after_or_null(column: str) -> MakeCondition:
    """Return the condition that a column has a later value, or none."""
    return _comparison("({0} is null or {0} > %s)", column)


def is_null(column: str) -> MakeCondition:
    """Return the condition that a column has no value, or has one if the value is false."""
    return _comparison("({} is null) = %s", column)


def _comparison(template: LiteralString, column: str) -> MakeCondition:
    text = sql.SQL(template).format(sql.Identifier("src", column))
    return lambda value: (text, [value])
