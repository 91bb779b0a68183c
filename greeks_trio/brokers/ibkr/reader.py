"""Frames -> ticks: the loop that reads one connection, and nothing that waits for others.

This is the hot path: one frame costs some tens of microseconds of one core.
"""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Final, NoReturn

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from greeks_trio.brokers.feed import HAND_OVER_LIMIT_S, TickSender
from greeks_trio.brokers.ibkr.protocol import IbkrProtocol
from greeks_trio.brokers.ibkr.protocol_events import (
    Counted,
    Event,
    FieldsSeen,
    GatewayError,
    GatewayHeartbeat,
    GatewayReady,
    GreeksQuote,
    SessionNews,
    SessionWanted,
    encode_session,
)
from greeks_trio.brokers.ibkr.subscriptions import Lines, Wanted
from greeks_trio.brokers.ibkr.websocket import send, translated
from greeks_trio.errors import BadQuote, ProtocolViolation
from greeks_trio.model.contracts import Conid, ContractKey
from greeks_trio.model.normalise import Quote, normalise
from greeks_trio.model.records import FrameTicks, UnifiedPositionRecord
from greeks_trio.pipeline.health import SessionHealth

logger = logging.getLogger(__name__)

# Enough error frames in the log to see what is going on.
_LOGGED_ERRORS: Final = 20


class FrameReader:
    """Reads one connection and remembers what its frames said.

    Attributes:
        options: What to make ticks of; whoever subscribes sets it.
        unanswered: Contracts with an open gap; their first frame ends it.
        ready: Set by the first ``system`` frame: requests are heard from now on.
        changed: Set when the first frame of a contract ended its gap.
        doubt: Set when a frame says that the session may be lost.
        last_frame_at: When the last frame of any kind was read, `trio.current_time`.
    """

    def __init__(
        self,
        health: SessionHealth,
        out: TickSender,
        lines: Lines,
        *,
        session_id: str,
        unanswered: set[ContractKey],
    ) -> None:
        self._health = health
        self._out = out
        self._lines = lines
        self._session_id = session_id
        self._protocol = IbkrProtocol()
        self._errors = 0
        self.options: dict[Conid, Wanted] = {}
        self.unanswered = unanswered
        self.ready = trio.Event()
        self.changed = trio.Event()
        self.doubt = trio.Event()
        self.last_frame_at = trio.current_time()

    async def run(self, socket: WebSocketConnection) -> NoReturn:
        """Read frames until the peer closes; what came before the close is taken.

        Cancelled, it leaves no frame half handed over.

        Raises:
            FeedInterrupted: the connection was closed.
        """
        with translated((ConnectionClosed,)):
            while True:
                frame = await socket.get_message()
                self.last_frame_at = trio.current_time()
                ticks, is_session_wanted = self._take(frame)
                if ticks:
                    await self._hand_over(FrameTicks("ibkr", self.last_frame_at, ticks))
                if is_session_wanted:
                    await send(socket, encode_session(self._session_id))

    def forget(self, conid: Conid) -> None:
        """Drop what is remembered of a conid that is no longer subscribed."""
        self._protocol.forget(conid)

    def _take(self, frame: bytes | str) -> tuple[list[UnifiedPositionRecord], bool]:
        """Return the frame's ticks, and whether it asks for the session."""
        received_at = self._health.now()
        self._health.frame_read(received_at)
        ticks: list[UnifiedPositionRecord] = []
        is_session_wanted = False
        try:
            events = self._protocol.receive_frame(
                frame, int(received_at.timestamp() * 1000)
            )
        except ProtocolViolation as violation:
            self._health.odd_frame(violation, (self._session_id,))
            return ticks, False
        for event in events:
            if isinstance(event, GreeksQuote):
                ticks += self._make_ticks(event, received_at)
                self._note_answer(event.conid)
            elif isinstance(event, SessionWanted):
                is_session_wanted = True
            else:
                self._note(event)
        return ticks, is_session_wanted

    def _make_ticks(
        self, event: GreeksQuote, received_at: datetime
    ) -> list[UnifiedPositionRecord]:
        wanted = self.options.get(event.conid)
        if wanted is None:  # on its way when the contract was unsubscribed
            self._health.count("quote.not-wanted")
            return []
        underlying = wanted.underlying_conid
        quote = Quote(
            broker="ibkr",
            contract=wanted.contract,
            greeks=event.greeks,
            event_time_ms=event.event_time_ms,
            received_at=received_at,
            underlying_price=(
                None
                if underlying is None
                else self._protocol.underlying_price(underlying)
            ),
            availability=event.availability,
            source_payload=event.payload,
        )
        try:
            made = normalise(quote, wanted.holders)
        except BadQuote as exc:
            self._health.count(f"quote.{exc.reason}")
            return []
        for word in made.mended:
            self._health.count(f"mended.{word}")
        return made.ticks

    async def _hand_over(self, frame_ticks: FrameTicks) -> None:
        try:
            self._out.send_nowait(frame_ticks)
        except trio.WouldBlock:
            # Read, so ours: a stop must not lose it.
            with trio.move_on_after(HAND_OVER_LIMIT_S, shield=True) as scope:
                await self._out.send(frame_ticks)
            if scope.cancelled_caught:
                lost = len(frame_ticks.ticks)
                self._health.count("tick.not-handed-over", lost)
                logger.critical("ibkr.ticks_lost ticks=%d", lost)

    def _note(self, event: Event) -> None:
        match event:
            case FieldsSeen(conid=conid):
                self._note_answer(conid)
            case GatewayHeartbeat():
                self._health.heartbeat()
            case GatewayReady():
                self.ready.set()
            case SessionNews(authenticated=authenticated, competing=competing):
                if authenticated is False or competing is True:
                    self.doubt.set()
            case GatewayError(message=message):
                self._note_error(message)
            case Counted(name=name):
                self._health.count(name)

    def _note_answer(self, conid: Conid) -> None:
        if not self._lines.answer(conid):
            return
        wanted = self.options.get(conid)
        if wanted is not None and wanted.contract.contract_key in self.unanswered:
            self.unanswered.discard(wanted.contract.contract_key)
            self._health.gap_ended(wanted.contract.contract_key)
            self.changed.set()

    def _note_error(self, message: str) -> None:
        self._health.count("gateway.error")
        self._errors += 1
        if self._errors <= _LOGGED_ERRORS:
            message = message.replace(self._session_id, "***")
            logger.warning("ibkr.error_frame message=%s", message)
