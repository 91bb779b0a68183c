"""The lease: of several services on one database, one has a duty.

The lease is a row with its holder, an epoch and a time.  The holder renews it, and another
service takes it once it has expired; each holder has an epoch of its own.  A transaction
that must be of the holder reads the row with its epoch first (`Lease.guard`), so a service
that has lost the lease without knowing it writes nothing.  An advisory lock would end with
a failover and does not pass poolers.
"""

from __future__ import annotations

import logging
import math
from typing import Any, Final, NamedTuple

import psycopg
import trio
from psycopg.rows import args_row

from greeks_trio.errors import GreeksError
from greeks_trio.model.condition_kinds import ConditionKind
from greeks_trio.pipeline.conditions import Conditions
from greeks_trio.postgres.failures import translated

logger = logging.getLogger(__name__)

RENEW_S: Final = 5.0
# Of two services with one name, each takes the lease whenever it looks.
SAME_NAME_S: Final = 60.0
# A service that wants it says so each `RENEW_S`.
_WANTED_S: Final = 3 * RENEW_S

# Plain statements with `now()`: a distributed PostgreSQL refuses more in one of them.
_READ: Final = """
select holder, epoch, expires_at::text, expires_at < now(),
       expires_at <= to_timestamp(0), expires_at = to_timestamp(0),
       coalesce(wanted_at > now() - %(wanted)s * interval '1 s', false)
from leases where name = %(name)s
"""
_INSERT: Final = """
insert into leases (name, holder, epoch, expires_at)
values (%(name)s, %(holder)s, 1, now() + %(lasts)s * interval '1 s')
on conflict (name) do nothing
"""
# Nothing if another service has renewed or taken it since it was read.
_TAKE: Final = """
update leases
set holder = %(holder)s, epoch = %(epoch)s, expires_at = now() + %(lasts)s * interval '1 s',
    wanted_at = case when %(goes_on)s then wanted_at end
where name = %(name)s and epoch = %(read_epoch)s
  and expires_at = %(read_expires_at)s::timestamptz
"""
_WANT: Final = "update leases set wanted_at = now() where name = %(name)s"
# The lock holds another service back until the transaction has ended.
_GUARD: Final = """
select from leases
where name = %(name)s and holder = %(holder)s and epoch = %(epoch)s
for share
"""
_RELEASE: Final = """
update leases
set expires_at = case when %(ends)s then '-infinity'::timestamptz else to_timestamp(0) end
where name = %(name)s and holder = %(holder)s and epoch = %(epoch)s
"""


class LeaseLost(GreeksError):
    """Another service has the lease, or it was not taken yet."""


class _Row(NamedTuple):
    """A lease in the database.

    Attributes:
        is_released: Whether its holder has given it back.
        is_given_up: Whether the holder goes on without it.
    """

    holder: str
    epoch: int
    expires_at: str
    is_expired: bool
    is_released: bool
    is_given_up: bool
    is_wanted: bool


class Lease:
    """A lease as this service knows it.

    Args:
        name: The duty.
        holder: The name of this service; another one has another name.
        lasts_s: Seconds after which another service may take it, unless it is renewed.

    Attributes:
        epoch: The number of this holding; `None` without the lease.
        elsewhere: The service that has it, as the database has said.
        is_wanted: Whether another service has asked for it a moment ago.
        follows: The holder before, which has ended or does not answer; `None` if it goes
            on, or was this one.
        follows_stopped: Whether that holder has said its end.
        same_name_at: When another service with the name of this one has last taken it,
            `trio.current_time`.
    """

    def __init__(self, name: str, holder: str, *, lasts_s: float) -> None:
        self.name = name
        self.holder = holder
        self._lasts_s = lasts_s
        self.epoch: int | None = None
        self.elsewhere: str | None = None
        self.is_wanted = False
        self.follows: str | None = None
        self.follows_stopped = False
        self.same_name_at = -math.inf
        self._overtaken_at = -math.inf

    @property
    def is_elsewhere(self) -> bool:
        """Whether the database has said that another service has it."""
        return self.elsewhere is not None

    async def take(
        self,
        connection: psycopg.AsyncConnection[Any],
        *,
        from_expired: bool = True,
        asks: bool = False,
    ) -> None:
        """Take or renew it, unless another service has it.

        Args:
            connection: In autocommit.
            from_expired: Whether to take it from a holder that has let it expire.
            asks: Whether to ask another holder for it.
        """
        row = await self._read(connection)
        if row is None:
            cursor = await connection.execute(_INSERT, self._values())
            if cursor.rowcount:
                self._note(1, None)
            return
        is_own = row.holder == self.holder
        is_free = row.is_released or (row.is_expired and from_expired)
        if not (is_own or is_free):
            if asks:
                await connection.execute(_WANT, self._values())
            self._note(None, row.holder)
            return
        # A new process of the same holder gets a new epoch, too.
        goes_on = is_own and row.epoch == self.epoch
        if is_own and self.epoch is not None and row.epoch > self.epoch:
            self._note_same_name()
        epoch = row.epoch if goes_on else row.epoch + 1
        read = {"read_epoch": row.epoch, "read_expires_at": row.expires_at}
        values = self._values() | read | {"epoch": epoch, "goes_on": goes_on}
        cursor = await connection.execute(_TAKE, values)
        if cursor.rowcount:
            if not goes_on:
                has_ended = not (is_own or row.is_given_up)
                self.follows = row.holder if has_ended else None
                self.follows_stopped = row.is_released
            self.is_wanted = row.is_wanted and goes_on
            self._note(epoch, None)

    async def guard(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Keep the lease until the end of the transaction.

        Raises:
            LeaseLost: this service does not have it.
        """
        if self.epoch is not None:
            cursor = await connection.execute(_GUARD, self._values())
            if cursor.rowcount:
                return
        raise LeaseLost(
            f"another service has the lease {self.name}, or it was not taken yet"
        )

    async def release(
        self, connection: psycopg.AsyncConnection[Any], *, ends: bool = True
    ) -> None:
        """Let another service take it at once.

        Args:
            connection: In autocommit.
            ends: Whether this service ends; otherwise it goes on without the lease.

        Raises:
            StoreError: the database cannot do it; the lease ends by its time.
        """
        if self.epoch is not None:
            with translated(connection):
                await connection.execute(_RELEASE, self._values() | {"ends": ends})
            self.epoch = None
            logger.info("lease.released name=%s", self.name)

    def _note_same_name(self) -> None:
        """Note that this service has lost the lease to its own name.

        Once, it may be the row of another database, or the answer to `take` was lost.
        """
        now = trio.current_time()
        if now < self._overtaken_at + SAME_NAME_S:
            self.same_name_at = now
        self._overtaken_at = now

    async def _read(self, connection: psycopg.AsyncConnection[Any]) -> _Row | None:
        cursor = connection.cursor(row_factory=args_row(_Row))
        await cursor.execute(_READ, self._values())
        return await cursor.fetchone()

    def _values(self) -> dict[str, object]:
        return {
            "name": self.name,
            "holder": self.holder,
            "epoch": self.epoch,
            "lasts": self._lasts_s,
            "wanted": _WANTED_S,
        }

    def _note(self, epoch: int | None, elsewhere: str | None) -> None:
        if (epoch, elsewhere) == (self.epoch, self.elsewhere):
            return
        self.epoch, self.elsewhere = epoch, elsewhere
        if elsewhere is None:
            logger.info("lease.taken name=%s epoch=%d", self.name, epoch)
        else:
            logger.info("lease.elsewhere name=%s holder=%s", self.name, elsewhere)


def judge_name(conditions: Conditions, lease: Lease) -> None:
    """Begin or end the condition that another service has the name of this one."""
    kind, subject = ConditionKind.NAME_IN_USE, lease.name
    if trio.current_time() >= lease.same_name_at + SAME_NAME_S:
        conditions.end(kind, subject=subject)
        return
    conditions.begin(
        kind,
        f"lease: another service has the name {lease.holder} as well, and each takes the "
        f"lease {lease.name} from the other one; give the machines or the directories of "
        "the spools (GREEKS_SPOOL_DIR) different names",
        subject=subject,
    )
