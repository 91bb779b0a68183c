"""A simulated account streamer: acknowledges requests, reports changed positions.

It sends no state at the beginning and repeats nothing after a reconnect.  Every message
needs a valid access token.  A client that sends nothing for `SILENCE_LIMIT_S` is closed.

Source: developer.tastytrade.com, streaming account data.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Final

import msgspec
import trio

from greeks_trio.simulators.conditions import Conditions
from greeks_trio.simulators.server.door import Closing
from greeks_trio.simulators.server.websocket import PONG, ServerWebSocket
from greeks_trio.simulators.tastytrade.instruments import Shape

SILENCE_LIMIT_S: Final = 60.0
# Messages that may wait for a slow client; a few hundred bytes each.  Further ones are
# dropped, as after a reconnect: clients also read positions over REST.
_MAX_WAITING: Final = 1_000
_ACTIONS: Final = frozenset(
    {
        "heartbeat",
        "public-watchlists-subscribe",
        "quote-alerts-subscribe",
        "user-message-subscribe",
    }
)


class _Action(msgspec.Struct, frozen=True, rename="kebab"):
    action: str = ""
    auth_token: str = ""
    value: object = None
    request_id: int | str | None = None


class AccountStreamer:
    """Serves every client of ``/streamer``."""

    def __init__(
        self, is_bearer: Callable[[str], bool], conditions: Conditions | None = None
    ) -> None:
        self._is_bearer = is_bearer
        self._conditions = conditions or Conditions()
        self._clients: set[_Client] = set()
        self._connected = trio.Event()

    @property
    def connected(self) -> int:
        """How many clients follow an account."""
        return sum(bool(client.accounts) for client in self._clients)

    async def wait_connected(self) -> None:
        """Return when at least one client follows an account."""
        while not self.connected:
            if self._connected.is_set():  # otherwise another task waits for it already
                self._connected = trio.Event()
            await self._connected.wait()

    def tell(self, kind: str, account_id: str, shape: Shape) -> None:
        """Send a notification to every client that follows the account."""
        message = {
            "type": kind,
            "data": shape,
            "timestamp": time.time_ns() // 1_000_000,
        }
        text = msgspec.json.encode(message).decode()
        for client in self._clients:
            if account_id in client.accounts:
                client.send(text)

    async def serve(self, socket: ServerWebSocket, closing: Closing) -> None:
        """Serve one client; ends with its socket, also when ``closing`` is requested."""
        if self._conditions.holds("streamer-close"):
            await socket.close(1000)
            await socket.drain()
            return
        client = _Client(socket, closing, self._conditions)
        self._clients.add(client)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.run_writer, name="account streamer writer")
                nursery.start_soon(self._close_on_request, client, closing)
                await self._read(client)
                nursery.cancel_scope.cancel()
        finally:
            self._clients.discard(client)
            client.close()

    async def _read(self, client: _Client) -> None:
        with trio.move_on_after(SILENCE_LIMIT_S) as patience:
            while (messages := await client.socket.receive()) is not None:
                for text in messages:
                    if text != PONG:
                        patience.deadline = trio.current_time() + SILENCE_LIMIT_S
                        client.send(self._acknowledge(client, text))
        if patience.cancelled_caught:
            await client.socket.close(1000, "Bye")
            await client.socket.drain()

    async def _close_on_request(self, client: _Client, closing: Closing) -> None:
        await closing.requested.wait()
        await client.socket.close(closing.code, closing.reason)
        await client.socket.wait_ended()

    def _acknowledge(self, client: _Client, frame: str) -> str:
        try:
            wanted = msgspec.json.decode(frame, type=_Action)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            wanted = _Action()
        refusal = self._refusal(client, wanted)
        answer: Shape = {
            "status": "error" if refusal else "ok",
            "action": wanted.action,
            "web-socket-session-id": client.session_id,
        }
        if refusal:
            answer["message"] = refusal
        elif wanted.action == "connect":
            client.accounts = frozenset(_texts(wanted.value))
            answer["value"] = sorted(client.accounts)
            self._connected.set()
        if wanted.request_id is not None:
            answer["request-id"] = wanted.request_id
        return msgspec.json.encode(answer).decode()

    def _refusal(self, client: _Client, wanted: _Action) -> str | None:
        if not self._is_bearer(wanted.auth_token):
            return "failed"
        if wanted.action == "connect":
            return None if _texts(wanted.value) else "failed"
        if wanted.action not in _ACTIONS:
            return "not-implemented"
        return None if client.accounts else "connect-not-completed"


class _Client:
    """One socket, its accounts, and the messages that wait to be sent."""

    def __init__(
        self, socket: ServerWebSocket, closing: Closing, conditions: Conditions
    ) -> None:
        self.session_id = secrets.token_hex(4)
        self.accounts: frozenset[str] = frozenset()
        self.socket = socket
        self._closing = closing
        self._conditions = conditions
        self._send, self._waiting = trio.open_memory_channel[str](_MAX_WAITING)

    def send(self, text: str) -> None:
        """Send a message, or drop it when too many wait."""
        try:
            self._send.send_nowait(text)
        except (trio.WouldBlock, trio.BrokenResourceError, trio.ClosedResourceError):
            return

    async def run_writer(self) -> None:
        """Send until the socket or the channel is closed, or until cancelled."""
        with self._waiting:
            async for text in self._waiting:
                await self._conditions.wait_over("silent")
                if self._closing.halted.is_set():
                    await trio.sleep_forever()
                await self.socket.send_text(text)

    def close(self) -> None:
        self._send.close()


def _texts(value: object) -> list[str]:
    items = value if isinstance(value, list) else [value]
    return [item for item in items if isinstance(item, str)]
