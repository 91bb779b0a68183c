"""The records of alerts: the state of a rule, its events, and the way of a message."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, TypeAlias
from uuid import UUID

import msgspec

AlertKind: TypeAlias = Literal["breach", "recovery", "unknown", "reminder", "ended"]


class AlertEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One message about one rule; a row of ``alert_events``.

    Attributes:
        at: The time of the reading that is the cause.
        from_state: The state before it, as is ``to_state`` after it.
        value: In the unit; `None` if it is not known.
        positions: The number of positions of the scope, as are those that the sum lacks,
            and those that are stale.
        message: The text for people.
    """

    at: datetime
    rule: str
    kind: AlertKind
    from_state: str
    to_state: str
    severity: str
    figure: str
    scope: str
    value: float | None
    unit: str
    threshold: str
    positions: int
    missing: int
    stale: int
    message: str


class AlertState(msgspec.Struct, frozen=True, kw_only=True):
    """A rule and its state; a row of ``alert_states``, whose comments explain the columns."""

    rule: str
    figure: str
    scope: str
    unit: str
    threshold: str
    severity: str
    market_hours: str | None
    state: str
    since: datetime
    known_state: str | None
    value: float | None
    value_at: datetime | None
    positions: int
    missing: int
    stale: int
    reason: str | None
    beyond_s: float
    unknown_s: float
    told_at: datetime | None
    evaluated_at: datetime


class AlertMessage(msgspec.Struct, frozen=True, kw_only=True):
    """The events of one moment for the same channels.

    Attributes:
        id: The same whenever the message is sent again.
        channels: The names of its channels; may be empty.
    """

    id: UUID
    channels: Sequence[str]
    events: Sequence[AlertEvent]


class AlertDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """The end of the way of one message to one channel.

    Attributes:
        reason: Why the last attempt failed; `None` if the channel took the message.
    """

    message_id: UUID
    channel: str
    attempts: int
    reason: str | None
    finished_at: datetime
