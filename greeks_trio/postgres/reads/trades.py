"""Recording a trade: an insert that can be repeated."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

import msgspec
from psycopg import sql

from greeks_trio.errors import StoreUnavailable
from greeks_trio.model.records import Broker
from greeks_trio.postgres.reads.listing import Column, json_columns
from greeks_trio.postgres.reads.pool import ReadConnection


class NewTrade(msgspec.Struct, frozen=True, kw_only=True):
    """A trade to be recorded.

    Attributes:
        created_at: `None` for the database's present moment.
        metadata: A JSON object, as text.
    """

    id: UUID
    broker: Broker
    account_id: str
    symbol: str
    action: str
    quantity: Decimal
    contract_key: str | None = None
    price: Decimal | None = None
    strategy_tag: str | None = None
    metadata: str | None = None
    created_at: datetime | None = None


class RecordedTrade(msgspec.Struct, frozen=True, kw_only=True):
    """The row of the table that has a trade's id.

    Attributes:
        item: The row as JSON.
        is_new: Whether this request has inserted it.
        is_same: Whether its values are those of the trade in the request.
    """

    item: bytes
    is_new: bool
    is_same: bool


# `is_same` compares values, not their spelling: 1.0 and 1.00 are one quantity.  A trade
# without a time of its own is the same at any time.
_RECORD: Final = sql.SQL("""
with offered as (
    select
        %(id)s::uuid as id,
        %(created_at)s::timestamptz as created_at,
        %(broker)s::text as broker,
        %(account_id)s::text as account_id,
        %(symbol)s::text as symbol,
        %(contract_key)s::text as contract_key,
        %(action)s::text as action,
        %(quantity)s::numeric as quantity,
        %(price)s::numeric as price,
        %(strategy_tag)s::text as strategy_tag,
        %(metadata)s::jsonb as metadata
), inserted as (
    insert into trades
    select id, coalesce(created_at, now()), broker, account_id, symbol, contract_key,
           action, quantity, price, strategy_tag, metadata
    from offered
    on conflict (id) do nothing
    returning *
), stored as (
    select *, true as is_new from inserted
    union all
    select trades.*, false from trades join offered using (id)
)
select
    row_to_json(line)::text,
    src.is_new,
    (src.broker, src.account_id, src.symbol, src.contract_key, src.action,
     src.quantity, src.price, src.strategy_tag, src.metadata, src.created_at)
    is not distinct from
    (offered.broker, offered.account_id, offered.symbol, offered.contract_key,
     offered.action, offered.quantity, offered.price, offered.strategy_tag,
     offered.metadata, coalesce(offered.created_at, src.created_at))
from stored src, offered, lateral (select {columns}) line
""")


def record_trade(
    trade: NewTrade, columns: Sequence[Column], connection: ReadConnection
) -> RecordedTrade:
    """Insert a trade unless one has its id already, and return the row of that id.

    Args:
        trade: The values of the row.
        columns: The columns of the row that is returned.
        connection: A session that may only read; its transaction here may write.

    Raises:
        StoreUnavailable: somebody deletes the trade at the same time.
    """
    query = _RECORD.format(columns=json_columns(columns))
    params = msgspec.structs.asdict(trade)
    # The statement waits for a trade that another request inserts at this moment, and
    # does not see it afterwards; the second attempt sees it.
    for _ in range(2):
        with connection.transaction():
            connection.execute("set transaction read write")
            row = connection.execute(query, params).fetchone()
        if row is not None:
            line, is_new, is_same = row
            return RecordedTrade(item=line.encode(), is_new=is_new, is_same=is_same)
    raise StoreUnavailable("the trade was deleted while it was recorded")
