"""From a list to its statements: rows come out of PostgreSQL as lines of JSON or CSV.

Discussion: turning rows into Python's objects and these into text costs a hundred times
the Python time of moving lines of text, and while Python works, no tick is read.  It is
also exact for nothing: PostgreSQL writes each double in the fewest digits that read back
as the same one, and each numeric with all of its digits.

Times are RFC 3339 in UTC with microseconds.  What stands in a statement as text is from
this package; what somebody asked for is always a parameter.  In every statement the rows
of the list are called ``src``.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeAlias, cast

import msgspec
from psycopg import capabilities, sql

from greeks_trio.postgres.reads.pool import ReadConnection
from greeks_trio.postgres.reads.questions import ExportFormat, Place

# A page is held in memory several times: as rows, as text, as an answer.
_PAGE_BYTES: Final = 4 * 2**20
_STEP_ROWS: Final = 100

Kind = Literal["text", "time", "plain", "json"]
Statement: TypeAlias = tuple[sql.Composed, list[Any]]
Condition: TypeAlias = tuple[sql.Composable, Sequence[Any]]

# How the text in a cursor becomes a value again.
TEXT: Final = sql.SQL("%s::text")
DATE: Final = sql.SQL("%s::text::date")
TIMESTAMP: Final = sql.SQL("%s::text::timestamptz")

_TIME: Final = sql.SQL(
    "to_char({} at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
)
_QUOTED: Final = sql.SQL("'\"' || replace({}::text, '\"', '\"\"') || '\"'")


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a list.

    Attributes:
        kind: How it is written; ``plain`` is a number, a date or a truth value.
        expression: Where the value comes from; else it is the column of that name.
    """

    name: str
    kind: Kind = "plain"
    expression: sql.Composable | None = None

    @property
    def value(self) -> sql.Composable:
        """The value as it is."""
        return self.expression or sql.Identifier("src", self.name)

    def in_json(self) -> sql.Composable:
        """Return the value as ``row_to_json`` has to find it."""
        value = _TIME.format(self.value) if self.kind == "time" else self.value
        return sql.SQL("{} as {}").format(value, sql.Identifier(self.name))

    def in_csv(self) -> sql.Composable:
        """Return the value as text, null where nothing stands between the commas."""
        if self.kind == "time":
            return _TIME.format(self.value)
        if self.kind == "plain":
            return sql.SQL("{}::text").format(self.value)
        return _QUOTED.format(self.value)


@dataclass(frozen=True, slots=True)
class Key:
    """A column by which a list is ordered.

    Attributes:
        cast: How a value of the cursor becomes one of its type.
        if_null: What stands in the order for a null; without it there is none.
    """

    name: str
    cast: sql.SQL
    if_null: str | None = None

    @property
    def value(self) -> sql.Composable:
        """The value that orders."""
        name = sql.Identifier("src", self.name)
        if self.if_null is None:
            return name
        return sql.SQL("coalesce({}, {})").format(name, sql.Literal(self.if_null))


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A list: its rows, its columns, its order.

    Attributes:
        keys: Unique together.
        source: A table, or a function with its parameters.
        conditions: Each with its parameters.
        parts: Rows whose columns the conditions may name.  The list is then made of one
            list for each of them, in its order and as long as may be needed: for an
            index that has this order within each part only.
    """

    columns: Sequence[Column]
    keys: Sequence[Key]
    source: sql.Composable
    source_params: Sequence[Any] = ()
    conditions: Sequence[Condition] = ()
    parts: sql.Composable | None = None

    def after(self, place: Place | None) -> Listing:
        """Return what comes after a place.

        Raises:
            ValueError: it is no place in this list.
        """
        if place is None:
            return self
        if len(place) != len(self.keys):
            raise ValueError("a place in another list")
        first, values = self.keys[0], [str(value) for value in place]
        keys = _joined(key.value for key in self.keys)
        casts = _joined(key.cast for key in self.keys)
        # The first condition follows from the second; only with it a partition that
        # is over is not even looked at.
        not_before = sql.SQL("{} >= {}").format(first.value, first.cast)
        after = sql.SQL("({}) > ({})").format(keys, casts)
        conditions = [*self.conditions, (not_before, values[:1]), (after, values)]
        return replace(self, conditions=conditions)

    def rows(self, columns: sql.Composable, limit: int | None) -> Statement:
        """Return the select of these columns, in the list's order."""
        if self.parts is None:
            return self._select(columns, limit)
        part, params = self._select(sql.SQL("src.*"), limit)
        source = sql.SQL("{} cross join lateral ({}) src").format(self.parts, part)
        whole = replace(
            self, source=source, source_params=params, conditions=(), parts=None
        )
        return whole._select(columns, limit)

    def _select(self, columns: sql.Composable, limit: int | None) -> Statement:
        params = [value for _, values in self.conditions for value in values]
        wheres = [condition for condition, _ in self.conditions]
        query = sql.SQL("select {} from {}{} order by {}{}").format(
            columns,
            self.source,
            sql.SQL(" where {}").format(sql.SQL(" and ").join(wheres))
            if wheres
            else sql.SQL(""),
            _joined(key.value for key in self.keys),
            sql.SQL("") if limit is None else sql.SQL(" limit %s"),
        )
        limits = [] if limit is None else [limit]
        return query, [*self.source_params, *params, *limits]


def json_statement(listing: Listing, limit: int | None) -> Statement:
    """Return the select of one JSON object for each row."""
    columns = _joined(column.in_json() for column in listing.columns)
    rows, params = listing.rows(columns, limit)
    query = sql.SQL("select row_to_json(line)::text from ({}) line").format(rows)
    return query, params


def export_statement(
    listing: Listing, form: ExportFormat, limit: int | None
) -> Statement:
    """Return the select of one line for each row."""
    if form == "ndjson":
        return json_statement(listing, limit)
    fields = sql.SQL(", ',', ").join(column.in_csv() for column in listing.columns)
    # The conditions of the rows come first, or each of them would be written for nothing.
    return listing.rows(sql.SQL("concat({})").format(fields), limit)


def csv_header(listing: Listing) -> bytes:
    """Return the first line of a CSV export."""
    return ",".join(column.name for column in listing.columns).encode() + b"\n"


def fetch_page(
    listing: Listing, limit: int, connection: ReadConnection
) -> tuple[bytes, Place | None]:
    """Return a JSON array of at most so many rows, and the place of the last one.

    It has fewer rows when they are large.  `None` for the place when there are no more
    rows after it.
    """
    query, params = json_statement(listing, limit + 1)
    lines: list[str] = []
    size, place = 0, None
    step = _STEP_ROWS if capabilities.has_stream_chunked() else 1
    with connection.cursor() as cursor:
        # Closing it ends the query.
        rows = cast("Generator[tuple[str]]", cursor.stream(query, params, size=step))
        with closing(rows):
            for (line,) in rows:
                if len(lines) == limit or size > _PAGE_BYTES:
                    place = _place_of(lines[-1], listing.keys)
                    break
                lines.append(line)
                size += len(line)
    return f"[{','.join(lines)}]".encode(), place


def _place_of(line: str, keys: Sequence[Key]) -> Place:
    row = msgspec.json.decode(line)
    return [
        key.if_null or "" if row[key.name] is None else row[key.name] for key in keys
    ]


def _joined(parts: Iterable[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(parts)
