"""The server's end of a WebSocket: frames in batches, messages out.  Source: RFC 6455."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

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
)
from wsproto.utilities import RemoteProtocolError

_RECEIVE_BYTES: Final = 65_536
# No real request is longer; it protects the memory of the simulator.
_MAX_MESSAGE_CHARS: Final = 1_048_576
# Marks a PONG among the messages; a client cannot send this text.
PONG: Final = "\ud800pong"


class ServerWebSocket:
    """Writes to a buffer and sends it whole, so that many frames cost one TLS record.

    A caller must flush before it writes again: then the buffer holds at most one batch
    and one answer.

    Raises:
        RemoteProtocolError: the received bytes are no request for a WebSocket.
    """

    def __init__(
        self, stream: trio.SSLStream[trio.SocketStream], received: bytes
    ) -> None:
        self._stream = stream
        self._protocol = WSConnection(ConnectionType.SERVER)
        self._protocol.receive_data(received)
        next(self._protocol.events())  # the request
        self._parts: list[str] = []  # of the unfinished message
        self._buffer = bytearray()
        self._sending = trio.Lock()
        self._is_muted = False  # nothing more may be written
        self._is_over = False  # nothing more will come

    @property
    def is_open(self) -> bool:
        """Whether frames can be written."""
        return not self._is_muted and self._protocol.state is ConnectionState.OPEN

    @property
    def waiting_bytes(self) -> int:
        """How many bytes are written but not yet sent."""
        return len(self._buffer)

    def accept(self) -> None:
        """Write the answer to the request, without any extension."""
        self._buffer += self._protocol.send(AcceptConnection())

    def write(self, frames: Iterable[bytes]) -> None:
        """Write binary frames; on a closed connection they are dropped."""
        if self.is_open:
            for frame in frames:
                self._buffer += self._protocol.send(BytesMessage(data=frame))

    async def flush(self) -> None:
        """Send all written data.

        Raises:
            trio.BrokenResourceError: the connection is broken.
        """
        async with self._sending:
            if self._buffer:
                data, self._buffer = self._buffer, bytearray()
                await self._stream.send_all(data)

    async def close(self, code: int, reason: str) -> None:
        """Send all written data, then a close frame."""
        if self.is_open:
            goodbye = CloseConnection(code=code, reason=reason)
            self._buffer += self._protocol.send(goodbye)
        self._is_muted = True
        await self.flush()

    async def hang_up(self) -> None:
        """Send all written data, then end the connection without a close frame."""
        self._is_muted = True
        await self.flush()
        await self._stream.transport_stream.send_eof()

    async def receive(self) -> list[str] | None:
        """Return the messages of one read, `None` after the last one.

        Pings are answered.  A pong is returned as `PONG`.  Text and binary messages are
        treated alike.
        """
        if self._is_over:
            return None
        data = bytes(await self._stream.receive_some(_RECEIVE_BYTES))
        if not data:
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
