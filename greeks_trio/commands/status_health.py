"""The health of a service, from its own answers: healthy, degraded or down.  Pure.

- **down**: no broker is connected, or the service gives no answer that can be used.
- **degraded**: ticks stream, and a person should look.  The reasons are: a problem or a
  warning that ``/readyz`` names, a connected broker that lacks something, rows in the
  quarantine, ticks lost since the service started, ticks on disk for more than
  `SPOOLED_LONG_S`, a disk that takes no ticks.
- **healthy**: neither.  A note is no problem: a stopped feed while another one runs,
  accepted delayed data, contracts that take turns.  Contracts without recent ticks and
  ticks on disk for a short time are normal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

import msgspec

from greeks_trio.commands.status_answer import StatusAnswer
from greeks_trio.monitoring.figures.table import Figures
from greeks_trio.program import program_name

Health = Literal["healthy", "degraded", "down"]

# A stall or restart of the database with its replay takes less time.
SPOOLED_LONG_S: Final = 60.0

_STREAMING: Final = ("connected", "degraded")


class Readiness(msgspec.Struct, frozen=True):
    """The answer of ``/readyz``."""

    status: Literal["ready", "not ready"]
    problems: list[str]
    warnings: list[str] = []
    notes: list[str] = []


@dataclass(frozen=True, slots=True)
class HealthReport:
    """The health of a service, as the command shows it.

    Attributes:
        problems: A sentence for each problem, worst first.
        notes: A sentence for each fact that is no problem.
    """

    health: Health
    problems: Sequence[str]
    notes: Sequence[str] = field(default_factory=list)


def judge(status: StatusAnswer, readiness: Readiness, now: datetime) -> HealthReport:
    """Return the health of a service that answers; ``now`` is the service's clock."""
    problems = [*dict.fromkeys(_problems(status, readiness, now))]
    of_sessions = (
        f"{session.broker}: {note}"
        for session in status.sessions
        for note in session.notes
    )
    told = dict.fromkeys([*of_sessions, *readiness.notes])
    notes = [each for each in told if each not in problems]
    if not any(session.status in _STREAMING for session in status.sessions):
        problems = ["nothing streams: no broker is connected", *problems]
        return HealthReport("down", problems, notes)
    return HealthReport("degraded" if problems else "healthy", problems, notes)


def _problems(
    status: StatusAnswer, readiness: Readiness, now: datetime
) -> Iterator[str]:
    if lost := status.count(Figures.ticks_lost):
        yield f"lost: {_counted(lost, 'tick')} since the service started"
    yield from readiness.problems
    for session in status.sessions:
        if session.status == "degraded":
            yield f"{session.broker}: {session.last_error or 'something is missing'}"
    yield from readiness.warnings
    yield from _problems_of_disk(status, now)


def _problems_of_disk(status: StatusAnswer, now: datetime) -> Iterator[str]:
    if waiting := status.count(Figures.quarantine_waiting):
        yield (
            f"quarantine: {_counted(waiting, 'row')} that PostgreSQL refused;"
            f" run {program_name()} quarantine for the reasons"
        )
    if (error := status.text(Figures.spool_last_error)) is not None:
        yield f"spool: {error}"
    rows, oldest_at = (
        status.count(Figures.spool_rows),
        status.moment(Figures.spool_oldest),
    )
    if rows and oldest_at is not None:
        age_s = (now - oldest_at).total_seconds()
        if age_s > SPOOLED_LONG_S:
            yield (
                f"spool: {_counted(rows, 'tick')} on disk, not in the database,"
                f" the oldest for {age_s:.0f} s"
            )


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
