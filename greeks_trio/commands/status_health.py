"""What a service's own answers say of its health: healthy, degraded or down.  Pure.

- **down**: nothing streams.  Nobody answers, or it is another program, or the token is
  refused, so that nothing can be known; or no broker is connected.
- **degraded**: it streams, and a person should look.  All that ``/readyz`` names, a broker
  that is connected with something missing, the latency above its bar, rows in quarantine,
  ticks that were lost since the service started, ticks that have waited on disk for more
  than `SPOOLED_LONG_S`, a disk that takes none.
- **healthy**: neither.  Stopped feeds of which another one runs, contracts without recent
  ticks and a short stay of ticks on disk are part of normal life.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

import msgspec

from greeks_trio.model.records import StreamSession

Health = Literal["healthy", "degraded", "down"]

# A stall of the database, a restart of it and its replay are shorter.
SPOOLED_LONG_S: Final = 60.0

_STREAMING: Final = ("connected", "degraded")


class Readiness(msgspec.Struct, frozen=True):
    """The answer of ``/readyz``."""

    status: Literal["ready", "not ready"]
    problems: list[str]


class Database(msgspec.Struct, frozen=True):
    """Whether the writer has a connection, and why not."""

    connected: bool = False
    last_error: str | None = None


class Percentiles(msgspec.Struct, frozen=True):
    """Latencies in milliseconds, `None` without a tick."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


class Latency(msgspec.Struct, frozen=True):
    """From frame read to durable, in milliseconds."""

    last_minute: Percentiles = Percentiles()


class Slo(msgspec.Struct, frozen=True):
    """Whether the bar is breached, and for how many seconds."""

    is_breached: bool = False
    breached_s: float | None = None
    p95_ms: float | None = None
    target_ms: float | None = None


class Ticks(msgspec.Struct, frozen=True):
    """Ticks since the service started."""

    lost: int = 0


class Spool(msgspec.Struct, frozen=True):
    """What waits on disk."""

    rows: int = 0
    bytes: int = 0
    oldest_at: datetime | None = None
    replaying: bool = False
    last_error: str | None = None


class Quarantine(msgspec.Struct, frozen=True):
    """Rows that PostgreSQL refused."""

    waiting: int = 0


class Memory(msgspec.Struct, frozen=True):
    """In bytes."""

    resident_bytes: int = 0
    backlog_bytes: int = 0
    backlog_max_bytes: int = 0


class Staleness(msgspec.Struct, frozen=True):
    """How many contracts of each broker are stale, and whether their markets are open.

    Attributes:
        contracts: Of these no tick has come for ``after_s`` seconds.
        not_realtime: Of these the newest tick is not real-time.
    """

    after_s: float = 0.0
    contracts: dict[str, int] = {}
    not_realtime: dict[str, int] = {}
    markets_open: dict[str, bool] = {}


class Feed(msgspec.Struct, frozen=True):
    """One broker's contracts."""

    wanted: int = 0
    subscription_count: int = 0
    reconnects: int = 0


class Status(msgspec.Struct, frozen=True):
    """What is needed of ``/v1/streaming/status``; a part that is missing is empty."""

    sessions: list[StreamSession]
    database: Database = Database()
    latency_ms: Latency = Latency()
    slo: Slo = Slo()
    ticks: Ticks = Ticks()
    spool: Spool = Spool()
    quarantine: Quarantine = Quarantine()
    memory: Memory = Memory()
    staleness: Staleness = Staleness()
    feeds: dict[str, Feed] = {}


@dataclass(frozen=True, slots=True)
class Verdict:
    """The health, and what is wrong in words, worst first."""

    health: Health
    problems: Sequence[str]


def judge(status: Status, readiness: Readiness, now: datetime) -> Verdict:
    """Return the verdict on a service that answers; ``now`` is its own clock."""
    problems = [*_problems(status, readiness, now)]
    if not any(session.status in _STREAMING for session in status.sessions):
        return Verdict("down", ["nothing streams: no broker is connected", *problems])
    return Verdict("degraded" if problems else "healthy", problems)


def _problems(status: Status, readiness: Readiness, now: datetime) -> Iterator[str]:
    if status.ticks.lost:
        yield f"lost: {_counted(status.ticks.lost, 'tick')} since the service started"
    yield from readiness.problems
    for session in status.sessions:
        if session.status == "degraded":
            yield f"{session.broker}: {session.last_error or 'something is missing'}"
    slo = status.slo
    if slo.is_breached:
        yield (
            f"latency: p95 {_milliseconds(slo.p95_ms)}, above"
            f" {_milliseconds(slo.target_ms)} for {slo.breached_s or 0:.0f} s"
        )
    yield from _problems_of_disk(status, now)


def _problems_of_disk(status: Status, now: datetime) -> Iterator[str]:
    waiting, spool = status.quarantine.waiting, status.spool
    if waiting:
        yield (
            f"quarantine: {_counted(waiting, 'row')} that PostgreSQL refused;"
            " bin/run-ingest quarantine says why"
        )
    if spool.last_error is not None:
        yield f"spool: {spool.last_error}"
    if spool.rows and spool.oldest_at is not None:
        age_s = (now - spool.oldest_at).total_seconds()
        if age_s > SPOOLED_LONG_S:
            yield (
                f"spool: {_counted(spool.rows, 'tick')} on disk, not in the database,"
                f" the oldest for {age_s:.0f} s"
            )


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _milliseconds(value: float | None) -> str:
    return "unknown" if value is None else f"{value:,.0f} ms"
