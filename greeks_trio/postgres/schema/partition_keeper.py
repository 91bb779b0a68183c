"""Make the partitions of the coming months while the service runs."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import date, timedelta
from typing import Any, Final, NoReturn, TypeAlias

import psycopg
import trio

from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.errors import StoreError, plain_reason
from greeks_trio.model.condition_kinds import ConditionKind
from greeks_trio.model.findings import Finding, Verdict
from greeks_trio.pipeline.conditions import Conditions
from greeks_trio.postgres.connect import open_connection
from greeks_trio.postgres.failures import translated
from greeks_trio.postgres.schema.partitions import (
    announce_partition,
    covered_months,
    ensure_partitions_ahead,
    month_bounds,
    objection_to_partition,
    partition_name,
)
from greeks_trio.waiting import Backoff, WakeUp, utc_now

logger = logging.getLogger(__name__)

# Partitions are made two months ahead, so a day without the database costs nothing.
_INTERVAL_S: Final = 6 * 3600.0
# The table may be busy.  Just after the start of the service, or after another program has
# dropped everything, it may not exist yet.
_AGAIN_AFTER_S: Final = 1.0
_AGAIN_AFTER_AT_MOST_S: Final = 60.0
# Longer than a server takes to plan a statement.
_ANNOUNCE_AFTER_S: Final = 10.0
# Three partitions; each may wait for a lock for a bounded time.
_LIMIT_S: Final = 30.0
_NO_SCHEMA_YET: Final = ("42P01", "42883")  # no such table, no such function
# Partitions of other programs may reach further ahead.
_LOOK_AHEAD: Final = 12
_ACTION: Final = "Let the role make tables, rename what else has this name, or make it"

# Returns the failures that leave the connection in use.
_Work: TypeAlias = Callable[
    [psycopg.AsyncConnection[Any]], Awaitable[Sequence[psycopg.Error]]
]


class PartitionKeeper:
    """Makes partitions, and says when one is missing.

    Args:
        conditions: Takes the faults; also an attribute.
        today: Returns the day in UTC by a clock that is right.

    Attributes:
        months_ahead: The months after the present one that have a partition, without a
            hole; -1 if the present month has none, `None` before the first look.
    """

    def __init__(
        self,
        conditions: Conditions,
        *,
        today: Callable[[], date] = lambda: utc_now().date(),
    ) -> None:
        self.conditions = conditions
        self._today = today
        self.months_ahead: int | None = None

    async def keep(self, config: DatabaseConfig) -> bool:
        """Make the partitions ahead; return whether all of them exist now."""
        return await _do(config, self._make, "partitions.not_made")

    async def announce(self, config: DatabaseConfig) -> bool:
        """Let all sessions see the partitions; return whether that was done.

        See `announce_partition`.
        """
        return await _do(config, self._announce, "partitions.not_announced")

    async def _announce(
        self, connection: psycopg.AsyncConnection[Any]
    ) -> Sequence[psycopg.Error]:
        await announce_partition(connection, self._today())
        return ()

    async def _make(
        self, connection: psycopg.AsyncConnection[Any]
    ) -> Sequence[psycopg.Error]:
        today, reason = self._today(), ""
        failures: list[psycopg.Error] = []
        try:
            await ensure_partitions_ahead(connection, today)
        except psycopg.Error as exc:
            if connection.closed or exc.sqlstate in _NO_SCHEMA_YET:
                raise
            failures.append(exc)
            reason = exc.diag.message_primary or str(exc)
        covered = await covered_months(connection, today, _LOOK_AHEAD + 1)
        self.months_ahead = covered - 1
        self._report(today, covered, reason)
        return failures

    def _report(self, today: date, covered: int, reason: str) -> None:
        lacking = {
            ConditionKind.PARTITION_MISSING: covered == 0,
            ConditionKind.PARTITIONS_AHEAD_MISSING: covered == 1,
        }
        for kind, is_lacking in lacking.items():
            if is_lacking:
                self.conditions.begin(kind, missing_sentence(today, covered, reason))
            else:
                self.conditions.end(kind)


async def _do(config: DatabaseConfig, work: _Work, failed: str) -> bool:
    """Do the work on a connection of its own; log its failures, return whether it has none."""
    failures: list[BaseException] = []
    try:
        async with open_connection(config, autocommit=True) as connection:
            with translated(connection, may_refuse=False), trio.fail_after(_LIMIT_S):
                failures += await work(connection)
    except* StoreError as group:
        failures += group.exceptions
    for failure in failures:
        is_unexpected = getattr(failure, "sqlstate", None) not in _NO_SCHEMA_YET
        logger.log(
            logging.WARNING if is_unexpected else logging.DEBUG,
            "%s reason=%s",
            failed,
            plain_reason(failure),
        )
    return not failures


async def run_partition_keeper(
    config: DatabaseConfig | Callable[[], DatabaseConfig],
    keeper: PartitionKeeper | None = None,
    again: WakeUp | None = None,
) -> NoReturn:
    """Make the partitions ahead, at once and every few hours, until cancelled.

    A moment later they are announced once more, see `announce_partition`.  The writer makes
    the partition of the present month by itself.

    Args:
        config: The configuration of the database, or a function that returns it.
        keeper: Makes them.
        again: Ends a wait, because the database is another one.
    """
    keeper = keeper or PartitionKeeper(Conditions())
    again = again or WakeUp()
    backoff = Backoff(min_delay_s=_AGAIN_AFTER_S, max_delay_s=_AGAIN_AFTER_AT_MOST_S)
    while True:
        seen = again.calls
        present = config() if callable(config) else config
        is_done = await keeper.keep(present)
        if is_done:
            backoff.reset()
            with trio.move_on_after(_ANNOUNCE_AFTER_S):
                await again.wait_beyond(seen)
                continue
            is_done = await keeper.announce(present)
        with trio.move_on_after(_INTERVAL_S if is_done else backoff.next_delay()):
            await again.wait_beyond(seen)
            backoff.reset()


async def inspect_partitions(
    connection: psycopg.AsyncConnection[Any], _: DatabaseConfig
) -> list[Finding]:
    """Return whether this month and the next have partitions, or could have them.

    The first one that is missing is made and taken back.
    """
    today = utc_now().date()
    try:
        covered = await covered_months(connection, today, _LOOK_AHEAD + 1)
    except psycopg.errors.UndefinedTable:
        return []  # `serve` makes the tables and then the partitions
    if covered > 1:
        sentence = f"this month and {covered - 1} more have partitions"
        return [Finding(subject="partitions", verdict="fine", sentence=sentence)]
    month = _month_ahead(today, covered)
    sentence = f"{_first_missing(today, covered)} is not there yet; serve makes it"
    verdict: Verdict = "warning"
    if reason := await objection_to_partition(connection, month):
        sentence = f"{_first_missing(today, covered)} cannot be made: {reason}"
        verdict = "warning" if covered else "failed"
    return [
        Finding(
            subject="partitions",
            verdict=verdict,
            sentence=sentence,
            remedy=f"{_ACTION}: {partition_sql(month)}",
        )
    ]


def missing_sentence(today: date, covered: int, reason: str) -> str:
    """Return the fault, its cause and the action, for a missing partition."""
    month = _month_ahead(today, covered)
    start, _ = month_bounds(month)
    wait = (
        "ticks wait in the spool"
        if covered == 0
        else f"from {start:%Y-%m-%d} on, ticks will wait in the spool"
    )
    why = f" and cannot be made: {reason}" if reason else ""
    return (
        f"the {_first_missing(today, covered)} is missing{why}; {wait}. {_ACTION}:"
        f" {partition_sql(month)}"
    )


def partition_sql(month: date) -> str:
    """Return the statements that make the partition of the month of this day."""
    name, (start, end) = partition_name(month), month_bounds(month)
    return (
        f"create table {name} (like greek_snapshots including all excluding identity); "
        f"alter table greek_snapshots attach partition {name} "
        f"for values from ('{start.isoformat()}') to ('{end.isoformat()}');"
    )


def _first_missing(today: date, covered: int) -> str:
    return f"partition {partition_name(_month_ahead(today, covered))}"


def _month_ahead(today: date, months: int) -> date:
    month, _ = month_bounds(today)
    for _ in range(months):
        _, month = month_bounds(month + timedelta(days=1))
    return month.date()
