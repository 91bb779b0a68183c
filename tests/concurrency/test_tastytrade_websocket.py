"""Real sockets on this machine, so no virtual clock here."""

from __future__ import annotations

import ssl
from functools import partial

import pytest
import trio
import trustme
from trio_websocket import ConnectionClosed, serve_websocket, wrap_server_stream

from greeks_trio.brokers.tastytrade import websocket
from greeks_trio.brokers.tastytrade.websocket import (
    open_socket,
    receive_frame,
    send_frame,
)
from greeks_trio.errors import FeedInterrupted
from tests.concurrency.tastytrade_fakes import interrupted


async def echo(request):
    socket = await request.accept()
    try:
        while True:
            await socket.send_message(await socket.get_message())
    except ConnectionClosed:
        pass


async def reject(request):
    await request.reject(502)


@pytest.fixture
async def serve(nursery):
    async def start(handler):
        server = await nursery.start(
            partial(serve_websocket, handler, "127.0.0.1", 0, ssl_context=None)
        )
        return f"ws://127.0.0.1:{server.port}"

    return start


async def test_frames_of_several_mib_come_through(serve):
    frame = "x" * (4 * 1024 * 1024)

    async def send_large(request):
        socket = await request.accept()
        await socket.send_message(frame)

    async with open_socket(await serve(send_large)) as socket:
        assert await receive_frame(socket) == frame


async def test_what_is_sent_arrives(serve):
    async with open_socket(await serve(echo)) as socket:
        await send_frame(socket, "hello")

        assert await receive_frame(socket) == "hello"


async def test_the_upgrade_says_which_product_asks_for_it(serve):
    async def tell(request):
        headers = {name.lower(): value for name, value in request.headers}
        socket = await request.accept()
        await socket.send_message(headers[b"user-agent"].decode())

    async with open_socket(await serve(tell)) as socket:
        assert (await receive_frame(socket)).startswith("greeks-trio/")


async def test_an_address_where_nobody_listens_is_an_interruption():
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    await listener.aclose()

    with interrupted("cannot connect"):
        async with open_socket(f"ws://127.0.0.1:{port}"):
            raise AssertionError("connected to nobody")


async def test_a_refused_upgrade_is_an_interruption(serve):
    url = await serve(reject)

    with interrupted("the server answered 502$"):
        async with open_socket(url):
            raise AssertionError("the upgrade was refused")


async def test_a_refused_upgrade_says_when_to_come_back(serve):
    async def later(request):
        await request.reject(503, extra_headers=[(b"Retry-After", b"17")])

    url = await serve(later)
    with pytest.RaisesGroup(
        pytest.RaisesExc(
            FeedInterrupted,
            check=lambda exc: (exc.http_status, exc.retry_after) == (503, 17.0),
        ),
        flatten_subgroups=True,
        allow_unwrapped=True,
    ):
        async with open_socket(url):
            raise AssertionError("the upgrade was refused")


async def test_a_peer_that_never_upgrades_is_given_up(monkeypatch, nursery):
    monkeypatch.setattr(websocket, "CONNECT_LIMIT_S", 0.05)
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]

    async def ignore(_stream):
        await trio.sleep_forever()

    nursery.start_soon(trio.serve_listeners, ignore, [listener])

    with interrupted("no answer"):
        async with open_socket(f"ws://127.0.0.1:{port}"):
            raise AssertionError("there was no upgrade")


async def test_a_certificate_that_nobody_vouches_for_is_refused(nursery):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    server = await nursery.start(
        partial(serve_websocket, echo, "localhost", 0, ssl_context=context)
    )

    with interrupted("CERTIFICATE_VERIFY_FAILED"):
        async with open_socket(f"wss://localhost:{server.port}"):
            raise AssertionError("the certificate was taken")


async def test_an_open_line_to_elsewhere_is_not_even_tried():
    with interrupted("not encrypted"):
        async with open_socket("ws://quotes.example"):
            raise AssertionError("connected in the open")


async def test_the_reason_for_leaving_survives_a_peer_that_does_not_answer(
    monkeypatch, nursery
):
    monkeypatch.setattr(websocket, "CLOSE_LIMIT_S", 0.05)
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]

    async def accept_and_freeze(stream):
        async with trio.open_nursery() as readers:
            request = await wrap_server_stream(readers, stream)
            await request.accept()
            readers.cancel_scope.cancel()
        await trio.sleep_forever()

    nursery.start_soon(trio.serve_listeners, accept_and_freeze, [listener])

    with interrupted("for this reason"):
        async with open_socket(f"ws://127.0.0.1:{port}"):
            raise FeedInterrupted("for this reason")
