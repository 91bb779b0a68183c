"""The requests and answers of one HTTP/1.1 connection, until an upgrade.

h11 reads the requests.  The caller supplies the answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias
from urllib.parse import parse_qs, unquote, urlsplit

import h11
import msgspec
import trio

_READ_BYTES: Final = 65_536


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTP request; header names in lower case, the path without escapes."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTP answer; ``retry_after_s`` becomes the header ``Retry-After``."""

    status: int
    body: bytes
    content_type: str = "application/json"
    retry_after_s: int | None = None


Respond: TypeAlias = Callable[[Request], Response]
# Returns the refusal while upgrades to WebSocket are not allowed, else `None`.
RefuseUpgrade: TypeAlias = Callable[[], Response | None]


def refuse_nothing() -> Response | None:
    """Allow every upgrade to WebSocket."""
    return None


class HttpConnection:
    """One client, until an upgrade or the end of its connection."""

    def __init__(
        self,
        stream: trio.abc.Stream,
        respond: Respond,
        refuse_upgrade: RefuseUpgrade = refuse_nothing,
    ) -> None:
        self._stream = stream
        self._respond = respond
        self._refuse_upgrade = refuse_upgrade
        self._http = h11.Connection(h11.SERVER)
        # The bytes of the present request, for the upgrade.
        self._read = bytearray()

    async def serve_until_upgrade(self, paths: Mapping[str, object]) -> str | None:
        """Answer requests; return the path of an upgrade, `None` at the end."""
        try:
            while isinstance(head := await self._next_event(), h11.Request):
                try:
                    path = urlsplit(head.target.decode("ascii")).path
                except ValueError:  # no address, such as "//["
                    return None
                headers = _headers(head)
                refusal = None
                if headers.get("upgrade", "").lower() == "websocket" and path in paths:
                    refusal = self._refuse_upgrade()
                    if refusal is None:
                        return path
                await self._answer(head, headers, refusal)
                if self._http.our_state is not h11.DONE:
                    return None
                self._http.start_next_cycle()
                self._read = bytearray(self._http.trailing_data[0])
        except h11.RemoteProtocolError:
            return None
        return None

    def replayed(self) -> ReplayedStream:
        """Return a stream that begins again with the present request."""
        return ReplayedStream(bytes(self._read), self._stream)

    async def _answer(
        self, head: h11.Request, headers: Mapping[str, str], refusal: Response | None
    ) -> None:
        body = bytearray()
        while isinstance(event := await self._next_event(), h11.Data):
            body += event.data
        url = urlsplit(head.target.decode("ascii"))
        response = refusal or self._respond(
            Request(
                method=head.method.decode("ascii"),
                path=unquote(url.path),
                query=parse_qs(url.query),
                headers=headers,
                body=bytes(body),
            )
        )
        is_head = head.method == b"HEAD"
        await self._stream.send_all(self._encode(response, is_head=is_head))

    def _encode(self, response: Response, *, is_head: bool) -> bytes:
        fields = [
            ("Content-Type", response.content_type),
            ("Content-Length", str(len(response.body))),
        ]
        if response.retry_after_s is not None:
            fields.append(("Retry-After", str(response.retry_after_s)))
        head = h11.Response(status_code=response.status, headers=fields)
        body = b"" if is_head else response.body
        events = (head, h11.Data(data=body), h11.EndOfMessage())
        return b"".join(self._http.send(event) or b"" for event in events)

    async def _next_event(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            data = await self._stream.receive_some(_READ_BYTES)
            self._read += data
            self._http.receive_data(bytes(data))
        return event


class ReplayedStream(trio.abc.Stream):
    """A stream that first returns some bytes again, then reads on.

    Attributes:
        is_deaf: From now on a reader gets neither data nor the end of the stream.
    """

    def __init__(self, first: bytes, stream: trio.abc.Stream) -> None:
        self.is_deaf = False
        self._first = first
        self._stream = stream

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return the bytes from before first, then new data."""
        if not self._first:
            data = bytes(await self._stream.receive_some(max_bytes))
            if self.is_deaf:
                await trio.sleep_forever()
            return data
        await trio.lowlevel.checkpoint()
        size = max_bytes or len(self._first)
        taken, self._first = self._first[:size], self._first[size:]
        return taken

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send the data on the stream beneath."""
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the stream beneath can take data."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Close the stream beneath."""
        await self._stream.aclose()


def _headers(head: h11.Request) -> dict[str, str]:
    return {
        name.decode("ascii").lower(): value.decode("latin-1")
        for name, value in head.headers
    }
