"""One connection to the gateway's stream: its tasks, from ``system`` to its end.

The gateway accepts the websocket before its own way to IBKR is open, and loses without a
word what is sent in between; so nothing is sent before its first ``system`` frame.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

import trio
from trio_websocket import WebSocketConnection

from greeks_trio.brokers.feed import TickSender
from greeks_trio.brokers.ibkr.portfolio import PortfolioView
from greeks_trio.brokers.ibkr.protocol_events import (
    TIC,
    encode_subscribe,
    encode_unsubscribe,
)
from greeks_trio.brokers.ibkr.reader import FrameReader
from greeks_trio.brokers.ibkr.session import GatewaySession, Tickle
from greeks_trio.brokers.ibkr.subscriptions import NOTHING, Lines, Plan
from greeks_trio.brokers.ibkr.websocket import send
from greeks_trio.errors import FeedInterrupted
from greeks_trio.model.contracts import Conid, ContractKey
from greeks_trio.pipeline.health import SessionHealth

logger = logging.getLogger(__name__)

# The gateway sends a heartbeat every 10 s, market open or not, so silence means a dead
# socket.  A subscription that has ended is not silent in this sense.
SILENCE_LIMIT_S: Final = 30.0
# The first ``system`` frame comes within a second of the upgrade.
READY_LIMIT_S: Final = 15.0
# IBKR wants each of these at least once a minute; the jitter only shortens.
TIC_INTERVAL_S: Final = 45.0
TICKLE_INTERVAL_S: Final = 45.0
_JITTER: Final = 0.2
# A gateway that restarts its upstream answers a request or two with 503.
_TICKLE_TRIES: Final = 3
_TICKLE_RETRY_S: Final = 2.0
# A send fails once the peer has closed; the reader may still have frames to hand over.
_LAST_FRAMES_LIMIT_S: Final = 2.0
_POSITIONS_RETRY_S: Final = 10.0
# A timer that goes off so late was held up: this process did not run.
_OVERSLEPT_S: Final = 1.0

ReadPortfolio = Callable[[Plan], Awaitable[PortfolioView]]
WaitPositionsDue = Callable[[], Awaitable[None]]


class Connection:
    """The tasks of one connection and what they share."""

    def __init__(
        self,
        socket: WebSocketConnection,
        session: GatewaySession,
        *,
        health: SessionHealth,
        out: TickSender,
        session_id: str,
        unanswered: set[ContractKey],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._socket = socket
        self._session = session
        self._health = health
        self._jitter = jitter
        self._lines = Lines(jitter=jitter)
        self._reader = FrameReader(
            health, out, self._lines, session_id=session_id, unanswered=unanswered
        )
        self._view = PortfolioView(NOTHING, 0, (), 0)
        self._to_drop: list[Conid] = []
        self._trouble: str | None = None

    async def run(
        self, view: PortfolioView, read: ReadPortfolio, wait_due: WaitPositionsDue
    ) -> NoReturn:
        """Stream until the connection ends.

        Args:
            view: What to stream at first.
            read: Reads positions and watch-list again.
            wait_due: Returns when they should be read again.

        Raises:
            FeedInterrupted: always in the end, inside an `ExceptionGroup`.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._reader.run, self._socket, name="ibkr reader")
            nursery.start_soon(self._watch_silence, name="ibkr silence")
            await self._wait_ready()
            self._apply(view)
            nursery.start_soon(self._keep_subscriptions, name="ibkr subscriptions")
            nursery.start_soon(self._keep_socket, name="ibkr tic")
            nursery.start_soon(self._keep_session, name="ibkr tickle")
            nursery.start_soon(
                self._follow_positions, read, wait_due, name="ibkr positions"
            )
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
        """Raise when no frame of any kind has come for too long; else run on."""
        while True:
            limit = self._reader.last_frame_at + SILENCE_LIMIT_S
            if limit <= trio.current_time():
                raise FeedInterrupted(
                    f"the IBKR gateway has been silent for {SILENCE_LIMIT_S:.0f} s"
                )
            await trio.sleep_until(limit)
            if trio.current_time() > limit + _OVERSLEPT_S:
                # It was us who stood still; what came meanwhile waits in the socket.
                await trio.sleep(_OVERSLEPT_S)

    async def _keep_socket(self) -> NoReturn:
        """Send the websocket's keep-alive; runs until cancelled."""
        while True:
            await trio.sleep(self._shortened(TIC_INTERVAL_S))
            await self._send(TIC)

    async def _keep_session(self) -> NoReturn:
        """Send the session's keep-alive, at once when a frame casts doubt on it."""
        while True:
            with trio.move_on_after(self._shortened(TICKLE_INTERVAL_S)):
                await self._reader.doubt.wait()
            self._reader.doubt = trio.Event()
            tickle = await self._tickle()
            self._health.heartbeat()
            if not tickle.status.is_established:
                raise FeedInterrupted(
                    "another program has taken the IBKR brokerage session"
                    if tickle.status.competing
                    else "the IBKR brokerage session is lost"
                )

    async def _tickle(self) -> Tickle:
        for _ in range(_TICKLE_TRIES - 1):
            try:
                return await self._session.tickle()
            except FeedInterrupted as exc:
                if exc.retry_after is not None:
                    raise
                self._health.count("tickle.failed")
            await trio.sleep(_TICKLE_RETRY_S)
        return await self._session.tickle()

    async def _keep_subscriptions(self) -> NoReturn:
        """Send what is due, and again whenever something changes or becomes due."""
        while True:
            changed = self._reader.changed = trio.Event()
            await self._send_due()
            self._report()
            with trio.move_on_at(self._lines.next_due()):
                await changed.wait()

    async def _send_due(self) -> None:
        while self._to_drop:
            await self._send(encode_unsubscribe(self._to_drop.pop()))
        while (conid := self._lines.take_due(trio.current_time())) is not None:
            wanted = self._view.plan.options.get(conid)
            if wanted is not None and self._lines.is_repeated(conid):
                key = wanted.contract.contract_key
                self._health.count("subscription.repeated")
                self._health.gap_started("subscription unanswered", key)
                self._reader.unanswered.add(key)
            await self._send(encode_subscribe(conid, underlying=wanted is None))

    async def _follow_positions(
        self, read: ReadPortfolio, wait_due: WaitPositionsDue
    ) -> NoReturn:
        """Read the positions whenever they are due and apply the difference.

        A gateway that does not answer is no reason to lose the stream; it is asked
        again soon.
        """
        pause_s = math.inf
        while True:
            with trio.move_on_after(pause_s):
                await wait_due()
            view = await self._try_read(read)
            if view is not None:
                self._apply(view)
            pause_s = _POSITIONS_RETRY_S if view is None else math.inf

    async def _try_read(self, read: ReadPortfolio) -> PortfolioView | None:
        """Return `None` after a failure, which is shown until a read succeeds."""
        self._trouble = None
        try:
            return await read(self._view.plan)
        except FeedInterrupted as exc:
            if exc.retry_after is not None:
                raise
            self._health.count("positions.failed")
            self._trouble = f"positions could not be read: {exc}"
            self._reader.changed.set()
            self._reader.doubt.set()
            return None

    def _apply(self, view: PortfolioView) -> None:
        """Take what is wanted; `_keep_subscriptions` sends the difference."""
        self._view = view
        self._reader.options = view.plan.options
        for conid in self._lines.want(view.plan.lines, trio.current_time()):
            self._reader.forget(conid)
            self._to_drop.append(conid)
        wanted = {each.contract.contract_key for each in view.plan.options.values()}
        for key in self._reader.unanswered - wanted:
            self._reader.unanswered.discard(key)
            self._health.gap_ended(key)
        self._reader.changed.set()

    def _report(self) -> None:
        plan = self._view.plan
        sent = self._lines.sent()
        self._health.subscriptions(
            wanted=self._view.wanted,
            live=sum(conid in sent for conid in plan.options),
            without_line=plan.without_line,
        )
        problems = list(self._problems())
        if problems:
            if self._health.session().status == "connecting":
                self._health.connected()
            self._health.degraded("; ".join(problems))
        else:
            self._health.connected()

    def _problems(self) -> list[str]:
        plan, view = self._view.plan, self._view
        claims = (
            (plan.without_line, "contracts beyond the market-data lines"),
            (
                plan.underlyings_without_line,
                "underlyings beyond the market-data lines: their price is unknown",
            ),
            (len(view.unknown), "contracts that IBKR does not know"),
            (view.unidentified, "position rows that could not be read"),
            (len(self._reader.unanswered), "subscriptions without an answer"),
        )
        problems = [f"{number} {words}" for number, words in claims if number]
        return [*problems, self._trouble] if self._trouble else problems

    async def _send(self, message: str) -> None:
        failure: FeedInterrupted | None = None
        try:
            await send(self._socket, message)
        except FeedInterrupted as exc:
            failure = exc
        if failure is not None:
            await trio.sleep(_LAST_FRAMES_LIMIT_S)
            raise failure

    def _shortened(self, interval_s: float) -> float:
        return interval_s * (1 - _JITTER * self._jitter())
