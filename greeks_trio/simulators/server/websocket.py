"""The server's end of a WebSocket: frames in batches, messages out.  Source: RFC 6455."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeAlias

import trio
from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Message,
    Ping,
    Pong,
    TextMessage,
)
from wsproto.utilities import RemoteProtocolError

ServerStream: TypeAlias = trio.SocketStream | trio.SSLStream[trio.SocketStream]

# A client that does not answer a close within this time is cut off.  A slow client reads
# in this time the few MB that its sockets buffer.
CLOSE_LIMIT_S: Final = 10.0
_RECEIVE_BYTES: Final = 65_536
# Longer than any request.
_MAX_MESSAGE_CHARS: Final = 1_048_576
# Represents a PONG among the messages.  No client can send this text.
PONG: Final = "\ud800pong"


class ServerWebSocket:
    """Writes to a buffer and sends it whole, so that many frames cost one TLS record.

    A task that writes must flush before it writes again: then the buffer holds one batch
    and one answer at most.

    Attributes:
        is_deaf: Nothing that arrives is read any more, not even the end.

    Raises:
        RemoteProtocolError: the received bytes are not a request for a WebSocket.
    """

    def __init__(self, stream: ServerStream, received: bytes) -> None:
        self.is_deaf = False
        self._stream = stream
        self._protocol = WSConnection(ConnectionType.SERVER)
        self._protocol.receive_data(received)
        next(self._protocol.events())  # the request
        self._parts: list[str] = []  # of the message under way
        self._buffer = bytearray()
        self._sending = trio.Lock()
        self._is_muted = False  # nothing more may be written
        self._is_over = False  # nothing more will come
        self._ended = trio.Event()

    @property
    def is_open(self) -> bool:
        """Whether frames can be written."""
        return not self._is_muted and self._protocol.state is ConnectionState.OPEN

    @property
    def peer_port(self) -> int:
        """The port of the client's end."""
        stream = self._stream
        if isinstance(stream, trio.SSLStream):
            stream = stream.transport_stream
        return int(stream.socket.getpeername()[1])

    @property
    def waiting_bytes(self) -> int:
        """Number of bytes that are written and not yet sent."""
        return len(self._buffer)

    async def accept(self) -> None:
        """Answer the request, without any extension."""
        self._buffer += self._protocol.send(AcceptConnection())
        await self.flush()

    def write(self, frames: Iterable[bytes]) -> None:
        """Write binary frames; a closed connection drops them."""
        if self.is_open:
            for frame in frames:
                self._buffer += self._protocol.send(BytesMessage(data=frame))

    async def send_text(self, text: str) -> None:
        """Send a text frame; a closed connection drops it.

        Raises:
            trio.BrokenResourceError: the client vanished.
        """
        if self.is_open:
            self._buffer += self._protocol.send(TextMessage(data=text))
            await self.flush()

    async def flush(self) -> None:
        """Send everything that is written.

        Raises:
            trio.BrokenResourceError: the client vanished.
        """
        async with self._sending:
            if self._buffer:
                data, self._buffer = self._buffer, bytearray()
                await self._stream.send_all(data)

    async def close(self, code: int, reason: str | None = None) -> None:
        """Send everything that is written, and a close frame."""
        if self.is_open:
            close = CloseConnection(code=code, reason=reason)
            self._buffer += self._protocol.send(close)
        self._is_muted = True
        await self.flush()

    async def wait_ended(self) -> None:
        """Return when another task has read to the end, or after `CLOSE_LIMIT_S`."""
        with trio.move_on_after(CLOSE_LIMIT_S):
            await self._ended.wait()

    async def drain(self) -> None:
        """Read to the end and drop everything; return after `CLOSE_LIMIT_S` at most."""
        with trio.move_on_after(CLOSE_LIMIT_S):
            while await self.receive() is not None:
                pass

    async def hang_up(self) -> None:
        """Send everything that is written, and then the end, without a close frame."""
        self._is_muted = True
        await self.flush()
        stream = self._stream
        if isinstance(stream, trio.SSLStream):
            stream = stream.transport_stream  # TLS would announce the end
        await stream.send_eof()

    async def receive(self) -> list[str] | None:
        """Return the messages that came together, `None` after the last one.

        Pings are answered.  A pong is `PONG`.  Text and binary messages are the same here.
        """
        data = b"" if self._is_over else await self._receive_data()
        if not data:
            self._ended.set()
            return None
        messages: list[str] = []
        try:
            self._protocol.receive_data(data)
            for event in self._protocol.events():
                self._receive_event(event, messages)
        except RemoteProtocolError as exc:
            if exc.event_hint is not None and self.is_open:
                self._buffer += self._protocol.send(exc.event_hint)
            self._is_over = True
        await self.flush()
        return messages

    async def _receive_data(self) -> bytes:
        try:
            data = bytes(await self._stream.receive_some(_RECEIVE_BYTES))
        except trio.BrokenResourceError:
            data = b""  # the client vanished
        if self.is_deaf:
            await trio.sleep_forever()
        return data

    def _receive_event(self, event: Event, messages: list[str]) -> None:
        match event:
            case Ping() if self.is_open:
                self._buffer += self._protocol.send(event.response())
            case Pong():  # unsolicited: this server sends no pings
                messages.append(PONG)
            case Message(data=data):
                text = data if isinstance(data, str) else bytes(data).decode("latin-1")
                self._parts.append(text)
                if event.message_finished:
                    messages.append("".join(self._parts))
                    self._parts.clear()
                self._is_over |= sum(map(len, self._parts)) > _MAX_MESSAGE_CHARS
            case CloseConnection():
                if self._protocol.state is ConnectionState.REMOTE_CLOSING:
                    self._buffer += self._protocol.send(event.response())
                self._is_over = True
