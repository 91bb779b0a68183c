"""Frames -> ticks: the loop that reads one connection.

This is the hot path: one frame costs some ten microseconds of one core.
"""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Final, NoReturn

import trio

from greeks_trio.brokers.ibkr.lines.plan import WantedContract
from greeks_trio.brokers.ibkr.state import StreamState
from greeks_trio.brokers.ibkr.wire.events import (
    AvailabilityNoted,
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
from greeks_trio.brokers.ibkr.wire.fields import LETTER_WORDS
from greeks_trio.brokers.ibkr.wire.protocol import IbkrProtocol
from greeks_trio.errors import BadQuote, ProtocolViolation
from greeks_trio.feeds.feed import TickSender
from greeks_trio.feeds.hand_over import hand_over
from greeks_trio.feeds.health import FeedHealth
from greeks_trio.feeds.silence import SilenceWatch
from greeks_trio.feeds.websocket import WebSocket
from greeks_trio.foreign_text import clean
from greeks_trio.model.normalise import normalise
from greeks_trio.model.records import Tick
from greeks_trio.model.underlying_price import UnderlyingPrice

logger = logging.getLogger(__name__)

# The log shows only the first error frames of a connection.
_LOGGED_ERRORS: Final = 20


class FrameReader:
    """Reads the frames of one connection.

    Args:
        health: Counts frames and oddities.
        out: Takes the ticks, one item for the frames that were read together.
        state: Takes the reports about the connection.
        protocol: Reads the frames.
        silence: Measures how long no frame comes.
    """

    def __init__(
        self,
        health: FeedHealth,
        out: TickSender,
        state: StreamState,
        protocol: IbkrProtocol,
        silence: SilenceWatch,
    ) -> None:
        self._health = health
        self._out = out
        self._state = state
        self._protocol = protocol
        self._silence = silence
        self._errors = 0

    async def run(self, socket: WebSocket) -> NoReturn:
        """Read frames until the connection ends.

        Hands over every frame that it has read, also when it is cancelled.

        Raises:
            FeedInterrupted: The connection is closed.
        """
        while True:
            self._silence.reading()
            frames = await socket.receive()
            self._silence.heard()
            ticks, is_session_wanted = self._take(frames, trio.current_time())
            if ticks:
                await hand_over(self._out, ticks, self._health)
            if is_session_wanted:
                await socket.send(encode_session(self._state.session_id))

    def _take(
        self, frames: list[bytes | str], read_at: float
    ) -> tuple[list[Tick], bool]:
        """Return the ticks of the frames, and whether one of them asks for the session."""
        received_at = self._health.now()
        received_ms = int(received_at.timestamp() * 1000)
        self._health.frames_read(len(frames), received_at)
        receive_frame = self._protocol.receive_frame
        ticks: list[Tick] = []
        is_session_wanted = False
        for frame in frames:
            try:
                events = receive_frame(frame, received_ms)
            except ProtocolViolation as violation:
                self._health.odd_frame(violation)
                continue
            for event in events:
                if isinstance(event, GreeksQuote):
                    made = self._make_ticks(event, received_at, read_at)
                    self._state.frame_came(event.conid, read_at, has_greeks=bool(made))
                    ticks += made
                elif isinstance(event, SessionWanted):
                    is_session_wanted = True
                else:
                    self._note(event, received_at, read_at)
        return ticks, is_session_wanted

    def _make_ticks(
        self, event: GreeksQuote, received_at: datetime, read_at: float
    ) -> list[Tick]:
        wanted = self._state.options.get(event.conid)
        if wanted is None:  # an underlying has no Greeks of its own
            self._health.count("quote.not-wanted")
            return []
        in_rotation = event.conid in self._state.rotation
        try:
            ticks = normalise(
                event,
                wanted.contract,
                wanted.holders,
                broker="ibkr",
                availability=event.availability,
                underlying_price=self.underlying_price(wanted),
                received_at=received_at,
                read_at=read_at,
                count=self._health.count,
                in_rotation=in_rotation,
                kept_payloads=self._health.kept_payloads,
            )
        except BadQuote as exc:
            self._health.count(f"quote.{exc.reason}")
            return []
        if in_rotation:
            record = ticks[0].record
            self._state.rotation.risks.note(
                event.conid, record.gamma, record.vega, record.underlying_price
            )
        return ticks

    def underlying_price(self, wanted: WantedContract) -> UnderlyingPrice | None:
        """Return the price of the option's underlying, `None` while it has none."""
        if wanted.underlying_conid is None:
            return None
        is_future = wanted.contract.kind == "future_option"
        return self._protocol.underlying_price(
            wanted.underlying_conid,
            "future" if is_future else "share",
            self._health.count,
        )

    def _note(self, event: Event, received_at: datetime, read_at: float) -> None:
        match event:
            case FieldsSeen(conid=conid):
                self._state.frame_came(conid, read_at, has_greeks=False)
            case AvailabilityNoted(conid=conid, letter=letter):
                word = LETTER_WORDS.get(letter, "unknown")
                self._health.count(f"availability.{word}")
                self._state.letter_came(conid, letter)
            case GatewayHeartbeat():
                self._health.heartbeat()
            case GatewayReady():
                if self._state.gateway_ready():
                    self._health.count("gateway.ready-again")
            case SessionNews(has_session=False):
                self._health.count("session.doubted")
                self._state.session_doubted(lost_at=received_at)
            case SessionNews(competing=True):
                self._health.count("session.doubted")
                self._state.session_doubted(lost_at=None)
            case GatewayError(message=message):
                self._note_error(message)
            case Counted(name=name):
                self._health.count(name)

    def _note_error(self, message: str) -> None:
        self._health.count("gateway.error")
        self._errors += 1
        if self._errors <= _LOGGED_ERRORS:
            logger.warning("ibkr.error_frame message=%s", clean(message))
