"""Opening and closing a websocket to a broker; every error is a `FeedInterrupted`.

The library's own ways to open a connection are not used.  They forget the socket of a
failed upgrade, report a bad certificate as a time-out, and wait a minute for the close of
a dead peer.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final, TypeAlias
from urllib.parse import urlsplit

import h11
import trio
from trio_websocket import (
    CloseReason,
    ConnectionClosed,
    ConnectionRejected,
    HandshakeError,
    WebSocketConnection,
)
from wsproto import ConnectionType, WSConnection
from wsproto.events import BytesMessage, Pong, TextMessage
from wsproto.utilities import LocalProtocolError

from greeks_trio.errors import FeedInterrupted, leaves
from greeks_trio.feeds.framed_stream import FramedStream, Inbox
from greeks_trio.feeds.retry_after import parse_retry_after

# Each step of the opening takes a fraction of this.
CONNECT_LIMIT_S: Final = 10.0
# A living peer answers a close frame at once.
CLOSE_LIMIT_S: Final = 1.0
# A request has a few kB; a peer that does not take it in this time is gone.
SEND_LIMIT_S: Final = 10.0
_RECEIVE_BYTES: Final = 64 * 2**10
# They take 2 ms.
_FRAGMENTS_AT_ONCE: Final = 64
# The close code for a message that is too long.
_TOO_LONG: Final = 1009

_Stream: TypeAlias = trio.SocketStream | trio.SSLStream[trio.SocketStream]


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """The other end of a websocket, and the limits of the connection to it.

    Attributes:
        url: The address, ``ws://`` or ``wss://``.
        peer: The name of the other end in messages, such as ``the IBKR gateway``.
        tls: How to verify the certificate; `None` without TLS.
        headers: Headers of the upgrade request.
        max_frame_bytes: A longer frame ends the connection.
        certificate_hint: The end of the message for an untrusted certificate.
    """

    url: str
    peer: str
    tls: ssl.SSLContext | None
    headers: Sequence[tuple[bytes, bytes]] = ()
    max_frame_bytes: int = 2**20
    certificate_hint: str = ""

    @property
    def address(self) -> str:
        """The address for messages: without user, password and query."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{self.netloc}{parts.path}"

    @property
    def netloc(self) -> str:
        """Host and port as they are written in the address."""
        return urlsplit(self.url).netloc.rpartition("@")[2]


class WebSocket:
    """One open websocket.

    Args:
        connection: The connection of the library.
        inbox: The messages.
        peer: The name of the other end in messages.
    """

    def __init__(
        self, connection: WebSocketConnection, inbox: Inbox, peer: str
    ) -> None:
        self._connection = connection
        self._inbox = inbox
        self._peer = peer

    async def send(self, frame: str) -> None:
        """Send one text frame.

        Raises:
            FeedInterrupted: The connection is closed, or the peer does not take the frame.
        """
        try:
            with trio.fail_after(SEND_LIMIT_S):
                await self._connection.send_message(frame)
        except (ConnectionClosed, LocalProtocolError) as exc:
            raise self._closed(exc) from exc
        except trio.TooSlowError as exc:
            raise FeedInterrupted(f"{self._peer} does not take our requests") from exc

    async def receive(self) -> list[str | bytes]:
        """Wait for messages; return at least one and at most `MOST_AT_ONCE`.

        A cancelled call leaves the messages for the next call.

        Raises:
            FeedInterrupted: The connection is closed.
        """
        try:
            return await self._inbox.take()
        except ConnectionClosed as exc:
            raise self._closed(exc) from exc

    async def aclose(self) -> None:
        """Send a close frame and wait a moment for its answer, also when cancelled."""
        self._inbox.discard()
        with trio.move_on_after(CLOSE_LIMIT_S, shield=True):
            await self._connection.aclose()

    @property
    def was_request_too_long(self) -> bool:
        """Whether the peer has closed the connection because a request was too long."""
        reason = self._connection.closed
        # The library closes with the same code when a frame exceeds our own limit.
        ours = reason is not None and "Exceeded maximum" in (reason.reason or "")
        return reason is not None and reason.code == _TOO_LONG and not ours

    def _closed(self, exc: ConnectionClosed | LocalProtocolError) -> FeedInterrupted:
        words = f"{self._peer} closed the connection"
        match exc:
            case ConnectionClosed(reason=CloseReason() as why):
                words += f" ({why.code} {why.reason or why.name})"
        return FeedInterrupted(words)


@asynccontextmanager
async def open_websocket(endpoint: Endpoint) -> AsyncIterator[WebSocket]:
    """Open a websocket; close it at the end of the block.

    At the end the peer gets a close frame, also when the block is cancelled.  A peer that
    does not answer the close is left after `CLOSE_LIMIT_S`.

    Holds a nursery: an error inside the block arrives in an `ExceptionGroup`.

    Raises:
        FeedInterrupted: There is no connection.
    """
    with _connecting(endpoint):
        stream = await _open_stream(endpoint)
    async with websocket_over(stream, endpoint) as socket:
        yield socket


@asynccontextmanager
async def websocket_over(
    stream: _Stream, endpoint: Endpoint
) -> AsyncIterator[WebSocket]:
    """Open a websocket over a stream that is open; see `open_websocket`."""
    try:
        async with trio.open_nursery() as outer:
            reading = trio.CancelScope(shield=True)
            try:
                # Takes no time.  Cancelled here, it would wait for `reading` for ever.
                with trio.fail_after(CONNECT_LIMIT_S, shield=True):
                    nursery = await outer.start(_hold_library, reading)
                with _connecting(endpoint):
                    socket = await _upgrade(nursery, stream, endpoint)
                try:
                    yield socket
                finally:
                    await socket.aclose()
            finally:
                reading.cancel()
    # The library's reader raises these; the calls above translate their own.
    except* HandshakeError as group:
        raise _no_upgrade(endpoint, list(leaves(group))) from group
    except* (ConnectionClosed, LocalProtocolError) as group:
        raise FeedInterrupted(f"{endpoint.peer} broke the connection") from group
    except* h11.ProtocolError as group:
        raise _no_http(endpoint, next(leaves(group))) from group
    finally:
        with trio.move_on_after(CLOSE_LIMIT_S, shield=True):
            await trio.aclose_forcefully(stream)


async def _hold_library(
    reading: trio.CancelScope, *, task_status: trio.TaskStatus[trio.Nursery]
) -> None:
    """Hold a nursery for the library's reader until ``reading`` is cancelled.

    The scope is shielded.  Without the shield, a cancelled block would end the reader
    too, and the reader is needed for the peer's answer to the close frame.
    """
    with reading:
        async with trio.open_nursery() as nursery:
            task_status.started(nursery)
            await trio.sleep_forever()


async def _open_stream(endpoint: Endpoint) -> _Stream:
    parts = urlsplit(endpoint.url)
    host = parts.hostname or ""
    port = parts.port or (80 if endpoint.tls is None else 443)
    tcp = await trio.open_tcp_stream(host, port)
    if endpoint.tls is None:
        return tcp
    stream = trio.SSLStream(
        tcp, endpoint.tls, server_hostname=host, https_compatible=True
    )
    done = False
    try:
        await stream.do_handshake()
        done = True
    finally:
        if not done:
            with trio.move_on_after(CLOSE_LIMIT_S, shield=True):
                await trio.aclose_forcefully(tcp)
    return stream


async def _upgrade(
    nursery: trio.Nursery, stream: _Stream, endpoint: Endpoint
) -> WebSocket:
    """Turn the stream into a websocket, whose two readers run in ``nursery``."""
    parts = urlsplit(endpoint.url)
    inbox = Inbox()
    connection = _FairConnection(
        FramedStream(stream, inbox, endpoint.max_frame_bytes),
        WSConnection(ConnectionType.CLIENT),
        host=endpoint.netloc,
        path=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
        client_extra_headers=list(endpoint.headers),
        max_message_size=endpoint.max_frame_bytes,
        receive_buffer_size=_RECEIVE_BYTES,
    )
    # As the library's own `wrap_client_stream` does it, except for the end without words.
    nursery.start_soon(connection.run_reader)
    await connection._open_handshake.wait()
    if connection.ended_early:
        raise FeedInterrupted(
            f"cannot connect to {endpoint.peer} at {endpoint.address}: it is no server of "
            "websockets"
        )
    nursery.start_soon(inbox.run, connection)
    return WebSocket(connection, inbox, endpoint.peer)


class _FairConnection(WebSocketConnection):
    """Lets other tasks run while a peer sends many tiny fragments.

    The library handles each fragment that it has received without a pause.  A receive
    buffer of 64 KiB holds 32,000 empty fragments, which take a second.
    """

    _fragments = 0
    ended_early = False

    async def run_reader(self) -> None:
        """Read until the connection ends; also end the wait for an answer without HTTP."""
        await self._reader_task()
        if not self._open_handshake.is_set():
            self.ended_early = True
            self._open_handshake.set()

    async def _handle_message_event(self, event: BytesMessage | TextMessage) -> None:
        await super()._handle_message_event(event)
        if not event.message_finished:
            await self._pause()

    async def _handle_pong_event(self, event: Pong) -> None:
        await super()._handle_pong_event(event)
        await self._pause()

    async def _pause(self) -> None:
        self._fragments += 1
        if self._fragments % _FRAGMENTS_AT_ONCE == 0:
            await trio.lowlevel.checkpoint()


@contextmanager
def _connecting(endpoint: Endpoint) -> Iterator[None]:
    """Bound one step of the opening and explain its failure."""
    where = f"cannot connect to {endpoint.peer} at {endpoint.address}"
    try:
        with trio.fail_after(CONNECT_LIMIT_S):
            yield
    except trio.TooSlowError as exc:
        raise FeedInterrupted(f"{where}: it does not answer") from exc
    except HandshakeError as exc:
        raise _no_upgrade(endpoint, [exc]) from exc
    except h11.ProtocolError as exc:
        raise _no_http(endpoint, exc) from exc
    except UnicodeError as exc:
        raise FeedInterrupted(f"{where}: its name is not a host name") from exc
    except (OSError, trio.BrokenResourceError) as exc:
        cause = exc.__cause__ or exc
        hint = ""
        if isinstance(cause, ssl.SSLCertVerificationError):
            hint = endpoint.certificate_hint
        raise FeedInterrupted(f"{where}: {cause}{hint}") from exc


def _no_http(endpoint: Endpoint, exc: BaseException) -> FeedInterrupted:
    where = f"cannot connect to {endpoint.peer} at {endpoint.address}"
    return FeedInterrupted(f"{where}: that is no HTTP ({exc})")


def _no_upgrade(endpoint: Endpoint, causes: list[BaseException]) -> FeedInterrupted:
    where = f"cannot connect to {endpoint.peer} at {endpoint.address}"
    for exc in causes:
        if isinstance(exc, ConnectionRejected):
            headers = {name.lower(): value for name, value in exc.headers}
            retry_after = headers.get(b"retry-after", b"").decode("latin-1")
            return FeedInterrupted(
                f"{where}: it answered {exc.status_code}",
                retry_after=parse_retry_after(retry_after),
                http_status=exc.status_code,
            )
    reasons = ", ".join(map(repr, causes))
    return FeedInterrupted(f"{where}: {reasons}")
