"""The ticks of the simulated Tastytrade, compared with its ledger."""

from __future__ import annotations

import json
import logging
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import date
from decimal import Decimal

import httpx2
import msgspec
import pytest
import trio
from tastytrade import Account, DXLinkStreamer, Session
from tastytrade.dxfeed import Greeks
from tastytrade.instruments import FutureOption

from greeks_trio.model.contracts import OptionTerms, format_future_option_key
from greeks_trio.simulators.book.textbook import textbook_market
from greeks_trio.simulators.faults import Fault
from greeks_trio.simulators.ledger import Ledger, read_ledger
from greeks_trio.simulators.market import Underlying
from greeks_trio.simulators.server.door import Closing
from greeks_trio.simulators.tastytrade.dxlink_events import EVENT_FIELDS
from greeks_trio.simulators.tastytrade.dxlink_server import serve_dxlink
from greeks_trio.simulators.tastytrade.greeks_tape import GreeksTape
from greeks_trio.simulators.tastytrade.instruments import streamer_symbol
from tests.acceptance.dxlink_client import (
    get,
    open_feed,
)
from tests.acceptance.tastytrade_simulation import (
    TODAY,
    ToSimulator,
    open_simulations,
)

logging.getLogger("tastytrade").setLevel(logging.WARNING)
FULL = {"columns": EVENT_FIELDS["Greeks"], "acceptDataFormat": "FULL"}


pytestmark = pytest.mark.timeout(120)


@pytest.fixture
async def simulate(nursery, tmp_path):
    with open_simulations(nursery, tmp_path) as start:
        yield start


@pytest.mark.parametrize("rate", [200.0, 10_000.0])
async def test_a_client_receives_the_ticks_of_the_ledger_before_the_stop(
    simulate, rate
):
    simulation, endpoints = await simulate(rate=rate)

    async with open_feed(endpoints) as client:
        await client.subscribe(simulation.symbols)
        await client.receive_events(120)
        simulation.broker.stop()
        close_code = await client.receive_to_end()

    assert close_code == 1000
    assert len(simulation.ledger()) > 100
    assert simulation.received(client) == simulation.ledger()


async def test_a_tick_is_in_the_ledger_before_its_frame_is_sent(nursery):
    market = textbook_market(contracts=3, seed=7, today=TODAY)
    symbols = [streamer_symbol(option) for option in market.options]
    with Ledger(None) as ledger:
        tape = GreeksTape(market, [], ledger, accounts_of=lambda key: [key], seed=7)
        frames = [
            {"type": "SETUP"},
            {"type": "AUTH", "token": "x"},
            {"type": "CHANNEL_REQUEST", "channel": 1, "service": "FEED"},
            {
                "type": "FEED_SUBSCRIPTION",
                "channel": 1,
                "add": [{"type": "Greeks", "symbol": symbol} for symbol in symbols],
            },
        ]
        client = WatchfulSocket(frames, ledger)

        nursery.start_soon(serve_dxlink, client, Closing(), tape, bool)
        await client.has_data.wait()

    assert client.written_before == 3


async def test_a_slow_client_reads_all_that_was_written_before_the_stop(simulate):
    simulation, endpoints = await simulate(rate=30_000.0)

    async with open_feed(endpoints) as quick:
        async with open_feed(endpoints, **FULL) as slow:
            await slow.subscribe(simulation.symbols)
            await quick.subscribe(simulation.symbols)
            await quick.receive_events(12_000)
            already_read = len(slow.events)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(quick.receive_to_end)
                simulation.broker.stop()
                code = await slow.receive_to_end()

    assert code == 1000
    assert already_read == 0
    assert len(slow.events) > 1_000
    both = simulation.received(quick) | simulation.received(slow)
    assert both == simulation.ledger()


async def test_the_aggregation_period_is_kept_and_cut_short_by_a_stop(simulate):
    simulation, endpoints = await simulate(rate=1_000.0)

    async with open_feed(endpoints) as quick:
        async with open_feed(endpoints, acceptAggregationPeriod=60) as slow:
            await slow.subscribe(simulation.symbols)
            await slow.receive_events(20)
            await quick.subscribe(simulation.symbols)
            await quick.receive_events(200)
            simulation.broker.stop()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(quick.receive_to_end)
                await slow.receive_until("FEED_DATA")
                await slow.receive_to_end()

    assert len(slow.events) > 150
    both = simulation.received(quick) | simulation.received(slow)
    assert both == simulation.ledger()


async def test_the_ledger_is_empty_without_subscriptions(simulate):
    simulation, endpoints = await simulate(rate=5_000.0)

    await get(endpoints, "/customers/me/accounts")

    assert simulation.ledger() == {}


async def test_event_times_of_a_symbol_rise_and_make_its_index(simulate):
    simulation, endpoints = await simulate(rate=10_000.0, contracts=2)

    async with open_feed(endpoints) as client:
        await client.subscribe(simulation.symbols[:1])
        await client.receive_events(500)

    new = {event["index"]: event["time"] for event in client.events}
    assert len(new) > 400
    assert list(new.values()) == sorted(set(new.values()))
    for index, time_ms in new.items():
        assert index == (time_ms // 1000 << 32) + (time_ms % 1000 << 22)


async def test_missing_greeks_are_nan_on_the_wire_and_null_in_the_ledger(simulate):
    simulation, endpoints = await simulate(rate=5_000.0)

    async with open_feed(endpoints) as client:
        await client.subscribe(simulation.symbols)
        await client.receive_events(4_000)
        simulation.broker.stop()
        await client.receive_to_end()

    gaps = {tuple(v is None for v in tick) for tick in simulation.ledger().values()}
    assert (False, False, False, False, True, False) in gaps  # rho
    assert (False, True, True, True, True, True) in gaps  # only delta
    assert any(event["delta"] == "NaN" for event in client.events)
    assert simulation.received(client) == simulation.ledger()


async def test_events_come_again_now_and_then_but_are_one_tick(simulate):
    simulation, endpoints = await simulate(rate=10_000.0)

    async with open_feed(endpoints) as client:
        await client.subscribe(simulation.symbols)
        await client.receive_events(1_500)
        simulation.broker.stop()
        await client.receive_to_end()

    different = {(e["eventSymbol"], e["index"]) for e in client.events}
    assert len(different) < len(client.events)
    assert simulation.received(client) == simulation.ledger()


async def test_the_last_event_comes_again_at_a_new_connection(simulate):
    simulation, endpoints = await simulate(rate=0.01)
    seen = []

    for _ in range(2):
        async with open_feed(endpoints) as client:
            await client.subscribe(simulation.symbols[:3])
            await client.receive_events(3)
            seen.append(client.events)

    assert seen[0] == seen[1]
    assert len(simulation.ledger()) == 3


async def test_two_clients_get_the_same_events_which_are_one_tick_each(simulate):
    simulation, endpoints = await simulate(rate=1_000.0)

    async with open_feed(endpoints) as one, open_feed(endpoints) as other:
        async with trio.open_nursery() as nursery:
            for client in (one, other):
                await client.subscribe(simulation.symbols)
                nursery.start_soon(client.receive_events, 200)
        simulation.broker.stop()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.receive_to_end)
            nursery.start_soon(other.receive_to_end)

    both = simulation.received(one) | simulation.received(other)
    assert both == simulation.ledger()
    assert len(simulation.received(one).keys() & simulation.received(other)) > 100


async def test_the_sdk_streams_the_greeks_of_the_ledger(simulate):
    simulation, endpoints = await simulate(rate=300.0)
    ticks = {}

    transport = ToSimulator(endpoints.api_url)
    async with Session(
        endpoints.secret, endpoints.refresh, transport=transport
    ) as session:
        async with open_sdk_streamer(session) as streamer:
            await streamer.subscribe(Greeks, simulation.symbols, refresh_interval=0.05)
            while len(ticks) < 100:
                event = await streamer.get_event(Greeks)
                key = simulation.key_of[event.event_symbol], event.time
                ticks[key] = tuple(
                    float(value)
                    for value in (
                        *(event.delta, event.gamma, event.theta, event.vega),
                        *(event.rho, event.volatility),
                    )
                )

    assert ticks.items() <= simulation.ledger().items()


async def test_a_futures_option_has_its_own_symbols_and_streams(simulate, tmp_path):
    future = make_future_option(
        textbook_market(contracts=1, seed=7, today=TODAY).options[0]
    )
    simulation, endpoints = await simulate(extra=(future,))
    transport = ToSimulator(endpoints.api_url)

    async with Session(
        endpoints.secret, endpoints.refresh, transport=transport
    ) as session:
        account = await Account.get(session, endpoints.account_id)
        positions = await account.get_positions(session)
        [held] = [p for p in positions if p.instrument_type == "Future Option"]
        instrument = await FutureOption.get(session, held.symbol)
    async with open_feed(endpoints) as client:
        await client.subscribe([instrument.streamer_symbol])
        await client.receive_events(1)

    assert held.symbol == "./CLJ7 LOJ7  270317P56"
    assert instrument.streamer_symbol == "./LOJ27P56:XNYM"
    assert {key for key, _ in simulation.ledger()} == {"./LO  270317P56"}


async def test_a_contract_without_holder_is_a_tick_of_the_watch_list(
    simulate,
):
    simulation, endpoints = await simulate(contracts=20, held=10)
    watched = streamer_symbol(simulation.market.options[15])

    async with open_feed(endpoints) as client:
        await client.subscribe([watched, simulation.symbols[0]])
        await client.receive_events(2)

    accounts = {t.contract_key: t.account_id for t in read_ledger(simulation.path)}
    assert accounts[simulation.key_of[watched]] == "watchlist"
    assert accounts[simulation.key_of[simulation.symbols[0]]] == endpoints.account_id


async def test_drop_closes_every_client_and_accepts_them_again_later(simulate):
    fault = Fault("tastytrade", "drop", 0.3, 0.3)
    simulation, endpoints = await simulate(rate=1_000.0, faults=[fault])

    async with open_feed(endpoints) as client:
        await client.subscribe(simulation.symbols)
        code = await client.receive_to_end()
    before = simulation.received(client)
    assert before == simulation.ledger()
    with pytest.raises(httpx2.ConnectError):
        await get(endpoints, "/customers/me/accounts")
    await simulation.broker.wait_open()
    async with open_feed(endpoints) as client:
        await client.subscribe(simulation.symbols)
        await client.receive_events(100)
        simulation.broker.stop()
        await client.receive_to_end()

    assert code == 1012
    assert before | simulation.received(client) == simulation.ledger()


async def test_drops_that_overlap_both_end(simulate):
    simulation, endpoints = await simulate()

    with trio.fail_after(5):
        async with trio.open_nursery() as drops:
            drops.start_soon(simulation.broker.drop, 0.2)
            await trio.sleep(0.1)
            drops.start_soon(simulation.broker.drop, 0.1)

    assert await get(endpoints, "/customers/me/accounts")


class WatchfulSocket:
    """A server's WebSocket that reads the ledger when data is about to be sent."""

    is_open = True

    def __init__(self, frames, ledger):
        self.has_data = trio.Event()
        self.written_before = None
        self._frames = [json.dumps(frame) for frame in reversed(frames)]
        self._ledger = ledger

    async def receive(self):
        if not self._frames:
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()
        return [self._frames.pop()]

    async def send_text(self, text):
        if "FEED_DATA" in text and not self.has_data.is_set():
            self.written_before = self._ledger.ticks
            self.has_data.set()
        await trio.lowlevel.checkpoint()


@asynccontextmanager
async def open_sdk_streamer(session):
    """Yield the SDK's streamer, and close the queues that it leaves open."""
    async with DXLinkStreamer(session) as streamer:
        yield streamer
    for queue in (*streamer._send.values(), *streamer._recv.values()):
        queue.close()


def make_future_option(option):
    """Return a put on crude oil, in place of any option of the market."""
    terms = OptionTerms("LO", date(2027, 3, 17), "put", Decimal(56))
    contract = msgspec.structs.replace(
        option.contract,
        contract_key=format_future_option_key(terms),
        underlying="/CLJ7",
        kind="future_option",
        multiplier=Decimal(1000),
    )
    underlying = Underlying("/CLJ7", "CL", 5, 58.0)
    return replace(option, terms=terms, contract=contract, underlying=underlying)
