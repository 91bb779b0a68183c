"""A connection's frames -> ticks, and the events that ask for something."""

from __future__ import annotations

from datetime import datetime

from greeks_trio.brokers.tastytrade.handshake import AGGREGATION_PERIODS_S
from greeks_trio.brokers.tastytrade.server_errors import UnreadableGreeks
from greeks_trio.brokers.tastytrade.subscriber import Subscriptions
from greeks_trio.brokers.tastytrade.wanted import Book
from greeks_trio.brokers.tastytrade.wire.messages import (
    GreeksEvent,
    OddRows,
    QuoteEvent,
    TradeEvent,
)
from greeks_trio.brokers.tastytrade.wire.protocol import DxlinkProtocol, Event
from greeks_trio.config.settings import Secret
from greeks_trio.errors import BadQuote, ProtocolViolation
from greeks_trio.feeds.health import FeedHealth
from greeks_trio.model.records import Tick


class Frames:
    """Takes a connection's frames in their order and counts what is odd in them."""

    def __init__(
        self,
        book: Book,
        health: FeedHealth,
        subscriptions: Subscriptions,
        unreadable: UnreadableGreeks,
        token: Secret,
    ) -> None:
        self._protocol = DxlinkProtocol(AGGREGATION_PERIODS_S)
        self._book = book
        self._health = health
        self._subscriptions = subscriptions
        self._unreadable = unreadable
        self._token = token

    def take(
        self, frame: str | bytes, *, read_at: float
    ) -> tuple[list[Tick], list[Event]]:
        """Return the frame's ticks, and the events that are for the connection.

        ``read_at`` is the monotonic clock when the frame was read, in seconds.
        """
        received_at = self._health.now()
        self._health.frame_read(received_at)
        ticks: list[Tick] = []
        rest: list[Event] = []
        try:
            events = self._protocol.receive_frame(frame)
        except ProtocolViolation as exc:
            self._health.odd_frame(exc, [self._token.reveal()])
            return ticks, rest
        for event in events:
            match event:
                case GreeksEvent():
                    ticks += self._ticks(event, received_at, read_at)
                case TradeEvent():
                    self._book.take_trade(event)
                case QuoteEvent():
                    self._book.take_quote(event)
                case OddRows():
                    self._take_odd_rows(event)
                case _:
                    rest.append(event)
        return ticks, rest

    def _ticks(
        self, event: GreeksEvent, received_at: datetime, read_at: float
    ) -> list[Tick]:
        self._unreadable.take_readable()
        self._subscriptions.heard(event.symbol)
        try:
            return self._book.ticks(
                event,
                received_at=received_at,
                read_at=read_at,
                count=self._health.count,
            )
        except BadQuote as exc:
            self._health.count(f"quote.{exc.reason}")
            return []

    def _take_odd_rows(self, rows: OddRows) -> None:
        violation = ProtocolViolation(rows.reason, frame=rows.text)
        self._health.odd_frame(violation, [self._token.reveal()])
        if rows.event_type == "Greeks":
            self._unreadable.take_odd(rows.reason)
