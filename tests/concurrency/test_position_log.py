from __future__ import annotations

import msgspec
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


async def test_control_characters_in_the_brokers_words_are_not_stored(
    positions, journal
):
    odd = msgspec.structs.replace(
        make_position(-3),
        underlying="SP\x00Y",
        description="ES\x1b[2J \u202eevil\x9b",
        instrument_id="1\n2",
        problem="\x07",
    )
    positions.read(["U1"], [odd])

    [snapshot] = journal.recorded
    [position] = snapshot.positions
    assert position.underlying == "SPY"
    assert position.description == "ES[2J evil"
    assert position.instrument_id == "1 2"
    assert position.problem == ""


async def test_a_reading_of_more_accounts_replaces_one_of_some(positions, journal):
    positions.read(["U1"], [make_position(-3)])
    positions.read(["U1", "U2"], [make_position(-2)])
    del journal.recorded[:]

    positions.tell_again()
    assert [each.account_ids for each in journal.recorded] == [("U1", "U2")]
    # It is news, although an earlier reading said the same.
    positions.read(["U1"], [make_position(-3)])
    assert [each.account_ids for each in journal.recorded] == [("U1", "U2"), ("U1",)]
    assert positions.account_ids == ("U1",)


async def test_of_accounts_that_are_not_read_any_more_the_last_reading_is_kept(
    positions, journal
):
    positions.read(["U1", "U2"], [make_position(-2)])
    positions.read(["U1"], [make_position(-3)])
    del journal.recorded[:]

    positions.tell_again()
    assert [each.account_ids for each in journal.recorded] == [("U1", "U2"), ("U1",)]


async def test_a_closed_account_is_not_one_of_the_open_ones(positions):
    positions.read(["U2", "U1"], [], closed=["U2"])
    assert positions.account_ids == ("U1",)
