"""Compare the clock of this machine with those of the database and the brokers.

Every clock has one vote, and the largest group of clocks that agree is right.  If two
groups are as large, the group of the database is right, because all rows meet there; then
that of a broker; then our own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

DATABASE: Final = "the database"
OURS: Final = "this machine"

_DAY_S: Final = 86_400


@dataclass(frozen=True, slots=True)
class ClockVerdict:
    """The agreed time, and the clocks that differ from it.

    Attributes:
        correction_s: Seconds to add to our clock; 0 if our clock is right.
        wrong: For each wrong clock, its seconds ahead of the agreed time.
        right: The clocks that agree.
    """

    correction_s: float
    wrong: Mapping[str, float]
    right: Sequence[str]


def offset_s(ours: datetime, theirs: datetime, round_trip_s: float) -> float:
    """Return the seconds by which the other clock is ahead of ours.

    Args:
        ours: Our clock when the answer came.
        theirs: The other clock in that answer.
        round_trip_s: Seconds from the question to the answer.  The other clock was read
            in the middle of them.
    """
    return (theirs - ours) / timedelta(seconds=1) + round_trip_s / 2


def judge(offsets: Mapping[str, float], limit_s: float) -> ClockVerdict:
    """Return the verdict on our clock and others.

    Args:
        offsets: The seconds by which each other clock is ahead of ours.
        limit_s: Clocks that differ by more do not agree.
    """
    clocks = {**offsets, OURS: 0.0}

    def agreeing(name: str) -> list[str]:
        return [
            other for other, at in clocks.items() if abs(at - clocks[name]) <= limit_s
        ]

    def weight(name: str) -> tuple[int, bool, bool]:
        group = agreeing(name)
        return len(group), DATABASE in group, name != OURS

    right = agreeing(max(clocks, key=weight))
    leader = next(name for name in (OURS, DATABASE, *right) if name in right)
    agreed = clocks[leader]
    wrong = {
        name: at - agreed for name, at in clocks.items() if abs(at - agreed) > limit_s
    }
    return ClockVerdict(
        correction_s=agreed,
        wrong=wrong,
        right=sorted(
            clocks.keys() - wrong.keys(), key=lambda name: (name != DATABASE, name)
        ),
    )


def in_words(seconds: float) -> str:
    """Return a difference in words, such as ``3 minutes ahead of``."""
    size = abs(seconds)
    for length, unit in ((_DAY_S, "days"), (3600, "hours"), (60, "minutes")):
        if size >= 2 * length:
            return f"{size / length:.0f} {unit} {_direction(seconds)}"
    return f"{size:.0f} seconds {_direction(seconds)}"


def _direction(seconds: float) -> str:
    return "ahead of" if seconds > 0 else "behind"
