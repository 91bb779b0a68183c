"""From a list to its statements: PostgreSQL gives each row as a line of JSON or CSV.

Discussion: a Python object for each value, and then text, costs a hundred times the
Python time of lines of text, and while Python works, no tick is read.  The lines are also
exact: PostgreSQL writes each double in the fewest digits that read back as the same one,
and each numeric with all of its digits.

Times are RFC 3339 in UTC with microseconds.  The text of a statement comes from this
package; every value of a request is a parameter.  In every statement the rows of the list
are called ``src``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeAlias

from psycopg import sql

from greeks_trio.postgres.reads.conditions import Condition

ExportFormat = Literal["csv", "ndjson"]
Kind = Literal["plain", "text", "texts", "time", "json"]
Statement: TypeAlias = tuple[sql.Composed, list[Any]]

# The values of the keys in the last row of a page; the next page has the rows after
# them.  Text, or whole numbers.
PagePosition: TypeAlias = list[str | int]

_TIME: Final = sql.SQL(
    "to_char({} at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
)
_QUOTED: Final = sql.SQL("'\"' || replace({}::text, '\"', '\"\"') || '\"'")
_JOINED: Final = sql.SQL("array_to_string({}, ', ')")
_PART: Final = 50
# A text that begins with one of these is a formula to a spreadsheet.
_DEFUSED: Final = sql.SQL(r"regexp_replace({}::text, '^[-=+@[:cntrl:]]', '''\&')")


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a list.

    Attributes:
        kind: How the value is written.  ``plain`` is a number, a date or a truth value.
            ``texts`` is a list, which is one field with commas in CSV.  A text comes from
            a broker or a person, and other people open it in a spreadsheet, so CSV has an
            apostrophe before anything that would be a formula there.  Source:
            https://owasp.org/www-community/attacks/CSV_Injection
    """

    name: str
    kind: Kind

    def in_json(self) -> sql.Composable:
        """Return the value as ``row_to_json`` has to find it."""
        value: sql.Composable = sql.Identifier("src", self.name)
        if self.kind == "time":
            value = _TIME.format(value)
        return sql.SQL("{} as {}").format(value, sql.Identifier(self.name))

    def in_csv(self) -> sql.Composable:
        """Return the value as text; a null is nothing between two commas."""
        value = sql.Identifier("src", self.name)
        match self.kind:
            case "time":
                return _TIME.format(value)
            case "plain":
                return sql.SQL("{}::text").format(value)
            case "texts":
                return _QUOTED.format(_DEFUSED.format(_JOINED.format(value)))
            case "text":
                return _QUOTED.format(_DEFUSED.format(value))
            case _:
                return _QUOTED.format(value)


@dataclass(frozen=True, slots=True)
class Key:
    """A column by which a list is ordered.

    Attributes:
        type: The type of PostgreSQL that a value of a page position gets.
        if_null: The value that orders a null; without it the column has no null.
    """

    name: str
    type: Literal["text", "date", "timestamptz", "bigint", "uuid"]
    if_null: str | None = None

    @property
    def value(self) -> sql.Composable:
        """The value that orders."""
        name = sql.Identifier("src", self.name)
        if self.if_null is None:
            return name
        return sql.SQL("coalesce({}, {})").format(name, sql.Literal(self.if_null))

    @property
    def cast(self) -> sql.SQL:
        """The placeholder that turns text into a value of the type."""
        return sql.SQL(f"%s::text::{self.type}")


@dataclass(frozen=True, slots=True)
class Parts:
    """Rows that divide a list into parts.

    Attributes:
        rows: One row for each part, called ``part``.
        condition: Connects ``src`` with ``part``.
    """

    rows: sql.Composable
    condition: sql.Composable


@dataclass(frozen=True, slots=True)
class Source:
    """The rows of a list, before its conditions.

    Attributes:
        relation: A table, a view, or a function with placeholders.
        params: The values of its placeholders.
        parts: The list is then put together from one list for each part, each ordered and
            limited: for an index that has the list's order within each part only.
    """

    relation: sql.Composable
    params: Sequence[Any] = ()
    parts: Parts | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A list: its rows, its columns, its order.

    Attributes:
        keys: Unique together.
        conditions: All of them hold for each row.
    """

    columns: Sequence[Column]
    keys: Sequence[Key]
    source: Source
    conditions: Sequence[Condition] = ()

    def after(self, position: PagePosition | None) -> Listing:
        """Return the rows that come after a position; all of them after `None`.

        Raises:
            ValueError: the position is not one of this list.
        """
        if position is None:
            return self
        if len(position) != len(self.keys):
            raise ValueError("the position is one of another list")
        first, values = self.keys[0], [str(value) for value in position]
        keys = _joined(key.value for key in self.keys)
        casts = _joined(key.cast for key in self.keys)
        # The first condition follows from the second.  It lets PostgreSQL skip the
        # partitions that lie before the position.
        at_first = sql.SQL("{} >= {}").format(first.value, first.cast)
        after = sql.SQL("({}) > ({})").format(keys, casts)
        conditions = [*self.conditions, (at_first, values[:1]), (after, values)]
        return replace(self, conditions=conditions)

    def select(self, columns: sql.Composable, limit: int | None) -> Statement:
        """Return the select of these columns, in the list's order."""
        parts = self.source.parts
        if parts is None:
            return self._select(columns, limit)
        of_one_part = replace(
            self, conditions=[(parts.condition, ()), *self.conditions]
        )
        part, params = of_one_part._select(sql.SQL("src.*"), limit)
        relation = sql.SQL("{} cross join lateral ({}) src").format(parts.rows, part)
        whole = replace(self, source=Source(relation, params), conditions=())
        return whole._select(columns, limit)

    def _select(self, columns: sql.Composable, limit: int | None) -> Statement:
        params = [value for _, values in self.conditions for value in values]
        wheres = [condition for condition, _ in self.conditions]
        query = sql.SQL("select {} from {}{} order by {}{}").format(
            columns,
            self.source.relation,
            sql.SQL(" where {}").format(sql.SQL(" and ").join(wheres))
            if wheres
            else sql.SQL(""),
            _joined(key.value for key in self.keys),
            sql.SQL("") if limit is None else sql.SQL(" limit %s"),
        )
        limits = [] if limit is None else [limit]
        return query, [*self.source.params, *params, *limits]


def json_statement(listing: Listing, limit: int | None) -> Statement:
    """Return the select of one JSON object for each row."""
    rows, params = listing.select(json_columns(listing.columns), limit)
    query = sql.SQL("select row_to_json(line)::text from ({}) line").format(rows)
    return query, params


def json_columns(columns: Iterable[Column]) -> sql.Composed:
    """Return the columns of the row that ``row_to_json`` takes."""
    return _joined(column.in_json() for column in columns)


def export_statement(
    listing: Listing, form: ExportFormat, limit: int | None
) -> Statement:
    """Return the select of one line for each row."""
    if form == "ndjson":
        return json_statement(listing, limit)
    # PostgreSQL formats a row only after the conditions have let it pass.
    return listing.select(_csv_line(listing.columns), limit)


def _csv_line(columns: Sequence[Column]) -> sql.Composed:
    """Return the fields with commas between them; a function takes 100 arguments."""
    parts = [
        sql.SQL("concat({})").format(
            sql.SQL(", ',', ").join(each.in_csv() for each in columns[at : at + _PART])
        )
        for at in range(0, len(columns), _PART)
    ]
    return sql.SQL(" || ',' || ").join(parts)


def csv_header(columns: Iterable[Column]) -> bytes:
    """Return the first line of a CSV export."""
    return ",".join(column.name for column in columns).encode() + b"\n"


def _joined(parts: Iterable[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(parts)
