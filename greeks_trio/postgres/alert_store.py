"""States, events and deliveries of alerts in their tables.

A message is written before it is sent, and its deliveries again after it.  Each write can be
repeated: an event has the id of its message and the name of its rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeVar

import msgspec
import psycopg
from psycopg.rows import class_row

from greeks_trio.model.alerts import (
    AlertDelivery,
    AlertEvent,
    AlertMessage,
    AlertState,
)
from greeks_trio.postgres.lease import Lease

# In the order of the fields.
STATE_COLUMNS: Final = AlertState.__struct_fields__
EVENT_COLUMNS: Final = AlertEvent.__struct_fields__
_NAMES: Final = ", ".join(STATE_COLUMNS)
_LOAD: Final = f"select {_NAMES} from alert_states"  # noqa: S608 - our own names
_UPSERT: Final = (
    f"insert into alert_states ({_NAMES})"  # noqa: S608 - our own names
    f" values ({', '.join(['%s'] * len(STATE_COLUMNS))})"
    " on conflict (rule) do update set "
    + ", ".join(f"{name} = excluded.{name}" for name in STATE_COLUMNS[1:])
)
_EVENT: Final = (
    f"insert into alert_events (message_id, {', '.join(EVENT_COLUMNS)})"  # noqa: S608
    f" values (%s, {', '.join(['%s'] * len(EVENT_COLUMNS))})"
    " on conflict (message_id, rule) do nothing"
)
_LAST_EVENT: Final = """
update alert_states s set last_event_id = e.id
from alert_events e
where e.message_id = %s and s.rule = e.rule
"""
_DELIVERY: Final = """
insert into alert_deliveries (message_id, channel) values (%s, %s)
on conflict (message_id, channel) do nothing
"""
_FINISH: Final = """
update alert_deliveries
set attempts = attempts + %s, outcome = %s, reason = %s, finished_at = %s
where message_id = %s and channel = %s and finished_at is null
"""
_WAITING: Final = f"""
select
    d.message_id, d.channels,
    {", ".join(f"e.{name}" for name in EVENT_COLUMNS)}
from (
    select message_id, array_agg(channel order by channel) as channels
    from alert_deliveries where finished_at is null
    group by message_id
) d
join alert_events e on e.message_id = d.message_id
order by e.id
"""  # noqa: S608 - our own names
_PRESENT: Final = f"""
select {", ".join(f"e.{name}" for name in EVENT_COLUMNS)}
from alert_states s join alert_events e on e.id = s.last_event_id
where s.state in ('breached', 'unknown')
order by e.id
"""  # noqa: S608 - our own names

_Struct = TypeVar("_Struct", bound=msgspec.Struct)


async def load_states(
    connection: psycopg.AsyncConnection[Any],
) -> dict[str, AlertState]:
    """Return the state of each rule, removed ones included, by the name of the rule."""
    async with connection.cursor(row_factory=class_row(AlertState)) as cursor:
        await cursor.execute(_LOAD)
        return {each.rule: each for each in await cursor.fetchall()}


async def load_waiting(
    connection: psycopg.AsyncConnection[Any],
) -> list[AlertMessage]:
    """Return the messages that have not been delivered to every channel, oldest first.

    Each names the channels that have not got it.
    """
    cursor = await connection.execute(_WAITING)
    found: dict[Any, tuple[Sequence[str], list[AlertEvent]]] = {}
    for message_id, channels, *values in await cursor.fetchall():
        events = found.setdefault(message_id, (channels, []))[1]
        events.append(_struct(AlertEvent, values))
    return [
        AlertMessage(id=message_id, channels=channels, events=events)
        for message_id, (channels, events) in found.items()
    ]


async def load_present(
    connection: psycopg.AsyncConnection[Any],
) -> list[AlertEvent]:
    """Return the last event of each rule that is breached or unknown, oldest first."""
    cursor = await connection.execute(_PRESENT)
    return [_struct(AlertEvent, values) for values in await cursor.fetchall()]


async def record(
    connection: psycopg.AsyncConnection[Any],
    states: Iterable[AlertState],
    messages: Iterable[AlertMessage],
    deliveries: Iterable[AlertDelivery],
    lease: Lease,
) -> None:
    """Write all of it in one transaction; it can be repeated.

    Args:
        connection: In autocommit.
        states: The states of all rules, and of removed ones.
        messages: New ones; their deliveries are waiting afterwards.
        deliveries: Those that ended.
        lease: It must be ours.

    Raises:
        LeaseLost: another service has the lease; nothing is written.
    """
    async with connection.transaction(), connection.cursor() as cursor:
        await lease.guard(connection)
        await cursor.executemany(_UPSERT, map(msgspec.structs.astuple, states))
        for message in messages:
            await cursor.executemany(
                _EVENT,
                [
                    (message.id, *msgspec.structs.astuple(event))
                    for event in message.events
                ],
            )
            await cursor.execute(_LAST_EVENT, [message.id])
            await cursor.executemany(
                _DELIVERY, [(message.id, channel) for channel in message.channels]
            )
        await _finish(cursor, deliveries)


async def record_deliveries(
    connection: psycopg.AsyncConnection[Any], deliveries: Iterable[AlertDelivery]
) -> None:
    """Write deliveries that ended, also without the lease: they are of our messages.

    Args:
        connection: In autocommit.
        deliveries: Those that ended.
    """
    async with connection.transaction(), connection.cursor() as cursor:
        await _finish(cursor, deliveries)


async def _finish(
    cursor: psycopg.AsyncCursor[Any], deliveries: Iterable[AlertDelivery]
) -> None:
    await cursor.executemany(
        _FINISH,
        [
            (
                each.attempts,
                "sent" if each.reason is None else "failed",
                each.reason,
                each.finished_at,
                each.message_id,
                each.channel,
            )
            for each in deliveries
        ],
    )


def _struct(of: type[_Struct], values: Sequence[Any]) -> _Struct:
    return of(**dict(zip(of.__struct_fields__, values, strict=True)))
