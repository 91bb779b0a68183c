"""Faults of the simulated Tastytrade in the events that it sends."""

from __future__ import annotations

import json

import pytest

from greeks_trio.simulators.ledger import read_ledger
from greeks_trio.simulators.tastytrade.dxlink_session import DxlinkSession
from tests.acceptance.dxlink_client import (
    COLUMNS,
    open_feed,
)
from tests.acceptance.tastytrade_faults import (
    InMemory,
    assert_exact,
    during,
    hold,
    receive_all_until,
    receive_more,
    receive_until,
    seen,
    stop_and_read,
)
from tests.acceptance.tastytrade_simulation import (
    open_simulations,
)


@pytest.fixture
async def simulate(nursery, tmp_path):
    with open_simulations(nursery, tmp_path) as start:
        yield start


@pytest.fixture
async def in_memory(autojump_clock, nursery, tmp_path):
    broker = InMemory(nursery, tmp_path)
    with broker.ledger_file:
        yield broker
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("name", "count"), [("no-data", 0), ("market-closed", 1)])
async def test_a_closed_market_still_tells_the_last_values(
    autojump_clock, in_memory, nursery, name, count
):
    client = await in_memory.connect(first=5)

    end = await hold(in_memory, nursery, name, 100.0)
    await client.subscribe(in_memory.symbols[9:])
    await receive_all_until(client, end - 30)

    told = [e for e in client.events if e["eventSymbol"] == in_memory.symbols[9]]
    assert len(told) == count
    assert_exact(in_memory, client)


def test_nothing_follows_a_frame_that_breaks_the_connection(tmp_path):
    broker = InMemory(None, tmp_path)
    session = DxlinkSession(broker.tape, bool, lambda: None, seed=7)
    add = [{"type": "Greeks", "symbol": symbol} for symbol in broker.symbols]
    subscribe = {"type": "FEED_SUBSCRIPTION", "channel": 1, "add": add}
    for message in (
        {"type": "SETUP"},
        {"type": "AUTH", "token": "x"},
        {"type": "CHANNEL_REQUEST", "channel": 1, "service": "FEED"},
        subscribe,
    ):
        session.receive_frame(json.dumps(message))

    session.break_off("odd")
    before = [frame.text for frame in session.take_frames(0.0)]
    session.receive_frame(json.dumps(subscribe))
    session.keep_alive()
    after = session.take_frames(0.0)
    broker.ledger_file.close()

    assert "FEED_DATA" in before[-2]
    assert before[-1] == "odd"
    assert after == []


async def test_cold_ends_with_the_events_of_the_subscriptions(simulate):
    simulation, endpoints = await simulate(rate=500.0)

    async with open_feed(endpoints) as client:
        await client.subscribe(simulation.symbols[:5])
        await client.receive_events(5)
        async with during(simulation, "cold"):
            await client.subscribe(simulation.symbols[5:10])
            await client.subscribe(
                [], remove=[{"type": "Greeks", "symbol": simulation.symbols[9]}]
            )
            await receive_more(client, 200)
            cold = {event["eventSymbol"] for event in client.events}
        wanted = set(simulation.symbols[:9])
        await receive_until(client, lambda event: seen(client) >= wanted)
        received = await stop_and_read(simulation, client)

    assert cold == set(simulation.symbols[:5])
    assert seen(client) == wanted
    assert received == simulation.ledger()


async def test_garbage_comes_between_the_good_frames(simulate):
    simulation, endpoints = await simulate(rate=500.0)

    async with open_feed(endpoints) as client:
        await client.subscribe(simulation.symbols)
        async with during(simulation, "garbage"):
            while len(set(client.odd)) < 12:
                await receive_more(client, 1)
        received = await stop_and_read(simulation, client)

    shapes = {shape(frame) for frame in client.odd}
    assert {"no JSON", "list", "int", "dict", "NoneType"} <= shapes
    assert received == simulation.ledger()


def shape(frame):
    try:
        return type(json.loads(frame)).__name__
    except ValueError:
        return "no JSON"


async def test_a_text_frame_that_is_no_utf8_ends_the_connection_and_loses_nothing(
    simulate,
):
    simulation, endpoints = await simulate(rate=5_000.0)

    async with open_feed(endpoints) as client:
        await client.subscribe(simulation.symbols)
        await client.receive_events(100)
        await simulation.broker.verbs["bad-utf8"](0.0)
        code = await client.receive_to_end()

    assert code == 1007
    assert simulation.received(client) == simulation.ledger()


async def test_an_oversize_frame_is_made_of_new_events(simulate):
    simulation, endpoints = await simulate(rate=0.01)

    async with open_feed(endpoints) as client:
        await client.subscribe(simulation.symbols)
        await client.receive_events(20)
        before = simulation.received(client)
        await simulation.broker.verbs["oversize"](3.0)
        message = await client.receive_until("FEED_DATA")
        received = await stop_and_read(simulation, client)

    # The wire has one byte or two more for some numbers.
    assert len(json.dumps(message, separators=(",", ":"))) > 2.8 * 2**20
    assert len(received) > len(before) + 15
    assert received == simulation.ledger()


async def test_duplicate_sends_every_event_twice(simulate):
    simulation, endpoints = await simulate(rate=500.0)

    async with open_feed(endpoints) as client:
        await client.subscribe(simulation.symbols)
        await client.receive_events(20)
        async with during(simulation, "duplicate"):
            begin = client.events[-1]["time"] + 100
            await receive_until(client, lambda event: event["time"] > begin + 200)
        received = await stop_and_read(simulation, client)

    told = [(event["eventSymbol"], event["time"]) for event in client.events]
    inside = [each for each in told if begin < each[1] < begin + 200]
    assert len(inside) > 50
    assert all(told.count(each) == 2 for each in inside)
    assert received == simulation.ledger()


async def test_reorder_gives_older_events_after_newer_ones_and_none_is_lost(simulate):
    simulation, endpoints = await simulate(rate=1_000.0)
    symbol = simulation.symbols[0]

    async with open_feed(endpoints) as client:
        await client.subscribe(simulation.symbols)
        async with during(simulation, "reorder"):
            await receive_more(client, 200)
        received = await stop_and_read(simulation, client)

    times = [e["time"] for e in client.events if e["eventSymbol"] == symbol]
    assert times != sorted(times)
    assert received == simulation.ledger()
    late = [tick.event_time_ms for tick in read_ledger(simulation.path)]
    assert late != sorted(late)


async def test_nan_is_all_that_comes_and_no_tick(simulate):
    simulation, endpoints = await simulate(rate=1_000.0)

    async with open_feed(endpoints) as client:
        await client.subscribe(simulation.symbols)
        await client.receive_events(20)
        async with during(simulation, "nan"):
            await receive_until(client, is_nan)
            events = await receive_more(client, 200)
        await receive_until(client, lambda event: not is_nan(event))
        received = await stop_and_read(simulation, client)

    assert sum(is_nan(event) for event in events) > 180
    assert received == simulation.ledger()


def is_nan(event):
    return event["delta"] == event["volatility"] == "NaN"


async def test_columns_change_in_mid_stream_and_back(simulate):
    simulation, endpoints = await simulate(rate=1_000.0)

    async with open_feed(endpoints) as client:
        await client.subscribe(simulation.symbols)
        await client.receive_until("FEED_DATA")
        async with during(simulation, "columns"):
            other = await client.receive_until("FEED_CONFIG")
            events = await receive_more(client)
            async with open_feed(endpoints) as late:
                await late.subscribe(simulation.symbols[:1])
                await late.receive_until("FEED_DATA")
        usual = await client.receive_until("FEED_CONFIG")
        await receive_more(client)
        received = await stop_and_read(simulation, client)

    named = other["eventFields"]["Greeks"]
    assert named == [name for name in COLUMNS[::-1] if name != "rho"]
    assert usual["eventFields"]["Greeks"] == COLUMNS
    assert all("rho" not in event for event in (*events, *late.events))
    assert received | simulation.received(late) == simulation.ledger()


async def test_events_sent_again_after_a_change_of_columns_are_in_the_ledger(simulate):
    simulation, endpoints = await simulate(rate=0.01)

    async with open_feed(endpoints) as client:
        await client.subscribe(simulation.symbols)
        await client.receive_events(20)
        async with during(simulation, "columns"):
            async with open_feed(endpoints) as other:
                await other.subscribe(simulation.symbols)
                await other.receive_events(20)
        async with open_feed(endpoints) as third:
            await third.subscribe(simulation.symbols)
            await third.receive_events(20)
        clients = (client, other, third)

    received = [simulation.received(each) for each in clients]
    assert received[0] | received[1] | received[2] == simulation.ledger()
    assert not received[0].keys() & received[1].keys()
    assert not received[1].keys() & received[2].keys()


async def test_the_full_format_comes_in_mid_stream_and_goes(simulate):
    simulation, endpoints = await simulate(rate=1_000.0)

    async with open_feed(endpoints) as client:
        await client.subscribe(simulation.symbols)
        await client.receive_until("FEED_DATA")
        async with during(simulation, "full-format"):
            full = await client.receive_until("FEED_CONFIG")
            full_data = await client.receive_until("FEED_DATA")
        compact = await client.receive_until("FEED_CONFIG")
        compact_data = await client.receive_until("FEED_DATA")
        received = await stop_and_read(simulation, client)

    assert (full["dataFormat"], compact["dataFormat"]) == ("FULL", "COMPACT")
    assert full_data["data"][0]["eventType"] == "Greeks"
    assert compact_data["data"][0] == "Greeks"
    assert received == simulation.ledger()
