"""The months of ticks, and the months without a partition.

When a partition cannot be made, only the rows of that month are refused.  The rows of all
other months are stored.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from datetime import date
from typing import TypeAlias

import psycopg
from psycopg.rows import TupleRow

from greeks_trio.errors import StoreRejected
from greeks_trio.model.records import Tick
from greeks_trio.postgres.connection import TrioConnection
from greeks_trio.postgres.failures import is_about_files, plain_message, refuses_month
from greeks_trio.postgres.schema.partitions import ensure_partition, uncovered_moments

# Year and month, UTC.
Month: TypeAlias = tuple[int, int]


def month_of(tick: Tick) -> Month:
    """Return the month whose partition takes the tick."""
    event_time = tick.record.event_time
    return event_time.year, event_time.month


async def ensure_months(
    connection: TrioConnection[TupleRow], ticks: Sequence[Tick], months: Iterable[Month]
) -> None:
    """Make sure that the ticks of these months have partitions.

    Args:
        connection: As for `ensure_partition`.
        ticks: The ticks, also those of other months.
        months: The months that may have no partition.

    Raises:
        StoreRejected: a partition cannot be made; ``rows`` has the positions of all
            ticks without one.
        psycopg.Error: any other error; the caller may try again.
    """
    refusals = await _make_partitions(connection, months)
    without_partition = await _find_without_partition(connection, ticks, refusals)
    if without_partition:
        exc = refusals[month_of(ticks[without_partition[0]])]
        raise StoreRejected(
            f"no partition for this month: {plain_message(exc)}",
            sqlstate=exc.sqlstate,
            rows=without_partition,
        ) from exc


async def _make_partitions(
    connection: TrioConnection[TupleRow], months: Iterable[Month]
) -> dict[Month, psycopg.Error]:
    """Make the partitions and return the error of each one that cannot be made."""
    refusals = {}
    for year, month in sorted(months):
        try:
            await ensure_partition(connection, date(year, month, 1))
        except psycopg.Error as exc:
            if connection.closed or is_about_files(exc.diag.source_file):
                raise
            if not refuses_month(exc.sqlstate):
                raise
            refusals[year, month] = exc
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
