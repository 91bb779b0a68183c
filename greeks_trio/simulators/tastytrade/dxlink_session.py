"""The server's half of one DXLink connection: frames in, frames out.  No I/O.

It handles SETUP, authorisation, channels and subscriptions.  `take_frames` returns the
frames to send, in order.  It is as tolerant as the real server: it accepts an early AUTH,
and any number of FEED_SETUP.

Source: dxFeed/dxLink, dxlink-specification/asyncapi.yml.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from greeks_trio.simulators.tastytrade.dxlink_channels import Channels
from greeks_trio.simulators.tastytrade.dxlink_messages import (
    ClientMessage,
    Outgoing,
    decode_message,
    encode_error,
    encode_message,
)
from greeks_trio.simulators.tastytrade.greeks_tape import GreeksTape

# Announced to the client: seconds of silence after which its connection is closed.
KEEPALIVE_TIMEOUT_S: Final = 60
_VERSION: Final = "1.0-greeks_trio.simulators"
# Invalid frames that may wait for a slow client; about a hundred bytes each.
_MAX_ODD_FRAMES: Final = 1_000


class DxlinkSession:
    """One connection's state; ``on_change`` is called when there is more to send.

    Attributes:
        client_timeout_s: Seconds without a message after which the client disconnects.
        is_finished: No new frames come; `take_frames` may still return earlier ones.
    """

    def __init__(
        self,
        tape: GreeksTape,
        is_valid_token: Callable[[str], bool],
        on_change: Callable[[], None],
        *,
        seed: int,
    ) -> None:
        self.client_timeout_s: float = KEEPALIVE_TIMEOUT_S
        self.is_finished = False
        self._tape = tape
        self._is_valid_token = is_valid_token
        self._on_change = on_change
        self._is_set_up = False
        self._is_authorized = False
        self._channels = Channels(tape, on_change, self._is_mute, seed=seed)
        self._outgoing: list[Outgoing] = []
        self._is_broken = False
        self._conditions = tape.conditions

    @property
    def subscription_count(self) -> int:
        """Entries (type and symbol) over all channels."""
        return self._channels.size

    def receive_frame(self, frame: str | bytes) -> None:
        """Handle one message of the client."""
        try:
            message = decode_message(frame)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._error(0, "INVALID_MESSAGE", "Message cannot be read.")
            return
        if message.type == "SETUP":
            self._set_up(message)
        elif not self._is_set_up:
            self._error(0, "BAD_ACTION", "SETUP must come first.")
        elif message.type == "AUTH":
            self._authorize(message.token or "")
        elif message.type.startswith(("CHANNEL_", "FEED_")):
            self._receive_on_channel(message)
        elif message.type not in ("KEEPALIVE", "ERROR"):
            self._error(message.channel, "INVALID_MESSAGE", "Unknown message type.")

    def take_frames(self, now: float) -> list[Outgoing]:
        """Return the frames that are due now, in order."""
        frames, self._outgoing = self._outgoing, []
        if self._is_broken:
            return frames
        frames.extend(self._channels.take_due(now))
        return frames

    def next_due_at(self) -> float:
        """Return when `take_frames` has the next frame, if nothing changes."""
        if self._outgoing:
            return -math.inf
        if self._is_broken:
            return math.inf
        return self._channels.next_due_at()

    def keep_alive(self) -> None:
        """Send a KEEPALIVE."""
        self._send(encode_message("KEEPALIVE", 0))

    def time_out(self, silence_s: float) -> None:
        """Tell the client that it was silent for too long, and finish."""
        text = (
            "The timeout has been reached. "
            f"The message was last received {silence_s:.0f} seconds ago."
        )
        self._error(0, "TIMEOUT", text)
        self.finish()

    def finish(self) -> None:
        """End all subscriptions; waiting frames are still sent."""
        self._outgoing.extend(self._channels.reset())
        self.is_finished = True
        self._on_change()

    def abandon(self) -> None:
        """End all subscriptions of a disconnected client; nothing is sent."""
        self._channels.forget()
        self._outgoing.clear()
        self.is_finished = True
        self._on_change()

    def send_odd(self, text: str) -> None:
        """Send an invalid frame, unless too many frames wait."""
        if self._is_authorized and len(self._outgoing) < _MAX_ODD_FRAMES:
            self._send(Outgoing(text))

    def break_off(self, text: str) -> None:
        """Send the waiting events, then this frame, then nothing more.

        For a frame at which the client's WebSocket must end the connection.
        """
        self._send(*self._channels.take_waiting(), *self._channels.reset())
        self._send(Outgoing(text))
        self._is_broken = True

    def send_huge(self, size: float) -> None:
        """Send one frame of at least ``size`` bytes on each channel with Greeks."""
        self._send(*self._channels.take_huge(size))

    def send_markers(self) -> None:
        """Send an empty snapshot of each subscribed option."""
        self._channels.send_markers()

    def send_errors(self, errors: Iterable[tuple[str, str]]) -> None:
        """Send ERROR frames without a real error."""
        if self._is_authorized:
            self._send(*(encode_error(0, *each) for each in errors))

    def announce(self) -> None:
        """Send the waiting events, then the present configuration."""
        self._send(*self._channels.announce())

    def close_channels(self) -> None:
        """Send the waiting events of every channel, and close it."""
        self._send(*self._channels.close())

    def expire(self) -> None:
        """Send the waiting events, then nothing until the client sends a new token."""
        if self._is_authorized:
            self._send(*self._channels.take_waiting())
            self._is_authorized = False
            self._send(encode_message("AUTH_STATE", 0, state="UNAUTHORIZED"))

    def _set_up(self, message: ClientMessage) -> None:
        if message.accept_keepalive_timeout:
            self.client_timeout_s = max(1.0, message.accept_keepalive_timeout)
        self._send(
            encode_message(
                "SETUP",
                0,
                version=_VERSION,
                keepaliveTimeout=KEEPALIVE_TIMEOUT_S,
                acceptKeepaliveTimeout=KEEPALIVE_TIMEOUT_S,
            )
        )
        if not self._is_set_up:
            self._send(encode_message("AUTH_STATE", 0, state="UNAUTHORIZED"))
        self._is_set_up = True

    def _authorize(self, token: str) -> None:
        if self._conditions.holds("unauthorized"):
            self._is_authorized = False
            self._send(encode_message("AUTH_STATE", 0, state="UNAUTHORIZED"))
        elif self._is_valid_token(token):
            self._is_authorized = True
            state = encode_message("AUTH_STATE", 0, state="AUTHORIZED", userId="sim")
            self._send(state)
        else:
            self._is_authorized = False
            self._send(encode_message("AUTH_STATE", 0, state="UNAUTHORIZED"))
            self.finish()

    def _receive_on_channel(self, message: ClientMessage) -> None:
        if self._is_authorized:
            self._send(*self._channels.receive(message))
        else:
            self._error(0, "UNAUTHORIZED", "Authorization is required.")

    def _is_mute(self) -> bool:
        is_away = self._conditions.holds("silent", "no-data")
        return is_away or not self._is_authorized

    def _error(self, channel: int, error: str, text: str) -> None:
        self._send(encode_error(channel, error, text))

    def _send(self, *frames: Outgoing) -> None:
        self._extend(frames)

    def _extend(self, frames: Iterable[Outgoing]) -> None:
        if not self._is_broken:
            self._outgoing.extend(frames)
        self._on_change()
