"""The timeline: ticks by contract, by account, by underlying, by time.

Discussion: the primary key begins with broker, account and contract, so the ticks of one
contract are in the order of time only within one account.  A question for a contract
without an account is put together of one question for each account; which accounts there
are is read from the primary key too, from one to the next.  Everything else goes along
the index on ``event_time``, whose order is the list's, and stops when the page is full.
"""

from __future__ import annotations

from typing import Final

from psycopg import sql

from greeks_trio.postgres.reads.filters import contract_conditions, equal, since
from greeks_trio.postgres.reads.lists import TIMESTAMP, Column, Key, Listing
from greeks_trio.postgres.reads.questions import SnapshotsQuestion

_COLUMNS: Final = (
    Column("id"),
    Column("event_time", "time"),
    Column("received_at", "time"),
    Column("persisted_at", "time"),
    Column("broker", "text"),
    Column("account_id", "text"),
    Column("underlying", "text"),
    Column("contract_key", "text"),
    Column("expiration"),
    Column("strike"),
    Column("option_type", "text"),
    Column("quantity"),
    Column("delta"),
    Column("gamma"),
    Column("theta"),
    Column("vega"),
    Column("rho"),
    Column("implied_volatility"),
    Column("underlying_price"),
    Column("availability", "text"),
)
_PAYLOAD: Final = Column("source_payload", "json")

# An id is given once by its identity column, so these are unique; what somebody inserts
# with ids of his own choice may not be.
_KEYS: Final = (
    Key("event_time", TIMESTAMP),
    Key("received_at", TIMESTAMP),
    Key("id", sql.SQL("%s::text::bigint")),
)

_ACCOUNTS: Final = sql.SQL("""(
    with recursive accounts (broker, account_id) as (
        (
            select g.broker, g.account_id
            from greek_snapshots g
            order by g.broker, g.account_id
            limit 1
        )
        union all
        select next.broker, next.account_id
        from accounts
        cross join lateral (
            select g.broker, g.account_id
            from greek_snapshots g
            where (g.broker, g.account_id) > (accounts.broker, accounts.account_id)
            order by g.broker, g.account_id
            limit 1
        ) next
    )
    select broker, account_id from accounts
) part""")
_OF_ONE_ACCOUNT: Final = sql.SQL(
    "src.broker = part.broker and src.account_id = part.account_id"
)


def snapshot_listing(asked: SnapshotsQuestion, *, has_payload: bool = False) -> Listing:
    """Return the ticks that are asked for; what the broker sent only if wanted."""
    is_by_part = asked.contract_key is not None and (
        asked.broker is None or asked.account_id is None
    )
    conditions = [
        *contract_conditions(asked),
        *equal("broker", asked.broker),
        *equal("account_id", asked.account_id),
        *since("event_time", asked.start, asked.end),
    ]
    return Listing(
        columns=(*_COLUMNS, _PAYLOAD) if has_payload else _COLUMNS,
        keys=_KEYS,
        source=sql.SQL("greek_snapshots src"),
        conditions=[(_OF_ONE_ACCOUNT, ()), *conditions] if is_by_part else conditions,
        parts=_ACCOUNTS if is_by_part else None,
    )
