"""HTTP/1.1 on a stream that may turn into a WebSocket.

Source: h11, "Supporting Upgrade".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from email.utils import formatdate
from typing import Final, TypeAlias
from urllib.parse import parse_qs, unquote, urlsplit

import h11
import msgspec
import trio

_READ_BYTES: Final = 65_536
# Longer than every request of these interfaces.
_MAX_BODY_BYTES: Final = 1_048_576
# As long as the usual servers keep an idle connection.
_IDLE_LIMIT_S: Final = 75.0


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One request; header names in lower case, the path without query and escapes."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def parameters(self) -> dict[str, str]:
        """The last value of each name in the query."""
        return {name: values[-1] for name, values in self.query.items()}

    @property
    def wants_websocket(self) -> bool:
        """Whether the client asks to turn the connection into a WebSocket."""
        return self.headers.get("upgrade", "").lower() == "websocket"


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """One answer; ``headers`` are added to those of type and length."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


class Upgrade(msgspec.Struct, frozen=True):
    """A connection that turns into a WebSocket.

    Attributes:
        received: All bytes that the client sent since the request began.
    """

    request: Request
    received: bytes


# Answers a request; `None` turns the connection into a WebSocket.
Respond: TypeAlias = Callable[[Request], Response | None]


async def serve_http(stream: trio.abc.Stream, respond: Respond) -> Upgrade | None:
    """Answer requests until one turns into a WebSocket; `None` at the end.

    Leaves the stream open.
    """
    connection = _Connection(stream)
    while (request := await connection.read_request()) is not None:
        response = respond(request)
        if response is None:
            return Upgrade(request, bytes(connection.received))
        if not await connection.send(response, is_head=request.method == "HEAD"):
            return None
    return None


class _Connection:
    """One client's requests in order."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._http = h11.Connection(h11.SERVER)
        self.received = bytearray()  # since the request under way began

    async def read_request(self) -> Request | None:
        """Return the next request, `None` when the connection is over."""
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

    async def send(self, response: Response, *, is_head: bool) -> bool:
        """Send the answer; return whether another request may follow."""
        headers = [
            ("Content-Type", response.content_type),
            ("Content-Length", str(len(response.body))),
            ("Date", formatdate(usegmt=True)),
            *response.headers,
        ]
        head = h11.Response(status_code=response.status, headers=headers)
        body = h11.Data(data=b"" if is_head else response.body)
        events = (head, body, h11.EndOfMessage())
        await self._stream.send_all(
            b"".join(self._http.send(event) or b"" for event in events)
        )
        if (self._http.our_state, self._http.their_state) != (h11.DONE, h11.DONE):
            return False
        self._http.start_next_cycle()
        self.received = bytearray(self._http.trailing_data[0])
        return True

    async def _next_event(self) -> h11.Event | None:
        """Return the next part of a request, `None` at the end or after nonsense."""
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError:
                return None
            if isinstance(event, h11.Event):
                return event
            if event is not h11.NEED_DATA:
                return None
            data = bytes(await self._stream.receive_some(_READ_BYTES))
            self.received += data
            self._http.receive_data(data)


def _request(head: h11.Request, body: bytes) -> Request | None:
    try:
        url = urlsplit(head.target.decode("latin-1"))
    except ValueError:  # not an address, such as "//["
        return None
    return Request(
        method=head.method.decode("ascii"),
        path=unquote(url.path),
        query=parse_qs(url.query, keep_blank_values=True),
        headers={
            name.decode("latin-1").lower(): text.decode("latin-1")
            for name, text in head.headers
        },
        body=body,
    )
