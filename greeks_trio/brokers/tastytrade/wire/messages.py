"""The messages of a DXLink server, as types and as decoders for them.  Pure.

Source: dxLink specification 1.0.2, https://github.com/dxFeed/dxLink
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

import msgspec
from msgspec import Raw

from greeks_trio.model.contracts import StreamerSymbol
from greeks_trio.model.records import BrokerGreeks

# What FEED_DATA carries: names of event types, values in columns, or whole events.
Data: TypeAlias = list[str | list[Raw] | dict[str, Raw]]


class Setup(msgspec.Struct, frozen=True, tag="SETUP", rename="camel"):
    """The server's side of the handshake.

    ``keepalive_timeout``: after so many seconds without a frame the server may close.
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
    """The channel is closed, perhaps without a request."""

    channel: int


class FeedConfig(msgspec.Struct, frozen=True, tag="FEED_CONFIG", rename="camel"):
    """The server announced the format of its events; the protocol has applied it.

    ``aggregation_period``: the server drops all but the last event of an instrument in
    each period of so many seconds; 0 is no period.
    """

    channel: int
    aggregation_period: float | None = None
    event_fields: dict[str, list[str]] | None = None


class ServerError(msgspec.Struct, frozen=True, tag="ERROR"):
    """The server reports an error.  The connection goes on."""

    channel: int = 0
    error: str | None = None
    message: str | None = None


class FeedData(msgspec.Struct, frozen=True, tag="FEED_DATA", gc=False):
    """Events, in any format."""

    channel: int
    data: Data


class LooseFrame(msgspec.Struct, rename="camel"):
    """Any message with a type."""

    type: str
    channel: int | None = None
    data: Raw = Raw(b"null")
    event_fields: Raw = Raw(b"{}")


FRAME: Final = msgspec.json.Decoder(
    Setup
    | AuthState
    | KeepAlive
    | ChannelOpened
    | ChannelClosed
    | FeedConfig
    | ServerError
    | FeedData
)
LOOSE_FRAME: Final = msgspec.json.Decoder(LooseFrame)
KNOWN_TYPES: Final = frozenset(
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


class GreeksEvent(BrokerGreeks, frozen=True, gc=False, kw_only=True):
    """One Greeks event; ``payload`` is an object with the server's field names."""

    symbol: StreamerSymbol


class QuoteEvent(msgspec.Struct, frozen=True, gc=False):
    """The best bid and ask of an instrument.

    ``time_ms`` is the server's time of the newer one, milliseconds since 1970; 0 if it
    tells none.
    """

    symbol: StreamerSymbol
    bid: float | None
    ask: float | None
    time_ms: int = 0


class TradeEvent(msgspec.Struct, frozen=True, gc=False):
    """The last trade of an instrument, in the regular session or outside it.

    ``time_ms`` is its time as in `QuoteEvent`.
    """

    symbol: StreamerSymbol
    price: float | None
    time_ms: int = 0


class Ignored(msgspec.Struct, frozen=True):
    """Something legal that means nothing to us; ``what`` is a word to count it by."""

    what: str


class OddRows(msgspec.Struct, frozen=True):
    """A part of a frame that makes no sense; the rest of the frame counts.

    Attributes:
        reason: A short stable word to count it by.
        text: The part, as it was sent.
        event_type: Of which events it was, `None` if that is not known.
    """

    reason: str
    text: str
    event_type: str | None = None


RowEvent: TypeAlias = GreeksEvent | QuoteEvent | TradeEvent | Ignored | OddRows


def odd_rows(
    reason: str, parts: Sequence[Raw], event_type: str | None = None
) -> OddRows:
    """Return what tells of a part of a frame that makes no sense."""
    text = b",".join(bytes(part) for part in parts)
    return OddRows(reason, text.decode("utf-8", "replace"), event_type)
