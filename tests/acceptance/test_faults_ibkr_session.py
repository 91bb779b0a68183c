"""Faults of the simulated IBKR gateway in its login, its session and its REST answers."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from trio_websocket import ConnectionRejected

from greeks_trio.simulators.faults import Fault
from tests.acceptance.ibkr_client import merge, start_gateway

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
    """Stop the gateway, read to the end, and compare with the ledger."""
    gateway.simulator.stop()
    await client.receive_until_closed()
    assert merge(client.frames) == gateway.written


async def test_a_refused_login_closes_sockets_in_a_loop_until_somebody_logs_in(start):
    gateway = await start()

    async with gateway.open_rest() as rest, gateway.open_ready_socket() as client:
        await client.subscribe(*gateway.conids)
        await client.receive_ticks(20)
        async with trio.open_nursery() as both:
            both.start_soon(gateway.verbs["refuse-login"], 1.5)
            reasons = [await client.receive_until_closed()]
            known = gateway.written
            async with gateway.open_socket() as refused:
                reasons.append(await refused.receive_until_closed())
            status = await rest.post(STATUS)
            paths = ["/tickle", "/portfolio/accounts", "/iserver/accounts"]
            codes = [(await rest.get(path)).status_code for path in paths]
            codes.append((await rest.post(INIT, json={"publish": True})).status_code)
        after = (await rest.post(STATUS)).json()
    async with gateway.open_ready_socket() as again:
        await again.subscribe(*gateway.conids)
        await again.receive_ticks(5)

    assert [reason.code for reason in reasons] == [1000, 1000]
    assert status.status_code == 200
    assert status.json()["authenticated"] is status.json()["connected"] is False
    assert codes == [401] * 4
    assert after["established"] is True
    assert merge(client.frames) == known


async def test_an_expired_session_must_be_opened_again_once_that_is_possible(start):
    gateway = await start()

    async with gateway.open_rest() as rest, gateway.open_ready_socket() as client:
        await receive_status(client)
        await client.subscribe(*gateway.conids)
        await client.receive_ticks(20)
        async with trio.open_nursery() as both:
            both.start_soon(gateway.verbs["expire-session"], 1.0)
            lost = await receive_status(client)
            await client.subscribe(gateway.conids[0])
            await client.receive_until_silent()
            heard = len(client.frames)
            early = await rest.post(INIT, json=OPEN_BY_FORCE)
            tickle = (await rest.get("/tickle")).json()["iserver"]["authStatus"]
            accounts = await rest.get("/iserver/accounts")
        before = (await rest.post(STATUS)).json()
        opened = await rest.post(INIT, json={"publish": True, "compete": False})
        won = await receive_status(client)
        silence = client.frames[heard:]
        await client.subscribe(*gateway.conids)
        await client.receive_ticks(10)
        gateway.simulator.stop()
        await client.receive_until_closed()

    assert lost == {"authenticated": False}
    assert early.json()["authenticated"] is False
    assert tickle == before
    assert (before["connected"], before["established"]) == (True, False)
    assert accounts.status_code == 401
    assert opened.json()["established"] is True
    assert won == {"authenticated": True}
    assert not any("conid" in frame for frame in silence)
    assert merge(client.frames) == gateway.written


async def test_a_session_lost_to_another_program_is_won_back_by_competing(
    start, nursery
):
    gateway = await start()

    async with gateway.open_rest() as rest, gateway.open_ready_socket() as client:
        await receive_status(client)
        nursery.start_soon(gateway.verbs["compete"], 60.0)
        news = [await receive_status(client), await receive_status(client)]
        status = (await rest.post(STATUS)).json()
        polite = await rest.post(INIT, json={"publish": True, "compete": False})
        firm = await rest.post(INIT, json=OPEN_BY_FORCE)
        news.append(await receive_status(client))
        await client.subscribe(*gateway.conids)
        await client.receive_ticks(5)

    assert news == [
        {"competing": True},
        {"authenticated": False},
        {"authenticated": True},
    ]
    assert (status["authenticated"], status["competing"]) == (False, True)
    assert polite.status_code == 200
    assert polite.json()["authenticated"] is False
    assert firm.json()["established"] is True


async def test_the_other_program_gives_the_session_back_in_the_end(start, nursery):
    gateway = await start()

    async with gateway.open_rest() as rest, gateway.open_ready_socket() as client:
        await receive_status(client)
        nursery.start_soon(gateway.verbs["compete"], 0.6)
        news = [await receive_status(client) for _ in range(3)]
        status = (await rest.post(STATUS)).json()

    assert news[-1] == {"authenticated": True}
    assert status["established"] is True


async def test_too_many_requests_lock_everybody_out_for_a_while(start):
    gateway = await start()

    async with gateway.open_rest() as rest, gateway.open_ready_socket() as client:
        assert (await rest.get(STATUS)).status_code == 200
        async with trio.open_nursery() as both:
            both.start_soon(gateway.verbs["http-429"], 1.0)
            await client.subscribe(*gateway.conids)  # streams go on
            await client.receive_ticks(5)
            answer = await rest.post("/tickle")
        assert (await rest.get(STATUS)).status_code == 200

    assert answer.status_code == 429
    assert answer.json() == {"error": "Too many requests"}


async def test_a_nightly_reset_refuses_everybody_and_costs_the_session(start):
    gateway = await start()

    async with gateway.open_rest() as rest, gateway.open_ready_socket() as client:
        await client.subscribe(*gateway.conids)
        await client.receive_ticks(20)
        async with trio.open_nursery() as both:
            both.start_soon(gateway.verbs["http-503"], 1.0)
            await client.receive_until_closed()
            known = gateway.written
            answer = await rest.get("/tickle")
            with pytest.RaisesGroup(ConnectionRejected, flatten_subgroups=True) as no:
                async with gateway.open_socket():
                    raise AssertionError("was let in")
        status = (await rest.post(STATUS)).json()
        opened = (await rest.post(INIT, json={"publish": True})).json()

    assert answer.status_code == no.value.exceptions[0].status_code == 503
    assert (status["established"], opened["established"]) == (False, True)
    assert merge(client.frames) == known


async def test_the_session_is_lost_without_requests_whatever_the_stream_does(start):
    gateway = await start(session_timeout_s=2.0)

    async with gateway.open_rest() as rest, gateway.open_ready_socket() as client:
        await receive_status(client)
        await client.subscribe(*gateway.conids)
        for _ in range(4):
            await client.receive_for(0.6)
            kept = (await rest.get("/tickle")).json()["iserver"]["authStatus"]
        await client.send("tic")
        await receive_status(client)
        lost = (await rest.get("/tickle")).json()["iserver"]["authStatus"]

    assert kept["established"] is True
    assert (lost["connected"], lost["established"]) == (True, False)


async def test_a_fault_can_be_arranged_beforehand(start):
    gateway = await start(faults=[Fault("ibkr", "close-1012", 0.5, 0.0)])

    async with gateway.open_ready_socket() as client:
        reason = await client.receive_until_closed()

    assert reason.code == 1012


async def test_a_closed_position_counts_as_held_until_somebody_has_read_so(start):
    gateway = await start(contracts=1, rate=200.0)
    [option] = gateway.market.options
    account = gateway.endpoints.account_id

    async with gateway.open_rest() as rest, gateway.open_ready_socket() as client:
        await rest.get("/portfolio/accounts")
        await rest.get(f"/portfolio/{account}/positions/0")
        await client.subscribe(option.conid)
        await client.receive_ticks(10)
        gateway.simulator.hold(option, 0)
        await client.receive_ticks(10)
        before = {tick.account_id for tick in gateway.ledger}
        # Before the answer, from which the gateway counts.
        asked_at = trio.current_time()
        rows = (await rest.get(f"/portfolio/{account}/positions/0")).json()
        written = len(gateway.ledger)
        await client.receive_for(1.5)
        quiet = len(gateway.ledger)
        await client.receive_ticks(3)

    assert before == {account}
    assert option.conid not in [row["conid"] for row in rows]
    assert quiet == written
    assert trio.current_time() - asked_at >= 2.0
    assert {tick.account_id for tick in gateway.ledger[written:]} == {"watchlist"}


async def test_a_tick_belongs_to_every_account_that_holds_the_contract(start):
    gateway = await start(accounts=2)

    async with gateway.open_rest() as rest, gateway.open_ready_socket() as client:
        accounts = (await rest.get("/portfolio/accounts")).json()
        ids = [each["accountId"] for each in accounts]
        held = {
            each: [
                row["conid"]
                for row in (await rest.get(f"/portfolio/{each}/positions/0")).json()
            ]
            for each in ids
        }
        shared = next(iter(set(held[ids[0]]) & set(held[ids[1]])))
        alone = next(each for each in gateway.conids if each not in held[ids[1]])
        await client.subscribe(shared, alone)
        await client.receive_ticks(100)
        gateway.simulator.stop()
        await client.receive_until_closed()

    keys = {each.conid: each.contract.contract_key for each in gateway.market.options}
    ticks = gateway.ledger
    lines = {
        conid: {t.account_id for t in ticks if t.contract_key == keys[conid]}
        for conid in (shared, alone)
    }
    assert lines == {shared: set(ids), alone: {ids[0]}}
    assert set(gateway.written) == set(merge(client.frames))
    doubled = [t for t in ticks if t.contract_key == keys[shared]]
    assert len(doubled) == 2 * len({t.event_time_ms for t in doubled})


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
