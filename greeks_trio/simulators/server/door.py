"""The HTTP and WebSocket server of every simulated broker, on one loopback port.

`Door` owns the listeners and every client's task.  A stop means: no new clients, idle
HTTP connections are closed, and each WebSocket is told through its `Closing` to send
everything that is written and to close.  A client that does not answer within
`CLOSE_LIMIT_S` is cut off.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeAlias

import trio
from wsproto.utilities import RemoteProtocolError

from greeks_trio.simulators.server.http import Request, Respond, Upgrade, serve_http
from greeks_trio.simulators.server.listening import Listener, open_local_listeners
from greeks_trio.simulators.server.websocket import (
    CLOSE_LIMIT_S,
    ServerStream,
    ServerWebSocket,
)


class Closing:
    """Tells a WebSocket's task to finish, and with which close code.

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
        """Ask every task that watches to finish; the first request counts."""
        if not self.requested.is_set():
            self.code, self.reason = code, reason
            self.requested.set()


ServeSocket: TypeAlias = Callable[[ServerWebSocket, Request, Closing], Awaitable[None]]


class _SocketClient:
    """One WebSocket, while it is served."""

    def __init__(self, socket: ServerWebSocket, request: Request) -> None:
        self.socket = socket
        self.request = request
        self.closing = Closing()
        self.scope = trio.CancelScope()

    def halt(self) -> None:
        """Stop reading and writing without telling the other side."""
        self.socket.is_deaf = True
        self.closing.halted.set()


class Door:
    """One port of this machine.

    ``respond`` answers each request, or returns `None` to let ``serve_socket`` serve
    the client as a WebSocket.
    """

    def __init__(
        self, respond: Respond, serve_socket: ServeSocket | None = None
    ) -> None:
        self._respond = respond
        self._serve_websocket = serve_socket
        self._clients: set[_SocketClient] = set()
        self._closing = Closing()
        self._http: set[trio.CancelScope] = set()
        self._http_held_until = 0.0
        self._stopped = trio.Event()
        self._pause_s = 0.0
        self._open = trio.Event()

    def stop(self) -> None:
        """Let `run` return when everything that was written has reached the clients."""
        self._stopped.set()
        self._close_all(1000)

    async def drop(self, pause_s: float) -> None:
        """Close every connection and refuse new ones for this many seconds.

        Returns when new ones are accepted again, or never will be.  Everything that was
        written reaches the clients before they are closed; the time counts from then.
        """
        self._pause_s = pause_s
        if self._open.is_set():  # otherwise another task waits for it already
            self._open = trio.Event()
        self._close_all(1012, "Reconnection is required")
        await self._open.wait()

    def cut_http(self, hold_s: float = 0.0) -> None:
        """End every connection that is not a WebSocket.

        For ``hold_s`` seconds it stays open, and nothing is read or written.
        """
        self._http_held_until = trio.current_time() + hold_s
        for scope in self._http:
            scope.cancel()

    def close_sockets(self, path: str, code: int, reason: str) -> None:
        """Close the WebSockets of one path; they may come again at once."""
        for client in self._clients:
            if client.request.path == path:
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
        tls: ssl.SSLContext | None = None,
        *,
        task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until `stop`; started with the port when it accepts.

        After a `drop` the same port is opened again.

        Raises:
            OSError: the port is taken.
        """
        started = False
        while not self._stopped.is_set():
            self._closing = Closing()
            listeners, port = await open_local_listeners(port, tls)
            self._open.set()
            if not started:
                task_status.started(port)
                started = True
            await self._serve(listeners)
            with trio.move_on_after(self._pause_s):
                await self._stopped.wait()
        self._open.set()

    async def _serve(self, listeners: list[Listener]) -> None:
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
            self.cut_http()
            clients.cancel_scope.deadline = trio.current_time() + CLOSE_LIMIT_S

    async def _serve_client(self, stream: ServerStream) -> None:
        """Serve one client from the first byte to the last."""
        try:
            upgrade = await self._serve_http(stream)
            if upgrade is not None and self._serve_websocket is not None:
                await self._serve_socket(
                    self._serve_websocket,
                    ServerWebSocket(stream, upgrade.received),
                    upgrade.request,
                )
        except* (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the client is gone
        except* RemoteProtocolError:
            pass  # not a request for a WebSocket
        finally:
            await trio.aclose_forcefully(stream)

    async def _serve_http(self, stream: ServerStream) -> Upgrade | None:
        with trio.CancelScope() as scope:
            self._http.add(scope)
            try:
                return await serve_http(stream, self._respond)
            finally:
                self._http.discard(scope)
        await trio.sleep_until(self._http_held_until)
        return None

    async def _serve_socket(
        self, serve: ServeSocket, socket: ServerWebSocket, request: Request
    ) -> None:
        client = _SocketClient(socket, request)
        if self._closing.requested.is_set():
            client.closing.request(self._closing.code, self._closing.reason)
        self._clients.add(client)
        try:
            with client.scope:
                await socket.accept()
                await serve(socket, request, client.closing)
        finally:
            self._clients.discard(client)

    def _close_all(self, code: int, reason: str | None = None) -> None:
        self._closing.request(code, reason)
        for client in self._clients:
            client.closing.request(code, reason)
