"""The messages of a simulated DXLink server, in both directions.  Pure.

Source: dxFeed/dxLink, dxlink-specification/asyncapi.yml.
"""

from __future__ import annotations

import msgspec

from greeks_trio.simulators.tastytrade.dxlink_events import FeedEvent


class Subscription(msgspec.Struct, frozen=True):
    """One entry of FEED_SUBSCRIPTION; its other fields are ignored."""

    type: str
    symbol: str


class FeedSetup(msgspec.Struct, frozen=True, rename="camel"):
    """The client's wishes for a channel: period, format, columns."""

    accept_aggregation_period: float | None = None
    accept_data_format: str | None = None
    accept_event_fields: dict[str, list[str]] | None = None


class ClientMessage(msgspec.Struct, frozen=True, rename="camel"):
    """Every field of every message that a client may send."""

    type: str
    channel: int = 0
    accept_keepalive_timeout: float | None = None
    token: str | None = None
    service: str | None = None
    parameters: dict[str, object] = {}
    add: list[Subscription] = []
    remove: list[Subscription] = []
    reset: bool = False
    accept_aggregation_period: float | None = None
    accept_data_format: str | None = None
    accept_event_fields: dict[str, list[str]] | None = None


class Outgoing(msgspec.Struct, frozen=True):
    """A frame and its events; these are written to the ledger before it is sent."""

    text: str
    events: list[FeedEvent] = []


decode_message = msgspec.json.Decoder(ClientMessage).decode
_encode = msgspec.json.Encoder().encode


def encode_message(kind: str, channel: int, **fields: object) -> Outgoing:
    """Return a frame without events."""
    message = {"type": kind, "channel": channel, **fields}
    return Outgoing(_encode(message).decode())


def encode_data(channel: int, rows: list[object], events: list[FeedEvent]) -> Outgoing:
    """Return a FEED_DATA frame of these events, which are in its rows."""
    message = {"type": "FEED_DATA", "channel": channel, "data": rows}
    return Outgoing(_encode(message).decode(), events)


def encode_error(channel: int, error: str, text: str) -> Outgoing:
    """Return an ERROR frame."""
    return encode_message("ERROR", channel, error=error, message=text)
