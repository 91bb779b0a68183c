"""psycopg's exceptions into ours: by SQLSTATE and connection, never by message.

What a SQLSTATE means is in `greeks_trio.postgres.failures`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any, Final

import psycopg
import trio

from greeks_trio.errors import StoreError, StoreRejected, StoreUnavailable


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


class Trouble(Enum):
    """Who has to act."""

    # The row: it is refused today and tomorrow, so it goes and the others stay.
    ROW = "row"
    # Time: the connection is left, and the rows are offered again after a while.
    DATABASE = "database"
    # A person: like `DATABASE`, and said once, plainly.
    OPERATOR = "operator"
    # Nobody: another transaction was in the way, so the same again at once.
    COLLISION = "collision"


_TROUBLE: Final = {
    # What was offered.
    "21": Trouble.ROW,  # cardinality
    "22": Trouble.ROW,  # data: out of range, a NUL in a text, no JSON
    "23": Trouble.ROW,  # constraints; 23514 without a name is a missing partition
    "44": Trouble.ROW,  # the check option of a view
    "54": Trouble.ROW,  # limits: too long for an index, nested too deeply
    "P0": Trouble.ROW,  # raised by somebody's trigger
    # Another transaction.
    "40001": Trouble.COLLISION,  # serialization failure
    "40P01": Trouble.COLLISION,  # deadlock; the other one went on
    # What only a person mends.  Our statements are fixed, so what is wrong with them is
    # wrong with the database: a missing table, column or grant.
    "0A": Trouble.OPERATOR,  # a feature that this server does not have
    "0P": Trouble.OPERATOR,  # no such role
    "28": Trouble.OPERATOR,  # refused login, password or pg_hba.conf
    "3D": Trouble.OPERATOR,  # no such database
    "3F": Trouble.OPERATOR,  # no such schema
    "42": Trouble.OPERATOR,  # no table, column or permission; also a read-only disk
    "57P04": Trouble.OPERATOR,  # the database was dropped under us
    # The database's own trouble.  Here for the reader: it is what unknown codes are.
    "08": Trouble.DATABASE,  # the connection broke, or never was
    "25006": Trouble.DATABASE,  # read-only: a failover; the next connect looks again
    "40": Trouble.DATABASE,  # rolled back, or the outcome is unknown
    "53": Trouble.DATABASE,  # 53100 disk full, 53200 memory, 53300 connections
    "55": Trouble.DATABASE,  # 55P03: a lock that somebody holds for too long
    "57": Trouble.DATABASE,  # 57014 cancelled, 57P01 shut down, 57P02 crash, 57P03 starts
    "58": Trouble.DATABASE,  # input and output of the server's own files
    "F0": Trouble.DATABASE,  # its configuration file
    "XX": Trouble.DATABASE,  # internal; a distributed PostgreSQL's shards, see CopySink
}

# Why a month's partition cannot be made by this role however often it tries, while other
# months may be fine.
_MONTH_REFUSED: Final = frozenset(
    {
        "22007",  # a bound that is no time
        "22008",  # a bound out of range
        "23514",  # rows in the way: in a default partition, or in the detached table
        "42501",  # this role may not make it
        "42804",  # a table of that name with other columns
        "42809",  # something of that name that is no table, or somebody's partition
        "42P07",  # a table of that name
        "42P16",  # a table of that name that cannot become a partition
        "42P17",  # it overlaps another partition
        "0A000",  # a table of that name with triggers and such
    }
)

# Where the server reads and writes its files.  What the operating system refuses there
# may come with any code: a quota is XX000, as if it were a row's, and a disk that became
# read-only is 42501, as if it were a role's.
_FILE_SOURCES: Final = frozenset(
    {"md.c", "smgr.c", "fd.c", "file_utils.c", "buffile.c", "bufmgr.c", "localbuf.c"}
    | {"hio.c", "copydir.c", "storage.c", "xlog.c", "xloginsert.c", "slru.c"}
)


def trouble_of(sqlstate: str | None) -> Trouble:
    """Return who has to act; without a code it is the database's own trouble."""
    if sqlstate is None:
        return Trouble.DATABASE
    by_class = _TROUBLE.get(sqlstate[:2], Trouble.DATABASE)
    return _TROUBLE.get(sqlstate, by_class)


def is_about_files(source_file: str | None) -> bool:
    """Say whether the server raised an error where it reads and writes its files.

    Args:
        source_file: The name in its own sources, as it says with every error.
    """
    return source_file in _FILE_SOURCES


def refuses_month(sqlstate: str | None) -> bool:
    """Say whether what ended the making of a partition is about that month alone."""
    return sqlstate in _MONTH_REFUSED
