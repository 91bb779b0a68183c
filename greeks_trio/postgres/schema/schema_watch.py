"""Look at the tables, keys and views while the service runs, and report damages.

The kind of the server goes into the log, once and after each change.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, NoReturn

import trio

from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.errors import StoreError, plain_reason
from greeks_trio.model.condition_kinds import ConditionKind
from greeks_trio.model.findings import Finding
from greeks_trio.pipeline.conditions import Conditions
from greeks_trio.postgres.connect import open_connection
from greeks_trio.postgres.failures import translated
from greeks_trio.postgres.schema.catalog import inspect_schema
from greeks_trio.postgres.server_kind import inspect_server
from greeks_trio.waiting import WakeUp

logger = logging.getLogger(__name__)

# The look takes some milliseconds.
_INTERVAL_S: Final = 60.0
_LIMIT_S: Final = 30.0
_KINDS: Final = {
    "failed": ConditionKind.SCHEMA_DAMAGED,
    "warning": ConditionKind.SCHEMA_DIFFERS,
}


async def run_schema_watch(
    config: Callable[[], DatabaseConfig], conditions: Conditions, again: WakeUp
) -> NoReturn:
    """Look at the schema once a minute until cancelled.

    Args:
        config: Returns the present configuration.
        conditions: Takes the damages.
        again: Ends a wait, because the database is another one.
    """
    told = ""
    while True:
        seen = again.calls
        try:
            async with open_connection(config(), autocommit=True) as connection:
                with (
                    translated(connection, may_refuse=False),
                    trio.fail_after(_LIMIT_S),
                ):
                    findings = await inspect_schema(connection, config())
                    told = log_server(await inspect_server(connection, config()), told)
            report_schema(findings, conditions)
        except* StoreError as group:
            # The writer reports the same database.
            logger.debug("schema.not_looked_at reason=%s", plain_reason(group))
        with trio.move_on_after(_INTERVAL_S):
            await again.wait_beyond(seen)


def log_server(findings: list[Finding], told: str) -> str:
    """Log the kind of the server, unless it was told; return it."""
    said = "; ".join(
        f"{each.sentence}. {each.remedy}" if each.remedy else each.sentence
        for each in findings
    )
    if said != told:
        is_fine = all(each.verdict == "fine" for each in findings)
        level = logging.INFO if is_fine else logging.WARNING
        logger.log(level, "database.server kind=%s", said)
    return said


def report_schema(findings: list[Finding], conditions: Conditions) -> None:
    """Begin and end the conditions, so that they are those of the findings."""
    for verdict, kind in _KINDS.items():
        sentences = [
            f"{each.sentence}: {each.remedy}"
            for each in findings
            if each.verdict == verdict
        ]
        if sentences:
            conditions.begin(kind, "; ".join(sentences))
        else:
            conditions.end(kind)
