"""The login at PostgreSQL: one step of libpq at a time, and the reason when it fails.

libpq drops the SQLSTATE of a connection that fails.  `login` asks libpq for its verbose
messages while it connects: they contain the code.

The server decides how long a step computes: with SCRAM it names the number of iterations,
up to 2^31.  psycopg's own call would keep Python's lock during hours, so each step here is
a call of `ctypes`, which gives the lock to the other threads.
"""

from __future__ import annotations

import ctypes
import re
import sys
from typing import Any, Final

import psycopg
from psycopg import pq
from psycopg.abc import PQGenConn
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq.abc import PGconn
from psycopg.waiting import Wait

_DEFAULT, _VERBOSE = 1, 2
# One for each call of libpq under way, in any thread.
_steps: Final[set[object]] = set()
# The server asked for a password and none is configured: treated as a wrong password.
_NO_PASSWORD: Final = "28P01"  # noqa: S105
# Treated as a login that the server refuses.
_NO_SAFE_METHOD: Final = "28000"
_UNSAFE: Final = (
    "no password was sent. If this is the right server, let it use scram-sha-256: in "
    "pg_hba.conf or as the pooler's auth_type, and with alter role ... password after "
    "set password_encryption = 'scram-sha-256'. If it needs no password, leave "
    "POSTGRES_PASSWORD empty. POSTGRES_REQUIRE_AUTH allows other methods"
)
_ADVICE: Final = {
    "28000": "correct POSTGRES_USER",
    "28P01": "correct POSTGRES_USER or POSTGRES_PASSWORD",
    "3D000": "correct POSTGRES_DB",
    "53300": "raise the limit to the number of connections that check names, or lower "
    "GREEKS_HTTP_MAX_READS and GREEKS_HTTP_MAX_EXPORTS",
}
# For the words of libpq when there is no session and so no SQLSTATE.
_REMEDIES: Final = {
    "SSL was required": "let the server use TLS, or change POSTGRES_SSLMODE",
    "Connection refused": "start PostgreSQL there, or correct POSTGRES_HOST and "
    "POSTGRES_PORT",
}
_SERVER_SAYS: Final = re.compile(r":  ([0-9A-Z]{5}): (.*)")


def login(conninfo: str) -> PQGenConn[PGconn]:
    """Log in, as psycopg's own generator does.

    Raises:
        psycopg.OperationalError: the login failed; with the server's SQLSTATE.
    """
    pgconn = pq.PGconn.connect_start(conninfo.encode())
    _set_verbosity(pgconn, _VERBOSE)
    while pgconn.status != pq.ConnStatus.BAD:
        match _poll(pgconn):
            case pq.PollingStatus.OK:
                _set_verbosity(pgconn, _DEFAULT)
                pgconn.nonblocking = 1
                return pgconn
            case pq.PollingStatus.READING:
                wanted = Wait.R
            case pq.PollingStatus.WRITING:
                wanted = Wait.W
            case _:
                break
        while not (yield pgconn.socket, wanted):
            pass
    required = str(conninfo_to_dict(conninfo).get("require_auth", ""))
    error = login_error(pgconn.get_error_message(), required)
    if pgconn.needs_password:
        error = psycopg.OperationalError(
            "the server asks for a password; set POSTGRES_PASSWORD"
        )
        error.sqlstate = _NO_PASSWORD
    pgconn.finish()
    raise error


def computes() -> bool:
    """Return whether a thread computes a login at this moment.

    Such a thread cannot be stopped, and OpenSSL crashes if the process ends in the usual
    way meanwhile.
    """
    return bool(_steps)


def _poll(pgconn: PGconn) -> int:
    step = object()
    _steps.add(step)
    try:
        library = _libpq()
        if library is None:
            return pgconn.connect_poll()
        return int(library.PQconnectPoll(_pointer(pgconn)))
    finally:
        _steps.discard(step)


def login_error(text: str, required: str = "") -> psycopg.OperationalError:
    """Return the error for libpq's text: the server's message and our settings.

    Args:
        text: The text.
        required: The methods of authentication that libpq has accepted.
    """
    found = _SERVER_SAYS.search(text)
    if found is None:
        if required and required in text:
            return _unsafe_login(text)
        return psycopg.OperationalError(_with_remedy(text))
    sqlstate, message = found[1], found[2]
    advice = _ADVICE.get(sqlstate)
    error = psycopg.OperationalError(f"{message}; {advice}" if advice else message)
    error.sqlstate = sqlstate
    return error


def _with_remedy(text: str) -> str:
    """Return libpq's own text with a remedy of ours, where libpq only asks a question."""
    text = text.strip().partition("\n\tIs the server running")[0]
    for words, remedy in _REMEDIES.items():
        if words in text:
            return f"{text}; {remedy}"
    return text


def _unsafe_login(text: str) -> psycopg.OperationalError:
    """Return the error for a server that does not authenticate as libpq must insist."""
    error = psycopg.OperationalError(f"{text.strip()}; {_UNSAFE}")
    error.sqlstate = _NO_SAFE_METHOD
    return error


def _set_verbosity(pgconn: PGconn, verbosity: int) -> None:
    library = _libpq()
    if library is not None:
        library.PQsetErrorVerbosity(_pointer(pgconn), verbosity)


def _pointer(pgconn: PGconn) -> ctypes.c_void_p:
    return ctypes.c_void_p(pgconn.pgconn_ptr)  # type: ignore[attr-defined]


def _libpq() -> Any:  # noqa: ANN401
    # Through psycopg's extension module the loader finds the libpq that psycopg uses.
    extension = sys.modules[pq.PGconn.__module__].__file__
    if extension is None or extension.endswith(".py"):
        return None
    return ctypes.CDLL(extension)
