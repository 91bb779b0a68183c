"""The gateway's websocket: opening it, closing it, and its errors in our words."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Final
from urllib.parse import urlsplit

import trio
from trio_websocket import (
    CloseReason,
    ConnectionClosed,
    ConnectionRejected,
    HandshakeError,
    WebSocketConnection,
    wrap_client_stream,
)
from wsproto.utilities import LocalProtocolError

from greeks_trio.config.settings import IbkrConfig
from greeks_trio.errors import FeedInterrupted
from greeks_trio.feeds.tls import make_ssl_context

# The gateway is near; a handshake that takes longer will not come.
CONNECT_LIMIT_S: Final = 10.0
# The library would wait a minute for a dead peer's farewell.
CLOSE_LIMIT_S: Final = 1.0
# A request is a few hundred bytes; if the socket does not take it the peer is gone.
SEND_LIMIT_S: Final = 10.0
# Frames have a few hundred bytes; the largest are bulletins and ledgers.
_MAX_FRAME_BYTES: Final = 8 * 2**20
# Frames that the library may hold for us; with the largest ones 256 MiB, in life 20 kB.
_QUEUED_FRAMES: Final = 32
_RECEIVE_BYTES: Final = 64 * 2**10

OpenSocket = Callable[
    [IbkrConfig, str], AbstractAsyncContextManager[WebSocketConnection]
]


@asynccontextmanager
async def open_socket(
    config: IbkrConfig, session_id: str
) -> AsyncIterator[WebSocketConnection]:
    """Open the websocket with the session in its cookie; close it at the end.

    A peer that answers our farewell is left at once, one that does not after
    `CLOSE_LIMIT_S`.

    Holds a nursery, so whatever ends the block arrives in an `ExceptionGroup`.

    Raises:
        FeedInterrupted: there is no connection.
    """
    with translated(), trio.fail_after(CONNECT_LIMIT_S):
        stream = await _open_stream(config)
    try:
        async with trio.open_nursery() as outer:
            reading = trio.CancelScope(shield=True)
            try:
                # It takes no time.  Cancelled, it would wait for what we alone end.
                with trio.fail_after(CONNECT_LIMIT_S, shield=True):
                    nursery = await outer.start(_hold_library, reading)
                with translated(), trio.fail_after(CONNECT_LIMIT_S):
                    socket = await _shake_hands(nursery, stream, config, session_id)
                try:
                    yield socket
                finally:
                    with trio.move_on_after(CLOSE_LIMIT_S, shield=True):
                        await socket.aclose()
            finally:
                reading.cancel()
    # These come from the library's own reader; our calls translate theirs.
    except* ConnectionRejected as group:
        answers = ", ".join(map(repr, group.exceptions))
        raise FeedInterrupted(
            f"the IBKR gateway refused the websocket: {answers}"
        ) from group
    except* (ConnectionClosed, LocalProtocolError, HandshakeError) as group:
        raise FeedInterrupted("the IBKR gateway broke the connection") from group
    finally:
        with trio.move_on_after(CLOSE_LIMIT_S, shield=True):
            await trio.aclose_forcefully(stream)


async def _hold_library(
    reading: trio.CancelScope, *, task_status: trio.TaskStatus[trio.Nursery]
) -> None:
    """Hold a nursery for the library's reader until ``reading`` is cancelled.

    A stop that cancels us would else cancel the reader too, and without it nobody
    hears the peer's farewell: each stop would wait for it in vain.
    """
    with reading:
        async with trio.open_nursery() as nursery:
            task_status.started(nursery)
            await trio.sleep_forever()


async def send(socket: WebSocketConnection, message: str) -> None:
    """Send one text frame.

    Raises:
        FeedInterrupted: the peer does not take it.
    """
    with translated(), trio.fail_after(SEND_LIMIT_S):
        await socket.send_message(message)


_FOREIGN: Final = (
    ConnectionClosed,
    HandshakeError,
    LocalProtocolError,
    trio.TooSlowError,
    trio.BrokenResourceError,
    OSError,
)


@contextmanager
def translated(types: tuple[type[Exception], ...] = _FOREIGN) -> Iterator[None]:
    """Turn the errors of one call into the websocket library into ours.

    Around more than one call, name the ``types`` that only the library can mean.
    """
    try:
        yield
    except types as exc:
        raise FeedInterrupted(_explain(exc)) from exc


async def _open_stream(
    config: IbkrConfig,
) -> trio.SocketStream | trio.SSLStream[trio.SocketStream]:
    parts = urlsplit(config.ws_url)
    host = parts.hostname or "localhost"
    context = make_ssl_context(config.ws_url, config.ca_file)
    port = parts.port or (80 if context is None else 443)
    tcp = await trio.open_tcp_stream(host, port)
    if context is None:
        return tcp
    stream = trio.SSLStream(tcp, context, server_hostname=host, https_compatible=True)
    done = False
    try:
        await stream.do_handshake()
        done = True
    finally:
        if not done:
            with trio.move_on_after(CLOSE_LIMIT_S, shield=True):
                await trio.aclose_forcefully(tcp)
    return stream


async def _shake_hands(
    nursery: trio.Nursery,
    stream: trio.SocketStream | trio.SSLStream[trio.SocketStream],
    config: IbkrConfig,
    session_id: str,
) -> WebSocketConnection:
    """Start the library's reader in the nursery and wait for the upgrade."""
    parts = urlsplit(config.ws_url)
    cookie = f'api={{"session":"{session_id}"}}'
    return await wrap_client_stream(
        nursery,
        stream,
        parts.netloc.rpartition("@")[2],
        (parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
        extra_headers=[(b"Cookie", cookie.encode())],
        message_queue_size=_QUEUED_FRAMES,
        max_message_size=_MAX_FRAME_BYTES,
        receive_buffer_size=_RECEIVE_BYTES,
    )


def _explain(exc: Exception) -> str:
    match exc:
        case ConnectionClosed(reason=CloseReason(code=code, reason=words)):
            said = f"{code} {words}" if words else f"{code}"
            return f"the IBKR gateway closed the connection ({said})"
        case ConnectionClosed() | LocalProtocolError():
            return "the IBKR gateway closed the connection"
        case HandshakeError():
            return f"the IBKR gateway refused the websocket: {exc!r}"
        case trio.TooSlowError():
            return "the IBKR gateway's websocket does not answer"
    if isinstance(exc.__cause__, ssl.SSLCertVerificationError):
        return (
            "the certificate of the IBKR gateway's websocket is not trusted"
            " (IBKR_CA_FILE names the one to trust)"
        )
    return f"no connection to the IBKR gateway's websocket: {exc}"
