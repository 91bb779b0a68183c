"""Over real sockets: the messages that are cut out, and those of the library between them."""

from __future__ import annotations

import os
import ssl

import pytest
import trio
import trustme
from trio.testing import memory_stream_pair, wait_all_tasks_blocked
from trio_websocket import wrap_server_stream

from greeks_trio.errors import FeedInterrupted
from greeks_trio.feeds.framed_stream import MOST_AT_ONCE, FramedStream, Inbox
from greeks_trio.feeds.tls import read_more
from greeks_trio.feeds.websocket import Endpoint, open_websocket
from tests.concurrency.websocket_server import serve

LONG = "x" * 200_000


def whole(text):
    """Return one frame of a server."""
    data = text.encode()
    return bytes([0x81, 126]) + len(data).to_bytes(2, "big") + data


async def receive_all(socket):
    """Return the messages until the connection is closed, and the sizes of the reads."""
    found, sizes = [], []
    while True:
        try:
            messages = await socket.receive()
        except FeedInterrupted:
            return found, sizes
        found += messages
        sizes.append(len(messages))


def connect(port, tls=None):
    scheme = "ws" if tls is None else "wss"
    url = f"{scheme}://127.0.0.1:{port}/"
    return open_websocket(Endpoint(url=url, peer="the peer", tls=tls))


@pytest.fixture(scope="module")
def tls_certificate():
    return trustme.CA().issue_cert("gateway.example")


@pytest.fixture
def client_tls():
    """A context that trusts anybody, as towards this machine."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def send_mixture(stream):
    """Send short and long messages, fragments and pings, in a hurry."""
    async with trio.open_nursery() as nursery:
        peer = await (await wrap_server_stream(nursery, stream)).accept()
        for number in range(50):
            await peer.send_message(f"short {number}")
            await peer.send_message(f"{number} {LONG}")
            fragments = b"\x01\x02a " + bytes([0x80, 2]) + f"{number:02}".encode()
            await stream.send_all(b"\x89\x00" + fragments + whole("y" * 200))
        await peer.aclose()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("is_secure", [False, True])
async def test_messages_of_each_kind_keep_their_order(
    tls_certificate, client_tls, is_secure
):
    certificate, tls = (tls_certificate, client_tls) if is_secure else (None, None)
    async with serve(send_mixture, certificate) as port, connect(port, tls) as socket:
        found, _ = await receive_all(socket)

    assert found == [
        text
        for number in range(50)
        for text in (
            f"short {number}",
            f"{number} {LONG}",
            f"a {number:02}",
            "y" * 200,
        )
    ]


async def test_a_reader_that_comes_late_gets_many_messages_at_once(
    tls_certificate, client_tls
):
    all_sent = trio.Event()

    async def send(stream):
        async with trio.open_nursery() as nursery:
            peer = await (await wrap_server_stream(nursery, stream)).accept()
            for number in range(300):
                await peer.send_message(f"{number}")
            all_sent.set()
            await peer.aclose()
            nursery.cancel_scope.cancel()

    async with serve(send, tls_certificate) as port:
        async with connect(port, client_tls) as socket:
            await all_sent.wait()
            found, sizes = await receive_all(socket)

    assert found == [str(number) for number in range(300)]
    assert max(sizes) == MOST_AT_ONCE


class Endless(trio.abc.ReceiveStream):
    """Sends the head of an upgrade, and then ten messages for each read."""

    reads = 0

    async def receive_some(self, max_bytes=None):
        await trio.lowlevel.checkpoint()
        self.reads += 1
        assert self.reads < 1_000
        head = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
        return head if self.reads == 1 else whole("z" * 130) * 10

    async def aclose(self):
        await trio.lowlevel.checkpoint()


async def test_the_socket_is_not_read_while_nobody_takes_the_messages(nursery):
    source, inbox = Endless(), Inbox()
    framed = FramedStream(source, inbox, 2**20)
    assert (await framed.receive_some()).startswith(b"HTTP/1.1 101")

    nursery.start_soon(framed.receive_some)
    await wait_all_tasks_blocked()
    before = source.reads
    taken = await inbox.take()
    await wait_all_tasks_blocked()

    assert len(taken) == MOST_AT_ONCE
    assert 1 + MOST_AT_ONCE / 10 <= before <= 3 + MOST_AT_ONCE / 10
    assert before < source.reads <= before + 7
    nursery.cancel_scope.cancel()


async def test_all_records_that_have_come_are_read(tls_certificate, client_tls):
    server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls_certificate.configure_cert(server_context)
    client_end, server_end = memory_stream_pair()
    client = trio.SSLStream(client_end, client_tls)
    server = trio.SSLStream(server_end, server_context, server_side=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.do_handshake)
        nursery.start_soon(server.do_handshake)
    for text in (b"one", b"two", b"three"):
        await server.send_all(text)

    assert await client.receive_some(1_000) == b"one"
    assert read_more(client) == b"twothree"
    assert read_more(client) == b""


async def test_a_broken_record_ends_the_connection_after_the_good_ones(
    tls_certificate, client_tls
):
    async def break_off(stream):
        async with trio.open_nursery() as nursery:
            peer = await (await wrap_server_stream(nursery, stream)).accept()
            await peer.send_message("good")
            await stream.transport_stream.send_all(
                b"\x17\x03\x03\x00\x20" + os.urandom(32)
            )
            await trio.sleep(2)
            nursery.cancel_scope.cancel()

    with trio.fail_after(20):
        async with serve(break_off, tls_certificate) as port:
            async with connect(port, client_tls) as socket:
                found, _ = await receive_all(socket)

    assert found == ["good"]


class Punctual(trio.abc.ReceiveStream):
    """After the upgrade it has one more message at each multiple of an interval."""

    def __init__(self, interval_s):
        self._interval_s = interval_s
        self._sent = self.reads = 0

    async def receive_some(self, max_bytes=None):
        self.reads += 1
        if self.reads == 1:
            return b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
        await trio.sleep_until((self._sent + 1) * self._interval_s)
        due = int(trio.current_time() / self._interval_s + 1e-6)
        frames = [whole(f"{number:0200}") for number in range(self._sent, due)]
        self._sent = due
        return b"".join(frames)

    async def aclose(self):
        pass


async def delays(stream, interval_s, number, nursery):
    """Return by how many milliseconds each message comes late."""
    inbox = Inbox()
    framed = FramedStream(stream, inbox, 2**20)
    await framed.receive_some()
    nursery.start_soon(framed.receive_some)
    found = []
    while len(found) < number:
        found += [
            round(1000 * (trio.current_time() - (int(text) + 1) * interval_s))
            for text in await inbox.take()
        ]
    nursery.cancel_scope.cancel()
    return found[:number]


async def test_messages_without_a_break_are_read_together(autojump_clock, nursery):
    stream = Punctual(0.0005)

    late = await delays(stream, 0.0005, 200, nursery)

    assert late[:20] == [0] * 20
    assert stream.reads < 20 + 200 / 7
    assert max(late) == 4


async def test_messages_with_breaks_are_never_delayed(autojump_clock, nursery):
    stream = Punctual(0.009)

    late = await delays(stream, 0.009, 100, nursery)

    assert late == [0] * 100
