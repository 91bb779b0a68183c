"""Two gateways of one IBKR user: the brokerage session is at one of them."""

from __future__ import annotations

from datetime import date

import pytest
import trio

from greeks_trio.simulators.book.textbook import textbook_market
from greeks_trio.simulators.ibkr.broker import SimulatedIbkr
from greeks_trio.simulators.ledger import Ledger
from tests.acceptance.ibkr_client import Gateway

TAKE = {"publish": True, "compete": True}
WAIT = {"publish": True, "compete": False}
STATES = {
    (True, True, False): "open",
    (False, False, True): "competing",
    (False, False, False): "lost",
}


@pytest.fixture
def market():
    return textbook_market(contracts=6, seed=5, today=date(2026, 3, 2))


@pytest.fixture
def start(nursery, market, tmp_path):
    """Start two gateways, and return them as seen by their clients."""

    async def start(**options):
        ledger = Ledger(tmp_path / "ledger")
        simulator = SimulatedIbkr(
            market, market.options, ledger, rate=50.0, seed=7, gateways=2, **options
        )
        endpoints = await nursery.start(simulator.run, 0)
        return [
            Gateway(simulator, market, endpoints.at_port(port), tmp_path / "ledger")
            for port in endpoints.gateway_ports
        ]

    return start


async def state(gateway):
    """Return the state of the session as a gateway tells it."""
    async with gateway.open_rest() as rest:
        status = (await rest.post("/iserver/auth/status")).json()
    names = ("authenticated", "established", "competing")
    return STATES[tuple(status[name] for name in names)]


async def states(gateways):
    return [await state(each) for each in gateways]


async def wait_state(gateway, wanted):
    with trio.fail_after(10):
        while await state(gateway) != wanted:  # noqa: ASYNC110  REST tells only if asked
            await trio.sleep(0.05)


async def init(gateway, content):
    """Ask for the session; return whether the gateway has it now."""
    async with gateway.open_rest() as rest:
        answer = await rest.post("/iserver/auth/ssodh/init", json=content)
    return answer.json()["established"]


async def test_the_first_gateway_has_the_session(start):
    gateways = await start()

    assert await states(gateways) == ["open", "competing"]
    assert not await init(gateways[1], WAIT)
    assert await states(gateways) == ["open", "competing"]


async def test_a_gateway_that_competes_ends_the_session_of_the_other(start):
    first, second = gateways = await start()
    async with first.open_ready_socket() as loser:
        await loser.subscribe(*first.conids)
        await loser.receive_ticks(1)

        assert await init(second, TAKE)

        await loser.receive_until_silent()
        told = [each["args"] for each in loser.frames if each.get("topic") == "sts"]
        assert told[-2:] == [{"competing": True}, {"authenticated": False}]
        assert await states(gateways) == ["competing", "open"]
        assert not await init(first, WAIT)
        before = len(first.ledger)
        await loser.subscribe(*first.conids)
        await loser.receive_until_silent()
        assert len(first.ledger) == before
    async with second.open_ready_socket() as winner:
        await winner.subscribe(*second.conids)
        await winner.receive_ticks(1)
    assert await init(first, TAKE)
    assert await states(gateways) == ["open", "competing"]


async def test_a_session_that_times_out_is_free_for_the_other_gateway(start):
    gateways = await start(session_timeout_s=0.2)
    await wait_state(gateways[1], "lost")

    assert await init(gateways[1], WAIT)
    assert await states(gateways) == ["competing", "open"]


async def test_after_a_logout_the_session_is_free(start):
    first, second = gateways = await start()
    async with first.open_rest() as rest:
        await rest.post("/logout")

    assert await init(second, WAIT)

    async with first.open_rest() as rest:
        await rest.post("/sso/Dispatcher")
    assert await states(gateways) == ["competing", "open"]


async def test_another_program_takes_the_session_from_the_gateway_that_has_it(
    start, nursery
):
    first, second = gateways = await start()
    nursery.start_soon(first.faults.compete, 60)
    await wait_state(first, "competing")

    assert not await init(second, WAIT)
    assert await init(second, TAKE)
    assert await states(gateways) == ["competing", "open"]
