"""DXLink frames -> events.  No I/O, no clock, no event loop.

Feed each websocket frame to `DxlinkProtocol.receive_frame`; it returns the events of
the frame, oldest first.  Requests are encoded by
`greeks_trio.brokers.tastytrade.wire.requests`.

The server chooses the format of events.  FEED_CONFIG announces, for each event type, the
columns of the COMPACT format, at any time and in parts that add up.  Those columns are
the only state here, and they end with the connection.  The shape of the data shows
whether events are COMPACT or FULL, because a server may switch.

Values are dxFeed's own units, which are the canonical ones of
`greeks_trio.model.records`; ``volatility`` is a fraction.

Source: dxLink specification 1.0.2, https://github.com/dxFeed/dxLink
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, TypeAlias

import msgspec
from msgspec import Raw

from greeks_trio.brokers.tastytrade.wire.columns import Columns
from greeks_trio.brokers.tastytrade.wire.messages import (
    FRAME,
    KNOWN_TYPES,
    LOOSE_FRAME,
    AuthState,
    ChannelClosed,
    ChannelOpened,
    Data,
    FeedConfig,
    FeedData,
    GreeksEvent,
    Ignored,
    KeepAlive,
    LooseFrame,
    OddRows,
    QuoteEvent,
    ServerError,
    Setup,
    TradeEvent,
    odd_rows,
)
from greeks_trio.brokers.tastytrade.wire.rows import parse_full
from greeks_trio.brokers.tastytrade.wire.text import (
    mended_json,
    text_of,
)
from greeks_trio.errors import ProtocolViolation

Event: TypeAlias = (
    GreeksEvent
    | QuoteEvent
    | TradeEvent
    | Setup
    | AuthState
    | KeepAlive
    | ChannelOpened
    | ChannelClosed
    | FeedConfig
    | ServerError
    | Ignored
    | OddRows
)

_RAW_LIST: Final = msgspec.json.Decoder(list[Raw])
_PART: Final = msgspec.json.Decoder(str | list[Raw] | dict[str, Raw])
_FIELDS: Final = msgspec.json.Decoder(dict[str, Raw])
_NAMES: Final = msgspec.json.Decoder(list[str])


class DxlinkProtocol:
    """One connection's worth of announced columns.  Make a new one per connection.

    Args:
        channels: Those that we open.
    """

    def __init__(self, channels: Collection[int]) -> None:
        self._columns = Columns(channels)

    def receive_frame(self, frame: str | bytes) -> list[Event]:
        """Take one frame and return its events, oldest first.

        Raises:
            ProtocolViolation: nothing of the frame makes sense; count it, read on.
        """
        text = text_of(frame)
        try:
            message = FRAME.decode(text)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return self._receive_odd(text)
        if type(message) is FeedData:
            return self._events(message.channel, message.data)
        if isinstance(message, FeedConfig):
            self._announce(message)
        return [message]

    def _announce(self, config: FeedConfig) -> None:
        for event_type, names in (config.event_fields or {}).items():
            self._columns.announce(config.channel, event_type, names)

    def _events(self, channel: int, parts: Data) -> list[Event]:
        events: list[Event] = []
        event_type: str | None = None
        for part in parts:
            if isinstance(part, str):
                event_type = part
            elif isinstance(part, dict):
                events.append(parse_full(part))
            elif event_type is None:
                events.append(odd_rows("rows-without-type", part))
            else:
                events += self._columns.events(channel, event_type, part)
                event_type = None
        return events

    def _receive_odd(self, frame: str) -> list[Event]:
        """Return the readable events of a frame that is not as expected."""
        try:
            loose = LOOSE_FRAME.decode(frame)
        except msgspec.ValidationError:
            raise ProtocolViolation("not-a-message", frame=frame) from None
        except (msgspec.DecodeError, UnicodeError) as exc:
            mended = mended_json(frame)
            if mended is None:
                raise ProtocolViolation("not-json", frame=frame) from exc
            return [Ignored("mended-text"), *self.receive_frame(mended)]
        except RecursionError:
            raise ProtocolViolation("too-deep", frame=frame) from None
        if loose.type == "FEED_DATA":
            return self._receive_odd_data(loose, frame)
        if loose.type == "FEED_CONFIG" and loose.channel is not None:
            return self._receive_odd_config(loose.channel, loose.event_fields, frame)
        if loose.type in KNOWN_TYPES:
            raise ProtocolViolation("bad-fields", frame=frame)
        return [Ignored("unknown-message")]

    def _receive_odd_config(self, channel: int, fields: Raw, frame: str) -> list[Event]:
        """Take the readable columns and forget the others.

        Rows in the old columns would have wrong values; without columns they are odd.
        """
        try:
            announced = _FIELDS.decode(fields)
        except (msgspec.DecodeError, RecursionError):
            self._columns.forget(channel)
            return [OddRows("bad-config", frame)]
        readable: dict[str, list[str]] = {}
        for event_type, raw in announced.items():
            try:
                readable[event_type] = _NAMES.decode(raw)
            except (msgspec.DecodeError, RecursionError):
                self._columns.forget(channel, event_type)
        self._announce(FeedConfig(channel, event_fields=readable))
        return [OddRows("bad-config", frame)]

    def _receive_odd_data(self, loose: LooseFrame, frame: str) -> list[Event]:
        """Take the parts of FEED_DATA one by one, because one of them is odd."""
        try:
            raw_parts = _RAW_LIST.decode(loose.data)
        except msgspec.DecodeError:
            raise ProtocolViolation("bad-data", frame=frame) from None
        if loose.channel is None:
            raise ProtocolViolation("bad-data", frame=frame)
        events: list[Event] = []
        parts: Data = []
        for raw in raw_parts:
            try:
                parts.append(_PART.decode(raw))
            except (msgspec.DecodeError, RecursionError):
                events.append(odd_rows("bad-part", [raw]))
        events.extend(self._events(loose.channel, parts))
        return events
