"""Which gateway is trusted, over real sockets, so with the real clock."""

from __future__ import annotations

import ssl

import pytest
import trio
import trustme

from greeks_trio.brokers.ibkr.rest import Pacer
from greeks_trio.brokers.ibkr.session import open_session
from greeks_trio.brokers.ibkr.socket import open_socket
from greeks_trio.config.settings import IbkrConfig
from greeks_trio.errors import FeedInterrupted
from greeks_trio.feeds import websocket
from greeks_trio.feeds.tls import make_ssl_context
from tests.concurrency.websocket_server import echo, failure_of, serve


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


def make_config(port, scheme="wss", **changes):
    url = f"{scheme}://127.0.0.1:{port}/v1/api/ws?x=1"
    return IbkrConfig(ws_url=url, **changes)


@pytest.mark.parametrize("is_pinned", [True, False])
async def test_a_gateway_on_this_machine_is_reached(authority, tmp_path, is_pinned):
    """A pinned certificate need not name this machine."""
    certificate = authority.issue_cert("gateway.example")
    ca_file = write_ca(authority, tmp_path) if is_pinned else None
    async with serve(echo, certificate) as port:
        config = make_config(port, ca_file=ca_file)
        async with open_socket(config, "ab12") as socket:
            assert 'cookie: api={"session":"ab12"}' in (await socket.receive())[0]
            await socket.send("tic")
            assert await socket.receive() == ["tic"]


async def test_a_gateway_without_tls_is_reached():
    async with serve(echo) as port:
        async with open_socket(make_config(port, "ws"), "ab12") as socket:
            assert "ab12" in (await socket.receive())[0]


async def test_another_certificate_than_the_pinned_one_is_refused(
    authority, stranger, tmp_path
):
    certificate = stranger.issue_cert("127.0.0.1")
    async with serve(echo, certificate) as port:
        config = make_config(port, ca_file=write_ca(authority, tmp_path))

        assert "IBKR_CA_FILE" in str(await failure_of(open_socket(config, "ab12")))


async def test_a_file_without_certificates_is_named(tmp_path):
    (tmp_path / "ca.pem").write_text("nothing")
    config = make_config(1, ca_file=tmp_path / "ca.pem")

    with pytest.raises(FeedInterrupted, match="cannot use the certificates in"):
        open_socket(config, "ab12")


async def test_a_gateway_that_never_begins_tls_is_given_up(monkeypatch):
    monkeypatch.setattr(websocket, "CONNECT_LIMIT_S", 0.05)

    async def say_nothing(_stream):
        await trio.sleep_forever()

    async with serve(say_nothing) as port:
        failure = await failure_of(open_socket(make_config(port), "ab12"))

    assert "does not answer" in str(failure)


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
def test_what_tls_verifies(authority, tmp_path, host, is_pinned, verifies, checks_name):
    ca_file = write_ca(authority, tmp_path) if is_pinned else None

    context = make_ssl_context(f"https://{host}:5000", ca_file, setting="IBKR_CA_FILE")

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
            async with open_session(config, Pacer()) as rest:
                if issuer is authority:
                    assert await rest.request("GET", "/x") == {}
                    continue
                with pytest.raises(FeedInterrupted, match="is not trusted"):
                    await rest.request("GET", "/x")
