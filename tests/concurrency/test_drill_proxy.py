"""The drill's proxy fails as networks do; real sockets."""

from __future__ import annotations

from functools import partial

import pytest
import trio

from greeks_trio.drill.proxy import Proxy

COPY_DONE = b"c\0\0\0\4"


class Server:
    """Accepts connections and keeps them for the test to talk on."""

    def __init__(self):
        self.address = ("127.0.0.1", 0)
        self._arrived, self.connections = trio.open_memory_channel(10)

    async def run(self, *, task_status=trio.TASK_STATUS_IGNORED):
        async with trio.open_nursery() as nursery:
            serve = partial(trio.serve_tcp, self._keep, 0, host="127.0.0.1")
            [listener] = await nursery.start(serve)
            self.address = listener.socket.getsockname()
            task_status.started()

    async def _keep(self, stream):
        await self._arrived.send(stream)
        await trio.sleep_forever()


class Line:
    """A proxy with both of its ends."""

    def __init__(self, server, proxy):
        self.server = server
        self.proxy = proxy
        self._clients = []

    async def knock(self):
        """Return the client's stream of a new connection."""
        client = await trio.open_tcp_stream("127.0.0.1", self.proxy.port)
        self._clients.append(client)
        return client

    async def connect(self):
        """Return the client's and the server's stream of a new connection."""
        return await self.knock(), await self.server.connections.receive()

    def close(self):
        for client in self._clients:
            client.socket.close()


@pytest.fixture
async def line(nursery):
    server = Server()
    await nursery.start(server.run)
    proxy = Proxy(lambda: server.address)
    await nursery.start(proxy.run)
    line = Line(server, proxy)
    yield line
    line.close()


async def read(stream, number):
    data = b""
    while len(data) < number:
        chunk = await stream.receive_some()
        assert chunk, f"ended after {data!r}"
        data += chunk
    return data


async def assert_reset(stream):
    with pytest.raises(trio.BrokenResourceError):
        await read(stream, 1_000)


async def test_bytes_pass_in_both_directions(line):
    client, server = await line.connect()
    blob = bytes(range(256)) * 4096

    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.send_all, blob)
        assert await read(server, len(blob)) == blob
    await server.send_all(b"answer")

    assert await read(client, 6) == b"answer"


async def test_the_end_of_a_stream_arrives_after_its_last_byte(line):
    client, server = await line.connect()

    await server.send_all(b"farewell")
    await server.aclose()

    assert await read(client, 8) == b"farewell"
    assert await client.receive_some() == b""


async def test_a_client_that_vanishes_is_gone_for_the_server_too(line):
    client, server = await line.connect()

    await client.aclose()

    assert await server.receive_some() == b""


async def test_cut_connections_are_reset_on_both_sides(line):
    client, server = await line.connect()
    await client.send_all(b"x")
    await read(server, 1)

    assert line.proxy.cut() == 1

    await assert_reset(client)
    await assert_reset(server)


async def test_clients_are_reset_while_it_refuses_and_accepted_later(line):
    line.proxy.refuse()

    await assert_reset(await line.knock())
    line.proxy.accept()
    client, server = await line.connect()
    await client.send_all(b"x")

    assert await read(server, 1) == b"x"


async def test_no_server_resets_the_client(line):
    line.server.address = ("127.0.0.1", 1)

    await assert_reset(await line.knock())


async def test_half_open_connections_stay_dead_and_new_ones_live(line):
    client, server = await line.connect()
    await client.send_all(b"1")
    await read(server, 1)

    line.proxy.go_deaf()
    await client.send_all(b"2")
    meanwhile = await line.knock()
    await meanwhile.send_all(b"3")
    line.proxy.hear()
    await assert_reset(server)  # as its keep-alive would have it, and without the 2
    new_client, new_server = await line.connect()
    await new_client.send_all(b"4")
    assert await read(new_server, 1) == b"4"

    for dead in (client, meanwhile):
        with trio.move_on_after(0.1) as scope:
            await dead.receive_some()
        assert scope.cancelled_caught  # neither data nor an end


@pytest.mark.parametrize("commit", [b"Q\0\0\0\x0bCOMMIT\0", b"d\0\0\0\5x" + COPY_DONE])
async def test_the_answer_to_a_commit_is_lost_but_the_commit_arrives(line, commit):
    client, server = await line.connect()
    line.proxy.swallow_commit()
    await client.send_all(b"Q\0\0\0\x0aBEGIN\0")
    await read(server, 11)
    await server.send_all(b"ok")
    assert await read(client, 2) == b"ok"

    await client.send_all(commit)
    assert await read(server, len(commit)) == commit
    await server.send_all(b"committed")

    await assert_reset(client)
    assert line.proxy.swallowed.is_set()


async def test_only_one_commit_is_lost(line):
    line.proxy.swallow_commit()
    line.proxy.stop_swallowing()
    client, server = await line.connect()

    await client.send_all(COPY_DONE)
    await read(server, len(COPY_DONE))
    await server.send_all(b"committed")

    assert await read(client, 9) == b"committed"


async def test_an_address_in_the_servers_bytes_is_replaced(line):
    line.proxy.replace = (b"1234", b"5678")
    client, server = await line.connect()

    await server.send_all(b"at 1234/")

    assert await read(client, 8) == b"at 5678/"


async def test_cancelling_the_proxy_closes_its_connections(line):
    async with trio.open_nursery() as nursery:
        proxy = Proxy(lambda: line.server.address)
        await nursery.start(proxy.run)
        async with await trio.open_tcp_stream("127.0.0.1", proxy.port) as client:
            server = await line.server.connections.receive()
            await client.send_all(b"x")
            await read(server, 1)

            nursery.cancel_scope.cancel()

    assert await server.receive_some() == b""
