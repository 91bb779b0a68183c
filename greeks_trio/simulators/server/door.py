"""A small HTTP/1.1 server on one loopback port whose clients may turn to WebSocket.

`Door` owns the listener and every client's task.  Stopping means: no new clients, idle
HTTP connections are closed, each WebSocket is told through its `Closing` to send what
it still has and to shake hands; who does not within `CLOSE_LIMIT_S` is cut off.

`HttpConnection` reads the requests.  When one asks for an upgrade, the bytes read so
far are given again to trio-websocket, which does the handshake itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final, TypeAlias

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_server_stream

from greeks_trio.simulators.server.http import (
    HttpConnection,
    RefuseUpgrade,
    ReplayedStream,
    Respond,
    refuse_nothing,
)

# Longer than a slow client needs to read what its sockets buffer (a few MB), and
# short enough that a dead one does not hold up a stop.
CLOSE_LIMIT_S: Final = 10.0
HANDSHAKE_LIMIT_S: Final = 5.0


class Closing:
    """Tells a WebSocket's task that it should finish, and with which close code.

    Attributes:
        halted: Set when nothing more may be sent, no close either; the task is
            cancelled later.
    """

    def __init__(self) -> None:
        self.requested = trio.Event()
        self.halted = trio.Event()
        self.code = 1000
        self.reason: str | None = None

    def request(self, code: int, reason: str | None = None) -> None:
        """Ask every task that watches to finish; the first request counts."""
        if not self.requested.is_set():
            self.code, self.reason = code, reason
            self.requested.set()


ServeSocket: TypeAlias = Callable[[WebSocketConnection, Closing], Awaitable[None]]


class _SocketClient:
    """One WebSocket, while it is served."""

    def __init__(self, path: str, stream: ReplayedStream) -> None:
        self.path = path
        self.stream = stream
        self.closing = Closing()
        self.scope = trio.CancelScope()

    def halt(self) -> None:
        """Let it neither read nor write any more, without telling the other side."""
        self.stream.is_deaf = True
        self.closing.halted.set()


class Door:
    """One port on 127.0.0.1; knows nothing of what is served."""

    def __init__(
        self,
        respond: Respond,
        sockets: Mapping[str, ServeSocket],
        refuse_upgrade: RefuseUpgrade = refuse_nothing,
    ) -> None:
        self._respond = respond
        self._sockets = sockets
        self._refuse_upgrade = refuse_upgrade
        self._clients: set[_SocketClient] = set()
        self._closing = Closing()
        self._idle: set[trio.CancelScope] = set()
        self._stopped = trio.Event()
        self._pause_s = 0.0
        self._open = trio.Event()

    def stop(self) -> None:
        """Let `run` return when all that was written has reached the clients."""
        self._stopped.set()
        self._close_all(1000)

    async def drop(self, pause_s: float) -> None:
        """Close every connection and refuse new ones for this many seconds.

        Returns when new ones are accepted again, or never will be.  What was written
        reaches the clients before they are closed, and the time counts from then.
        """
        self._pause_s = pause_s
        if self._open.is_set():  # else somebody waits for it already
            self._open = trio.Event()
        self._close_all(1012, "Reconnection is required")
        await self._open.wait()

    def close_sockets(self, path: str, code: int, reason: str) -> None:
        """Close the WebSockets of one path; they may come again at once."""
        for client in self._clients:
            if client.path == path:
                client.closing.request(code, reason)

    async def halt_sockets(self, seconds: float) -> None:
        """Neither read nor write on the present WebSockets, then cut them off.

        Until then they stay open, and nothing tells the other side.  Others may come.
        """
        halted = tuple(self._clients)
        for client in halted:
            client.halt()
        try:
            with trio.move_on_after(seconds):
                await self._closing.requested.wait()
        finally:
            for client in halted:
                client.scope.cancel()

    async def wait_open(self) -> None:
        """Return when new clients are accepted, or never will be again."""
        await self._open.wait()

    async def run(
        self,
        port: int,
        *,
        task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until `stop`; started with the port when it accepts.

        After a `drop` the same port is opened again.
        """
        started = False
        while not self._stopped.is_set():
            self._closing = Closing()
            listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
            self._open.set()
            if not started:
                port = listeners[0].socket.getsockname()[1]
                task_status.started(port)
                started = True
            await self._serve(listeners)
            with trio.move_on_after(self._pause_s):
                await self._stopped.wait()
        self._open.set()

    async def _serve(self, listeners: list[trio.SocketListener]) -> None:
        async with trio.open_nursery() as clients:
            async with trio.open_nursery() as listening:
                listening.start_soon(
                    partial(
                        trio.serve_listeners,
                        self._serve_client,
                        listeners,
                        handler_nursery=clients,
                    ),
                    name="accept",
                )
                await self._closing.requested.wait()
                listening.cancel_scope.cancel()
            for scope in self._idle:
                scope.cancel()
            clients.cancel_scope.deadline = trio.current_time() + CLOSE_LIMIT_S

    async def _serve_client(self, stream: trio.SocketStream) -> None:
        http = HttpConnection(stream, self._respond, self._refuse_upgrade)
        upgrade: str | None = None
        idle = trio.CancelScope()
        self._idle.add(idle)
        try:
            with idle:
                upgrade = await http.serve_until_upgrade(self._sockets)
            self._idle.discard(idle)
            if upgrade is not None:
                await self._serve_socket(_SocketClient(upgrade, http.replayed()))
        except* (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the client is gone, which is its right
        except* ConnectionClosed:
            pass  # so it is during the handshake
        finally:
            self._idle.discard(idle)
            await trio.aclose_forcefully(stream)

    async def _serve_socket(self, client: _SocketClient) -> None:
        if self._closing.requested.is_set():
            client.closing.request(self._closing.code, self._closing.reason)
        self._clients.add(client)
        try:
            with client.scope:
                await self._shake_hands_and_serve(client)
        finally:
            self._clients.discard(client)

    async def _shake_hands_and_serve(self, client: _SocketClient) -> None:
        async with trio.open_nursery() as nursery:
            socket: WebSocketConnection | None = None
            # trio-websocket waits for ever for a handshake that went wrong.
            with trio.move_on_after(HANDSHAKE_LIMIT_S):
                request = await wrap_server_stream(nursery, client.stream)
                socket = await request.accept()
            if socket is not None:
                await self._sockets[client.path](socket, client.closing)
            nursery.cancel_scope.cancel()

    def _close_all(self, code: int, reason: str | None = None) -> None:
        self._closing.request(code, reason)
        for client in self._clients:
            client.closing.request(code, reason)
