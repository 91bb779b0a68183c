"""Connecting so that a refused login says its SQLSTATE.

libpq reads the server's code for a failed connection and keeps it to itself: there is
no result to ask, only a text, and texts are translated.  At its verbose setting the
text begins with the code, in a form that is the same in every language::

    FATAL:  28P01: password authentication failed for user "portfolio"

psycopg does not offer that setting, so it is made through ctypes on the libpq that
psycopg has loaded.  Where that is not possible, failures just have no code.

Private to psycopg is ``AsyncConnection._connect_gen``, which is replaced here.

Source: PostgreSQL documentation, "libpq", ``PQsetErrorVerbosity``.
"""

from __future__ import annotations

import ctypes
import re
import sys
from typing import Any, Final, Self

import psycopg
from psycopg import pq
from psycopg.abc import PQGenConn
from psycopg.pq.abc import PGconn
from psycopg.rows import Row
from psycopg.waiting import Wait

from greeks_trio.postgres.connection import TrioConnection

_DEFAULT, _VERBOSE = 1, 2
# The server asked for a password and we have none: as good as a wrong one.
_NO_PASSWORD: Final = "28P01"  # noqa: S105
_SERVER_SAYS: Final = re.compile(r":  ([0-9A-Z]{5}): (.*)")


class LoginConnection(TrioConnection[Row]):
    """A `TrioConnection` whose failed ``connect`` carries the server's SQLSTATE."""

    @classmethod
    def _connect_gen(cls, conninfo: str = "") -> PQGenConn[Self]:
        pgconn = pq.PGconn.connect_start(conninfo.encode())
        _set_verbosity(pgconn, _VERBOSE)
        while pgconn.status != pq.ConnStatus.BAD:
            match pgconn.connect_poll():
                case pq.PollingStatus.OK:
                    _set_verbosity(pgconn, _DEFAULT)
                    pgconn.nonblocking = 1
                    return cls(pgconn)
                case pq.PollingStatus.READING:
                    wanted = Wait.R
                case pq.PollingStatus.WRITING:
                    wanted = Wait.W
                case _:
                    break
            while not (yield pgconn.socket, wanted):
                pass
        error = login_error(pgconn.get_error_message())
        if pgconn.needs_password:
            error.sqlstate = _NO_PASSWORD
        pgconn.finish()
        raise error


def login_error(text: str) -> psycopg.OperationalError:
    """Return the failure that libpq's text tells about, with the server's own words."""
    found = _SERVER_SAYS.search(text)
    error = psycopg.OperationalError(found[2] if found else text)
    error.sqlstate = found[1] if found else None
    return error


def _set_verbosity(pgconn: PGconn, verbosity: int) -> None:
    library = _libpq()
    if library is not None:
        pointer = pgconn.pgconn_ptr  # type: ignore[attr-defined]
        library.PQsetErrorVerbosity(ctypes.c_void_p(pointer), verbosity)


def _libpq() -> Any:  # noqa: ANN401
    # Asked through psycopg's extension module, the loader finds the libpq that it uses.
    extension = sys.modules[pq.PGconn.__module__].__file__
    if extension is None or extension.endswith(".py"):
        return None
    return ctypes.CDLL(extension)
