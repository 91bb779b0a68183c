"""Gaps of two services, one of which was connected and lost its feed without a database."""

from __future__ import annotations

from datetime import timedelta

import pytest
import trio

from greeks_trio.feeds.earlier_run import gaps_of_killed_run, times_without_feed
from greeks_trio.feeds.health import FeedHealth
from greeks_trio.leases.faults import SharingFaults
from greeks_trio.leases.feed_watch import FeedLeaseWatch
from greeks_trio.model.gap_reasons import GapReason
from greeks_trio.model.records import FeedGap, LeftoverGaps
from greeks_trio.pipeline.conditions import Conditions
from greeks_trio.pipeline.journal import Journal
from greeks_trio.postgres.feed_lease import FeedLease
from greeks_trio.postgres.journal_store import JournalStore
from greeks_trio.waiting import utc_now
from tests.fix_postgres import connect

GAPS = """
select extract(epoch from started_at - %(base)s)::int,
       extract(epoch from ended_at - %(base)s)::int
from feed_gaps order by 1
"""


class Clock:
    """Seconds after a moment some minutes ago."""

    def __init__(self):
        self.base = utc_now() - timedelta(seconds=300)
        self.seconds = 0

    def now(self):
        return self.at(self.seconds)

    def at(self, seconds):
        return self.base + timedelta(seconds=seconds)


class Run:
    """A run of a service: its feed, its lease and its journal."""

    def __init__(self, name, clock, sink, *, waiting=(), killed_at=None):
        self._clock = clock
        self._sink = sink
        times = times_without_feed("ibkr", waiting, killed_at, killed_at)
        gaps = gaps_of_killed_run(["ibkr"], killed_at, {})
        self.journal = Journal(inherited=list(enumerate([*waiting, *gaps], 1)))
        self.health = FeedHealth("ibkr", self.journal, now=clock.now)
        self.lease = FeedLease("ibkr", name)
        faults = SharingFaults(Conditions())
        self.watch = FeedLeaseWatch(
            self.health,
            self.lease,
            self.journal,
            faults,
            is_exclusive=False,
            earlier_gaps=times,
        )
        self.watch.begin()
        self.watch._first_look_at = trio.current_time() - 60

    def connect(self, seconds):
        self._clock.seconds = seconds
        self.health.connected()

    def read(self, seconds):
        self._clock.seconds = seconds
        self.health.frames_read(1, self._clock.now())

    async def look(self):
        await self.watch.look(self._sink._connection)

    async def begin(self, seconds):
        """Connect for the first time, and end the gaps of earlier runs."""
        self.connect(seconds)
        ended_at = self._clock.now()
        self.journal.record(LeftoverGaps(broker="ibkr", own=(), ended_at=ended_at))
        await self.look()

    async def store(self):
        sink = self._sink
        sink._leases = {"ibkr": self.lease}
        while waiting := self.journal.oldest():
            await sink.write(waiting.entry)
            self.journal.remove(waiting.entry)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def sink(emptied_database):
    async with JournalStore(emptied_database).open() as sink:
        yield sink


@pytest.fixture
def observer(emptied_database):
    with connect(emptied_database) as observer:
        yield observer


def gaps(observer, clock):
    return observer.execute(GAPS, {"base": clock.base}).fetchall()


async def lose_the_feed_without_a_database(clock, sink):
    """Connected from 0 to 10 and from 12 on; the database is away from 5 to 200."""
    one = Run("one", clock, sink)
    one.connect(0)
    await one.look()
    clock.seconds = 5
    await one.look()
    await one.store()
    one.read(10)
    one.health.disconnected("gone")
    one.connect(12)
    one.read(200)
    return one


async def other_has_the_feed(clock, sink, observer):
    """The other one has it from 203 on, after the first one was not heard for a minute."""
    observer.execute(
        "update feed_coverage set renewed_at = renewed_at - interval '60 s'"
    )
    two = Run("two", clock, sink)
    two.connect(203)
    await two.look()
    return two


async def test_a_service_that_stops_as_the_database_is_back_has_told_its_times(
    clock, sink, observer
):
    one = await lose_the_feed_without_a_database(clock, sink)
    one.health.service_stopped()
    assert one.watch.has_told
    await one.watch.give_back(sink._connection)
    await one.store()
    two = await other_has_the_feed(clock, sink, observer)
    await two.begin(203)
    await two.store()
    again = Run("one", clock, sink)
    await again.begin(260)
    clock.seconds = 265
    await two.look()
    await again.look()
    await again.store()
    assert gaps(observer, clock) == [(10, 12), (200, 203)]


@pytest.mark.parametrize("is_killed", [False, True])
async def test_times_that_a_run_could_not_write_are_known_to_the_next_one(
    clock, sink, observer, is_killed
):
    one = await lose_the_feed_without_a_database(clock, sink)
    if not is_killed:
        one.health.service_stopped()
    waiting = [each.entry for each in one.journal.not_on_disk()]
    two = await other_has_the_feed(clock, sink, observer)
    killed_at = clock.at(200) if is_killed else None
    again = Run("one", clock, sink, waiting=waiting, killed_at=killed_at)
    await again.begin(260)
    clock.seconds = 265
    await two.look()
    await again.look()
    await again.store()
    assert gaps(observer, clock) == [(10, 12), (200, 203)]


async def test_times_before_the_last_told_connection_are_not_put_together(
    clock, sink, observer
):
    """A gap between two that wait may be stored already, and then it does not wait."""
    waiting = [gap_of(clock, 10, 20), gap_of(clock, 100, 110)]
    one = Run("one", clock, sink, waiting=waiting)
    observer.execute(
        "insert into feed_coverage (broker, holder, started_at, covered_until, ended)"
        " values ('ibkr', 'one', %s, %s, true)",
        [clock.at(60), clock.at(100)],
    )
    await one.look()
    rows = observer.execute("select started_at from feed_coverage").fetchall()
    assert rows == [(clock.at(60),)]


def gap_of(clock, start, end):
    return FeedGap(
        broker="ibkr",
        started_at=clock.at(start),
        ended_at=clock.at(end),
        reason=GapReason.DISCONNECTED,
    )
