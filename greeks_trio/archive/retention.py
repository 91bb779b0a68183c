"""The months that are due, and the work on them, one after the other.

One run at a time works on a database.  A lock of the database sees to it, so it also holds
between two machines and behind a pooler.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

from greeks_trio.archive.leave import Departure, Left, take_out
from greeks_trio.archive.months import (
    LEAVING,
    WIDE,
    Months,
    months_before,
    present_month,
    read_months,
)
from greeks_trio.archive.names import month_text
from greeks_trio.archive.payloads import Narrowed, drop_payloads
from greeks_trio.archive.records import (
    loaded_months,
    narrow_months,
    read_origin,
    unfinished_months,
)
from greeks_trio.archive.rows import Connection
from greeks_trio.config.settings import DatabaseConfig, RetentionConfig
from greeks_trio.errors import ArchiveFailed
from greeks_trio.postgres.connect import open_connection
from greeks_trio.postgres.failures import translated

logger = logging.getLogger(__name__)

# Any number; every program that changes months of this schema must use the same.
_RETENTION_LOCK: Final = 7_402_318_915_520_033


class Action(StrEnum):
    """The action for a month."""

    ARCHIVE = "archive and drop"
    DROP = "drop without a file"
    PAYLOADS = "drop payloads"


@dataclass(frozen=True, slots=True)
class Step:
    """One month and its action."""

    action: Action
    month: date


@dataclass(frozen=True, slots=True)
class Plan:
    """The months of a database and the steps that are due.

    Attributes:
        months: The tables of all months.
        present: The month in use.
        steps: Oldest months first; steps that were begun come before the rest.
        loaded: Months that came back from a file; they stay until a person archives them.
    """

    months: Months
    present: date
    steps: Sequence[Step]
    loaded: Sequence[date]


Told = Callable[[Left | Narrowed], None]


async def make_plan(
    connection: Connection,
    retention: RetentionConfig,
    chosen: Sequence[date],
    now: datetime,
) -> Plan:
    """Return the steps that are due.

    Args:
        connection: In autocommit.
        retention: How long months stay.
        chosen: Months to archive without regard to ``retention``; without any, the
            settings decide.
        now: Our clock.

    Raises:
        ArchiveFailed: another program manages the table, or a chosen month is not there or
            still in use.
        psycopg.Error: any error of the database.
    """
    cursor = await connection.execute("select clock_timestamp()")
    ((database_now,),) = await cursor.fetchall()
    present = present_month(database_now, now)
    months = await read_months(connection)
    loaded = await loaded_months(connection)
    # First of all: a month may leave only after the rows of both of its tables are one.
    wide = [each.month for each in months.tables if each.suffix == WIDE]
    steps = [Step(Action.PAYLOADS, month) for month in wide]
    if chosen:
        steps += _chosen_steps(months, present, retention, chosen)
    else:
        unfinished = await unfinished_months(connection)
        steps += _departures(months, present, retention, loaded, unfinished)
        not_again = loaded | await narrow_months(connection) | set(wide)
        steps += _narrowings(months, present, retention, not_again)
    return Plan(months, present, steps, sorted(loaded))


async def run_plan(
    database: DatabaseConfig,
    retention: RetentionConfig,
    plan: Plan,
    *,
    keep_detached: bool,
    told: Told,
) -> None:
    """Carry out the steps; the ones before a failure stay done.

    Raises:
        ArchiveFailed: see `take_out` and `drop_payloads`.
        StoreError: an error of the database.
    """
    refuse_without_directory(retention, plan)
    async with _only_run(database), open_connection(database, autocommit=True) as here:
        with translated(here, may_refuse=False):
            origin = await read_origin(here)
            for step in plan.steps:
                if step.action is Action.PAYLOADS:
                    told(await drop_payloads(here, step.month))
                    continue
                directory = _directory(retention, step)
                departure = Departure(directory, keep_detached)
                told(await take_out(here, step.month, departure, origin))


@asynccontextmanager
async def _only_run(database: DatabaseConfig) -> AsyncIterator[None]:
    """Hold the lock during the block, in a transaction of a connection of its own.

    Raises:
        ArchiveFailed: another run holds it.
    """
    async with open_connection(database) as connection:
        with translated(connection, may_refuse=False):
            await connection.execute(
                "set local idle_in_transaction_session_timeout = 0"
            )
            cursor = await connection.execute(
                "select pg_try_advisory_xact_lock(%s)", [_RETENTION_LOCK]
            )
            is_free = await cursor.fetchall() == [(True,)]
        if not is_free:
            raise ArchiveFailed("another run of archive works on this database")
        yield


def refuse_without_directory(retention: RetentionConfig, plan: Plan) -> None:
    """Refuse to drop a month without a file, unless a setting says so.

    Raises:
        ArchiveFailed: a month needs a directory and none is set.
    """
    homeless = _homeless(retention, plan)
    if homeless:
        months = ", ".join(map(month_text, homeless))
        raise ArchiveFailed(
            f"there is no directory for the files of {months}: set GREEKS_ARCHIVE_DIR or "
            "use --dir, or set GREEKS_DROP_WITHOUT_ARCHIVE=true to lose these ticks"
        )


def _directory(retention: RetentionConfig, step: Step) -> Path | None:
    return retention.archive_dir if step.action is Action.ARCHIVE else None


def _homeless(retention: RetentionConfig, plan: Plan) -> Sequence[date]:
    """Return the months that would leave without a file against the settings."""
    if retention.archive_dir is None and not retention.drop_without_archive:
        return [step.month for step in plan.steps if step.action is not Action.PAYLOADS]
    return []


def _departure(retention: RetentionConfig) -> Action:
    is_lost = retention.archive_dir is None and retention.drop_without_archive
    return Action.DROP if is_lost else Action.ARCHIVE


def _chosen_steps(
    months: Months, present: date, retention: RetentionConfig, chosen: Sequence[date]
) -> Sequence[Step]:
    steps = []
    for month in sorted(set(chosen)):
        if month >= present:
            raise ArchiveFailed(
                f"{month_text(month)} is not over: choose an earlier month"
            )
        if not (months.table(month) or months.table(month, LEAVING)):
            raise ArchiveFailed(
                f"there is no month {month_text(month)} in the database"
            )
        steps.append(Step(_departure(retention), month))
    return steps


def _departures(
    months: Months,
    present: date,
    retention: RetentionConfig,
    loaded: set[date],
    unfinished: set[date],
) -> Sequence[Step]:
    """Return the months to take out, and those that an interrupted run has begun with."""
    begun = {
        each.month
        for each in months.tables
        if each.suffix == LEAVING
        or each.is_detaching
        or (not each.suffix and not each.is_attached and each.month in unfinished)
    }
    due = set()
    if retention.keep_months:
        first = months_before(present, retention.keep_months)
        due = {each.month for each in months.attached if each.month < first} - loaded
    return [Step(_departure(retention), month) for month in sorted(begun | due)]


def _narrowings(
    months: Months, present: date, retention: RetentionConfig, not_again: set[date]
) -> Sequence[Step]:
    """Return the months whose payloads are due and that stay otherwise."""
    if not retention.keep_payload_months:
        return []
    first = months_before(present, retention.keep_payload_months)
    kept = (
        months_before(present, retention.keep_months)
        if retention.keep_months
        else date.min
    )
    due = {each.month for each in months.attached if kept <= each.month < first}
    return [Step(Action.PAYLOADS, month) for month in sorted(due - not_again)]
