"""DXLink requests -> frames.  Pure.

Source: dxLink specification 1.0.2, https://github.com/dxFeed/dxLink
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal

import msgspec

from greeks_trio.model.contracts import StreamerSymbol

EventType = Literal["Greeks", "Quote", "Trade", "TradeETH"]

# The first part names the version of the protocol, the rest the implementation.
VERSION: Final = "0.1-greeks-trio/0.1.0"

# The requested columns.  The server may leave out or reorder columns.
EVENT_FIELDS: Final[dict[EventType, tuple[str, ...]]] = {
    "Greeks": (
        "eventSymbol",
        "eventTime",
        "eventFlags",
        "index",
        "time",
        "sequence",
        "price",
        "volatility",
        "delta",
        "gamma",
        "theta",
        "rho",
        "vega",
    ),
    "Quote": ("eventSymbol", "bidTime", "bidPrice", "askTime", "askPrice"),
    "Trade": ("eventSymbol", "price", "time"),
    # Trades outside the regular session; `Trade` keeps the last one of the session.
    "TradeETH": ("eventSymbol", "price", "time"),
}

# The server limits the length of a client's message without saying to what; dxFeed's
# own client splits at 8 KiB.  More than 500 entries at a time were refused as too
# high a rate.
MAX_REQUEST_BYTES: Final = 8_000
MAX_REQUEST_ENTRIES: Final = 500


class Subscription(msgspec.Struct, frozen=True):
    """One event type of one instrument."""

    type: EventType
    symbol: StreamerSymbol


def encode_setup(*, keepalive_timeout_s: int, accept_keepalive_timeout_s: int) -> str:
    """Return the first frame of a connection.

    Args:
        keepalive_timeout_s: The longest that we will be silent.
        accept_keepalive_timeout_s: The longest that the server should be.
    """
    return _encode(
        "SETUP",
        0,
        version=VERSION,
        keepaliveTimeout=keepalive_timeout_s,
        acceptKeepaliveTimeout=accept_keepalive_timeout_s,
    )


def encode_auth(token: str) -> str:
    """Return the frame that presents the quote token."""
    return _encode("AUTH", 0, token=token)


def encode_keepalive() -> str:
    """Return the frame that says that we are alive."""
    return _encode("KEEPALIVE", 0)


def encode_channel_request(channel: int) -> str:
    """Return the frame that opens a channel of the feed; the number must be odd."""
    if channel % 2 == 0:
        raise ValueError(f"channel {channel} is even: those are the server's")
    return _encode(
        "CHANNEL_REQUEST", channel, service="FEED", parameters={"contract": "AUTO"}
    )


def encode_feed_setup(channel: int, *, aggregation_period_s: float) -> str:
    """Return the frame that asks for COMPACT events of the fields we use.

    ``aggregation_period_s``: the server sends at most one event per instrument in
    that time.
    """
    return _encode(
        "FEED_SETUP",
        channel,
        acceptAggregationPeriod=aggregation_period_s,
        acceptDataFormat="COMPACT",
        acceptEventFields=EVENT_FIELDS,
    )


def encode_subscription(
    channel: int,
    *,
    add: Sequence[Subscription] = (),
    remove: Sequence[Subscription] = (),
    reset: bool = False,
    max_bytes: int = MAX_REQUEST_BYTES,
) -> list[str]:
    """Return the frames that change the subscriptions of the channel, in order.

    Each has at most `MAX_REQUEST_ENTRIES` entries and ``max_bytes`` bytes.
    """
    frames = [_encode("FEED_SUBSCRIPTION", channel, reset=True)] if reset else []
    for key, entries in (("remove", remove), ("add", add)):
        frames += [
            _encode("FEED_SUBSCRIPTION", channel, **{key: chunk})
            for chunk in _chunks(entries, max_bytes)
        ]
    return frames


def _chunks(
    entries: Iterable[Subscription], max_bytes: int
) -> Iterator[list[Subscription]]:
    chunk: list[Subscription] = []
    size = 0
    for entry in entries:
        length = len(msgspec.json.encode(entry)) + 1
        if chunk and (
            len(chunk) == MAX_REQUEST_ENTRIES
            or size + length > max_bytes - _ENVELOPE_BYTES
        ):
            yield chunk
            chunk, size = [], 0
        chunk.append(entry)
        size += length
    if chunk:
        yield chunk


# Room for type, channel and brackets.
_ENVELOPE_BYTES: Final = 100


def _encode(message_type: str, channel: int, **fields: object) -> str:
    message = {"type": message_type, "channel": channel, **fields}
    return msgspec.json.encode(message).decode()
