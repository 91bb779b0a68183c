"""DXLink frames -> events.  No I/O, no clock, no event loop.

Feed each websocket frame to `DxlinkProtocol.receive_frame`; it returns the events of
the frame, oldest first.  Requests are encoded by
`greeks_trio.brokers.tastytrade.dxlink_requests`.

The server decides how it packs events: FEED_CONFIG announces, per event type, the
columns of the COMPACT format, at any time and in parts that add up.  Those columns are
the only state here, and they die with the connection.  Whether events come COMPACT or
FULL is seen from the shape of the data, because a server may switch.

Values are dxFeed's own units, which are the canonical ones of
`greeks_trio.model.records`; ``volatility`` is a fraction.

Source: dxLink specification 1.0.2, https://github.com/dxFeed/dxLink
"""

from __future__ import annotations

import json
import re
from typing import Final, TypeAlias

import msgspec
from msgspec import Raw

from greeks_trio.brokers.tastytrade.dxlink_rows import (
    PARSERS,
    GreeksEvent,
    Ignored,
    OddRows,
    QuoteEvent,
    RowEvent,
    TradeEvent,
    odd_rows,
    parse_full,
    read_integer,
)
from greeks_trio.errors import ProtocolViolation

_Data: TypeAlias = list[str | list[Raw] | dict[str, Raw]]


class Setup(msgspec.Struct, frozen=True, tag="SETUP", rename="camel"):
    """The server's side of the handshake.

    ``keepalive_timeout``: seconds of our silence after which it may hang up.
    """

    keepalive_timeout: float | None = None


class AuthState(msgspec.Struct, frozen=True, tag="AUTH_STATE"):
    """``AUTHORIZED``, or ``UNAUTHORIZED``: a token is wanted."""

    state: str


class KeepAlive(msgspec.Struct, frozen=True, tag="KEEPALIVE"):
    """The server is alive."""


class ChannelOpened(msgspec.Struct, frozen=True, tag="CHANNEL_OPENED"):
    """The channel takes requests."""

    channel: int


class ChannelClosed(msgspec.Struct, frozen=True, tag="CHANNEL_CLOSED"):
    """The channel is gone, perhaps without our asking."""

    channel: int


class FeedConfig(msgspec.Struct, frozen=True, tag="FEED_CONFIG", rename="camel"):
    """The server announced how it packs events; already taken into account.

    ``aggregation_period``: seconds for which it keeps back all but the last event of an
    instrument; 0 is none.
    """

    channel: int
    aggregation_period: float | None = None
    event_fields: dict[str, list[str]] | None = None


class ServerError(msgspec.Struct, frozen=True, tag="ERROR"):
    """The server did not like something.  It says nothing about the connection."""

    channel: int = 0
    error: str | None = None
    message: str | None = None


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


class _FeedData(msgspec.Struct, tag="FEED_DATA", gc=False):
    channel: int
    data: _Data


class _LooseFrame(msgspec.Struct, rename="camel"):
    type: str
    channel: int | None = None
    data: Raw = Raw(b"null")
    event_fields: Raw = Raw(b"{}")


_FRAME: Final = msgspec.json.Decoder(
    Setup
    | AuthState
    | KeepAlive
    | ChannelOpened
    | ChannelClosed
    | FeedConfig
    | ServerError
    | _FeedData
)
_KNOWN_TYPES: Final = frozenset(
    (
        "SETUP",
        "AUTH_STATE",
        "KEEPALIVE",
        "CHANNEL_OPENED",
        "CHANNEL_CLOSED",
        "FEED_CONFIG",
        "ERROR",
    )
)
_LOOSE_FRAME: Final = msgspec.json.Decoder(_LooseFrame)
_RAW_LIST: Final = msgspec.json.Decoder(list[Raw])
_PART: Final = msgspec.json.Decoder(str | list[Raw] | dict[str, Raw])
_FIELDS: Final = msgspec.json.Decoder(dict[str, Raw])
_COLUMNS: Final = msgspec.json.Decoder(list[str])
_SURROGATES: Final = re.compile("[\ud800-\udfff]")
_ESCAPED_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")


class DxlinkProtocol:
    """One connection's worth of announced columns.  Make a new one per connection."""

    def __init__(self) -> None:
        # (channel, event type) -> how many values make one event, and the template
        # that turns them into a JSON object.
        self._columns: dict[tuple[int, str], tuple[int, bytes]] = {}

    def receive_frame(self, frame: str | bytes) -> list[Event]:
        """Take one frame and return its events, oldest first.

        Raises:
            ProtocolViolation: nothing of the frame makes sense; count it, read on.
        """
        text = _text(frame)
        try:
            message = _FRAME.decode(text)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return self._receive_odd(text)
        if type(message) is _FeedData:
            return self._events(message.channel, message.data)
        if isinstance(message, FeedConfig):
            self._announce(message)
        return [message]

    def _announce(self, config: FeedConfig) -> None:
        for event_type, columns in (config.event_fields or {}).items():
            template = b",".join(
                msgspec.json.encode(column).replace(b"%", b"%%") + b":%b"
                for column in columns
            )
            self._columns[config.channel, event_type] = (
                len(columns),
                b"{%b}" % template,
            )

    def _events(self, channel: int, parts: _Data) -> list[Event]:
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
                events += self._compact_events(channel, event_type, part)
                event_type = None
        return events

    def _compact_events(
        self, channel: int, event_type: str, values: list[Raw]
    ) -> list[RowEvent]:
        announced = self._columns.get((channel, event_type))
        if announced is None:
            return [odd_rows("unannounced-type", values, event_type)]
        width, template = announced
        if width == 0 or len(values) % width:
            return [odd_rows("incomplete-row", values, event_type)]
        if event_type not in PARSERS:
            return [Ignored("other-type")]
        parse = PARSERS[event_type]
        return [
            parse(template % tuple(values[start : start + width]))
            for start in range(0, len(values), width)
        ]

    def _receive_odd(self, frame: str) -> list[Event]:
        """Return what can be saved of a frame that is not exactly as expected."""
        try:
            loose = _LOOSE_FRAME.decode(frame)
        except msgspec.ValidationError:
            raise ProtocolViolation("not-a-message", frame=frame) from None
        except (msgspec.DecodeError, UnicodeError) as exc:
            mended = _without_lone_surrogates(frame)
            if mended is None:
                raise ProtocolViolation("not-json", frame=frame) from exc
            return [Ignored("mended-text"), *self.receive_frame(mended)]
        except RecursionError:
            raise ProtocolViolation("too-deep", frame=frame) from None
        if loose.type == "FEED_DATA":
            return self._receive_odd_data(loose, frame)
        if loose.type == "FEED_CONFIG" and loose.channel is not None:
            return self._receive_odd_config(loose.channel, loose.event_fields, frame)
        if loose.type in _KNOWN_TYPES:
            raise ProtocolViolation("bad-fields", frame=frame)
        return [Ignored("unknown-message")]

    def _receive_odd_config(self, channel: int, fields: Raw, frame: str) -> list[Event]:
        """Take the columns that can be read and forget those that cannot.

        Rows in the old columns would have wrong values; without columns they are odd.
        """
        try:
            announced = _FIELDS.decode(fields)
        except (msgspec.DecodeError, RecursionError):
            self._columns = {
                key: columns
                for key, columns in self._columns.items()
                if key[0] != channel
            }
            return [OddRows("bad-config", frame)]
        readable: dict[str, list[str]] = {}
        for event_type, raw in announced.items():
            try:
                readable[event_type] = _COLUMNS.decode(raw)
            except (msgspec.DecodeError, RecursionError):
                self._columns.pop((channel, event_type), None)
        self._announce(FeedConfig(channel, event_fields=readable))
        return [OddRows("bad-config", frame)]

    def _receive_odd_data(self, loose: _LooseFrame, frame: str) -> list[Event]:
        """Take the parts of FEED_DATA one by one, because one of them is odd."""
        try:
            raw_parts = _RAW_LIST.decode(loose.data)
        except msgspec.DecodeError:
            raise ProtocolViolation("bad-data", frame=frame) from None
        if loose.channel is None:
            raise ProtocolViolation("bad-data", frame=frame)
        events: list[Event] = []
        parts: _Data = []
        for raw in raw_parts:
            try:
                parts.append(_PART.decode(raw))
            except (msgspec.DecodeError, RecursionError):
                events.append(odd_rows("bad-part", [raw]))
        events.extend(self._events(loose.channel, parts))
        return events


def _text(frame: str | bytes) -> str:
    # Whole, because msgspec does not look into the strings that it skips.
    try:
        return frame if isinstance(frame, str) else frame.decode()
    except UnicodeDecodeError:
        raise ProtocolViolation("bad-utf8", frame=frame) from None


def _without_lone_surrogates(text: str) -> str | None:
    """Return the frame with U+FFFD for surrogates that msgspec refuses, else `None`.

    JSON allows an escaped half of a character, UTF-8 does not.
    """
    try:
        if not (_ESCAPED_SURROGATE.search(text) or _SURROGATES.search(text)):
            return None
        value = json.loads(text, parse_int=read_integer)
        mended = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError):
        return None
    mended = _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", mended)
    return None if mended == text else mended
