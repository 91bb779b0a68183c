"""Brokers that send what no broker should, over real sockets, so with the real clock."""

from __future__ import annotations

import base64
import gc
import gzip
import hashlib
import json
import resource
import ssl
import time
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trio
import trustme
from trio_websocket import wrap_server_stream

from greeks_trio.brokers.ibkr import rest
from greeks_trio.brokers.ibkr.rest import Pacer
from greeks_trio.brokers.ibkr.session import open_session as open_gateway
from greeks_trio.brokers.tastytrade import rest as tastytrade_rest
from greeks_trio.brokers.tastytrade.session import open_session as open_tastytrade
from greeks_trio.brokers.tastytrade.socket import QUOTE_SERVER, open_socket
from greeks_trio.config.settings import IbkrConfig, Secret, TastytradeConfig
from greeks_trio.errors import FeedInterrupted, plain_reason
from greeks_trio.feeds import websocket
from greeks_trio.feeds.tls import make_ssl_context
from greeks_trio.feeds.websocket import Endpoint, open_websocket
from tests.concurrency.websocket_server import failure_of, serve

SECRET, REFRESH = "client-secret-of-the-user", "refresh-token-of-the-user"
MIB = 2**20


async def read_request(stream):
    """Return the request with its body."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += await stream.receive_some()
    head, _, body = data.partition(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            while len(body) < int(line.split(b":")[1]):
                body += await stream.receive_some()
    return head + b"\r\n\r\n" + body


def head(*lines, status="200 OK"):
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode()


def plain(body, *, status="200 OK"):
    return head(f"Content-Length: {len(body)}", status=status) + body


def answering(answer):
    """Return a server that answers each request with ``answer(request)``."""

    async def handle(stream):
        while True:
            reply = answer(await read_request(stream))
            if callable(reply):
                await reply(stream)
                return
            await stream.send_all(reply)

    return handle


@asynccontextmanager
async def gateway(answer):
    async with serve(answering(answer)) as port:
        config = IbkrConfig(api_url=f"http://127.0.0.1:{port}/v1/api")
        async with open_gateway(config, Pacer()) as session:
            yield session


@asynccontextmanager
async def tastytrade(answer, secret=SECRET):
    async with serve(answering(answer)) as port:
        config = TastytradeConfig(
            api_url=f"http://127.0.0.1:{port}",
            secret=Secret(secret),
            refresh=Secret(REFRESH),
        )
        async with open_tastytrade(config) as session:
            yield session


def login(access="access-token-of-today"):
    return plain(json.dumps({"access_token": access, "expires_in": 900}).encode())


async def reason_of(opening):
    """Return why the login or the first request fails, in words."""
    reason = None
    try:
        async with opening as session:
            if hasattr(session, "tickle"):
                await session.tickle()
            else:
                await session.read_positions()
    except* FeedInterrupted as group:
        reason = plain_reason(group)
    assert reason is not None, "it worked"
    return reason


def send_bomb(encoding="gzip"):
    """Return an answer of 1 GiB that is 1 MB on the wire."""
    part = gzip.compress(bytes(64 * MIB), 1)

    async def send(stream):
        await stream.send_all(
            head(f"Content-Encoding: {encoding}", f"Content-Length: {len(part) * 16}")
        )
        for _ in range(16):
            await stream.send_all(part)

    return lambda _: send


async def send_without_end(stream):
    await stream.send_all(head("Transfer-Encoding: chunked"))
    while True:
        await stream.send_all(b"10000\r\n" + b" " * 65_536 + b"\r\n")


async def drip(stream):
    await stream.send_all(head("Content-Length: 1000000"))
    while True:
        await stream.send_all(b" ")
        await trio.sleep(0.01)


async def send_ssh(stream):
    await stream.send_all(b"SSH-2.0-OpenSSH_9.2p1\r\n\r\n")
    await stream.receive_some()


async def send_nothing_known(stream):
    await stream.send_all(head("Content-Encoding: zstd", "Content-Length: 4") + b"abcd")


async def send_wrong_gzip(stream):
    await stream.send_all(head("Content-Encoding: gzip", "Content-Length: 4") + b"abcd")


@pytest.mark.parametrize("broker", [gateway, tastytrade])
@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (send_bomb(), "answer of more than 8 MiB"),
        (lambda _: send_without_end, "answer of more than 8 MiB"),
        (lambda _: drip, "does not answer"),
        (lambda _: send_ssh, "SSH-2.0-OpenSSH"),
        (lambda _: send_nothing_known, "an answer that is packed as 'zstd'"),
        (lambda _: send_wrong_gzip, "an answer that is no gzip"),
        (lambda _: plain(b"[" * 100_000), "answer to "),
    ],
)
async def test_an_answer_that_no_broker_sends_is_an_interruption(
    monkeypatch, broker, answer, words
):
    monkeypatch.setattr(
        rest, "REQUEST_LIMIT_S", 5.0 if answer(b"") is not drip else 0.3
    )
    monkeypatch.setattr(tastytrade_rest, "REQUEST_LIMIT_S", rest.REQUEST_LIMIT_S)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    assert words in await reason_of(broker(answer))

    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kib < 200 * 1024


@pytest.mark.parametrize("status", ["200 OK", "400 Bad Request", "500 Odd"])
async def test_an_echo_of_the_login_shows_no_secret(caplog, status):
    def echo(request):
        words = request.decode() + "\x1b[2J\x9b\u202e"
        body = {"error": "invalid", "error_description": words, "error_code": words}
        return plain(json.dumps(body).encode(), status=status)

    reason = await reason_of(tastytrade(echo))

    for text in (reason, caplog.text):
        assert SECRET not in text
        assert REFRESH not in text
        assert text.replace("\n", "").isprintable()


@pytest.mark.parametrize("end", ["\r\n", "\r", " ", "\x00", "é", "\n\tX: y"])
async def test_an_access_token_that_no_header_can_hold_is_an_interruption(caplog, end):
    def answer(request):
        if b"/oauth/token" in request:
            return login("access-token-of-today" + end)
        return plain(b'{"data": {"items": []}}')

    reason = await reason_of(tastytrade(answer))

    assert "access token has characters that no request can carry" in reason
    assert "access-token-of-today" not in reason + caplog.text


@pytest.mark.parametrize("token", [None, 7, ["access-token-of-today"]])
async def test_an_access_token_that_is_no_text_is_not_sent(token):
    asked = []

    def answer(request):
        asked.append(request)
        return login(token)

    reason = await reason_of(tastytrade(answer))

    assert reason.endswith("Tastytrade's answer to the login has no access token")
    assert len(asked) == 1


@pytest.mark.parametrize("end", ["\r", " ", "\r\n", "\xa0", "é"])
async def test_a_secret_with_an_odd_end_is_not_shown(caplog, end):
    def answer(request):
        return plain(
            b'{"error_description": ' + json.dumps(request.decode()).encode() + b"}",
            status="400 Bad Request",
        )

    reason = await reason_of(tastytrade(answer, SECRET + end))

    assert SECRET not in reason + caplog.text


async def test_a_token_that_the_broker_echoes_is_not_shown(caplog):
    def answer(request):
        if b"/oauth/token" in request:
            return login()
        [words] = [line for line in request.split(b"\r\n") if b"Bearer" in line]
        body = {"error": {"message": words.decode()}}
        return plain(json.dumps(body).encode(), status="500 Odd")

    reason = await reason_of(tastytrade(answer))

    assert "Bearer ***" in reason
    assert "access-token-of-today" not in reason + caplog.text


@pytest.mark.parametrize("end", ["\r\n", "\x00", " ", '"', ";", "é"])
async def test_a_session_id_that_no_cookie_can_hold_is_an_interruption(caplog, end):
    body = json.dumps({"session": "session-id-of-today" + end}).encode()

    reason = await reason_of(gateway(lambda _: plain(body)))

    assert "session id has characters that no request can carry" in reason
    assert "session-id-of-today" not in reason + caplog.text


async def test_an_account_with_an_impossible_id_does_not_hide_the_others():
    def answer(request):
        path = request.split()[1]
        if path.endswith(b"/accounts"):
            accounts = [{"accountId": "U1\x00"}, {"accountId": "U2"}]
            return plain(json.dumps(accounts).encode())
        return plain(b"[]")

    async with gateway(answer) as session:
        chosen = await session.accounts.choose()
        problem = session.accounts.problem

    assert chosen == ("U2",)
    assert "1 account(s) with an impossible id are left out: 'U1\\x00'" in problem


async def test_an_account_number_with_a_control_character_is_named_and_left_out():
    def answer(request):
        if b"/oauth/token" in request:
            return login()
        if b"/customers/me/accounts" in request:
            items = [
                {"account": {"account-number": number}} for number in ("5W\x00", "5W2")
            ]
            return plain(json.dumps({"data": {"items": items}}).encode())
        return plain(b'{"data": {"items": []}}')

    async with tastytrade(answer) as session:
        reading = await session.read_positions()

    assert reading.account_ids == ("5W2",)
    assert any("an account is left out" in each for each in reading.problems)


def connect(port, **changes):
    url = f"ws://127.0.0.1:{port}/v1/ws"
    return open_websocket(
        replace(Endpoint(url=url, peer="the peer", tls=None), **changes)
    )


@pytest.mark.parametrize(
    "banner",
    [b"SSH-2.0-OpenSSH_9.2p1\r\n", b"\x00" * 100, b"220 mail ESMTP\r\n", b"HTTP/1.1 2"],
)
async def test_a_peer_without_http_is_an_interruption(monkeypatch, banner):
    monkeypatch.setattr(websocket, "CONNECT_LIMIT_S", 2.0)

    async def greet(stream):
        await stream.send_all(banner)
        await stream.receive_some()

    async with serve(greet) as port:
        failure = await failure_of(connect(port))

    assert "cannot connect to the peer at ws://127.0.0.1" in str(failure)


@pytest.mark.parametrize("value", [b"a\r\nX: y", b"a\x00", b"a\n"])
async def test_a_header_that_cannot_be_sent_is_an_interruption(value):
    async with serve(answering(lambda _: plain(b""))) as port:
        failure = await failure_of(connect(port, headers=[(b"Cookie", value)]))

    assert "that is no HTTP" in str(failure)


@pytest.mark.parametrize(
    "url",
    ["ws://localhost\x00/", "ws://local\nhost/", "ws://localhost/\x1b[2J", "ws://a b/"],
)
async def test_an_address_with_control_characters_is_an_interruption(url):
    with pytest.raises(FeedInterrupted, match="is not an address") as caught:
        open_socket(url, QUOTE_SERVER)

    assert str(caught.value).isprintable()


async def test_a_host_name_that_is_none_is_an_interruption():
    failure = await failure_of(
        open_websocket(
            Endpoint(url=f"ws://{'a' * 70}.example/", peer="the peer", tls=None)
        )
    )

    assert "its name is not a host name" in str(failure)


async def test_a_close_reason_shows_no_secret():
    Secret("token-in-the-close-reason")

    async def refuse(stream):
        async with trio.open_nursery() as nursery:
            peer = await (await wrap_server_stream(nursery, stream)).accept()
            await peer.aclose(code=1008, reason="bad token-in-the-close-reason\x1b[2J")
            nursery.cancel_scope.cancel()

    async with serve(refuse) as port:
        failure = await failure_of(connect(port))

    assert "(1008 bad ***[2J)" in str(failure)


@pytest.fixture
def no_garbage_collection():
    """A full collection computes for longer than a task may."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("piece", [b"\x00\x00", b"\x00\x01a", b"\x8a\x00"])
async def test_tiny_fragments_let_other_tasks_run(piece, no_garbage_collection):
    """Fragments without content, fragments of one letter, and pongs."""

    async def send_fragments(stream):
        data = await stream.receive_some()
        while b"\r\n\r\n" not in data:
            data += await stream.receive_some()
        await stream.send_all(accept(data) + b"\x01\x01a" + piece * 60_000)
        await trio.sleep_forever()

    worst = 0.0
    async with serve(send_fragments) as port, connect(port) as socket:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(socket.receive)
            with trio.move_on_after(1.0):
                while True:
                    # The time that this thread computes: others may have the processor.
                    begin = time.thread_time()
                    await trio.lowlevel.checkpoint()
                    worst = max(worst, time.thread_time() - begin)
            nursery.cancel_scope.cancel()

    assert worst < 0.05  # without pauses 0.08 to 0.2, with them 0.002


def accept(request):
    """Return the answer to a request for a websocket."""
    [key] = [
        line.split(b":")[1].strip()
        for line in request.split(b"\r\n")
        if line.lower().startswith(b"sec-websocket-key:")
    ]
    digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()  # noqa: S324
    return head(
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {base64.b64encode(digest).decode()}",
        status="101 Switching Protocols",
    )


@pytest.mark.parametrize("host", ["gw.localhost", "localhost.", "127.1", "example.com"])
def test_only_this_machine_itself_goes_without_a_verified_name(host):
    context = make_ssl_context(f"https://{host}:5000", None, setting="IBKR_CA_FILE")

    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


async def test_an_untrusted_certificate_is_named_as_the_reason():
    certificate = trustme.CA().issue_cert("localhost")

    async def wait(stream):
        await stream.receive_some()

    async with serve(wait, certificate) as port:
        config = TastytradeConfig(
            api_url=f"https://localhost:{port}",
            secret=Secret(SECRET),
            refresh=Secret(REFRESH),
        )
        reason = await reason_of(open_tastytrade(config))

    assert "its certificate is not trusted: unable to get local issuer" in reason
