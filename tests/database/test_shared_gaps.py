"""Gaps of two services in the real tables."""

from __future__ import annotations

from datetime import timedelta

import pytest

from greeks_trio.errors import GapUndecided
from greeks_trio.model.gap_reasons import GapReason
from greeks_trio.model.records import FeedGap, LeftoverGaps
from greeks_trio.postgres.feed_coverage import ALIVE_S, end_earlier
from greeks_trio.postgres.feed_lease import FeedLease
from greeks_trio.postgres.journal_store import JournalStore
from greeks_trio.postgres.lease import RENEW_S
from greeks_trio.waiting import utc_now
from tests.fix_postgres import connect

KEY = "SPY   991218C00600000"
GAPS = """
select extract(epoch from started_at - %(base)s)::int,
       extract(epoch from ended_at - %(base)s)::int, reason
from feed_gaps order by 1, 3
"""


class Table:
    """The table of gaps; times are seconds after a moment 100 s ago."""

    def __init__(self, observer, sink, lease):
        self.base = utc_now() - timedelta(seconds=100)
        self.observer = observer
        self.sink = sink
        self.lease = lease

    def at(self, seconds):
        return None if seconds is None else self.base + timedelta(seconds=seconds)

    def other_had(self, start, end, *, is_ended=True, renewed=None):
        """Write a time at which the other service had the feed."""
        self.observer.execute(
            "insert into feed_coverage values ('ibkr', 'two', %s, %s, %s, %s)"
            " on conflict on constraint feed_coverage_pkey do update set"
            " covered_until = excluded.covered_until, ended = excluded.ended,"
            " renewed_at = excluded.renewed_at",
            [self.at(start), self.at(end), self.at(renewed or end), is_ended],
        )

    def other_has(self, start, end=100):
        """Write that the other one has the feed, and was last heard at ``end``."""
        self.other_had(start, end, is_ended=False, renewed=100)

    async def tell(
        self, start, end=None, *, reason=GapReason.DISCONNECTED, contract_key=None
    ):
        """Store a gap of this service."""
        await self.sink.write(
            FeedGap(
                broker="ibkr",
                started_at=self.at(start),
                ended_at=self.at(end),
                reason=reason,
                contract_key=contract_key,
            )
        )

    async def connected(self, at):
        """Store that the first connection of this run stands."""
        await self.sink.write(LeftoverGaps(broker="ibkr", own=(), ended_at=self.at(at)))

    def rows(self):
        rows = self.observer.execute(GAPS, {"base": self.base}).fetchall()
        return [row[:2] for row in rows]

    def had(self, start, end, *, is_ended=True):
        """Write a time at which this service had the feed."""
        self.observer.execute(
            "insert into feed_coverage values ('ibkr', 'one', %s, %s, now(), %s)",
            [self.at(start), self.at(end), is_ended],
        )

    def hold_by_other(self):
        self.observer.execute(
            "insert into leases values ('feed:ibkr', 'two', 1, now() + interval '1 h')"
        )


@pytest.fixture
def lease():
    lease = FeedLease("ibkr", "one")
    lease.is_settled = lease.knows_earlier = True
    return lease


@pytest.fixture
async def table(emptied_database, lease):
    store = JournalStore(emptied_database, leases={"ibkr": lease})
    async with store.open() as sink:
        with connect(emptied_database) as observer:
            yield Table(observer, sink, lease)


async def test_the_gaps_of_the_only_service_are_the_rows(table):
    await table.tell(10)
    assert table.rows() == [(10, None)]
    await table.tell(10, 20)
    await table.tell(30, 40)
    assert table.rows() == [(10, 20), (30, 40)]


async def test_no_gap_while_the_other_service_has_the_feed(table):
    table.other_has(0)
    await table.tell(10)
    await table.tell(10, 20)
    assert table.rows() == []


async def test_of_a_gap_the_time_without_any_feed_is_told(table):
    table.other_had(0, 15)
    table.other_had(30, 50)
    await table.tell(10, 40)
    assert table.rows() == [(15, 30)]


async def test_an_open_gap_begins_when_the_other_service_has_ended(table):
    table.other_had(0, 15)
    await table.tell(10)
    assert table.rows() == [(15, None)]
    await table.tell(10, 40)
    assert table.rows() == [(15, 40)]


async def test_a_time_that_has_a_row_gets_no_second_one(table):
    table.other_had(0, 15)
    await table.tell(10, 40)
    table.observer.execute("update feed_coverage set holder = 'three'")
    await table.tell(12, 35, reason=GapReason.KILLED)
    await table.tell(12, 50, reason=GapReason.SILENCE)
    assert table.rows() == [(15, 40), (40, 50)]


async def test_two_killed_services_tell_of_one_time_once(table):
    table.other_had(-50, 8)
    await table.tell(10, reason=GapReason.KILLED)
    mine, table.lease.holder = table.lease.holder, "three"
    await table.tell(12, reason=GapReason.KILLED)
    await table.tell(14)
    assert table.rows() == [(10, None)]
    table.lease.holder = mine
    await table.tell(11, 40)
    assert table.rows() == [(10, 40)]


async def test_a_gap_ends_with_the_first_service_that_has_the_feed_again(table):
    table.other_had(0, 15)
    await table.tell(10)
    # The other one is back, and ends the gap that this one has told.
    mine, table.lease.holder = table.lease.holder, "two"
    await table.tell(15, 30)
    table.lease.holder = mine
    table.other_has(30)
    await table.tell(10, 60)
    assert table.rows() == [(15, 30)]


async def test_a_gap_waits_for_the_word_of_a_service_that_lives(table):
    table.other_has(0, 35)
    with pytest.raises(GapUndecided):
        await table.tell(10, 40)
    table.other_has(0, 41)
    await table.tell(10, 40)
    assert table.rows() == []


async def test_a_service_that_is_silent_for_long_does_not_count_as_living(table):
    silent_at = 100 - ALIVE_S - 5
    table.other_had(0, silent_at, is_ended=False)
    await table.tell(10)
    assert table.rows() == [(silent_at, None)]


async def test_after_an_outage_of_the_database_gaps_wait_for_the_others(table):
    table.lease.is_settled = False
    table.other_had(0, 20, is_ended=False)
    with pytest.raises(GapUndecided):
        await table.tell(10, 40)
    with pytest.raises(GapUndecided):
        await table.tell(10, 40, contract_key=KEY)
    table.other_had(0, 20)
    await table.tell(10, 40)
    assert table.rows() == [(20, 40)]


async def test_lost_ticks_are_told_also_if_the_other_service_had_the_feed(table):
    table.other_has(0)
    await table.tell(10, 20, reason=GapReason.TICKS_LOST)
    await table.tell(10, 20, reason=GapReason.RESTORED_BACKUP)
    assert table.rows() == [(10, 20), (10, 20)]
    # Nor do such rows stand for a gap of the feed.
    table.observer.execute(
        "update feed_coverage set ended = true, covered_until = %s", [table.at(5)]
    )
    await table.tell(2, 20)
    assert table.rows() == [(5, 20), (10, 20), (10, 20)]


async def test_a_time_of_which_no_service_has_told_is_found_at_the_next_start(table):
    """This one was stopped, and the other one was lost with its machine."""
    table.had(-50, 0)
    table.other_had(-60, 30, is_ended=False)
    await table.connected(90)
    assert table.rows() == [(30, 90)]
    await table.connected(90)
    assert table.rows() == [(30, 90)]


async def test_both_were_killed_and_the_other_one_is_back_before_this_one(table):
    """The run between was killed before it connected, so it told of nothing."""
    table.had(0, 20)
    table.other_had(0, 30)
    table.other_has(50)
    await table.tell(20, reason=GapReason.KILLED)
    await table.tell(25, reason=GapReason.KILLED)
    assert table.rows() == []
    await table.connected(80)
    assert table.rows() == [(30, 50)]
    assert table.observer.execute("select reason from feed_gaps").fetchone() == (
        "stopped",
    )


async def test_a_start_waits_until_a_living_service_has_said_that_it_had_the_feed(
    table,
):
    table.had(0, 20)
    table.other_has(0, 70)
    with pytest.raises(GapUndecided):
        await table.connected(80)
    table.other_has(0, 81)
    await table.connected(80)
    assert table.rows() == []


async def test_a_later_connection_of_a_run_tells_nothing_of_the_time_before(table):
    table.had(0, 20)
    table.other_had(0, 30)
    table.had(40, 79, is_ended=False)
    await table.connected(80)
    assert table.rows() == []


async def test_the_moment_after_the_gap_of_this_run_is_no_gap(table):
    table.had(0, 20)
    table.other_had(0, 30)
    await table.tell(20, 79.9995)
    await table.connected(80)
    assert table.rows() == [(30, 80)]


async def test_a_gap_that_was_undecided_for_long_has_no_time_of_a_later_connection(
    table,
):
    table.other_had(0, 25)
    table.had(40, 50)
    table.had(60, 70, is_ended=False)
    await table.tell(20, reason=GapReason.KILLED)
    assert table.rows() == [(25, 40), (50, 60)]


async def test_an_old_entry_does_not_end_a_gap_that_began_later(table):
    table.other_had(0, 60)
    await table.tell(50)
    await table.connected(40)
    assert table.rows() == [(60, None)]


async def test_the_last_words_of_a_killed_run_are_those_on_its_disk(table, lease):
    table.had(0, 10)
    table.had(12, 20, is_ended=False)
    table.other_had(0, 5)
    table.other_had(30, 40)
    connection = table.sink._connection
    # A later run was killed before it could say anything.
    ends = [table.at(31), table.at(24), table.at(11)]
    assert await end_earlier(connection, "ibkr", "one", ends)
    assert not await end_earlier(connection, "ibkr", "one", ends)
    lease.follows_killed = True
    await table.connected(60)
    assert table.rows() == [(24, 30), (40, 60)]
    [(reason,), _] = table.observer.execute("select reason from feed_gaps").fetchall()
    assert reason == "killed"


async def test_nothing_is_decided_before_the_times_of_the_killed_run_are_in_order(
    table, lease
):
    lease.knows_earlier = False
    table.had(0, 20, is_ended=False)
    table.other_had(0, 40)
    with pytest.raises(GapUndecided):
        await table.connected(80)


async def test_a_service_with_a_new_name_tells_of_the_time_since_the_last_one(table):
    """A container has a new name with each start."""
    table.other_had(-60, 30, is_ended=False)
    await table.connected(35)
    assert table.rows() == []
    await table.connected(90)
    assert table.rows() == [(30 + RENEW_S, 90)]


async def test_a_gap_ends_with_the_feed_of_a_service_that_began_later(table):
    """The other one was never connected in the gap of this one."""
    table.other_had(0, 5)
    table.observer.execute(
        "insert into feed_gaps (broker, started_at, reason)"
        " values ('ibkr', %s, 'disconnected'), ('ibkr', %s, 'ticks lost')",
        [table.at(5), table.at(6)],
    )
    await table.tell(20)
    await table.tell(20, 40)
    assert table.rows() == [(5, 40), (6, None)]


async def test_the_gaps_of_contracts_of_an_unknown_holder_stay_open(table, lease):
    """The database was away at the start, so the lease was not looked at."""
    table.hold_by_other()
    table.observer.execute(
        "insert into feed_gaps (broker, contract_key, started_at, reason)"
        " values ('ibkr', %s, %s, 'no greeks')",
        [KEY, table.at(5)],
    )
    await table.connected(50)
    assert table.rows() == [(5, None)]
    assert lease.is_elsewhere


async def test_a_gap_of_a_contract_is_told_by_the_holder_of_the_lease(table, lease):
    table.other_has(0)
    await lease.take(table.sink._connection)
    await table.tell(10, contract_key=KEY)
    assert table.rows() == [(10, None)]
    await table.tell(10, 20, contract_key=KEY)
    assert table.rows() == [(10, 20)]


async def test_a_gap_of_a_contract_is_left_to_the_holder(table, lease):
    table.other_has(0)
    table.hold_by_other()
    await lease.take(table.sink._connection)
    await table.tell(10, contract_key=KEY)
    assert table.rows() == []
    assert lease.left_gaps


async def test_a_contract_whose_ticks_come_by_the_other_service_has_no_gap(
    table, lease
):
    table.other_has(0)
    table.observer.execute("select make_month(%s)", [table.at(20).date()])
    table.observer.execute(
        "insert into greek_snapshots (broker, account_id, contract_key, underlying,"
        " event_time, received_at, delta, availability, source_payload, fingerprint)"
        " values ('ibkr', 'watchlist', %s, 'SPY', %s, %s, 0.5, 'realtime', '{}', 1)",
        [KEY, table.at(20), table.at(20)],
    )
    await table.tell(10, contract_key=KEY)
    assert table.rows() == []
    await table.tell(30, contract_key=KEY)
    assert table.rows() == [(30, None)]


async def test_gaps_that_another_holder_has_left_open_end(table, lease):
    table.other_has(0)
    await lease.take(table.sink._connection)
    await table.tell(10, contract_key=KEY)
    await table.connected(50)
    assert table.rows() == [(10, 50)]
    # The gaps of contracts are those of the holder.
    await table.tell(60, contract_key=KEY)
    lease.elsewhere = "two"
    await table.connected(70)
    assert table.rows() == [(10, 50), (60, None)]
