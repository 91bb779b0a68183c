"""The rules with their states: readings in, rows and messages out.

It has no I/O.  `greeks_trio.alerts.limit_watch` reads the sums, and writes and sends the
result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, cast
from uuid import uuid4

import msgspec

from greeks_trio.alerts.messages import ended_words, event_row
from greeks_trio.alerts.rules import Rule
from greeks_trio.model.alerts import AlertEvent, AlertMessage, AlertState
from greeks_trio.postgres.reads.limits import ScopeSums
from greeks_trio.risk.limits import Known, LimitState, Reading, Status, step

_REMOVED: Final = "removed"
# The states whose end a person should find in the history.
_TOLD: Final = ("breached", "unknown")


def reading_of(rule: Rule, sums: ScopeSums) -> Reading:
    """Return the reading of a rule from the figures of its scope."""
    figure = rule.figure
    value = sums.values[figure.name]
    reason = ""
    if not sums.is_known:
        word = "tag" if rule.scope.strategy_tag else figure.of.removesuffix("s")
        reason = f"no {word} is known ({rule.scope})"
    elif not sums.positions:
        value = 0.0  # everything is closed
    elif figure.kind == "money" and len(sums.currencies) > 1:
        names = " and ".join(sums.currencies)
        reason = f"the amounts are in {names}: write currency in the rule"
    is_whole = not figure.missing
    return Reading(
        value=value,
        positions=sums.positions,
        missing=0 if is_whole else sums.missing[figure.name],
        stale=0 if is_whole else sums.stale,
        reason=reason,
        currency=sums.currencies[0] if len(sums.currencies) == 1 else None,
        of=figure.of,
    )


@dataclass(frozen=True, slots=True)
class _Kept:
    """A rule's state and row, and the quantity that they are about."""

    state: LimitState
    row: AlertState

    def is_about(self, rule: Rule) -> bool:
        same = rule.figure.name, f"{rule.scope}"
        return (self.row.figure, self.row.scope) == same


class LimitBook:
    """The rules with their states.

    Attributes:
        rules: Those that are in force.
    """

    def __init__(self) -> None:
        self.rules: Sequence[Rule] = ()
        self._kept: dict[str, _Kept] = {}
        self._removed: dict[str, AlertState] = {}

    def load(self, rows: Mapping[str, AlertState]) -> None:
        """Take the states of an earlier run; the time since then counts nowhere."""
        self._kept = {
            name: _Kept(_state_of(row), row)
            for name, row in rows.items()
            if row.state != _REMOVED
        }

    def evaluate(
        self,
        read: Callable[[Rule], Reading],
        now: datetime,
        channels: Sequence[str],
    ) -> list[AlertMessage]:
        """Take one reading of each rule; return the messages.

        Args:
            read: Returns the reading of a rule.
            now: The time of all readings.
            channels: The names of all channels, for rules that name none.
        """
        by_channels: dict[tuple[str, ...], list[AlertEvent]] = {}
        if ended := list(self._end_rules(now)):
            by_channels[()] = ended
        for rule in self.rules:
            reading = read(rule)
            kept = self._kept.get(rule.name)
            before = LimitState(since=now) if kept is None else kept.state
            after, event = step(rule.limit, before, reading, now)
            self._kept[rule.name] = _Kept(after, _row(rule, after, reading, now))
            if event is not None:
                to = tuple(channels if rule.channels is None else rule.channels)
                by_channels.setdefault(to, []).append(event_row(rule, event))
        return [
            AlertMessage(id=uuid4(), channels=to, events=events)
            for to, events in by_channels.items()
        ]

    def rows(self) -> list[AlertState]:
        """Return the present rows, with those of removed rules."""
        return [each.row for each in self._kept.values()] + [*self._removed.values()]

    def forget_removed(self) -> None:
        """Forget the rules that were removed, because their rows are written."""
        self._removed.clear()

    def _end_rules(self, now: datetime) -> Iterator[AlertEvent]:
        """Remove the states of rules that are gone, or are about something else now."""
        present = {each.name: each for each in self.rules}
        for name, kept in [*self._kept.items()]:
            rule = present.get(name)
            if rule is not None and kept.is_about(rule):
                continue
            del self._kept[name]
            if rule is None:
                self._removed[name] = msgspec.structs.replace(
                    kept.row, state=_REMOVED, since=now
                )
            if kept.state.status in _TOLD:
                yield _ended(kept, now, is_removed=rule is None)
        for name in present.keys() & self._removed.keys():
            del self._removed[name]


def _ended(kept: _Kept, now: datetime, *, is_removed: bool) -> AlertEvent:
    row = kept.row
    to_state = _REMOVED if is_removed else "new"
    return AlertEvent(
        at=now,
        rule=row.rule,
        kind="ended",
        from_state=row.state,
        to_state=to_state,
        severity=row.severity,
        figure=row.figure,
        scope=row.scope,
        value=None,
        unit=row.unit,
        threshold=row.threshold,
        positions=row.positions,
        missing=row.missing,
        stale=row.stale,
        message=ended_words(row.rule, row.state, is_removed=is_removed),
    )


def _row(rule: Rule, state: LimitState, reading: Reading, now: datetime) -> AlertState:
    reason = "the market is closed" if reading.is_closed else reading.gap(rule.limit)
    return AlertState(
        rule=rule.name,
        figure=rule.figure.name,
        scope=f"{rule.scope}",
        unit=rule.unit(reading.currency),
        threshold=rule.threshold,
        severity=rule.severity,
        market_hours=rule.market,
        state=state.status,
        since=state.since,
        known_state=state.known,
        value=state.value,
        value_at=state.value_at,
        positions=reading.positions,
        missing=reading.missing,
        stale=reading.stale,
        reason=reason or None,
        beyond_s=state.beyond_s,
        unknown_s=state.unknown_s,
        told_at=state.told_at,
        evaluated_at=now,
    )


def _state_of(row: AlertState) -> LimitState:
    # The checks of the table and its only writer keep these words.  The time until the next
    # reading counts nowhere: there is no reading of this run yet.
    return LimitState(
        status=cast("Status", row.state),
        since=row.since,
        known=cast("Known | None", row.known_state),
        told_at=row.told_at,
        beyond_s=row.beyond_s,
        unknown_s=row.unknown_s,
        value=row.value,
        value_at=row.value_at,
    )
