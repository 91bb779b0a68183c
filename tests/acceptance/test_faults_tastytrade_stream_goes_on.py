"""Faults of the simulated Tastytrade that do not interrupt its stream of data."""

from __future__ import annotations

import json

import pytest
from trio_websocket import ConnectionClosed

from tests.acceptance.dxlink_client import (
    COLUMNS,
    get,
    open_client,
    open_feed,
    open_http,
    open_socket,
)
from tests.acceptance.tastytrade_faults import during
from tests.acceptance.tastytrade_simulation import open_simulations


@pytest.fixture
async def simulate(nursery, tmp_path):
    with open_simulations(nursery, tmp_path) as start:
        yield start


async def stop_and_compare(simulation, client):
    simulation.broker.stop()
    await client.receive_to_end()
    assert simulation.received(client) == simulation.ledger()


async def subscribe_all_types(simulation, client):
    add = [{"type": "Greeks", "symbol": each} for each in simulation.symbols]
    add += [{"type": kind, "symbol": "SPX"} for kind in ("Quote", "Trade")]
    await client.send("FEED_SUBSCRIPTION", 1, add=add)


async def receive_frame_types(client, count):
    """Return the event types in each of so many frames with data."""
    found = []
    for _ in range(count):
        data = (await client.receive_until("FEED_DATA"))["data"]
        found.append(set(data[::2]))
    return found


@pytest.mark.parametrize("data_format", ["COMPACT", "FULL"])
async def test_a_frame_has_events_of_one_type_as_some_clients_need(
    simulate, data_format
):
    simulation, endpoints = await simulate(rate=2_000.0)
    setup = {"acceptDataFormat": data_format, "acceptAggregationPeriod": 0.3}

    async with open_feed(endpoints, **setup) as client:
        await subscribe_all_types(simulation, client)
        frames = []
        while len({event["eventType"] for event in client.events}) < 3:
            before = len(client.events)
            await client.receive()
            frames.append({event["eventType"] for event in client.events[before:]})
        await stop_and_compare(simulation, client)

    assert max(len(types) for types in frames) == 1


async def test_packed_frames_have_several_types(simulate):
    simulation, endpoints = await simulate(rate=2_000.0)

    async with open_feed(endpoints, acceptAggregationPeriod=0.6) as client:
        async with during(simulation, "packed"):
            await subscribe_all_types(simulation, client)
            frames = await receive_frame_types(client, 3)
        await stop_and_compare(simulation, client)

    assert {"Greeks", "Quote", "Trade"} in frames


async def test_unauthorized_again_and_again_ends_no_connection(simulate):
    simulation, endpoints = await simulate()
    token = (await get(endpoints, "/api-quote-tokens"))["token"]

    async with open_client(endpoints) as client:
        async with during(simulation, "unauthorized"):
            states = [(await client.log_in(token))["state"]]
            states += [await authorize(client, token) for _ in range(2)]
        states.append(await authorize(client, token))

    assert states == ["UNAUTHORIZED"] * 3 + ["AUTHORIZED"]


async def authorize(client, token):
    await client.send("AUTH", token=token)
    return (await client.receive_until("AUTH_STATE"))["state"]


async def test_errors_of_every_kind_change_nothing(simulate):
    simulation, endpoints = await simulate()

    async with open_feed(endpoints) as client:
        await client.subscribe(simulation.symbols)
        await client.receive_events(20)
        await simulation.broker.verbs["errors"](0.0)
        errors = [(await client.receive_until("ERROR"))["error"] for _ in range(6)]
        await client.receive_events(len(client.events) + 50)
        await stop_and_compare(simulation, client)

    assert set(errors) == {
        *("UNSUPPORTED_PROTOCOL", "TIMEOUT", "UNAUTHORIZED", "INVALID_MESSAGE"),
        *("BAD_ACTION", "UNKNOWN"),
    }


async def test_markers_are_empty_snapshots_and_no_ticks(simulate):
    simulation, endpoints = await simulate(rate=100.0)

    async with open_feed(endpoints, columns=[*COLUMNS, "eventFlags"]) as client:
        await client.subscribe(simulation.symbols)
        await client.receive_events(20)
        await simulation.broker.verbs["markers"](0.0)
        while len(marked(client)) < len(simulation.symbols):
            await client.receive()
        await stop_and_compare(simulation, client)

    assert marked(client) == set(simulation.symbols)


def marked(client):
    return {each["eventSymbol"] for each in client.events if each["eventFlags"] == 14}


async def test_subscriptions_may_come_too_fast(simulate):
    simulation, endpoints = await simulate()

    async with open_feed(endpoints) as client:
        await client.subscribe(simulation.symbols[:3])
        await client.receive_events(3)
        async with during(simulation, "rate-limit"):
            await client.subscribe(simulation.symbols[3:])
            error = await client.receive_until("ERROR")
            await client.receive_events(100)
            early = {each["eventSymbol"] for each in client.events}
        await client.subscribe(simulation.symbols[3:])
        while {each["eventSymbol"] for each in client.events} != set(
            simulation.symbols
        ):
            await client.receive()
        await stop_and_compare(simulation, client)

    assert error["message"] == "Your subscription rate is too high"
    assert early == set(simulation.symbols[:3])


async def test_quote_tokens_may_be_for_delayed_data(simulate):
    simulation, endpoints = await simulate()

    async with during(simulation, "delayed"):
        delayed = (await get(endpoints, "/api-quote-tokens"))["level"]
    after = (await get(endpoints, "/api-quote-tokens"))["level"]

    assert (delayed, after) == ("demo", "api")


async def test_a_position_of_nonsense_is_one_among_others(simulate):
    simulation, endpoints = await simulate()
    path = f"/accounts/{endpoints.account_id}/positions"

    async with during(simulation, "bad-position"):
        listed = (await get(endpoints, path))["items"]
    after = (await get(endpoints, path))["items"]

    assert listed[0]["symbol"] == 17
    assert [each["symbol"] for each in listed[1:]] == [e["symbol"] for e in after]


async def test_the_account_streamer_may_close_while_data_go_on(simulate):
    simulation, endpoints = await simulate()

    async with open_feed(endpoints) as client, open_http(endpoints) as http:
        await client.subscribe(simulation.symbols)
        async with open_socket(endpoints.streamer_url) as old:
            await connect(old, http, endpoints)
            async with during(simulation, "streamer-close"):
                codes = [await wait_closed(old)]
                async with open_socket(endpoints.streamer_url) as refused:
                    codes.append(await wait_closed(refused))
                await client.receive_events(len(client.events) + 50)
        async with open_socket(endpoints.streamer_url) as again:
            answer = await connect(again, http, endpoints)
        await stop_and_compare(simulation, client)

    assert codes == [1000, 1000]
    assert answer["status"] == "ok"


async def connect(socket, http, endpoints):
    message = {
        "action": "connect",
        "value": [endpoints.account_id],
        "auth-token": http.headers["Authorization"],
    }
    await socket.send_message(json.dumps(message))
    return json.loads(await socket.get_message())


async def wait_closed(socket):
    with pytest.raises(ConnectionClosed) as caught:
        await socket.get_message()
    return caught.value.reason.code
