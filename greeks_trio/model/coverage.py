"""Intervals of time: a gap, less the times at which another service had the feed."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final, TypeAlias

# The end of an interval that has not ended.
OPEN: Final = datetime.max.replace(tzinfo=UTC)

# From and to.
Interval: TypeAlias = tuple[datetime, datetime]


def without(whole: Interval, others: Iterable[Interval]) -> list[Interval]:
    """Return the parts of an interval that lie in no other one, oldest first.

    Args:
        whole: The interval.  One that has not ended ends with `OPEN`.
        others: In any order; they may overlap.
    """
    start, end = whole
    parts: list[Interval] = []
    for other_start, other_end in sorted(others):
        if start >= end:
            break
        if other_end <= start:
            continue
        if other_start > start:
            parts.append((start, min(other_start, end)))
        start = max(start, other_end)
    if start < end:
        parts.append((start, end))
    return parts


def between(gaps: Iterable[Interval]) -> list[Interval]:
    """Return the times from the end of each gap to the start of the next, oldest first.

    Args:
        gaps: In any order.  One may stand twice, without its end and with it.
    """
    ends: dict[datetime, datetime] = {}
    for start, end in gaps:
        ends[start] = min(end, ends.get(start, OPEN))
    found: list[Interval] = []
    until: datetime | None = None
    for start, end in sorted(ends.items()):
        if until is not None and until < start:
            found.append((until, start))
        until = None if end == OPEN else max(end, until or end)
    return found
