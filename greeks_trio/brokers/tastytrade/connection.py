"""One DXLink connection: handshake, keepalive, subscriptions, frames into ticks."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Final, NoReturn

import trio
from trio_websocket import WebSocketConnection

from greeks_trio.brokers.feed import HAND_OVER_LIMIT_S, TickSender
from greeks_trio.brokers.tastytrade import dxlink_requests as requests
from greeks_trio.brokers.tastytrade.book import Book
from greeks_trio.brokers.tastytrade.dxlink import (
    AuthState,
    ChannelClosed,
    ChannelOpened,
    DxlinkProtocol,
    Event,
    KeepAlive,
    ServerError,
    Setup,
)
from greeks_trio.brokers.tastytrade.dxlink_rows import (
    GreeksEvent,
    Ignored,
    OddRows,
    QuoteEvent,
    TradeEvent,
)
from greeks_trio.brokers.tastytrade.positions import Wanted
from greeks_trio.brokers.tastytrade.session import QuoteToken
from greeks_trio.brokers.tastytrade.websocket import receive_frame, send_frame
from greeks_trio.errors import BadQuote, FeedInterrupted, ProtocolViolation
from greeks_trio.model.contracts import ContractKey
from greeks_trio.model.records import FrameTicks, UnifiedPositionRecord
from greeks_trio.pipeline.backoff import Backoff
from greeks_trio.pipeline.health import SessionHealth

logger = logging.getLogger(__name__)

# Clients use odd numbers; 0 is the connection itself.
FEED_CHANNEL: Final = 1
# What the server sent before it closed is still to be read when a send finds it closed.
# The reader takes it and then tells of the close; this is how long it may take.
READ_OUT_LIMIT_S: Final = 1.0
# From the socket to a feed that takes subscriptions.
HANDSHAKE_LIMIT_S: Final = 10.0
# The request for a token may be repeated after the token is on its way.  It is refused
# when no AUTHORIZED comes within this time, or when the server hangs up.
REFUSAL_LIMIT_S: Final = 2.0
# What we promise and ask for, in whole seconds; the server's own default.
KEEPALIVE_TIMEOUT_S: Final = 60
KEEPALIVE_INTERVAL_S: Final = 30.0
# The server sends something at least every 60 s, market open or not; a little more for
# the way.
SILENCE_LIMIT_S: Final = 65.0
# The server keeps back all but the last event of a contract for this long: enough to
# spare it bursts, too little for a person to notice.
AGGREGATION_PERIOD_S: Final = 0.1
# Requests that follow each other at once are refused as too high a rate.  How fast is
# too fast depends on the server's load, so each refusal doubles the distance.
SUBSCRIBE_PAUSE_S: Final = 0.25
MAX_SUBSCRIBE_PAUSE_S: Final = 2.0
# More answers than any handshake has; beyond it the server repeats itself for ever.
_MAX_AUTH_STATES: Final = 16


class DxlinkConnection:
    """One socket, from SETUP to its end.

    `run_reader` and `run_silence_watch` run from the start, `open_feed` once beside
    them; the rest after it.
    """

    def __init__(
        self,
        socket: WebSocketConnection,
        token: QuoteToken,
        health: SessionHealth,
        out: TickSender,
    ) -> None:
        self._socket = socket
        self._token = token
        self._health = health
        self._out = out
        self._protocol = DxlinkProtocol()
        self._book = Book(token.availability)
        self._read_at = trio.current_time()
        self._keepalive_interval_s = KEEPALIVE_INTERVAL_S
        self._auth_send, self._auth_receive = trio.open_memory_channel[bool](
            _MAX_AUTH_STATES
        )
        # AUTH was sent, and the last word on it was UNAUTHORIZED.
        self._auth_sent = self._token_refused = False
        self._opened = trio.Event()
        self._ready = False
        self._refused = trio.Event()
        # Requests for subscriptions keep their order and their distance.
        self._subscribing = trio.Lock()
        self._subscribe_pause_s = SUBSCRIBE_PAUSE_S

    async def open_feed(self) -> None:
        """Go through the handshake; returns when subscriptions are heard.

        Raises:
            FeedInterrupted: the token was refused or there was no answer in time.
        """
        try:
            with trio.fail_after(HANDSHAKE_LIMIT_S):
                await self._authorise()
                await self._send(requests.encode_channel_request(FEED_CHANNEL))
                await self._opened.wait()
                await self._send(
                    requests.encode_feed_setup(
                        FEED_CHANNEL, aggregation_period_s=AGGREGATION_PERIOD_S
                    )
                )
        except trio.TooSlowError:
            raise FeedInterrupted("the quote server does not answer") from None
        self._ready = True

    async def run_reader(self) -> NoReturn:
        """Read frames and hand their ticks over, until the connection ends.

        Cancelled, it has handed over every frame that it read.

        Raises:
            FeedInterrupted: the server closed the connection, the channel or the
                login.
        """
        while True:
            frame = await self._receive()
            self._read_at = trio.current_time()
            ticks, rest = self._take_frame(frame)
            if ticks:
                await self._hand_over(FrameTicks("tastytrade", self._read_at, ticks))
            for event in rest:
                self._obey(event)

    async def run_keep_alive(self) -> NoReturn:
        """Tell the server that we are alive, until cancelled."""
        while True:
            await trio.sleep(self._keepalive_interval_s)
            await self._send(requests.encode_keepalive())

    async def run_silence_watch(self) -> NoReturn:
        """Wait until the server has been silent for too long.

        Raises:
            FeedInterrupted: it has.
        """
        while True:
            left_s = self._read_at + SILENCE_LIMIT_S - trio.current_time()
            if left_s <= 0:
                raise FeedInterrupted("the quote server has gone silent")
            await trio.sleep(left_s)

    async def run_resubscriber(self) -> NoReturn:
        """Ask for everything again after a refusal, ever more slowly, until cancelled.

        A refused request leaves its contracts mute without another word.
        """
        backoff = Backoff(min_delay_s=2.0, max_delay_s=300.0)
        while True:
            await self._refused.wait()
            await backoff.wait()
            self._refused = trio.Event()
            self._subscribe_pause_s = min(
                2.0 * self._subscribe_pause_s, MAX_SUBSCRIBE_PAUSE_S
            )
            async with self._subscribing:
                await self._send_paced(
                    requests.encode_subscription(
                        FEED_CHANNEL, add=self._book.subscriptions
                    )
                )

    async def subscribe(self, wanted: Mapping[ContractKey, Wanted]) -> None:
        """Stream these contracts from here on; those that stay miss nothing."""
        async with self._subscribing:
            changes = self._book.replace(wanted)
            await self._send_paced(
                requests.encode_subscription(
                    FEED_CHANNEL, add=changes.add, remove=changes.remove
                )
            )

    async def _authorise(self) -> None:
        await self._send(
            requests.encode_setup(
                keepalive_timeout_s=KEEPALIVE_TIMEOUT_S,
                accept_keepalive_timeout_s=KEEPALIVE_TIMEOUT_S,
            )
        )
        # A server that wants no token says so at once.
        if await self._auth_receive.receive():
            return
        self._auth_sent = True
        await self._send(requests.encode_auth(self._token.token.reveal()))
        if await self._auth_receive.receive():
            return
        with trio.move_on_after(REFUSAL_LIMIT_S):
            while not await self._auth_receive.receive():
                pass
            return
        raise FeedInterrupted("the quote server refused the token")

    async def _receive(self) -> str | bytes:
        try:
            return await receive_frame(self._socket)
        except FeedInterrupted as exc:
            if self._token_refused:
                reason = f"the quote server refused the token: {exc}"
                raise FeedInterrupted(reason) from exc
            raise

    def _take_frame(
        self, frame: str | bytes
    ) -> tuple[list[UnifiedPositionRecord], list[Event]]:
        """Return the frame's ticks, and the events that ask for something."""
        received_at = self._health.now()
        self._health.frame_read(received_at)
        ticks: list[UnifiedPositionRecord] = []
        rest: list[Event] = []
        try:
            events = self._protocol.receive_frame(frame)
        except ProtocolViolation as exc:
            self._health.odd_frame(exc, [self._token.token.reveal()])
            return ticks, rest
        for event in events:
            match event:
                case GreeksEvent():
                    ticks += self._ticks(event, received_at)
                case TradeEvent():
                    self._book.take_trade(event)
                case QuoteEvent():
                    self._book.take_quote(event)
                case _:
                    rest.append(event)
        return ticks, rest

    def _ticks(
        self, event: GreeksEvent, received_at: datetime
    ) -> list[UnifiedPositionRecord]:
        try:
            found = self._book.ticks(event, received_at)
        except BadQuote as exc:
            self._health.count(f"quote.{exc.reason}")
            return []
        for word in found.mended:
            self._health.count(f"mended.{word}")
        return found.ticks

    async def _hand_over(self, frame: FrameTicks) -> None:
        """Send the frame, waiting for as long as it takes; a stop waits a second."""
        try:
            await self._out.send(frame)
        except trio.Cancelled:
            # Read, so ours: only the read of the next frame may be cancelled.  A send
            # that was cancelled has not happened.
            with trio.move_on_after(HAND_OVER_LIMIT_S, shield=True) as scope:
                await self._out.send(frame)
            if scope.cancelled_caught:
                self._health.count("ticks.lost", len(frame.ticks))
                logger.critical("feed.ticks_lost ticks=%d", len(frame.ticks))
            raise

    def _obey(self, event: Event) -> None:
        match event:
            case KeepAlive():
                self._health.heartbeat()
            case Ignored(what):
                self._health.count(f"dxlink.{what}")
            case OddRows(reason, text):
                violation = ProtocolViolation(reason, frame=text)
                self._health.odd_frame(violation, [self._token.token.reveal()])
            case Setup(float(timeout_s)) if timeout_s > 0:
                half = max(1.0, timeout_s / 2.0)
                self._keepalive_interval_s = min(KEEPALIVE_INTERVAL_S, half)
            case AuthState(state):
                self._take_auth_state(authorised=state == "AUTHORIZED")
            case ChannelOpened(channel) if channel == FEED_CHANNEL:
                self._opened.set()
            case ChannelClosed(channel) if channel == FEED_CHANNEL:
                raise FeedInterrupted("the quote server closed the channel")
            case ServerError():
                self._take_error(event)

    def _take_auth_state(self, *, authorised: bool) -> None:
        if self._ready:
            if not authorised:
                raise FeedInterrupted("the quote server ended the login")
            return
        self._token_refused = self._auth_sent and not authorised
        try:
            self._auth_send.send_nowait(authorised)
        except trio.WouldBlock:
            raise FeedInterrupted("the quote server does not get to a login") from None

    def _take_error(self, event: ServerError) -> None:
        """Note an error.  It says nothing about the connection, so that goes on."""
        self._health.count("dxlink.error")
        secret = self._token.token.reveal()
        message = (event.message or "").replace(secret, "***")[:200]
        logger.warning("tastytrade.server_error %s: %s", event.error, message)
        # BAD_ACTION is what it calls a subscription too large or too fast; nothing says
        # that this comes on the channel.
        about_us = event.channel == FEED_CHANNEL or event.error == "BAD_ACTION"
        if about_us and self._ready:
            self._refused.set()

    async def _send(self, frame: str) -> None:
        failure: FeedInterrupted | None = None
        try:
            await send_frame(self._socket, frame)
        except FeedInterrupted as exc:
            failure = exc
        if failure is not None:
            await trio.sleep(READ_OUT_LIMIT_S)
            raise failure

    async def _send_paced(self, frames: list[str]) -> None:
        for number, frame in enumerate(frames):
            if number:
                await trio.sleep(self._subscribe_pause_s)
            await self._send(frame)
