"""The clock of the service: ours, corrected by those of the database and the brokers.

As long as our clock agrees with the others, it is used as it is.  If it is wrong, its
difference is corrected, so that ticks, positions and gaps have true times, and a condition
names it.  If another clock is wrong, ours is used and the condition names the other one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from greeks_trio.model.clock import (
    DATABASE,
    OURS,
    ClockVerdict,
    in_words,
    judge,
    offset_s,
)
from greeks_trio.model.condition_kinds import ConditionKind
from greeks_trio.pipeline.conditions import Conditions
from greeks_trio.waiting import utc_now

logger = logging.getLogger(__name__)

# Brokers answer several times an hour.  An older reading has no vote.
_READING_LIFE_S: Final = 3600.0
# Two readings are further apart only if the process did not run in between.
_APART_S: Final = 0.05


class ServiceClock:
    """Tells the agreed time.

    A step of our clock beyond the limit, forwards or backwards, is not believed if another
    clock was read before: the agreed time goes on by the monotonic clock, until the next
    reading shows whether the step was right.

    Args:
        conditions: Takes the faults.
        limit_s: A larger difference is a fault.
        wall: The clock of this machine.
        monotonic: Seconds of the monotonic clock.

    Attributes:
        on_correction: Called after the agreed time has moved by more than the limit.
    """

    def __init__(
        self,
        conditions: Conditions,
        limit_s: float,
        *,
        wall: Callable[[], datetime] = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._conditions = conditions
        self._limit_s = limit_s
        self._wall = wall
        self._monotonic = monotonic
        self._correction = timedelta()
        # Each clock: the seconds by which it is ahead of ours, and when it was read.
        self._readings: dict[str, tuple[float, float]] = {}
        # The wall clock minus the monotonic one, in seconds.
        _, self._base = self._read()
        self._said: set[str] = set()
        self.on_correction: Callable[[], object] = lambda: None

    def now(self) -> datetime:
        """Return the agreed time, UTC."""
        wall, base = self._read()
        if abs(base - self._base) > self._limit_s:
            self._stepped(base - self._base)
        self._base = base
        return wall + self._correction

    def correction_s(self) -> float:
        """Return the seconds that are added to the clock of this machine."""
        return self._correction / timedelta(seconds=1)

    def differences_s(self) -> dict[str, float]:
        """Return for each other clock the seconds by which it is ahead of ours."""
        return {name: offset for name, (offset, _) in self._readings.items()}

    def compare(
        self,
        name: str,
        theirs: datetime,
        *,
        round_trip_s: float,
        resolution_s: float = 0.0,
        is_here: bool = False,
    ) -> None:
        """Take a reading of another clock, just after its answer came.

        Args:
            name: The clock: `DATABASE` or a broker.
            theirs: The time in the answer.
            round_trip_s: Seconds from the question to the answer.  A reading that took too
                long for the limit says nothing.
            resolution_s: The unit of ``theirs``, which is cut off to it.
            is_here: Whether the answer came from this machine.  Then it may be our own
                clock, which has one vote only, so a reading that agrees says nothing.
        """
        if round_trip_s / 2 + resolution_s > self._limit_s:
            return
        self.now()  # notes a step
        middle = theirs + timedelta(seconds=resolution_s / 2)
        offset = offset_s(self._wall(), middle, round_trip_s)
        if is_here and abs(offset) <= self._limit_s:
            self._readings.pop(name, None)
        else:
            self._readings[name] = offset, self._monotonic()
        self._judge()

    def _stepped(self, step_s: float) -> None:
        logger.warning("clock.stepped seconds=%.1f", step_s)
        self._readings = {
            name: (offset - step_s, at) for name, (offset, at) in self._readings.items()
        }
        if self._readings:
            self._correction -= timedelta(seconds=step_s)
            self._judge()

    def _judge(self) -> None:
        oldest = self._monotonic() - _READING_LIFE_S
        self._readings = {
            name: reading
            for name, reading in self._readings.items()
            if reading[1] > oldest
        }
        verdict = judge(self.differences_s(), self._limit_s)
        moved = verdict.correction_s - self.correction_s()
        self._report(verdict)
        if verdict.correction_s == 0 or abs(moved) > self._limit_s / 2:
            self._correction = timedelta(seconds=verdict.correction_s)
        if abs(moved) > self._limit_s:
            logger.critical(
                "clock.corrected seconds=%.1f by=%s",
                verdict.correction_s,
                ",".join(verdict.right),
            )
            self.on_correction()

    def _report(self, verdict: ClockVerdict) -> None:
        for name in self._said - verdict.wrong.keys():
            self._conditions.end(_kind_of(name), subject=name)
        self._said = set(verdict.wrong)
        for name, ahead_s in verdict.wrong.items():
            self._conditions.begin(
                _kind_of(name), _sentence(name, ahead_s, verdict), subject=name
            )

    def _read(self) -> tuple[datetime, float]:
        """Return the wall clock, and the seconds by which it is above the monotonic one.

        A process that stands still between the two readings has not seen a step.
        """
        while True:
            before = self._monotonic()
            wall = self._wall()
            after = self._monotonic()
            if after - before < _APART_S:
                return wall, wall.timestamp() - after


def _kind_of(name: str) -> ConditionKind:
    if name in (OURS, DATABASE):
        return ConditionKind.CLOCK_DIFFERS
    return ConditionKind.BROKER_CLOCK_DIFFERS


def _sentence(name: str, ahead_s: float, verdict: ClockVerdict) -> str:
    others = " and ".join(verdict.right)
    sentence = f"the clock of {name} is {in_words(ahead_s)} that of {others}"
    if name == OURS:
        return (
            f"{sentence}; times are corrected until it is right: set it, and let it follow"
            " a time server"
        )
    if name == DATABASE:
        return (
            f"{sentence}; ages and the risk views are wrong: set the clock of the machine"
            " with the database"
        )
    return f"{sentence}; it is not used"
