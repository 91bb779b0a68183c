"""psycopg's exceptions into ours: by SQLSTATE and connection, never by message.

What a SQLSTATE means is in `greeks_trio.postgres.sqlstates`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import trio

from greeks_trio.errors import StoreError, StoreRejected, StoreUnavailable
from greeks_trio.postgres.sqlstates import Trouble, is_about_files, trouble_of


@contextmanager
def translated(
    connection: psycopg.AsyncConnection[Any] | None = None, *, may_refuse: bool = True
) -> Iterator[None]:
    """Turn what goes wrong with PostgreSQL into `StoreError`.

    Args:
        connection: The one that the block uses.  Once it is closed, nothing that was
            said on it counts as a refusal.
        may_refuse: Whether the block offers something of the caller's; else whatever is
            refused is the database's own trouble.

    Raises:
        StoreUnavailable: no connection, no answer, or a server that cannot just now.
        StoreRejected: PostgreSQL, or the encoding of a value, refuses what was offered.
    """
    try:
        yield
    except psycopg.Error as exc:
        is_alive = connection is None or not connection.closed
        raise store_error(exc, may_refuse=is_alive and may_refuse) from exc
    except UnicodeEncodeError as exc:
        raise StoreRejected(f"a text that UTF-8 does not have: {exc.reason}") from exc
    except trio.TooSlowError as exc:
        raise StoreUnavailable("PostgreSQL does not answer in time") from exc
    except OSError as exc:
        raise StoreUnavailable(f"PostgreSQL cannot be reached: {exc}") from exc


def store_error(exc: psycopg.Error, *, may_refuse: bool = True) -> StoreError:
    """Return our exception for psycopg's."""
    sqlstate = exc.sqlstate
    if may_refuse and is_refusal(exc):
        return StoreRejected(plain_message(exc), sqlstate=sqlstate)
    return StoreUnavailable(
        plain_message(exc),
        sqlstate=sqlstate,
        needs_person=trouble_of(sqlstate) is Trouble.OPERATOR,
    )


def is_refusal(exc: psycopg.Error) -> bool:
    """Say whether the same will be refused again."""
    if exc.sqlstate is None:
        # psycopg itself could not put a value into PostgreSQL's format.
        return isinstance(exc, psycopg.DataError)
    if is_about_files(exc.diag.source_file):
        return False
    return trouble_of(exc.sqlstate) is Trouble.ROW


def plain_message(exc: psycopg.Error) -> str:
    """Return what happened in one line, without the row that it happened to."""
    # libpq explains itself over several lines.
    lines = "; ".join(line.strip() for line in str(exc).splitlines() if line.strip())
    text = exc.diag.message_primary or lines or type(exc).__name__
    constraint = exc.diag.constraint_name
    return f"{text} [{constraint}]" if constraint and constraint not in text else text
