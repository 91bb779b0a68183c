"""The look at every contract is made in small steps, also within an answer."""

from __future__ import annotations

from functools import partial
from math import ceil

import pytest
import trio

from greeks_trio.api.routes import metrics
from greeks_trio.model.contracts import ContractKey
from greeks_trio.monitoring import contract_hours, contract_survey
from greeks_trio.monitoring.contract_survey import STEP_CONTRACTS, survey_contracts
from greeks_trio.monitoring.metrics import read_metrics
from greeks_trio.monitoring.status_json import status_json
from tests.concurrency.status_parts import make_status
from tests.factories import make_frame, make_record

CONTRACTS = 3 * STEP_CONTRACTS + 1


@pytest.fixture
async def status():
    """Return a status with many contracts; every other one has a tick."""
    status = make_status()
    keys = [ContractKey(f"SPY   261218C{number:08d}") for number in range(CONTRACTS)]
    for broker, health in status.feeds.items():
        health.contracts_streamed(keys)
        for key in keys[::2]:
            record = make_record(contract_key=key, broker=broker)
            status.processor.process(make_frame(record))
    return status


@pytest.fixture
def looks(monkeypatch):
    """Return a list that gets each contract that is looked at."""
    looks = []

    def market_of(contract_key, exchange=None):
        looks.append(contract_key)
        return

    monkeypatch.setattr(contract_survey, "market_of", market_of)
    monkeypatch.setattr(contract_hours, "market_of", market_of)
    return looks


@pytest.mark.parametrize(
    "steps_of",
    [
        lambda status: survey_contracts(status, status.clock.now()),
        status_json,
        read_metrics,
        contract_hours._markets_in_use,
    ],
)
async def test_no_step_looks_at_many_contracts(status, looks, steps_of):
    most = before = 0
    for _ in steps_of(status):
        most = max(most, len(looks) - before)
        before = len(looks)

    assert most == STEP_CONTRACTS
    assert len(looks) == len(status.feeds) * CONTRACTS


async def test_other_tasks_have_turns_while_metrics_are_read(
    status, looks, monkeypatch, nursery
):
    """Each step of this test is longer than a slice."""
    monkeypatch.setattr("greeks_trio.waiting._SLICE_S", 1e-9)
    turns = []

    async def take_turns():
        while True:
            turns.append(len(looks))
            await trio.lowlevel.checkpoint()

    nursery.start_soon(take_turns)
    await metrics._render(partial(read_metrics, status), "")

    # A turn comes before or after the step of its round, so two steps may pass unseen.
    steps = len(status.feeds) * ceil(CONTRACTS / STEP_CONTRACTS)
    assert len(set(turns)) >= steps / 2
    nursery.cancel_scope.cancel()
