"""Translate psycopg's exceptions into ours, by SQLSTATE and connection.

`_TROUBLE` is the one place that decides the meaning of each SQLSTATE for the ticks.  A
message decides nothing, with one exception: Citus has only the message for a lost node.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any, Final

import psycopg
import trio

from greeks_trio.errors import StoreError, StoreRejected, StoreUnavailable

# As psycopg writes the attempts at several servers or addresses.
_SEVERAL: Final = "Multiple connection attempts failed. All failures were:\n"
_ATTEMPT: Final = re.compile(
    r"^- host: '?([^',]*)'?, port: '?(\d+)'?(?:, hostaddr: '[^']*')?: "
    r"(?:connection to server at .*? failed: )?"
)


@contextmanager
def translated(
    connection: psycopg.AsyncConnection[Any] | None = None, *, may_refuse: bool = True
) -> Iterator[None]:
    """Translate errors of PostgreSQL into `StoreError`.

    Args:
        connection: The connection of the block.  Once it is closed, no error counts as
            a refusal.
        may_refuse: Whether the block offers values of the caller.  If not, every refusal
            is a fault of the database.

    Raises:
        StoreUnavailable: no connection, no answer, or the server cannot do it now.
        StoreRejected: PostgreSQL, or the encoding of a value, refuses the values.
    """
    try:
        yield
    except psycopg.Error as exc:
        is_alive = connection is None or not connection.closed
        raise store_error(exc, may_refuse=is_alive and may_refuse) from exc
    except UnicodeEncodeError as exc:
        raise StoreRejected(f"a text cannot be encoded as UTF-8: {exc.reason}") from exc
    except trio.TooSlowError as exc:
        raise StoreUnavailable("PostgreSQL does not answer in time") from exc
    except OSError as exc:
        raise StoreUnavailable(f"PostgreSQL cannot be reached: {exc}") from exc


def store_error(exc: psycopg.Error, *, may_refuse: bool = True) -> StoreError:
    """Return our exception for one of psycopg."""
    sqlstate = exc.sqlstate
    if may_refuse and is_refusal(exc):
        return StoreRejected(plain_message(exc), sqlstate=sqlstate)
    return StoreUnavailable(
        plain_message(exc),
        sqlstate=sqlstate,
        needs_person=trouble_of(sqlstate) is Trouble.OPERATOR,
    )


def is_refusal(exc: psycopg.Error) -> bool:
    """Return whether PostgreSQL will refuse the same values again."""
    if exc.sqlstate is None:
        # psycopg itself could not put a value into PostgreSQL's format.
        return isinstance(exc, psycopg.DataError)
    if is_about_server(exc.diag.source_file):
        return False
    return trouble_of(exc.sqlstate) is Trouble.ROW


def plain_message(exc: psycopg.Error) -> str:
    """Return the error in one line, without the row."""
    # Of several servers, the list has each reason; before it, the last one comes alone.
    said = str(exc).partition(_SEVERAL)[2] or str(exc)
    # libpq's messages have several lines.
    every = (
        _ATTEMPT.sub(r"\1:\2: ", line.strip())
        for line in said.splitlines()
        if line.strip()
    )
    # A name with two addresses fails twice in the same words.
    lines = "; ".join(dict.fromkeys(every))
    text = exc.diag.message_primary or lines or type(exc).__name__
    constraint = exc.diag.constraint_name
    return f"{text} [{constraint}]" if constraint and constraint not in text else text


class Trouble(Enum):
    """The part that has to act on an error."""

    # The row is refused for ever: it goes into quarantine and the others are stored.
    ROW = "row"
    # The database cannot do it now: the connection is closed, and the rows are offered
    # again after a while.
    DATABASE = "database"
    # Only a person can mend it: like `DATABASE`, and named once in the log.
    OPERATOR = "operator"
    # Another transaction was in the way: the same is tried again at once.
    COLLISION = "collision"


_TROUBLE: Final = {
    # The offered values.
    "21": Trouble.ROW,  # cardinality
    "22": Trouble.ROW,  # data: out of range, a NUL in a text, no JSON
    "23": Trouble.ROW,  # constraints; 23514 without a name: a missing partition
    "44": Trouble.ROW,  # the check option of a view
    "54": Trouble.ROW,  # limits: too long for an index, nested too deeply
    "P0": Trouble.ROW,  # raised by a trigger
    # Another transaction.
    "40001": Trouble.COLLISION,  # serialization failure
    "40P01": Trouble.COLLISION,  # deadlock; the other transaction went on
    # Only a person can mend these.  Our statements do not change, so the fault is in the
    # database: a missing table, column or grant.
    "0A": Trouble.OPERATOR,  # a feature that this server does not have
    "0P": Trouble.OPERATOR,  # no such role
    "28": Trouble.OPERATOR,  # refused login, password or pg_hba.conf
    "3D": Trouble.OPERATOR,  # no such database
    "3F": Trouble.OPERATOR,  # no such schema
    "42": Trouble.OPERATOR,  # no table, column or permission; also a read-only disk
    "57P04": Trouble.OPERATOR,  # the database was dropped under us
    # Faults of the database.  Unknown codes count as these too.
    "08": Trouble.DATABASE,  # the connection broke or could not be made
    "25006": Trouble.DATABASE,  # read-only: a failover; the next connect looks again
    "40": Trouble.DATABASE,  # rolled back, or the outcome is unknown
    "53": Trouble.DATABASE,  # 53100 disk full, 53200 memory, 53300 connections
    "55": Trouble.DATABASE,  # 55P03: another session holds a lock for too long
    "57": Trouble.DATABASE,  # 57014 cancelled, 57P01 shut down, 57P02 crash, 57P03 starts
    "58": Trouble.DATABASE,  # input and output of the server's own files
    "F0": Trouble.DATABASE,  # its configuration file
    "XX": Trouble.DATABASE,  # internal; nodes of Citus, see CopySink
}

# This role cannot make the month's partition, also at the next attempt.  Other months may
# be possible.
_MONTH_REFUSED: Final = frozenset(
    {
        "22007",  # a bound is no time
        "22008",  # a bound is out of range
        "23514",  # rows in the way: in a default partition, or in the detached table
        "42501",  # this role may not make it
        "42804",  # a table of that name with other columns
        "42809",  # an object of that name that is no table, or is a partition already
        "42P07",  # a table of that name
        "42P16",  # a table of that name that cannot become a partition
        "42P17",  # it overlaps another partition
        "0A000",  # a table of that name with triggers and such
    }
)

# Source files whose errors are about the whole server, also with the code of a bad row.
_SERVER_SOURCES: Final = frozenset(
    # It gives out no more transaction ids: 54000, like a row that is too large.
    {"varsup.c", "multixact.c", "xact.c", "commit_ts.c"}
    # It reads and writes its data.  An error of the operating system there may have any
    # code: a quota gives XX000, like a fault of a row; a read-only disk gives 42501, like
    # a missing right of the role.
    | {"md.c", "smgr.c", "fd.c", "file_utils.c", "buffile.c", "bufmgr.c", "localbuf.c"}
    | {"hio.c", "copydir.c", "storage.c", "xlog.c", "xloginsert.c", "slru.c"}
)


# Citus, ``remote_transaction.c`` and ``remote_commands.c``.
_LOST_NODE: Final = re.compile(
    r"failure on connection|connection to the remote node|connection not open"
    r"|lost synchronization|terminat\w+ connection|server closed the connection"
)


def trouble_of(sqlstate: str | None) -> Trouble:
    """Return the part that has to act; without a code it is `Trouble.DATABASE`."""
    if sqlstate is None:
        return Trouble.DATABASE
    by_class = _TROUBLE.get(sqlstate[:2], Trouble.DATABASE)
    return _TROUBLE.get(sqlstate, by_class)


def is_about_server(source_file: str | None) -> bool:
    """Return whether an error is about the whole server and not about offered values.

    Args:
        source_file: The source file that PostgreSQL names with every error.
    """
    return source_file in _SERVER_SOURCES


def names_lost_node(exc: psycopg.Error) -> bool:
    """Return whether an error with the code of a bug is about the connection to a node.

    In another language it is not recognised.  Then it counts as a refusal, and the rows are
    offered again one by one.
    """
    return _LOST_NODE.search(exc.diag.message_primary or "") is not None


def lacks_partition(exc: psycopg.Error) -> bool:
    """Return whether a row has no partition.

    The code is that of a violated constraint, without a constraint's name.  Citus leaves
    the name out for a violated one too.
    """
    message = exc.diag.message_primary or ""
    return (
        exc.sqlstate == "23514"
        and not exc.diag.constraint_name
        and "violates check constraint" not in message
    )


def refuses_month(sqlstate: str | None) -> bool:
    """Return whether an error while making a partition concerns that month alone."""
    return sqlstate in _MONTH_REFUSED
