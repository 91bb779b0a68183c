from __future__ import annotations

import pytest

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
