"""The messages of a DXLink server, as types and as decoders for them.  Pure.

Source: dxLink specification 1.0.2, https://github.com/dxFeed/dxLink
"""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec
from msgspec import Raw

# What FEED_DATA carries: names of event types, values in columns, or whole events.
Data: TypeAlias = list[str | list[Raw] | dict[str, Raw]]


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


class FeedData(msgspec.Struct, frozen=True, tag="FEED_DATA", gc=False):
    """Events, packed as the server likes."""

    channel: int
    data: Data


class LooseFrame(msgspec.Struct, rename="camel"):
    """Any message at all, as far as it has a type."""

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
