"""The REST interface of the simulated Tastytrade, read by hand and by the SDK."""

from __future__ import annotations

import logging
import socket
import struct
from urllib.parse import urlsplit

import httpx2
import pytest
import trio
from tastytrade import Account, Session
from tastytrade.instruments import Option

from tests.acceptance.dxlink_client import (
    get,
    open_http,
)
from tests.acceptance.tastytrade_simulation import (
    ToSimulator,
    open_simulations,
)

logging.getLogger("tastytrade").setLevel(logging.WARNING)


@pytest.fixture
async def simulate(nursery, tmp_path):
    with open_simulations(nursery, tmp_path) as start:
        yield start


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


async def test_an_unknown_path_is_a_404_in_the_envelope(simulate):
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
async def test_a_client_with_bad_requests_disturbs_no_other(simulate, sent, reset):
    _, endpoints = await simulate()
    host, port = urlsplit(endpoints.api_url).netloc.split(":")

    async with await trio.open_tcp_stream(host, int(port)) as stream:
        await stream.send_all(sent)
        if reset:  # closing sends RST
            linger = struct.pack("ii", 1, 0)
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    assert await get(endpoints, "/customers/me/accounts")


async def test_every_quote_token_is_another_one(simulate):
    _, endpoints = await simulate()

    tokens = [await get(endpoints, "/api-quote-tokens") for _ in range(2)]

    assert tokens[0]["token"] != tokens[1]["token"]
    assert tokens[0]["dxlink-url"] == endpoints.dxlink_url
