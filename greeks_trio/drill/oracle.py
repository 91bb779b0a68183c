"""What is true after a drill: the ledger, the reports and the table, compared in SQL.

All three meet in PostgreSQL, so an hour of ticks needs no memory here.  Times are those
of the ledger, monotonic seconds of this machine, and for ``feed_gaps`` the service's
wall clock, which a drill may have set wrong by `Facts.clock_error`: a moment counts as
within a gap by the right clock or by the wrong one.

What a tick may be missing for:

* It was sent at most `Allowance.before_kill_s` before a SIGKILL of the service: it may
  not have been durable yet.  `Allowance.sockets_s` more for the way through four
  sockets and two processes, and as much after the kill, until the brokers notice.
* It was sent while the broker's feed was not connected, and ``feed_gaps`` says so.  The
  gap may begin `Allowance.gap_s` later and end as much earlier than it should.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec
import psycopg

from greeks_trio.drill import oracle_sql as sql
from greeks_trio.drill.reports import mark
from greeks_trio.drill.service import Kill
from greeks_trio.drill.witness import read_marks
from greeks_trio.model.records import Broker
from greeks_trio.simulators.ledger import read_ledger

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_EXAMPLES: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What the oracle forgives, in seconds; see the head of this module."""

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
    """What the drill knows besides the table.

    Attributes:
        ledger: What the brokers sent.
        durable: What the service reported durable, see `read_marks`.
        epoch_s: What the wall clock showed when the monotonic clock was at 0, in
            seconds since 1970.
        clock_error: Returns by how many seconds the service's wall clock was ahead at
            a monotonic time.
    """

    ledger: Path
    durable: Path
    kills: Sequence[Kill] = ()
    interruptions: Sequence[Interruption] = ()
    epoch_s: float
    clock_error: Callable[[float], float] = lambda _: 0.0
    allowance: Allowance = field(default_factory=Allowance)


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the oracle found.

    Attributes:
        sent: Different ticks in the ledger.
        durable: Different ticks that were reported durable.
        persisted: Rows.
        lost: Ticks reported durable without a row of their values.
        duplicates: Rows beyond one for a tick, whatever their key.
        unexpected: Rows and reports that no ledger tick explains, and rows whose
            payload is that of another event.
        unexplained: Ticks that were sent and are nowhere, and should not be missing.
        missing_gaps: Interruptions that ``feed_gaps`` does not tell of.
        examples: Some of what is amiss, in words.
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
        """Tell whether nothing is amiss."""
        return not (
            self.lost
            or self.duplicates
            or self.unexpected
            or self.unexplained
            or self.missing_gaps
        )


async def judge(connection: psycopg.AsyncConnection[Any], facts: Facts) -> Verdict:
    """Compare everything; the connection gets temporary tables."""
    for statements in (sql.TABLES, sql.PAYLOAD_AGREES):
        await connection.execute(statements.encode())
    await _load(connection, facts)
    await connection.execute(sql.MATCHES.encode())
    allowed = {
        "losses": sql.LOSSES,
        "before_kill_s": facts.allowance.before_kill_s,
        "sockets_s": facts.allowance.sockets_s,
        "gap_s": facts.allowance.gap_s,
    }
    [counts] = await _fetch(connection, sql.COUNTS)
    [(unexplained,)] = await _fetch(connection, sql.UNEXPLAINED, allowed)
    missing_gaps = await _fetch(connection, sql.MISSING_GAPS, allowed)
    names = ("sent", "durable", "persisted", "lost", "duplicates", "unexpected")
    return Verdict(
        **dict(zip(names, counts, strict=True)),
        unexplained=unexplained,
        missing_gaps=len(missing_gaps),
        examples=[
            *(
                f"no gap of {broker} for fault {fault}"
                for fault, broker in missing_gaps
            ),
            *(text for (text,) in await _fetch(connection, sql.EXAMPLES, allowed)),
        ][:_MOST_EXAMPLES],
    )


async def _load(connection: psycopg.AsyncConnection[Any], facts: Facts) -> None:
    await _copy(connection, "ledger", _ledger_rows(facts))
    await _copy(connection, "durable", ((each,) for each in read_marks(facts.durable)))
    await _copy(
        connection, "kills", ((each.before, each.after) for each in facts.kills)
    )
    await _copy(
        connection,
        "interruptions",
        (
            (
                each.fault,
                each.broker,
                facts.epoch_s + each.began_at,
                facts.epoch_s + each.ended_at,
                facts.clock_error(each.began_at),
            )
            for each in facts.interruptions
        ),
    )


def _ledger_rows(facts: Facts) -> Iterator[tuple[object, ...]]:
    for tick in read_ledger(facts.ledger):
        yield (
            tick.broker,
            tick.account_id,
            tick.contract_key,
            _EPOCH + timedelta(milliseconds=tick.event_time_ms),
            tick.delta,
            tick.gamma,
            tick.theta,
            tick.vega,
            tick.rho,
            tick.implied_volatility,
            tick.sent_monotonic,
            facts.epoch_s + tick.sent_monotonic,
            facts.clock_error(tick.sent_monotonic),
            mark(tick),
        )


async def _copy(
    connection: psycopg.AsyncConnection[Any],
    table: str,
    rows: Iterable[tuple[object, ...]],
) -> None:
    command = f"copy {table} from stdin".encode()
    async with connection.cursor() as cursor, cursor.copy(command) as copy:
        for row in rows:
            await copy.write_row(row)


async def _fetch(
    connection: psycopg.AsyncConnection[Any],
    query: str,
    parameters: dict[str, object] | None = None,
) -> list[Any]:
    cursor = await connection.execute(query.encode(), parameters)
    return await cursor.fetchall()
