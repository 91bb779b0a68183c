"""The words of alerts about limits.  Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Final, get_args

from greeks_trio.alerts.rules import Rule, Severity, number_text
from greeks_trio.model.alerts import AlertEvent, AlertMessage
from greeks_trio.risk.limits import LimitEvent, Reading

_KINDS: Final = {
    "breach": "breach",
    "recovery": "recovery",
    "unknown": "not known",
    "reminder": "still in breach",
    "ended": "ended",
}
_MINUTE_S: Final = 60
_HOUR_S: Final = 3_600
# A title that names more rules is too long for a phone.
_MOST_NAMED: Final = 3


def title_of(message: AlertMessage, source: str) -> str:
    """Return one line that tells the most severe event, or the number of events.

    Args:
        message: The message.
        source: The name of this service.
    """
    events = message.events
    worst = max((each.severity for each in events), key=get_args(Severity).index)
    if len(events) == 1:
        return f"{source}: {worst}: {events[0].rule}: {_KINDS[events[0].kind]}"
    named = [f"{each.rule} ({_KINDS[each.kind]})" for each in events[:_MOST_NAMED]]
    rest = len(events) - len(named)
    more = f" and {rest} more" if rest else ""
    return f"{source}: {worst}: {', '.join(named)}{more}"


def text_of(message: AlertMessage) -> str:
    """Return a line for each event, and the time: a message may arrive much later."""
    lines = [each.message for each in message.events]
    return "\n".join([*lines, f"As of {time_text(message.events[0].at)}."])


def words_of(rule: Rule, event: LimitEvent) -> str:
    """Return the sentence for people, with the figure, its scope and the counts."""
    return f"{rule.name}: {_SENTENCES[event.kind](rule, event)}"


def _breach(rule: Rule, event: LimitEvent) -> str:
    again = "known again, " if event.before.status == "unknown" else ""
    held = f" for {duration_text(rule.limit.hold_s)}" if rule.limit.hold_s else ""
    if event.before.known == "breached":
        held = ""  # it is the breach of before
    return (
        f"{rule.subject} is {again}{_value(rule, event.reading)}, "
        f"{rule.threshold}{held}. {_counts(event.reading)}"
    )


def _recovery(rule: Rule, event: LimitEvent) -> str:
    before = event.before
    known = "known again, " if before.status == "unknown" else ""
    lasted = ""
    if before.status == "breached":
        seconds = (event.at - before.since).total_seconds()
        lasted = f" The breach lasted {duration_text(seconds)}."
    return (
        f"{rule.subject} is {known}{_value(rule, event.reading)}, within the limit "
        f"({rule.threshold}).{lasted} {_counts(event.reading)}"
    )


def _unknown(rule: Rule, event: LimitEvent) -> str:
    known, value = event.before.known, event.before.value
    last = "It was never known."
    if known is not None and value is not None and event.before.value_at is not None:
        was = "in breach" if known == "breached" else "within the limit"
        last = (
            f"It was {was} before; the last value was {number_text(value)} at "
            f"{time_text(event.before.value_at)}."
        )
    return (
        f"{rule.subject} is not known, so this rule ({rule.threshold}) cannot speak: "
        f"{event.reading.gap(rule.limit)}. {last}"
    )


def _reminder(rule: Rule, event: LimitEvent) -> str:
    return (
        f"{rule.subject} is still {_value(rule, event.reading)}, {rule.threshold}, since "
        f"{time_text(event.before.since)}. {_counts(event.reading)}"
    )


_SENTENCES: Final = {
    "breach": _breach,
    "recovery": _recovery,
    "unknown": _unknown,
    "reminder": _reminder,
}


def ended_words(rule: str, state: str, *, is_removed: bool) -> str:
    """Return the sentence for a rule that ends while it is breached or unknown."""
    cause = "was removed from" if is_removed else "has another figure or scope in"
    return f"{rule}: the rule {cause} alerts.toml while it was {state}."


def event_row(rule: Rule, event: LimitEvent) -> AlertEvent:
    """Return the row of an event."""
    reading = event.reading
    return AlertEvent(
        at=event.at,
        rule=rule.name,
        kind=event.kind,
        from_state=event.before.status,
        to_state=event.after.status,
        severity=rule.severity,
        figure=rule.figure.name,
        scope=f"{rule.scope}",
        value=reading.value,
        unit=rule.unit(reading.currency),
        threshold=rule.threshold,
        positions=reading.positions,
        missing=reading.missing,
        stale=reading.stale,
        message=words_of(rule, event),
    )


def _value(rule: Rule, reading: Reading) -> str:
    assert reading.value is not None  # noqa: S101 - the event has one
    return f"{number_text(reading.value)} {rule.unit(reading.currency)}"


def _counts(reading: Reading) -> str:
    words = f"{reading.positions} {reading.of}"
    if reading.positions == 1:
        words = words.removesuffix("s")
    lacks = [
        f"{number} {what}"
        for number, what in ((reading.missing, "missing"), (reading.stale, "stale"))
        if number
    ]
    return f"{words}, {', '.join(lacks)}." if lacks else f"{words}."


def duration_text(seconds: float) -> str:
    """Return a time in whole seconds, minutes or hours."""
    if seconds < 2 * _MINUTE_S:
        return f"{seconds:.0f} s"
    if seconds < 2 * _HOUR_S:
        return f"{seconds / _MINUTE_S:.0f} min"
    return f"{seconds / _HOUR_S:.1f} h"


def time_text(moment: datetime) -> str:
    """Return a moment in UTC, to the second."""
    return f"{moment:%Y-%m-%d %H:%M:%S}Z"
