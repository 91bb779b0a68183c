"""The limits for clients: sizes, numbers, seconds.

The service has a stream to store.  Therefore no client may cost it unlimited files,
memory or time, whether it acts or only waits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, TypeAlias

import trio

from greeks_trio.api.answers import Problem

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Message, Receive, Send], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds for each client and for all of them.

    Attributes:
        connections: At the same time; each has one request at a time.  A hundred
            connections at their limits hold some 20 MB and leave enough file handles.
        head_bytes: The size of the request line and the headers.
        url_bytes: The size of the path and the query.
        body_bytes: The size of a request's body; the usual size is a few hundred bytes.
        idle_s: Seconds for a whole head, counted from the start of the connection or the
            end of the last answer.  A scraper that asks every 15 s connects anew each
            time.
        body_s: Seconds for a whole body.
        refused_body_s: Seconds for the body of a request that is refused by its head.
        answer_s: Seconds until an answer begins.  An export or a stream of events may
            last longer once it has begun.
        send_s: Seconds that a client may leave a piece of the answer unread.
        linger_s: Seconds for a client to read the last answer; after them, further bytes
            from the client are answered with a reset.
        wrong_token_s: The delay of the answer to a wrong token, in seconds.  It limits
            guesses to a few hundred a second over all connections.
    """

    connections: int = 100
    head_bytes: int = 16 * 1024
    url_bytes: int = 8 * 1024
    body_bytes: int = 64 * 1024
    idle_s: float = 10.0
    body_s: float = 10.0
    refused_body_s: float = 0.2
    answer_s: float = 30.0
    send_s: float = 30.0
    linger_s: float = 1.0
    wrong_token_s: float = 0.5


LIMITS: Final = Limits()
_CLOSE: Final = {"Connection": "close"}


class Disconnected(Exception):
    """The client left before its request was complete."""


async def read_body(receive: Receive, limits: Limits) -> bytes:
    """Return the whole body of the request.

    Raises:
        Problem: the body is too large or too slow.  The server would take the rest of it
            for the next request, so the connection has to end.
        Disconnected: the client has left.
    """
    body = bytearray()
    with trio.move_on_after(limits.body_s):
        while len(body) <= limits.body_bytes:
            message = await receive()
            if message["type"] != "http.request":
                raise Disconnected
            body += message.get("body", b"")
            if not message.get("more_body", False):
                break
        if len(body) > limits.body_bytes:
            raise Problem(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"The body has more than {limits.body_bytes} bytes.",
                headers=_CLOSE,
            )
        return bytes(body)
    raise Problem(
        HTTPStatus.REQUEST_TIMEOUT,
        f"The body is not complete after {limits.body_s:g} seconds.",
        headers=_CLOSE,
    )


async def take_arriving_body(receive: Receive, limits: Limits) -> None:
    """Take the body of a refused request if it comes at once.

    Otherwise the server ends the connection with the refusal, because it would take the
    rest of the body for the next request.
    """
    # The refusal says more than a fault of the body.
    with trio.move_on_after(limits.refused_body_s), suppress(Problem):
        await read_body(receive, limits)


def after_body(body: bytes, receive: Receive) -> Receive:
    """Return a ``receive`` that gives the body once, and then the later messages."""
    waiting = [body]

    async def receive_body_first() -> Message:
        if waiting:
            body = waiting.pop()
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return receive_body_first


async def discard(receive: Receive) -> None:
    """Take and drop every message until cancelled.

    The server queues a few pieces of a body and then waits until they are taken, even
    if the answer has been given without them.
    """
    while True:
        await receive()


async def cancel_when_gone(receive: Receive, scope: trio.CancelScope) -> None:
    """Cancel an answer when its client has closed the connection.

    Ends then, or with the answer.
    """
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
