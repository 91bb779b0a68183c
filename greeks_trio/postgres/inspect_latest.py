"""``check`` for ``latest_ticks``: the present views agree with the history."""

from __future__ import annotations

from typing import Any, Final

import psycopg
from psycopg.errors import QueryCanceled

from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.model.findings import Finding

_SUBJECT: Final = "present views"
# Ten thousand contracts take 0.4 s if the server has their pages in memory.
_LIMIT_S: Final = 10
# The rights of a reader of the views.
_MAY_READ: Final = """
select bool_and(coalesce(has_table_privilege(to_regclass(name), 'SELECT'), false))
from unnest(array['tick_history', 'position_history', 'kept_ticks', 'kept_state']) as name
"""
_COMPARE: Final = "select contracts, differing from compare_latest()"


async def inspect_latest(
    connection: psycopg.AsyncConnection[Any], _: DatabaseConfig
) -> list[Finding]:
    """Return whether ``latest_ticks`` gives the same as a look at each contract's history.

    It compares them once, in one snapshot.  It can do so only while a service keeps the
    table up to date.
    """
    cursor = await connection.execute(_MAY_READ)
    if await cursor.fetchone() != (True,):
        return [
            _fine(
                "not compared: this role may not read the views, or they are not there"
            )
        ]
    try:
        async with connection.transaction():
            await connection.execute(
                f"set local statement_timeout = '{_LIMIT_S * 1000:.0f}'"
            )
            cursor = await connection.execute(_COMPARE)
            found = await cursor.fetchone()
    except QueryCanceled:
        return [_fine(f"not compared: it takes more than {_LIMIT_S} seconds")]
    if found is None:
        return [
            _fine("they look up each contract, because no service keeps latest_ticks")
        ]
    contracts, differing = found
    if differing:
        return [
            Finding(
                subject=_SUBJECT,
                verdict="failed",
                sentence=f"{differing:,} of {contracts:,} contracts differ from their "
                "history",
                remedy="Run 'delete from latest_state' as the owner of the tables: the "
                "service then looks up each contract.",
            )
        ]
    return [_fine(f"latest_ticks agrees with the history of {contracts:,} contracts")]


def _fine(sentence: str) -> Finding:
    return Finding(subject=_SUBJECT, verdict="fine", sentence=sentence)
