"""A simulated Tastytrade on a real port, with the ledger that it keeps."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from datetime import date

import httpx2
import trio
from trio.testing import memory_stream_pair
from trio_websocket import wrap_client_stream

from greeks_trio.simulators.book.textbook import textbook_market
from greeks_trio.simulators.ledger import Ledger, read_ledger
from greeks_trio.simulators.server.door import Closing
from greeks_trio.simulators.server.http import serve_http
from greeks_trio.simulators.server.websocket import ServerWebSocket
from greeks_trio.simulators.tastytrade.broker import SimulatedTastytrade
from greeks_trio.simulators.tastytrade.instruments import streamer_symbol
from tests.acceptance.dxlink_client import DxlinkClient, greeks_by_tick, ledger_by_tick

TODAY = date(2026, 11, 20)


class Simulation:
    """A running broker, its ledger and its symbols."""

    def __init__(self, path, *, contracts=20, held=None, rate=500.0, **more):
        self.market = textbook_market(contracts=contracts, seed=7, today=TODAY)
        self.options = self.market.options[:held] + more.pop("extra", ())
        self.path = path / "ledger"
        self.ledger_file = Ledger(self.path)
        self.broker = SimulatedTastytrade(
            self.market, self.options, self.ledger_file, rate=rate, seed=7, **more
        )
        everything = (*self.market.options, *self.options)
        self.key_of = {streamer_symbol(o): o.contract.contract_key for o in everything}
        self.symbols = [streamer_symbol(option) for option in self.options]

    def ledger(self):
        return ledger_by_tick(list(read_ledger(self.path)))

    def received(self, client):
        return greeks_by_tick(client.events, self.key_of)


@contextmanager
def open_simulations(nursery, path):
    """Yield a function that starts a broker in the nursery."""
    with ExitStack() as ledgers:

        async def start(**settings):
            simulation = Simulation(path, **settings)
            ledgers.enter_context(simulation.ledger_file)
            return simulation, await nursery.start(simulation.broker.run, 0)

        yield start


async def serve_in_memory(stream, serve):
    """Accept a WebSocket on the server's end of a pair of streams, and serve it."""
    upgrade = await serve_http(stream, lambda _request: None)
    socket = ServerWebSocket(stream, upgrade.received)
    await socket.accept()
    try:
        await serve(socket)
    finally:
        await trio.aclose_forcefully(stream)


async def connect_in_memory(nursery, serve):
    """Return a client whose server runs in the nursery."""
    client_end, server_end = memory_stream_pair()
    nursery.start_soon(
        serve_in_memory, server_end, lambda socket: serve(socket, Closing())
    )
    socket = await wrap_client_stream(nursery, client_end, "sim", "/realtime")
    return DxlinkClient(socket)


class ToSimulator(httpx2.AsyncHTTPTransport):
    """Sends requests for Tastytrade to the simulated one."""

    def __init__(self, url):
        super().__init__()
        self._url = httpx2.URL(url)

    async def handle_async_request(self, request):
        request.url = request.url.copy_with(
            scheme="http" if request.url.scheme == "https" else request.url.scheme,
            host=self._url.host,
            port=self._url.port,
        )
        return await super().handle_async_request(request)
