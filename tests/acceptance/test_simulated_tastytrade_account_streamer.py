"""The account streamer of the simulated Tastytrade."""

from __future__ import annotations

import json

import pytest
import trio

from greeks_trio.simulators.tastytrade.account_streamer import AccountStreamer
from tests.acceptance.dxlink_client import (
    open_http,
    open_socket,
)
from tests.acceptance.tastytrade_simulation import (
    connect_in_memory,
    open_simulations,
)

# Nested in fields that are read: a number of levels that no decoder follows.
_LEVELS = "[" * 100_000


@pytest.fixture
async def simulate(nursery, tmp_path):
    with open_simulations(nursery, tmp_path) as start:
        yield start


async def test_the_account_streamer_tells_of_a_changed_position(simulate):
    simulation, endpoints = await simulate()
    key = simulation.options[0].contract.contract_key

    async with open_http(endpoints) as http:
        token = http.headers["Authorization"]
        async with open_socket(endpoints.streamer_url) as streamer:
            connect = make_action("connect", token, value=[endpoints.account_id])
            await streamer.send_message(connect)
            connected = json.loads(await streamer.get_message())
            await streamer.send_message(make_action("heartbeat", token))
            beaten = json.loads(await streamer.get_message())
            simulation.broker.change_position(key, -3)
            told = json.loads(await streamer.get_message())
        path = f"/accounts/{endpoints.account_id}/positions"
        items = (await http.get(path)).json()["data"]["items"]

    assert (connected["status"], connected["request-id"]) == ("ok", 1)
    assert (beaten["status"], beaten["action"]) == ("ok", "heartbeat")
    [position] = [item for item in items if item["symbol"] == key]
    assert told["type"] == "CurrentPosition"
    for shape in (position, told["data"]):
        assert int(shape["quantity"]) == 3
        assert shape["quantity-direction"] == "Short"


@pytest.mark.parametrize(
    ("action", "token", "message"),
    [
        ("connect", "Bearer wrong", "failed"),
        ("connect", "wrong", "failed"),
        ("heartbeat", None, "connect-not-completed"),
        ("dance", None, "not-implemented"),
    ],
)
async def test_the_account_streamer_refuses(simulate, action, token, message):
    _, endpoints = await simulate()

    async with open_http(endpoints) as http:
        token = token or http.headers["Authorization"]
        async with open_socket(endpoints.streamer_url) as streamer:
            await streamer.send_message(make_action(action, token))
            answer = json.loads(await streamer.get_message())

    assert (answer["status"], answer["message"]) == ("error", message)


@pytest.mark.parametrize("frame", ["{", b'{"action":"\xff"}', f'{{"value":{_LEVELS}'])
async def test_a_frame_that_is_no_action_is_refused_and_survived(simulate, frame):
    _, endpoints = await simulate()

    async with open_http(endpoints) as http:
        token = http.headers["Authorization"]
        async with open_socket(endpoints.streamer_url) as streamer:
            await streamer.send_message(frame)
            refused = json.loads(await streamer.get_message())
            connect = make_action("connect", token, value=[endpoints.account_id])
            await streamer.send_message(connect)
            answer = json.loads(await streamer.get_message())

    assert (refused["status"], answer["status"]) == ("error", "ok")


async def test_a_silent_client_of_the_account_streamer_is_dropped(
    autojump_clock, nursery
):
    streamer = AccountStreamer(lambda token: token == "Bearer x")
    client = await connect_in_memory(nursery, streamer.serve)
    action = make_action("connect", "Bearer x", value=["A"])
    await client.socket.send_message(action)
    await streamer.wait_connected()

    assert await client.receive_to_end() == 1000

    assert trio.current_time() == 60.0
    await trio.testing.wait_all_tasks_blocked()
    assert streamer.connected == 0


def make_action(action, token, **fields):
    message = {"action": action, "auth-token": token, "request-id": 1, **fields}
    return json.dumps(message)
