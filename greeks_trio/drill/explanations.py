"""Find the ticks of a drill that are missing without an explanation.

Times are those of the ledger, monotonic seconds of this machine.  ``feed_gaps`` has the
service's wall clock, which a drill may have set wrong by `Evidence.clock_error`: a
moment is within a gap if it is so by the right clock or by the wrong one.

Two things explain a missing tick:

* It was sent at most `Allowance.before_kill_s` before a SIGKILL of the service: the
  service may not have made it durable yet.  `Allowance.sockets_s` is added for the way
  through four sockets and two processes, and again after the kill, until the brokers
  notice it.
* It was sent while the broker's feed was not connected, and ``feed_gaps`` says so.  The
  gap may begin `Allowance.gap_s` later and end as much earlier than it should.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import psycopg

from greeks_trio.drill import comparison_sql as sql
from greeks_trio.drill.comparison import Evidence, compare, copy_rows, execute, fetch
from greeks_trio.drill.service_process import Kill
from greeks_trio.model.records import Broker

_MOST_EXAMPLES: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """Tolerances in seconds; see the head of this module."""

    before_kill_s: float = 0.1
    sockets_s: float = 0.25
    gap_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Interruption:
    """A fault that stopped a broker's feed, in seconds of `time.monotonic`."""

    fault: int
    broker: Broker
    began_at: float
    ended_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything that the drill knows besides the table.

    Attributes:
        evidence: Ledger and reports.
        epoch_s: Wall clock at 0 of the monotonic clock, in seconds since 1970.
    """

    evidence: Evidence
    kills: Sequence[Kill] = ()
    interruptions: Sequence[Interruption] = ()
    epoch_s: float
    allowance: Allowance = field(default_factory=Allowance)


class ComparisonResult(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of a drill.

    Attributes:
        sent: Different ticks in the ledger.
        durable: Different ticks that were reported durable.
        persisted: Rows.
        lost: Ticks reported durable without a row of their values.
        duplicates: Rows beyond one for a tick, even if their keys differ.
        unexpected: Rows and reports that no tick of the ledger explains, and rows whose
            payload belongs to another event.
        unexplained: Ticks that were sent, have neither row nor report, and no
            explanation.
        missing_gaps: Interruptions without a gap in ``feed_gaps``.
        examples: Some of the violations, in words.
    """

    sent: int
    durable: int
    persisted: int
    lost: int
    duplicates: int
    unexpected: int
    unexplained: int
    missing_gaps: int
    examples: list[str]

    @property
    def is_clean(self) -> bool:
        """Whether there is no violation."""
        return not (
            self.lost
            or self.duplicates
            or self.unexpected
            or self.unexplained
            or self.missing_gaps
        )


async def compare_drill(
    connection: psycopg.AsyncConnection[Any], facts: Facts
) -> ComparisonResult:
    """Compare everything; the connection gets temporary tables."""
    counts = await compare(connection, facts.evidence)
    await _load(connection, facts)
    allowed = {
        "losses": sql.LOSSES,
        "epoch_s": facts.epoch_s,
        "before_kill_s": facts.allowance.before_kill_s,
        "sockets_s": facts.allowance.sockets_s,
        "gap_s": facts.allowance.gap_s,
    }
    [(durable, lost, unknown)] = await fetch(connection, sql.REPORTS)
    [(unexplained,)] = await fetch(connection, sql.UNEXPLAINED, allowed)
    missing_gaps = await fetch(connection, sql.MISSING_GAPS, allowed)
    examples = [
        *(f"no gap of {broker} for fault {fault}" for fault, broker in missing_gaps),
        *(text for (text,) in await fetch(connection, sql.EXAMPLES, allowed)),
    ]
    return ComparisonResult(
        sent=sum(each.sent for each in counts.values()),
        durable=durable,
        persisted=sum(each.persisted for each in counts.values()),
        lost=lost,
        duplicates=sum(each.duplicates for each in counts.values()),
        unexpected=unknown + sum(each.unexpected for each in counts.values()),
        unexplained=unexplained,
        missing_gaps=len(missing_gaps),
        examples=examples[:_MOST_EXAMPLES],
    )


async def _load(connection: psycopg.AsyncConnection[Any], facts: Facts) -> None:
    await execute(connection, sql.DRILL_TABLES)
    kills = ((each.before, each.after) for each in facts.kills)
    await copy_rows(connection, "kills", kills)
    interruptions = (
        (
            each.fault,
            each.broker,
            facts.epoch_s + each.began_at,
            facts.epoch_s + each.ended_at,
            facts.evidence.clock_error(each.began_at),
        )
        for each in facts.interruptions
    )
    await copy_rows(connection, "interruptions", interruptions)
