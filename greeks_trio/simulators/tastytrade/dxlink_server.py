"""The sockets of a simulated DXLink server: one call serves one client.

`DxlinkSession` makes the frames; here are the clocks and the socket.  One task writes,
so that frames leave in order, and the ledger has each tick just before its frame.  Ticks
for a client that has gone are not in the ledger, except those of the frame under way.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import trio

from greeks_trio.simulators.server.door import Closing
from greeks_trio.simulators.server.websocket import PONG, ServerWebSocket
from greeks_trio.simulators.tastytrade.dxlink_messages import Outgoing
from greeks_trio.simulators.tastytrade.dxlink_session import (
    KEEPALIVE_TIMEOUT_S,
    DxlinkSession,
)
from greeks_trio.simulators.tastytrade.greeks_tape import GreeksTape

KEEPALIVE_INTERVAL_S: Final = 30.0


async def serve_dxlink(
    socket: ServerWebSocket,
    closing: Closing,
    tape: GreeksTape,
    is_valid_token: Callable[[str], bool],
    *,
    seed: int = 0,
    sessions: set[DxlinkSession] | None = None,
) -> None:
    """Serve one client until its socket ends or ``closing`` is requested.

    During this time its session is in ``sessions``.
    """
    client = _DxlinkClient(socket, closing, tape, is_valid_token, seed)
    sessions = set() if sessions is None else sessions
    with client.watched(sessions):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.run_reader, name="dxlink reader")
            nursery.start_soon(client.run_keepalive, name="dxlink keepalive")
            nursery.start_soon(client.run_closer, name="dxlink closer")
            nursery.start_soon(client.run_halter, name="dxlink halter")
            await client.run_writer()
            nursery.cancel_scope.cancel()


class _DxlinkClient:
    def __init__(
        self,
        socket: ServerWebSocket,
        closing: Closing,
        tape: GreeksTape,
        is_valid_token: Callable[[str], bool],
        seed: int,
    ) -> None:
        self._socket = socket
        self._closing = closing
        self._tape = tape
        self._deliveries = tape.open_deliveries(socket)
        self._wake = trio.Event()
        self._session = DxlinkSession(tape, is_valid_token, self._notify, seed=seed)
        # Frames that were taken from the session and are not sent yet.
        self._frames: deque[Outgoing] = deque()

    @contextmanager
    def watched(self, sessions: set[DxlinkSession]) -> Iterator[None]:
        """Apply faults to this client within the block."""
        watchers = self._tape.conditions.watchers
        sessions.add(self._session)
        watchers.add(self._notify)
        try:
            yield
        finally:
            sessions.discard(self._session)
            watchers.discard(self._notify)
            self._deliveries.ended()

    async def run_reader(self) -> None:
        """Read until the client closes; tell it once if it is silent for too long."""
        with trio.move_on_after(KEEPALIVE_TIMEOUT_S) as patience:
            while (messages := await self._socket.receive()) is not None:
                for text in messages:
                    if text != PONG:
                        patience.deadline = trio.current_time() + KEEPALIVE_TIMEOUT_S
                        self._session.receive_frame(text)
        if patience.cancelled_caught:
            self._session.time_out(KEEPALIVE_TIMEOUT_S)
            await self._socket.drain()
        self._abandon()

    async def run_keepalive(self) -> None:
        """Send KEEPALIVEs, often enough for the client's time-out, until cancelled."""
        while True:
            patience = self._session.client_timeout_s / 2
            await trio.sleep(min(KEEPALIVE_INTERVAL_S, patience))
            self._session.keep_alive()

    async def run_closer(self) -> None:
        """Wait for the request to close, then finish the session."""
        await self._closing.requested.wait()
        self._session.finish()

    async def run_halter(self) -> None:
        """Wait for the order to halt, drop the waiting frames, return."""
        await self._closing.halted.wait()
        self._abandon()

    async def run_writer(self) -> None:
        """Send all frames; return when the session is over and closed.

        After a halt it ends only by cancellation.
        """
        try:
            while not (self._session.is_finished and self._next_due_at() == math.inf):
                await self._wait_due()
                await self._send_due()
        except trio.BrokenResourceError:
            pass  # the client vanished
        finally:
            self._abandon()
        if self._closing.halted.is_set():
            await trio.sleep_forever()
        await self._close()

    async def _send_due(self) -> None:
        if not self._is_held():
            self._frames.extend(self._session.take_frames(trio.current_time()))
        if not self._socket.is_open:
            self._abandon()
        while self._frames and not self._is_held():
            frame = self._frames.popleft()
            self._tape.write_down(frame.events, self._deliveries)
            await self._socket.send_text(frame.text)

    def _next_due_at(self) -> float:
        return -math.inf if self._frames else self._session.next_due_at()

    def _is_held(self) -> bool:
        if self._closing.halted.is_set():
            return True
        is_silent = self._tape.conditions.holds("silent")
        return is_silent and not self._closing.requested.is_set()

    async def _wait_due(self) -> None:
        due_at = math.inf if self._is_held() else self._next_due_at()
        if due_at > trio.current_time():
            with trio.CancelScope(deadline=due_at):
                await self._wake.wait()
        self._wake = trio.Event()

    async def _close(self) -> None:
        if self._closing.requested.is_set():
            await self._socket.close(self._closing.code, self._closing.reason)
        else:
            await self._socket.close(1000, "Bye")
        await self._socket.wait_ended()

    def _abandon(self) -> None:
        self._frames.clear()
        self._session.abandon()

    def _notify(self) -> None:
        self._wake.set()
