"""Frames -> ticks: the loop that reads one connection, and nothing that waits for others.

This is the hot path: one frame costs some tens of microseconds of one core.
"""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Final, NoReturn

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from greeks_trio.brokers.ibkr.lines.plan import WantedContracts
from greeks_trio.brokers.ibkr.lines.quiet import QuietLines
from greeks_trio.brokers.ibkr.lines.renewals import LineSchedule
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
from greeks_trio.feeds.websocket import send, translated
from greeks_trio.model.contracts import Conid
from greeks_trio.model.normalise import normalise
from greeks_trio.model.records import Tick

logger = logging.getLogger(__name__)

# What the status page tells of; realtime data and, after the close, frozen ones are usual.
_SHOWN_LETTERS: Final = frozenset("DYNO")
# Enough error frames in the log to see what is going on.
_LOGGED_ERRORS: Final = 20


class FrameReader:
    """Reads one connection and remembers what its frames said.

    Attributes:
        options: What to make ticks of; whoever subscribes sets it.
        session_id: What the gateway may ask for; whoever renews the session sets it.
        letters: The first letter of field 6509, by conid.
        ready: Set by the first ``system`` frame: requests are heard from now on.
        is_restarted: The gateway said so again: what was asked before is forgotten.
        changed: Set when a frame changes what there is to ask for or to report.
        doubt: Set when a frame says that the session may be lost, or a request failed.
        was_doubted: Whether a frame has said so and nothing was asked again since.
        is_doubted: The same until that has been in the status for a while; whoever
            settles the doubt clears it.
        lost_since: When a frame first said that the session is lost, likewise.
        last_frame_at: When the last frame of any kind was read, `trio.current_time`.
        is_held_up: Whether a frame waits for the pipeline, so that none is read.
    """

    def __init__(
        self,
        health: FeedHealth,
        out: TickSender,
        lines: LineSchedule,
        watch: QuietLines,
        *,
        session_id: str,
    ) -> None:
        self._health = health
        self._out = out
        self._lines = lines
        self._watch = watch
        self._protocol = IbkrProtocol(lines)
        self._errors = 0
        self.options: dict[Conid, WantedContracts] = {}
        self.session_id = session_id
        self.letters: dict[Conid, str] = {}
        self.ready = trio.Event()
        self.is_restarted = False
        self.changed = trio.Event()
        self.doubt = trio.Event()
        self.was_doubted = self.is_doubted = False
        self.lost_since: datetime | None = None
        self.last_frame_at = trio.current_time()
        self.is_held_up = False

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
                    await self._hand_over(ticks)
                if is_session_wanted:
                    await send(socket, encode_session(self.session_id))

    def forget(self, conid: Conid) -> None:
        """Drop what is remembered of a conid that is no longer subscribed."""
        self._protocol.forget(conid)
        self.letters.pop(conid, None)

    def _take(self, frame: bytes | str) -> tuple[list[Tick], bool]:
        """Return the frame's ticks, and whether it asks for the session."""
        received_at = self._health.now()
        self._health.frame_read(received_at)
        ticks: list[Tick] = []
        is_session_wanted = False
        try:
            events = self._protocol.receive_frame(
                frame, int(received_at.timestamp() * 1000)
            )
        except ProtocolViolation as violation:
            self._health.odd_frame(violation, (self.session_id,))
            return ticks, False
        for event in events:
            if isinstance(event, GreeksQuote):
                made = self._make_ticks(event, received_at)
                self._note_frame(event.conid, has_greeks=bool(made))
                ticks += made
            elif isinstance(event, SessionWanted):
                is_session_wanted = True
            else:
                self._note(event)
        return ticks, is_session_wanted

    def _make_ticks(self, event: GreeksQuote, received_at: datetime) -> list[Tick]:
        wanted = self.options.get(event.conid)
        if wanted is None:  # an underlying has no Greeks of its own
            self._health.count("quote.not-wanted")
            return []
        underlying = wanted.underlying_conid
        try:
            return normalise(
                event,
                wanted.contract,
                wanted.holders,
                broker="ibkr",
                availability=event.availability,
                underlying_price=(
                    None
                    if underlying is None
                    else self._protocol.underlying_price(underlying)
                ),
                received_at=received_at,
                read_at=self.last_frame_at,
                count=self._health.count,
            )
        except BadQuote as exc:
            self._health.count(f"quote.{exc.reason}")
            return []

    async def _hand_over(self, ticks: list[Tick]) -> None:
        self.is_held_up = True
        await hand_over(self._out, ticks, self._health)
        self.is_held_up = False

    def _note(self, event: Event) -> None:
        match event:
            case FieldsSeen(conid=conid):
                self._note_frame(conid, has_greeks=False)
            case AvailabilityNoted(conid=conid, letter=letter):
                self._note_letter(conid, letter)
            case GatewayHeartbeat():
                self._health.heartbeat()
            case GatewayReady():
                self._note_ready()
            case SessionNews(has_session=has_session, competing=competing):
                if has_session is False or competing is True:
                    self._note_doubt(is_lost=has_session is False)
            case GatewayError(message=message):
                self._note_error(message)
            case Counted(name=name):
                self._health.count(name)

    def _note_frame(self, conid: Conid, *, has_greeks: bool) -> None:
        is_late_answer = self._lines.answer(conid)
        if (
            self._watch.frame(conid, self.last_frame_at, has_greeks=has_greeks)
            or is_late_answer
        ):
            self.changed.set()

    def _note_letter(self, conid: Conid, letter: str) -> None:
        word = LETTER_WORDS.get(letter, "unknown")
        self._health.count(f"availability.{word}")
        before = self.letters.get(conid, "")
        self.letters[conid] = letter
        if letter in _SHOWN_LETTERS or before in _SHOWN_LETTERS:
            self.changed.set()

    def _note_ready(self) -> None:
        if self.ready.is_set():
            self._health.count("gateway.ready-again")
            self.is_restarted = True
            self.changed.set()
        self.ready.set()

    def _note_doubt(self, *, is_lost: bool) -> None:
        self._health.count("session.doubted")
        self.was_doubted = self.is_doubted = True
        if is_lost and self.lost_since is None:
            self.lost_since = self._health.now()
        self.doubt.set()
        self.changed.set()

    def _note_error(self, message: str) -> None:
        self._health.count("gateway.error")
        self._errors += 1
        if self._errors <= _LOGGED_ERRORS:
            message = message.replace(self.session_id, "***")
            logger.warning("ibkr.error_frame message=%s", message)
