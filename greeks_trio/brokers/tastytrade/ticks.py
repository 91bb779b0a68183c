"""Frames -> ticks: the loop that reads one connection.

This is the hot path.  Events that are not market data go to the connection.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import NoReturn

import trio

from greeks_trio.brokers.tastytrade.handshake import AGGREGATION_PERIODS_S
from greeks_trio.brokers.tastytrade.positions.wanted import WantedContracts
from greeks_trio.brokers.tastytrade.shortfalls import StreamReport
from greeks_trio.brokers.tastytrade.unreadable import UnreadableGreeks
from greeks_trio.brokers.tastytrade.wire.messages import (
    GreeksEvent,
    OddRows,
    QuoteEvent,
    TradeEvent,
)
from greeks_trio.brokers.tastytrade.wire.protocol import DxlinkProtocol, Event
from greeks_trio.errors import BadQuote, ProtocolViolation
from greeks_trio.feeds.feed import TickSender
from greeks_trio.feeds.hand_over import hand_over
from greeks_trio.feeds.health import FeedHealth
from greeks_trio.feeds.silence import SilenceWatch
from greeks_trio.feeds.websocket import WebSocket
from greeks_trio.model.records import Tick


class FrameReader:
    """Reads the frames of one connection.

    Args:
        health: Counts frames and oddities.
        out: Takes the ticks, one item for the frames that were read together.
        contracts: Makes the ticks.
        report: Is told which contracts bring Greeks.
        unreadable: Is told whether Greeks can be read.
        silence: Measures how long no frame comes.
        obey: Takes each event that is not market data, after the ticks that were read with it.
    """

    def __init__(
        self,
        health: FeedHealth,
        out: TickSender,
        contracts: WantedContracts,
        report: StreamReport,
        unreadable: UnreadableGreeks,
        silence: SilenceWatch,
        *,
        obey: Callable[[Event], None],
    ) -> None:
        self._health = health
        self._out = out
        self._contracts = contracts
        self._report = report
        self._unreadable = unreadable
        self._silence = silence
        self._obey = obey
        self._protocol = DxlinkProtocol(AGGREGATION_PERIODS_S)

    async def run(self, socket: WebSocket) -> NoReturn:
        """Read frames until the connection ends.

        Hands over every frame that it has read, also when it is cancelled.

        Raises:
            FeedInterrupted: The connection is closed, or an event ends it.
        """
        while True:
            self._silence.reading()
            frames = await socket.receive()
            self._silence.heard()
            ticks, rest = self._take(frames, trio.current_time())
            if ticks:
                await hand_over(self._out, ticks, self._health)
            for event in rest:
                self._obey(event)

    def _take(
        self, frames: list[str | bytes], read_at: float
    ) -> tuple[list[Tick], list[Event]]:
        """Return the ticks of the frames, and the events that are not market data."""
        received_at = self._health.now()
        self._health.frames_read(len(frames), received_at)
        ticks: list[Tick] = []
        rest: list[Event] = []
        for frame in frames:
            try:
                events = self._protocol.receive_frame(frame)
            except ProtocolViolation as violation:
                self._health.odd_frame(violation)
                continue
            for event in events:
                match event:
                    case GreeksEvent():
                        ticks += self._make_ticks(event, received_at, read_at)
                    case TradeEvent():
                        self._contracts.take_trade(
                            event, received_at, self._health.count
                        )
                    case QuoteEvent():
                        self._contracts.take_quote(
                            event, received_at, self._health.count
                        )
                    case OddRows():
                        self._take_odd_rows(event)
                    case _:
                        rest.append(event)
        return ticks, rest

    def _make_ticks(
        self, event: GreeksEvent, received_at: datetime, read_at: float
    ) -> list[Tick]:
        self._unreadable.take_readable()
        ticks: list[Tick] = []
        try:
            ticks = self._contracts.ticks(
                event,
                received_at=received_at,
                read_at=read_at,
                count=self._health.count,
                kept_payloads=self._health.kept_payloads,
            )
        except BadQuote as exc:
            self._health.count(f"quote.{exc.reason}")
        self._report.event(event.symbol, read_at, has_greeks=bool(ticks))
        return ticks

    def _take_odd_rows(self, rows: OddRows) -> None:
        violation = ProtocolViolation(rows.reason, frame=rows.text)
        self._health.odd_frame(violation)
        if rows.event_type == "Greeks":
            self._unreadable.take_odd(rows.reason)
