from __future__ import annotations

from datetime import timedelta

import trio

from greeks_trio.feeds.earlier_run import (
    end_leftover_gaps,
    gaps_of_killed_run,
    times_without_feed,
)
from greeks_trio.feeds.health import FeedHealth
from greeks_trio.model.coverage import OPEN
from greeks_trio.model.gap_reasons import GapReason
from greeks_trio.model.records import FeedGap, LeftoverGaps
from greeks_trio.pipeline.journal import Journal
from tests.factories import SPY_CALL, START, clock_of_trio


async def test_gaps_of_an_earlier_run_end_with_the_first_connection(
    nursery, autojump_clock
):
    journal = Journal()
    health = FeedHealth("ibkr", journal, now=clock_of_trio(START))
    nursery.start_soon(end_leftover_gaps, health, journal)
    health.gaps.started(GapReason.SUBSCRIPTION_SILENT, SPY_CALL)
    journal.remove(await journal.wait_entry())
    await trio.sleep(5)
    health.connecting()
    await trio.sleep(5)
    assert len(journal) == 0

    health.connected()
    await trio.sleep(5)

    assert await journal.wait_entry() == LeftoverGaps(
        broker="ibkr", own=((SPY_CALL, START),), ended_at=START + timedelta(seconds=10)
    )


def test_a_killed_run_is_a_gap_since_the_last_frame_of_each_broker():
    heard_at = {"ibkr": START - timedelta(seconds=40)}

    assert gaps_of_killed_run(["ibkr", "tastytrade"], START, heard_at) == [
        FeedGap(broker="ibkr", started_at=heard_at["ibkr"], reason=GapReason.KILLED),
        FeedGap(broker="tastytrade", started_at=START, reason=GapReason.KILLED),
    ]


def test_a_run_with_a_clean_shutdown_leaves_no_gap():
    assert gaps_of_killed_run(["ibkr", "tastytrade"], None, {}) == []


def at(seconds):
    return START + timedelta(seconds=seconds)


def gap(start, end=None, reason=GapReason.DISCONNECTED, **changes):
    return FeedGap(
        **{"broker": "ibkr", "started_at": at(start), "reason": reason}
        | {"ended_at": None if end is None else at(end)}
        | changes
    )


def test_the_times_without_the_feed_are_those_that_wait_on_disk():
    waiting = [
        gap(1, 2),
        gap(3, 4, broker="tastytrade"),
        gap(5, 6, contract_key=SPY_CALL),
        gap(7, 8, GapReason.TICKS_LOST),
        LeftoverGaps(broker="ibkr", own=(), ended_at=START),
        gap(9, None, GapReason.STOPPED),
    ]
    assert times_without_feed("ibkr", waiting, None, None) == [
        (at(1), at(2)),
        (at(9), OPEN),
    ]


def test_after_a_kill_the_last_sign_of_life_counts_and_not_the_last_frame():
    waiting = [gap(1, None, GapReason.KILLED), gap(20, None, GapReason.KILLED)]
    found = times_without_feed("ibkr", waiting, at(25), at(20))
    assert found == [(at(1), OPEN), (at(25), OPEN)]
    # Without a frame for long, it may have been lost before.
    assert times_without_feed("ibkr", [], at(90), at(20)) == [(at(35), OPEN)]
