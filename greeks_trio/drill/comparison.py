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

import struct
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec
import psycopg

from greeks_trio.config.settings import BROKERS
from greeks_trio.drill import comparison_sql as sql
from greeks_trio.drill.observer import read_marks
from greeks_trio.drill.report_stream import mark
from greeks_trio.drill.service_process import Kill
from greeks_trio.model.records import Broker, Tick, UnifiedPositionRecord
from greeks_trio.simulators.ledger import LedgerTick, read_ledger

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


_COMMIT: Final = struct.Struct("=qd")

_CREATE: Final = """
create temp table ledger (
    broker text, account_id text, contract_key text, event_time timestamptz,
    delta float8, gamma float8, theta float8, vega float8, rho float8,
    implied_volatility float8, sent float8, mark int8);
create temp table commits (mark int8, committed float8);
"""
_COPY_LEDGER: Final = "copy ledger from stdin"
_COPY_COMMITS: Final = "copy commits from stdin"

# A ledger tick may have been sent twice over two connections; it counts once.
_MATCHED: Final = """
create temp table ledger_ticks as
select broker, account_id, contract_key, event_time, delta, gamma, theta, vega, rho,
       implied_volatility, row_number() over () as tick
  from (select distinct broker, account_id, contract_key, event_time, delta, gamma,
               theta, vega, rho, implied_volatility from ledger) as each;
analyze ledger_ticks;
create temp table matches as
select s.id, s.broker, l.tick
  from greek_snapshots s
  left join ledger_ticks l
    on l.broker = s.broker and l.account_id = s.account_id
   and l.contract_key = s.contract_key and l.event_time = s.event_time
   and l.delta is not distinct from s.delta
   and l.gamma is not distinct from s.gamma
   and l.theta is not distinct from s.theta
   and l.vega is not distinct from s.vega
   and l.rho is not distinct from s.rho
   and l.implied_volatility is not distinct from s.implied_volatility
 where s.id > %s;
"""
_COUNTS: Final = """
select broker,
       (select count(*) from ledger_ticks l where l.broker = b.broker) as sent,
       (select count(*) from matches m where m.broker = b.broker) as persisted,
       (select count(*) from ledger_ticks l where l.broker = b.broker
           and not exists (select from matches m where m.tick = l.tick)) as lost,
       (select count(m.tick) - count(distinct m.tick)
          from matches m where m.broker = b.broker) as duplicates,
       (select count(*) from matches m
         where m.broker = b.broker and m.tick is null) as unexpected
  from unnest(%s::text[]) as b (broker)
"""
_AGES: Final = """
select percentile_disc(array[0.5, 0.95, 0.99, 1.0])
       within group (order by 1000 * (c.committed - l.sent))
  from commits c join ledger l using (mark)
"""
_LARGEST_GAP: Final = """
select broker, extract(epoch from max(step))::float8
  from (select broker, received_at - lag(received_at)
               over (partition by broker order by received_at) as step
          from greek_snapshots where id > %s) as steps
 group by broker
"""


class BrokerCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one broker's ticks.

    Attributes:
        lost: Ledger ticks without a row.
        duplicates: Rows beyond one per ledger tick, whatever their key.
        unexpected: Rows that no ledger tick explains.
        largest_gap_s: Longest time between two rows' receipt, in seconds.
    """

    sent: int
    persisted: int
    lost: int
    duplicates: int
    unexpected: int
    largest_gap_s: float | None


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """The result; ages are from the simulator's send to the commit, milliseconds."""

    brokers: dict[str, BrokerCounts]
    age_ms: dict[str, float | None]


class CommitLog:
    """Writes down when each tick was committed: 16 bytes a tick, on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.first_commit_at: float | None = None
        self._file: BinaryIO = path.open("wb")

    def record(self, ticks: Sequence[Tick]) -> None:
        """Note the ticks of a commit that has just been acknowledged."""
        # Not Trio's clock: the simulators' process stamps with this one.
        now = time.monotonic()
        if self.first_commit_at is None:
            self.first_commit_at = time.time()
        self._file.write(
            b"".join(_COMMIT.pack(tick_identity(tick.record), now) for tick in ticks)
        )

    def close(self) -> None:
        """Close the file; it stays."""
        self._file.close()

    def read(self) -> Iterator[tuple[int, float]]:
        """Yield (mark, monotonic seconds) of each committed tick."""
        with self.path.open("rb") as file:
            while chunk := file.read(_COMMIT.size * 4096):
                yield from _COMMIT.iter_unpack(chunk)


async def last_row_id(connection: psycopg.AsyncConnection[Any]) -> int:
    """Return the newest row's id, 0 for an empty table."""
    cursor = await connection.execute("select max(id) from greek_snapshots")
    row = await cursor.fetchone()
    return (row[0] if row else None) or 0


async def audit(
    connection: psycopg.AsyncConnection[Any],
    ledger: Path,
    commits: CommitLog,
    *,
    after_id: int,
) -> Audit:
    """Compare the ledger with the rows whose id is greater than ``after_id``."""
    await connection.execute(_CREATE)
    await _load_ledger(connection, ledger)
    await _load_commits(connection, commits)
    for statement in _MATCHED.split(";"):
        if statement.strip():
            parameters = (after_id,) if "%s" in statement else None
            await connection.execute(statement.encode(), parameters)
    cursor = await connection.execute(_LARGEST_GAP, (after_id,))
    gaps = dict(await cursor.fetchall())
    cursor = await connection.execute(_COUNTS, (list(BROKERS),))
    counts = {
        broker: BrokerCounts(
            sent=sent,
            persisted=persisted,
            lost=lost,
            duplicates=duplicates,
            unexpected=unexpected,
            largest_gap_s=gaps.get(broker),
        )
        for broker, sent, persisted, lost, duplicates, unexpected in (
            await cursor.fetchall()
        )
    }
    cursor = await connection.execute(_AGES)
    row = await cursor.fetchone()
    return Audit(brokers=counts, age_ms=_percentiles(row[0] if row else None))


async def _load_ledger(connection: psycopg.AsyncConnection[Any], ledger: Path) -> None:
    async with connection.cursor() as cursor, cursor.copy(_COPY_LEDGER) as copy:
        for tick in read_ledger(ledger):
            await copy.write_row(
                (
                    tick.broker,
                    tick.account_id,
                    tick.contract_key,
                    _timestamp(tick.event_time_ms),
                    tick.delta,
                    tick.gamma,
                    tick.theta,
                    tick.vega,
                    tick.rho,
                    tick.implied_volatility,
                    tick.sent_monotonic,
                    _ledger_identity(tick),
                )
            )


async def _load_commits(
    connection: psycopg.AsyncConnection[Any], commits: CommitLog
) -> None:
    async with connection.cursor() as cursor, cursor.copy(_COPY_COMMITS) as copy:
        for row in commits.read():
            await copy.write_row(row)


def tick_identity(record: UnifiedPositionRecord) -> int:
    """Return a number for the tick that `_ledger_identity` gives its ledger line."""
    return hash(
        (
            record.account_id,
            record.contract_key,
            round(record.event_time.timestamp() * 1000),
            record.delta,
            record.theta,
        )
    )


def _ledger_identity(tick: LedgerTick) -> int:
    """Return the same number for the same tick, within one process."""
    return hash(
        (
            tick.account_id,
            tick.contract_key,
            tick.event_time_ms,
            tick.delta,
            tick.theta,
        )
    )


def _timestamp(milliseconds: int) -> str:
    """Return a time as PostgreSQL's text format, exact to the millisecond."""
    moment = time.gmtime(milliseconds // 1000)
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', moment)}.{milliseconds % 1000:03d}+00"


def _percentiles(values: Sequence[float] | None) -> dict[str, float | None]:
    names = ("p50", "p95", "p99", "max")
    if values is None:
        return dict.fromkeys(names)
    return {name: round(value, 3) for name, value in zip(names, values, strict=True)}
