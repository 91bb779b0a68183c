"""What is written down beside the ticks: intervals without data, and trades."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from psycopg import sql

from greeks_trio.errors import StoreUnavailable
from greeks_trio.postgres.reads.filters import equal, since
from greeks_trio.postgres.reads.lists import (
    TEXT,
    TIMESTAMP,
    Column,
    Condition,
    Key,
    Listing,
)
from greeks_trio.postgres.reads.pool import ReadConnection
from greeks_trio.postgres.reads.questions import (
    GapsQuestion,
    NewTrade,
    RecordedTrade,
    TradesQuestion,
)

# What begins with one of these is a formula to a spreadsheet.
_DEFUSED: Final = sql.SQL(r"regexp_replace({}, '^[-=+@[:cntrl:]]', '''\&')")


@dataclass(frozen=True, slots=True)
class _Written(Column):
    """A column of text that anybody who may record a trade has written.

    A table of trades is opened in spreadsheets, by others than those.  Source:
    https://owasp.org/www-community/attacks/CSV_Injection
    """

    def in_csv(self) -> sql.Composable:
        """Return the value as text, with an apostrophe before what would be a formula."""
        return Column(self.name, self.kind, _DEFUSED.format(self.value)).in_csv()


_GAPS: Final = (
    Column("broker", "text"),
    Column("account_id", "text"),
    Column("contract_key", "text"),
    Column("started_at", "time"),
    Column("ended_at", "time"),
    Column("reason", "text"),
)
_GAP_KEYS: Final = (
    Key("started_at", TIMESTAMP),
    Key("broker", TEXT),
    Key("account_id", TEXT, if_null=""),
    Key("contract_key", TEXT, if_null=""),
    Key("reason", TEXT),
)
_TRADES: Final = (
    Column("id", "text"),
    Column("created_at", "time"),
    Column("broker", "text"),
    _Written("account_id", "text"),
    _Written("symbol", "text"),
    _Written("contract_key", "text"),
    _Written("action", "text"),
    Column("quantity"),
    Column("price"),
    _Written("strategy_tag", "text"),
    Column("metadata", "json"),
)
_TRADE_KEYS: Final = (
    Key("created_at", TIMESTAMP),
    Key("id", sql.SQL("%s::text::uuid")),
)


def gaps_listing(asked: GapsQuestion) -> Listing:
    """Return the intervals without data that touch the time that is asked for."""
    conditions = [
        *equal("broker", asked.broker),
        *equal("account_id", asked.account_id),
        *equal("contract_key", asked.contract_key),
        *equal("reason", asked.reason),
        *since("started_at", None, asked.end),
    ]
    if asked.start is not None:
        lasts = sql.SQL("(src.ended_at is null or src.ended_at > %s)")
        conditions.append((lasts, [asked.start]))
    if asked.is_open is not None:
        is_open: Condition = (sql.SQL("(src.ended_at is null) = %s"), [asked.is_open])
        conditions.append(is_open)
    return Listing(
        columns=_GAPS,
        keys=_GAP_KEYS,
        source=sql.SQL("feed_gaps src"),
        conditions=conditions,
    )


def trades_listing(asked: TradesQuestion) -> Listing:
    """Return the recorded trades."""
    return Listing(
        columns=_TRADES,
        keys=_TRADE_KEYS,
        source=sql.SQL("trades src"),
        conditions=[
            *equal("id", asked.id),
            *equal("broker", asked.broker),
            *equal("account_id", asked.account_id),
            *equal("symbol", asked.symbol),
            *equal("contract_key", asked.contract_key),
            *equal("strategy_tag", asked.strategy_tag),
            *since("created_at", asked.start, asked.end),
        ],
    )


# `same` compares values, not their spelling: 1.0 and 1.00 are one quantity.  A trade
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
""").format(columns=sql.SQL(", ").join(column.in_json() for column in _TRADES))


def record_trade(trade: NewTrade, connection: ReadConnection) -> RecordedTrade:
    """Insert a trade unless there is one with its id, and return what there is.

    Raises:
        StoreUnavailable: it is being deleted while it is being recorded.
    """
    params = {
        "id": trade.id,
        "created_at": trade.created_at,
        "broker": trade.broker,
        "account_id": trade.account_id,
        "symbol": trade.symbol,
        "contract_key": trade.contract_key,
        "action": trade.action,
        "quantity": trade.quantity,
        "price": trade.price,
        "strategy_tag": trade.strategy_tag,
        "metadata": trade.metadata,
    }
    # A trade that another request inserts at this moment is waited for, and seen by
    # the second statement only.
    for _ in range(2):
        with connection.transaction():
            connection.execute("set transaction read write")
            row = connection.execute(_RECORD, params).fetchone()
        if row is not None:
            line, is_new, is_same = row
            return RecordedTrade(item=line.encode(), is_new=is_new, is_same=is_same)
    raise StoreUnavailable("the trade comes and goes")
