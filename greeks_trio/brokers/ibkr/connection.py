"""One connection to the gateway's stream: its tasks, from ``system`` to its end.

The gateway accepts the websocket before its own connection to IBKR is open, and drops
everything that it receives until then.  So nothing is sent before the first ``system``
frame.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

import trio

from greeks_trio.brokers.ibkr.keep_alive import KeepAlive
from greeks_trio.brokers.ibkr.lines.renewals import LineSchedule
from greeks_trio.brokers.ibkr.lines.rotation import Rotation
from greeks_trio.brokers.ibkr.portfolio import Portfolio
from greeks_trio.brokers.ibkr.position_watch import PositionWatch
from greeks_trio.brokers.ibkr.session import GatewaySession
from greeks_trio.brokers.ibkr.shortfalls import StreamReport
from greeks_trio.brokers.ibkr.state import StreamState
from greeks_trio.brokers.ibkr.subscriber import SubscriptionSender
from greeks_trio.brokers.ibkr.ticks import FrameReader
from greeks_trio.brokers.ibkr.wire.events import encode_unsubscribe
from greeks_trio.brokers.ibkr.wire.protocol import IbkrProtocol
from greeks_trio.config.settings import IbkrConfig
from greeks_trio.errors import FeedInterrupted
from greeks_trio.feeds.account_values_watch import AccountValuesWatch
from greeks_trio.feeds.contract_gaps import ContractGaps
from greeks_trio.feeds.feed import TickSender
from greeks_trio.feeds.health import FeedHealth
from greeks_trio.feeds.shortfalls import Shortfalls
from greeks_trio.feeds.silence import SilenceWatch
from greeks_trio.feeds.websocket import WebSocket
from greeks_trio.waiting import WakeUp

logger = logging.getLogger(__name__)

# The first ``system`` frame comes within a second of the upgrade.
READY_LIMIT_S: Final = 15.0
# A send fails once the peer has closed; the reader may still have frames to hand over.
READ_OUT_LIMIT_S: Final = 2.0
# A hundred requests of twenty bytes; a peer that does not take them is gone.
_UNSUBSCRIBE_LIMIT_S: Final = 0.5


class Connection:
    """The tasks of one connection and their shared state."""

    def __init__(
        self,
        socket: WebSocket,
        session: GatewaySession,
        portfolio: Portfolio,
        *,
        health: FeedHealth,
        out: TickSender,
        session_id: str,
        gaps: ContractGaps,
        rotation: Rotation,
        current_config: Callable[[], IbkrConfig],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._socket = socket
        self._changes = changes = WakeUp()
        lines = LineSchedule(jitter=jitter)
        rotation.connected(trio.current_time())
        self._state = state = StreamState(session_id, lines, rotation, changes.wake)
        self._silence = SilenceWatch(lambda: current_config().silence_limit_s)
        protocol = IbkrProtocol(state)
        shortfalls = Shortfalls(health)
        report = StreamReport(
            health,
            shortfalls,
            state,
            gaps,
            lambda option: self._reader.underlying_price(option) is not None,
        )
        self._reader = FrameReader(health, out, state, protocol, self._silence)
        self._subscriber = SubscriptionSender(
            self._send, health, state, protocol, changes, report
        )
        self._keep_alive = KeepAlive(
            session, state, changes, shortfalls, health, jitter
        )
        self._positions = PositionWatch(
            portfolio,
            session,
            state,
            self._subscriber,
            shortfalls,
            health,
            current_config,
        )
        self._values = AccountValuesWatch(
            health,
            shortfalls,
            account_ids=lambda: portfolio.account_ids,
            interval_s=lambda: current_config().account_values_s,
            read=session.accounts.read_values,
        )

    async def run(self, wait_due: Callable[[], Awaitable[None]]) -> NoReturn:
        """Stream the portfolio and its changes until the connection ends.

        Args:
            wait_due: Returns when the positions should be read again.

        Raises:
            FeedInterrupted: The connection has ended; inside an `ExceptionGroup`.
        """
        try:
            await self._run_tasks(wait_due)
        finally:
            with trio.move_on_after(_UNSUBSCRIBE_LIMIT_S, shield=True):
                await self._unsubscribe_all()

    async def _run_tasks(self, wait_due: Callable[[], Awaitable[None]]) -> NoReturn:
        async with trio.open_nursery() as nursery:
            start = nursery.start_soon
            start(self._reader.run, self._socket, name="ibkr reader")
            start(self._silence.run, _explain_silence, name="ibkr silence")
            await self._wait_ready()
            self._positions.apply()
            start(self._subscriber.run, name="ibkr subscriptions")
            start(self._keep_alive.run_tic, self._send, name="ibkr tic")
            start(self._keep_alive.run_tickle, name="ibkr tickle")
            start(self._positions.run_positions, wait_due, name="ibkr positions")
            start(self._positions.run_watchlist, name="ibkr watch-list")
            start(self._values.run, name="ibkr account values")
        raise AssertionError("a connection ends by raising")

    async def _wait_ready(self) -> None:
        try:
            with trio.fail_after(READY_LIMIT_S):
                while not self._state.is_ready:
                    await self._changes.wait()
        except trio.TooSlowError as exc:
            raise FeedInterrupted(
                "the IBKR gateway opened its websocket, but not its connection to IBKR"
            ) from exc

    async def _unsubscribe_all(self) -> None:
        """Unsubscribe everything, if the gateway still listens.

        Without this, IBKR counts the lines of an ended program as taken for a long time.
        """
        try:
            for conid in self._state.lines.sent():
                await self._socket.send(encode_unsubscribe(conid))
        except FeedInterrupted as exc:
            logger.debug("ibkr.lines_not_given_back reason=%s", exc)

    async def _send(self, message: str) -> None:
        failure: FeedInterrupted | None = None
        try:
            await self._socket.send(message)
        except FeedInterrupted as exc:
            failure = exc
        if failure is not None:
            await trio.sleep(READ_OUT_LIMIT_S)
            raise failure


def _explain_silence(limit_s: float) -> str:
    return f"the IBKR gateway has been silent for {limit_s:.0f} s"
