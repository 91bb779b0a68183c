"""Watch which database it is, and its clock: at every connect, and every ten seconds.

The watch has a connection of its own, so that a database that was emptied or exchanged is
noticed at night, too.  It decides nothing about the health of the database: the writer
does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, NoReturn, Protocol

import psycopg
import trio

from greeks_trio.config.addresses import is_loopback
from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.errors import StoreError, plain_reason
from greeks_trio.model.clock import DATABASE
from greeks_trio.postgres.clock import read_clock
from greeks_trio.postgres.connect import is_same_database, open_connection
from greeks_trio.postgres.failures import translated
from greeks_trio.postgres.identity import DatabaseIdentity, differences, read_identity
from greeks_trio.waiting import Backoff, WakeUp

logger = logging.getLogger(__name__)

_INTERVAL_S: Final = 10.0
# A deleted row leaves no trace in the identity.  To compare the positions once more costs
# some milliseconds.
_TELL_AGAIN_S: Final = 60.0


class DatabaseClockReader(Protocol):
    """Takes the readings; the clock of the service in the product."""

    def compare(
        self, name: str, theirs: datetime, *, round_trip_s: float, is_here: bool
    ) -> None:
        """Take a reading; ``is_here`` says whether it came from this machine."""


class DatabaseWatch:
    """Remembers the last database, and compares each connection with it.

    Args:
        clock: Takes the readings of the database's clock, `None` if nothing does.

    Attributes:
        changes: How often the database was another one.  A connection from before the last
            change leads nowhere that counts.
        last_change: The last change in words; `None` without one, or after it was reported.
        changed: Wakes after each change, and after the server was started again.
    """

    def __init__(self, clock: DatabaseClockReader | None = None) -> None:
        self._clock = clock
        self._last: DatabaseIdentity | None = None
        self.changes = 0
        self.last_change: str | None = None
        self.changed = WakeUp()

    async def look(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Read identity and clock of the database at the other end.

        Raises:
            psycopg.Error: there is no answer.
        """
        if self._clock is not None:
            await self._read_clock(connection, self._clock)
        self._compare(await read_identity(connection))

    async def look_at_new(
        self, connection: psycopg.AsyncConnection[Any], limit_s: float
    ) -> Callable[[], bool]:
        """Look at a new connection, in at most so many seconds.

        Returns a function: whether no other connection has found another database since.

        Raises:
            StoreUnavailable: there is no answer.
        """
        with translated(connection, may_refuse=False), trio.fail_after(limit_s):
            await self.look(connection)
        changes = self.changes
        return lambda: changes == self.changes

    async def _read_clock(
        self, connection: psycopg.AsyncConnection[Any], clock: DatabaseClockReader
    ) -> None:
        at, round_trip_s = await read_clock(connection)
        host = connection.info.host
        clock.compare(
            DATABASE,
            at,
            round_trip_s=round_trip_s,
            is_here=is_loopback(host) or host.startswith(("/", "@")),
        )

    def _compare(self, found: DatabaseIdentity) -> None:
        last, self._last = self._last, found
        if last is None or last == found:
            return
        if words := differences(last, found):
            self.changes += 1
            self.last_change = (
                f"the database is not the one of before: {', '.join(words)}; positions, "
                "open gaps and latest ticks are told again"
            )
            logger.warning("database.changed reason=%s", "; ".join(words))
        self.changed.wake()


async def run_database_watch(
    config: Callable[[], DatabaseConfig],
    watch: DatabaseWatch,
    tell_again: Callable[[], object],
) -> NoReturn:
    """Look at the database every ten seconds until cancelled.

    Args:
        config: Returns the present configuration.
        watch: Compares each look with the one before.
        tell_again: Called once a minute while the database answers.
    """
    backoff = Backoff(min_delay_s=1.0, max_delay_s=_INTERVAL_S)
    last_reason = ""
    while True:
        try:
            await _watch_one(config, watch, tell_again, backoff)
        except* StoreError as group:
            # The writer logs the failures of the same database.
            reason = plain_reason(group)
            level = logging.DEBUG if reason == last_reason else logging.INFO
            logger.log(level, "database.not_watched reason=%s", reason)
            last_reason = reason
        await backoff.wait()


async def _watch_one(
    config: Callable[[], DatabaseConfig],
    watch: DatabaseWatch,
    tell_again: Callable[[], object],
    backoff: Backoff,
) -> None:
    """Watch one connection until the configuration names another database."""
    present = config()
    async with open_connection(present, autocommit=True) as connection:
        told_at = trio.current_time()
        while is_same_database(present, config()):
            with (
                translated(connection, may_refuse=False),
                trio.fail_after(present.timeout_s),
            ):
                await watch.look(connection)
            backoff.reset()
            if trio.current_time() - told_at >= _TELL_AGAIN_S:
                told_at = trio.current_time()
                tell_again()
            await trio.sleep(_INTERVAL_S)
