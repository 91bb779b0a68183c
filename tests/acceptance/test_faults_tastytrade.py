from __future__ import annotations

import json
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
from trio.testing import memory_stream_pair
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    wrap_client_stream,
    wrap_server_stream,
)

from greeks_trio.simulators.conditions import Conditions
from greeks_trio.simulators.faults import Fault
from greeks_trio.simulators.ledger import Ledger, read_ledger
from greeks_trio.simulators.market import Market
from greeks_trio.simulators.server.door import Closing
from greeks_trio.simulators.tastytrade.dxlink_server import serve_dxlink
from greeks_trio.simulators.tastytrade.dxlink_session import DxlinkSession
from greeks_trio.simulators.tastytrade.fault_kinds import TASTYTRADE_FAULTS
from greeks_trio.simulators.tastytrade.greeks_tape import GreeksTape, run_tape
from greeks_trio.simulators.tastytrade.instruments import streamer_symbol
from tests.acceptance.dxlink_client import (
    COLUMNS,
    DxlinkClient,
    get,
    greeks_by_tick,
    ledger_by_tick,
    open_client,
    open_feed,
    open_http,
    open_socket,
)
from tests.acceptance.tastytrade_simulation import TODAY, open_simulations

POSITIONS = "/customers/me/accounts"
# Arguments with which each fault is soon over.
SHORT = {"oversize": 0.1, "drop": 0.05}


@pytest.fixture
async def simulate(nursery, tmp_path):
    with open_simulations(nursery, tmp_path) as start:
        yield start


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


async def test_every_fault_of_the_table_can_happen(simulate):
    simulation, _ = await simulate()

    assert simulation.broker.verbs.keys() == TASTYTRADE_FAULTS.keys()


@pytest.mark.parametrize("name", TASTYTRADE_FAULTS)
async def test_a_stop_in_the_middle_of_a_fault_is_clean(simulate, nursery, name):
    simulation, endpoints = await simulate(rate=1_000.0)
    fault = trio.CancelScope()

    async with open_feed(endpoints) as client:
        await client.subscribe(simulation.symbols)
        await client.receive_events(100)
        verb, arg = simulation.broker.verbs[name], SHORT.get(name, 60.0)
        nursery.start_soon(run_within, fault, verb, arg)
        await trio.testing.wait_all_tasks_blocked()
        with trio.fail_after(5):
            received = await stop_and_read(simulation, client)
        fault.cancel()

    assert len(received) > 50
    assert received == simulation.ledger()


@pytest.mark.parametrize("name", TASTYTRADE_FAULTS)
async def test_after_a_fault_the_broker_is_as_before(simulate, nursery, name):
    simulation, endpoints = await simulate(rate=1_000.0)

    async with open_feed(endpoints) as old:
        await old.subscribe(simulation.symbols)
        await old.receive_events(50)
        nursery.start_soon(old.receive_to_end)
        await simulation.broker.verbs[name](SHORT.get(name, 0.2))
        async with open_feed(endpoints) as new:
            await new.subscribe(simulation.symbols)
            events = await receive_more(new)
            odd = list(new.odd)
            simulation.broker.stop()
            code = await new.receive_to_end()

    received = simulation.received(old) | simulation.received(new)
    assert (code, odd) == (1000, [])
    assert all(list(event)[1:] == COLUMNS for event in events)
    assert received == simulation.ledger()
    assert any(greeks is not None for greeks in simulation.received(new).values())


async def test_a_scheduled_fault_happens(simulate):
    faults = [Fault("tastytrade", "close-1000", 0.1, 0.0)]
    _, endpoints = await simulate(faults=faults)

    async with open_feed(endpoints) as client:
        code = await client.receive_to_end()

    assert code == 1000


class InMemory:
    """One client of a broker's DXLink in virtual time; it keeps itself alive."""

    def __init__(self, nursery, path):
        self.path = path / "ledger"
        self.ledger_file = Ledger(self.path)
        self.conditions = Conditions()
        market = Market(contracts=10, seed=7, today=TODAY)
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
        serve = partial(serve_dxlink, tape=self.tape, is_valid_token=bool)

        async def run():
            async with trio.open_nursery() as sockets:
                request = await wrap_server_stream(sockets, server_end)
                await serve(await request.accept(), self.closing)

        self._nursery.start_soon(run)
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


@pytest.fixture
async def in_memory(autojump_clock, nursery, tmp_path):
    broker = InMemory(nursery, tmp_path)
    with broker.ledger_file:
        yield broker
        nursery.cancel_scope.cancel()


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
    # What was written when the test ended is on its way.
    assert len(ledger) - len(greeks_by_tick(client.events, in_memory.key_of)) < 30


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


async def test_a_halted_client_takes_no_events_any_more(autojump_clock, in_memory):
    await in_memory.connect()

    in_memory.closing.halted.set()
    await trio.testing.wait_all_tasks_blocked()

    assert not in_memory.tape.is_subscribed


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


async def test_cold_ends_with_the_events_of_what_was_subscribed(simulate):
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


def seen(client):
    return {event["eventSymbol"] for event in client.events}


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


async def run_within(scope, verb, arg):
    with scope:
        await verb(arg)


async def read_to_end(client, ended):
    await client.receive_to_end()
    ended.set()


async def ping(client, pinged):
    try:
        await client.socket.ping()
    except ConnectionClosed:
        return
    pinged.set()


async def test_refused_logins_leave_those_who_are_in(simulate):
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


async def test_what_is_told_again_after_the_columns_changed_is_in_the_ledger(simulate):
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


async def test_the_limit_is_half_of_what_the_largest_client_had(simulate):
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
