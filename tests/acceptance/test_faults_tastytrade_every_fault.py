"""Every fault of the simulated Tastytrade begins, ends and leaves no trace."""

from __future__ import annotations

import pytest
import trio

from greeks_trio.simulators.faults import Fault
from greeks_trio.simulators.tastytrade.fault_kinds import TASTYTRADE_FAULTS
from tests.acceptance.dxlink_client import (
    COLUMNS,
    open_feed,
)
from tests.acceptance.tastytrade_faults import receive_more, run_within, stop_and_read
from tests.acceptance.tastytrade_simulation import (
    open_simulations,
)

# Arguments with which each fault is soon over.
SHORT = {"oversize": 0.1, "drop": 0.05}


@pytest.fixture
async def simulate(nursery, tmp_path):
    with open_simulations(nursery, tmp_path) as start:
        yield start


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
