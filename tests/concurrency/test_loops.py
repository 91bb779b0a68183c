"""The loops that the watchdog of systemd sees."""

from datetime import UTC, datetime

import pytest
import trio

from greeks_trio.model.condition_kinds import ConditionKind
from greeks_trio.model.gap_reasons import GapReason
from greeks_trio.model.records import FeedGap
from greeks_trio.monitoring.watches import run_progress_watch
from tests.concurrency.status_parts import make_status
from tests.factories import make_tick


@pytest.fixture
def status():
    return make_status()


def connect(status):
    for health in status.feeds.values():
        health.connecting()
        health.connected()


def has_a_gap(status):
    at = datetime(2026, 11, 20, tzinfo=UTC)
    gap = FeedGap(broker="ibkr", started_at=at, reason=GapReason.DISCONNECTED)
    status.journal.record(gap)


async def stuck_after(status, seconds, nursery, *, work=lambda: None):
    """Watch for some time, with work each second; return the loops that are stuck."""
    nursery.start_soon(run_progress_watch, status)
    for _ in range(int(seconds)):
        work()
        await trio.sleep(1)
    return " ".join(status.readiness())


async def test_an_idle_service_is_not_stuck(status, nursery, autojump_clock):
    assert "has had work" not in await stuck_after(status, 3_000, nursery)


@pytest.mark.parametrize(
    ("loop", "give_work"),
    [
        ("writer", lambda status: status.backlog.put([make_tick()])),
        ("journal", has_a_gap),
        ("feed of ibkr", connect),
    ],
)
async def test_a_loop_with_work_and_no_step_is_stuck(
    status, nursery, autojump_clock, loop, give_work
):
    give_work(status)

    said = await stuck_after(status, 700, nursery)

    assert f"the {loop} has had work for" in said
    assert status.conditions.has(ConditionKind.LOOP_STUCK)


async def test_a_feed_that_reads_frames_is_not_stuck(status, nursery, autojump_clock):
    connect(status)
    at = datetime(2026, 11, 20, tzinfo=UTC)

    def read():
        for health in status.feeds.values():
            health.frames_read(1, at)

    assert "has had work" not in await stuck_after(status, 3_000, nursery, work=read)
