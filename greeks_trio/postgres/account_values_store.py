"""Store account values in ``account_values``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from psycopg.rows import TupleRow

from greeks_trio.errors import StoreRejected
from greeks_trio.model.account_values import AccountValues, AccountValuesSnapshot
from greeks_trio.pipeline.journal_writer import RefusedPart
from greeks_trio.postgres.connection import TrioConnection
from greeks_trio.postgres.failures import translated

# In the order of `AccountValues`.
_INSERT: Final = """
insert into account_values
    (broker, account_id, observed_at, event_time, currency, net_liquidation, cash,
     buying_power, derivative_buying_power, initial_margin, maintenance_margin,
     excess_liquidity, problem)
values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
on conflict (broker, account_id, observed_at) do nothing
"""


async def store_account_values(
    connection: TrioConnection[TupleRow], snapshot: AccountValuesSnapshot
) -> Sequence[RefusedPart]:
    """Store the rows, and return those that the database refuses.

    A row that is stored already stays as it is.

    Raises:
        StoreRejected: The database refuses every row.
    """
    refused: list[RefusedPart] = []
    async with connection.transaction():
        failure = await _refusal_of(connection, snapshot.rows)
        if failure is None:
            return refused
        for row in snapshot.rows:
            failure = await _refusal_of(connection, [row])
            if failure is not None:
                alone = msgspec.structs.replace(snapshot, rows=(row,))
                refused.append(RefusedPart(alone, failure))
        if len(refused) == len(snapshot.rows):
            raise refused[0].failure
    return refused


async def _refusal_of(
    connection: TrioConnection[TupleRow], rows: Sequence[AccountValues]
) -> StoreRejected | None:
    """Store the rows; return why the database refuses them, `None` if it does not."""
    try:
        await _insert(connection, rows)
    except StoreRejected as exc:
        return exc
    return None


async def _insert(
    connection: TrioConnection[TupleRow], rows: Sequence[AccountValues]
) -> None:
    """Store all or none; a refusal does not end the outer transaction."""
    with translated(connection):
        async with connection.transaction():
            cursor = connection.cursor()
            await cursor.executemany(_INSERT, list(map(msgspec.structs.astuple, rows)))
