"""The months whose ticks have left the table, as text."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from greeks_trio.postgres.reads.pool import ReadConnection
from greeks_trio.postgres.schema.sizes import MAY_READ_ARCHIVED

_ARCHIVED: Final = """
select coalesce(
    json_agg(
        json_build_array(date_part('epoch', a.started_at), date_part('epoch', a.ended_at))
        order by a.started_at
    ),
    '[]'
)::text
from (
    select distinct
        m.month::timestamp at time zone 'UTC' as started_at,
        (m.month + interval '1 month') at time zone 'UTC' as ended_at
    from archived_months m
    where m.dropped_at is not null and m.loaded_at is null
) a
where a.started_at < %s and a.ended_at > %s
"""


def read_archived(start: datetime, end: datetime, connection: ReadConnection) -> str:
    """Return the months as a JSON array; null if the role may not read of them."""
    [may_read] = connection.execute(MAY_READ_ARCHIVED).fetchone() or [False]
    if not may_read:
        return "null"
    row = connection.execute(_ARCHIVED, [end, start]).fetchone()
    assert row is not None  # noqa: S101  # an aggregate has one row
    return str(row[0])
