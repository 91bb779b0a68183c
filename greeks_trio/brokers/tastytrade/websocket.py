"""Opening a websocket, sending and receiving, with our errors instead of the library's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Final, TypeAlias

import trio
from trio_websocket import (
    ConnectionClosed,
    HandshakeError,
    WebSocketConnection,
    open_websocket_url,
)

from greeks_trio.brokers.tastytrade.addresses import require_private
from greeks_trio.errors import BrokerError, FeedInterrupted

CONNECT_LIMIT_S: Final = 10.0
# A request is a few kB; if the socket does not take it the peer is gone.
SEND_LIMIT_S: Final = 10.0
# A peer that is alive answers a close frame at once.
CLOSE_LIMIT_S: Final = 1.0
# A burst after the subscription of 25,000 instruments, the most that a connection may
# have, is about 5 MiB.
MAX_FRAME_BYTES: Final = 64 * 1024 * 1024
_RECEIVE_BYTES: Final = 64 * 1024

OpenSocket: TypeAlias = Callable[
    [str], AbstractAsyncContextManager[WebSocketConnection]
]


@asynccontextmanager
async def open_socket(url: str) -> AsyncIterator[WebSocketConnection]:
    """Connect to the address; TLS is verified by the system's certificates.

    Raises:
        FeedInterrupted: there is no connection, perhaps in an `ExceptionGroup`.
    """
    require_private(url, what="the address")
    try:
        async with open_websocket_url(
            url,
            connect_timeout=CONNECT_LIMIT_S,
            disconnect_timeout=CLOSE_LIMIT_S,
            max_message_size=MAX_FRAME_BYTES,
            receive_buffer_size=_RECEIVE_BYTES,
        ) as socket:
            try:
                yield socket
            except* BrokerError:
                # Here, because the library calls a peer that does not answer an error
                # and would raise it in place of the reason for which we leave.  When
                # we are cancelled, so is the library's reader, and nothing that the
                # peer answered would be heard: then the socket is just closed.
                with trio.move_on_after(CLOSE_LIMIT_S, shield=True):
                    await socket.aclose()
                raise
    except* (HandshakeError, OSError) as group:
        reasons = ", ".join(repr(each) for each in leaves(group))
        raise FeedInterrupted(f"cannot connect to {url}: {reasons}") from group


def leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """Return the exceptions in a group and in the groups in it."""
    found: list[BaseException] = []
    for each in group.exceptions:
        found += leaves(each) if isinstance(each, BaseExceptionGroup) else [each]
    return found


async def send_frame(socket: WebSocketConnection, frame: str) -> None:
    """Send one frame.

    Raises:
        FeedInterrupted: the connection is closed, or does not take the frame.
    """
    with _translated():
        with trio.fail_after(SEND_LIMIT_S):
            await socket.send_message(frame)


async def receive_frame(socket: WebSocketConnection) -> str | bytes:
    """Wait for one frame.  Cancelled, it leaves the frame to the next call.

    Raises:
        FeedInterrupted: the connection is closed.
    """
    with _translated():
        return await socket.get_message()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except ConnectionClosed as exc:
        reason = exc.reason
        # No code is an end: a server that restarts says 1000 as well.
        code = f"{reason.code} {reason.reason or reason.name}" if reason else "no code"
        raise FeedInterrupted(f"the server closed the connection: {code}") from exc
    except trio.TooSlowError as exc:
        raise FeedInterrupted("the server does not take what we send") from exc
