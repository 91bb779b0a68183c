"""The sockets of a simulated DXLink server: one call serves one client.

`DxlinkSession` decides what is said; here are the clocks and the socket.  One task
writes, so that frames leave in order and the ledger has each tick just before its
frame: what a client never reads because it is gone is not in the ledger, but for the
frame under way.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from greeks_trio.simulators.dxlink_session import KEEPALIVE_TIMEOUT_S, DxlinkSession
from greeks_trio.simulators.greeks_tape import GreeksTape
from greeks_trio.simulators.http_door import Closing

KEEPALIVE_INTERVAL_S: Final = 30.0


async def serve_dxlink(
    socket: WebSocketConnection,
    closing: Closing,
    tape: GreeksTape,
    is_valid_token: Callable[[str], bool],
    *,
    seed: int = 0,
) -> None:
    """Serve one client; ends with its socket, also when ``closing`` is requested."""
    client = _DxlinkClient(socket, closing, tape, is_valid_token, seed)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.run_reader, name="dxlink reader")
        nursery.start_soon(client.run_keepalive, name="dxlink keepalive")
        nursery.start_soon(client.run_closer, name="dxlink closer")
        await client.run_writer()
        nursery.cancel_scope.cancel()


class _DxlinkClient:
    def __init__(
        self,
        socket: WebSocketConnection,
        closing: Closing,
        tape: GreeksTape,
        is_valid_token: Callable[[str], bool],
        seed: int,
    ) -> None:
        self._socket = socket
        self._closing = closing
        self._tape = tape
        self._wake = trio.Event()
        self._session = DxlinkSession(tape, is_valid_token, self._notify, seed=seed)

    async def run_reader(self) -> None:
        """Read until the client closes or is silent for too long."""
        while True:
            with trio.move_on_after(KEEPALIVE_TIMEOUT_S) as patience:
                try:
                    frame = await self._socket.get_message()
                except ConnectionClosed:
                    self._session.abandon()
                    return
                self._session.receive_frame(frame)
            if patience.cancelled_caught:
                self._session.time_out(KEEPALIVE_TIMEOUT_S)
                return

    async def run_keepalive(self) -> None:
        """Send a KEEPALIVE in time for us and for the client, until cancelled."""
        while True:
            patience = self._session.client_timeout_s / 2
            await trio.sleep(min(KEEPALIVE_INTERVAL_S, patience))
            self._session.keep_alive()

    async def run_closer(self) -> None:
        """Wait for the request to close, pass it on, return."""
        await self._closing.requested.wait()
        self._session.finish()

    async def run_writer(self) -> None:
        """Send what there is to send; return when the session is over and closed."""
        try:
            while not (self._session.is_finished and self._is_idle()):
                await self._wait_due()
                for frame in self._session.take_frames(trio.current_time()):
                    self._tape.write_down(frame.events)
                    await self._socket.send_message(frame.text)
        except ConnectionClosed:
            pass
        finally:
            self._session.abandon()
        await self._close()

    async def _wait_due(self) -> None:
        due_at = self._session.next_due_at()
        if due_at > trio.current_time():
            with trio.CancelScope(deadline=due_at):
                await self._wake.wait()
        self._wake = trio.Event()

    async def _close(self) -> None:
        if self._closing.requested.is_set():
            await self._socket.aclose(self._closing.code, self._closing.reason)
        else:
            await self._socket.aclose(1000, "Bye")

    def _is_idle(self) -> bool:
        return self._session.next_due_at() == math.inf

    def _notify(self) -> None:
        self._wake.set()
