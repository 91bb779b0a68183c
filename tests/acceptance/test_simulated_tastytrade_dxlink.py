"""The DXLink protocol of the simulated Tastytrade."""

from __future__ import annotations

import json
import logging
from functools import partial

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greeks_trio.simulators.book.book import Imperfections
from greeks_trio.simulators.book.textbook import textbook_market
from greeks_trio.simulators.ledger import Ledger
from greeks_trio.simulators.tastytrade.dxlink_server import serve_dxlink
from greeks_trio.simulators.tastytrade.dxlink_session import DxlinkSession
from greeks_trio.simulators.tastytrade.greeks_tape import GreeksTape
from tests.acceptance.dxlink_client import (
    COLUMNS,
    get,
    open_client,
    open_feed,
)
from tests.acceptance.tastytrade_simulation import (
    TODAY,
    connect_in_memory,
    open_simulations,
)

logging.getLogger("tastytrade").setLevel(logging.WARNING)
ITEMS = [
    {"type": "Greeks", "symbol": ".SPY261127C668"},
    {"type": "Quote", "symbol": "SPY"},
]
FIELDS = [
    *("type", "channel", "token", "service", "parameters", "add", "remove", "reset"),
    *("acceptAggregationPeriod", "acceptDataFormat", "acceptEventFields"),
    "acceptKeepaliveTimeout",
]
VALUES = st.one_of(
    st.sampled_from(["SETUP", "AUTH", "KEEPALIVE", "FEED_SETUP", "FEED_SUBSCRIPTION"]),
    st.sampled_from(["CHANNEL_REQUEST", "CHANNEL_CANCEL", "FEED", "FULL", "COMPACT"]),
    st.sampled_from([ITEMS, ITEMS[:1], {"Greeks": ["delta"]}, {"Greeks": []}]),
    st.integers(-3, 5) | st.floats() | st.booleans() | st.none() | st.text(max_size=3),
)
# Nested in fields that are read: a number of levels that no decoder follows.
_LEVELS = "[" * 100_000
TOO_DEEP = f'{{"type":"CHANNEL_REQUEST","parameters":{{"a":{_LEVELS}'


@pytest.fixture
async def simulate(nursery, tmp_path):
    with open_simulations(nursery, tmp_path) as start:
        yield start


async def test_waiting_events_keep_their_format_at_a_second_feed_setup(simulate):
    simulation, endpoints = await simulate(rate=1_000.0)

    async with open_feed(endpoints) as quick:
        async with open_feed(endpoints, acceptAggregationPeriod=60) as slow:
            await slow.subscribe(simulation.symbols)
            await slow.receive_events(20)
            await quick.subscribe(simulation.symbols)
            await quick.receive_events(200)
            fields = {"Greeks": COLUMNS[::-1]}
            await slow.send("FEED_SETUP", 1, acceptEventFields=fields)
            await slow.receive_until("FEED_CONFIG")
            waited = len(slow.events)

    assert waited > 150
    assert simulation.received(slow).items() <= simulation.ledger().items()


async def test_columns_are_announced_in_a_second_configuration(simulate):
    simulation, endpoints = await simulate()

    async with open_feed(endpoints) as client:
        first = await client.receive_until("FEED_CONFIG")
        await client.subscribe(simulation.symbols)
        second = await client.receive_until("FEED_CONFIG")

    assert "eventFields" not in first
    assert second["eventFields"] == {"Greeks": COLUMNS}
    assert second["dataFormat"] == "COMPACT"


async def test_a_client_may_ask_for_full_events(simulate):
    simulation, endpoints = await simulate()

    async with open_feed(endpoints, acceptDataFormat="FULL") as client:
        await client.subscribe(simulation.symbols)
        data = (await client.receive_until("FEED_DATA"))["data"]
        simulation.broker.stop()
        await client.receive_to_end()

    assert set(data[0]) == {"eventType", *COLUMNS}
    assert simulation.received(client) == simulation.ledger()


async def test_a_second_feed_setup_changes_the_columns_of_later_events(simulate):
    simulation, endpoints = await simulate()
    turned = COLUMNS[::-1]

    async with open_feed(endpoints) as client:
        await client.subscribe(simulation.symbols)
        await client.receive_events(50)
        fields = {"Greeks": turned}
        await client.send("FEED_SETUP", 1, acceptEventFields=fields)
        config = await client.receive_until("FEED_CONFIG")
        await client.receive_events(150)
        simulation.broker.stop()
        await client.receive_to_end()

    assert config["eventFields"] == {"Greeks": turned}
    assert simulation.received(client) == simulation.ledger()


async def test_reset_ends_earlier_subscriptions(simulate):
    simulation, endpoints = await simulate(rate=2_000.0)
    old, new = simulation.symbols[:5], simulation.symbols[5:8]

    async with open_feed(endpoints) as client:
        await client.subscribe(old)
        await client.receive_events(20)
        await client.subscribe(new, reset=True)
        while client.events[-1]["eventSymbol"] not in new:
            await client.receive()
        client.events.clear()
        await client.receive_events(100)

    assert {event["eventSymbol"] for event in client.events} == set(new)


async def test_a_removed_symbol_falls_silent_and_the_others_go_on(simulate):
    simulation, endpoints = await simulate(rate=2_000.0)
    gone, kept = simulation.symbols[0], simulation.symbols[1:4]

    async with open_feed(endpoints) as client:
        await client.subscribe([gone, *kept])
        await client.receive_events(20)
        remove = [{"type": "Greeks", "symbol": gone}]
        await client.send("FEED_SUBSCRIPTION", 1, remove=remove)
        # An answer that comes after the removal was read.
        await client.send("FEED_SETUP", 1)
        await client.receive_until("FEED_CONFIG")
        client.events.clear()
        await client.receive_events(100)

    assert {event["eventSymbol"] for event in client.events} == set(kept)


async def test_unknown_and_illiquid_symbols_are_mute(simulate):
    simulation, endpoints = await simulate(
        contracts=60, rate=2_000.0, imperfections=Imperfections(illiquid_every=50)
    )
    [illiquid] = simulation.broker.illiquid_symbols
    occ = simulation.options[0].contract.contract_key
    spoken = simulation.symbols[0]

    async with open_feed(endpoints) as client:
        await client.subscribe([illiquid, occ, ".NOPE261218C1", spoken])
        await client.receive_events(50)

    assert {event["eventSymbol"] for event in client.events} == {spoken}


async def test_underlyings_have_quotes_and_trades(simulate):
    _, endpoints = await simulate()

    async with open_feed(endpoints) as client:
        add = [{"type": k, "symbol": "SPX"} for k in ("Quote", "Trade")]
        await client.send("FEED_SUBSCRIPTION", 1, add=add)
        await client.receive_events(2)

    quote, trade = client.events
    assert (quote["eventType"], trade["eventType"]) == ("Quote", "Trade")
    assert (quote["bidSize"], trade["size"]) == ("NaN", "NaN")
    assert quote["bidPrice"] < trade["price"] < quote["askPrice"]


async def test_auth_may_come_before_it_is_asked_for(simulate):
    _, endpoints = await simulate()
    token = (await get(endpoints, "/api-quote-tokens"))["token"]

    async with open_client(endpoints) as client:
        await client.send("SETUP", version="0.1")
        await client.send("AUTH", token=token)
        messages = [await client.receive() for _ in range(3)]

    assert [m["type"] for m in messages] == ["SETUP", "AUTH_STATE", "AUTH_STATE"]
    assert [m.get("state") for m in messages[1:]] == ["UNAUTHORIZED", "AUTHORIZED"]


async def test_a_wrong_token_is_refused_and_the_connection_closed(simulate):
    _, endpoints = await simulate()

    async with open_client(endpoints) as client:
        state = await client.log_in("not-a-token")
        code = await client.receive_to_end()

    assert state["state"] == "UNAUTHORIZED"
    assert code == 1000


async def test_an_even_channel_is_a_violation(simulate):
    _, endpoints = await simulate()

    async with open_feed(endpoints) as client:
        await client.send("CHANNEL_REQUEST", 2, service="FEED")
        error = await client.receive_until("ERROR")

    assert (error["channel"], error["error"]) == (0, "BAD_ACTION")


@pytest.mark.parametrize(
    "frame",
    ["", "{", "[]", '{"type": 5}', "\x00", b"\xff", b'{"type":"\xff"}', TOO_DEEP],
)
async def test_a_frame_that_is_not_a_message_is_answered_and_survived(simulate, frame):
    simulation, endpoints = await simulate()

    async with open_feed(endpoints) as client:
        await client.socket.send_message(frame)
        error = await client.receive_until("ERROR")
        await client.subscribe(simulation.symbols)
        await client.receive_events(1)

    assert error["error"] == "INVALID_MESSAGE"


async def test_a_channel_that_is_cancelled_is_closed_and_its_number_free(simulate):
    simulation, endpoints = await simulate()

    async with open_feed(endpoints) as client:
        await client.subscribe(simulation.symbols)
        await client.send("CHANNEL_CANCEL", 1)
        await client.receive_until("CHANNEL_CLOSED")
        before = len(client.events)
        await client.open_feed()
        await client.receive_until("FEED_CONFIG")

    assert len(client.events) == before


async def test_too_many_subscriptions_are_an_error_and_the_rest_is_mute(simulate):
    simulation, endpoints = await simulate()
    filling = [f".X{number}" for number in range(24_999)]

    async with open_feed(endpoints) as client:
        for start in range(0, len(filling), 5_000):
            await client.subscribe(filling[start : start + 5_000])
        await client.subscribe(simulation.symbols[:2])
        error = await client.receive_until("ERROR")
        await client.receive_events(5)

    assert error["error"] == "BAD_ACTION"
    assert {e["eventSymbol"] for e in client.events} == {simulation.symbols[0]}


async def test_marker_rows_come_only_with_event_flags(simulate):
    simulation, endpoints = await simulate(contracts=100, rate=0.01)
    seen = []

    for columns in (COLUMNS, [*COLUMNS, "eventFlags"]):
        async with open_feed(endpoints, columns=columns) as client:
            await client.subscribe(simulation.symbols)
            await client.receive_events(98)
            while len({event["eventSymbol"] for event in client.events}) < 98:
                await client.receive()
            seen.append(client.events)

    without, with_flags = seen
    assert all(event["time"] for event in without)
    markers = [event for event in with_flags if event["eventFlags"]]
    assert markers
    assert {event["delta"] for event in markers} == {"NaN"}


# A busy machine makes the generation slow.
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.dictionaries(st.sampled_from(FIELDS), VALUES)))
def test_no_message_upsets_a_session(messages):
    market = textbook_market(contracts=3, seed=7, today=TODAY)
    tape = GreeksTape(market, [], Ledger(None), accounts_of=lambda key: [key], seed=7)
    session = DxlinkSession(tape, bool, lambda: None, seed=7)
    log_in = [{"type": "SETUP"}, {"type": "AUTH", "token": "x"}]
    feed = {"type": "CHANNEL_REQUEST", "channel": 1, "service": "FEED"}

    for number, message in enumerate([*log_in, feed, *messages]):
        session.receive_frame(json.dumps(message))
        tape.emit_greeks(2)
        tape.emit_prices(number * 1.0)
        for frame in session.take_frames(now=0.0):
            assert json.loads(frame.text)["type"]
    session.finish()

    assert not tape.is_subscribed


async def test_a_client_that_is_silent_for_a_minute_is_timed_out(
    autojump_clock, nursery, tmp_path
):
    client = await connect_in_memory(nursery, make_tape_server(tmp_path))
    await client.send("SETUP", version="test")

    beats = [await client.receive_until("KEEPALIVE")]
    beat_at = trio.current_time()
    error = await client.receive_until("ERROR")
    code = await client.receive_to_end()

    assert beats
    assert beat_at == 30.0
    assert error["error"] == "TIMEOUT"
    assert (code, trio.current_time()) == (1000, 60.0)


async def test_a_client_that_keeps_itself_alive_is_kept(
    autojump_clock, nursery, tmp_path
):
    client = await connect_in_memory(nursery, make_tape_server(tmp_path))
    await client.send("SETUP", version="test", acceptKeepaliveTimeout=20)

    for _ in range(6):
        await client.receive_until("KEEPALIVE")
        await client.send("KEEPALIVE")

    # The first 30 s run before the client's shorter limit is known.
    assert trio.current_time() <= 90.0


def make_tape_server(tmp_path):
    market = textbook_market(contracts=1, seed=7, today=TODAY)
    tape = GreeksTape(market, [], Ledger(None), accounts_of=lambda key: [key], seed=7)
    return partial(serve_dxlink, tape=tape, is_valid_token=bool)
