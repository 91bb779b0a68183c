"""The loops of the service for `ProgressWatch`.

The disk has no loop here: when it hangs, the status says so, and a restart would lose the
ticks that only the memory has.
"""

from __future__ import annotations

from typing import Final

from greeks_trio.feeds.health import FeedHealth
from greeks_trio.monitoring.progress import Loop
from greeks_trio.monitoring.status import ServiceStatus

# A frame takes milliseconds.
_PROCESSOR_LIMIT_S: Final = 60.0
# A flush ends, or fails, within a few times GREEKS_DB_TIMEOUT_S; a migration of a large
# table takes minutes.
_WRITER_LIMIT_S: Final = 600.0
# A broker that is silent is left, and called again, after a minute or two.
_FEED_LIMIT_S: Final = 600.0


def loops_of(status: ServiceStatus) -> list[Loop]:
    """Return the loops of the service."""
    return [
        Loop(
            name="processor",
            has_work=lambda: len(status.intake) > 0,
            steps=lambda: sum(status.processor.statistics().received.values()),
            limit_s=_PROCESSOR_LIMIT_S,
        ),
        Loop(
            name="writer",
            has_work=lambda: len(status.backlog) > 0,
            steps=lambda: _writer_steps(status),
            limit_s=_WRITER_LIMIT_S,
        ),
        Loop(
            name="replayer",
            has_work=lambda: (
                status.backlog.is_database_up and status.spooler.has_more_to_replay
            ),
            steps=lambda: status.replayer.steps,
            limit_s=_WRITER_LIMIT_S,
        ),
        Loop(
            name="journal",
            has_work=lambda: len(status.journal) > 0,
            steps=lambda: status.journal.attempts,
            limit_s=_WRITER_LIMIT_S,
        ),
        *(_feed_loop(name, health) for name, health in status.feeds.items()),
    ]


def _writer_steps(status: ServiceStatus) -> int:
    statistics = status.writer.statistics()
    return statistics.flushes + statistics.retries


def _feed_loop(name: str, health: FeedHealth) -> Loop:
    def steps() -> int:
        statistics = health.statistics()
        return (
            statistics.frames
            + statistics.reconnects
            + health.session().reconnect_attempt
        )

    return Loop(
        name=f"feed of {name}",
        # A disconnected feed waits for a person.
        has_work=lambda: (
            not health.is_stopped and health.session().status != "disconnected"
        ),
        steps=steps,
        limit_s=_FEED_LIMIT_S,
    )
