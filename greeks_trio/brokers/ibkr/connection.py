"""One connection to the gateway's stream: its tasks, from ``system`` to its end.

The gateway accepts the websocket before its own way to IBKR is open, and loses without a
word what is sent in between; so nothing is sent before its first ``system`` frame.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import Final, NoReturn

import trio
from trio_websocket import WebSocketConnection

from greeks_trio.brokers.ibkr.keep_alive import KeepAlive
from greeks_trio.brokers.ibkr.lines.quiet import QuietLines
from greeks_trio.brokers.ibkr.lines.renewals import LineSchedule
from greeks_trio.brokers.ibkr.portfolio import Portfolio
from greeks_trio.brokers.ibkr.position_watch import PositionWatch, WaitDue
from greeks_trio.brokers.ibkr.session import GatewaySession
from greeks_trio.brokers.ibkr.subscriber import SubscriptionSender
from greeks_trio.brokers.ibkr.ticks import FrameReader
from greeks_trio.brokers.ibkr.wire.events import encode_unsubscribe
from greeks_trio.config.settings import IbkrConfig
from greeks_trio.errors import FeedInterrupted, FeedSilent
from greeks_trio.feeds.contract_gaps import ContractGaps
from greeks_trio.feeds.feed import TickSender
from greeks_trio.feeds.health import FeedHealth
from greeks_trio.feeds.websocket import send

logger = logging.getLogger(__name__)

# The first ``system`` frame comes within a second of the upgrade.
READY_LIMIT_S: Final = 15.0
# A send fails once the peer has closed; the reader may still have frames to hand over.
_LAST_FRAMES_LIMIT_S: Final = 2.0
# A hundred requests of twenty bytes; a peer that does not take them has gone.
_FAREWELL_LIMIT_S: Final = 0.5
# A timer that goes off so late was held up: this process did not run.
_OVERSLEPT_S: Final = 1.0


class Connection:
    """The tasks of one connection and what they share."""

    def __init__(
        self,
        socket: WebSocketConnection,
        session: GatewaySession,
        portfolio: Portfolio,
        *,
        health: FeedHealth,
        out: TickSender,
        session_id: str,
        gaps: ContractGaps,
        current_config: Callable[[], IbkrConfig],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._socket = socket
        self._current_config = current_config
        self._lines = lines = LineSchedule(jitter=jitter)
        watch = QuietLines()
        self._reader = reader = FrameReader(
            health, out, lines, watch, session_id=session_id
        )
        self._subscriber = subscriber = SubscriptionSender(
            self._send, health, reader, lines, watch, gaps
        )
        self._keeper = KeepAlive(session, reader, subscriber, health, jitter)
        self._follower = PositionWatch(
            portfolio, session, reader, subscriber, health, current_config
        )

    async def run(self, wait_due: WaitDue) -> NoReturn:
        """Stream what the portfolio knows, and follow it, until the connection ends.

        Args:
            wait_due: Returns when the positions should be read again.

        Raises:
            FeedInterrupted: always in the end, inside an `ExceptionGroup`.
        """
        try:
            await self._run_tasks(wait_due)
        finally:
            with trio.move_on_after(_FAREWELL_LIMIT_S, shield=True):
                await self._give_lines_back()

    async def _run_tasks(self, wait_due: WaitDue) -> NoReturn:
        async with trio.open_nursery() as nursery:
            start = nursery.start_soon
            start(self._reader.run, self._socket, name="ibkr reader")
            start(self._watch_silence, name="ibkr silence")
            await self._wait_ready()
            self._follower.apply()
            start(self._subscriber.run, name="ibkr subscriptions")
            start(self._keeper.run_tic, self._send, name="ibkr tic")
            start(self._keeper.run_tickle, name="ibkr tickle")
            start(self._follower.run_positions, wait_due, name="ibkr positions")
            start(self._follower.run_watchlist, name="ibkr watch-list")
        raise AssertionError("a connection ends by raising")

    async def _wait_ready(self) -> None:
        try:
            with trio.fail_after(READY_LIMIT_S):
                await self._reader.ready.wait()
        except trio.TooSlowError as exc:
            raise FeedInterrupted(
                "the IBKR gateway opened its websocket, but not its way to IBKR"
            ) from exc

    async def _watch_silence(self) -> NoReturn:
        """Raise when no frame of any kind has come for too long; else run on.

        The gateway sends a heartbeat every 10 s, market open or not, so silence means
        a dead socket.  A subscription that has ended is not silent in this sense, and
        a pipeline that is full is not the gateway's silence.
        """
        held_up_at = 0.0
        while True:
            limit_s = self._current_config().silence_limit_s
            now = trio.current_time()
            if self._reader.is_held_up:
                held_up_at = now
            limit = max(self._reader.last_frame_at, held_up_at) + limit_s
            if limit <= now:
                raise FeedSilent(
                    f"the IBKR gateway has been silent for {limit_s:.0f} s"
                )
            await trio.sleep_until(limit)
            if trio.current_time() > limit + _OVERSLEPT_S:
                # It was us who stood still; what came meanwhile waits in the socket.
                await trio.sleep(_OVERSLEPT_S)

    async def _give_lines_back(self) -> None:
        """Unsubscribe everything, if the gateway still listens.

        IBKR counts the lines of a program that has ended as taken for a long time.
        """
        try:
            for conid in self._lines.sent():
                await send(self._socket, encode_unsubscribe(conid))
        except FeedInterrupted as exc:
            logger.debug("ibkr.lines_not_given_back reason=%s", exc)

    async def _send(self, message: str) -> None:
        failure: FeedInterrupted | None = None
        try:
            await send(self._socket, message)
        except FeedInterrupted as exc:
            failure = exc
        if failure is not None:
            await trio.sleep(_LAST_FRAMES_LIMIT_S)
            raise failure
