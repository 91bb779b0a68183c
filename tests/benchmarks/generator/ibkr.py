"""The gateway of the generator: the simulated one, and prepared frames of market data."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import partial
from itertools import count

import trio

from greeks_trio.simulators.ibkr import topics
from greeks_trio.simulators.ibkr.broker import SimulatedIbkr
from greeks_trio.simulators.ibkr.login import GatewayLogin
from greeks_trio.simulators.ibkr.stream import IbkrStream
from greeks_trio.simulators.market import SimulatedOption
from greeks_trio.simulators.server.door import Closing, Door
from greeks_trio.simulators.server.http import Request
from greeks_trio.simulators.server.websocket import ServerWebSocket
from tests.benchmarks.generator.ledger import VALUE_SETS, Contract, Ledger
from tests.benchmarks.generator.pump import Pump
from tests.benchmarks.generator.values import value_sets

# A third of the frames also have prices, as in `greeks_trio.simulators.ibkr.frames`.
_PRICES_EVERY = 3
# The time in a frame has so many digits until the year 2286.
_TIME_DIGITS = 13


class IbkrFrames:
    """Frames of the subscribed contracts, which take turns."""

    def __init__(
        self, keys: Sequence[str], ledger: Ledger, *, server_ids: count[int]
    ) -> None:
        self._ledger = ledger
        self._values = [_value_text(number) for number in range(VALUE_SETS)]
        self._lines = [_envelope(key, next(server_ids)) for key in keys]
        self._last_ms = [0] * len(keys)
        longest = max(map(len, self._values)) + max(
            len(head) + len(tail) for head, tail in self._lines
        )
        self._headers = [_header(size) for size in range(longest + _TIME_DIGITS + 1)]
        self._turn = 0
        self._number = 0

    def take(self, count: int, now_ms: int) -> list[bytes]:
        """Return one frame for each tick, with the bytes of WebSocket before it."""
        frames: list[bytes] = []
        lines, values, headers = self._lines, self._values, self._headers
        last_ms, note = self._last_ms, self._ledger.ticks.append
        turn, number = self._turn, self._number
        for _ in range(count):
            event_ms = last_ms[turn] + 1
            if event_ms < now_ms:
                event_ms = now_ms
            last_ms[turn] = event_ms
            head, tail = lines[turn]
            changed = values[number]
            size = len(head) + _TIME_DIGITS + len(changed) + len(tail)
            frames.append(
                b"%b%b%d%b%b" % (headers[size], head, event_ms, changed, tail)
            )
            note(turn * VALUE_SETS + number)
            note(event_ms)
            turn += 1
            if turn == len(lines):
                turn = 0
            number += 1
            if number == VALUE_SETS:
                number = 0
        self._turn, self._number = turn, number
        return frames


class GeneratorIbkr(SimulatedIbkr):
    """A gateway whose connections also get prepared frames.

    Attributes:
        pump: The load on the connection, once every held option is subscribed.
    """

    def prepare(
        self,
        options: Sequence[SimulatedOption],
        ledger: Ledger,
        *,
        one_record_a_frame: bool,
    ) -> None:
        """Take what the constructor of the simulator does not know."""
        self.pump: Pump | None = None
        self.ready = trio.Event()
        self._options = {each.conid: each for each in options}
        self._tick_ledger = ledger
        self._one_record_a_frame = one_record_a_frame
        [gateway] = self._gateways
        serve = partial(self._serve_socket, gateway.login)
        gateway.door = Door(gateway.respond, serve)

    async def _serve_socket(
        self,
        login: GatewayLogin,
        socket: ServerWebSocket,
        request: Request,
        _closing: Closing,
    ) -> None:
        tapped = _TappedSocket(socket, self._wanted)
        client = IbkrStream(
            self._state, login, tapped, request, self._clients.note_change
        )
        with self._clients.serving(client):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._make_pump, tapped)
                await client.run()
                nursery.cancel_scope.cancel()

    def _wanted(self, key: str) -> bool:
        return int(key.partition("@")[0]) in self._options

    async def _make_pump(self, socket: _TappedSocket) -> None:
        await self.wait_subscribed(self._options)
        keys = list(socket.keys)
        account_id = self._state.account_positions.account_ids[0]
        self._tick_ledger.write_contracts(
            [
                Contract(
                    account_id,
                    self._options[int(key.partition("@")[0])].contract.contract_key,
                )
                for key in keys
            ]
        )
        frames = IbkrFrames(keys, self._tick_ledger, server_ids=count(1))
        send = socket.send_records if self._one_record_a_frame else socket.send_frames
        self.pump = Pump(self._tick_ledger, frames, send)
        self.ready.set()


class _TappedSocket:
    """A WebSocket that tells which options its client has subscribed."""

    def __init__(self, socket: ServerWebSocket, wanted) -> None:
        self.keys: dict[str, None] = {}
        self._wrapped = socket
        self._wanted = wanted

    def __getattr__(self, name: str):
        return getattr(self._wrapped, name)

    async def receive(self) -> list[str] | None:
        messages = await self._wrapped.receive()
        for text in messages or ():
            request = topics.parse_request(text)
            if isinstance(request, topics.Subscribe) and self._wanted(request.key):
                self.keys[request.key] = None
        return messages

    async def send_frames(self, frames: list[bytes]) -> None:
        """Send frames that have their WebSocket header, in as few TLS records as go."""
        self._wrapped._buffer += b"".join(frames)
        await self._wrapped.flush()

    async def send_records(self, frames: list[bytes]) -> None:
        """Send each frame in a TLS record of its own, with one call of the kernel."""
        async with self._wrapped._sending:
            stream = self._wrapped._stream
            for frame in frames[:-1]:
                stream._ssl_object.write(frame)  # into the buffer of the next send
            await stream.send_all(frames[-1])
        await self._wrapped.flush()


def _envelope(key: str, number: int) -> tuple[bytes, bytes]:
    """Return a frame's text before and after the time and the changed values."""
    conid = key.partition("@")[0]
    head = (
        f'{{"server_id":"q{number}","conidEx":"{key}","conid":{conid},"_updated":'
    ).encode()
    return head, f',"6119":"q{number}","topic":"smd+{key}"}}'.encode()


def _value_text(number: int) -> bytes:
    delta, gamma, theta, vega, _, volatility = value_sets()[number]
    text = (
        f',"7308":"{delta:.3f}","7309":"{gamma:.3f}","7310":"{theta:.3f}"'
        f',"7311":"{vega:.3f}","7633":"{volatility * 100:.1f}%"'
    )
    if number % _PRICES_EVERY == 0:
        price = 1.0 + number / 100
        text += (
            f',"31":"{price:.2f}","84":"{price - 0.01:.2f}","86":"{price + 0.01:.2f}"'
        )
    return text.encode()


def _header(size: int) -> bytes:
    """Return the header of a whole binary frame of a server (RFC 6455)."""
    return b"\x82%c" % size if size < 126 else b"\x82\x7e" + struct.pack("!H", size)
