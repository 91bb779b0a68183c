from __future__ import annotations

import json
import logging
import socket
import struct
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import date
from decimal import Decimal
from functools import partial
from urllib.parse import urlsplit

import httpx2
import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from tastytrade import Account, DXLinkStreamer, Session
from tastytrade.dxfeed import Greeks
from tastytrade.instruments import FutureOption, Option
from trio.testing import memory_stream_pair
from trio_websocket import (
    wrap_client_stream,
    wrap_server_stream,
)

from greeks_trio.model.contracts import OptionTerms, format_future_option_key
from greeks_trio.simulators.faults import Fault
from greeks_trio.simulators.ledger import Ledger, read_ledger
from greeks_trio.simulators.market import Market, Underlying
from greeks_trio.simulators.server.door import Closing
from greeks_trio.simulators.tastytrade.account_streamer import AccountStreamer
from greeks_trio.simulators.tastytrade.dxlink_events import EVENT_FIELDS
from greeks_trio.simulators.tastytrade.dxlink_server import serve_dxlink
from greeks_trio.simulators.tastytrade.dxlink_session import DxlinkSession
from greeks_trio.simulators.tastytrade.greeks_tape import GreeksTape
from greeks_trio.simulators.tastytrade.instruments import streamer_symbol
from tests.acceptance.dxlink_client import (
    COLUMNS,
    DxlinkClient,
    get,
    open_client,
    open_feed,
    open_http,
    open_socket,
)
from tests.acceptance.tastytrade_simulation import TODAY, open_simulations

logging.getLogger("tastytrade").setLevel(logging.WARNING)
ITEMS = [
    {"type": "Greeks", "symbol": ".SPY261127C668"},
    {"type": "Quote", "symbol": "SPY"},
]
FULL = {"columns": EVENT_FIELDS["Greeks"], "acceptDataFormat": "FULL"}
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


class ToSimulator(httpx2.AsyncHTTPTransport):
    """Sends what is meant for Tastytrade to the simulated one."""

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


@pytest.mark.parametrize("rate", [200.0, 10_000.0])
async def test_what_reaches_a_client_before_the_stop_is_what_the_ledger_holds(
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
    market = Market(contracts=3, seed=7, today=TODAY)
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


async def test_what_waits_at_a_second_feed_setup_comes_as_it_was_announced(simulate):
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


async def test_nothing_is_in_the_ledger_while_nobody_listens(simulate):
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
    simulation, endpoints = await simulate(rate=20_000.0)

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


async def test_a_second_feed_setup_changes_the_columns_of_what_follows(simulate):
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


async def test_reset_ends_what_was_subscribed_before(simulate):
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
    simulation, endpoints = await simulate(contracts=60, rate=2_000.0)
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


async def test_marker_rows_come_only_to_who_asks_for_event_flags(simulate):
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


async def test_the_sdk_reads_accounts_positions_and_instruments(simulate):
    simulation, endpoints = await simulate()

    transport = ToSimulator(endpoints.api_url)
    async with Session(
        endpoints.secret, endpoints.refresh, transport=transport
    ) as session:
        accounts = await Account.get(session)
        one = await Account.get(session, endpoints.account_id)
        positions = await accounts[0].get_positions(session)
        none = await accounts[1].get_positions(session)
        option = await Option.get(session, positions[0].symbol)

    assert accounts[0] == one
    assert accounts[0].account_number == endpoints.account_id
    assert none == []
    options = [p for p in positions if p.instrument_type == "Equity Option"]
    assert {p.symbol for p in options} == set(simulation.key_of.values())
    assert {p.quantity_direction for p in positions} == {"Long", "Short"}
    assert {p.symbol for p in positions} - {p.symbol for p in options} == {"AAPL", "F"}
    assert simulation.key_of[option.streamer_symbol] == option.symbol


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
    future = make_future_option(Market(contracts=1, seed=7, today=TODAY).options[0])
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


async def test_a_watched_contract_that_nobody_holds_is_a_tick_of_the_watch_list(
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


async def test_drop_closes_everybody_and_lets_them_in_again_later(simulate):
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


async def test_a_closed_position_is_gone_unless_closed_ones_are_asked_for(simulate):
    simulation, endpoints = await simulate()
    key = simulation.options[0].contract.contract_key
    simulation.broker.change_position(key, 0)
    path = f"/accounts/{endpoints.account_id}/positions"

    without = await get(endpoints, path)
    with_closed = await get(endpoints, path + "?include-closed-positions=true")

    assert key not in {item["symbol"] for item in without["items"]}
    assert {
        item["quantity-direction"]
        for item in with_closed["items"]
        if item["symbol"] == key
    } == {"Zero"}


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


async def test_a_request_without_user_agent_gets_a_page_and_401(simulate):
    _, endpoints = await simulate()

    async with open_http(endpoints) as http:
        del http.headers["User-Agent"]
        answer = await http.get("/customers/me/accounts")

    assert answer.status_code == 401
    assert answer.headers["Content-Type"] == "text/html"


@pytest.mark.parametrize("bearer", [None, "Bearer wrong", "wrong"])
async def test_a_request_without_a_valid_token_is_refused(simulate, bearer):
    _, endpoints = await simulate()

    async with httpx2.AsyncClient(base_url=endpoints.api_url) as http:
        if bearer:
            http.headers["Authorization"] = bearer
        answer = await http.get("/customers/me/accounts")

    assert answer.status_code == 401
    assert "code" in answer.json()["error"]


async def test_wrong_credentials_are_an_invalid_grant(simulate):
    _, endpoints = await simulate()
    wanted = {"grant_type": "refresh_token", "client_secret": "x", "refresh_token": "y"}

    async with httpx2.AsyncClient(base_url=endpoints.api_url) as http:
        answer = await http.post("/oauth/token", json=wanted)

    assert answer.status_code == 400
    assert answer.json()["error_code"] == "invalid_grant"


async def test_what_is_not_there_is_a_404_in_the_envelope(simulate):
    _, endpoints = await simulate()

    async with open_http(endpoints) as http:
        answers = [
            await http.get("/instruments/equity-options/NOPE"),
            await http.get("/accounts/XXX/positions"),
            await http.get("/nothing"),
        ]

    assert [answer.status_code for answer in answers] == [404, 404, 404]
    assert all("code" in answer.json()["error"] for answer in answers)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\x00\xff\r\n\r\n",
        b"GET / HTT",
        b"HEAD / HTTP/1.1\r\nHost: x\r\nUser-Agent: x\r\n\r\n",
        b"POST /oauth/token HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{",
        b"GET //[ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /oauth/token HTTP/1.1\r\nHost: x\r\nUser-Agent: x\r\n"
        b'Content-Length: 18\r\n\r\n{"grant_type":"\xff"}',
        b"GET /realtime HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n",
        b"GET /realtime HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    ],
)
@pytest.mark.parametrize("reset", [False, True])
async def test_a_client_that_speaks_badly_and_leaves_disturbs_nobody(
    simulate, sent, reset
):
    _, endpoints = await simulate()
    host, port = urlsplit(endpoints.api_url).netloc.split(":")

    async with await trio.open_tcp_stream(host, int(port)) as stream:
        await stream.send_all(sent)
        if reset:  # closing sends RST
            linger = struct.pack("ii", 1, 0)
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    assert await get(endpoints, "/customers/me/accounts")


@given(st.lists(st.dictionaries(st.sampled_from(FIELDS), VALUES)))
def test_no_message_upsets_a_session(messages):
    market = Market(contracts=3, seed=7, today=TODAY)
    tape = GreeksTape(market, [], Ledger(None), accounts_of=lambda key: [key], seed=7)
    session = DxlinkSession(tape, bool, lambda: None, seed=7)
    log_in = [{"type": "SETUP"}, {"type": "AUTH", "token": "x"}]
    feed = {"type": "CHANNEL_REQUEST", "channel": 1, "service": "FEED"}

    for message in [*log_in, feed, *messages]:
        session.receive_frame(json.dumps(message))
        tape.emit_greeks(2)
        tape.emit_prices()
        for frame in session.take_frames(now=0.0):
            assert json.loads(frame.text)["type"]
    session.finish()

    assert not tape.is_subscribed


async def test_every_quote_token_is_another_one(simulate):
    _, endpoints = await simulate()

    tokens = [await get(endpoints, "/api-quote-tokens") for _ in range(2)]

    assert tokens[0]["token"] != tokens[1]["token"]
    assert tokens[0]["dxlink-url"] == endpoints.dxlink_url


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


class WatchfulSocket:
    """Stands in for a WebSocket; looks at the ledger when data is about to be sent."""

    def __init__(self, frames, ledger):
        self.has_data = trio.Event()
        self.written_before = None
        self._frames = [json.dumps(frame) for frame in reversed(frames)]
        self._ledger = ledger

    async def get_message(self):
        if not self._frames:
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()
        return self._frames.pop()

    async def send_message(self, text):
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


def make_action(action, token, **fields):
    message = {"action": action, "auth-token": token, "request-id": 1, **fields}
    return json.dumps(message)


def make_tape_server(tmp_path):
    market = Market(contracts=1, seed=7, today=TODAY)
    tape = GreeksTape(market, [], Ledger(None), accounts_of=lambda key: [key], seed=7)
    return partial(serve_dxlink, tape=tape, is_valid_token=bool)


async def connect_in_memory(nursery, serve):
    """Return a client whose server runs in the nursery."""
    client_end, server_end = memory_stream_pair()

    async def run():
        async with trio.open_nursery() as sockets:
            request = await wrap_server_stream(sockets, server_end)
            await serve(await request.accept(), Closing())
            sockets.cancel_scope.cancel()

    nursery.start_soon(run)
    socket = await wrap_client_stream(nursery, client_end, "sim", "/realtime")
    return DxlinkClient(socket)
