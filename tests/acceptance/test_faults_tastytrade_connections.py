"""Faults of the simulated Tastytrade in its connections and its login."""

from __future__ import annotations

import json

import pytest
import trio
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
)

from tests.acceptance.dxlink_client import (
    get,
    open_client,
    open_feed,
    open_http,
    open_socket,
)
from tests.acceptance.tastytrade_faults import (
    InMemory,
    assert_exact,
    during,
    hold,
    receive_all_until,
    receive_more,
    receive_until,
    run_within,
    seen,
    stop_and_read,
)
from tests.acceptance.tastytrade_simulation import (
    open_simulations,
)

POSITIONS = "/customers/me/accounts"


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


async def test_silent_sends_nothing_at_all_for_its_time(
    autojump_clock, in_memory, nursery
):
    client = await in_memory.connect()

    begin = trio.current_time()
    end = await hold(in_memory, nursery, "silent", 100.0)
    written = in_memory.ledger_file.ticks
    messages = await receive_all_until(client, begin + 0.001)

    assert messages[-1][0] == end
    assert in_memory.ledger_file.ticks - written < 10
    await client.receive_until("FEED_DATA")
    assert_exact(in_memory, client)


async def test_silent_leaves_a_client_that_comes_without_an_answer(
    autojump_clock, in_memory, nursery
):
    end = await hold(in_memory, nursery, "silent", 100.0)

    await in_memory.connect()

    assert trio.current_time() >= end


@pytest.mark.parametrize("name", ["no-data", "market-closed"])
async def test_without_events_keepalives_go_on(
    autojump_clock, in_memory, nursery, name
):
    client = await in_memory.connect()

    begin = trio.current_time()
    end = await hold(in_memory, nursery, name, 100.0)
    messages = await receive_all_until(client, end)

    between = [kind for at, kind in messages if begin < at < end]
    assert between == ["KEEPALIVE"] * 3
    await client.receive_until("FEED_DATA")
    assert_exact(in_memory, client)


async def test_a_halted_client_takes_no_events_any_more(autojump_clock, in_memory):
    await in_memory.connect()

    in_memory.closing.halted.set()
    await trio.testing.wait_all_tasks_blocked()

    assert not in_memory.tape.is_subscribed


async def test_a_half_open_connection_stays_open_and_says_and_hears_nothing(
    simulate, nursery
):
    simulation, endpoints = await simulate(rate=2_000.0)
    pinged, ended, fault = trio.Event(), trio.Event(), trio.CancelScope()

    async with open_feed(endpoints) as dead:
        await dead.subscribe(simulation.symbols)
        await dead.receive_events(100)
        nursery.start_soon(
            run_within, fault, simulation.broker.verbs["half-open"], 60.0
        )
        nursery.start_soon(ping, dead, pinged)
        nursery.start_soon(read_to_end, dead, ended)
        async with open_feed(endpoints) as fresh:
            await fresh.subscribe(simulation.symbols)
            await fresh.receive_events(1_000)
            is_open = not (ended.is_set() or pinged.is_set())
            newest = max(event["time"] for event in fresh.events)
            fault.cancel()
            await ended.wait()
            received = await stop_and_read(simulation, fresh)

    assert is_open
    assert max(event["time"] for event in dead.events) < newest - 100
    assert dead.socket.closed.code == 1006
    assert simulation.received(dead) | received == simulation.ledger()


async def read_to_end(client, ended):
    await client.receive_to_end()
    ended.set()


async def ping(client, pinged):
    try:
        await client.socket.ping()
    except ConnectionClosed:
        return
    pinged.set()


async def test_refused_logins_leave_present_logins_valid(simulate):
    simulation, endpoints = await simulate(rate=500.0)

    async with open_feed(endpoints) as client, open_http(endpoints) as http:
        await client.subscribe(simulation.symbols)
        async with during(simulation, "refuse-login"):
            refused = await ask_token(http, endpoints)
            inside = await http.get(POSITIONS)
            await receive_more(client)
        again = await ask_token(http, endpoints)

    assert (refused.status_code, refused.json()["error_code"]) == (400, "invalid_grant")
    assert (inside.status_code, again.status_code) == (200, 200)


async def ask_token(http, endpoints):
    wanted = {
        "grant_type": "refresh_token",
        "client_secret": endpoints.secret,
        "refresh_token": endpoints.refresh,
    }
    return await http.post("/oauth/token", json=wanted)


async def test_an_expired_session_is_over_everywhere_until_there_is_a_new_token(
    simulate,
):
    simulation, endpoints = await simulate(rate=500.0)

    async with open_feed(endpoints) as client, open_http(endpoints) as http:
        await client.subscribe(simulation.symbols)
        await client.receive_events(100)
        await simulation.broker.verbs["expire-session"](0.0)
        state = await client.receive_until("AUTH_STATE")
        muted_at = len(client.events)
        refused = await http.get(POSITIONS)
        await client.subscribe(simulation.symbols)
        error = await client.receive_until("ERROR")
        muted = len(client.events) - muted_at
        token = (await get(endpoints, "/api-quote-tokens"))["token"]
        await client.send("AUTH", token=token)
        again = await client.receive_until("AUTH_STATE")
        await receive_more(client)
        received = await stop_and_read(simulation, client)

    assert (state["state"], again["state"]) == ("UNAUTHORIZED", "AUTHORIZED")
    assert (refused.status_code, error["error"], muted) == (401, "UNAUTHORIZED", 0)
    assert received == simulation.ledger()


async def test_the_token_of_an_expired_session_is_refused_and_closed(simulate):
    simulation, endpoints = await simulate()

    token = (await get(endpoints, "/api-quote-tokens"))["token"]
    async with open_client(endpoints) as client:
        await client.log_in(token)
        await simulation.broker.verbs["expire-session"](0.0)
        await client.receive_until("AUTH_STATE")
        await client.send("AUTH", token=token)
        state = await client.receive_until("AUTH_STATE")
        code = await client.receive_to_end()

    assert (state["state"], code) == ("UNAUTHORIZED", 1000)


async def test_new_tokens_may_be_void_for_a_while_too(simulate):
    simulation, endpoints = await simulate()

    async with during(simulation, "expire-session"):
        async with open_http(endpoints) as http:
            answer = await http.get(POSITIONS)
    accounts = await get(endpoints, POSITIONS)

    assert answer.status_code == 401
    assert accounts["items"]


async def test_a_closed_channel_can_be_opened_again_when_the_fault_is_over(simulate):
    simulation, endpoints = await simulate(rate=1_000.0)

    async with open_feed(endpoints) as client:
        await client.subscribe(simulation.symbols)
        await client.receive_events(100)
        async with during(simulation, "channel-close"):
            closed = await client.receive_until("CHANNEL_CLOSED")
            ended_at = len(client.events)
            await client.send("CHANNEL_REQUEST", 1, service="FEED")
            answer = await client.receive_until("CHANNEL_CLOSED")
            muted = len(client.events) - ended_at
        await client.open_feed()
        await client.subscribe(simulation.symbols)
        await receive_more(client)
        received = await stop_and_read(simulation, client)

    assert (closed["channel"], answer["channel"], muted) == (1, 1, 0)
    assert received == simulation.ledger()


@pytest.mark.parametrize(
    ("name", "rest", "upgrade"),
    [
        ("http-429", 429, 429),
        ("http-503", 503, 503),
        ("upgrade-502", 200, 502),
    ],
)
async def test_http_goes_wrong_and_open_sockets_go_on(simulate, name, rest, upgrade):
    simulation, endpoints = await simulate(rate=1_000.0)

    async with open_feed(endpoints) as client, open_http(endpoints) as http:
        await client.subscribe(simulation.symbols)
        async with during(simulation, name, 40.0):
            answer = await http.get(POSITIONS)
            with pytest.RaisesGroup(
                ConnectionRejected, flatten_subgroups=True
            ) as group:
                async with open_socket(endpoints.dxlink_url):
                    pass
            await receive_more(client)
        after = await http.get(POSITIONS)
        async with open_socket(endpoints.dxlink_url):
            pass

    [rejected] = group.value.exceptions
    assert (answer.status_code, after.status_code) == (rest, 200)
    assert rejected.status_code == upgrade
    assert answer.headers.get("Retry-After") == ("40" if rest == 429 else None)


@pytest.mark.parametrize(("code", "reason"), [(1000, "Bye"), (1012, "Reconnection")])
async def test_a_close_is_for_dxlink_only_and_loses_nothing(simulate, code, reason):
    simulation, endpoints = await simulate(rate=5_000.0)

    async with open_socket(endpoints.streamer_url) as streamer:
        async with open_feed(endpoints) as client:
            await client.subscribe(simulation.symbols)
            await client.receive_events(100)
            await simulation.broker.verbs[f"close-{code}"](0.0)
            closed = await client.receive_to_end()
            told = client.socket.closed.reason
        await streamer.ping()

    assert closed == code
    assert told.startswith(reason)
    assert simulation.received(client) == simulation.ledger()


async def test_the_limit_is_half_of_the_largest_subscription(simulate):
    simulation, endpoints = await simulate(rate=1_000.0)
    symbols = simulation.symbols

    async with open_feed(endpoints) as large, open_feed(endpoints) as client:
        await large.subscribe(symbols[:10])
        await large.receive_events(10)
        async with during(simulation, "line-limit"):
            await client.subscribe(symbols[:8])
            error = await client.receive_until("ERROR")
            await receive_more(client, 200)
            limited = seen(client)
        await client.subscribe(symbols[:8])
        await receive_until(client, lambda _: seen(client) == set(symbols[:8]))
        await receive_more(large, 1)
        received = await stop_and_read(simulation, client, large)

    assert (error["error"], error["message"]) == (
        "BAD_ACTION",
        "Your subscription size is too big",
    )
    assert limited == set(symbols[:5])
    assert received == simulation.ledger()


async def test_silence_is_for_the_account_streamer_too(simulate):
    simulation, endpoints = await simulate()

    async with open_http(endpoints) as http:
        message = {
            "action": "connect",
            "auth-token": http.headers["Authorization"],
            "value": [endpoints.account_id],
        }
        async with open_socket(endpoints.streamer_url) as streamer:
            async with during(simulation, "silent"):
                await streamer.send_message(json.dumps(message))
                await simulation.broker.wait_account_followed()
                await http.get(POSITIONS)
                held_back = streamer._recv_channel.statistics().current_buffer_used
            answer = json.loads(await streamer.get_message())

    assert held_back == 0
    assert answer["status"] == "ok"
