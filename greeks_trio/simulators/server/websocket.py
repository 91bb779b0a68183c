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
# Longer than any request, shorter than an accident.
_MAX_MESSAGE_CHARS: Final = 1_048_576
# Stands for a PONG among the messages, and is none that a client can send.
PONG: Final = "\ud800pong"


class ServerWebSocket:
    """Writes to a buffer and sends it whole, so that many frames cost one TLS record.

    Whoever writes must flush before writing again: then the buffer holds one batch
    and one answer at most.

    Raises:
        RemoteProtocolError: what was received is not a request for a WebSocket.
    """

    def __init__(
        self, stream: trio.SSLStream[trio.SocketStream], received: bytes
    ) -> None:
        self._stream = stream
        self._protocol = WSConnection(ConnectionType.SERVER)
        self._protocol.receive_data(received)
        next(self._protocol.events())  # the request
        self._parts: list[str] = []  # of the message under way
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
        """How much is written and not yet on its way."""
        return len(self._buffer)

    def accept(self) -> None:
        """Write the answer to the request, without any extension."""
        self._buffer += self._protocol.send(AcceptConnection())

    def write(self, frames: Iterable[bytes]) -> None:
        """Write binary frames; on a closed connection they go nowhere."""
        if self.is_open:
            for frame in frames:
                self._buffer += self._protocol.send(BytesMessage(data=frame))

    async def flush(self) -> None:
        """Send everything written.

        Raises:
            trio.BrokenResourceError: the client vanished.
        """
        async with self._sending:
            if self._buffer:
                data, self._buffer = self._buffer, bytearray()
                await self._stream.send_all(data)

    async def close(self, code: int, reason: str) -> None:
        """Send what was written and say goodbye."""
        if self.is_open:
            goodbye = CloseConnection(code=code, reason=reason)
            self._buffer += self._protocol.send(goodbye)
        self._is_muted = True
        await self.flush()

    async def hang_up(self) -> None:
        """Send what was written and nothing more, not even a goodbye."""
        self._is_muted = True
        await self.flush()
        await self._stream.transport_stream.send_eof()

    async def receive(self) -> list[str] | None:
        """Return the messages that came together, `None` after the last.

        Pings are answered; a pong is `PONG`; text and binary messages are the same here.
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
            case Pong():  # unsolicited: nobody is pinged here
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
