"""One WebSocket of the simulated IBKR gateway over hours of virtual time."""

from __future__ import annotations

from datetime import date
from random import Random

import msgspec
import pytest
import trio
from trio.testing import lockstep_stream_pair, memory_stream_pair
from trio_websocket import ConnectionClosed, wrap_client_stream

from greeks_trio.simulators.book.textbook import textbook_market
from greeks_trio.simulators.ibkr.login import Logins
from greeks_trio.simulators.ibkr.state import IbkrSettings, IbkrState
from greeks_trio.simulators.ibkr.stream import HEARTBEAT_INTERVAL_S, IbkrStream
from greeks_trio.simulators.ledger import Ledger
from greeks_trio.simulators.server.http import serve_http
from greeks_trio.simulators.server.websocket import ServerWebSocket

HEADERS = [("Cookie", "api=0123456789abcdef")]


class Server:
    """The gateway's end of one connection, in a nursery of its own."""

    def __init__(self, nursery, stream, *, rate):
        market = textbook_market(contracts=4, seed=1, today=date(2026, 3, 2))
        self.ledger = Ledger(None)
        self.conids = [option.conid for option in market.options]
        self.state = IbkrState(
            market,
            market.options,
            self.ledger,
            IbkrSettings(rate=rate),
            Random(3),
        )
        self.ibkr = None
        self.ended = trio.Event()
        nursery.start_soon(self._serve, stream)

    async def _serve(self, stream):
        async with stream:
            upgrade = await serve_http(stream, lambda _request: None)
            socket = ServerWebSocket(stream, upgrade.received)
            await socket.accept()
            [login] = Logins(Random(1), 1).each
            self.ibkr = IbkrStream(
                self.state, login, socket, upgrade.request, lambda: None
            )
            await self.ibkr.run()
        self.ended.set()


async def subscribe(socket, conids):
    for conid in conids:
        await socket.send_message(f'smd+{conid}+{{"fields":["7308","7310","7633"]}}')


async def receive(socket):
    # A notice may hold bytes that are no UTF-8.
    text = (await socket.get_message()).decode("utf-8", "replace")
    return msgspec.json.decode(text)


async def receive_system(socket):
    while (await receive(socket)).get("topic") != "system":
        pass


async def test_heartbeats_go_on_after_every_subscription_has_ended(
    nursery, autojump_clock
):
    client_end, server_end = memory_stream_pair()
    server = Server(nursery, server_end, rate=0.1)
    heartbeats, prices = [], []

    async with trio.open_nursery() as inner:
        socket = await wrap_client_stream(
            inner, client_end, "sim", "/v1/api/ws", extra_headers=HEADERS
        )
        async with socket:
            await receive_system(socket)
            started = trio.current_time()
            await subscribe(socket, server.conids)
            while len(heartbeats) < 120:
                frame = await receive(socket)
                if "hb" in frame:
                    heartbeats.append(trio.current_time() - started)
                elif frame["topic"].startswith("smd"):
                    prices.append(trio.current_time() - started)

    assert heartbeats == pytest.approx(
        [HEARTBEAT_INTERVAL_S * (number + 1) for number in range(120)], abs=0.1
    )
    assert 880 < prices[-1] < 900


async def test_ticks_come_at_the_configured_rate(nursery, autojump_clock):
    client_end, server_end = memory_stream_pair()
    server = Server(nursery, server_end, rate=50.0)

    async with trio.open_nursery() as inner:
        socket = await wrap_client_stream(
            inner, client_end, "sim", "/v1/api/ws", extra_headers=HEADERS
        )
        async with socket:
            await receive_system(socket)
            await subscribe(socket, server.conids)
            with trio.move_on_after(5):
                while True:
                    await receive(socket)
            before, started = server.ledger.ticks, trio.current_time()
            with trio.move_on_after(60):
                while True:
                    await receive(socket)
            ticks, seconds = server.ledger.ticks - before, trio.current_time() - started

    assert seconds == pytest.approx(60.0)
    assert ticks == pytest.approx(3000, abs=1)


async def test_a_client_that_does_not_read_holds_the_ticks_back(
    nursery, autojump_clock
):
    """They are not made up for either: one tick, then the rate again."""
    client_end, server_end = lockstep_stream_pair()
    server = Server(nursery, server_end, rate=50.0)

    async with trio.open_nursery() as inner:
        socket = await wrap_client_stream(
            inner,
            client_end,
            "sim",
            "/v1/api/ws",
            extra_headers=HEADERS,
            message_queue_size=1,
        )
        async with socket:
            await receive_system(socket)
            await subscribe(socket, server.conids[:1])
            await trio.sleep(600)
            made = server.ledger.ticks
            with trio.move_on_after(1):
                while True:
                    await receive(socket)
            inner.cancel_scope.cancel()

    assert made < 20
    assert server.ledger.ticks - made < 100


async def test_end_says_goodbye_after_everything_written(nursery, autojump_clock):
    client_end, server_end = memory_stream_pair()
    server = Server(nursery, server_end, rate=50.0)
    greeks = set()

    async with client_end, trio.open_nursery() as inner:
        socket = await wrap_client_stream(
            inner, client_end, "sim", "/v1/api/ws", extra_headers=HEADERS
        )
        async with socket:
            await receive_system(socket)
            await subscribe(socket, server.conids)
            with pytest.raises(ConnectionClosed) as closed:  # noqa: PT012
                while True:
                    frame = await receive(socket)
                    if "7308" in frame or "7310" in frame or "7633" in frame:
                        greeks.add((frame["conid"], frame["_updated"]))
                    if len(greeks) == 100:
                        server.ibkr.end("close")
    await server.ended.wait()

    assert closed.value.reason.code == 1001
    assert len(greeks) == server.ledger.ticks


async def test_a_client_that_ignores_the_goodbye_is_left_after_ten_seconds(
    nursery, autojump_clock
):
    client_end, server_end = memory_stream_pair()
    server = Server(nursery, server_end, rate=50.0)
    await client_end.send_all(
        b"GET /v1/api/ws HTTP/1.1\r\nHost: sim\r\nCookie: api=1\r\n"
        b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
        b"Sec-WebSocket-Version: 13\r\n\r\n"
    )
    await trio.sleep(1)

    server.ibkr.end("close")
    await server.ended.wait()

    assert trio.current_time() == pytest.approx(11.0)


async def test_cancelling_the_server_ends_it_at_once(nursery, autojump_clock):
    client_end, server_end = memory_stream_pair()
    async with trio.open_nursery() as servers:
        server = Server(servers, server_end, rate=50.0)
        async with client_end, trio.open_nursery() as inner:
            socket = await wrap_client_stream(
                inner, client_end, "sim", "/v1/api/ws", extra_headers=HEADERS
            )
            async with socket:
                await receive_system(socket)
                await subscribe(socket, server.conids)
                servers.cancel_scope.cancel()
                with pytest.raises(ConnectionClosed):  # noqa: PT012
                    while True:
                        await receive(socket)

    assert trio.current_time() < 1.0
