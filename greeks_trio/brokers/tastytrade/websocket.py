"""Opening a websocket, sending and receiving, with our errors instead of the library's."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Final, TypeAlias
from urllib.parse import urlsplit

import trio
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    HandshakeError,
    WebSocketConnection,
    wrap_client_stream,
)

from greeks_trio.brokers.tastytrade.transport import parse_retry_after
from greeks_trio.config.addresses import require_private
from greeks_trio.errors import BrokerError, FeedInterrupted, leaves

CONNECT_LIMIT_S: Final = 10.0
# A request is a few kB; if the socket does not take it the peer is gone.
SEND_LIMIT_S: Final = 10.0
# A peer that is alive answers a close frame at once.
CLOSE_LIMIT_S: Final = 1.0
# A burst after the subscription of 25,000 instruments, the most that a connection may
# have, is about 5 MiB.
MAX_FRAME_BYTES: Final = 64 * 1024 * 1024
_RECEIVE_BYTES: Final = 64 * 1024
# Tastytrade refuses requests that do not say which product sends them.
USER_AGENT: Final = b"greeks-trio/0.1.0"

_Stream: TypeAlias = trio.SocketStream | trio.SSLStream[trio.SocketStream]
OpenSocket: TypeAlias = Callable[
    [str], AbstractAsyncContextManager[WebSocketConnection]
]


@asynccontextmanager
async def open_socket(url: str) -> AsyncIterator[WebSocketConnection]:
    """Connect to the address; TLS is verified by the system's certificates.

    The library's own way in is not taken: it forgets the socket of an upgrade that
    fails, reports a bad certificate as a time-out, and raises an error of its own in
    place of ours when the peer does not answer the close.

    Raises:
        FeedInterrupted: there is no connection, perhaps in an `ExceptionGroup`.
    """
    require_private(url, what="the address")
    try:
        async with trio.open_nursery() as nursery, _open_stream(url) as stream:
            socket = await _upgrade(nursery, stream, url)
            try:
                yield socket
            except* BrokerError:
                # When we are cancelled, so is the library's reader, and nothing that
                # the peer answered would be heard: then the stream is just closed.
                with trio.move_on_after(CLOSE_LIMIT_S, shield=True):
                    await socket.aclose()
                raise
            nursery.cancel_scope.cancel()
    except* HandshakeError as group:
        raise _no_upgrade(url, list(leaves(group))) from group


@asynccontextmanager
async def _open_stream(url: str) -> AsyncIterator[_Stream]:
    """Open a connection, with TLS for ``wss``; closed at the end whatever happens."""
    parts = urlsplit(url)
    host, secure = parts.hostname or "", parts.scheme == "wss"
    with _connecting(url):
        tcp = await trio.open_tcp_stream(host, parts.port or (443 if secure else 80))
    async with tcp:
        if not secure:
            yield tcp
            return
        context = ssl.create_default_context()
        tls = trio.SSLStream(tcp, context, server_hostname=host, https_compatible=True)
        with _connecting(url):
            await tls.do_handshake()
        yield tls


@contextmanager
def _connecting(url: str) -> Iterator[None]:
    """Bound a step of the connecting and say why it failed."""
    try:
        with trio.fail_after(CONNECT_LIMIT_S):
            yield
    except (OSError, trio.BrokenResourceError) as exc:
        reason = exc.__cause__ or exc
        raise FeedInterrupted(f"cannot connect to {url}: {reason}") from exc
    except trio.TooSlowError as exc:
        raise FeedInterrupted(f"cannot connect to {url}: no answer") from exc


async def _upgrade(
    nursery: trio.Nursery, stream: _Stream, url: str
) -> WebSocketConnection:
    """Turn the stream into a websocket, whose reader runs in ``nursery``."""
    parts = urlsplit(url)
    resource = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
    with _connecting(url):
        return await wrap_client_stream(
            nursery,
            stream,
            parts.netloc,
            resource,
            max_message_size=MAX_FRAME_BYTES,
            receive_buffer_size=_RECEIVE_BYTES,
            extra_headers=[(b"User-Agent", USER_AGENT)],
        )


def _no_upgrade(url: str, causes: list[BaseException]) -> FeedInterrupted:
    for exc in causes:
        if isinstance(exc, ConnectionRejected):
            headers = {name.lower(): value for name, value in exc.headers}
            retry_after = headers.get(b"retry-after", b"").decode("latin-1")
            return FeedInterrupted(
                f"cannot connect to {url}: the server answered {exc.status_code}",
                retry_after=parse_retry_after(retry_after),
                http_status=exc.status_code,
            )
    reasons = ", ".join(map(repr, causes))
    return FeedInterrupted(f"cannot connect to {url}: {reasons}")


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
