"""Whether acknowledged rows are in the table: after a restored backup or a failover."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

import msgspec
import trio

from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.model.records import Broker, Tick
from greeks_trio.postgres.connect import open_connection
from greeks_trio.postgres.failures import translated

_BATCH: Final = 5_000
# Reading the index of a month that is not in memory takes longer than a write.
_LIMIT_S: Final = 60.0

_MISSING: Final = b"""
select number
  from unnest(%s::text[], %s::text[], %s::text[], %s::timestamptz[], %s::int8[])
       with ordinality
       as offered (broker, account_id, contract_key, event_time, fingerprint, number)
 where not exists (
       select from greek_snapshots s
        where (s.broker, s.account_id, s.contract_key, s.event_time, s.fingerprint)
            = (offered.broker, offered.account_id, offered.contract_key,
               offered.event_time, offered.fingerprint))
 order by number
"""
# A tick is received within the month of its event, or within an hour of it.
_NEWEST_BEFORE: Final = b"""
select max(received_at) from greek_snapshots
 where broker = %s and received_at < %s
   and event_time between %s - interval '32 days' and %s
"""


_GAPS_SINCE: Final = b"""
select broker, contract_key, reason, started_at, ended_at from feed_gaps
 where coalesce(ended_at, 'infinity') >= %s
 order by started_at, broker
"""


class KnownGap(msgspec.Struct, frozen=True, kw_only=True):
    """A row of ``feed_gaps``."""

    broker: str
    contract_key: str | None
    reason: str
    started_at: datetime
    ended_at: datetime | None


class AcknowledgedRows:
    """Looks rows up, each call on a connection of its own.

    Args:
        config: Returns the database.
    """

    def __init__(self, config: Callable[[], DatabaseConfig]) -> None:
        self._config = config

    async def missing(self, ticks: Sequence[Tick]) -> list[Tick]:
        """Return the ticks that the table does not have.

        Raises:
            StoreUnavailable: the database cannot be asked.
            StoreRejected: it refuses the question.
        """
        found: list[Tick] = []
        async with open_connection(self._config(), autocommit=True) as connection:
            for start in range(0, len(ticks), _BATCH):
                some = ticks[start : start + _BATCH]
                with translated(connection), trio.fail_after(_LIMIT_S):
                    cursor = await connection.execute(_MISSING, _keys(some))
                    numbers = await cursor.fetchall()
                found += [some[number - 1] for (number,) in numbers]
        return found

    async def newest_before(self, broker: Broker, moment: datetime) -> datetime | None:
        """Return when the last row before a moment was received, of the month before it.

        Raises:
            StoreUnavailable: the database cannot be asked.
            StoreRejected: it refuses the question.
        """
        async with open_connection(self._config(), autocommit=True) as connection:
            with translated(connection), trio.fail_after(_LIMIT_S):
                cursor = await connection.execute(
                    _NEWEST_BEFORE, [broker, moment, moment, moment]
                )
                [(found,)] = await cursor.fetchall()
        newest: datetime | None = found
        return newest

    async def gaps_since(self, moment: datetime) -> list[KnownGap]:
        """Return the gaps that end after a moment, or have not ended.

        Raises:
            StoreUnavailable: the database cannot be asked.
            StoreRejected: it refuses the question.
        """
        async with open_connection(self._config(), autocommit=True) as connection:
            with translated(connection), trio.fail_after(_LIMIT_S):
                cursor = await connection.execute(_GAPS_SINCE, [moment])
                names = KnownGap.__struct_fields__
                return [
                    KnownGap(**dict(zip(names, row, strict=True)))
                    for row in await cursor.fetchall()
                ]


def _keys(ticks: Sequence[Tick]) -> list[list[object]]:
    records = [tick.record for tick in ticks]
    return [
        [record.broker for record in records],
        [record.account_id for record in records],
        [record.contract_key for record in records],
        [record.event_time for record in records],
        [tick.fingerprint for tick in ticks],
    ]
