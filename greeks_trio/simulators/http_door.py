"""A small HTTP/1.1 server on one loopback port whose clients may turn to WebSocket.

`Door` owns the listener and every client's task.  Stopping means: no new clients, idle
HTTP connections are closed, each WebSocket is told through its `Closing` to send what
it still has and to shake hands; who does not within `CLOSE_LIMIT_S` is cut off.

h11 reads the requests.  When one asks for an upgrade, the bytes read so far are given
again to trio-websocket, which does the handshake itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final, TypeAlias
from urllib.parse import parse_qs, unquote, urlsplit

import h11
import msgspec
import trio
from trio_websocket import WebSocketConnection, wrap_server_stream

# Longer than a slow client needs to read what its sockets buffer (a few MB), and
# short enough that a dead one does not hold up a stop.
CLOSE_LIMIT_S: Final = 10.0
_READ_BYTES: Final = 65_536


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTP request; header names in lower case, the path without escapes."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """What is answered."""

    status: int
    body: bytes
    content_type: str = "application/json"


class Closing:
    """Tells a WebSocket's task that it should finish, and with which close code."""

    def __init__(self) -> None:
        self.requested = trio.Event()
        self.code = 1000
        self.reason: str | None = None

    def request(self, code: int, reason: str | None = None) -> None:
        """Ask every task that watches to finish; the first request counts."""
        if not self.requested.is_set():
            self.code, self.reason = code, reason
            self.requested.set()


Respond: TypeAlias = Callable[[Request], Response]
ServeSocket: TypeAlias = Callable[[WebSocketConnection, Closing], Awaitable[None]]


class Door:
    """One port on 127.0.0.1; knows nothing of what is served."""

    def __init__(self, respond: Respond, sockets: Mapping[str, ServeSocket]) -> None:
        self._respond = respond
        self._sockets = sockets
        self._closing = Closing()
        self._idle: set[trio.CancelScope] = set()
        self._stopped = trio.Event()
        self._pause_s = 0.0
        self._open = trio.Event()

    def stop(self) -> None:
        """Let `run` return when all that was written has reached the clients."""
        self._stopped.set()
        self._closing.request(1000)

    async def drop(self, pause_s: float) -> None:
        """Close every connection and refuse new ones for this many seconds.

        Returns when new ones are accepted again, or never will be.  What was written
        reaches the clients before they are closed, and the time counts from then.
        """
        self._pause_s, self._open = pause_s, trio.Event()
        self._closing.request(1012, "Reconnection is required")
        await self._open.wait()

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
        http = _HttpConnection(stream, self._respond)
        upgrade: str | None = None
        try:
            with trio.CancelScope() as idle:
                self._idle.add(idle)
                upgrade = await http.serve_until_upgrade(self._sockets)
            self._idle.discard(idle)
            if upgrade is not None:
                await self._serve_socket(http.replayed(), self._sockets[upgrade])
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the client is gone, which is its right
        finally:
            await trio.aclose_forcefully(stream)

    async def _serve_socket(self, stream: trio.abc.Stream, serve: ServeSocket) -> None:
        async with trio.open_nursery() as nursery:
            request = await wrap_server_stream(nursery, stream)
            socket = await request.accept()
            await serve(socket, self._closing)
            nursery.cancel_scope.cancel()


class _HttpConnection:
    """One client as long as it speaks HTTP."""

    def __init__(self, stream: trio.abc.Stream, respond: Respond) -> None:
        self._stream = stream
        self._respond = respond
        self._http = h11.Connection(h11.SERVER)
        # What was read since the present request began, for the upgrade.
        self._read = bytearray()

    async def serve_until_upgrade(self, paths: Mapping[str, object]) -> str | None:
        """Answer requests; return the path of an upgrade, `None` when all is over."""
        try:
            while isinstance(head := await self._next_event(), h11.Request):
                path = urlsplit(head.target.decode("ascii")).path
                headers = _headers(head)
                if headers.get("upgrade", "").lower() == "websocket" and path in paths:
                    return path
                await self._answer(head, headers)
                if self._http.our_state is not h11.DONE:
                    return None
                self._http.start_next_cycle()
                self._read = bytearray(self._http.trailing_data[0])
        except h11.RemoteProtocolError:
            return None
        return None

    def replayed(self) -> trio.abc.Stream:
        """Return the stream as it was before the present request was read."""
        return _ReplayedStream(bytes(self._read), self._stream)

    async def _answer(self, head: h11.Request, headers: Mapping[str, str]) -> None:
        body = bytearray()
        while isinstance(event := await self._next_event(), h11.Data):
            body += event.data
        url = urlsplit(head.target.decode("ascii"))
        response = self._respond(
            Request(
                method=head.method.decode("ascii"),
                path=unquote(url.path),
                query=parse_qs(url.query),
                headers=headers,
                body=bytes(body),
            )
        )
        await self._stream.send_all(self._encode(response))

    def _encode(self, response: Response) -> bytes:
        head = h11.Response(
            status_code=response.status,
            headers=[
                ("Content-Type", response.content_type),
                ("Content-Length", str(len(response.body))),
            ],
        )
        pieces = [
            self._http.send(event)
            for event in (head, h11.Data(data=response.body), h11.EndOfMessage())
        ]
        return b"".join(piece for piece in pieces if piece)

    async def _next_event(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            data = await self._stream.receive_some(_READ_BYTES)
            self._read += data
            self._http.receive_data(bytes(data))
        return event


class _ReplayedStream(trio.abc.Stream):
    """Gives some bytes again before it reads on."""

    def __init__(self, first: bytes, stream: trio.abc.Stream) -> None:
        self._first = first
        self._stream = stream

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if not self._first:
            return bytes(await self._stream.receive_some(max_bytes))
        await trio.lowlevel.checkpoint()
        size = max_bytes or len(self._first)
        taken, self._first = self._first[:size], self._first[size:]
        return taken

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()


def _headers(head: h11.Request) -> dict[str, str]:
    return {
        name.decode("ascii").lower(): value.decode("latin-1")
        for name, value in head.headers
    }
