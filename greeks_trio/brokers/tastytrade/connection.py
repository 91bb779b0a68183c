"""One DXLink connection, whole: it reads, hands over, keeps alive and notices silence."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final, NoReturn

import trio
from trio_websocket import WebSocketConnection

from greeks_trio.brokers.tastytrade.handshake import (
    AGGREGATION_PERIODS_S,
    GREEKS_CHANNEL,
    Handshake,
    encode_setup_of,
)
from greeks_trio.brokers.tastytrade.positions.positions import WantedContracts
from greeks_trio.brokers.tastytrade.server_errors import ServerErrors, UnreadableGreeks
from greeks_trio.brokers.tastytrade.session import QuoteToken
from greeks_trio.brokers.tastytrade.subscriber import Subscriptions
from greeks_trio.brokers.tastytrade.ticks import Frames
from greeks_trio.brokers.tastytrade.wanted import Book
from greeks_trio.brokers.tastytrade.websocket import receive_frame, send_frame
from greeks_trio.brokers.tastytrade.wire import requests
from greeks_trio.brokers.tastytrade.wire.messages import (
    AuthState,
    ChannelClosed,
    ChannelOpened,
    FeedConfig,
    Ignored,
    KeepAlive,
    ServerError,
    Setup,
)
from greeks_trio.brokers.tastytrade.wire.protocol import Event
from greeks_trio.errors import FeedInterrupted, FeedSilent
from greeks_trio.feeds.feed import TickSender
from greeks_trio.feeds.hand_over import hand_over
from greeks_trio.feeds.health import FeedHealth
from greeks_trio.feeds.shortfalls import Condition
from greeks_trio.model.contracts import ContractKey

logger = logging.getLogger(__name__)

# What the server sent before it closed is still to be read when a send finds it closed.
# The reader takes it and then tells of the close; this is how long it may take.
READ_OUT_LIMIT_S: Final = 1.0
KEEPALIVE_INTERVAL_S: Final = 30.0
# The server sends something at least every 60 s, market open or not; a little more for
# the way.
SILENCE_LIMIT_S: Final = 65.0
_TOO_LONG: Final = 1009


class DxlinkConnection:
    """One socket, from SETUP to its end.

    `run_reader` and `run_silence_watch` run from the start, `open_feed` once beside
    them; the rest after it.
    """

    def __init__(
        self,
        socket: WebSocketConnection,
        token: QuoteToken,
        health: FeedHealth,
        out: TickSender,
        *,
        request_bytes: int = requests.MAX_REQUEST_BYTES,
        silence_limit_s: float = SILENCE_LIMIT_S,
    ) -> None:
        self._socket = socket
        self._health = health
        self._out = out
        self._read_at = trio.current_time()
        # Since when the next frame is waited for, `None` while one is handed over: that
        # the pipeline is busy is not the server's silence.
        self._waiting_since: float | None = self._read_at
        self._silence_limit_s = silence_limit_s
        self._keepalive_interval_s = KEEPALIVE_INTERVAL_S
        self._handshake = Handshake(token.token, self._send)
        self.condition = Condition(health)
        self._unreadable = UnreadableGreeks(self.condition, self._ask_for_columns)
        book = Book(token.availability)
        self._subscriptions = Subscriptions(
            book, health, self.condition, self._send, request_bytes
        )
        self._frames = Frames(
            book, health, self._subscriptions, self._unreadable, token.token
        )
        self._errors = ServerErrors(
            health, self.condition, self._subscriptions, token.token
        )

    @property
    def was_too_long(self) -> bool:
        """Whether the server hung up because a request was too long."""
        reason = self._socket.closed
        # Our own limit for frames ends a connection with the same code.
        ours = reason is not None and "Exceeded maximum" in (reason.reason or "")
        return reason is not None and reason.code == _TOO_LONG and not ours

    async def open_feed(self) -> None:
        """Go through the handshake; returns when subscriptions are heard.

        Raises:
            FeedInterrupted: the token was refused or there was no answer in time.
        """
        try:
            await self._handshake.run()
        except FeedInterrupted as exc:
            raise FeedInterrupted(f"{exc}{self._errors.recent_words()}") from exc

    async def run_reader(self) -> NoReturn:
        """Read frames and hand their ticks over, until the connection ends.

        Cancelled, it has handed over every frame that it read.

        Raises:
            FeedInterrupted: the server closed the connection, a channel or the login.
        """
        while True:
            self._waiting_since = trio.current_time()
            frame = await self._receive()
            self._waiting_since = None
            self._read_at = trio.current_time()
            ticks, rest = self._frames.take(frame, read_at=self._read_at)
            if ticks:
                await hand_over(self._out, ticks, self._health)
            for event in rest:
                self._obey(event)

    async def run_upkeep(self) -> NoReturn:
        """Keep the connection alive and its subscriptions whole, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._subscriptions.run_refusals)
            nursery.start_soon(self._errors.run_forgetting)
            nursery.start_soon(self._unreadable.run)
            await self._run_keep_alive()

    async def run_silence_watch(self) -> NoReturn:
        """Wait until the server has been silent for too long.

        Raises:
            FeedInterrupted: it has.
        """
        while True:
            since = self._waiting_since
            left_s = self._silence_limit_s
            if since is not None:
                left_s += since - trio.current_time()
            if left_s <= 0:
                reason = (
                    f"the quote server has gone silent{self._errors.recent_words()}"
                )
                raise FeedSilent(reason)
            await trio.sleep(left_s)

    async def subscribe(
        self, wanted: Mapping[ContractKey, WantedContracts | None]
    ) -> None:
        """Stream these contracts from here on; those that stay miss nothing."""
        await self._subscriptions.replace(wanted)

    async def _run_keep_alive(self) -> NoReturn:
        while True:
            await trio.sleep(self._keepalive_interval_s)
            await self._send(requests.encode_keepalive())

    async def _receive(self) -> str | bytes:
        try:
            return await receive_frame(self._socket)
        except FeedInterrupted as exc:
            reason = f"{exc}{self._errors.recent_words()}"
            if self._handshake.token_refused:
                reason = f"the quote server refused the token: {reason}"
            raise FeedInterrupted(reason) from exc

    def _obey(self, event: Event) -> None:
        match event:
            case KeepAlive():
                self._health.heartbeat()
            case Ignored(what):
                self._health.count(f"dxlink.{what}")
            case (
                FeedConfig(channel) | ChannelOpened(channel) | ChannelClosed(channel)
            ) if channel not in AGGREGATION_PERIODS_S:
                self._health.count("dxlink.other-channel")
            case FeedConfig(channel=channel, aggregation_period=period):
                if channel == GREEKS_CHANNEL and period:
                    self._health.count("dxlink.conflated")
            case Setup(float(timeout_s)) if timeout_s > 0:
                half = max(1.0, timeout_s / 2.0)
                self._keepalive_interval_s = min(KEEPALIVE_INTERVAL_S, half)
            case AuthState("AUTHORIZED" | "UNAUTHORIZED" as state):
                self._handshake.take_auth_state(authorised=state == "AUTHORIZED")
            case AuthState():
                self._health.count("dxlink.unknown-state")
            case ChannelOpened(channel):
                self._handshake.take_opened(channel)
            case ChannelClosed(channel):
                words = self._errors.recent_words()
                raise FeedInterrupted(
                    f"the quote server closed channel {channel}{words}"
                )
            case ServerError():
                self._errors.take(event, is_ready=self._handshake.is_done)

    async def _ask_for_columns(self) -> None:
        await self._send(encode_setup_of(GREEKS_CHANNEL))

    async def _send(self, frame: str) -> None:
        failure: FeedInterrupted | None = None
        try:
            await send_frame(self._socket, frame)
        except FeedInterrupted as exc:
            failure = exc
        if failure is not None:
            await trio.sleep(READ_OUT_LIMIT_S)
            raise failure
