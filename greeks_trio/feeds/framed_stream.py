"""The stream between the socket and the websocket library, which takes the messages out.

The library parses frames in Python and passes each one through a channel, with two turns of
the event loop.  Here a whole read of the socket becomes one list of messages.  The library
still opens and closes the websocket, answers pings, and reads unusual frames.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from greeks_trio.feeds.tls import read_more
from greeks_trio.feeds.wire.splitter import FrameSplitter
from greeks_trio.waiting import Pace, WakeUp

# A reader works on the messages of one call without a pause, for a millisecond or two.
MOST_AT_ONCE: Final = 64
_MOST_BYTES: Final = 2**15
# One read begins in each of these intervals under load: it wakes three tasks, which takes
# longer than the work on a few ticks.
_PAUSE_S: Final = 0.004
# A read of so many bytes is no reason for a pause.
_MUCH_BYTES: Final = 2**14


class Inbox:
    """The messages that were read from the socket and not taken yet.

    The socket is not read while there are more than `MOST_AT_ONCE`, so the bound is that
    number and one read.
    """

    def __init__(self) -> None:
        self._messages: deque[bytes | str] = deque()
        # Messages that are on their way through the library.
        self._in_library = 0
        self._closed: ConnectionClosed | None = None
        self._is_discarding = False
        self._arrived = WakeUp()
        self._has_room = WakeUp()

    async def take(self) -> list[bytes | str]:
        """Wait for messages, and return some.  A cancelled call leaves them here.

        Raises:
            ConnectionClosed: The connection is closed and all messages are taken.
        """
        await trio.lowlevel.checkpoint()
        messages = self._messages
        while not messages:
            if self._closed is not None:
                raise self._closed
            await self._arrived.wait()
        was_full = len(messages) > MOST_AT_ONCE
        taken: list[bytes | str] = []
        room = _MOST_BYTES
        while messages and room > 0 and len(taken) < MOST_AT_ONCE:
            message = messages.popleft()
            room -= len(message)
            taken.append(message)
        if was_full:
            self._has_room.wake()
        return taken

    async def wait_room(self) -> None:
        """Wait until the socket may be read."""
        while len(self._messages) > MOST_AT_ONCE or self._in_library:
            if self._is_discarding or self._closed is not None:
                return
            await self._has_room.wait()

    def put(self, messages: Iterable[bytes | str]) -> None:
        """Add messages."""
        if not self._is_discarding:
            self._messages.extend(messages)
            self._arrived.wake()

    def expect(self) -> None:
        """Note that the library has got a whole message."""
        self._in_library += 1

    def discard(self) -> None:
        """Drop the messages that come from now on: the connection is being closed."""
        self._is_discarding = True
        self._has_room.wake()

    async def run(self, connection: WebSocketConnection) -> None:
        """Take the messages of the library until the connection is closed."""
        try:
            while True:
                message = await connection.get_message()
                self._in_library -= 1
                self._has_room.wake()
                self.put([message])
        except ConnectionClosed as exc:
            self._closed = exc
            self._has_room.wake()
            self._arrived.wake()


class FramedStream(trio.abc.Stream):
    """A stream for the library, without the messages, which go to an `Inbox`.

    Args:
        stream: The stream behind this one.
        inbox: Takes the messages.
        longest: Bytes; the library gets every longer message.
    """

    def __init__(self, stream: trio.abc.Stream, inbox: Inbox, longest: int) -> None:
        self._stream = stream
        self._inbox = inbox
        self._splitter = FrameSplitter(longest)
        self._pace = Pace(_PAUSE_S)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send as the stream behind this one does."""
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait as the stream behind this one does."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Close the stream behind this one."""
        await self._stream.aclose()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Return the next bytes for the library."""
        while True:
            await self._inbox.wait_room()
            messages, rest, is_message = self._splitter.take()
            if messages:
                self._inbox.put(messages)
            if rest:
                if is_message:
                    self._inbox.expect()
                # A read of the socket may hold thousands of control frames.
                await trio.lowlevel.checkpoint()
                return rest
            if messages:
                continue
            await self._pace.wait()
            data = await self._stream.receive_some(max_bytes)
            # The rest of a large message is read at once.
            if len(data) < _MUCH_BYTES:
                self._pace.note()
            if not data:
                return data
            if isinstance(self._stream, trio.SSLStream):
                data += read_more(self._stream)
            self._splitter.feed(data)
