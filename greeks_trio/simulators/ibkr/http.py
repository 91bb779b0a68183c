"""HTTP/1.1 on a stream that may become a WebSocket later.

Source: h11, "Supporting Upgrade".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from urllib.parse import parse_qsl

import h11
import msgspec
import trio

_RECEIVE_BYTES: Final = 65_536
# No request of this interface is longer.
_MAX_BODY_BYTES: Final = 1_048_576
# Common web servers keep an idle connection for this long.
_IDLE_LIMIT_S: Final = 75.0


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One request.  Header names are in lower case; the path has no query."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes = b""

    @property
    def wants_websocket(self) -> bool:
        """Whether the client asks for a WebSocket."""
        return self.headers.get("upgrade", "").lower() == "websocket"


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """One answer.  ``headers`` are sent in addition to type and length."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()


class Upgrade(msgspec.Struct, frozen=True):
    """A connection that becomes a WebSocket.

    ``received`` holds all bytes from the client, from the start of this request.
    """

    request: Request
    received: bytes


# Answers one kind of request; the second argument has the variable parts of the path.
# A result that is not a `Response` is sent as JSON.
Handler = Callable[[Request, dict[str, str]], object]
# By methods and path: ``GET|POST /portfolio/{account}/positions/{page}``.
Routes = dict[str, Handler]

# Answers a request; `None` means that the connection becomes a WebSocket.
Responder = Callable[[Request], Response | None]


async def serve_http(stream: trio.abc.Stream, respond: Responder) -> Upgrade | None:
    """Answer requests until one asks for a WebSocket; `None` when the client left.

    Leaves the stream open.
    """
    connection = _Connection(stream)
    while True:
        request = await connection.read_request()
        if request is None:
            return None
        response = respond(request)
        if response is None:
            return Upgrade(request, bytes(connection.received))
        if request.method == "HEAD":
            response = msgspec.structs.replace(response, body=b"")
        if not await connection.send(response):
            return None


class _Connection:
    """One client's requests, one after the other."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._http = h11.Connection(h11.SERVER)
        self.received = bytearray()  # since the start of the present request

    async def read_request(self) -> Request | None:
        """Return the next request, or `None` when no more can come."""
        head: h11.Request | None = None
        body = bytearray()
        with trio.move_on_after(_IDLE_LIMIT_S):
            while len(body) <= _MAX_BODY_BYTES:
                match await self._next_event():
                    case h11.Request() as head:
                        pass
                    case h11.Data(data=part):
                        body += part
                    case h11.EndOfMessage() if head is not None:
                        return _request(head, bytes(body))
                    case _:
                        return None
        return None

    async def send(self, response: Response) -> bool:
        """Send the answer; return false when the connection must end after it."""
        headers = [
            ("Content-Type", response.content_type),
            ("Content-Length", str(len(response.body))),
            *response.headers,
        ]
        head = h11.Response(status_code=response.status, headers=headers)
        data = self._http.send(head) or b""
        data += self._http.send(h11.Data(data=response.body)) or b""
        data += self._http.send(h11.EndOfMessage()) or b""
        await self._stream.send_all(data)
        if self._http.our_state is not h11.DONE:
            return False
        if self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        self.received = bytearray(self._http.trailing_data[0])
        return True

    async def _next_event(self) -> h11.Event | None:
        """Return the next part of a request; `None` at the end or after invalid data."""
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError:
                return None
            if isinstance(event, h11.Event):
                return event
            if event is not h11.NEED_DATA:
                return None
            data = bytes(await self._stream.receive_some(_RECEIVE_BYTES))
            self.received += data
            self._http.receive_data(data)


def _request(head: h11.Request, body: bytes) -> Request:
    path, _, query = head.target.decode("latin-1").partition("?")
    return Request(
        method=head.method.decode("ascii"),
        path=path,
        query=dict(parse_qsl(query, keep_blank_values=True)),
        headers={
            name.decode("latin-1"): text.decode("latin-1")
            for name, text in head.headers
        },
        body=body,
    )
