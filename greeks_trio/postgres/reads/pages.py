"""Pages of a list: so many rows as a JSON array, and the position of the last one."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from typing import Final, cast

import msgspec
from psycopg import capabilities

from greeks_trio.postgres.reads.listing import (
    Key,
    Listing,
    PagePosition,
    json_statement,
)
from greeks_trio.postgres.reads.pool import ReadConnection

# A page is in memory several times: as rows, as text, as an answer.
_PAGE_BYTES: Final = 4 * 2**20
_STEP_ROWS: Final = 100


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a list.

    Attributes:
        items: A JSON array, as text that is ready to be sent.
        position: The next page begins after it; `None` when there are no more rows.
    """

    items: bytes
    position: PagePosition | None


def fetch_page(listing: Listing, limit: int, connection: ReadConnection) -> Page:
    """Return at most so many rows; fewer when they are large."""
    query, params = json_statement(listing, limit + 1)
    lines: list[str] = []
    size, position = 0, None
    step = _STEP_ROWS if capabilities.has_stream_chunked() else 1
    with connection.cursor() as cursor:
        # Closing the generator ends the query.
        rows = cast("Generator[tuple[str]]", cursor.stream(query, params, size=step))
        with closing(rows):
            for (line,) in rows:
                if len(lines) == limit or size > _PAGE_BYTES:
                    position = _position_of(lines[-1], listing.keys)
                    break
                lines.append(line)
                size += len(line)
    return Page(items=f"[{','.join(lines)}]".encode(), position=position)


def _position_of(line: str, keys: Sequence[Key]) -> PagePosition:
    row = msgspec.json.decode(line)
    return [
        key.if_null or "" if row[key.name] is None else row[key.name] for key in keys
    ]
