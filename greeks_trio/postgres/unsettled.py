"""Sessions that ended in the middle of an operation, and may still do it on the server."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Final, NamedTuple

import trio
from psycopg.rows import TupleRow

from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.postgres.connection import TrioConnection
from greeks_trio.postgres.failures import translated
from greeks_trio.postgres.proving import missing_standby

_WHO_AM_I: Final = """
select pid, backend_start, application_name
from pg_stat_activity where pid = pg_backend_pid()
"""
# The time of its start tells a session from a later one with the same process id, and its
# name tells it from another client's session after a pooler has passed it on.
_END_SESSION: Final = """
select pg_terminate_backend(pid, %s) from pg_stat_activity
where pid = %s and backend_start = %s and application_name = %s
    and usename = current_user
"""


class Backend(NamedTuple):
    """The identity of one session on the server."""

    pid: int
    started_at: datetime
    name: str


class UnsettledSessions:
    """Our own sessions whose last operation has an unknown outcome."""

    def __init__(self) -> None:
        self._backends: set[Backend] = set()

    def add(self, backend: Backend) -> None:
        """Note that the outcome of this session is unknown."""
        self._backends.add(backend)

    async def find_missing_standby(
        self, connection: TrioConnection[TupleRow], config: DatabaseConfig
    ) -> str | None:
        """Return why commits may hang, if the last sink ended in the middle of one."""
        if not self._backends:
            return None
        with (
            translated(connection, may_refuse=False),
            trio.fail_after(config.timeout_s),
        ):
            return await missing_standby(connection)

    async def end(
        self, connection: TrioConnection[TupleRow], config: DatabaseConfig
    ) -> Backend:
        """End these sessions, and return the one of the connection."""
        with (
            translated(connection, may_refuse=False),
            trio.fail_after(config.timeout_s),
        ):
            # The sessions get half of the time to end.  A frozen one ends later: it has
            # received the signal.
            give_up_at = trio.current_time() + config.timeout_s / 2
            for lost in list(self._backends):
                wait_ms = math.ceil(1000 * (give_up_at - trio.current_time()))
                await connection.execute(_END_SESSION, [max(1, wait_ms), *lost])
                self._backends.discard(lost)
            cursor = await connection.execute(_WHO_AM_I)
            (backend,) = await cursor.fetchall()
        return Backend(*backend)
