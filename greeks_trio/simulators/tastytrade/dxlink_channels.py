"""The channels of one DXLink connection: opened, set up, subscribed, closed.  No I/O.

The methods yield the frames for the client, in order.

Source: dxFeed/dxLink, dxlink-specification/asyncapi.yml.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from greeks_trio.simulators.tastytrade.dxlink_channel import FeedChannel
from greeks_trio.simulators.tastytrade.dxlink_messages import (
    ClientMessage,
    FeedSetup,
    Outgoing,
    encode_error,
    encode_message,
)
from greeks_trio.simulators.tastytrade.greeks_tape import GreeksTape

MAX_SUBSCRIPTIONS: Final = 25_000


class Channels:
    """All channels of an authorised client."""

    def __init__(
        self,
        tape: GreeksTape,
        on_event: Callable[[], None],
        is_mute: Callable[[], bool],
        *,
        seed: int,
    ) -> None:
        self._tape = tape
        self._on_event = on_event
        self._is_mute = is_mute
        self._seed = seed
        self._conditions = tape.conditions
        self._channels: dict[int, FeedChannel] = {}

    @property
    def size(self) -> int:
        """Entries (type and symbol) over all channels."""
        return sum(channel.size for channel in self._channels.values())

    def receive(self, message: ClientMessage) -> Iterator[Outgoing]:
        """Handle a message about a channel."""
        number = message.channel
        channel = self._channels.get(number)
        if number % 2 == 0:
            text = "Protocol violation with an even channel usage."
            yield encode_error(0, "BAD_ACTION", text)
        elif message.type == "CHANNEL_REQUEST":
            yield self._open(message)
        elif channel is None:
            yield encode_error(number, "BAD_ACTION", "The channel is not open.")
        elif message.type == "CHANNEL_CANCEL":
            channel.reset()
            del self._channels[number]
            yield encode_message("CHANNEL_CLOSED", number)
        elif message.type == "FEED_SETUP":
            wish = msgspec.convert(message, FeedSetup, from_attributes=True)
            yield from channel.set_up(wish)
        elif message.type == "FEED_SUBSCRIPTION":
            yield from self._change_subscriptions(channel, message)
        else:
            yield encode_error(number, "INVALID_MESSAGE", "Unknown message type.")

    def take_due(self, now: float) -> Iterator[Outgoing]:
        """Yield the frames that are due now."""
        for channel in self._channels.values():
            yield from channel.take_due(now)

    def next_due_at(self) -> float:
        """Return when the next frames are due; infinity if no event waits."""
        waiting = (each.due_at for each in self._channels.values() if each.has_waiting)
        return min(waiting, default=math.inf)

    def take_waiting(self) -> Iterator[Outgoing]:
        """Yield all waiting events."""
        for channel in self._channels.values():
            yield from channel.take_waiting()

    def reset(self) -> Iterator[Outgoing]:
        """End all subscriptions, and yield the waiting events."""
        for channel in self._channels.values():
            channel.reset()
        yield from self.take_waiting()

    def forget(self) -> None:
        """End all subscriptions and channels; drop the waiting events."""
        for channel in self._channels.values():
            channel.reset()
        self._channels.clear()

    def close(self) -> Iterator[Outgoing]:
        """Yield the waiting events of every channel, and close it."""
        for number, channel in self._channels.items():
            yield from channel.take_waiting()
            channel.reset()
            yield encode_message("CHANNEL_CLOSED", number)
        self._channels.clear()

    def announce(self) -> Iterator[Outgoing]:
        """Yield the waiting events, then the present configuration of each channel."""
        for channel in self._channels.values():
            yield from channel.announce()

    def take_huge(self, size: float) -> Iterator[Outgoing]:
        """Yield one frame of at least ``size`` bytes for each channel with Greeks."""
        for channel in self._channels.values():
            yield from channel.take_huge(size)

    def send_markers(self) -> None:
        """Queue an empty snapshot of each subscribed option."""
        for channel in self._channels.values():
            channel.send_markers()

    def _open(self, message: ClientMessage) -> Outgoing:
        number = message.channel
        if message.service != "FEED" or number in self._channels:
            text = "The channel cannot be opened."
            return encode_error(number, "BAD_ACTION", text)
        if self._conditions.holds("channel-close"):
            return encode_message("CHANNEL_CLOSED", number)
        self._channels[number] = FeedChannel(
            number, self._tape, self._seed + number, self._on_event, self._is_mute
        )
        return encode_message(
            "CHANNEL_OPENED",
            number,
            service="FEED",
            parameters={"contract": "AUTO", **message.parameters, "subFormat": "LIST"},
        )

    def _change_subscriptions(
        self, channel: FeedChannel, message: ClientMessage
    ) -> Iterator[Outgoing]:
        if message.reset:
            channel.reset()
        channel.unsubscribe(message.remove)
        if message.add and self._conditions.holds("rate-limit"):
            text = "Your subscription rate is too high"
            yield encode_error(channel.number, "BAD_ACTION", text)
            return
        limit = self._conditions.smallest("line-limit", MAX_SUBSCRIPTIONS)
        room = max(0, int(limit) - self.size)
        if len(message.add) > room:
            text = "Your subscription size is too big"
            yield encode_error(channel.number, "BAD_ACTION", text)
        yield from channel.subscribe(message.add[:room])
