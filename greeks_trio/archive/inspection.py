"""Whether retention will work: a part of ``check``.  It changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from greeks_trio.archive.months import Months
from greeks_trio.archive.names import month_text
from greeks_trio.archive.parquet import need_pyarrow
from greeks_trio.archive.retention import Plan, make_plan
from greeks_trio.archive.rows import Connection
from greeks_trio.config.directories import refuse_foreign_directory
from greeks_trio.config.settings import Config, RetentionConfig
from greeks_trio.errors import ArchiveFailed, ConfigError
from greeks_trio.model.findings import Finding
from greeks_trio.postgres.connect import open_to_inspect
from greeks_trio.postgres.failures import translated
from greeks_trio.program import program_name
from greeks_trio.waiting import utc_now

_SUBJECT: Final = "retention"
_RIGHTS: Final = """
select pg_has_role(c.relowner, 'usage'),
    has_database_privilege(current_database(), 'temporary')
from pg_class c where c.oid = to_regclass('greek_snapshots')
"""


async def inspect_retention(config: Config) -> list[Finding]:
    """Return whether the months that become due can leave, and those that are due now.

    Raises:
        StoreError: the database cannot be asked.
    """
    retention = config.retention
    if not (retention.keep_months or retention.keep_payload_months):
        return [
            _fine("every month stays in the database; GREEKS_KEEP_MONTHS changes that")
        ]
    found = _of_files(retention)
    async with open_to_inspect(config.database) as connection:
        with translated(connection, may_refuse=False):
            return found + await _of_database(connection, retention, utc_now())


def _of_files(retention: RetentionConfig) -> list[Finding]:
    if retention.archive_dir is None or not retention.keep_months:
        return []
    try:
        need_pyarrow()
        refuse_foreign_directory(retention.archive_dir, setting="GREEKS_ARCHIVE_DIR")
    except ConfigError as exc:
        return [_failed(problem) for problem in exc.problems]
    return []


async def _of_database(
    connection: Connection, retention: RetentionConfig, now: datetime
) -> list[Finding]:
    rights = await (await connection.execute(_RIGHTS)).fetchall()
    if not rights:
        return [_fine("no month yet")]
    try:
        plan = await make_plan(connection, retention, [], now)
    except ArchiveFailed as exc:
        return [_failed(str(exc))]
    ((is_owner, may_stage),) = rights
    found = []
    if not is_owner:
        found.append(
            _failed(
                "the role does not own greek_snapshots, so it cannot detach or drop months",
                f"Let the owner run {program_name()} archive --run, and unset "
                "GREEKS_KEEP_MONTHS and GREEKS_KEEP_PAYLOAD_MONTHS here.",
            )
        )
    if not may_stage:
        found.append(
            _failed(
                "the role may make no temporary table, which compares files with the table",
                "grant temporary on database ... to this role",
            )
        )
    return found + _of_foreign(plan.months) + [_fine(_due(plan))]


def _of_foreign(months: Months) -> list[Finding]:
    if not months.foreign:
        return []
    names: Sequence[str] = months.foreign[:3]
    return [
        Finding(
            subject=_SUBJECT,
            verdict="warning",
            sentence="partitions of another program stay for ever: "
            f"{', '.join(names)} ({len(months.foreign)} in all)",
            remedy="Set their retention in that program, such as in pg_partman's "
            "part_config.",
        )
    ]


def _due(plan: Plan) -> str:
    if not plan.steps:
        return "nothing is due"
    months = ", ".join(
        f"{month_text(step.month)} ({step.action})" for step in plan.steps
    )
    return f"due, and done within a day: {months}"


def _fine(sentence: str) -> Finding:
    return Finding(subject=_SUBJECT, verdict="fine", sentence=sentence)


def _failed(sentence: str, remedy: str | None = None) -> Finding:
    return Finding(subject=_SUBJECT, verdict="failed", sentence=sentence, remedy=remedy)
