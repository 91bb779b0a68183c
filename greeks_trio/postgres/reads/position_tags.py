"""The strategies that people give to positions: written, replaced and removed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from psycopg import sql

from greeks_trio.errors import StoreUnavailable
from greeks_trio.model.records import Broker
from greeks_trio.postgres.reads.listing import Column, json_columns
from greeks_trio.postgres.reads.pool import ReadConnection


class TaggedPosition(msgspec.Struct, frozen=True, kw_only=True):
    """The position that a tag is for."""

    broker: Broker
    account_id: str
    contract_key: str


class PositionTag(TaggedPosition, frozen=True, kw_only=True):
    """The strategy of a position.

    Attributes:
        strategy_tag: `None`: the position has none, also if a trade names one.
    """

    strategy_tag: str | None
    tagged_by: str | None = None


class TagWritten(msgspec.Struct, frozen=True, kw_only=True):
    """The row of a tag.

    Attributes:
        item: The row as JSON.
        is_new: Whether the position had no tag before.
    """

    item: bytes
    is_new: bool


# The same tag again changes nothing, so it can be sent again.
_WRITE: Final = sql.SQL("""
with earlier as (
    select from position_tags
    where (broker, account_id, contract_key)
        = (%(broker)s::text, %(account_id)s::text, %(contract_key)s::text)
), src as (
    insert into position_tags as t
        (broker, account_id, contract_key, strategy_tag, tagged_by)
    values (%(broker)s, %(account_id)s, %(contract_key)s, %(strategy_tag)s, %(tagged_by)s)
    on conflict (broker, account_id, contract_key) do update
    set strategy_tag = excluded.strategy_tag,
        tagged_by = excluded.tagged_by,
        tagged_at = case
            when (t.strategy_tag, t.tagged_by)
                is not distinct from (excluded.strategy_tag, excluded.tagged_by)
            then t.tagged_at
            else excluded.tagged_at
        end
    returning *
)
select row_to_json(line)::text, not exists (select from earlier)
from src, lateral (select {columns}) line
""")
_DELETE: Final = """
delete from position_tags
where (broker, account_id, contract_key)
    = (%(broker)s::text, %(account_id)s::text, %(contract_key)s::text)
returning 1
"""


def write_tag(
    tag: PositionTag, columns: Sequence[Column], connection: ReadConnection
) -> TagWritten:
    """Insert or replace the tag of a position.

    Args:
        tag: The values of the row.
        columns: The columns of the row that is returned.
        connection: A session that may only read; its transaction here may write.

    Raises:
        StoreUnavailable: the table has a rule of another program, which takes the row.
    """
    query = _WRITE.format(columns=json_columns(columns))
    with connection.transaction():
        connection.execute("set transaction read write")
        row = connection.execute(query, msgspec.structs.asdict(tag)).fetchone()
    if row is None:
        raise StoreUnavailable("the database has not kept the tag")
    line, is_new = row
    return TagWritten(item=line.encode(), is_new=is_new)


def delete_tag(position: TaggedPosition, connection: ReadConnection) -> bool:
    """Delete the tag of a position; false if it has none."""
    with connection.transaction():
        connection.execute("set transaction read write")
        deleted = connection.execute(_DELETE, msgspec.structs.asdict(position))
        return deleted.fetchone() is not None
