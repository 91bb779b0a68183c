from __future__ import annotations

from datetime import timedelta

import pytest
import trio

from greeks_trio.feeds.contract_gaps import ContractGaps
from greeks_trio.feeds.gap_log import GapLog
from greeks_trio.model.gap_reasons import GapReason
from tests.concurrency.ibkr_gateway import KeptJournal
from tests.factories import SPY_CALL, SPY_PUT, START, clock_of_trio

SILENT = (GapReason.SUBSCRIPTION_SILENT, 0.0)
NO_GREEKS = (GapReason.NO_GREEKS, 0.0)


@pytest.fixture
def journal():
    return KeptJournal()


@pytest.fixture
def gaps(journal):
    return ContractGaps(GapLog("ibkr", journal, now=clock_of_trio(START)))


def recorded(journal):
    return [
        (gap.contract_key, gap.reason, gap.ended_at is not None)
        for gap in journal.recorded
    ]


async def test_a_contract_has_a_gap_while_it_is_missing(autojump_clock, gaps, journal):
    gaps.update({SPY_CALL: SILENT})
    gaps.update({SPY_CALL: SILENT, SPY_PUT: SILENT})
    gaps.update({SPY_PUT: SILENT})

    assert recorded(journal) == [
        (SPY_CALL, "subscription silent", False),
        (SPY_PUT, "subscription silent", False),
        (SPY_CALL, "subscription silent", True),
    ]


async def test_another_reason_is_another_gap(autojump_clock, gaps, journal):
    gaps.update({SPY_CALL: SILENT})
    gaps.update({SPY_CALL: NO_GREEKS})

    assert recorded(journal) == [
        (SPY_CALL, "subscription silent", False),
        (SPY_CALL, "subscription silent", True),
        (SPY_CALL, "no greeks", False),
    ]


async def test_missing_contracts_are_one_line_for_each_reason(
    autojump_clock, gaps, caplog
):
    gaps.update({SPY_CALL: NO_GREEKS, SPY_PUT: NO_GREEKS})

    assert caplog.messages == [
        "ibkr.contracts_missing reason='no greeks' contracts=2"
        f" first={SPY_CALL},{SPY_PUT}"
    ]


async def test_a_gap_of_a_contract_that_is_awaited_stays_open(
    autojump_clock, gaps, journal
):
    gaps.update({SPY_CALL: NO_GREEKS, SPY_PUT: NO_GREEKS})
    gaps.update({}, awaited={SPY_CALL})

    assert recorded(journal)[2:] == [(SPY_PUT, "no greeks", True)]
    gaps.update({SPY_CALL: SILENT}, awaited={SPY_CALL})
    assert recorded(journal)[3:] == [
        (SPY_CALL, "no greeks", True),
        (SPY_CALL, "subscription silent", False),
    ]


async def test_the_start_of_a_gap_does_not_depend_on_when_it_is_told(
    autojump_clock, gaps, journal
):
    gaps.update({SPY_PUT: SILENT})
    await trio.sleep(100)
    now = trio.current_time()
    await trio.sleep(7)  # a computer that is busy

    gaps.update({SPY_CALL: (GapReason.NO_GREEKS, 90.0)}, awaited={SPY_PUT}, now=now)

    assert journal.recorded[-1].started_at == START + timedelta(seconds=10)
