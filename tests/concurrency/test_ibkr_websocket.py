"""Over real sockets, so with the real clock."""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager, suppress

import pytest
import trio
import trustme
from trio_websocket import ConnectionClosed, wrap_server_stream

from greeks_trio.brokers.ibkr import session
from greeks_trio.brokers.ibkr.rest import Pacer
from greeks_trio.config.settings import IbkrConfig
from greeks_trio.errors import FeedInterrupted
from greeks_trio.feeds import websocket
from greeks_trio.feeds.tls import make_ssl_context
from greeks_trio.feeds.websocket import open_socket, send


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def stranger():
    return trustme.CA()


def write_ca(authority, tmp_path):
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


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
            pass  # the client did not like what it saw

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        await nursery.start(trio.serve_listeners, shake_hands, listeners)
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


def echo_cookie():
    async def handle(stream):
        async with trio.open_nursery() as nursery:
            request = await wrap_server_stream(nursery, stream)
            cookie = dict(request.headers)[b"cookie"]
            socket = await request.accept()
            await socket.send_message(cookie)
            try:
                while True:
                    await socket.send_message(await socket.get_message())
            except ConnectionClosed:
                nursery.cancel_scope.cancel()

    return handle


def make_config(port, scheme="wss", **changes):
    url = f"{scheme}://127.0.0.1:{port}/v1/api/ws?x=1"
    return IbkrConfig(ws_url=url, **changes)


def reasons(group):
    found = []
    for each in group.exceptions:
        found += reasons(each) if isinstance(each, BaseExceptionGroup) else [str(each)]
    return found


async def fail_to_connect(config):
    """Return in which words the connection fails."""
    failures = []
    try:
        async with open_socket(config, "ab12") as socket:
            await socket.get_message()
    except* FeedInterrupted as group:
        failures += reasons(group)
    [failure] = failures
    return failure


@pytest.mark.parametrize("is_pinned", [True, False])
async def test_a_gateway_on_this_machine_is_reached(authority, tmp_path, is_pinned):
    """A pinned certificate need not name this machine."""
    certificate = authority.issue_cert("gateway.example")
    ca_file = write_ca(authority, tmp_path) if is_pinned else None
    async with serve(echo_cookie(), certificate) as port:
        config = make_config(port, ca_file=ca_file)
        async with open_socket(config, "ab12") as socket:
            assert await socket.get_message() == b'api={"session":"ab12"}'
            await send(socket, "tic")
            assert await socket.get_message() == "tic"


async def test_a_gateway_without_tls_is_reached():
    async with serve(echo_cookie()) as port:
        async with open_socket(make_config(port, "ws"), "ab12") as socket:
            assert b"ab12" in await socket.get_message()


async def test_another_certificate_than_the_pinned_one_is_refused(
    authority, stranger, tmp_path
):
    certificate = stranger.issue_cert("127.0.0.1")
    async with serve(echo_cookie(), certificate) as port:
        config = make_config(port, ca_file=write_ca(authority, tmp_path))

        assert "IBKR_CA_FILE" in await fail_to_connect(config)


async def test_a_file_without_certificates_is_named(tmp_path):
    (tmp_path / "ca.pem").write_text("nothing")
    config = make_config(1, ca_file=tmp_path / "ca.pem")

    assert "cannot use the certificates in" in await fail_to_connect(config)


async def test_nobody_at_the_port_is_no_connection():
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    await listeners[0].aclose()

    assert "no connection" in await fail_to_connect(make_config(port, "ws"))


async def test_a_refused_upgrade_is_explained():
    async def refuse(stream):
        async with trio.open_nursery() as nursery:
            request = await wrap_server_stream(nursery, stream)
            await request.reject(401)
            nursery.cancel_scope.cancel()

    async with serve(refuse) as port:
        failure = await fail_to_connect(make_config(port, "ws"))

    assert "refused the websocket" in failure
    assert "401" in failure


@pytest.mark.parametrize("scheme", ["ws", "wss"])
async def test_a_peer_that_never_shakes_hands_is_given_up(monkeypatch, scheme):
    monkeypatch.setattr(websocket, "CONNECT_LIMIT_S", 0.05)

    async def say_nothing(stream):
        await trio.sleep_forever()

    async with serve(say_nothing) as port:
        failure = await fail_to_connect(make_config(port, scheme))

    assert "does not answer" in failure


async def test_a_dead_peer_does_not_hold_up_the_end(monkeypatch):
    monkeypatch.setattr(websocket, "CLOSE_LIMIT_S", 0.05)

    async def accept_and_die(stream):
        async with trio.open_nursery() as nursery:
            request = await wrap_server_stream(nursery, stream)
            await request.accept()
            nursery.cancel_scope.cancel()
        await trio.sleep_forever()

    async with serve(accept_and_die) as port:
        with trio.fail_after(5):
            async with open_socket(make_config(port, "ws"), "ab12"):
                pass


@pytest.mark.parametrize("is_full", [False, True])
async def test_a_stop_says_goodbye_and_waits_for_nothing_more(monkeypatch, is_full):
    """Also when the peer has sent more than anybody has read."""
    monkeypatch.setattr(websocket, "CLOSE_LIMIT_S", 3600)
    farewells, greeted = [], trio.Event()

    async def accept(stream):
        async with trio.open_nursery() as nursery:
            request = await wrap_server_stream(nursery, stream)
            peer = await request.accept()
            for _ in range(100 * is_full):
                await peer.send_message(b"{}")
            greeted.set()
            try:
                await peer.get_message()
            except ConnectionClosed as exc:
                farewells.append(exc.reason.code)

    async with serve(accept) as port:
        with trio.fail_after(5), trio.CancelScope() as scope:
            async with open_socket(make_config(port, "ws"), "ab12"):
                await greeted.wait()
                scope.cancel()
                await trio.sleep_forever()

    assert scope.cancelled_caught
    assert farewells == [1000]


class CancelAtStep(trio.abc.Instrument):
    """Cancels a scope after the n-th step of this task from here."""

    def __init__(self, step, scope):
        self.task = trio.lowlevel.current_task()
        self.step = step
        self.scope = scope

    def after_task_step(self, task):
        if task is self.task:
            self.step -= 1
            if self.step == 0:
                self.scope.cancel()


@pytest.mark.parametrize("step", range(1, 25))
async def test_a_stop_at_any_moment_of_the_opening_ends_at_once(step, monkeypatch):
    monkeypatch.setattr(websocket, "CLOSE_LIMIT_S", 3600)

    async def accept(stream):
        async with trio.open_nursery() as nursery:
            request = await wrap_server_stream(nursery, stream)
            await read_to_the_end(await request.accept())

    async with serve(accept) as port:
        with trio.fail_after(5), trio.CancelScope() as scope:
            trio.lowlevel.add_instrument(CancelAtStep(step, scope))
            async with open_socket(make_config(port, "ws"), "ab12"):
                await trio.lowlevel.checkpoint()
                scope.cancel()
                await trio.sleep_forever()

    assert scope.cancelled_caught


async def read_to_the_end(peer):
    with suppress(ConnectionClosed):
        await peer.get_message()


async def test_a_frame_that_is_no_websocket_frame_ends_the_connection():
    async def babble(stream):
        async with trio.open_nursery() as nursery:
            request = await wrap_server_stream(nursery, stream)
            await request.accept()
            await stream.send_all(b"\xff" * 64)
            nursery.cancel_scope.cancel()

    async with serve(babble) as port:
        assert "broke the connection" in await fail_to_connect(make_config(port, "ws"))


@pytest.mark.parametrize(
    ("host", "is_pinned", "verifies", "checks_name"),
    [
        ("localhost", False, False, False),
        ("localhost", True, True, False),
        ("LOCALHOST", False, False, False),
        ("a.localhost", False, True, True),
        ("gateway.example", False, True, True),
        ("gateway.example", True, True, True),
    ],
)
def test_whom_tls_trusts(authority, tmp_path, host, is_pinned, verifies, checks_name):
    ca_file = write_ca(authority, tmp_path) if is_pinned else None

    context = make_ssl_context(f"https://{host}:5000", ca_file)

    assert (context.verify_mode is ssl.CERT_REQUIRED) is verifies
    assert context.check_hostname is checks_name


async def test_rest_trusts_the_same_certificates(authority, stranger, tmp_path):
    async def answer(stream):
        await stream.receive_some(10_000)
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    ca_file = write_ca(authority, tmp_path)
    for issuer in (authority, stranger):
        async with serve(answer, issuer.issue_cert("gateway.example")) as port:
            url = f"https://127.0.0.1:{port}/v1/api"
            config = IbkrConfig(api_url=url, ca_file=ca_file)
            async with session.open_session(config, Pacer()) as rest:
                if issuer is authority:
                    assert await rest.request("GET", "/x") == {}
                    continue
                with pytest.raises(FeedInterrupted, match="is not trusted"):
                    await rest.request("GET", "/x")
