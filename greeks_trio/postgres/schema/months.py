"""The months of ticks, and the months without a partition.

When a partition cannot be made, only the rows of that month have to wait.  The rows of all
other months are stored.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from datetime import date
from typing import Final, TypeAlias

import psycopg
import trio
from psycopg.rows import TupleRow

from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.errors import PartitionMissing
from greeks_trio.model.records import Tick
from greeks_trio.postgres.connect import open_connection
from greeks_trio.postgres.connection import TrioConnection
from greeks_trio.postgres.failures import (
    is_about_server,
    plain_message,
    refuses_month,
    translated,
)
from greeks_trio.postgres.schema.partitions import (
    ensure_partition,
    partition_name,
    uncovered_moments,
)

# The other months go on meanwhile, and the ticks of a refused one wait on disk.
_AGAIN_S: Final = 30.0

# Year and month, UTC.
Month: TypeAlias = tuple[int, int]


def month_of(tick: Tick) -> Month:
    """Return the month whose partition takes the tick."""
    event_time = tick.record.event_time
    return event_time.year, event_time.month


async def require_partitions(
    connection: TrioConnection[TupleRow],
    ticks: Sequence[Tick],
    refusals: Mapping[Month, str],
) -> None:
    """Make sure that each tick of the refused months has another partition.

    Args:
        connection: Any.
        ticks: The ticks, also those of other months.
        refusals: The months whose own partition cannot be made, with the reasons.

    Raises:
        PartitionMissing: some ticks have no partition.
    """
    rows = await _find_without_partition(connection, ticks, refusals)
    if rows:
        months = sorted({month_of(ticks[row]) for row in rows})
        raise PartitionMissing(
            rows=rows,
            reasons={
                partition_name(date(*month, 1)): refusals[month] for month in months
            },
        )


async def make_partitions(
    connection: TrioConnection[TupleRow], months: Iterable[Month]
) -> dict[Month, str]:
    """Make the partitions and return the reason for each one that cannot be made.

    Args:
        connection: As for `ensure_partition`.
        months: The months that may have no partition.

    Raises:
        psycopg.Error: an error that is not about one month; the caller may try again.
    """
    refusals = {}
    for year, month in sorted(months):
        try:
            await ensure_partition(connection, date(year, month, 1))
        except psycopg.Error as exc:
            if connection.closed or is_about_server(exc.diag.source_file):
                raise
            if not refuses_month(exc.sqlstate):
                raise
            refusals[year, month] = plain_message(exc)
    return refusals


async def _find_without_partition(
    connection: TrioConnection[TupleRow],
    ticks: Sequence[Tick],
    months: Container[Month],
) -> list[int]:
    """Return the positions of the months' ticks that no partition takes.

    A partition that another program made, for a whole year perhaps, counts too.
    """
    moments = {t.record.event_time for t in ticks if month_of(t) in months}
    if not moments:
        return []
    uncovered = await uncovered_moments(connection, moments)
    return [i for i, tick in enumerate(ticks) if tick.record.event_time in uncovered]


class KnownPartitions:
    """The partitions that one connection need not ask for again."""

    def __init__(self, config: DatabaseConfig) -> None:
        self._config = config
        self._made: set[Month] = set()
        # Months whose partition could not be made, and when to try again.
        self._refused: dict[Month, str] = {}
        self._try_again_at = -math.inf

    def forget(self) -> None:
        """Ask for each partition again, because one was dropped or detached."""
        self._made.clear()

    async def ensure(
        self, connection: TrioConnection[TupleRow], ticks: Sequence[Tick]
    ) -> None:
        """Make the partitions of the ticks that are missing.

        Raises:
            PartitionMissing: a partition cannot be made, and no other one takes its rows.
            StoreUnavailable: the database failed.
        """
        months = {month_of(tick) for tick in ticks} - self._made
        if not months:
            return
        if trio.current_time() >= self._try_again_at:
            self._refused.clear()
        if new := months - self._refused.keys():
            await self._make(new)
        refusals = {month: self._refused[month] for month in months & {*self._refused}}
        self._made |= months - refusals.keys()
        if refusals:
            await require_partitions(connection, ticks, refusals)

    async def prepare(self, day: date) -> None:
        """Make the partition of this day, so that its first tick need not wait.

        The partition costs a connection of its own.  One that cannot be made is a matter
        of the first tick.

        Raises:
            StoreUnavailable: the database failed.
        """
        month = day.year, day.month
        await self._make({month})
        self._made |= {month} - self._refused.keys()

    async def _make(self, months: Iterable[Month]) -> None:
        # On a connection of its own: a wait for a lock would hold back our own locks.
        async with open_connection(self._config, autocommit=True) as another:
            with translated(another, may_refuse=False):
                self._refused |= await make_partitions(another, months)
        self._try_again_at = trio.current_time() + _AGAIN_S
