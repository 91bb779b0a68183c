"""The columns that a DXLink server announced, and rows in them -> events.  Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

import msgspec
from msgspec import Raw

from greeks_trio.brokers.tastytrade.wire.messages import Ignored, RowEvent, odd_rows
from greeks_trio.brokers.tastytrade.wire.rows import PARSERS

# A server may number its channels in its own way.  But a new channel in every frame must
# not cost memory each time.
MAX_OTHER_CHANNELS: Final = 4


class Columns:
    """One connection's columns, by channel and event type.

    It remembers only the types that are used, of our channels and a few others.
    """

    def __init__(self, channels: Collection[int]) -> None:
        self._channels = frozenset(channels)
        self._others: set[int] = set()
        # The number of values of one event, and the template of its JSON object.
        self._columns: dict[tuple[int, str], tuple[int, bytes]] = {}

    def __len__(self) -> int:
        """Return how many pairs of channel and type are remembered."""
        return len(self._columns)

    def announce(self, channel: int, event_type: str, names: Sequence[str]) -> None:
        """Take the columns that the server announces for its next rows."""
        if event_type not in PARSERS or not self._has_room_for(channel):
            return
        template = b",".join(
            msgspec.json.encode(name).replace(b"%", b"%%") + b":%b" for name in names
        )
        self._columns[channel, event_type] = len(names), b"{%b}" % template

    def forget(self, channel: int, event_type: str | None = None) -> None:
        """Forget a type's columns, or those of the whole channel."""
        for key in tuple(self._columns):
            if key[0] == channel and event_type in (None, key[1]):
                del self._columns[key]

    def events(
        self, channel: int, event_type: str, values: Sequence[Raw]
    ) -> list[RowEvent]:
        """Return the events of the values, oldest first."""
        if event_type not in PARSERS:
            return [Ignored("other-type")]
        is_ours = channel in self._channels
        announced = self._columns.get((channel, event_type))
        if announced is None and not is_ours:
            return [Ignored("other-channel")]
        # Only odd rows of our own channels concern our Greeks.
        meant = event_type if is_ours else None
        if announced is None:
            return [odd_rows("unannounced-type", values, meant)]
        width, template = announced
        if width == 0 or len(values) % width:
            return [odd_rows("incomplete-row", values, meant)]
        parse = PARSERS[event_type]
        return [
            parse(template % tuple(values[start : start + width]))
            for start in range(0, len(values), width)
        ]

    def _has_room_for(self, channel: int) -> bool:
        if channel in self._channels or channel in self._others:
            return True
        if len(self._others) == MAX_OTHER_CHANNELS:
            return False
        self._others.add(channel)
        return True
