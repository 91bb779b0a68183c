"""Websocket servers on real sockets, for tests with the real clock."""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager

import trio
from trio_websocket import ConnectionClosed, wrap_server_stream

from greeks_trio.errors import FeedInterrupted, leaves


@asynccontextmanager
async def serve(handle, certificate=None):
    """Serve each connection with ``handle(stream)``; gives the port."""

    async def shake_hands(stream):
        if certificate is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            certificate.configure_cert(context)
            stream = trio.SSLStream(
                stream, context, server_side=True, https_compatible=True
            )
        try:
            async with stream:
                await handle(stream)
        except trio.BrokenResourceError:
            pass  # the client closed at once

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        await nursery.start(trio.serve_listeners, shake_hands, listeners)
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def echo(stream):
    """Send the headers of the request as lines, then each frame that comes."""
    async with trio.open_nursery() as nursery:
        request = await wrap_server_stream(nursery, stream)
        headers = [
            f"{name.decode()}: {value.decode()}" for name, value in request.headers
        ]
        socket = await request.accept()
        await socket.send_message("\n".join(headers))
        try:
            while True:
                await socket.send_message(await socket.get_message())
        except ConnectionClosed:
            nursery.cancel_scope.cancel()


async def unused_port():
    """Return a port at which nothing listens."""
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    return port


async def failure_of(opening):
    """Return the `FeedInterrupted` with which an opening fails."""
    failures = []
    try:
        async with opening as socket:
            await socket.receive()
    except* FeedInterrupted as group:
        failures += leaves(group)
    [failure] = failures
    return failure
