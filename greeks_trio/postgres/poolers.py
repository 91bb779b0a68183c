"""Recognise a connection pooler, and refuse one that does not pool whole sessions.

Between two transactions, a pooler such as PgBouncer may give our session on the server to
another client.  Then settings, locks and temporary tables are those of strangers, and
ending "our" session ends one of theirs.  The writer needs session pooling.

Discussion: no statement tells the kind of pooling, so it is tried.  The session gets a mark.
A second connection opens a transaction: a pooler that shares sessions gives it the one
that is free, with the mark.  While the transaction is open, the first connection must
still have its own.  A second connection that has to wait for a session proves the same.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, NoReturn, TypeAlias

import psycopg
import trio
from psycopg import sql
from psycopg.rows import TupleRow

from greeks_trio.errors import StoreUnavailable
from greeks_trio.postgres.connection import TrioConnection

_Connect: TypeAlias = Callable[[], Awaitable[TrioConnection[TupleRow]]]

# A pooler with a free session gives it at once.
_WAIT_S: Final = 0.5
# The session is given back without our mark, also when this is cancelled.
_UNMARK_LIMIT_S: Final = 1.0

_MARK: Final = sql.SQL(
    "select set_config('greeks_trio.mark', {}, false), pg_backend_pid()"
)
_LOOK: Final = sql.SQL(
    "select coalesce(current_setting('greeks_trio.mark', true), ''), pg_backend_pid()"
)


async def refuse_shared_sessions(
    connection: TrioConnection[TupleRow],
    connect: _Connect,
) -> None:
    """Return if the pooler keeps one session on the server for this connection.

    Args:
        connection: A connection by way of the pooler, in autocommit.
        connect: Opens a second connection of the same kind.

    Raises:
        StoreUnavailable: it shares sessions; a person has to act.
        psycopg.Error: the pooler or the server fails.
    """
    mark = secrets.token_hex(16)
    marked = await _fetch(connection, _MARK.format(mark))
    try:
        await _expect(connection, marked)
        async with _opened(connect) as second:
            seen, failure = await _look_in_time(second)
            if failure is not None:
                await _refuse_if_it_fails_again(failure, connect)
            if seen is not None and (seen[0] == marked[0] or seen[1] == marked[1]):
                _refuse("a second connection got the same session")
            await _expect(connection, marked)
    finally:
        if not connection.closed:
            with trio.move_on_after(_UNMARK_LIMIT_S, shield=True):
                await _fetch(connection, _MARK.format(""))


@asynccontextmanager
async def _opened(connect: _Connect) -> AsyncGenerator[TrioConnection[TupleRow], None]:
    connection = await connect()
    try:
        yield connection
    finally:
        connection.close_nowait()


async def _refuse_if_it_fails_again(failure: psycopg.Error, connect: _Connect) -> None:
    """Refuse a pooler that allows no transaction: it says so each time.

    Raises:
        psycopg.Error: the failure, if the server or the network caused it.
    """
    # A pooler sends a code.  Class 57 is a server that stops or ends a session.
    if failure.sqlstate is None or failure.sqlstate.startswith("57"):
        raise failure
    async with _opened(connect) as another:
        _, again = await _look_in_time(another)
    if str(again) != str(failure):
        raise failure
    _refuse(f"it says: {failure}", failure)


async def _look_in_time(
    second: TrioConnection[TupleRow],
) -> tuple[tuple[Any, ...] | None, psycopg.Error | None]:
    """Return the look of the second connection, or its error, or neither if it waits.

    It looks in a transaction, which stays open.  The wait ends by closing the connection: a request to cancel would wait, too.
    """
    seen, failure, is_late = None, None, trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_close_later, second, is_late)
        try:
            await second.execute("begin")
            seen = await _fetch(second, _LOOK)
        except psycopg.Error as exc:
            failure = None if is_late.is_set() else exc
        nursery.cancel_scope.cancel()
    return seen, failure


async def _close_later(
    connection: TrioConnection[TupleRow], is_late: trio.Event
) -> None:
    """Close the connection when the time is over; ends then, or when cancelled."""
    await trio.sleep(_WAIT_S)
    is_late.set()
    connection.close_nowait()


async def _expect(
    connection: TrioConnection[TupleRow], marked: tuple[Any, ...]
) -> None:
    if await _fetch(connection, _LOOK) != marked:
        _refuse("two statements ran in two sessions")


async def _fetch(
    connection: TrioConnection[TupleRow], query: sql.SQL | sql.Composed
) -> tuple[Any, ...]:
    # Prepared statements are one of the things that poolers do not keep.
    cursor = await connection.execute(query, prepare=False)
    rows: list[tuple[Any, ...]] = await cursor.fetchall()
    return rows[0]


def _refuse(evidence: str, cause: psycopg.Error | None = None) -> NoReturn:
    raise StoreUnavailable(
        "POSTGRES_HOST and POSTGRES_PORT lead to a connection pooler that does not keep "
        f"one session for each client ({evidence}): set pool_mode = session for this "
        "database, or connect to PostgreSQL itself",
        needs_person=True,
    ) from cause
