from __future__ import annotations

import pytest

from greeks_trio.feeds.position_log import PositionLog
from greeks_trio.model.records import PositionsSnapshot
from tests.concurrency.ibkr_gateway import KeptJournal
from tests.factories import START, make_position


@pytest.fixture
def journal():
    return KeptJournal()


@pytest.fixture
def positions(journal):
    return PositionLog("ibkr", journal, now=lambda: START)


async def test_positions_are_recorded_when_they_change(positions, journal):
    positions.read(["U1"], [make_position(-3)])
    positions.read(["U1"], [make_position(-3)])
    positions.read(["U1"], [])

    first, second = journal.recorded
    assert first == PositionsSnapshot(
        broker="ibkr",
        account_ids=("U1",),
        positions=(make_position(-3),),
        observed_at=START,
    )
    assert second.positions == ()


async def test_an_incomplete_reading_names_its_accounts(positions, journal):
    positions.read(["U1"], [make_position(-3)], incomplete=["U1"])
    positions.read(["U1"], [make_position(-3)], incomplete=["U1"])
    positions.read(["U1"], [make_position(-3)])

    assert [each.incomplete_account_ids for each in journal.recorded] == [("U1",), ()]
