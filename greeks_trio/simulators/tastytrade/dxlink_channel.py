"""One feed channel of a simulated DXLink server: its events and their format.  No I/O.

A channel remembers its client's wishes (format, period, columns), the event types that
it has announced in FEED_CONFIG, its subscriptions, and its waiting events.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from itertools import islice
from operator import itemgetter
from typing import Final

import msgspec

from greeks_trio.simulators.tastytrade.dxlink_events import (
    EVENT_FIELDS,
    FeedEvent,
    empty_greeks_snapshot,
    other_columns,
)
from greeks_trio.simulators.tastytrade.dxlink_messages import (
    FeedSetup,
    Outgoing,
    Subscription,
    encode_data,
    encode_message,
)
from greeks_trio.simulators.tastytrade.greeks_tape import GreeksTape

# Events that may wait for a slow client.  Enough for the last value of every symbol of
# the largest subscription; about 1 KB each, so 30 MB at worst.  Further events are
# dropped and are not in the ledger.
MAX_WAITING: Final = 30_000
# With Greeks of 200 bytes a frame stays below the 64 KiB that some clients accept.
ROWS_PER_FRAME: Final = 250
_MARKER_ROWS: Final = 0.05


class FeedChannel:
    """One channel of one client: its setup and its subscriptions."""

    def __init__(
        self,
        number: int,
        tape: GreeksTape,
        seed: int,
        on_event: Callable[[], None],
        is_mute: Callable[[], bool],
    ) -> None:
        self.number = number
        # The time from which waiting events may be sent, on the connection's clock.
        self.due_at = -math.inf
        self._tape = tape
        self._random = random.Random(seed)
        self._on_event = on_event
        self._is_mute = is_mute
        self._period_s = 0.0
        self._format = "COMPACT"
        self._columns = dict(EVENT_FIELDS)
        # The format and columns in use; during a fault they differ from the wishes.
        self._served_format = self._format
        self._served_columns = self._columns
        self._leaves_out_rho = False
        self._announced: set[str] = set()
        self._subscriptions: dict[Subscription, None] = {}
        self._waiting: list[FeedEvent] = []
        self._apply_wishes()

    @property
    def size(self) -> int:
        """How many entries are subscribed."""
        return len(self._subscriptions)

    @property
    def has_waiting(self) -> bool:
        """Whether there are waiting events."""
        return bool(self._waiting)

    def set_up(self, wish: FeedSetup) -> Iterator[Outgoing]:
        """Apply a FEED_SETUP, the first or a later one, and yield the answer.

        Waiting events come first, in the format announced before.  The answer has
        columns only if there are subscriptions already.
        """
        yield from self.take_waiting()
        if wish.accept_aggregation_period is not None:
            self._period_s = max(0.0, wish.accept_aggregation_period)
        if wish.accept_data_format in ("FULL", "COMPACT"):
            self._format = wish.accept_data_format
        for kind, names in (wish.accept_event_fields or {}).items():
            known = EVENT_FIELDS.get(kind, ())
            columns = tuple(name for name in names if name in known)
            if columns:
                self._columns[kind] = columns
        yield from self.announce()

    def announce(self) -> Iterator[Outgoing]:
        """Yield the waiting events, then the present FEED_CONFIG."""
        yield from self.take_waiting()
        self._apply_wishes()
        yield self._config(self._announced)

    def subscribe(self, wanted: list[Subscription]) -> Iterator[Outgoing]:
        """Add subscriptions; yield the FEED_CONFIG that new event types need."""
        kinds = {each.type for each in wanted if each.type in self._columns}
        if not kinds <= self._announced:
            yield from self.take_waiting()
            yield self._config(kinds - self._announced)
            self._announced |= kinds
        for each in wanted:
            if each.type == "Greeks" and self._sends_marker(each):
                self.push(empty_greeks_snapshot(each.symbol))
            self._subscriptions[each] = None
            self._tape.subscribe(each.type, each.symbol, self.push)

    def unsubscribe(self, unwanted: list[Subscription]) -> None:
        """Remove subscriptions; ignore unknown ones."""
        for each in unwanted:
            if self._subscriptions.pop(each, False) is None:
                self._tape.unsubscribe(each.type, each.symbol, self.push)

    def reset(self) -> None:
        """Remove every subscription."""
        self.unsubscribe(list(self._subscriptions))

    def push(self, event: FeedEvent) -> None:
        """Queue an event; drop it when the queue is full or the client is muted."""
        if self._is_mute():
            return
        if len(self._waiting) < MAX_WAITING:
            self._waiting.append(event)
            self._on_event()

    def take_due(self, now: float) -> Iterator[Outgoing]:
        """Yield the waiting events if the aggregation period is over."""
        if self._waiting and now >= self.due_at:
            self.due_at = _next_period(now, self._period_s)
            yield from self.take_waiting()

    def take_waiting(self) -> Iterator[Outgoing]:
        """Yield all waiting events, as frames in the announced format."""
        waiting, self._waiting = self._waiting, []
        for events in self._grouped(waiting):
            left = iter(events)
            while part := list(islice(left, ROWS_PER_FRAME)):
                yield self._render(part)

    def take_huge(self, size: float) -> Iterator[Outgoing]:
        """Yield the waiting events, then one frame of at least ``size`` bytes.

        The frame repeats one new event of each subscribed option.
        """
        symbols = [each.symbol for each in self._subscriptions if each.type == "Greeks"]
        told = [each for each in symbols if self._tape.has_greeks(each)]
        if told and not self._is_mute():
            events = [self._tape.make_greeks(each) for each in told]
            yield from self.take_waiting()
            copies = math.ceil(size / len(self._render(events).text))
            yield self._render(events * (copies + 1))

    def send_markers(self) -> None:
        """Queue an empty snapshot for each subscribed option that has Greeks."""
        if "eventFlags" in self._served_columns["Greeks"]:
            for each in self._subscriptions:
                if each.type == "Greeks" and self._tape.has_greeks(each.symbol):
                    self.push(empty_greeks_snapshot(each.symbol))

    def _grouped(self, events: list[FeedEvent]) -> list[list[FeedEvent]]:
        """Group the events by type: some clients read only the first pair of a frame."""
        if self._tape.conditions.holds("packed"):
            return [events]
        groups: dict[str, list[FeedEvent]] = {}
        for event in events:
            groups.setdefault(event.kind, []).append(event)
        return list(groups.values())

    def _render(self, events: list[FeedEvent]) -> Outgoing:
        is_full = self._served_format == "FULL"
        rows = self._full(events) if is_full else self._flat(events)
        if self._leaves_out_rho:
            for event in events:
                _forget_rho(event)
        return encode_data(self.number, rows, events)

    def _flat(self, events: list[FeedEvent]) -> list[object]:
        """Return one list with the type and the values of each event type."""
        rows: dict[str, list[object]] = {}
        columns = self._served_columns
        getters = {kind: itemgetter(*columns[kind]) for kind in self._announced}
        for event in events:
            values = getters[event.kind](event.values)
            flat = rows.setdefault(event.kind, [])
            if len(columns[event.kind]) == 1:
                flat.append(values)
            else:
                flat.extend(values)
        return [part for pair in rows.items() for part in pair]

    def _full(self, events: list[FeedEvent]) -> list[object]:
        return [
            {"eventType": event.kind}
            | {name: event.values[name] for name in self._served_columns[event.kind]}
            for event in events
        ]

    def _config(self, kinds: set[str]) -> Outgoing:
        fields = {kind: self._served_columns[kind] for kind in sorted(kinds)}
        return encode_message(
            "FEED_CONFIG",
            self.number,
            dataFormat=self._served_format,
            aggregationPeriod=self._period_s,
            **({"eventFields": fields} if fields else {}),
        )

    def _apply_wishes(self) -> None:
        conditions = self._tape.conditions
        is_full = conditions.holds("full-format")
        self._served_format = "FULL" if is_full else self._format
        self._served_columns = dict(self._columns)
        if conditions.holds("columns"):
            for kind, columns in self._columns.items():
                self._served_columns[kind] = other_columns(kind, columns)
        self._leaves_out_rho = (
            "rho" in self._columns["Greeks"]
            and "rho" not in self._served_columns["Greeks"]
        )

    def _sends_marker(self, wanted: Subscription) -> bool:
        return (
            "eventFlags" in self._served_columns["Greeks"]
            and self._tape.has_greeks(wanted.symbol)
            and self._random.random() < _MARKER_ROWS
        )


def _next_period(now: float, period_s: float) -> float:
    """Return the start of the next period; all servers cut the time at the same moments."""
    return (now // period_s + 1.0) * period_s if period_s else now


def _forget_rho(event: FeedEvent) -> None:
    """Remove rho from the note, so that the ledger equals the frame."""
    note = event.note
    if note is not None:
        greeks = msgspec.structs.replace(note.greeks, rho=None)
        event.note = msgspec.structs.replace(note, greeks=greeks)
