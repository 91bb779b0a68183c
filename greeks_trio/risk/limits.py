"""When a limit speaks: the states of a rule, and the events between them.  Pure.

`step` takes the state of a rule, a reading of its figure and the time, and returns the next
state and at most one event.  The states:

=========  ========================================================================
new        no reading has told anything yet
ok         within the limit
breached   beyond the limit for the hold time; ends at the recovery level
unknown    for `Limit.unknown_hold_s` no reading could tell
=========  ========================================================================

A reading that lacks a position, or has a stale one, tells nothing.  It neither begins nor
ends a breach: the lacking position could be as large as the others and of the other sign.
The time of such readings does not count as time beyond the limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from math import inf, isfinite
from typing import Final, Literal, TypeAlias

Status: TypeAlias = Literal["new", "ok", "breached", "unknown"]
Known: TypeAlias = Literal["ok", "breached"]
# The meaning of one reading; "closed" is outside of the market's hours.
Seen: TypeAlias = Literal["none", "ok", "breached", "unknown", "closed"]
EventKind: TypeAlias = Literal["breach", "recovery", "unknown", "reminder"]

# A longer time between two readings is a pause of the service or a jump of its clock: it
# counts neither as time beyond the limit nor as time without knowledge.
LONGEST_STEP_S: Final = 120.0

_KINDS: Final[Mapping[Status, EventKind]] = {
    "breached": "breach",
    "ok": "recovery",
    "unknown": "unknown",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """The values that are right, and the times that count.

    Attributes:
        low: The lowest value that is within the limit.
        high: The highest one.
        recovery_low: A breach ends with a value from here ...
        recovery_high: ... to here.
        is_absolute: Whether the value counts without its sign.
        hold_s: A value is beyond the limit for so long before it is a breach.
        unknown_hold_s: Readings tell nothing for so long before the state is unknown.
        remind_every_s: The time between two reminders of a breach; `None` for none.
        max_missing: A reading that lacks so many positions still tells something.
        max_stale: A reading with so many stale positions still tells something.
    """

    low: float = -inf
    high: float = inf
    recovery_low: float = -inf
    recovery_high: float = inf
    is_absolute: bool = False
    hold_s: float = 0.0
    unknown_hold_s: float = 300.0
    remind_every_s: float | None = None
    max_missing: int = 0
    max_stale: int = 0

    def is_within(self, value: float) -> bool:
        """Return whether the value is right."""
        return self.low <= self._measured(value) <= self.high

    def is_recovered(self, value: float) -> bool:
        """Return whether the value ends a breach."""
        return self.recovery_low <= self._measured(value) <= self.recovery_high

    def _measured(self, value: float) -> float:
        return abs(value) if self.is_absolute else value


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A figure at one moment.

    Attributes:
        value: `None` if it is not known.
        positions: How many positions, or accounts, it is about.
        missing: How many of them the value lacks.
        stale: How many of them are stale.
        reason: Why the value is not known; empty if it is.
        is_closed: Whether the rule does not count now, outside of the market's hours.
        currency: The currency of the positions; `None` if there are several or none.
        of: The word for the counted things.
    """

    value: float | None = None
    positions: int = 0
    missing: int = 0
    stale: int = 0
    reason: str = ""
    is_closed: bool = False
    currency: str | None = None
    of: str = "positions"

    def gap(self, limit: Limit) -> str:
        """Return why the reading tells nothing about the limit; empty if it does."""
        if self.reason:
            return self.reason
        lacks = []
        if self.missing > limit.max_missing:
            lacks.append(f"{self.missing} of {self.positions} {self.of} are missing")
        if self.stale > limit.max_stale:
            lacks.append(f"{self.stale} of {self.positions} {self.of} are stale")
        if lacks:
            return " and ".join(lacks)
        is_number = self.value is not None and isfinite(self.value)
        return "" if is_number else "no value is known"


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitState:
    """The memory of a rule.

    Attributes:
        status: The state that was told.
        since: When it began.
        known: The last one of ``ok`` and ``breached``; `None` if there was none.
        told_at: The time of the last event; `None` if there was none.
        seen: The meaning of the last reading in this run of the service.
        read_at: The time of the last reading in this run; `None` before the first.
        beyond_s: For so long the value has been beyond the limit.
        unknown_s: For so long the readings have told nothing.
        value: The last value that was known.
        value_at: The time of its reading.
    """

    status: Status = "new"
    since: datetime
    known: Known | None = None
    told_at: datetime | None = None
    seen: Seen = "none"
    read_at: datetime | None = None
    beyond_s: float = 0.0
    unknown_s: float = 0.0
    value: float | None = None
    value_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitEvent:
    """One message about a rule.

    Attributes:
        kind: Its kind.
        at: Its time.
        before: The state before it.
        after: The state after it; a reminder does not change the state.
        reading: The reading that is its cause.
    """

    kind: EventKind
    at: datetime
    before: LimitState
    after: LimitState
    reading: Reading


def step(
    limit: Limit, state: LimitState, reading: Reading, now: datetime
) -> tuple[LimitState, LimitEvent | None]:
    """Return the state after a reading, and the event if there is one.

    A breach, a recovery and an unknown state are told once each, when they begin.  After an
    unknown state, the next known one is told too.
    """
    seen = _meaning(limit, state, reading)
    passed_s = _passed_s(state, now)
    moved = replace(
        state,
        seen=seen,
        read_at=now,
        beyond_s=_beyond_s(state, seen, passed_s),
        unknown_s=_unknown_s(state, seen, passed_s),
    )
    if seen in ("ok", "breached"):
        moved = replace(moved, value=reading.value, value_at=now)
    status = _next_status(limit, moved, seen)
    if status == state.status:
        return _reminded(limit, state, moved, reading, now)
    known = status if status in ("ok", "breached") else moved.known
    moved = replace(moved, status=status, since=now, known=known)
    if state.status == "new" and status == "ok":
        return moved, None
    moved = replace(moved, told_at=now)
    event = LimitEvent(
        kind=_KINDS[status], at=now, before=state, after=moved, reading=reading
    )
    return moved, event


def _meaning(limit: Limit, state: LimitState, reading: Reading) -> Seen:
    if reading.is_closed:
        return "closed"
    if reading.gap(limit):
        return "unknown"
    assert reading.value is not None  # noqa: S101 - no gap
    if state.known == "breached":
        return "ok" if limit.is_recovered(reading.value) else "breached"
    return "ok" if limit.is_within(reading.value) else "breached"


def _passed_s(state: LimitState, now: datetime) -> float:
    """Return the seconds since the last reading, 0 if they do not count."""
    if state.read_at is None:
        return 0.0
    passed_s = (now - state.read_at).total_seconds()
    return passed_s if 0 <= passed_s <= LONGEST_STEP_S else 0.0


def _beyond_s(state: LimitState, seen: Seen, passed_s: float) -> float:
    if seen == "unknown":
        return state.beyond_s
    if seen != "breached":
        return 0.0
    return state.beyond_s + (passed_s if state.seen == "breached" else 0.0)


def _unknown_s(state: LimitState, seen: Seen, passed_s: float) -> float:
    if seen != "unknown":
        return 0.0
    return state.unknown_s + (passed_s if state.seen == "unknown" else 0.0)


def _next_status(limit: Limit, moved: LimitState, seen: Seen) -> Status:
    if seen == "ok":
        return "ok"
    if seen == "breached":
        holds = moved.known == "breached" or moved.beyond_s >= limit.hold_s
        return "breached" if holds else moved.status
    if seen == "unknown" and moved.unknown_s >= limit.unknown_hold_s:
        return "unknown"
    return moved.status


def _reminded(
    limit: Limit,
    state: LimitState,
    moved: LimitState,
    reading: Reading,
    now: datetime,
) -> tuple[LimitState, LimitEvent | None]:
    """Return the state, with a reminder if one is due."""
    is_due = (
        limit.remind_every_s is not None
        and moved.status == moved.seen == "breached"
        and moved.told_at is not None
        and (now - moved.told_at).total_seconds() >= limit.remind_every_s
    )
    if not is_due:
        return moved, None
    moved = replace(moved, told_at=now)
    event = LimitEvent(
        kind="reminder", at=now, before=state, after=moved, reading=reading
    )
    return moved, event
