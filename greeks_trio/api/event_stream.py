"""Server-sent events: one HTTP answer that goes on until the client or the service ends it.

Discussion of what was tried.  sse-starlette looks for the end of a server of its own kind,
which ours is not, and hands the events over through an async generator, whose clean-up a
cancellation would interrupt.  What is left to do is this: the lines of an event, and a
nursery that ends when either side goes.

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

# A comment, which clients skip: it keeps proxies from ending what they think is idle.
HEARTBEAT: Final = b": alive\n\n"

# Longer than any hiccup, and not so long that a dead client keeps its place.
WRITE_LIMIT_S: Final = 20.0

# A browser that lost us asks again after so many milliseconds.
_RETRY: Final = b"retry: 2000\n\n"


def encode_event(name: str, data: bytes) -> bytes:
    """Return the lines of an event; ``data`` is JSON, so it has no line break."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamStatistics:
    """How the event streams are doing.

    Attributes:
        open: Streams at this moment.
        refused: How many there have been too many.
        dropped: How many were ended because the client did not read.
    """

    open: int
    refused: int
    dropped: int


class Streams:
    """Counts the streams that are open, and lets no more in than there may be."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open = self._refused = self._dropped = 0

    def enter(self) -> bool:
        """Count one more stream, unless there are as many as there may be."""
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
    """Sends what ``run`` sends, until it returns, the client has gone, or cancelled.

    Args:
        streams: Where it counts; when there is no room, the answer is a problem.
        run: Is given what sends a chunk.  That waits while the client does not read,
            and nothing piles up in between.
        write_limit_s: Who leaves a chunk unread for so long is given up.
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
        """Answer a request, as ASGI has it."""
        if not self._streams.enter():
            full = problem_answer(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "There are as many event streams as there may be; try again later.",
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
                # The server closes the connection of an answer without an end.
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
