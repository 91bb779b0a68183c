"""Server-sent events: one HTTP answer that goes on until the client or the service ends it.

Discussion: sse-starlette does not fit.  It expects another server, which tells it of its
end.  It also passes the events through an async generator, and a cancellation would
interrupt the clean-up of that.  The rest is small: the lines of an event, and a nursery
that ends with either side.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, TypeAlias

import trio
from fastapi import Response

from greeks_trio.api.access.limits import Message, Receive, Send, cancel_when_gone
from greeks_trio.api.answers import problem_answer

logger = logging.getLogger(__name__)

SendChunk: TypeAlias = Callable[[bytes], Awaitable[None]]

EVENT_STREAM: Final = "text/event-stream"

# Long enough for a short delay, and short enough that a dead client loses its place.
WRITE_LIMIT_S: Final = 20.0

# A browser connects again this many milliseconds after it lost the connection.
_RETRY: Final = b"retry: 2000\n\n"


def encode_event(name: str, data: bytes) -> bytes:
    """Return the lines of an event.  ``data`` is JSON, so it has no line break."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamStatistics:
    """The counters of the event streams.

    Attributes:
        open: Streams at this moment.
        refused: Requests beyond the limit of streams.
        dropped: Streams that were ended because the client did not read.
    """

    open: int
    refused: int
    dropped: int


class Streams:
    """Counts the open streams and keeps them below the limit."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open = self._refused = self._dropped = 0

    def enter(self) -> bool:
        """Count one more stream; return false at the limit."""
        if self._open >= self._most:
            self._refused += 1
            logger.warning("events.refused open=%d", self._open)
            return False
        self._open += 1
        return True

    def leave(self) -> None:
        """Count one stream less."""
        self._open -= 1

    def drop(self) -> None:
        """Count a stream whose client does not read."""
        self._dropped += 1
        logger.warning("events.dropped reason=client-does-not-read")

    def statistics(self) -> StreamStatistics:
        """Return the counters."""
        return StreamStatistics(
            open=self._open, refused=self._refused, dropped=self._dropped
        )


class EventStream(Response):
    """An answer that ends when ``run`` returns, the client leaves, or it is cancelled.

    Args:
        streams: Counts the stream.  At its limit, the answer is a problem.
        run: Gets a function that sends a chunk.  The function waits while the client does
            not read, so no chunks pile up.
        write_limit_s: The stream ends when a client leaves a chunk unread for so long.
    """

    def __init__(
        self,
        streams: Streams,
        run: Callable[[SendChunk], Awaitable[None]],
        *,
        write_limit_s: float,
    ) -> None:
        super().__init__(media_type=EVENT_STREAM)
        del self.headers["content-length"]
        self._streams = streams
        self._run = run
        self._write_limit_s = write_limit_s

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request of ASGI."""
        if not self._streams.enter():
            full = problem_answer(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "All event streams are in use.  Try again later, or close one.",
                headers={"Retry-After": "10"},
            )
            await full(scope, receive, send)
            return
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(cancel_when_gone, receive, nursery.cancel_scope)
                await self._answer(send)
                nursery.cancel_scope.cancel()
        finally:
            self._streams.leave()

    async def _answer(self, send: Send) -> None:
        async def send_chunk(chunk: bytes) -> None:
            message = {"type": "http.response.body", "body": chunk, "more_body": True}
            with trio.move_on_after(self._write_limit_s) as limit:
                await send(message)
            if limit.cancelled_caught:
                self._streams.drop()
                # The server closes the connection of an answer that has no end.
                running.cancel()
                await trio.lowlevel.checkpoint()

        await send(
            {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
            }
        )
        with trio.CancelScope() as running:
            await send_chunk(_RETRY)
            await self._run(send_chunk)
