"""One DXLink connection: its tasks, from the handshake to its end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

import trio

from greeks_trio.brokers.tastytrade.account_stream import AccountWatch
from greeks_trio.brokers.tastytrade.handshake import (
    AGGREGATION_PERIODS_S,
    GREEKS_CHANNEL,
    Handshake,
    encode_setup_of,
)
from greeks_trio.brokers.tastytrade.keep_alive import KeepAlive
from greeks_trio.brokers.tastytrade.market_metrics import MarketMetricsWatch
from greeks_trio.brokers.tastytrade.portfolio import Portfolio
from greeks_trio.brokers.tastytrade.position_watch import PositionWatch
from greeks_trio.brokers.tastytrade.positions.wanted import WantedContracts
from greeks_trio.brokers.tastytrade.server_errors import ServerErrors
from greeks_trio.brokers.tastytrade.session import QuoteToken, TastytradeSession
from greeks_trio.brokers.tastytrade.shortfalls import StreamReport
from greeks_trio.brokers.tastytrade.subscriber import SubscriptionSender
from greeks_trio.brokers.tastytrade.ticks import FrameReader
from greeks_trio.brokers.tastytrade.unreadable import UnreadableGreeks
from greeks_trio.brokers.tastytrade.wire import messages
from greeks_trio.brokers.tastytrade.wire.protocol import Event
from greeks_trio.brokers.tastytrade.wire.requests import MAX_REQUEST_BYTES
from greeks_trio.config.settings import TastytradeConfig
from greeks_trio.errors import FeedInterrupted
from greeks_trio.feeds.account_values_watch import AccountValuesWatch
from greeks_trio.feeds.contract_gaps import ContractGaps
from greeks_trio.feeds.feed import TickSender
from greeks_trio.feeds.health import FeedHealth
from greeks_trio.feeds.shortfalls import Shortfalls
from greeks_trio.feeds.silence import SilenceWatch
from greeks_trio.feeds.websocket import WebSocket

# A send fails once the peer has closed; the reader may still have frames to hand over.
READ_OUT_LIMIT_S: Final = 1.0


class Connection:
    """The tasks of one connection and their shared state."""

    def __init__(
        self,
        socket: WebSocket,
        session: TastytradeSession,
        portfolio: Portfolio,
        *,
        health: FeedHealth,
        out: TickSender,
        token: QuoteToken,
        gaps: ContractGaps,
        current_config: Callable[[], TastytradeConfig],
        account_watch: AccountWatch | None = None,
        request_bytes: int = MAX_REQUEST_BYTES,
    ) -> None:
        self._socket = socket
        self._health = health
        self._account_watch = account_watch
        self._silence = SilenceWatch(lambda: current_config().silence_limit_s)
        self._shortfalls = shortfalls = Shortfalls(health)
        self._handshake = Handshake(token.token, self._send)
        self._keep_alive = KeepAlive()
        self._unreadable = UnreadableGreeks(shortfalls, self._request_columns)
        contracts = WantedContracts(token.availability)
        report = StreamReport(
            health, shortfalls, gaps, token.availability, contracts.has_price
        )
        self._subscriber = subscriber = SubscriptionSender(
            contracts, report, self._send, request_bytes
        )
        self._errors = ServerErrors(health, shortfalls, subscriber)
        self._reader = FrameReader(
            health,
            out,
            contracts,
            report,
            self._unreadable,
            self._silence,
            obey=self._obey,
        )
        self._positions = PositionWatch(
            portfolio,
            session,
            subscriber,
            shortfalls,
            health,
            current_config,
            account_watch,
        )
        self._values = AccountValuesWatch(
            health,
            self._shortfalls,
            account_ids=lambda: portfolio.account_ids,
            interval_s=lambda: current_config().account_values_s,
            read=session.read_values,
        )
        self._metrics = MarketMetricsWatch(
            health,
            self._shortfalls,
            session,
            interval_s=lambda: current_config().market_metrics_s,
        )

    async def run(self, wait_due: Callable[[], Awaitable[None]]) -> NoReturn:
        """Stream the portfolio and its changes until the connection ends.

        Args:
            wait_due: Returns when the positions should be read again.

        Raises:
            FeedInterrupted: The connection has ended; inside an `ExceptionGroup`.
        """
        async with trio.open_nursery() as nursery:
            start = nursery.start_soon
            start(self._run_reader, name="tastytrade reader")
            start(self._silence.run, self._explain_silence, name="tastytrade silence")
            await self._shake_hands()
            start(self._subscriber.run, name="tastytrade subscriptions")
            start(self._errors.run_forgetting, name="tastytrade errors")
            start(self._unreadable.run, name="tastytrade unreadable rows")
            start(self._keep_alive.run, self._send, name="tastytrade keep-alive")
            await self._positions.apply()
            self._shortfalls.stands()
            start(self._subscriber.run_report, name="tastytrade report")
            if self._account_watch is not None:
                start(self._account_watch.run, name="tastytrade account stream")
            start(self._positions.run_positions, wait_due, name="tastytrade positions")
            start(self._values.run, name="tastytrade account values")
            start(self._metrics.run, name="tastytrade market metrics")
        raise AssertionError("a connection ends by raising")

    async def _run_reader(self) -> NoReturn:
        try:
            await self._reader.run(self._socket)
        except FeedInterrupted as exc:
            refused = "the quote server refused the token: "
            start = refused if self._handshake.token_refused else ""
            words = self._errors.recent_words()
            raise FeedInterrupted(f"{start}{exc}{words}") from exc

    async def _shake_hands(self) -> None:
        try:
            await self._handshake.run()
        except FeedInterrupted as exc:
            words = self._errors.recent_words()
            raise FeedInterrupted(f"{exc}{words}") from exc

    def _explain_silence(self, limit_s: float) -> str:
        words = self._errors.recent_words()
        return f"the quote server has been silent for {limit_s:.0f} s{words}"

    def _obey(self, event: Event) -> None:
        match event:
            case messages.KeepAlive():
                self._health.heartbeat()
            case messages.Ignored(what):
                self._health.count(f"dxlink.{what}")
            case (
                messages.FeedConfig(channel)
                | messages.ChannelOpened(channel)
                | messages.ChannelClosed(channel)
            ) if channel not in AGGREGATION_PERIODS_S:
                self._health.count("dxlink.other-channel")
            case messages.FeedConfig(channel=channel, aggregation_period=period):
                if channel == GREEKS_CHANNEL and period:
                    self._health.count("dxlink.conflated")
            case messages.Setup(float(timeout_s)) if timeout_s > 0:
                self._keep_alive.take_timeout(timeout_s)
            case messages.AuthState("AUTHORIZED" | "UNAUTHORIZED" as state):
                self._handshake.take_auth_state(authorised=state == "AUTHORIZED")
            case messages.AuthState():
                self._health.count("dxlink.unknown-state")
            case messages.ChannelOpened(channel):
                self._handshake.take_opened(channel)
            case messages.ChannelClosed(channel):
                raise FeedInterrupted(f"the quote server closed channel {channel}")
            case messages.ServerError():
                self._errors.take(event, is_ready=self._handshake.is_done)

    async def _request_columns(self) -> None:
        await self._send(encode_setup_of(GREEKS_CHANNEL))

    async def _send(self, frame: str) -> None:
        failure: FeedInterrupted | None = None
        try:
            await self._socket.send(frame)
        except FeedInterrupted as exc:
            failure = exc
        if failure is not None:
            await trio.sleep(READ_OUT_LIMIT_S)
            raise failure
