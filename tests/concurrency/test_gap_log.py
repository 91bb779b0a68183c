from __future__ import annotations

from datetime import timedelta

import pytest
import trio

from greeks_trio.feeds.gap_log import GapLog
from greeks_trio.model.gap_reasons import GapReason
from greeks_trio.model.records import FeedGap
from tests.concurrency.ibkr_gateway import KeptJournal
from tests.factories import SPY_CALL, START, clock_of_trio


@pytest.fixture
def journal():
    return KeptJournal()


@pytest.fixture
def gaps(journal):
    return GapLog("ibkr", journal, now=clock_of_trio(START))


async def test_a_gap_is_recorded_when_it_starts_and_when_it_ends(
    autojump_clock, gaps, journal
):
    gaps.started(GapReason.SILENCE)
    await trio.sleep(5)
    gaps.ended()

    start = FeedGap(broker="ibkr", started_at=START, reason=GapReason.SILENCE)
    end = FeedGap(
        broker="ibkr",
        started_at=START,
        reason=GapReason.SILENCE,
        ended_at=START + timedelta(seconds=5),
    )
    assert journal.recorded == [start, end]


async def test_the_gap_of_a_contract_is_recorded_once_and_ended_once(gaps, journal):
    gaps.started(GapReason.NO_GREEKS, SPY_CALL)
    gaps.started(GapReason.NO_GREEKS, SPY_CALL)
    gaps.ended(SPY_CALL)
    gaps.ended(SPY_CALL)

    assert [gap.contract_key for gap in journal.recorded] == [SPY_CALL, SPY_CALL]


async def test_the_open_gaps_are_those_that_have_not_ended(gaps):
    gaps.started(GapReason.DISCONNECTED)
    gaps.started(GapReason.NO_GREEKS, SPY_CALL)
    gaps.ended()

    assert [gap.reason for gap in gaps.open_gaps()] == [GapReason.NO_GREEKS]
    assert gaps.feed_gap() is None


async def test_a_gap_may_have_started_earlier(autojump_clock, gaps, journal):
    since = START - timedelta(seconds=3)

    gaps.started(GapReason.SESSION_IN_DOUBT, since=since)
    gaps.ended()

    assert [(gap.started_at, gap.ended_at) for gap in journal.recorded] == [
        (since, None),
        (since, START),
    ]
