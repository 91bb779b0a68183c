"""A small HTTP/1.1 server on one loopback port, with upgrades to WebSocket.

`Door` owns the listener and every client's task.  At a stop it accepts no new clients
and closes idle HTTP connections.  Through its `Closing`, each WebSocket's task is told
to send its waiting data and to do the closing handshake.  After `CLOSE_LIMIT_S` the
remaining connections are cut off.

`HttpConnection` reads the requests.  When a request asks for an upgrade, trio-websocket
reads its bytes again and does the opening handshake.
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

# Longer than a slow client needs to read the data in the buffers of its socket (a few
# MB), and short enough that a dead client does not delay a stop for long.
CLOSE_LIMIT_S: Final = 10.0
HANDSHAKE_LIMIT_S: Final = 5.0


class Closing:
    """Tells a WebSocket's task to finish, and the close code to use.

    Attributes:
        halted: Set when nothing more may be sent, not even a close frame; the task is
            cancelled later.
    """

    def __init__(self) -> None:
        self.requested = trio.Event()
        self.halted = trio.Event()
        self.code = 1000
        self.reason: str | None = None

    def request(self, code: int, reason: str | None = None) -> None:
        """Ask every watching task to finish; only the first request counts."""
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
        """Stop reading and writing; the client gets no sign of it."""
        self.stream.is_deaf = True
        self.closing.halted.set()


class Door:
    """One port on 127.0.0.1; its callers supply the answers."""

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
        """Let `run` return when all written data has reached the clients."""
        self._stopped.set()
        self._close_all(1000)

    async def drop(self, pause_s: float) -> None:
        """Close every connection and refuse new ones for this many seconds.

        Returns when new ones are accepted again, or after a `stop`.  Written data reaches
        the clients before their connections are closed.  The time counts from the close.
        """
        self._pause_s = pause_s
        if self._open.is_set():  # else another task waits for it already
            self._open = trio.Event()
        self._close_all(1012, "Reconnection is required")
        await self._open.wait()

    def close_sockets(self, path: str, code: int, reason: str) -> None:
        """Close the WebSockets of one path; clients may connect again at once."""
        for client in self._clients:
            if client.path == path:
                client.closing.request(code, reason)

    async def halt_sockets(self, seconds: float) -> None:
        """Stop reading and writing on the present WebSockets, then cut them off.

        For this many seconds they stay open, and their clients get no sign of it.  New
        clients are served as usual.
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
        """Return when new clients are accepted, or after a `stop`."""
        await self._open.wait()

    async def run(
        self,
        port: int,
        *,
        task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until `stop`; report the port as started when it accepts.

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
            pass  # the client has closed the connection, which is no error
        except* ConnectionClosed:
            pass  # the same during the handshake
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
            # trio-websocket waits without end when a handshake fails.
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
