"""Rarer ways in which the simulated IBKR gateway goes wrong."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from tests.acceptance.ibkr_client import GREEKS, merge, start_gateway

INIT = "/iserver/auth/ssodh/init"
STATUS = "/iserver/auth/status"
OPEN_BY_FORCE = {"publish": True, "compete": True}


@pytest.fixture
def start(nursery, tmp_path):
    """Return a function that starts a gateway."""

    async def start(**options):
        return await start_gateway(nursery, tmp_path / "ledger", **options)

    return start


async def receive_status(client):
    return (await client.receive_until("sts"))["args"]


async def finish(gateway, client):
    gateway.simulator.stop()
    await client.receive_until_closed()
    assert merge(client.frames) == gateway.written


async def test_without_a_session_that_is_established_all_lists_are_empty(start):
    gateway = await start()

    async with gateway.open_rest() as rest, gateway.open_ready_socket() as client:
        await rest.get("/portfolio/accounts")
        await receive_status(client)
        await client.subscribe(*gateway.conids)
        await client.receive_ticks(10)
        async with trio.open_nursery() as both:
            both.start_soon(gateway.verbs["not-established"], 1.0)
            news = [await receive_status(client)]
            status = (await rest.post(INIT, json=OPEN_BY_FORCE)).json()
            paths = ("/portfolio/accounts", "/iserver/accounts")
            answers = [await rest.get(path) for path in paths]
        news.append(await receive_status(client))
        after = (await rest.post(STATUS)).json()
        await client.subscribe(*gateway.conids)
        await client.receive_ticks(10)
        await finish(gateway, client)

    assert (status["authenticated"], status["established"]) == (True, False)
    assert [(a.status_code, a.json()) for a in answers] == [(200, [])] * 2
    assert news == [{"established": False}, {"authenticated": True}]
    assert after["established"] is True


async def test_without_a_bridge_only_the_brokerage_session_is_out_of_reach(start):
    gateway = await start()

    async with gateway.open_rest() as rest:
        async with trio.open_nursery() as both:
            both.start_soon(gateway.verbs["no-bridge"], 0.5)
            await trio.testing.wait_all_tasks_blocked()
            refused = await rest.get("/iserver/accounts")
            others = [await rest.post(STATUS), await rest.get("/portfolio/accounts")]
        after = await rest.get("/iserver/accounts")

    assert (refused.status_code, refused.text) == (400, "Bad Request: no bridge")
    assert [each.status_code for each in (*others, after)] == [200] * 3


async def test_a_status_may_be_wrong_while_the_session_stays(start):
    gateway = await start()

    async with gateway.open_rest() as rest, gateway.open_ready_socket() as client:
        await receive_status(client)
        await client.subscribe(*gateway.conids)
        async with trio.open_nursery() as both:
            both.start_soon(gateway.verbs["odd-status"], 3.2)
            said = [await receive_status(client) for _ in range(6)]
            status = (await rest.post(STATUS)).json()
        await client.receive_ticks(10)
        await finish(gateway, client)

    assert {"authenticated": False} in said
    assert {"authenticated": "false"} in said
    assert {"message": ""} in said
    assert status["authenticated"] is status["established"] is True


async def test_what_is_not_subscribed_says_so_and_nothing_else(start):
    gateway = await start()

    async with gateway.open_ready_socket() as client:
        await client.subscribe(*gateway.conids[:3])
        await client.receive_ticks(10)
        async with trio.open_nursery() as both:
            both.start_soon(gateway.verbs["not-subscribed"], 1.5)
            await client.receive_until_silent()
            heard = len(client.frames)
            await client.subscribe(*gateway.conids[3:])
            await client.receive_until_silent()
            during = client.frames[heard:]
        await client.receive_ticks(20)
        await finish(gateway, client)

    rows = [frame for frame in during if "conid" in frame]
    assert {row["conid"] for row in rows} == set(gateway.conids[3:])
    assert all(row["6509"].startswith("N") for row in rows)
    assert not any({"31", *GREEKS} & row.keys() for row in rows)


async def test_a_position_of_nonsense_is_one_among_others(start):
    gateway = await start()
    path = f"/portfolio/{gateway.endpoints.account_id}/positions/0"

    async with gateway.open_rest() as rest:
        await rest.get("/portfolio/accounts")
        await rest.get(path)
        async with trio.open_nursery() as both:
            both.start_soon(gateway.verbs["bad-position"], 0.5)
            await trio.testing.wait_all_tasks_blocked()
            during = (await rest.get(path)).json()
        after = (await rest.get(path)).json()

    assert during[0]["conid"] == "none"
    assert [row["conid"] for row in during[1:]] == [row["conid"] for row in after]


async def test_after_a_logout_only_a_person_can_log_in(start):
    gateway = await start()

    async with gateway.open_rest() as rest:
        before = (await rest.get("/tickle")).json()["session"]
        await rest.post("/logout")
        paths = ("/tickle", "/portfolio/accounts", "/iserver/accounts", "/sso/validate")
        codes = [(await rest.get(path)).status_code for path in paths]
        codes.append((await rest.post(INIT, json=OPEN_BY_FORCE)).status_code)
        status = (await rest.post(STATUS)).json()
        page = str(rest.base_url.copy_with(path="/sso/Dispatcher"))
        login = await rest.post(page, data={"user_name": "somebody"})
        after = (await rest.get("/tickle")).json()

    assert codes == [401] * 5
    assert status["authenticated"] is status["connected"] is False
    assert (login.status_code, login.text) == (200, "Client login succeeds")
    assert after["session"] != before
    assert after["iserver"]["authStatus"]["established"] is True


async def test_a_login_is_refused_as_long_as_the_fault_lasts(start):
    gateway = await start()

    async with gateway.open_rest() as rest:
        async with trio.open_nursery() as both:
            both.start_soon(gateway.verbs["refuse-login"], 0.5)
            await trio.testing.wait_all_tasks_blocked()
            refused = await rest.post("/sso/Dispatcher")
        accepted = await rest.post("/sso/Dispatcher")

    assert (refused.status_code, accepted.status_code) == (401, 200)


async def test_a_client_may_tickle_several_times_when_it_begins(start):
    gateway = await start()

    async with gateway.open_rest() as rest:
        codes = [(await rest.post("/tickle")).status_code for _ in range(14)]

    # ibind asks five times until its stream is up.
    assert codes[:8] == [200] * 8
    assert codes[-1] == 429


async def test_a_pong_that_nobody_asked_for_upsets_the_gateway_and_nothing_else(start):
    gateway = await start()

    async with gateway.open_ready_socket() as client:
        await client.subscribe(*gateway.conids)
        await client.socket.pong(b"here")
        while "error" not in (frame := await client.receive()):
            pass
        await client.receive_ticks(10)
        await finish(gateway, client)

    assert frame == {"error": "Topic unknown 'null'", "code": 1}


async def test_who_asks_for_orders_and_profits_is_told_that_there_are_none(start):
    gateway = await start()
    paths = ("orders", "trades", "pnl/partitioned")

    async with gateway.open_rest() as rest:
        answers = [await rest.get(f"/iserver/account/{path}") for path in paths]
        more = [await rest.get("/iserver/account/orders") for _ in range(6)]

    assert [each.json() for each in answers] == [
        {"orders": [], "snapshot": True},
        [],
        {"upnl": {}},
    ]
    assert (more[0].status_code, more[-1].status_code) == (200, 429)
