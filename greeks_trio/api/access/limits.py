"""How much one client may take: sizes, numbers, seconds.

The service streams whether anybody asks or not, so nothing that a client does or leaves
undone may cost it files, memory or time without a bound.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
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
        connections: At once; each has one request at a time.  A hundred of them hold
            some 20 MB with everything at its bound, and leave files for the rest.
        head_bytes: Of the request line and the headers.
        url_bytes: Of the path and the query.
        body_bytes: Of a request's body; ours are a few hundred.
        idle_s: Seconds for a whole head, from the connection's begin or the last
            answer's end.  A scraper that asks every 15 s connects anew each time.
        body_s: Seconds for a whole body.
        answer_s: Seconds until an answer begins.  One that has begun, an export or a
            stream of events, may last.
        send_s: Seconds that a client may leave a piece of the answer unread.
        linger_s: Seconds for a client to read the last answer, before what it still
            sends is answered with a reset.
        wrong_token_s: Seconds by which the answer to a wrong token comes later, which
            bounds guesses to some hundreds a second over all connections.
    """

    connections: int = 100
    head_bytes: int = 16 * 1024
    url_bytes: int = 8 * 1024
    body_bytes: int = 64 * 1024
    idle_s: float = 10.0
    body_s: float = 10.0
    answer_s: float = 30.0
    send_s: float = 30.0
    linger_s: float = 1.0
    wrong_token_s: float = 0.5


LIMITS: Final = Limits()
_CLOSE: Final = {"Connection": "close"}


class Disconnected(Exception):
    """The client left before its request was whole."""


async def read_body(receive: Receive, limits: Limits) -> bytes:
    """Return the request's whole body.

    Raises:
        Problem: it is too large or comes too slowly.  What is still to come would be
            taken for the next request, so the connection has to end.
        Disconnected: nobody waits for an answer.
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
        f"The body was not there after {limits.body_s:g} seconds.",
        headers=_CLOSE,
    )


def after_body(body: bytes, receive: Receive) -> Receive:
    """Return a ``receive`` that gives the body once, and then what else comes."""
    waiting = [body]

    async def receive_body_first() -> Message:
        if waiting:
            body = waiting.pop()
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return receive_body_first


async def discard(receive: Receive) -> None:
    """Take whatever comes, until cancelled.

    The server queues a few pieces of a body and then waits for somebody to take them,
    also before it ends an answer that has been given without them.
    """
    while True:
        await receive()


async def cancel_when_gone(receive: Receive, scope: trio.CancelScope) -> None:
    """Cancel an answer when its client has closed the connection; ends with either."""
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
