"""The lease: of several services on one database, one sends the alerts.

The lease is a row with its holder, an epoch and a time.  The holder renews it, and another
service takes it once it has expired; each holder has an epoch of its own.  A transaction
that must be of the holder reads the row with its epoch first (`Lease.guard`), so a service
that has lost the lease without knowing it writes nothing.  An advisory lock would end with
a failover and does not pass poolers.
"""

from __future__ import annotations

import logging
from typing import Any, Final

import psycopg

from greeks_trio.errors import GreeksError
from greeks_trio.postgres.failures import translated

logger = logging.getLogger(__name__)

# Longer than the longest look at all limits, which cannot renew it meanwhile.
LASTS_S: Final = 40.0
RENEW_S: Final = 5.0
_NAME: Final = "alerts"

# A new process of the same holder gets a new epoch, too.  The present time comes once, in
# the offered row: Citus refuses functions of time in the condition.
_TAKE: Final = """
insert into leases as l (name, holder, epoch, expires_at)
values (%(name)s, %(holder)s, 1, clock_timestamp() + %(lasts)s * interval '1 s')
on conflict (name) do update set
    holder = excluded.holder,
    epoch = case
        when l.holder = excluded.holder and l.epoch = %(epoch)s then l.epoch
        else l.epoch + 1
    end,
    expires_at = excluded.expires_at
where l.holder = excluded.holder
   or l.expires_at < (
       excluded.expires_at at time zone 'UTC' - %(lasts)s * interval '1 s'
   ) at time zone 'UTC'
returning epoch
"""
# The lock holds another service back until the transaction has ended.
_GUARD: Final = """
select from leases
where name = %(name)s and holder = %(holder)s and epoch = %(epoch)s
for share
"""
_RELEASE: Final = """
update leases set expires_at = statement_timestamp()
where name = %(name)s and holder = %(holder)s and epoch = %(epoch)s
"""


class LeaseLost(GreeksError):
    """Another service has the lease, or it was not taken yet."""


class Lease:
    """The lease as this service knows it.

    Args:
        holder: The name of this service; another one has another name.

    Attributes:
        epoch: The number of this holding; `None` without the lease.
        is_elsewhere: Whether the database has said that another service has it.
    """

    def __init__(self, holder: str) -> None:
        self.holder = holder
        self.epoch: int | None = None
        self.is_elsewhere = False

    async def take(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Take or renew it, unless another service has it.

        Args:
            connection: In autocommit.
        """
        cursor = await connection.execute(_TAKE, self._values() | {"lasts": LASTS_S})
        row = await cursor.fetchone()
        self._note(None if row is None else row[0])

    async def guard(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Keep the lease until the end of the transaction.

        Raises:
            LeaseLost: this service does not have it.
        """
        if self.epoch is not None:
            cursor = await connection.execute(_GUARD, self._values())
            if cursor.rowcount:
                return
        raise LeaseLost("another service has the lease, or it was not taken yet")

    async def release(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Let another service take it at once.

        Raises:
            StoreError: the database cannot do it; the lease ends by its time.
        """
        if self.epoch is not None:
            with translated(connection):
                await connection.execute(_RELEASE, self._values())

    def _values(self) -> dict[str, object]:
        return {"name": _NAME, "holder": self.holder, "epoch": self.epoch}

    def _note(self, epoch: int | None) -> None:
        if epoch == self.epoch and self.is_elsewhere == (epoch is None):
            return
        self.epoch, self.is_elsewhere = epoch, epoch is None
        if epoch is None:
            logger.info("lease.elsewhere name=%s", _NAME)
        else:
            logger.info("lease.taken name=%s epoch=%d", _NAME, epoch)
