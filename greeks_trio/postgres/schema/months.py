"""The months of ticks, and those of them that have nowhere to go.

A partition that cannot be made is the fault of the rows of that month alone: they are
refused, and all other months go on.
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
    """See that the ticks of these months have partitions, made by whomever.

    Args:
        connection: As for `ensure_partition`.
        ticks: Also of other months.
        months: Those that may have none.

    Raises:
        StoreRejected: one cannot be made; with the positions of its ticks, and of those
            of all other months with that fate.
        psycopg.Error: anything else; may be tried again.
    """
    refusals = await _make_partitions(connection, months)
    without_partition = await _find_homeless(connection, ticks, refusals)
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
    """Make the partitions and return why for those that cannot be made."""
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


async def _find_homeless(
    connection: TrioConnection[TupleRow],
    ticks: Sequence[Tick],
    months: Container[Month],
) -> list[int]:
    """Return the positions of those ticks of the months that no partition takes.

    Somebody else's partition, of a year perhaps, is as good as ours.
    """
    moments = {t.record.event_time for t in ticks if month_of(t) in months}
    if not moments:
        return []
    uncovered = await uncovered_moments(connection, moments)
    return [i for i, tick in enumerate(ticks) if tick.record.event_time in uncovered]
