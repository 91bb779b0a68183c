"""The Tastytrade of the generator: the simulated one, and prepared DXLink rows."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import msgspec
import trio

from greeks_trio.simulators.market import SimulatedOption
from greeks_trio.simulators.server.door import Closing
from greeks_trio.simulators.server.http import Request
from greeks_trio.simulators.server.websocket import PONG, ServerWebSocket
from greeks_trio.simulators.tastytrade.broker import SimulatedTastytrade
from greeks_trio.simulators.tastytrade.dxlink_channel import ROWS_PER_FRAME
from greeks_trio.simulators.tastytrade.dxlink_events import EVENT_FIELDS, greeks_index
from greeks_trio.simulators.tastytrade.dxlink_messages import decode_message
from greeks_trio.simulators.tastytrade.faults import STREAMER_PATH
from greeks_trio.simulators.tastytrade.instruments import streamer_symbol
from tests.benchmarks.generator.ledger import VALUE_SETS, Contract, Ledger
from tests.benchmarks.generator.pump import Pump
from tests.benchmarks.generator.values import value_sets


class DxlinkFrames:
    """FEED_DATA frames with the rows of the subscribed symbols, which take turns."""

    def __init__(
        self, channel: int, columns: Sequence[str], symbols: list[str], ledger: Ledger
    ) -> None:
        self._ledger = ledger
        self._symbols = symbols
        self._last_ms = [0] * len(symbols)
        self._rows = [_row_text(columns, number) for number in range(VALUE_SETS)]
        self._head = f'{{"type":"FEED_DATA","channel":{channel},"data":["Greeks",['
        self._turn = 0
        self._number = 0

    def take(self, count: int, now_ms: int) -> list[bytes]:
        """Return frames with these ticks; one frame has `ROWS_PER_FRAME` at most."""
        rows = self._take_rows(count, now_ms)
        return [
            _text_frame(f"{self._head}{','.join(rows[at : at + ROWS_PER_FRAME])}]]}}")
            for at in range(0, count, ROWS_PER_FRAME)
        ]

    def _take_rows(self, count: int, now_ms: int) -> list[str]:
        rows: list[str] = []
        symbols, texts, last_ms = self._symbols, self._rows, self._last_ms
        note = self._ledger.ticks.append
        turn, number = self._turn, self._number
        for _ in range(count):
            event_ms = last_ms[turn] + 1
            if event_ms < now_ms:
                event_ms = now_ms
            last_ms[turn] = event_ms
            rows.append(
                texts[number]
                % {
                    "symbol": symbols[turn],
                    "index": greeks_index(event_ms, 0),
                    "time": event_ms,
                }
            )
            note(turn * VALUE_SETS + number)
            note(event_ms)
            turn += 1
            if turn == len(symbols):
                turn = 0
            number += 1
            if number == VALUE_SETS:
                number = 0
        self._turn, self._number = turn, number
        return rows


class GeneratorTastytrade(SimulatedTastytrade):
    """A broker whose DXLink connections also get prepared frames.

    Attributes:
        pump: The load on the connection, once every held option is subscribed.
    """

    def prepare(self, options: Sequence[SimulatedOption], ledger: Ledger) -> None:
        """Take what the constructor of the simulator does not know."""
        self.pump: Pump | None = None
        self.ready = trio.Event()
        self._by_symbol = {streamer_symbol(each): each for each in options}
        self._tick_ledger = ledger

    async def _serve_socket(
        self, socket: ServerWebSocket, request: Request, closing: Closing
    ) -> None:
        if request.path == STREAMER_PATH:
            await super()._serve_socket(socket, request, closing)
            return
        tapped = _TappedSocket(socket, self._by_symbol.keys(), self._make_pump)
        await super()._serve_socket(tapped, request, closing)

    def _make_pump(self, socket: _TappedSocket) -> None:
        symbols = list(socket.symbols)
        account_id = self._positions.account_ids[0]
        self._tick_ledger.write_contracts(
            [
                Contract(account_id, self._by_symbol[each].contract.contract_key)
                for each in symbols
            ]
        )
        frames = DxlinkFrames(
            socket.channel, socket.columns, symbols, self._tick_ledger
        )
        self.pump = Pump(self._tick_ledger, frames, socket.send_frames)
        self.ready.set()


class _TappedSocket:
    """A WebSocket that tells when its client has subscribed the Greeks of all options."""

    def __init__(self, socket: ServerWebSocket, wanted, on_complete) -> None:
        self.symbols: dict[str, None] = {}
        self.channel = 0
        self.columns: Sequence[str] = EVENT_FIELDS["Greeks"]
        self._wrapped = socket
        self._wanted = wanted
        self._on_complete = on_complete

    def __getattr__(self, name: str):
        return getattr(self._wrapped, name)

    async def receive(self) -> list[str] | None:
        messages = await self._wrapped.receive()
        for text in messages or ():
            if text != PONG:
                self._look_at(text)
        return messages

    async def send_frames(self, frames: list[bytes]) -> None:
        """Send frames that have their WebSocket header."""
        self._wrapped._buffer += b"".join(frames)
        await self._wrapped.flush()

    def _look_at(self, text: str) -> None:
        try:
            message = decode_message(text)
        except msgspec.DecodeError:
            return
        if message.type == "FEED_SETUP":
            wished = (message.accept_event_fields or {}).get("Greeks")
            known = EVENT_FIELDS["Greeks"]
            self.columns = [each for each in wished or known if each in known]
        new = [
            each.symbol
            for each in message.add
            if each.type == "Greeks" and each.symbol in self._wanted
        ]
        if new:
            self.channel = message.channel
            self.symbols |= dict.fromkeys(new)
            if len(self.symbols) == len(self._wanted):
                self._on_complete(self)


def _row_text(columns: Sequence[str], number: int) -> str:
    """Return a row as a format: the symbol, the index and the time are missing."""
    delta, gamma, theta, vega, rho, volatility = value_sets()[number]
    values: dict[str, object] = {
        "eventType": '"Greeks"',
        "eventSymbol": '"%(symbol)s"',
        "eventTime": 0,
        "eventFlags": 0,
        "index": "%(index)d",
        "time": "%(time)d",
        "sequence": 0,
        "price": 1.0 + number / 100,
        "volatility": volatility,
        "delta": delta,
        "gamma": gamma,
        "theta": theta,
        "rho": rho,
        "vega": vega,
    }
    return ",".join(str(values[each]) for each in columns)


def _text_frame(text: str) -> bytes:
    """Return a whole text frame of a server (RFC 6455)."""
    data = text.encode()
    if len(data) < 126:
        return b"\x81%c" % len(data) + data
    if len(data) < 65_536:
        return b"\x81\x7e" + struct.pack("!H", len(data)) + data
    return b"\x81\x7f" + struct.pack("!Q", len(data)) + data
