"""Helpers that the tests of faults of the simulated Tastytrade share."""

from __future__ import annotations

from contextlib import asynccontextmanager

import trio
from trio.testing import memory_stream_pair
from trio_websocket import (
    wrap_client_stream,
)

from greeks_trio.simulators.book.textbook import textbook_market
from greeks_trio.simulators.conditions import Conditions
from greeks_trio.simulators.ledger import Ledger, read_ledger
from greeks_trio.simulators.server.door import Closing
from greeks_trio.simulators.tastytrade.dxlink_server import serve_dxlink
from greeks_trio.simulators.tastytrade.greeks_tape import GreeksTape, run_tape
from greeks_trio.simulators.tastytrade.instruments import streamer_symbol
from tests.acceptance.dxlink_client import (
    DxlinkClient,
    greeks_by_tick,
    ledger_by_tick,
)
from tests.acceptance.tastytrade_simulation import (
    TODAY,
    serve_in_memory,
)


@asynccontextmanager
async def during(simulation, name, arg=60.0):
    """Let the fault hold within the block, and end it then."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(simulation.broker.verbs[name], arg)
        for _ in range(2):  # after which a new task has come to its first wait
            await trio.lowlevel.checkpoint()
        yield
        nursery.cancel_scope.cancel()


async def stop_and_read(simulation, *clients):
    """Stop the broker and return what its clients have read in all."""
    simulation.broker.stop()
    received = {}
    for client in clients:
        await client.receive_to_end()
        received |= simulation.received(client)
    return received


async def receive_more(client, count=100):
    """Return the next events."""
    already = len(client.events)
    await client.receive_events(already + count)
    return client.events[already:]


async def receive_until(client, is_wanted):
    """Return when an event is as wanted."""
    while not any(is_wanted(event) for event in await receive_more(client, 1)):
        pass


class InMemory:
    """One client of a broker's DXLink in virtual time; it keeps itself alive."""

    def __init__(self, nursery, path):
        self.path = path / "ledger"
        self.ledger_file = Ledger(self.path)
        self.conditions = Conditions()
        market = textbook_market(contracts=10, seed=7, today=TODAY)
        self.tape = GreeksTape(
            market,
            [],
            self.ledger_file,
            accounts_of=lambda key: [key],
            seed=7,
            conditions=self.conditions,
        )
        self.key_of = {
            streamer_symbol(o): o.contract.contract_key for o in market.options
        }
        self.symbols = list(self.key_of)
        self.closing = Closing()
        self._nursery = nursery

    async def connect(self, first=5):
        """Return a client that is logged in and subscribed to so many symbols."""
        client_end, server_end = memory_stream_pair()

        async def serve(socket):
            await serve_dxlink(socket, self.closing, self.tape, bool)

        self._nursery.start_soon(serve_in_memory, server_end, serve)
        self._nursery.start_soon(run_tape, self.tape, 10.0)
        socket = await wrap_client_stream(self._nursery, client_end, "sim", "/x")
        client = DxlinkClient(socket)
        self._nursery.start_soon(self._keep_alive, client)
        await client.log_in("x")
        await client.open_feed()
        await client.subscribe(self.symbols[:first])
        await client.receive_events(20)
        return client

    async def _keep_alive(self, client):
        while True:
            await trio.sleep(20)
            await client.send("KEEPALIVE")


async def receive_all_until(client, end):
    """Return (time, type) of each message up to the first at this time or later."""
    messages = []
    while not messages or messages[-1][0] < end:
        message = await client.receive()
        messages.append((trio.current_time(), message["type"]))
    return messages


async def hold(in_memory, nursery, name, seconds):
    """Begin the fault and return when it ends."""
    nursery.start_soon(in_memory.conditions.hold, name, seconds)
    await trio.testing.wait_all_tasks_blocked()
    return trio.current_time() + seconds


def assert_exact(in_memory, client):
    ledger = ledger_by_tick(list(read_ledger(in_memory.path)))
    assert greeks_by_tick(client.events, in_memory.key_of).items() <= ledger.items()
    # Frames that were written at the end of the test are on their way.
    assert len(ledger) - len(greeks_by_tick(client.events, in_memory.key_of)) < 30


def seen(client):
    return {event["eventSymbol"] for event in client.events}


async def run_within(scope, verb, arg):
    with scope:
        await verb(arg)
